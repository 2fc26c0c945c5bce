//! Owns one attempt at a start, extension or credential reset: plan, journal, act, journal. Never judges and never decides what a failure means.

use super::Executor;
use super::task::LeaseView;
use crate::control::Renewal;
use crate::cut;
use crate::domain::{
    Change, Checkpoint, CredentialChange, Detail, ErrorClass, Lease, Plan, Start, Step,
};
use crate::ledger::Event;
use crate::policy::Permit;
use crate::targets::{Applied, Target, TargetError};
use jiff::Timestamp;

/// What became of an attempt.
pub(super) enum Acted {
    /// Every step is done.
    Done(Progress),
    /// The order was taken back or the process stops, and this attempt changed nothing.
    NotBegun,
    /// It failed.
    Failed {
        /// Why.
        error: TargetError,
        /// Whether access may stand because of it.
        stands: Stands,
    },
}

/// Whether a start that failed left access behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stands {
    /// Proven not.
    No,
    /// Proven not, and something was made for it: the order is not handed back as untouched.
    Prepared,
    /// Nobody knows: the answer was lost.
    Maybe,
    /// Proven that it does.
    Yes,
}

/// What the steps of a plan brought together.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) login: Option<String>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) credential: Option<CredentialChange>,
    pub(super) details: Vec<Detail>,
}

/// One attempt: what is to be made, where, and by what right.
pub(super) struct Work<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) permit: &'a Permit,
    pub(super) start: &'a Start,
    pub(super) kind: Kind,
    pub(super) lease: &'a Lease,
}

/// Which plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Start,
    Extend,
    Reset,
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

impl Executor {
    pub(super) async fn act(&self, work: &Work<'_>, view: &LeaseView) -> Acted {
        let planned = tokio::select! {
            planned = work.plan() => planned,
            () = view.cancel.cancelled() => return Acted::NotBegun,
        };
        let steps = match planned {
            Ok(plan) => plan.steps,
            Err(error) => {
                return Acted::Failed {
                    error,
                    stands: Stands::No,
                };
            }
        };
        let mut progress = Progress::default();
        let mut stands = stands_before(work.kind, &steps);
        let mut begun = false;
        for step in steps {
            if view.cancel.is_cancelled() && !begun {
                return not_begun(stands);
            }
            begun |= gives_access(&step.change);
            let outcome = if let Change::Remember(checkpoint) = &step.change {
                self.remember(work, checkpoint, view).await
            } else {
                self.step(work, &step).await
            };
            let applied = match outcome {
                Ok(applied) => applied,
                Err(error) => {
                    return Acted::Failed {
                        stands: stands.max(left_by(&step, &error)),
                        error,
                    };
                }
            };
            stands = stands.max(made_by(&step.change));
            if let Some(checkpoint) = &applied.checkpoint
                && let Err(error) = self.remember(work, checkpoint, view).await
            {
                return Acted::Failed { error, stands };
            }
            progress.take(applied);
        }
        self.shared.slots.note(work.start.grant.integration, true);
        Acted::Done(progress)
    }

    /// Keeps a checkpoint with the control plane and on disk. Only then may what it speaks of happen.
    async fn remember(
        &self,
        work: &Work<'_>,
        checkpoint: &Checkpoint,
        view: &LeaseView,
    ) -> Result<Applied, TargetError> {
        cut::point("start.remember.before");
        let task = &work.lease.task;
        let renewal = Renewal {
            task: task.id,
            attempt: task.attempt,
            progress: task.order.kind().as_str().to_owned(),
            checkpoint: Some(checkpoint.clone()),
        };
        let not_kept = |class, message: String| {
            TargetError::new(class, "checkpoint_not_kept", message).undone()
        };
        let session = self.session().ok_or_else(|| {
            let message = "there is no session with the control plane to keep a checkpoint";
            not_kept(ErrorClass::Transient, message.to_owned())
        })?;
        let renewed = self.parts.control.renew(session, &renewal).await;
        let renewed = renewed.map_err(|error| {
            let message = format!(
                "the control plane did not keep the checkpoint of grant `{}`, so nothing is begun",
                work.start.grant.id
            );
            not_kept(ErrorClass::Transient, message).source(error)
        })?;
        let (grant, as_of) = (&work.start.grant, renewed.header.grants_revision);
        self.parts.recall.told(grant, checkpoint, as_of);
        if renewed.cancel {
            view.cancel.cancel();
        }
        let kept = Event::CheckpointKept {
            grant: work.start.grant.id,
            checkpoint: checkpoint.clone(),
        };
        self.parts.ledger.append_one(kept).await.map_err(|error| {
            self.parts.metrics.ledger_failed();
            let message = "this instance cannot write its ledger, so it starts nothing".to_owned();
            not_kept(ErrorClass::NeedsOperator, message)
                .hint("free space in the state folder or replace a damaged ledger; see the connector's log")
                .source(error)
        })?;
        cut::point("start.remember.after");
        Ok(Applied::default())
    }

    async fn step(&self, work: &Work<'_>, step: &Step) -> Result<Applied, TargetError> {
        let grant = work.start.grant.id;
        let name = point_of(&step.change);
        // Noted, not awaited: the intent is on disk already, and a database keeps record and effect together by itself.
        self.parts.ledger.note(vec![Event::StepBegan {
            grant,
            note: step.note.clone(),
        }]);
        cut::point(format_args!("{name}.before"));
        let outcome = work.target.apply(work.permit, work.start, step).await;
        cut::point(format_args!("{name}.after"));
        let seen = match &outcome {
            Ok(applied) => Ok(applied.evidence.clone()),
            Err(error) => Err(error.failure().reason.to_owned()),
        };
        let note = step.note.clone();
        self.parts.ledger.note(vec![Event::StepDone {
            grant,
            note,
            outcome: seen,
        }]);
        outcome
    }
}

impl Progress {
    fn take(&mut self, applied: Applied) {
        self.login = applied.login.or(self.login.take());
        self.started_at = applied.started_at.or(self.started_at);
        self.credential = applied.credential.or(self.credential.take());
        self.details.extend(applied.details);
    }
}

/// A start whose plan has no start in it was planned against a record that stands already.
fn stands_before(kind: Kind, steps: &[Step]) -> Stands {
    let makes = steps.iter().any(|step| starts(&step.change));
    if kind == Kind::Start && !makes {
        Stands::Yes
    } else {
        Stands::No
    }
}

/// The order was taken back before anybody has access. What was prepared for it is not handed back as untouched.
fn not_begun(stands: Stands) -> Acted {
    if stands != Stands::Prepared {
        return Acted::NotBegun;
    }
    let message = "the order was taken back before anything was given";
    let error = TargetError::new(ErrorClass::Conflict, "called_back", message).undone();
    Acted::Failed { error, stands }
}

/// What a step leaves that is done.
fn made_by(change: &Change) -> Stands {
    if starts(change) {
        Stands::Yes
    } else if matches!(change, Change::PreparePermissionSet { .. }) {
        Stands::Prepared
    } else {
        Stands::No
    }
}

/// An error the server gave rolled its transaction back; a lost answer proves nothing.
fn left_by(step: &Step, error: &TargetError) -> Stands {
    let lost = error.class() == ErrorClass::Transient && !error.is_undone();
    if lost && starts(&step.change) {
        Stands::Maybe
    } else if made_by(&step.change) == Stands::Prepared && !error.is_undone() {
        Stands::Prepared
    } else {
        Stands::No
    }
}

/// Tells whether a change can give somebody access; a shared role alone gives none.
fn gives_access(change: &Change) -> bool {
    match change {
        Change::StartGrant(_)
        | Change::Assign
        | Change::GiveRights
        | Change::MoveExpiry { .. }
        | Change::SetCredential { .. } => true,
        Change::PrepareAccessRole { .. }
        | Change::PreparePermissionSet { .. }
        | Change::PrepareUser { .. }
        | Change::Remember(_)
        | Change::Verify
        | Change::CloseDoor
        | Change::EndSessions
        | Change::BlockLogin
        | Change::CleanUp => false,
    }
}

/// Tells whether a change is the start itself.
fn starts(change: &Change) -> bool {
    matches!(
        change,
        Change::StartGrant(_) | Change::Assign | Change::GiveRights
    )
}

/// Names the cut points around a change.
pub(super) fn point_of(change: &Change) -> &'static str {
    match change {
        Change::PrepareAccessRole { .. } => "start.prepare_access_role",
        Change::StartGrant(_) => "start.start_grant",
        Change::PreparePermissionSet { .. } => "start.prepare_permission_set",
        Change::PrepareUser { .. } => "start.prepare_user",
        Change::Remember(_) => "start.remember",
        Change::Assign => "start.assign",
        Change::GiveRights => "start.give_rights",
        Change::MoveExpiry { .. } => "extend.move_expiry",
        Change::SetCredential { .. } => "start.set_credential",
        Change::Verify => "start.verify",
        Change::CloseDoor => "end.close_door",
        Change::EndSessions => "end.end_sessions",
        Change::BlockLogin => "end.block_login",
        Change::CleanUp => "clean_up",
    }
}
