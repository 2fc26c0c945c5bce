//! Owns the memory of grants that are ended, clean and reported: a server that is restored or promoted may know less. Pure.

use super::event::Event;
use crate::domain::{EndReason, EndReport, Grant, GrantId, IntegrationId};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How long an end is remembered, by the clock of its target.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Most ends remembered, the latest ones: about 25 MiB of memory.
const MOST: usize = 50_000;

/// A grant that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedGrant {
    /// What it was.
    pub grant: Grant,
    /// When its access was taken away, by the target's clock.
    pub ended_at: Timestamp,
    /// Why.
    pub reason: EndReason,
}

/// The ends of the last 30 days.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ends {
    by_grant: BTreeMap<GrantId, EndedGrant>,
    /// Each target has its own clock, so time is compared within one integration alone.
    by_time: BTreeSet<(IntegrationId, Timestamp, GrantId)>,
}

impl Ends {
    /// Finds a grant that is over.
    #[must_use]
    pub fn get(&self, grant: GrantId) -> Option<&EndedGrant> {
        self.by_grant.get(&grant)
    }

    /// Returns the grants of an integration that are over, in the order of their ends.
    pub fn of(&self, integration: IntegrationId) -> impl Iterator<Item = &EndedGrant> {
        self.by_time
            .range((integration, Timestamp::MIN, GrantId::new(uuid::Uuid::nil()))..)
            .take_while(move |(of, _, _)| *of == integration)
            .filter_map(|(_, _, grant)| self.by_grant.get(grant))
    }

    pub(super) fn add(&mut self, ended: EndedGrant) {
        let integration = ended.grant.integration;
        let outdated = ended
            .ended_at
            .checked_sub(REMEMBERED)
            .unwrap_or(Timestamp::MIN);
        self.remove(ended.grant.id);
        self.by_time
            .insert((integration, ended.ended_at, ended.grant.id));
        self.by_grant.insert(ended.grant.id, ended);
        while let Some((_, at, grant)) = self.oldest(integration) {
            if at >= outdated && self.by_grant.len() <= MOST {
                break;
            }
            self.remove(grant);
        }
    }

    pub(super) fn forget(&mut self, integration: IntegrationId) {
        while let Some((_, _, grant)) = self.oldest(integration) {
            self.remove(grant);
        }
    }

    /// Returns all, of each integration the latest first: added again in this order none outdates another.
    pub(super) fn all(&self) -> impl Iterator<Item = &EndedGrant> {
        self.by_time
            .iter()
            .rev()
            .filter_map(|(_, _, grant)| self.by_grant.get(grant))
    }

    fn oldest(&self, integration: IntegrationId) -> Option<(IntegrationId, Timestamp, GrantId)> {
        let first = (integration, Timestamp::MIN, GrantId::new(uuid::Uuid::nil()));
        self.by_time
            .range(first..)
            .next()
            .filter(|(of, _, _)| *of == integration)
            .copied()
    }

    fn remove(&mut self, grant: GrantId) {
        if let Some(known) = self.by_grant.remove(&grant) {
            self.by_time
                .remove(&(known.grant.integration, known.ended_at, grant));
        }
    }
}

impl EndedGrant {
    /// Returns the events whose fold is this.
    pub(super) fn restate(&self) -> [Event; 3] {
        [
            Event::GrantLearned {
                grant: self.grant.clone(),
                started_at: None,
            },
            Event::Closed(self.report()),
            Event::Clean(self.grant.id),
        ]
    }

    /// Returns the report a fold makes this of again.
    fn report(&self) -> EndReport {
        EndReport {
            grant: self.grant.id,
            integration: self.grant.integration,
            ended_at: self.ended_at,
            reason: self.reason,
            sessions_before: 0,
            sessions_after: 0,
            clean: false,
            leftovers: Vec::new(),
            details: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::samples;

    fn ended(n: u128, at: i64) -> EndedGrant {
        EndedGrant {
            grant: samples::grant(n),
            ended_at: Timestamp::from_second(at).unwrap(),
            reason: EndReason::Revoked,
        }
    }

    #[test]
    fn an_end_is_remembered_for_thirty_days() {
        let mut ends = Ends::default();
        let day = 86_400;
        ends.add(ended(1, 0));
        ends.add(ended(2, 20 * day));
        ends.add(ended(3, 30 * day));
        assert!(ends.get(samples::grant(1).id).is_some());
        ends.add(ended(4, 30 * day + 1));
        assert!(ends.get(samples::grant(1).id).is_none());
        let of: Vec<_> = ends
            .of(samples::grant(1).integration)
            .map(|e| e.grant.id)
            .collect();
        assert_eq!(of, [2, 3, 4].map(|n| samples::grant(n).id));
        ends.forget(samples::grant(1).integration);
        assert_eq!(ends, Ends::default());
    }

    #[test]
    fn an_old_end_that_came_late_is_still_known_after_all_are_added_again() {
        let mut ends = Ends::default();
        ends.add(ended(5, 30 * 86_400 + 1));
        ends.add(ended(2, 0));
        let mut again = Ends::default();
        ends.all().for_each(|ended| again.add(ended.clone()));
        assert_eq!(again, ends);
        assert_eq!(again.all().count(), 2);
    }

    #[test]
    fn no_more_ends_are_remembered_than_memory_allows() {
        let mut ends = Ends::default();
        for n in 0..MOST as u128 + 10 {
            ends.add(ended(n, 1_000));
        }
        assert_eq!(ends.all().count(), MOST);
    }
}
