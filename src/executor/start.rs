//! Owns starts, extensions and credential resets: judge, plan, journal, act, verify. Never acts without a permit.

use super::Executor;
use super::task::{LeaseView, log_failure, started};
use crate::cut;
use crate::domain::{
    Change, CredentialChange, ErrorClass, Failure, Grant, Lease, Plan, Start, Step, TaskOutcome,
};
use crate::ledger::Event;
use crate::policy::{self, Authorization, Judged, Permit};
use crate::retry::{Jitter, Schedule};
use crate::targets::{Applied, Target, TargetError};
use jiff::Timestamp;
use std::time::Duration;

/// What became of an attempt to act.
enum Acted {
    /// Every step is done.
    Done(Progress),
    /// The order was taken back or the process stops, and nothing has begun.
    NotBegun,
    /// It failed; `begun` tells whether an effect may exist.
    Failed { error: TargetError, begun: bool },
}

/// What the steps of a plan brought together.
#[derive(Debug, Default)]
struct Progress {
    login: Option<String>,
    started_at: Option<Timestamp>,
    credential: Option<CredentialChange>,
}

/// One attempt: what is to be made, where, and by what right.
struct Work<'a> {
    target: &'a dyn Target,
    permit: &'a Permit,
    start: &'a Start,
    kind: Kind,
}

/// Which plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Start,
    Extend,
    Reset,
}

impl Executor {
    pub(super) async fn run_start(
        &self,
        lease: &Lease,
        grant: &Grant,
        recipient: &str,
        view: &LeaseView,
    ) -> Option<TaskOutcome> {
        let start = Start {
            grant: grant.clone(),
            recipient: recipient.to_owned(),
            attempt: lease.task.attempt,
            lease_deadline: lease.deadline,
        };
        self.carry_out(lease, start, Kind::Start, view).await
    }

    pub(super) async fn run_extend(
        &self,
        lease: &Lease,
        grant: &Grant,
        view: &LeaseView,
    ) -> Option<TaskOutcome> {
        let start = Start {
            grant: grant.clone(),
            recipient: String::new(),
            attempt: lease.task.attempt,
            lease_deadline: lease.deadline,
        };
        self.carry_out(lease, start, Kind::Extend, view).await
    }

    pub(super) async fn run_reset(
        &self,
        lease: &Lease,
        grant: &Grant,
        recipient: &str,
        view: &LeaseView,
    ) -> Option<TaskOutcome> {
        let start = Start {
            grant: grant.clone(),
            recipient: recipient.to_owned(),
            attempt: lease.task.attempt,
            lease_deadline: lease.deadline,
        };
        self.carry_out(lease, start, Kind::Reset, view).await
    }

    async fn carry_out(
        &self,
        lease: &Lease,
        mut start: Start,
        kind: Kind,
        view: &LeaseView,
    ) -> Option<TaskOutcome> {
        let permit = match self.judge(lease, &start.grant, kind) {
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
        let mut permit = permit;
        let mut schedule: Option<(ErrorClass, Schedule)> = None;
        let mut begun_once = false;
        loop {
            start.lease_deadline = *view.deadline.borrow();
            let work = Work {
                target: target.as_ref(),
                permit: &permit,
                start: &start,
                kind,
            };
            let (error, begun) = match self.act(&work, view).await {
                Acted::Done(progress) => return Some(self.succeeded(&start, kind, progress).await),
                Acted::NotBegun if begun_once => return Some(self.undecided(&start.grant)),
                Acted::NotBegun => {
                    self.abandon(&start.grant, kind).await;
                    return None;
                }
                Acted::Failed { error, begun } => (error, begun),
            };
            begun_once |= begun;
            let reached = error.class() != ErrorClass::Transient;
            self.shared.slots.note(start.grant.integration, reached);
            if view.cancel.is_cancelled() && !begun_once {
                self.abandon(&start.grant, kind).await;
                return None;
            }
            let pause = next_pause(&mut schedule, &error).filter(|_| !view.cancel.is_cancelled());
            let Some(pause) = pause else {
                log_failure("a start was not carried out", &error);
                if !begun_once || error.class() != ErrorClass::Transient {
                    self.abandon(&start.grant, kind).await;
                }
                return Some(TaskOutcome::Failed(error.failure().clone()));
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = view.cancel.cancelled() => {}
            }
            // Settings, clocks and the freeze may have changed while waiting.
            permit = match self.judge(lease, &start.grant, kind) {
                Ok(permit) => permit,
                Err(failure) => return Some(TaskOutcome::Failed(failure)),
            };
        }
    }

    fn judge(&self, lease: &Lease, grant: &Grant, kind: Kind) -> Result<Permit, Failure> {
        let integration = self.integration(grant.integration);
        let first_started = self.parts.ledger.read(|state| {
            state
                .grants
                .get(&grant.id)
                .and_then(|record| record.started_at)
        });
        let judged = Judged {
            grant,
            integration: integration.as_ref(),
            issued_at: (kind == Kind::Start).then_some(lease.task.issued_at),
            first_started,
            lease_deadline: (kind == Kind::Start).then_some(lease.deadline),
        };
        match policy::judge(&self.guardrails(), judged, self.now()) {
            Authorization::Permitted(permit) => Ok(permit),
            Authorization::Denied(denial) => Err(denial.into()),
        }
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
                class: ErrorClass::Transient,
                reason: "ledger_unavailable",
                message: "this instance cannot write its ledger, so it starts nothing".to_owned(),
                hint: Some("free space in the state folder or replace a damaged ledger; see the connector's log".to_owned()),
                retry_after: None,
            }
        })
    }

    async fn act(&self, work: &Work<'_>, view: &LeaseView) -> Acted {
        let planned = tokio::select! {
            planned = work.plan() => planned,
            () = view.cancel.cancelled() => return Acted::NotBegun,
        };
        let steps = match planned {
            Ok(plan) => plan.steps,
            Err(error) => {
                return Acted::Failed {
                    error,
                    begun: false,
                };
            }
        };
        let mut progress = Progress::default();
        let mut begun = false;
        for step in steps {
            if view.cancel.is_cancelled() && !begun {
                return Acted::NotBegun;
            }
            begun |= gives_access(&step.change);
            match self.step(work, &step).await {
                Ok(applied) => progress.take(applied),
                Err(error) => return Acted::Failed { error, begun },
            }
        }
        self.shared.slots.note(work.start.grant.integration, true);
        Acted::Done(progress)
    }

    async fn step(&self, work: &Work<'_>, step: &Step) -> Result<Applied, TargetError> {
        let grant = work.start.grant.id;
        let name = point_of(&step.change);
        self.journal(vec![Event::StepBegan {
            grant,
            note: step.note.clone(),
        }])
        .await;
        cut::point(format_args!("{name}.before"));
        let outcome = work.target.apply(work.permit, work.start, step).await;
        cut::point(format_args!("{name}.after"));
        let seen = match &outcome {
            Ok(applied) => Ok(applied.evidence.clone()),
            Err(error) => Err(error.failure().reason.to_owned()),
        };
        self.parts.ledger.note(vec![Event::StepDone {
            grant,
            note: step.note.clone(),
            outcome: seen,
        }]);
        outcome
    }

    async fn succeeded(&self, start: &Start, kind: Kind, progress: Progress) -> TaskOutcome {
        let grant = &start.grant;
        if kind == Kind::Extend {
            self.journal(vec![Event::ExpiryMoved {
                grant: grant.id,
                expiry: grant.expiry,
            }])
            .await;
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
        started(
            login,
            started_at,
            grant,
            progress.credential.unwrap_or(CredentialChange::Unchanged),
        )
    }

    /// Records that a start had no effect. Extensions and resets leave the grant as it was.
    async fn abandon(&self, grant: &Grant, kind: Kind) {
        if kind == Kind::Start {
            self.journal(vec![Event::StartAbandoned(grant.id)]).await;
        }
    }

    /// The outcome of a step is not known and there is no time left to look: the next delivery or the sweep decides.
    fn undecided(&self, grant: &Grant) -> TaskOutcome {
        self.shared.sweep_now.notify_one();
        TaskOutcome::Failed(Failure {
            class: ErrorClass::Transient,
            reason: "outcome_unknown",
            message: format!(
                "the connection broke while grant `{}` was being started",
                grant.id
            ),
            hint: None,
            retry_after: None,
        })
    }
}

impl Work<'_> {
    async fn plan(&self) -> Result<Plan, TargetError> {
        match self.kind {
            Kind::Start => self.target.plan_start(self.permit, self.start).await,
            Kind::Extend => {
                self.target
                    .plan_extend(self.permit, &self.start.grant)
                    .await
            }
            Kind::Reset => self.target.plan_reset(self.permit, self.start).await,
        }
    }
}

/// Names the cut points around a change.
pub(super) fn point_of(change: &Change) -> &'static str {
    match change {
        Change::PrepareAccessRole { .. } => "start.prepare_access_role",
        Change::StartGrant(_) => "start.start_grant",
        Change::MoveExpiry { .. } => "extend.move_expiry",
        Change::SetCredential { .. } => "start.set_credential",
        Change::Verify => "start.verify",
        Change::CloseDoor => "end.close_door",
        Change::EndSessions => "end.end_sessions",
        Change::BlockLogin => "end.block_login",
        Change::CleanUp => "clean_up",
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

/// Tells whether a change can give somebody access; a shared role alone gives none.
fn gives_access(change: &Change) -> bool {
    match change {
        Change::StartGrant(_) | Change::MoveExpiry { .. } | Change::SetCredential { .. } => true,
        Change::PrepareAccessRole { .. }
        | Change::Verify
        | Change::CloseDoor
        | Change::EndSessions
        | Change::BlockLogin
        | Change::CleanUp => false,
    }
}

impl Progress {
    fn take(&mut self, applied: Applied) {
        self.login = applied.login.or(self.login.take());
        self.started_at = applied.started_at.or(self.started_at);
        self.credential = applied.credential.or(self.credential.take());
    }
}
