//! Owns the fold: what is true now, given what happened. Pure.

use super::ends::{EndedGrant, Ends};
use super::event::{Event, OutboxEntry};
use crate::domain::{
    Checkpoint, EndReason, EndReport, Grant, GrantId, InstanceId, Integration, IntegrationId,
    TaskId,
};
use jiff::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// What is true now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Names the state folder.
    pub instance: Option<InstanceId>,
    /// Names the control plane's store, as last seen.
    pub epoch: Option<Uuid>,
    /// Whether an operator froze starts.
    pub frozen: bool,
    /// Integrations assigned to this connector.
    pub integrations: BTreeMap<IntegrationId, Integration>,
    /// Grants from their intent until they are closed, clean and reported.
    pub grants: BTreeMap<GrantId, GrantRecord>,
    /// Grants that were closed and clean, for 30 days.
    pub ends: Ends,
    /// Reports not yet acknowledged, in order.
    pub outbox: BTreeMap<u64, OutboxEntry>,
    /// The next free place in the outbox.
    pub next_report: u64,
}

/// What is known of one grant.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantRecord {
    /// The grant with the expiry in force.
    pub grant: Grant,
    /// Where it is in its life.
    pub phase: GrantPhase,
    /// When the access first became usable.
    pub started_at: Option<Timestamp>,
    /// The step that was begun and not seen done: after a crash, its outcome is unknown.
    pub open_step: Option<String>,
    /// What its target noted before the first effect.
    pub checkpoint: Option<Checkpoint>,
}

/// Where a grant is in its life.
#[derive(Debug, Clone, PartialEq)]
pub enum GrantPhase {
    /// Permitted; the effect may or may not exist.
    Starting {
        /// The order.
        task: TaskId,
        /// Which delivery of it.
        attempt: u32,
    },
    /// Verified.
    Live,
    /// Being ended, until it is closed.
    Ending(EndReason),
    /// The access is gone; clean-up may still be going on.
    Closed(EndReport),
}

impl State {
    /// Applies one event. Events about a grant that is not known change nothing: replay after compaction meets them.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::InstanceNamed(instance) => self.instance = Some(instance),
            Event::EpochSeen(epoch) => self.epoch = Some(epoch),
            Event::Frozen(frozen) => self.frozen = frozen,
            Event::IntegrationKnown(integration) => {
                self.integrations.insert(integration.id, integration);
            }
            Event::IntegrationGone(id) => {
                self.integrations.remove(&id);
                self.ends.forget(id);
            }
            Event::Queued { id, entry } => {
                self.next_report = self.next_report.max(id.saturating_add(1));
                self.outbox.insert(id, entry);
            }
            Event::Delivered(id) => {
                self.outbox.remove(&id);
            }
            Event::ReportsFrom(next) => self.next_report = self.next_report.max(next),
            Event::StartIntended {
                grant,
                task,
                attempt,
            } => self.intend_start(grant, task, attempt),
            Event::GrantLearned { grant, started_at } => self.learn(grant, started_at),
            Event::CheckpointKept { grant, checkpoint } => {
                self.with(grant, |record| record.checkpoint = Some(checkpoint));
            }
            Event::StepBegan { grant, note } => {
                self.with(grant, |record| record.open_step = Some(note))
            }
            Event::StepDone { grant, .. } => self.with(grant, |record| record.open_step = None),
            Event::Started { grant, at } => self.with(grant, |record| {
                record.started_at.get_or_insert(at);
                if matches!(record.phase, GrantPhase::Starting { .. }) {
                    record.phase = GrantPhase::Live;
                }
            }),
            Event::StartAbandoned(grant) => {
                if self
                    .grants
                    .get(&grant)
                    .is_some_and(|r| matches!(r.phase, GrantPhase::Starting { .. }))
                {
                    self.grants.remove(&grant);
                }
            }
            Event::ExpiryMoved { grant, expiry } => {
                self.with(grant, |record| record.grant.expiry = expiry)
            }
            Event::EndIntended { grant, reason } => self.intend_end(grant, reason),
            Event::EndCalledOff { grant, expiry } => self.with(grant, |record| {
                record.grant.expiry = expiry;
                if matches!(record.phase, GrantPhase::Ending(_)) {
                    record.phase = GrantPhase::Live;
                }
            }),
            Event::Closed(report) => self.with(report.grant, |record| {
                record.open_step = None;
                record.phase = GrantPhase::Closed(report);
            }),
            Event::Clean(grant) => {
                if let Some(record) = self.grants.remove(&grant)
                    && let GrantPhase::Closed(report) = record.phase
                {
                    self.ends.add(EndedGrant {
                        grant: record.grant,
                        ended_at: report.ended_at,
                        reason: report.reason,
                    });
                }
            }
        }
    }

    /// Tells whether nothing is left to be done or to be remembered but a name and settings.
    #[must_use]
    pub fn owes_nothing(&self) -> bool {
        self.grants.is_empty()
            && self.outbox.is_empty()
            && self.ends.all().next().is_none()
            && !self.frozen
    }

    /// Returns a short list of events whose fold is this state, for every state that is itself a fold of events.
    #[must_use]
    pub fn restate(&self) -> Vec<Event> {
        let mut events = Vec::new();
        events.extend(self.instance.map(Event::InstanceNamed));
        events.extend(self.epoch.map(Event::EpochSeen));
        if self.frozen {
            events.push(Event::Frozen(true));
        }
        events.extend(
            self.integrations
                .values()
                .cloned()
                .map(Event::IntegrationKnown),
        );
        // First, because a grant may be ended once more on a server that forgot it.
        for ended in self.ends.all() {
            events.extend(ended.restate());
        }
        for record in self.grants.values() {
            record.restate(&mut events);
        }
        if self.next_report > 0 {
            events.push(Event::ReportsFrom(self.next_report));
        }
        events.extend(self.outbox.iter().map(|(id, entry)| Event::Queued {
            id: *id,
            entry: entry.clone(),
        }));
        events
    }

    fn learn(&mut self, grant: Grant, started_at: Option<Timestamp>) {
        self.grants.entry(grant.id).or_insert(GrantRecord {
            grant,
            phase: GrantPhase::Live,
            started_at,
            open_step: None,
            checkpoint: None,
        });
    }

    fn with(&mut self, grant: GrantId, change: impl FnOnce(&mut GrantRecord)) {
        if let Some(record) = self.grants.get_mut(&grant) {
            change(record);
        }
    }

    fn intend_start(&mut self, grant: Grant, task: TaskId, attempt: u32) {
        let id = grant.id;
        let record = self.grants.entry(id).or_insert(GrantRecord {
            grant,
            phase: GrantPhase::Starting { task, attempt },
            started_at: None,
            open_step: None,
            checkpoint: None,
        });
        // A redelivered start of a live grant stays live; an ended one stays ended.
        if matches!(record.phase, GrantPhase::Starting { .. }) {
            record.phase = GrantPhase::Starting { task, attempt };
        }
    }

    fn intend_end(&mut self, grant: Grant, reason: EndReason) {
        let record = self.grants.entry(grant.id).or_insert(GrantRecord {
            grant,
            phase: GrantPhase::Ending(reason),
            started_at: None,
            open_step: None,
            checkpoint: None,
        });
        if !matches!(record.phase, GrantPhase::Closed(_)) {
            record.phase = GrantPhase::Ending(reason);
        }
    }
}

impl GrantRecord {
    pub(super) fn restate(&self, events: &mut Vec<Event>) {
        let grant = self.grant.clone();
        let id = grant.id;
        if let GrantPhase::Starting { task, attempt } = self.phase {
            events.push(Event::StartIntended {
                grant,
                task,
                attempt,
            });
        } else {
            events.push(Event::GrantLearned {
                grant: grant.clone(),
                started_at: self.started_at,
            });
            match &self.phase {
                GrantPhase::Starting { .. } | GrantPhase::Live => {}
                GrantPhase::Ending(reason) => events.push(Event::EndIntended {
                    grant,
                    reason: *reason,
                }),
                GrantPhase::Closed(report) => events.push(Event::Closed(report.clone())),
            }
        }
        events.extend(
            self.checkpoint
                .clone()
                .map(|checkpoint| Event::CheckpointKept {
                    grant: id,
                    checkpoint,
                }),
        );
        // Last, because closing forgets the open step and a clean-up may have begun one since.
        events.extend(
            self.open_step
                .clone()
                .map(|note| Event::StepBegan { grant: id, note }),
        );
    }
}
