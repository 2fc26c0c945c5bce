//! Owns how many operations of one kind may run at the service at once. Pure: time is an argument.

use std::time::Duration;
use tokio::time::Instant;

use super::{Turn, kept_for_ends};

/// Time without throttling after which one more operation at once is tried: a few polls, because a slot somebody else took comes free with
/// the end of an operation.
const RAISE_EVERY: Duration = Duration::from_secs(5);

/// The window of operations that run at once, with a share for everything that is no end.
#[derive(Debug)]
pub(super) struct Window {
    most: u32,
    current: u32,
    ends: u32,
    others: u32,
    /// Operations nobody watches any more, with the time until which they count, and whether they are ends.
    left_running: Vec<(Instant, bool)>,
    changed: Option<Instant>,
}

impl Window {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            current: most,
            ends: 0,
            others: 0,
            left_running: Vec::new(),
            changed: None,
        }
    }

    /// Says whether one more operation may start.
    pub(super) fn admits(&self, turn: Turn) -> bool {
        let share = self.current - kept_for_ends(self.current);
        self.used() < self.current && (turn == Turn::End || self.others < share)
    }

    pub(super) fn take(&mut self, turn: Turn) {
        *self.count(turn == Turn::End) += 1;
    }

    pub(super) fn release(&mut self, turn: Turn) {
        self.free(turn == Turn::End);
    }

    /// Keeps counting an operation until a time, because it may still be running at the service.
    pub(super) fn leave_running(&mut self, turn: Turn, until: Instant) {
        self.left_running.push((until, turn == Turn::End));
    }

    /// Frees what counted long enough and recovers from throttling; says whether there is more room now.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let before = (self.used(), self.current);
        let over: Vec<_> = self
            .left_running
            .extract_if(.., |(until, _)| *until <= now)
            .collect();
        for (_, end) in over {
            self.free(end);
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
        before != (self.used(), self.current)
    }

    /// Notes that the service had no room for one of the operations that hold a place: others use the window too. The refused one is still
    /// counted when this is called.
    pub(super) fn throttled(&mut self, now: Instant) {
        self.current = self.used().saturating_sub(1).clamp(1, self.current);
        self.changed = Some(now);
    }

    /// Returns the next time at which [`Self::tick`] changes something.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let freed = self.left_running.iter().map(|(until, _)| *until).min();
        let raised = (self.current < self.most)
            .then_some(self.changed)
            .flatten()
            .map(|changed| changed + RAISE_EVERY);
        freed.into_iter().chain(raised).min()
    }

    pub(super) fn used(&self) -> u32 {
        self.ends + self.others
    }

    pub(super) fn current(&self) -> u32 {
        self.current
    }

    fn free(&mut self, end: bool) {
        let count = self.count(end);
        *count = count.saturating_sub(1);
    }

    fn count(&mut self, end: bool) -> &mut u32 {
        if end {
            &mut self.ends
        } else {
            &mut self.others
        }
    }
}
