//! Owns the conversation with AWS: sessions, the list of actions, the one classifier, the request budget, the wait for operations. Never decides
//! what access means: that is the targets'.

mod account;
pub mod actions;
pub mod budget;
mod chain;
mod error;
pub mod operations;
mod partition;
mod refusal;
mod sessions;
mod wire;

pub use account::AccountId;
pub use chain::{Caller, Chain, Hop, Purpose};
pub use error::AwsError;
pub use partition::organizations;
pub use refusal::refused;
pub use sessions::{Sessions, SessionsOptions};
pub use wire::NotAfter;

// What a client is made of; rooms that only pass it on name it from here.
pub use aws_types::SdkConfig;
