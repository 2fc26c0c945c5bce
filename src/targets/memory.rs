//! Owns what a target without a record of its own may ask about grants. Never answers by itself.

use crate::domain::{Checkpoint, Grant, IntegrationId};
use jiff::Timestamp;

/// What this instance knows of the grants of an integration, from its ledger and the control plane's list.
pub trait Memory: Send + Sync {
    /// Returns every grant that is not closed, and closed ones that are not clean yet.
    fn grants(&self, integration: IntegrationId) -> Vec<Remembered>;

    /// Returns when the control plane's list was last known to be complete; nothing before the first time.
    fn listed_at(&self) -> Option<Timestamp>;
}

/// One grant as remembered.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// The grant with the expiry in force.
    pub grant: Grant,
    /// What its target noted before the first effect.
    pub checkpoint: Option<Checkpoint>,
    /// Where it is in its life.
    pub phase: Phase,
}

/// Where a grant is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being started by this instance, or begun and its outcome unknown.
    Starting,
    /// Has access.
    Live,
    /// Another instance has it in hand; only the control plane's list names it.
    Listed,
    /// Being ended.
    Ending,
    /// Ended, and something may be left to clean up.
    Closed,
}
