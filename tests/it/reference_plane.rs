//! The reference control plane, over real HTTP.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the code shared by these tests fails by panicking, as tests do"
)]

mod calls;
mod command;
mod delivery;
mod description;
mod durability;
mod grants;
mod harness;
mod inventory;
mod lists;
mod misbehaviour;
mod results;
