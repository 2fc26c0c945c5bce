//! Owns how many requests may leave per second. Pure: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

use super::{Turn, kept_for_ends};

/// Length of the window requests are counted in: a second, and a twentieth for what is held up on the way, so that the service does not
/// see two windows' worth in one second.
pub(super) const SPAN: Duration = Duration::from_millis(1050);
/// Fewest requests per window after throttling: one for an end and one for the rest.
const FEWEST: u32 = 2;
/// Time without throttling after which one more request per window is tried.
const RAISE_EVERY: Duration = Duration::from_secs(1);

/// A sliding window over the requests that left, with a share for everything that is no end.
#[derive(Debug)]
pub(super) struct Rate {
    most: u32,
    current: u32,
    left: VecDeque<(Instant, bool)>,
    /// When the last clean-up or read left. Those are paced evenly, so that a start never waits for a whole window.
    paced: Option<Instant>,
    /// When the pace was last cut, and when it was last changed.
    cut: Option<Instant>,
    changed: Option<Instant>,
}

impl Rate {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            current: most,
            left: VecDeque::new(),
            paced: None,
            cut: None,
            changed: None,
        }
    }

    /// Returns the time from which on a request may leave; in the past when it may now.
    pub(super) fn opens(&self, turn: Turn, now: Instant) -> Instant {
        let total = room(self.current, self.left.len(), self.left.iter(), now);
        if turn == Turn::End {
            return total;
        }
        let others = || self.left.iter().filter(|(_, end)| !end);
        let shared = room(self.share(), others().count(), others(), now);
        let paced = match (turn, self.paced) {
            (Turn::CleanUp | Turn::Read, Some(last)) => last + SPAN / self.share(),
            _ => now,
        };
        total.max(shared).max(paced)
    }

    /// Notes that a request leaves now.
    pub(super) fn leave(&mut self, turn: Turn, now: Instant) {
        self.left.push_back((now, turn == Turn::End));
        if matches!(turn, Turn::CleanUp | Turn::Read) {
            self.paced = Some(now);
        }
    }

    /// Forgets what is older than a window and recovers from throttling, one request per second.
    pub(super) fn tick(&mut self, now: Instant) {
        while self.left.front().is_some_and(|(at, _)| *at + SPAN <= now) {
            self.left.pop_front();
        }
        while self.current < self.most {
            match self.changed {
                Some(changed) if changed + RAISE_EVERY <= now => {
                    self.current += 1;
                    self.changed = Some(changed + RAISE_EVERY);
                }
                _ => break,
            }
        }
    }

    /// Halves the pace. Refusals that come together count once.
    pub(super) fn throttled(&mut self, now: Instant) {
        if self.cut.is_none_or(|cut| cut + SPAN <= now) {
            self.current = (self.current / 2).max(FEWEST.min(self.most));
            self.cut = Some(now);
        }
        self.changed = Some(now);
    }

    pub(super) fn current(&self) -> u32 {
        self.current
    }

    fn share(&self) -> u32 {
        self.current - kept_for_ends(self.current)
    }
}

/// The time from which on fewer than `most` of the departures, oldest first, are younger than a window.
fn room<'a>(
    most: u32,
    count: usize,
    mut left: impl Iterator<Item = &'a (Instant, bool)>,
    now: Instant,
) -> Instant {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let first_that_counts = count.checked_sub(most).and_then(|index| left.nth(index));
    first_that_counts.map_or(now, |(at, _)| *at + SPAN)
}
