//! Owns the timing of everything that is tried again; the one room that knows the retry library. Never looks at an error's text: the class decides.

use crate::domain::ErrorClass;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// Longest wait between two polls, and between two tries of an end: 30 s.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// First ceiling of the wait after a failed poll: 1 s.
const POLL_FIRST: Duration = Duration::from_secs(1);
/// First ceiling of the wait after a failed end: 200 ms, because access is open meanwhile.
const END_FIRST: Duration = Duration::from_millis(200);
/// Shortest wait, so that an unlucky draw never makes a loop spin: 20 ms.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// Longest sum of waits within one lease: 50 s, so that a lease of 60 s is not used up by waiting.
const WITHIN_LEASE: Duration = Duration::from_secs(50);

/// Where the jitter comes from.
#[derive(Debug, Clone, Copy)]
pub enum Jitter {
    /// The random source of the process: no two instances draw the same.
    Random,
    /// A seed: the same draws every time, for tests.
    Seeded(u64),
}

/// Waits that grow and never run out, with full jitter: anything from nearly nothing to the ceiling of the moment.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    jitter: Jitter,
    draw: Draw,
}

impl Backoff {
    /// Returns the waits between failed calls to the control plane: ceiling 1 s doubling to 30 s.
    #[must_use]
    pub fn poll(jitter: Jitter) -> Self {
        Self::starting(POLL_FIRST, jitter)
    }

    /// Returns the waits between tries of an end: ceiling 200 ms doubling to 30 s. An end never gives up.
    #[must_use]
    pub fn end(jitter: Jitter) -> Self {
        Self::starting(END_FIRST, jitter)
    }

    fn starting(first: Duration, jitter: Jitter) -> Self {
        Self {
            first,
            jitter,
            draw: Draw::new(first, jitter),
        }
    }

    /// Returns the next wait: 20 ms to 30 s.
    pub fn next_wait(&mut self) -> Duration {
        self.draw.next().max(SHORTEST_WAIT)
    }

    /// Returns the next wait, but not less than the other side asked for.
    pub fn next_wait_at_least(&mut self, asked: Option<Duration>) -> Duration {
        self.next_wait().max(asked.unwrap_or_default())
    }

    /// Starts again with short waits; call it after a success.
    pub fn reset(&mut self) {
        self.draw.restart(self.first, self.jitter);
    }
}

/// Returns a wait between nothing and the given length, so that instances started together do not act together.
#[must_use]
pub fn spread(over: Duration, jitter: Jitter) -> Duration {
    Draw::new(over, jitter).next()
}

/// The full jitter: the library adds up to one whole wait to each wait, and what it adds is exactly what we want.
#[derive(Debug)]
struct Draw {
    jittered: ExponentialBackoff,
    plain: ExponentialBackoff,
}

impl Draw {
    fn new(first: Duration, jitter: Jitter) -> Self {
        let shape = ExponentialBuilder::new()
            .with_min_delay(first)
            .with_max_delay(LONGEST_WAIT)
            .without_max_times();
        Self {
            jittered: jittered(shape, jitter).build(),
            plain: shape.build(),
        }
    }

    fn next(&mut self) -> Duration {
        let ceiling = self.plain.next().unwrap_or(LONGEST_WAIT);
        let drawn = self.jittered.next().unwrap_or(ceiling);
        drawn.saturating_sub(ceiling)
    }

    fn restart(&mut self, first: Duration, jitter: Jitter) {
        match jitter {
            Jitter::Random => *self = Self::new(first, jitter),
            // The same seed again would repeat the same draws after every success.
            Jitter::Seeded(seed) => {
                *self = Self::new(first, Jitter::Seeded(seed.wrapping_add(1)));
            }
        }
    }
}

fn jittered(shape: ExponentialBuilder, jitter: Jitter) -> ExponentialBuilder {
    match jitter {
        Jitter::Random => shape.with_jitter(),
        Jitter::Seeded(seed) => shape.with_jitter().with_jitter_seed(seed),
    }
}

/// The waits between tries of one step while a lease is held. When they run out, the failure is reported and the
/// control plane decides.
#[derive(Debug)]
pub struct Schedule {
    waits: Option<ExponentialBackoff>,
}

impl Schedule {
    /// Returns the waits for a class of error; none for a class that trying again cannot help.
    #[must_use]
    pub fn for_class(class: ErrorClass, jitter: Jitter) -> Self {
        Self {
            waits: shape(class).map(|shape| jittered(shape, jitter).build()),
        }
    }

    /// Returns the next wait, but not less than the other side asked for; nothing when the tries are used up or the
    /// other side asked for more than a lease lasts.
    pub fn next_wait(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let wait = self.waits.as_mut()?.next()?.max(asked.unwrap_or_default());
        (wait <= WITHIN_LEASE).then_some(wait)
    }
}

/// The table: class to shape. Each wait is drawn between its floor and twice its floor.
fn shape(class: ErrorClass) -> Option<ExponentialBuilder> {
    let shape = ExponentialBuilder::new().with_total_delay(Some(WITHIN_LEASE));
    match class {
        ErrorClass::Transient => Some(
            shape
                .with_min_delay(Duration::from_millis(200))
                .with_max_delay(Duration::from_secs(8))
                .without_max_times(),
        ),
        ErrorClass::Throttled => Some(
            shape
                .with_min_delay(Duration::from_secs(1))
                .with_max_delay(Duration::from_secs(8))
                .without_max_times(),
        ),
        ErrorClass::Conflict => Some(
            shape
                .with_min_delay(Duration::from_millis(50))
                .with_max_delay(Duration::from_secs(2))
                .with_max_times(20),
        ),
        // A credential that was changed a moment ago is read again once.
        ErrorClass::Unauthorised => Some(
            shape
                .with_min_delay(Duration::from_secs(1))
                .with_max_times(1),
        ),
        ErrorClass::NotFound | ErrorClass::NeedsOperator | ErrorClass::Bug => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Jitter = Jitter::Seeded(7);

    fn waits(class: ErrorClass) -> Vec<Duration> {
        let mut schedule = Schedule::for_class(class, SEED);
        std::iter::from_fn(|| schedule.next_wait(None)).collect()
    }

    #[test]
    fn the_class_alone_decides_how_often_a_step_is_tried_within_a_lease() {
        let mut table = String::new();
        for class in ErrorClass::ALL {
            let waits = waits(class);
            let sum: Duration = waits.iter().sum();
            assert!(sum <= WITHIN_LEASE, "{class}: {sum:?}");
            let first = waits.first().map(Duration::as_millis);
            table += &format!(
                "{class}: {} more tries, first after {first:?} ms\n",
                waits.len()
            );
        }
        insta::assert_snapshot!(table, @r"
        transient: 9 more tries, first after Some(354) ms
        throttled: 6 more tries, first after Some(1773) ms
        unauthorised: 1 more tries, first after Some(1773) ms
        not_found: 0 more tries, first after None ms
        conflict: 20 more tries, first after Some(88) ms
        needs_operator: 0 more tries, first after None ms
        bug: 0 more tries, first after None ms
        ");
    }

    #[test]
    fn waits_within_a_lease_keep_to_twice_their_floor() {
        for class in [
            ErrorClass::Transient,
            ErrorClass::Throttled,
            ErrorClass::Conflict,
        ] {
            for wait in waits(class) {
                assert!(wait <= Duration::from_secs(16), "{class}: {wait:?}");
            }
        }
    }

    #[test]
    fn a_wait_the_other_side_asked_for_is_kept_when_it_fits_the_lease() {
        let mut schedule = Schedule::for_class(ErrorClass::Throttled, SEED);
        let asked = Duration::from_secs(20);
        assert_eq!(schedule.next_wait(Some(asked)), Some(asked));
        assert_eq!(schedule.next_wait(Some(Duration::from_secs(300))), None);
    }

    #[test]
    fn polling_backs_off_to_30_seconds_with_full_jitter_and_never_stops() {
        let mut backoff = Backoff::poll(SEED);
        let waits: Vec<_> = (0..1000).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= POLL_FIRST);
        assert!(
            waits
                .iter()
                .all(|wait| (SHORTEST_WAIT..=LONGEST_WAIT).contains(wait))
        );
        assert!(
            waits[10..]
                .iter()
                .any(|wait| *wait < Duration::from_secs(3))
        );
        assert!(
            waits[10..]
                .iter()
                .any(|wait| *wait > Duration::from_secs(27))
        );
    }

    #[test]
    fn an_end_is_tried_again_within_200_ms_and_for_ever() {
        let mut backoff = Backoff::end(SEED);
        assert!(backoff.next_wait() <= END_FIRST);
        for _ in 0..10_000 {
            assert!(backoff.next_wait() <= LONGEST_WAIT);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= END_FIRST);
    }

    #[test]
    fn waits_grow_from_short_ones() {
        let mean = |nth: usize| -> Duration {
            let sum: Duration = (0..200)
                .map(|seed| {
                    let mut backoff = Backoff::poll(Jitter::Seeded(seed));
                    (0..nth).for_each(|_| {
                        backoff.next_wait();
                    });
                    backoff.next_wait()
                })
                .sum();
            sum / 200
        };
        assert!(mean(0) < mean(2));
        assert!(mean(2) < mean(4));
    }

    #[test]
    fn a_retry_after_is_the_shortest_wait() {
        let mut backoff = Backoff::poll(SEED);
        let asked = Duration::from_secs(120);
        assert_eq!(backoff.next_wait_at_least(Some(asked)), asked);
    }

    #[test]
    fn a_spread_stays_within_its_length() {
        for seed in 0..100 {
            assert!(spread(Duration::from_secs(5), Jitter::Seeded(seed)) <= Duration::from_secs(5));
        }
    }
}
