//! Owns the set of assignments: quick to ask by account, by permission set and by principal, with thousands of accounts.

use super::clock::{Moment, timestamp};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A user or group by its id, which may be dead.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Principal {
    /// `USER` or `GROUP`.
    pub(crate) kind: Arc<str>,
    pub(crate) id: Arc<str>,
}

/// Who has which permission set in which account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Assignment {
    pub(crate) account: Arc<str>,
    /// ARN of the permission set.
    pub(crate) set: Arc<str>,
    pub(crate) principal: Principal,
}

/// The time an assignment was really there, whatever lists showed.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) assignment: Assignment,
    pub(crate) appeared: Timestamp,
    pub(crate) disappeared: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    appeared: Moment,
    gone: Option<Moment>,
    span: usize,
}

type OfSet = BTreeMap<Principal, Row>;
/// Account and permission set.
type Place = (Arc<str>, Arc<str>);

/// All assignments.
#[derive(Debug, Default)]
pub(super) struct Rows {
    by_account: HashMap<Arc<str>, BTreeMap<Arc<str>, OfSet>>,
    by_principal: HashMap<Principal, BTreeSet<Place>>,
    pub(super) history: Vec<Span>,
}

impl Rows {
    pub(super) fn has(&self, assignment: &Assignment) -> bool {
        self.of(&assignment.account, &assignment.set)
            .and_then(|rows| rows.get(&assignment.principal))
            .is_some_and(|row| row.gone.is_none())
    }

    pub(super) fn any(&self, account: &str, set: &str) -> bool {
        self.of(account, set)
            .is_some_and(|rows| rows.values().any(|row| row.gone.is_none()))
    }

    /// Returns false if it was there.
    pub(super) fn add(&mut self, assignment: &Assignment, now: Moment) -> bool {
        if self.has(assignment) {
            return false;
        }
        let span = self.history.len();
        self.history.push(Span {
            assignment: assignment.clone(),
            appeared: timestamp(now),
            disappeared: None,
        });
        self.by_account
            .entry(Arc::clone(&assignment.account))
            .or_default()
            .entry(Arc::clone(&assignment.set))
            .or_default()
            .insert(
                assignment.principal.clone(),
                Row {
                    appeared: now,
                    gone: None,
                    span,
                },
            );
        self.by_principal
            .entry(assignment.principal.clone())
            .or_default()
            .insert((Arc::clone(&assignment.account), Arc::clone(&assignment.set)));
        true
    }

    /// Returns false if it was not there. With a lag, lists go on showing it for a while.
    pub(super) fn remove(&mut self, assignment: &Assignment, now: Moment, lag: i64) -> bool {
        if !self.has(assignment) {
            return false;
        }
        let sets = self.by_account.get_mut(&assignment.account).unwrap();
        let rows = sets.get_mut(&assignment.set).unwrap();
        let row = rows.get_mut(&assignment.principal).unwrap();
        row.gone = Some(now);
        self.history[row.span].disappeared = Some(timestamp(now));
        if lag == 0 {
            rows.remove(&assignment.principal);
            if rows.is_empty() {
                sets.remove(&assignment.set);
            }
            let pair = (Arc::clone(&assignment.account), Arc::clone(&assignment.set));
            self.by_principal
                .get_mut(&assignment.principal)
                .unwrap()
                .remove(&pair);
        }
        true
    }

    /// Returns what a list shows of an account and permission set.
    pub(super) fn shown(&self, account: &str, set: &str, now: Moment, lag: i64) -> Vec<Principal> {
        self.of(account, set)
            .into_iter()
            .flatten()
            .filter(|(_, row)| row.is_shown(now, lag))
            .map(|(principal, _)| principal.clone())
            .collect()
    }

    pub(super) fn shown_of_principal(
        &self,
        principal: &Principal,
        now: Moment,
        lag: i64,
    ) -> Vec<Place> {
        self.by_principal
            .get(principal)
            .into_iter()
            .flatten()
            .filter(|(account, set)| {
                self.of(account, set)
                    .and_then(|rows| rows.get(principal))
                    .is_some_and(|row| row.is_shown(now, lag))
            })
            .cloned()
            .collect()
    }

    pub(super) fn all(&self) -> Vec<Assignment> {
        let mut all = Vec::new();
        for (account, sets) in &self.by_account {
            for (set, rows) in sets {
                all.extend(rows.iter().filter(|(_, row)| row.gone.is_none()).map(
                    |(principal, _)| Assignment {
                        account: Arc::clone(account),
                        set: Arc::clone(set),
                        principal: principal.clone(),
                    },
                ));
            }
        }
        all.sort();
        all
    }

    fn of(&self, account: &str, set: &str) -> Option<&OfSet> {
        self.by_account.get(account)?.get(set)
    }
}

impl Row {
    fn is_shown(self, now: Moment, lag: i64) -> bool {
        self.appeared.saturating_add(lag) <= now && self.gone.is_none_or(|gone| gone + lag > now)
    }
}
