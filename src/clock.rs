//! Owns time. Never lets another room read the system clock.

use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the wall clock's time.
    fn now(&self) -> Timestamp;

    /// Returns the time since the machine was booted, sleep included; never goes backwards.
    fn since_boot(&self) -> Duration;
}

/// A clock that can be handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanos)
    }
}

/// A clock that moves only when told to, and whose two hands can be moved apart.
#[cfg(any(test, feature = "test-util"))]
#[derive(Debug)]
pub struct FakeClock {
    hands: std::sync::Mutex<(Timestamp, Duration)>,
}

#[cfg(any(test, feature = "test-util"))]
impl FakeClock {
    /// Starts at the given wall time.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            hands: std::sync::Mutex::new((now, Duration::from_secs(1000))),
        }
    }

    /// Lets time pass on both hands.
    pub fn advance(&self, by: Duration) {
        let mut hands = self
            .hands
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        hands.0 = hands.0.saturating_add(by).unwrap_or(Timestamp::MAX);
        hands.1 = hands.1.saturating_add(by);
    }

    /// Jumps the wall clock alone, as a wrong time server would.
    pub fn jump_wall(&self, to: Timestamp) {
        self.hands
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0 = to;
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        self.hands
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0
    }

    fn since_boot(&self) -> Duration {
        self.hands
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .1
    }
}
