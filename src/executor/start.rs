//! Owns starts, extensions and credential resets: what is tried again, what is given up, and what then stands. Never acts without a permit.

use super::Executor;
use super::attempt::{Acted, Kind, Progress, Stands, Work};
use super::end::EndProgress;
use super::task::{LeaseView, log_failure};
use crate::domain::{
    Checkpoint, CredentialChange, EndReason, ErrorClass, Failure, Grant, GrantId, Lease, Order,
    Start, StartReport, TaskOutcome,
};
use crate::ledger::Event;
use crate::policy::{self, Authorization, EndWarrant, Judged, Permit, WarrantSource};
use crate::retry::{Jitter, Schedule};
use crate::targets::{Target, TargetError};
use jiff::Timestamp;
use std::time::Duration;

impl Executor {
    /// Carries out an order that starts or lengthens access; nothing means that it is to be handed back untouched.
    pub(super) async fn run_judged(&self, lease: &Lease, view: &LeaseView) -> Option<TaskOutcome> {
        let (grant, recipient, kind) = match &lease.task.order {
            Order::Start { grant, recipient } => (grant, recipient.clone(), Kind::Start),
            Order::Extend { grant } => (grant, String::new(), Kind::Extend),
            Order::ResetCredentials { grant, recipient } => (grant, recipient.clone(), Kind::Reset),
            Order::CheckIntegration | Order::SyncIntegration | Order::Revoke { .. } => return None,
        };
        let start = Start {
            grant: grant.clone(),
            recipient,
            attempt: lease.task.attempt,
            lease_deadline: lease.deadline,
            checkpoint: None,
        };
        self.carry_out(lease, start, kind, view).await
    }

    async fn carry_out(
        &self,
        lease: &Lease,
        mut start: Start,
        kind: Kind,
        view: &LeaseView,
    ) -> Option<TaskOutcome> {
        let mut permit = match self.judge(lease, &start, kind) {
            Ok(permit) => permit,
            Err(failure) => return Some(TaskOutcome::Failed(failure)),
        };
        let target = match self.reach(start.grant.integration) {
            Ok(target) => target,
            Err(failure) => return Some(TaskOutcome::Failed(failure)),
        };
        let _lane = tokio::select! {
            lane = self.shared.lanes.enter(target.lane(&start.grant)) => lane,
            () = view.cancel.cancelled() => return None,
        };
        if let Err(failure) = self.intend(lease, &start.grant, kind).await {
            return Some(TaskOutcome::Failed(failure));
        }
        let mut schedule = None;
        let mut said = "";
        let mut stands = self.begun_before(lease, target.as_ref());
        loop {
            start.lease_deadline = *view.deadline.borrow();
            start.checkpoint = self.noted(lease, start.grant.id);
            let work = Work {
                target: target.as_ref(),
                permit: &permit,
                start: &start,
                kind,
                lease,
            };
            let error = match self.act(&work, view).await {
                Acted::Done(progress) => return Some(self.succeeded(&start, kind, progress).await),
                Acted::NotBegun => return self.called_back(&start.grant, kind, stands).await,
                Acted::Failed {
                    error,
                    stands: left,
                } => {
                    stands = stands.max(left);
                    error
                }
            };
            let reached = error.class() != ErrorClass::Transient;
            self.shared.slots.note(start.grant.integration, reached);
            if view.cancel.is_cancelled() {
                return self.called_back(&start.grant, kind, stands).await;
            }
            if target.owes_comparison().is_some() {
                self.shared.sweep_now.notify_one();
            }
            let Some(pause) = next_pause(&mut schedule, &error) else {
                log_failure("an order was not carried out", &error);
                return Some(
                    self.give_up(&start.grant, kind, stands, error.failure().clone())
                        .await,
                );
            };
            if said != error.failure().reason {
                said = error.failure().reason;
                log_failure("an order failed so far, it is tried again", &error);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = view.cancel.cancelled() => {}
            }
            // Settings, clocks and the freeze may have changed while waiting.
            permit = match self.judge(lease, &start, kind) {
                Ok(permit) => permit,
                Err(failure) => {
                    return Some(self.give_up(&start.grant, kind, stands, failure).await);
                }
            };
        }
    }

    /// Returns what was noted of a grant, here or elsewhere.
    fn noted(&self, lease: &Lease, grant: GrantId) -> Option<Checkpoint> {
        let known = self.parts.recall.checkpoint(grant);
        known.or_else(|| lease.checkpoint.clone())
    }

    /// A delivery before this one may have had its effect, and where the target keeps no record nothing but the checkpoint says so: such a
    /// grant is never taken for one that was not begun.
    fn begun_before(&self, lease: &Lease, target: &dyn Target) -> Stands {
        let grant = lease.task.order.grant_id();
        let noted = grant.and_then(|grant| self.noted(lease, grant));
        if noted.is_some() && !target.keeps_record() {
            Stands::Maybe
        } else {
            Stands::No
        }
    }

    fn judge(&self, lease: &Lease, start: &Start, kind: Kind) -> Result<Permit, Failure> {
        let grant = &start.grant;
        let integration = self.integration(grant.integration);
        let judged = Judged {
            grant,
            integration: integration.as_ref(),
            issued_at: (kind == Kind::Start).then_some(lease.task.issued_at),
            first_started: self.first_started(grant),
            lease_deadline: (kind == Kind::Start).then_some(start.lease_deadline),
        };
        match policy::judge(&self.guardrails(), judged, self.now()) {
            Authorization::Permitted(permit) => Ok(permit),
            Authorization::Denied(denial) => Err(denial.into()),
        }
    }

    /// Judges an expiry that was moved elsewhere.
    pub(super) fn may_last_until(&self, grant: &Grant) -> bool {
        let integration = self.integration(grant.integration);
        let judged = Judged {
            grant,
            integration: integration.as_ref(),
            issued_at: None,
            first_started: self.first_started(grant),
            lease_deadline: None,
        };
        match policy::judge(&self.guardrails(), judged, self.now()) {
            Authorization::Permitted(_) => true,
            Authorization::Denied(denial) => {
                tracing::warn!(grant.id = %grant.id, "a later expiry of the control plane's list is not taken over: {denial}");
                false
            }
        }
    }

    fn first_started(&self, grant: &Grant) -> Option<Timestamp> {
        self.parts.ledger.read(|state| {
            state
                .grants
                .get(&grant.id)
                .and_then(|record| record.started_at)
        })
    }

    /// Makes the intent durable: without it nothing starts.
    async fn intend(&self, lease: &Lease, grant: &Grant, kind: Kind) -> Result<(), Failure> {
        if kind != Kind::Start {
            return Ok(());
        }
        let intent = Event::StartIntended {
            grant: grant.clone(),
            task: lease.task.id,
            attempt: lease.task.attempt,
        };
        self.parts.ledger.append_one(intent).await.map(drop).map_err(|error| {
            self.parts.metrics.ledger_failed();
            let source: &dyn std::error::Error = &error;
            tracing::error!(grant.id = %grant.id, error = source, "a start was refused: its intent cannot be recorded");
            Failure {
                class: ErrorClass::NeedsOperator,
                reason: "ledger_unavailable",
                message: "this instance cannot write its ledger, so it starts nothing".to_owned(),
                hint: Some("free space in the state folder or replace a damaged ledger; see the connector's log".to_owned()),
                retry_after: None,
            }
        })
    }

    async fn succeeded(&self, start: &Start, kind: Kind, progress: Progress) -> TaskOutcome {
        let grant = &start.grant;
        if kind == Kind::Extend {
            let moved = Event::ExpiryMoved {
                grant: grant.id,
                expiry: grant.expiry,
            };
            self.journal(vec![moved]).await;
            self.shared.timer_changed.notify_one();
        }
        let login = progress.login.unwrap_or_default();
        let started_at = progress.started_at.unwrap_or_else(|| self.now());
        tracing::info!(
            grant.id = %grant.id,
            "`{login}`: {} on {} for `{}` until {}",
            grant.permission,
            grant.resource,
            grant.principal,
            grant.expiry
        );
        let credential = progress.credential.unwrap_or(CredentialChange::Unchanged);
        TaskOutcome::Succeeded {
            start: Some(StartReport {
                login,
                started_at,
                expiry: grant.expiry,
                credential,
                details: progress.details,
            }),
            end: None,
        }
    }

    /// The order was taken back, or the process stops. What has had no effect is handed back.
    async fn called_back(&self, grant: &Grant, kind: Kind, stands: Stands) -> Option<TaskOutcome> {
        if kind == Kind::Start && stands != Stands::No {
            return Some(self.undecided(grant));
        }
        self.abandon(grant, kind).await;
        None
    }

    /// Answers for an order this delivery does not try again, so that nothing stands that nobody counts.
    async fn give_up(
        &self,
        grant: &Grant,
        kind: Kind,
        stands: Stands,
        failure: Failure,
    ) -> TaskOutcome {
        match (kind, stands) {
            (Kind::Extend | Kind::Reset, _) => TaskOutcome::Failed(failure),
            // What was prepared gives nobody anything; its target takes away what no grant is for.
            (Kind::Start, Stands::No | Stands::Prepared) => {
                self.abandon(grant, kind).await;
                TaskOutcome::Failed(failure)
            }
            (Kind::Start, Stands::Maybe) => self.undecided(grant),
            (Kind::Start, Stands::Yes) => self.roll_back(grant, failure).await,
        }
    }

    /// Ends a grant whose start had its effect and then failed. Only a closed end lets the failure stand as final.
    async fn roll_back(&self, grant: &Grant, failure: Failure) -> TaskOutcome {
        let mut watching = self.ensure_end(EndWarrant {
            grant: grant.clone(),
            reason: EndReason::StartFailed,
            source: WarrantSource::Ledger,
        });
        match EndProgress::settled(&mut watching).await {
            EndProgress::Closed(_) => TaskOutcome::Failed(failure),
            EndProgress::Running
            | EndProgress::Failing(_)
            | EndProgress::Provisional(_)
            | EndProgress::Extended => self.undecided(grant),
        }
    }

    /// Records that a start had no effect. Extensions and resets leave the grant as it was.
    async fn abandon(&self, grant: &Grant, kind: Kind) {
        if kind == Kind::Start {
            self.journal(vec![Event::StartAbandoned(grant.id)]).await;
        }
    }

    /// Whether access stands is not known and there is no time left to look: the next delivery or the sweep decides.
    fn undecided(&self, grant: &Grant) -> TaskOutcome {
        self.shared.sweep_now.notify_one();
        TaskOutcome::Failed(Failure {
            class: ErrorClass::Transient,
            reason: "outcome_unknown",
            message: format!(
                "it is not known yet whether grant `{}` was started",
                grant.id
            ),
            hint: None,
            retry_after: None,
        })
    }
}

/// Returns how long to wait before the next try; nothing when trying again cannot help or would outlast the lease.
fn next_pause(
    schedule: &mut Option<(ErrorClass, Schedule)>,
    error: &TargetError,
) -> Option<Duration> {
    let class = error.class();
    if schedule.as_ref().is_none_or(|(known, _)| *known != class) {
        *schedule = Some((class, Schedule::for_class(class, Jitter::Random)));
    }
    let (_, schedule) = schedule.as_mut()?;
    schedule.next_wait(error.failure().retry_after)
}
