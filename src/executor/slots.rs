//! Owns how much runs at once. Never lets starts take the places kept for ends, nor one dead integration take everybody's.

use crate::clock::SharedClock;
use crate::domain::IntegrationId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Most ends of one integration at once: as many orders as Identity Center carries out at a time. A database server takes them by as many
/// as it has connections for ends.
const ENDS_PER_INTEGRATION: usize = 16;
/// Longest wait of a task for a place, well within its lease; then it is handed back.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// First pause after an integration could not be reached; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause, so that an integration that comes back is noticed soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The places for work. A quarter is kept for ends.
#[derive(Debug)]
pub(super) struct Slots {
    any: Arc<Semaphore>,
    end: Arc<Semaphore>,
    starts_per_integration: usize,
    /// Tasks in hand that wait for a place; they count as taken when more work is asked for.
    waiting: AtomicU32,
    gates: Mutex<HashMap<IntegrationId, Arc<Gate>>>,
    clock: SharedClock,
}

/// Counts one waiting task for as long as it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot(
    #[expect(dead_code, reason = "held for its drop")] Vec<OwnedSemaphorePermit>,
);

#[derive(Debug)]
struct Gate {
    starts: Arc<Semaphore>,
    ends: Arc<Semaphore>,
    probe: Arc<Semaphore>,
    trouble: Mutex<Trouble>,
    back: Notify,
}

#[derive(Debug, Default, Clone, Copy)]
struct Trouble {
    failures: u32,
    /// By the boot-time clock.
    until: Duration,
}

impl Slots {
    pub(super) fn new(total: usize, starts_per_integration: usize, clock: SharedClock) -> Self {
        let kept = (total / 4).max(1);
        Self {
            any: Arc::new(Semaphore::new(total.saturating_sub(kept).max(1))),
            end: Arc::new(Semaphore::new(kept)),
            starts_per_integration,
            waiting: AtomicU32::new(0),
            gates: Mutex::default(),
            clock,
        }
    }

    /// Returns the free places: for any work, and for ends alone.
    pub(super) fn free(&self) -> (u32, u32) {
        let count = |semaphore: &Semaphore| {
            u32::try_from(semaphore.available_permits()).unwrap_or(u32::MAX)
        };
        let waiting = self.waiting.load(Ordering::Relaxed);
        (count(&self.any).saturating_sub(waiting), count(&self.end))
    }

    /// Waits for a place for a start or anything else that is no end. Nothing when the integration cannot be reached, or no
    /// place comes free within [`LONGEST_WAIT`].
    pub(super) async fn any(&self, integration: IntegrationId) -> Option<Slot> {
        let gate = self.gate(integration);
        if gate.pause(self.clock.since_boot()) > Duration::ZERO {
            return None;
        }
        let _waits = Waiting::new(&self.waiting);
        let taking = async {
            let share = Arc::clone(&gate.starts).acquire_owned().await.ok()?;
            let place = Arc::clone(&self.any).acquire_owned().await.ok()?;
            Some(Slot(vec![share, place]))
        };
        tokio::time::timeout(LONGEST_WAIT, taking)
            .await
            .ok()
            .flatten()
    }

    /// Waits for a place for an end. While the integration cannot be reached, one end at a time tries, after a pause.
    pub(super) async fn end(&self, integration: IntegrationId) -> Slot {
        let gate = self.gate(integration);
        let mut held = Vec::with_capacity(3);
        if gate.in_trouble() {
            let probe = Arc::clone(&gate.probe).acquire_owned().await.ok();
            tokio::select! {
                () = tokio::time::sleep(gate.pause(self.clock.since_boot())) => {}
                () = gate.back.notified() => {}
            }
            // Whoever waited behind a probe that came through goes on beside the others.
            held.extend(probe.filter(|_| gate.in_trouble()));
        }
        held.extend(Arc::clone(&gate.ends).acquire_owned().await.ok());
        let place = tokio::select! {
            biased;
            place = Arc::clone(&self.end).acquire_owned() => place,
            place = Arc::clone(&self.any).acquire_owned() => place,
        };
        held.extend(place.ok());
        Slot(held)
    }

    /// Notes that the integration answered, or that it could not be reached.
    pub(super) fn note(&self, integration: IntegrationId, reached: bool) {
        let gate = self.gate(integration);
        let mut trouble = gate.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since_boot = self.clock.since_boot();
        if reached {
            if std::mem::take(&mut *trouble).failures > 0 {
                gate.back.notify_waiters();
            }
        } else if trouble.until <= since_boot {
            let pause = FIRST_PAUSE
                .saturating_mul(1 << trouble.failures.min(16))
                .min(LONGEST_PAUSE);
            trouble.failures = trouble.failures.saturating_add(1);
            trouble.until = since_boot.saturating_add(pause);
        }
    }

    /// Waits until an integration that could not be reached answers again.
    pub(super) async fn back(&self, integration: IntegrationId) {
        self.gate(integration).back.notified().await;
    }

    fn gate(&self, integration: IntegrationId) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(integration).or_insert_with(|| {
            Arc::new(Gate {
                starts: Arc::new(Semaphore::new(self.starts_per_integration)),
                ends: Arc::new(Semaphore::new(ENDS_PER_INTEGRATION)),
                probe: Arc::new(Semaphore::new(1)),
                trouble: Mutex::default(),
                back: Notify::new(),
            })
        }))
    }
}

impl Gate {
    fn in_trouble(&self) -> bool {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failures
            > 0
    }

    fn pause(&self, since_boot: Duration) -> Duration {
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.until.saturating_sub(since_boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FakeClock;

    fn slots(clock: &Arc<FakeClock>) -> Slots {
        let shared: SharedClock = Arc::<FakeClock>::clone(clock);
        Slots::new(8, 4, shared)
    }

    fn clock() -> Arc<FakeClock> {
        Arc::new(FakeClock::at("2030-01-01T00:00:00Z".parse().unwrap()))
    }

    async fn take(slots: &Slots, integration: IntegrationId, count: usize) -> Vec<Slot> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(slots.any(integration).await.unwrap());
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn a_quarter_of_the_places_is_kept_for_ends() {
        let slots = slots(&clock());
        assert_eq!(slots.free(), (6, 2));
        let one = IntegrationId::generate();
        let two = IntegrationId::generate();
        let _ones = take(&slots, one, 4).await;
        let _twos = take(&slots, two, 2).await;
        assert!(slots.any(two).await.is_none());
        let _ends = (slots.end(one).await, slots.end(two).await);
        assert_eq!(slots.free(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_integration_takes_only_its_share_of_starts() {
        let slots = slots(&clock());
        let one = IntegrationId::generate();
        let _taken = take(&slots, one, 4).await;
        assert!(slots.any(one).await.is_none());
        assert!(slots.any(IntegrationId::generate()).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_place_counts_as_taken_and_gets_the_next_one() {
        let slots = slots(&clock());
        let one = IntegrationId::generate();
        let mut taken = take(&slots, one, 4).await;
        let waiting = slots.any(one);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(slots.free(), (1, 2));
        taken.pop();
        let next = waiting.await;
        assert!(next.is_some());
        assert_eq!(slots.free(), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_integration_that_cannot_be_reached_pauses_and_comes_back() {
        let clock = clock();
        let slots = slots(&clock);
        let one = IntegrationId::generate();
        slots.note(one, false);
        assert!(slots.any(one).await.is_none());
        clock.advance(FIRST_PAUSE);
        assert!(slots.any(one).await.is_some());
        slots.note(one, false);
        slots.note(one, true);
        assert!(slots.any(one).await.is_some());
    }
}
