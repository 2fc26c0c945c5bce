//! Owns the reference control plane: for development, tests, the demo and small self-hosted use. Never part of the connector's image.
//!
//! There is no approval workflow here: whoever holds the admin token decides. `docs/protocol.md` says the rules in prose,
//! `rules.rs` says them in code, and `store` keeps everything in one SQLite file.

pub mod admin;
mod command;
mod error;
mod http;
mod openapi;
mod plane;
mod rules;
#[cfg(feature = "test-util")]
pub mod script;
mod store;
mod token;

#[cfg(feature = "test-util")]
pub use command::answer;
pub use command::run;
pub use error::PlaneError;
pub use openapi::document;
pub use plane::{Options, Running, start};
