//! Owns which noted orders were answered with a refusal, so that they are not taken for being on their way. Lost with the process, which is
//! the safe side.

use crate::domain::GrantId;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most grants kept; beyond it all are forgotten.
const MOST: usize = 10_000;

/// Orders by grant, each named by the time until which it was noted as possibly on its way.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<HashMap<GrantId, Timestamp>>);

impl Answered {
    /// Notes that the order of this note was refused. Only the first order of a grant may be: earlier ones would be hidden behind it.
    pub(super) fn note(&self, grant: GrantId, until: Timestamp) {
        self.with(|answered| {
            if answered.len() >= MOST {
                answered.clear();
            }
            answered.insert(grant, until);
        });
    }

    pub(super) fn has(&self, grant: GrantId, until: Timestamp) -> bool {
        self.with(|answered| answered.get(&grant) == Some(&until))
    }

    pub(super) fn forget(&self, grant: GrantId) {
        self.with(|answered| answered.remove(&grant));
    }

    fn with<R>(&self, with: impl FnOnce(&mut HashMap<GrantId, Timestamp>) -> R) -> R {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
