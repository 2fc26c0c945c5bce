//! Owns one leased task from its lease to its report. Never leaves a task without an answer.

use super::end::EndProgress;
use super::slots::Slot;
use super::{Executor, OutboxEntry};
use crate::control::{HeldLease, IntegrationStatus, Renewal};
use crate::cut;
use crate::domain::{
    EndReason, ErrorClass, Failure, Grant, IntegrationId, Lease, Order, TaskId, TaskKind,
    TaskOutcome,
};
use crate::ledger::{Event, GrantPhase};
use crate::policy::{EndWarrant, WarrantSource};
use crate::targets::CheckReport;
use crate::telemetry::metrics::TaskResult;
use jiff::Timestamp;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Shortest time between two renewals, whatever the control plane asks for.
const SHORTEST_RENEWAL: Duration = Duration::from_millis(200);

/// A task being worked on.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// The grant the task is about.
    pub(super) grant: Option<crate::domain::GrantId>,
}

/// What a running task knows of its lease.
#[derive(Debug, Clone)]
pub(super) struct LeaseView {
    /// The deadline in force; renewals move it.
    pub(super) deadline: watch::Receiver<Timestamp>,
    /// Cancelled when the order was taken back, the lease was lost, or the process stops before an effect began.
    pub(super) cancel: CancellationToken,
}

impl Executor {
    /// Takes a task in hand, or hands it back when there is no place for it.
    pub(super) fn accept(&self, held: HeldLease) {
        let task = held.lease.task.id;
        if self.running(|running| running.contains_key(&task)) {
            return;
        }
        cut::point(format_args!(
            "lease.{}.taken",
            held.lease.task.order.kind().as_str()
        ));
        let delivery = (task, held.lease.task.attempt);
        if self.accepted(|accepted| accepted.contains(&delivery)) {
            // Carried out again, a start would replace the password the requester has.
            tracing::debug!(task.id = %task, "an order came again after its result was accepted");
            return;
        }
        let executor = self.clone();
        let grant = held.lease.task.order.grant_id();
        // Also while it is handed back: it would be sent again before the control plane hears of that.
        self.running(|running| running.insert(task, Running { grant }));
        self.shared.tasks.spawn(async move {
            match executor.place(&held).await {
                Some(slot) => executor.work(&held, slot).await,
                None => executor.hand_back(&held).await,
            }
            executor.running(|running| running.remove(&task));
        });
    }

    /// Waits for a place; an end takes its own when its driver acts, so that waiting for a dead target blocks nobody.
    /// Nothing when the integration cannot be reached, no place comes free in time, or the process stops.
    async fn place(&self, held: &HeldLease) -> Option<Option<Slot>> {
        let task = &held.lease.task;
        if matches!(task.order, Order::Revoke { .. }) {
            return Some(None);
        }
        tokio::select! {
            slot = self.shared.slots.any(task.integration) => slot.map(Some),
            () = self.shared.stopping.cancelled() => None,
        }
    }

    async fn work(&self, held: &HeldLease, slot: Option<Slot>) {
        let lease = &held.lease;
        let (deadline_sender, deadline) = watch::channel(lease.deadline);
        let cancel = self.shared.stopping.child_token();
        let view = LeaseView {
            deadline,
            cancel: cancel.clone(),
        };
        let done = CancellationToken::new();
        let renewing = self.keep_lease(held, &deadline_sender, &cancel, &done);
        let working = async {
            let outcome = self.run_task(lease, &view).await;
            drop(slot);
            done.cancel();
            outcome
        };
        let (outcome, ()) = tokio::join!(working, renewing);
        match outcome {
            Some(outcome) => self.finish(lease, outcome).await,
            None => self.hand_back(held).await,
        }
    }

    /// Runs the order; nothing means that it is to be handed back untouched.
    async fn run_task(&self, lease: &Lease, view: &LeaseView) -> Option<TaskOutcome> {
        if let Some(known) = self.known_outcome(lease) {
            return Some(known);
        }
        let task = &lease.task;
        match &task.order {
            // Both only read, so they are dropped and handed back at any moment.
            Order::CheckIntegration => tokio::select! {
                outcome = self.check(task.integration) => Some(outcome),
                () = view.cancel.cancelled() => None,
            },
            Order::SyncIntegration => tokio::select! {
                outcome = self.synchronise(task.integration) => Some(outcome),
                () = view.cancel.cancelled() => None,
            },
            Order::Start { .. } | Order::Extend { .. } | Order::ResetCredentials { .. } => {
                self.run_judged(lease, view).await
            }
            Order::Revoke { grant } => {
                if let Some(checkpoint) = &lease.checkpoint {
                    self.parts.recall.told(grant, checkpoint, 0);
                }
                Some(self.run_revoke(grant).await)
            }
        }
    }

    /// Finds the outcome of an earlier delivery whose report has not been acknowledged. Failures are worth another try.
    fn known_outcome(&self, lease: &Lease) -> Option<TaskOutcome> {
        self.parts.ledger.read(|state| {
            state.outbox.values().rev().find_map(|entry| match entry {
                OutboxEntry::Result { task, outcome, .. }
                    if *task == lease.task.id && !matches!(outcome, TaskOutcome::Failed(_)) =>
                {
                    Some(outcome.clone())
                }
                OutboxEntry::Result { .. } | OutboxEntry::End(_) => None,
            })
        })
    }

    /// Ends a grant on order. The answer comes with the first settled attempt; the driver goes on by itself.
    async fn run_revoke(&self, grant: &Grant) -> TaskOutcome {
        let closed =
            self.parts.ledger.read(
                |state| match state.grants.get(&grant.id).map(|r| &r.phase) {
                    Some(GrantPhase::Closed(report)) => Some(report.clone()),
                    _ => None,
                },
            );
        if let Some(end) = closed {
            return TaskOutcome::Closed { end };
        }
        let warrant = |grant: &Grant| EndWarrant {
            grant: grant.clone(),
            reason: if grant.is_over(self.now()) {
                EndReason::Expired
            } else {
                EndReason::Revoked
            },
            source: WarrantSource::Task,
        };
        let mut watching = self.ensure_end(warrant(grant));
        let mut settled = EndProgress::settled(&mut watching).await;
        if matches!(settled, EndProgress::Extended) {
            // The expiry was moved, but an order to revoke stands above any expiry.
            let order = EndWarrant {
                reason: EndReason::Revoked,
                ..warrant(grant)
            };
            watching = self.ensure_end(order);
            settled = EndProgress::settled(&mut watching).await;
        }
        match settled {
            EndProgress::Closed(end) => TaskOutcome::Closed { end },
            EndProgress::Failing(failure) => TaskOutcome::Failed(failure),
            EndProgress::Provisional(until) => TaskOutcome::Failed(self.provisional(grant, until)),
            EndProgress::Running | EndProgress::Extended => TaskOutcome::Failed(Failure {
                class: ErrorClass::Conflict,
                reason: "extended_meanwhile",
                message: format!(
                    "grant `{}` was being extended while it was revoked",
                    grant.id
                ),
                hint: None,
                retry_after: None,
            }),
        }
    }

    /// The access is gone; whether it stays so is known later, and is then reported without being asked.
    fn provisional(&self, grant: &Grant, until: Timestamp) -> Failure {
        let wait = until.duration_since(self.now());
        Failure {
            class: ErrorClass::Transient,
            reason: "end_provisional",
            message: format!(
                "the access of grant `{}` is gone; until {until} an order on its way could bring it back, so it is looked at again then",
                grant.id
            ),
            hint: None,
            retry_after: Some(Duration::try_from(wait).unwrap_or_default()),
        }
    }

    pub(super) async fn check(&self, id: IntegrationId) -> TaskOutcome {
        let outcome = self.look(id).await;
        self.tell(id, &outcome);
        match outcome {
            Ok(_) => TaskOutcome::Succeeded {
                start: None,
                end: None,
            },
            Err(failure) => TaskOutcome::Failed(failure),
        }
    }

    async fn look(&self, id: IntegrationId) -> Result<CheckReport, Failure> {
        let target = self.reach(id)?;
        target.check().await.map_err(|error| {
            log_failure("an integration could not be checked", &error);
            error.failure().clone()
        })
    }

    /// Notes how an integration is, by a check and by what an inventory could not look at.
    fn tell(&self, id: IntegrationId, checked: &Result<CheckReport, Failure>) {
        let warnings = checked.iter().flat_map(|report| report.warnings.clone());
        let warnings: Vec<String> = warnings.chain(self.unlisted(id)).collect();
        let (status, message) = match checked {
            Ok(_) if warnings.is_empty() => (IntegrationStatus::Active, String::new()),
            Ok(_) => (IntegrationStatus::Warning, warnings.join("\n")),
            Err(failure) => (IntegrationStatus::Error, with_hint(failure)),
        };
        self.set_health(id, status, message);
    }

    async fn synchronise(&self, id: IntegrationId) -> TaskOutcome {
        let Some(integration) = self.integration(id) else {
            return TaskOutcome::Failed(not_assigned(id));
        };
        self.set_health(id, IntegrationStatus::Refreshing, String::new());
        match self.parts.synchroniser.synchronise(&integration).await {
            Ok(done) => {
                tracing::info!(integration.id = %id, records = done.records, "inventory of `{}` reported", integration.name);
                // A complete inventory makes an integration active; what a check finds missing stays a warning.
                self.set_unlisted(id, done.troubles);
                let _outcome = self.check(id).await;
                TaskOutcome::Succeeded {
                    start: None,
                    end: None,
                }
            }
            Err(failure) => {
                self.set_health(id, IntegrationStatus::Error, with_hint(&failure));
                TaskOutcome::Failed(failure)
            }
        }
    }

    /// Finds the target of an integration.
    pub(super) fn reach(
        &self,
        id: IntegrationId,
    ) -> Result<std::sync::Arc<dyn crate::targets::Target>, Failure> {
        let integration = self.integration(id).ok_or_else(|| not_assigned(id))?;
        self.target(&integration)
            .map_err(|error| error.failure().clone())
    }

    /// Queues the report of a task that was answered at the door.
    pub(super) async fn refuse(&self, task: TaskId, attempt: u32, failure: Failure) {
        tracing::warn!(task.id = %task, reason = failure.reason, "order refused: {}", failure.message);
        let outcome = TaskOutcome::Failed(failure);
        self.journal_and_report(
            Vec::new(),
            vec![OutboxEntry::Result {
                task,
                attempt,
                outcome,
            }],
        )
        .await;
    }

    async fn finish(&self, lease: &Lease, outcome: TaskOutcome) {
        let task = &lease.task;
        self.count(task.order.kind(), &outcome);
        if let TaskOutcome::Failed(failure) = &outcome {
            tracing::warn!(
                task.id = %task.id,
                task.kind = task.order.kind().as_str(),
                lease.attempt = task.attempt,
                error.class = %failure.class,
                reason = failure.reason,
                hint = failure.hint.as_deref().unwrap_or_default(),
                "order not carried out: {}",
                failure.message
            );
        }
        let events = match (&task.order, &outcome) {
            (
                Order::Start { grant, .. },
                TaskOutcome::Succeeded {
                    start: Some(report),
                    ..
                },
            ) => {
                vec![Event::Started {
                    grant: grant.id,
                    at: report.started_at,
                }]
            }
            _ => Vec::new(),
        };
        let entry = OutboxEntry::Result {
            task: task.id,
            attempt: task.attempt,
            outcome,
        };
        self.journal_and_report(events, vec![entry]).await;
    }

    fn count(&self, kind: TaskKind, outcome: &TaskOutcome) {
        let metrics = &self.parts.metrics;
        match outcome {
            TaskOutcome::Succeeded { .. } => metrics.task_ended(kind, TaskResult::Succeeded),
            TaskOutcome::Closed { .. } => metrics.task_ended(kind, TaskResult::Closed),
            TaskOutcome::Failed(failure) => {
                metrics.task_ended(kind, TaskResult::Failed);
                metrics.task_failed(kind, failure.class);
            }
        }
    }

    /// Hands a task back; when that fails, the lease runs out by itself.
    async fn hand_back(&self, held: &HeldLease) {
        let task = &held.lease.task;
        self.parts
            .metrics
            .task_ended(task.order.kind(), TaskResult::Released);
        let session = self.session().unwrap_or(held.session);
        if let Err(error) = self
            .parts
            .control
            .release(session, task.id, task.attempt)
            .await
        {
            let source: &dyn std::error::Error = &error;
            tracing::debug!(task.id = %task.id, error = source, "a task could not be handed back");
        }
    }

    /// Renews the lease until the work is done; cancels the work when the order was taken back or the lease is lost.
    async fn keep_lease(
        &self,
        held: &HeldLease,
        deadline: &watch::Sender<Timestamp>,
        cancel: &CancellationToken,
        done: &CancellationToken,
    ) {
        let every = self
            .shared
            .session
            .borrow()
            .as_ref()
            .map_or(Duration::from_secs(10), |session| session.renew_every)
            .max(SHORTEST_RENEWAL);
        let task = &held.lease.task;
        loop {
            tokio::select! {
                () = done.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let renewal = Renewal {
                task: task.id,
                attempt: task.attempt,
                progress: task.order.kind().as_str().to_owned(),
                checkpoint: None,
            };
            let session = self.session().unwrap_or(held.session);
            let renewed = tokio::select! {
                () = done.cancelled() => return,
                renewed = self.parts.control.renew(session, &renewal) => renewed,
            };
            match renewed {
                Ok(renewed) => {
                    self.note_header(&renewed.header);
                    deadline.send_replace(renewed.deadline);
                    if renewed.cancel {
                        cancel.cancel();
                    }
                }
                Err(error)
                    if matches!(error.class(), ErrorClass::Conflict | ErrorClass::NotFound) =>
                {
                    cancel.cancel()
                }
                // The lease runs out by itself, and the fence in the target holds the line.
                Err(_) => {}
            }
        }
    }

    pub(super) fn running<R>(
        &self,
        change: impl FnOnce(&mut std::collections::HashMap<TaskId, Running>) -> R,
    ) -> R {
        change(
            &mut self
                .shared
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

pub(super) fn log_failure(what: &str, error: &crate::targets::TargetError) {
    let source: &dyn std::error::Error = error;
    tracing::warn!(
        error.class = %error.class(),
        error = source,
        hint = error.failure().hint.as_deref().unwrap_or_default(),
        "{what}"
    );
}

pub(super) fn with_hint(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{}\nhint: {hint}", failure.message),
        None => failure.message.clone(),
    }
}

fn not_assigned(id: IntegrationId) -> Failure {
    Failure {
        class: ErrorClass::NotFound,
        reason: "integration_not_assigned",
        message: format!("integration `{id}` is not assigned to this connector"),
        hint: Some("assign the integration to this connector".to_owned()),
        retry_after: None,
    }
}
