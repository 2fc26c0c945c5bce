//! Owns what this instance did and owes, durably. Never knows the control plane, the executor or any target.
//!
//! The ledger is an event log. What is true now is a fold over it, see [`State::apply`]; recovery and live code use the
//! same fold. An append returns only after the event is on disk.

mod event;
mod state;

pub use event::{Event, OutboxEntry};
pub use state::{GrantPhase, GrantRecord, State};
