//! Owns until when the orders of this process may still take effect, where that is known better than what is noted. Lost with the process,
//! which is the safe side: what is noted is later.

use crate::domain::GrantId;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most grants kept; beyond it all are forgotten.
const MOST: usize = 10_000;

/// By grant.
#[derive(Debug, Default)]
pub(super) struct Landings(Mutex<HashMap<GrantId, Landing>>);

/// The last order of a grant.
#[derive(Debug, Clone, Copy)]
struct Landing {
    /// Until when it was noted as possibly on its way.
    noted: Timestamp,
    /// The same for the orders before it; nothing when all of those were answered.
    before: Option<Timestamp>,
    /// What is known by now; nothing when nothing is on its way.
    known: Option<Timestamp>,
}

impl Landings {
    /// An order is about to be noted, with those before it.
    pub(super) fn begin(&self, grant: GrantId, noted: Timestamp, before: Option<Timestamp>) {
        self.with(|landings| {
            if landings.len() >= MOST {
                landings.clear();
            }
            let known = Some(noted);
            let landing = Landing {
                noted,
                before,
                known,
            };
            landings.insert(grant, landing);
        });
    }

    /// The order was answered: nothing of it is on its way.
    pub(super) fn answered(&self, grant: GrantId) {
        self.with(|landings| {
            if let Some(landing) = landings.get_mut(&grant) {
                landing.known = landing.before;
            }
        });
    }

    /// The order left before now, was not answered, and cannot land after `until`.
    pub(super) fn unanswered(&self, grant: GrantId, until: Timestamp) {
        self.with(|landings| {
            if let Some(landing) = landings.get_mut(&grant) {
                landing.known = landing.before.max(Some(until.min(landing.noted)));
            }
        });
    }

    /// Returns until when orders may land, given what is noted.
    pub(super) fn of(&self, grant: GrantId, noted: Option<Timestamp>) -> Option<Timestamp> {
        let landing = self.with(|landings| landings.get(&grant).copied());
        match landing {
            Some(landing) if Some(landing.noted) == noted => landing.known,
            // Noted by somebody else since.
            Some(_) | None => noted,
        }
    }

    fn with<R>(&self, with: impl FnOnce(&mut HashMap<GrantId, Landing>) -> R) -> R {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_answer_settles_its_own_order_and_none_before_it() {
        let (landings, grant) = (Landings::default(), GrantId::generate());
        assert_eq!(landings.of(grant, Some(at(9))), Some(at(9)));
        landings.begin(grant, at(100), None);
        assert_eq!(landings.of(grant, Some(at(100))), Some(at(100)));
        landings.answered(grant);
        assert_eq!(landings.of(grant, Some(at(100))), None);
        landings.begin(grant, at(200), None);
        landings.unanswered(grant, at(50));
        assert_eq!(landings.of(grant, Some(at(200))), Some(at(50)));
        landings.begin(grant, at(300), Some(at(50)));
        landings.answered(grant);
        assert_eq!(landings.of(grant, Some(at(300))), Some(at(50)));
        assert_eq!(landings.of(grant, Some(at(400))), Some(at(400)));
    }
}
