//! Owns what of the state an instance left behind becomes ours. Pure: never reads or writes a ledger.
//!
//! What we know ourselves is newer, with one exception: what has ended there, or was being ended, is not live here.

use super::event::{Event, OutboxEntry};
use super::state::{GrantPhase, GrantRecord, State};
use crate::domain::{EndReport, Integration, IntegrationState, TaskOutcome};

/// What is to be taken over.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inheritance {
    /// What happened, for our own log.
    pub events: Vec<Event>,
    /// Ends the control plane was not told of.
    pub ends: Vec<EndReport>,
    /// Grants that were not known here.
    pub grants: usize,
}

impl State {
    /// Compares our state with one that was left behind.
    ///
    /// Results of orders are not taken over but for the ends in them: the control plane takes a result only from the instance that had the order,
    /// and hands the order out again.
    #[must_use]
    pub fn inherit(&self, left: &Self) -> Inheritance {
        let mut taken = Inheritance::default();
        for integration in left.integrations.values() {
            self.inherit_integration(integration, left, &mut taken);
        }
        for ended in left.ends.all() {
            let grant = &ended.grant;
            let settings_known = self.integrations.contains_key(&grant.integration);
            let known = self.grants.contains_key(&grant.id) || self.is_over(grant.id);
            if settings_known && !known {
                taken.events.extend(ended.restate());
            }
        }
        for record in left.grants.values() {
            self.inherit_grant(record, &mut taken);
        }
        taken.ends.extend(left.outbox.values().filter_map(end_in));
        taken
    }

    /// Settings that are not known here serve the ends alone, until the control plane's list says more.
    fn inherit_integration(&self, integration: &Integration, left: &Self, taken: &mut Inheritance) {
        let mut grants = left.grants.values();
        let is_needed = grants.any(|record| record.grant.integration == integration.id);
        if is_needed && !self.integrations.contains_key(&integration.id) {
            taken.events.push(Event::IntegrationKnown(Integration {
                state: IntegrationState::Retiring,
                ..integration.clone()
            }));
        }
    }

    fn inherit_grant(&self, record: &GrantRecord, taken: &mut Inheritance) {
        let grant = &record.grant;
        if self.is_over(grant.id) {
            return;
        }
        let Some(known) = self.grants.get(&grant.id) else {
            record.restate(&mut taken.events);
            taken.grants += 1;
            return;
        };
        match (&known.phase, &record.phase) {
            (GrantPhase::Closed(_), _) => return,
            (_, GrantPhase::Closed(report)) => taken.events.push(Event::Closed(report.clone())),
            (GrantPhase::Starting { .. } | GrantPhase::Live, GrantPhase::Ending(reason)) => {
                taken.events.push(Event::EndIntended {
                    grant: known.grant.clone(),
                    reason: *reason,
                });
            }
            _ => {}
        }
        if known.checkpoint.is_none() {
            let checkpoint = record.checkpoint.iter().cloned();
            taken
                .events
                .extend(checkpoint.map(|checkpoint| Event::CheckpointKept {
                    grant: grant.id,
                    checkpoint,
                }));
        }
    }

    fn is_over(&self, grant: crate::domain::GrantId) -> bool {
        !self.grants.contains_key(&grant) && self.ends.get(grant).is_some()
    }
}

/// Returns the end a report tells of.
fn end_in(entry: &OutboxEntry) -> Option<EndReport> {
    match entry {
        OutboxEntry::End(end)
        | OutboxEntry::Result {
            outcome: TaskOutcome::Closed { end } | TaskOutcome::Succeeded { end: Some(end), .. },
            ..
        } => Some(end.clone()),
        OutboxEntry::Result { .. } => None,
    }
}
