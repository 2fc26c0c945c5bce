//! Owns ends: one driver per grant, which tries until the access is gone. Never asks for a permit, a lease or a healthy disk.

use super::Executor;
use super::attempt::point_of;
use crate::cut;
use crate::domain::{EndReason, EndReport, ErrorClass, Failure, GrantId, Step};
use crate::ledger::{Event, GrantPhase, OutboxEntry};
use crate::policy::EndWarrant;
use crate::retry::{Backoff, Jitter};
use crate::targets::{Ended, Target, TargetError};
use jiff::Timestamp;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Longest time between two looks at an access that is gone and might come back.
const PROVISIONAL_LOOK: Duration = Duration::from_secs(60);

/// How an end stands.
#[derive(Debug, Clone)]
pub(super) enum EndProgress {
    /// No attempt has finished yet.
    Running,
    /// The last attempt failed; the next one comes by itself.
    Failing(Failure),
    /// The access is gone.
    Closed(EndReport),
    /// The access is gone; until this time an order on its way could bring it back.
    Provisional(Timestamp),
    /// The grant was extended meanwhile, so its time was not over.
    Extended,
}

/// The ends being driven.
#[derive(Debug, Default)]
pub(super) struct EndBook {
    driven: Mutex<HashMap<GrantId, watch::Receiver<EndProgress>>>,
}

/// What came of asking for a grant's end.
pub(super) enum Taken {
    /// It is being driven.
    Before(watch::Receiver<EndProgress>),
    /// The caller drives it from here on.
    Now(watch::Sender<EndProgress>, watch::Receiver<EndProgress>),
}

/// An end somebody has to drive.
pub(super) struct Driver {
    pub(super) warrant: EndWarrant,
    pub(super) progress: watch::Sender<EndProgress>,
}

impl EndBook {
    pub(super) fn take(&self, grant: GrantId) -> Taken {
        let mut driven = self.driven.lock().unwrap_or_else(PoisonError::into_inner);
        match driven.entry(grant) {
            Entry::Occupied(known) => Taken::Before(known.get().clone()),
            Entry::Vacant(free) => {
                let (progress, watching) = watch::channel(EndProgress::Running);
                free.insert(watching.clone());
                Taken::Now(progress, watching)
            }
        }
    }

    /// Tells whether a grant's end is being driven.
    pub(super) fn drives(&self, grant: GrantId) -> bool {
        self.driven
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&grant)
    }

    pub(super) fn remove(&self, grant: GrantId) {
        self.driven
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&grant);
    }
}

impl Executor {
    /// Makes sure that a grant's end is being driven, and returns its progress.
    pub(super) fn ensure_end(&self, warrant: EndWarrant) -> watch::Receiver<EndProgress> {
        match self.shared.ends.take(warrant.grant.id) {
            Taken::Before(watching) => watching,
            Taken::Now(progress, watching) => {
                self.spawn_end(Driver { warrant, progress });
                watching
            }
        }
    }

    pub(super) fn spawn_end(&self, Driver { warrant, progress }: Driver) {
        let executor = self.clone();
        self.shared.tasks.spawn(async move {
            let grant = warrant.grant.id;
            executor.drive_end(warrant, progress).await;
            executor.shared.ends.remove(grant);
        });
    }

    /// Takes up the ends that were open when the process stopped.
    pub(super) fn resume_ends(&self) {
        let open: Vec<EndWarrant> = self.parts.ledger.read(|state| {
            let warrant = |record: &crate::ledger::GrantRecord| match record.phase {
                GrantPhase::Ending(reason) => Some(EndWarrant {
                    grant: record.grant.clone(),
                    reason,
                    source: crate::policy::WarrantSource::Ledger,
                }),
                GrantPhase::Starting { .. } | GrantPhase::Live | GrantPhase::Closed(_) => None,
            };
            state.grants.values().filter_map(warrant).collect()
        });
        self.ensure_ends(open);
    }

    async fn drive_end(&self, mut warrant: EndWarrant, progress: watch::Sender<EndProgress>) {
        let grant = warrant.grant.id;
        // Noted, not awaited: a disk that hangs must not keep the door open, and an end may be done twice.
        self.parts.ledger.note(vec![Event::EndIntended {
            grant: warrant.grant.clone(),
            reason: warrant.reason,
        }]);
        self.keep_checkpoint(grant);
        let mut pauses = Backoff::end(Jitter::Random);
        loop {
            if let Some(record) = self
                .parts
                .ledger
                .read(|state| state.grants.get(&grant).cloned())
            {
                warrant.grant.expiry = record.grant.expiry;
            }
            let mut again = None;
            match self.try_end(&warrant).await {
                Ok(Attempt::Provisional(until)) => {
                    progress.send_replace(EndProgress::Provisional(until));
                    again = Duration::try_from(until.duration_since(self.now())).ok();
                }
                Ok(Attempt::Closed(report)) => {
                    self.finish_end(&warrant, &report).await;
                    progress.send_replace(EndProgress::Closed(report));
                    return;
                }
                Ok(Attempt::Extended(until)) => {
                    self.journal(vec![Event::EndCalledOff {
                        grant,
                        expiry: until,
                    }])
                    .await;
                    progress.send_replace(EndProgress::Extended);
                    self.shared.timer_changed.notify_one();
                    return;
                }
                Err(error) => {
                    self.log_failed_end(&warrant, &error);
                    if matches!(*progress.borrow(), EndProgress::Running) {
                        self.shared.news.notify_one();
                    }
                    progress.send_replace(EndProgress::Failing(error.failure().clone()));
                }
            }
            let pause = again.map_or_else(|| pauses.next_wait(), |wait| wait.min(PROVISIONAL_LOOK));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.slots.back(warrant.grant.integration) => {}
                // The ledger remembers the open end; the next process takes it up.
                () = self.shared.stopping.cancelled() => return,
            }
        }
    }

    /// Takes over what the control plane kept: after a restart without it, the end must still find what it is about.
    fn keep_checkpoint(&self, grant: GrantId) {
        let known = self.parts.ledger.read(|state| {
            let record = state.grants.get(&grant);
            record.and_then(|record| record.checkpoint.clone())
        });
        let Some(checkpoint) = self.parts.recall.checkpoint(grant) else {
            return;
        };
        if known.as_ref() != Some(&checkpoint) {
            self.parts
                .ledger
                .note(vec![Event::CheckpointKept { grant, checkpoint }]);
        }
    }

    async fn try_end(&self, warrant: &EndWarrant) -> Result<Attempt, TargetError> {
        let grant = &warrant.grant;
        let integration = self.integration(grant.integration).ok_or_else(|| {
            TargetError::new(
                ErrorClass::NeedsOperator,
                "integration_unknown",
                format!("the settings of integration `{}` are not known, so grant `{}` cannot be ended", grant.integration, grant.id),
            )
            .hint("assign the integration to this connector again, or end the access by hand and revoke the grant")
        })?;
        let target = self.target(&integration)?;
        let slot = self.shared.slots.end(grant.integration).await;
        let outcome = self.end_steps(target.as_ref(), warrant).await;
        drop(slot);
        let reached = outcome
            .as_ref()
            .err()
            .is_none_or(|error| error.class() != ErrorClass::Transient);
        self.shared.slots.note(grant.integration, reached);
        outcome
    }

    async fn end_steps(
        &self,
        target: &dyn Target,
        warrant: &EndWarrant,
    ) -> Result<Attempt, TargetError> {
        let mut report = EndReport {
            grant: warrant.grant.id,
            integration: warrant.grant.integration,
            ended_at: self.now(),
            reason: warrant.reason,
            sessions_before: 0,
            sessions_after: 0,
            clean: false,
            leftovers: Vec::new(),
            details: Vec::new(),
        };
        let mut provisional: Option<Timestamp> = None;
        for step in target.plan_end(warrant).steps {
            let ended = self.end_step(target, warrant, &step).await?;
            if let Some(until) = ended.extended_until {
                return Ok(Attempt::Extended(until));
            }
            if let Some(at) = ended.ended_at {
                report.ended_at = at;
            }
            if let Some(reason) = ended.reason {
                report.reason = reason;
            }
            if let Some((before, after)) = ended.sessions {
                report.sessions_before += before;
                report.sessions_after = after;
            }
            provisional = provisional.max(ended.provisional_until);
            report.details.extend(ended.details);
        }
        if let Some(until) = provisional {
            return Ok(Attempt::Provisional(until));
        }
        if report.sessions_after > 0 {
            return Err(TargetError::new(
                ErrorClass::Conflict,
                "sessions_left",
                format!(
                    "{} sessions of grant `{}` are still open",
                    report.sessions_after, report.grant
                ),
            ));
        }
        Ok(Attempt::Closed(report))
    }

    async fn end_step(
        &self,
        target: &dyn Target,
        warrant: &EndWarrant,
        step: &Step,
    ) -> Result<Ended, TargetError> {
        let name = point_of(&step.change);
        let grant = warrant.grant.id;
        self.parts.ledger.note(vec![Event::StepBegan {
            grant,
            note: step.note.clone(),
        }]);
        cut::point(format_args!("{name}.before"));
        let outcome = target.end(warrant, step).await;
        cut::point(format_args!("{name}.after"));
        let seen = match &outcome {
            Ok(ended) => Ok(ended.evidence.clone()),
            Err(error) => Err(error.failure().reason.to_owned()),
        };
        self.parts.ledger.note(vec![Event::StepDone {
            grant,
            note: step.note.clone(),
            outcome: seen,
        }]);
        outcome
    }

    pub(super) async fn finish_end(&self, warrant: &EndWarrant, report: &EndReport) {
        let late = report.ended_at.duration_since(warrant.grant.expiry);
        let late = (report.reason == EndReason::Expired)
            .then(|| Duration::try_from(late).unwrap_or_default());
        self.parts.metrics.ended(report.reason, late);
        tracing::info!(
            grant.id = %report.grant,
            end.reason = report.reason.as_str(),
            sessions = report.sessions_before,
            "access of `{}` to {} ended",
            warrant.grant.principal,
            warrant.grant.resource,
        );
        if report.reason == EndReason::Drift {
            tracing::warn!(grant.id = %report.grant, "the grant was missing in its target's record, nobody had ended it");
        }
        self.journal_and_report(
            vec![Event::Closed(report.clone())],
            vec![OutboxEntry::End(report.clone())],
        )
        .await;
        self.shared.sweep_now.notify_one();
    }

    fn log_failed_end(&self, warrant: &EndWarrant, error: &TargetError) {
        let source: &dyn std::error::Error = error;
        tracing::error!(
            grant.id = %warrant.grant.id,
            error.class = %error.class(),
            error = source,
            hint = error.failure().hint.as_deref().unwrap_or_default(),
            "access of `{}` to {} could not be ended yet, it is tried again",
            warrant.grant.principal,
            warrant.grant.resource,
        );
    }
}

enum Attempt {
    Closed(EndReport),
    Provisional(Timestamp),
    Extended(Timestamp),
}

impl EndProgress {
    /// Waits for the end, or for the first failed attempt.
    pub(super) async fn settled(watching: &mut watch::Receiver<Self>) -> Self {
        let settled = watching
            .wait_for(|progress| !matches!(progress, Self::Running))
            .await
            .map(|progress| progress.clone());
        settled.unwrap_or_else(|_| {
            Self::Failing(Failure {
                class: ErrorClass::Transient,
                reason: "shutting_down",
                message: "this instance is shutting down; the end goes on with the next one"
                    .to_owned(),
                hint: None,
                retry_after: None,
            })
        })
    }
}
