//! Owns the front's time: that of the machine until a test moves it or stops it.

use apono_connector::clock::{Clock as _, SystemClock};
use jiff::Timestamp;
use std::sync::Mutex;
use std::time::Duration;

/// A moment, in milliseconds since 1970.
pub(super) type Moment = i64;

/// The front's clock.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    hand: Mutex<Hand>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Hand {
    /// How far ahead of the machine.
    ahead: i64,
    stopped_at: Option<Moment>,
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        timestamp(self.moment())
    }

    /// Lets time pass at once, stopped or not.
    pub(crate) fn advance(&self, by: Duration) {
        self.shift(milliseconds(by));
    }

    /// Sets the clock back, as a wrong time server would.
    pub(crate) fn go_back(&self, by: Duration) {
        self.shift(-milliseconds(by));
    }

    /// Stops the clock where it is; it moves by `advance` alone from now on.
    pub(crate) fn stop(&self) {
        let now = self.moment();
        self.hand.lock().unwrap().stopped_at = Some(now);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.hand.lock().unwrap().stopped_at.is_some()
    }

    fn shift(&self, by: i64) {
        let mut hand = self.hand.lock().unwrap();
        hand.ahead += by;
        hand.stopped_at = hand.stopped_at.map(|at| at + by);
    }

    pub(super) fn moment(&self) -> Moment {
        let hand = *self.hand.lock().unwrap();
        hand.stopped_at
            .unwrap_or_else(|| SystemClock.now().as_millisecond() + hand.ahead)
    }
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

pub(super) fn timestamp(moment: Moment) -> Timestamp {
    Timestamp::from_millisecond(moment).unwrap()
}

/// Writes a moment the way AWS JSON does: seconds, with a fraction.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of this century fit"
)]
pub(super) fn seconds(moment: Moment) -> f64 {
    moment as f64 / 1000.0
}
