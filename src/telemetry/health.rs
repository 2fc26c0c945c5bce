//! Owns the answer to "is it ready": what the other rooms noted, judged at the moment of asking. Never asks anybody itself.

use crate::clock::SharedClock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A round trip within this time counts as lately: 120 s, the longest poll of 50 s, its time limit and one longest backoff.
const LATELY: Duration = Duration::from_secs(120);

/// What the rooms note about themselves.
#[derive(Debug)]
pub struct Health {
    clock: SharedClock,
    started: Duration,
    round_trip: Mutex<Option<Duration>>,
    ledger_ok: AtomicBool,
}

/// Why the process is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// No round trip to the control plane was completed yet.
    NeverReached,
    /// The last round trip was too long ago.
    NotLately(Duration),
    /// The ledger cannot be written.
    Ledger,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeverReached => f.write_str("the control plane was not reached yet"),
            Self::NotLately(age) => write!(
                f,
                "the control plane was last reached {} s ago, must be within {} s",
                age.as_secs(),
                LATELY.as_secs()
            ),
            Self::Ledger => f.write_str("the ledger cannot be written"),
        }
    }
}

impl Health {
    /// Starts with nothing noted: not ready until the first round trip, the ledger well until it is said otherwise.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            started: clock.since_boot(),
            clock,
            round_trip: Mutex::new(None),
            ledger_ok: AtomicBool::new(true),
        }
    }

    /// Notes that a call to the control plane was answered as it should be.
    pub fn round_trip(&self) {
        *self
            .round_trip
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(self.clock.since_boot());
    }

    /// Notes whether the ledger can be written.
    pub fn ledger(&self, ok: bool) {
        self.ledger_ok.store(ok, Ordering::Release);
    }

    /// Returns the time since the last round trip, or since the start when there was none.
    #[must_use]
    pub fn control_plane_age(&self) -> Duration {
        let last = self.last_round_trip().unwrap_or(self.started);
        self.clock.since_boot().saturating_sub(last)
    }

    /// Returns what is missing; nothing when ready.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        match self.last_round_trip() {
            None => missing.push(Missing::NeverReached),
            Some(_) if self.control_plane_age() > LATELY => {
                missing.push(Missing::NotLately(self.control_plane_age()));
            }
            Some(_) => {}
        }
        if !self.ledger_ok.load(Ordering::Acquire) {
            missing.push(Missing::Ledger);
        }
        missing
    }

    fn last_round_trip(&self) -> Option<Duration> {
        *self
            .round_trip
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FakeClock;
    use std::sync::Arc;

    #[test]
    fn ready_means_reached_lately_and_a_ledger_that_can_be_written() {
        let clock = Arc::new(FakeClock::at("2030-01-01T00:00:00Z".parse().unwrap()));
        let health = Health::new(Arc::<FakeClock>::clone(&clock));
        assert_eq!(health.missing(), [Missing::NeverReached]);
        clock.advance(Duration::from_secs(7));
        assert_eq!(health.control_plane_age(), Duration::from_secs(7));

        health.round_trip();
        assert_eq!(health.missing(), []);
        clock.advance(LATELY);
        assert_eq!(health.missing(), []);
        // A wrong time server changes nothing.
        clock.jump_wall("2040-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(health.missing(), []);
        clock.advance(Duration::from_secs(1));
        assert_eq!(
            health.missing(),
            [Missing::NotLately(Duration::from_secs(121))]
        );

        health.round_trip();
        health.ledger(false);
        assert_eq!(health.missing(), [Missing::Ledger]);
        health.ledger(true);
        assert_eq!(health.missing(), []);
    }
}
