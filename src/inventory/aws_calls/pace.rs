//! Owns how fast the calls that have no budget may be made: those to Organizations, counted per call, and those to the identity store, IAM and
//! RDS, counted together. Never sends anything.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Requests per second of each call: about three quarters of the documented quota, so that grants and others find room.
const RATES: &[(&str, u32)] = &[
    ("organizations:ListAccounts", 6),
    ("organizations:ListOrganizationalUnitsForParent", 4),
    ("organizations:ListParents", 4),
    ("organizations:ListTagsForResource", 8),
    ("organizations:DescribeAccount", 15),
    (IDENTITY_STORE, 12),
    (IAM, 10),
    (RDS, 5),
    ("tag:GetResources", 5),
];
/// All calls to the identity store are counted together.
const IDENTITY_STORE: &str = "identitystore";
/// What these take is not published; they slow down with the first throttle.
const IAM: &str = "iam";
const RDS: &str = "rds";
/// Requests per second of any other call; the quota of `ListRoots`.
const OTHERWISE: u32 = 1;
/// Most times slower than usual.
const SLOWEST: u32 = 32;
/// Answers without a throttle after which the pace doubles again.
const RECOVERS_AFTER: u32 = 20;

/// The pace of every call.
#[derive(Debug)]
pub(in crate::inventory) struct Pace {
    lanes: Mutex<HashMap<&'static str, Lane>>,
    unlimited: bool,
}

#[derive(Debug)]
struct Lane {
    every: Duration,
    /// How many times slower than usual.
    slower: u32,
    good: u32,
    next: Instant,
}

impl Pace {
    pub(in crate::inventory) fn new() -> Self {
        Self {
            lanes: Mutex::default(),
            unlimited: false,
        }
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(in crate::inventory) fn unlimited() -> Self {
        Self {
            unlimited: true,
            ..Self::new()
        }
    }

    /// Waits until the call may be made.
    pub(super) async fn turn(&self, operation: &'static str) {
        if self.unlimited {
            return;
        }
        let at = self.lane(operation, |lane| {
            let at = lane.next.max(Instant::now());
            lane.next = at + lane.every * lane.slower;
            at
        });
        tokio::time::sleep_until(at).await;
    }

    /// Notes that the call was refused for coming too fast.
    pub(super) fn throttled(&self, operation: &'static str) {
        self.lane(operation, |lane| {
            lane.slower = (lane.slower * 2).min(SLOWEST);
            lane.good = 0;
            lane.next = Instant::now() + lane.every * lane.slower;
        });
    }

    /// Notes an answer.
    pub(super) fn went_well(&self, operation: &'static str) {
        self.lane(operation, |lane| {
            lane.good += 1;
            if lane.good >= RECOVERS_AFTER {
                lane.good = 0;
                lane.slower = (lane.slower / 2).max(1);
            }
        });
    }

    fn lane<T>(&self, operation: &'static str, with: impl FnOnce(&mut Lane) -> T) -> T {
        let name = match operation.split_once(':') {
            Some((service @ (IDENTITY_STORE | IAM | RDS), _)) => service,
            _ => operation,
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        with(lanes.entry(name).or_insert_with(|| Lane::of(name)))
    }
}

impl Lane {
    fn of(name: &str) -> Self {
        let listed = RATES.iter().find(|(listed, _)| *listed == name);
        let rate = listed.map_or(OTHERWISE, |(_, rate)| *rate);
        Self {
            every: Duration::from_secs(1) / rate,
            slower: 1,
            good: 0,
            next: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn time_of(pace: &Pace, operation: &'static str, calls: u32) -> Duration {
        let begun = Instant::now();
        for _ in 0..calls {
            pace.turn(operation).await;
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_to_organizations_has_a_pace_of_its_own_and_the_identity_store_one_for_all() {
        let pace = Pace::new();
        let accounts = time_of(&pace, "organizations:ListAccounts", 61).await;
        assert!(accounts >= Duration::from_secs(9), "{accounts:?}");
        let first = time_of(&pace, "organizations:ListTagsForResource", 1).await;
        assert!(first < Duration::from_millis(5), "{first:?}");
        for _ in 0..12 {
            pace.turn("identitystore:ListUsers").await;
        }
        let waited = time_of(&pace, "identitystore:ListGroups", 1).await;
        assert!(waited >= Duration::from_millis(80), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_halves_the_pace_and_it_recovers() {
        let pace = Pace::new();
        let call = "organizations:ListTagsForResource";
        pace.throttled(call);
        let slow = time_of(&pace, call, 9).await;
        assert!(slow >= Duration::from_secs(2), "{slow:?}");
        for _ in 0..RECOVERS_AFTER {
            pace.went_well(call);
        }
        time_of(&pace, call, 2).await;
        let usual = time_of(&pace, call, 8).await;
        assert!(usual <= Duration::from_millis(1_020), "{usual:?}");
        for _ in 0..100 {
            pace.throttled(call);
        }
        let slowest = time_of(&pace, call, 1).await;
        assert!(slowest <= Duration::from_millis(4_010), "{slowest:?}");
    }
}
