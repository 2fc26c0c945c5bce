//! Owns what the writing thread and the handles share: the state in memory, and how the ledger is.

use super::state::State;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Health {
    Healthy = 0,
    Failing = 1,
    Damaged = 2,
    Lost = 3,
}

/// What the thread and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    state: RwLock<State>,
    health: AtomicU8,
    pub(super) next_report: AtomicU64,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            next_report: AtomicU64::new(state.next_report),
            state: RwLock::new(state),
            health: AtomicU8::new(Health::Healthy as u8),
        }
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.health.load(Ordering::SeqCst) == Health::Healthy as u8
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.health.load(Ordering::SeqCst) == Health::Damaged as u8
    }

    pub(super) fn is_lost(&self) -> bool {
        self.health.load(Ordering::SeqCst) == Health::Lost as u8
    }

    pub(super) fn set(&self, health: Health) {
        self.health.store(health as u8, Ordering::SeqCst);
    }
}
