//! Owns until when orders of this process may still take effect. Lost with the process, which is the safe side: the user's tags say a later time.

use crate::domain::GrantId;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most grants kept; beyond it all are forgotten.
const MOST: usize = 10_000;

/// By grant.
#[derive(Debug, Default)]
pub(super) struct Landings(Mutex<HashMap<GrantId, Landing>>);

#[derive(Debug, Clone, Copy)]
struct Landing {
    /// Of orders whose answer never came.
    unanswered: Option<Timestamp>,
    /// Of the order that is under way.
    open: Option<Timestamp>,
}

impl Landings {
    /// An order that may land until a time is about to leave; `before` is what is known of earlier ones, where this process knows nothing.
    pub(super) fn begin(&self, grant: GrantId, until: Timestamp, before: Option<Timestamp>) {
        self.with(|landings| {
            if landings.len() >= MOST {
                landings.clear();
            }
            let landing = landings.entry(grant).or_insert(Landing {
                unanswered: before,
                open: None,
            });
            landing.open = landing.open.max(Some(until));
        });
    }

    /// It was answered, whatever the answer: nothing of it is on its way.
    pub(super) fn answered(&self, grant: GrantId) {
        self.with(|landings| {
            if let Some(landing) = landings.get_mut(&grant) {
                landing.open = None;
            }
        });
    }

    /// It left, and cannot land after `until`.
    pub(super) fn unanswered(&self, grant: GrantId, until: Timestamp) {
        self.with(|landings| {
            if let Some(landing) = landings.get_mut(&grant) {
                let until = landing.open.map_or(until, |open| open.min(until));
                landing.unanswered = landing.unanswered.max(Some(until));
                landing.open = None;
            }
        });
    }

    /// Returns until when orders may land; `recorded` is what the tags say, for grants this process did not begin.
    pub(super) fn of(&self, grant: GrantId, recorded: Option<Timestamp>) -> Option<Timestamp> {
        let landing = self.with(|landings| landings.get(&grant).copied());
        landing.map_or(recorded, |landing| landing.unanswered.max(landing.open))
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
        assert_eq!(landings.of(grant, Some(at(9))), Some(at(100)));
        landings.answered(grant);
        assert_eq!(landings.of(grant, Some(at(100))), None);
        landings.begin(grant, at(200), None);
        landings.unanswered(grant, at(50));
        assert_eq!(landings.of(grant, None), Some(at(50)));
        landings.begin(grant, at(300), None);
        landings.answered(grant);
        assert_eq!(landings.of(grant, None), Some(at(50)));
        let other = GrantId::generate();
        landings.begin(other, at(300), Some(at(70)));
        landings.answered(other);
        assert_eq!(landings.of(other, None), Some(at(70)));
    }
}
