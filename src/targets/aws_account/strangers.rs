//! Owns since when policies without a record are seen: a record may only not be readable yet. Lost with the process, which is the safe side.

use jiff::SignedDuration;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Most policies kept; beyond it all are forgotten, and seen for the first time again.
const MOST: usize = 10_000;

/// By user and policy.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<HashMap<(String, String), Instant>>);

impl Strangers {
    /// Tells whether a policy has been seen for so long; notes it when it is seen for the first time.
    pub(super) fn is_old(&self, user: &str, policy: &str, age: SignedDuration) -> bool {
        let age = Duration::try_from(age).unwrap_or_default();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.clear();
        }
        let key = (user.to_owned(), policy.to_owned());
        let first = *seen.entry(key).or_insert_with(Instant::now);
        first.elapsed() > age
    }
}
