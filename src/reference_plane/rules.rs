//! Owns the rules of tasks as pure functions: order, slots, retries, validity. Never looks at a clock or a store.

use crate::domain::{ErrorClass, TaskKind};
use jiff::{SignedDuration, Timestamp};

/// How long a start or a reset is valid from its issue: an order nobody carried out in time was overtaken by events.
pub(super) const START_VALID: SignedDuration = SignedDuration::from_mins(10);
/// Most deliveries of a start or a reset: a task that five holders did not answer would not be answered by a sixth.
pub(super) const MAX_START_LEASES: u32 = 5;
/// Most tasks in one answer, so that it stays far below the 4 MiB a connector reads.
pub(super) const MAX_TASKS_PER_ANSWER: usize = 100;
/// Longest pause between two deliveries of a task that failed.
pub(super) const MAX_BACKOFF: SignedDuration = SignedDuration::from_secs(60);

/// Returns the place in the order of delivery: ends, then what changes access, then checks, then reads.
pub(super) fn rank(kind: TaskKind) -> u8 {
    match kind {
        TaskKind::RevokeAccess => 0,
        TaskKind::GrantAccess | TaskKind::ExtendAccess | TaskKind::ResetCredentials => 1,
        TaskKind::CheckIntegration => 2,
        TaskKind::SyncIntegration => 3,
    }
}

/// Tells whether a task removes access.
pub(super) fn is_end(kind: TaskKind) -> bool {
    rank(kind) == 0
}

/// Tells whether an order dies 10 minutes after its issue and after five deliveries.
pub(super) fn is_start(kind: TaskKind) -> bool {
    matches!(kind, TaskKind::GrantAccess | TaskKind::ResetCredentials)
}

/// Free places of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    /// For any task.
    pub(super) any: u32,
    /// For ends alone.
    pub(super) end: u32,
    /// What is left of the largest answer.
    pub(super) room: usize,
}

impl Slots {
    /// Takes a place for a task; says no when there is none.
    pub(super) fn take(&mut self, kind: TaskKind) -> bool {
        let place = match (self.room, is_end(kind)) {
            (0, _) => return false,
            (_, true) if self.end > 0 => &mut self.end,
            (_, _) => &mut self.any,
        };
        let Some(left) = place.checked_sub(1) else {
            return false;
        };
        *place = left;
        self.room -= 1;
        true
    }

    /// Tells whether a task other than an end could still be taken.
    pub(super) fn any_free(&self) -> bool {
        self.any > 0 && self.room > 0
    }

    /// Tells whether an end could still be taken.
    pub(super) fn end_free(&self) -> bool {
        (self.any > 0 || self.end > 0) && self.room > 0
    }
}

/// What is known of a task when a delivery of it went wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    pub(super) kind: TaskKind,
    /// Deliveries so far that were neither handed back nor proven to have had no effect.
    pub(super) deliveries: u32,
    /// Failures so far, this one included.
    pub(super) failures: u32,
    pub(super) issued_at: Timestamp,
    pub(super) now: Timestamp,
}

/// What happens to a task after a delivery that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is delivered again from this time on.
    Again(Timestamp),
    /// That was it.
    Final,
}

/// Decides what follows a reported failure.
pub(super) fn after_failure(
    delivery: &Delivery,
    class: ErrorClass,
    retry_after: Option<SignedDuration>,
) -> Next {
    let passes = matches!(
        class,
        ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Conflict
    );
    let pause = match (is_end(delivery.kind), passes) {
        (false, false) => return Next::Final,
        // An end is never given up; what a person must mend is looked at again each minute.
        (true, false) => MAX_BACKOFF,
        (true, true) => retry_after
            .unwrap_or_else(|| backoff(delivery.failures))
            .min(MAX_BACKOFF),
        (false, true) => retry_after.unwrap_or_else(|| backoff(delivery.failures)),
    };
    let at = later(delivery.now, pause);
    let gives_up = !is_end(delivery.kind)
        && (delivery.deliveries >= MAX_START_LEASES || at >= valid_until(delivery.issued_at));
    if gives_up {
        Next::Final
    } else {
        Next::Again(at)
    }
}

/// Decides what follows a lease that ran out without a result.
pub(super) fn after_lost_lease(delivery: &Delivery) -> Next {
    if is_start(delivery.kind) && delivery.deliveries >= MAX_START_LEASES {
        Next::Final
    } else {
        Next::Again(delivery.now)
    }
}

/// Tells whether a reported failure of a start proves that nothing of this delivery stands.
///
/// A connector reports the other classes only after it took back what it had begun; these three may hide a commit whose answer was lost.
pub(super) fn proves_nothing_stands(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Conflict => false,
        ErrorClass::Unauthorised
        | ErrorClass::NotFound
        | ErrorClass::NeedsOperator
        | ErrorClass::Bug => true,
    }
}

/// Returns the first moment at which an order issued then is too old to start.
pub(super) fn valid_until(issued_at: Timestamp) -> Timestamp {
    later(issued_at, START_VALID)
}

/// Adds without overflow.
pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Understands a failure class of the wire; an unknown one is taken for `bug`, which is never retried.
pub(super) fn class(text: &str) -> ErrorClass {
    ErrorClass::ALL
        .into_iter()
        .find(|class| class.as_str() == text)
        .unwrap_or(ErrorClass::Bug)
}

/// 1 s, 2 s, 4 s and so on up to a minute.
fn backoff(failures: u32) -> SignedDuration {
    let seconds = 1_i64 << failures.saturating_sub(1).min(6);
    SignedDuration::from_secs(seconds).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn delivery(kind: TaskKind, deliveries: u32, now: i64) -> Delivery {
        Delivery {
            kind,
            deliveries,
            failures: deliveries,
            issued_at: at(0),
            now: at(now),
        }
    }

    #[test]
    fn ends_come_first_and_reads_last() {
        let mut kinds = TaskKind::ALL;
        kinds.sort_by_key(|kind| rank(*kind));
        assert_eq!(kinds[0], TaskKind::RevokeAccess);
        assert_eq!(kinds[4], TaskKind::CheckIntegration);
        assert_eq!(kinds[5], TaskKind::SyncIntegration);
    }

    #[test]
    fn ends_take_their_own_places_first_and_then_any_other() {
        let mut slots = Slots {
            any: 1,
            end: 1,
            room: 9,
        };
        assert!(slots.take(TaskKind::RevokeAccess));
        assert_eq!((slots.any, slots.end), (1, 0));
        assert!(slots.take(TaskKind::RevokeAccess));
        assert!(!slots.take(TaskKind::RevokeAccess));
        assert!(!slots.end_free());
    }

    #[test]
    fn starts_never_take_a_place_kept_for_ends() {
        let mut slots = Slots {
            any: 0,
            end: 5,
            room: 9,
        };
        assert!(!slots.take(TaskKind::GrantAccess));
        assert!(!slots.any_free());
        assert!(slots.end_free());
    }

    #[test]
    fn an_answer_has_room_for_so_many_tasks_and_no_more() {
        let mut slots = Slots {
            any: 9,
            end: 9,
            room: 1,
        };
        assert!(slots.take(TaskKind::GrantAccess));
        assert!(!slots.take(TaskKind::RevokeAccess));
    }

    #[test]
    fn an_end_is_never_given_up() {
        for class in ErrorClass::ALL {
            let next = after_failure(&delivery(TaskKind::RevokeAccess, 900, 90_000), class, None);
            assert_eq!(next, Next::Again(at(90_060)), "{class}");
        }
        let lost = after_lost_lease(&delivery(TaskKind::RevokeAccess, 900, 5));
        assert_eq!(lost, Next::Again(at(5)));
    }

    #[test]
    fn a_start_is_tried_again_only_after_what_may_pass() {
        for class in ErrorClass::ALL {
            let next = after_failure(&delivery(TaskKind::GrantAccess, 1, 0), class, None);
            let expected = if proves_nothing_stands(class) {
                Next::Final
            } else {
                Next::Again(at(1))
            };
            assert_eq!(next, expected, "{class}");
        }
    }

    #[test]
    fn a_start_is_given_up_after_five_deliveries_or_ten_minutes() {
        let transient = ErrorClass::Transient;
        let fifth = delivery(TaskKind::GrantAccess, 5, 10);
        assert_eq!(after_failure(&fifth, transient, None), Next::Final);
        assert_eq!(after_lost_lease(&fifth), Next::Final);
        let late = delivery(TaskKind::GrantAccess, 1, 599);
        assert_eq!(after_failure(&late, transient, None), Next::Final);
        let wait = Some(SignedDuration::from_secs(300));
        let patient = delivery(TaskKind::GrantAccess, 1, 10);
        assert_eq!(
            after_failure(&patient, transient, wait),
            Next::Again(at(310))
        );
    }

    #[test]
    fn the_pause_of_an_end_is_at_most_a_minute_whatever_was_asked() {
        let wait = Some(SignedDuration::from_hours(9));
        let next = after_failure(
            &delivery(TaskKind::RevokeAccess, 1, 0),
            ErrorClass::Throttled,
            wait,
        );
        assert_eq!(next, Next::Again(at(60)));
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<_> = (1..=8).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn an_unknown_class_is_never_retried() {
        assert_eq!(class("solar_flare"), ErrorClass::Bug);
        assert_eq!(class("transient"), ErrorClass::Transient);
    }
}
