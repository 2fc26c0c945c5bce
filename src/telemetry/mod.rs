//! Owns what can be seen from outside: logs, metrics, health. Never decides anything and never holds a product up.

mod bounded;
mod health;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod probe;

pub use health::{Health, Missing};
