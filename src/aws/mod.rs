//! Owns the conversation with AWS: sessions, the list of actions, the one classifier, the request budget, the wait for operations. Never decides
//! what access means: that is the targets'.

mod account;
pub mod actions;
pub mod budget;
mod chain;
mod error;
pub mod operations;
mod refusal;
mod sessions;
mod wire;

pub use account::AccountId;
pub use chain::{Caller, Chain, Hop, Purpose};
pub use error::AwsError;
pub use refusal::refused;
pub use sessions::{Sessions, SessionsOptions};
pub use wire::NotAfter;
