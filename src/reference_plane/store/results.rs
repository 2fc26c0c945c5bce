//! Owns results: which ones count, and what each changes.

use super::row::{At, Id, TaskRow, json};
use super::{Store, Tx};
use crate::control::protocol::{Acknowledged, ErrorSpec, Outcome, ResultRequest, StartSpec};
use crate::domain::{EndReason, TaskKind};
use crate::reference_plane::{PlaneError, rules};
use jiff::SignedDuration;
use rusqlite::params;
use uuid::Uuid;

impl Store {
    /// Takes the result of the current attempt; the same again changes nothing, any other is refused.
    pub(in crate::reference_plane) fn result(
        &mut self,
        connector: &str,
        task: Uuid,
        report: &ResultRequest,
    ) -> Result<Acknowledged, PlaneError> {
        self.write(|tx| {
            let row = tx.task(connector, task)?;
            let outcome = json(&report.outcome)?;
            if row.outcome_attempt == Some(report.attempt) {
                if row.outcome.as_deref() != Some(&outcome) {
                    return Err(PlaneError::conflict(
                        "result_differs",
                        format!(
                            "task `{task}` already has another result for attempt {}",
                            report.attempt
                        ),
                    ));
                }
            } else {
                tx.check_attempt(&row, report)?;
                check_shape(&row, &report.outcome)?;
                tx.exec(
                    "UPDATE tasks SET outcome = ?2, outcome_attempt = ?3 WHERE id = ?1",
                    params![row.id, outcome, report.attempt],
                )?;
                tx.apply(&row, &report.outcome)?;
            }
            Ok(Acknowledged {
                header: tx.header(connector)?,
            })
        })
    }
}

impl Tx<'_> {
    /// Accepts the current attempt, from the session it was leased to, even if that is over by now, or from its instance's next one.
    fn check_attempt(&self, row: &TaskRow, report: &ResultRequest) -> Result<(), PlaneError> {
        let same_session = row.session == Some(Id(report.session));
        let holder = same_session
            || row.instance == Some(self.session_instance(&row.connector, report.session)?);
        if row.attempt == report.attempt && holder {
            return Ok(());
        }
        Err(PlaneError::conflict(
            "stale_attempt",
            format!(
                "task `{}` is at attempt {}, the result is for attempt {} of another delivery",
                row.id.0, row.attempt, report.attempt
            ),
        )
        .hint("drop the report; report a grant that ended through `ends`"))
    }

    fn apply(&self, task: &TaskRow, outcome: &Outcome) -> Result<(), PlaneError> {
        match outcome {
            Outcome::Succeeded { start, end } => {
                self.finish(task, "succeeded")?;
                match (start, end) {
                    (_, Some(end)) => self.note_end(&task.connector, end),
                    (Some(start), None) => self.note_start(task, start),
                    (None, None) => self.note_success(task),
                }
            }
            Outcome::Closed { end } => {
                self.finish(task, "succeeded")?;
                self.note_end(&task.connector, end)
            }
            Outcome::Failed {
                class,
                reason,
                message,
                hint,
                retry_after_s,
            } => {
                let error = ErrorSpec {
                    reason: reason.clone(),
                    message: message.clone(),
                    hint: hint.clone(),
                };
                let wait = retry_after_s.map(|seconds| {
                    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
                });
                self.note_failure(task, rules::class(class), &error, wait)
            }
        }
    }

    fn note_failure(
        &self,
        task: &TaskRow,
        class: crate::domain::ErrorClass,
        error: &ErrorSpec,
        wait: Option<SignedDuration>,
    ) -> Result<(), PlaneError> {
        if rules::proves_nothing_stands(class) {
            self.exec(
                "UPDATE tasks SET unproven = max(unproven - 1, 0) WHERE id = ?1",
                params![task.id],
            )?;
        }
        self.exec(
            "UPDATE tasks SET failures = failures + 1 WHERE id = ?1",
            params![task.id],
        )?;
        if !task.is_open() || task.cancel {
            return self.withdraw(task);
        }
        let delivery = self.delivery(task, task.failures + 1);
        match rules::after_failure(&delivery, class, wait) {
            rules::Next::Again(from) => self.queue_again(task, At(from)),
            rules::Next::Final => {
                self.finish(task, "failed")?;
                self.after_final_failure(task, error)
            }
        }
    }

    fn finish(&self, task: &TaskRow, state: &str) -> Result<(), PlaneError> {
        self.exec(
            "UPDATE tasks SET state = ?2, lease_deadline = NULL, finished_at = ?3 WHERE id = ?1",
            params![task.id, state, self.now()],
        )?;
        Ok(())
    }

    fn note_start(&self, task: &TaskRow, start: &StartSpec) -> Result<(), PlaneError> {
        let Some(id) = task.grant else { return Ok(()) };
        let grant = self.grant_row(id)?;
        self.exec(
            "UPDATE grants SET login = ?2, started_at = coalesce(started_at, ?3), details = ?4 WHERE id = ?1",
            params![
                id,
                start.login,
                At(start.started_at),
                json(&start.details)?
            ],
        )?;
        if task.kind != TaskKind::ExtendAccess {
            self.exec(
                "UPDATE grants SET credential = ?2, sealed_credential = coalesce(?3, sealed_credential) WHERE id = ?1",
                params![id, start.credential, start.sealed_credential],
            )?;
        }
        match task.kind {
            TaskKind::GrantAccess if grant.is_over() => {
                // Access that began after its end is ended again.
                self.order_end(&grant, EndReason::Drift)?;
            }
            TaskKind::GrantAccess => {
                self.exec(
                    "UPDATE grants SET state = 'active', failure = NULL
                     WHERE id = ?1 AND state IN ('requested', 'starting')",
                    params![id],
                )?;
                self.touch_grant(id, &task.connector)?;
            }
            TaskKind::ExtendAccess => self.note_extension(task, id, start)?,
            TaskKind::ResetCredentials
            | TaskKind::RevokeAccess
            | TaskKind::CheckIntegration
            | TaskKind::SyncIntegration => {}
        }
        Ok(())
    }

    /// Takes the confirmed expiry over, but never a later one than was ordered.
    fn note_extension(
        &self,
        task: &TaskRow,
        grant: Id,
        start: &StartSpec,
    ) -> Result<(), PlaneError> {
        let Some(ordered) = task.expiry else {
            return Ok(());
        };
        self.exec(
            "UPDATE grants SET expiry = ?2 WHERE id = ?1 AND state = 'active'",
            params![grant, ordered.min(At(start.expiry))],
        )?;
        self.exec(
            "UPDATE grants SET wanted_expiry = NULL WHERE id = ?1 AND wanted_expiry = ?2",
            params![grant, ordered],
        )?;
        self.touch_grant(grant, &task.connector)
    }

    fn note_success(&self, task: &TaskRow) -> Result<(), PlaneError> {
        if task.kind == TaskKind::CheckIntegration {
            self.exec(
                "UPDATE integrations SET status = 'active', message = ''
                 WHERE id = ?1 AND status IN ('initializing', 'error')",
                params![task.integration],
            )?;
        }
        Ok(())
    }
}

fn check_shape(row: &TaskRow, outcome: &Outcome) -> Result<(), PlaneError> {
    let wrong = |problem: String| Err(PlaneError::invalid("invalid_result", problem));
    let kind = row.kind.as_str();
    match (row.kind, outcome) {
        (_, Outcome::Failed { .. }) => Ok(()),
        (
            TaskKind::RevokeAccess,
            Outcome::Closed { end } | Outcome::Succeeded { end: Some(end), .. },
        ) => {
            if Some(Id(end.grant)) != row.grant {
                return wrong(format!(
                    "`end.grant` is `{}`, the order is about another",
                    end.grant
                ));
            }
            super::ends::check_end(end)
        }
        (TaskKind::RevokeAccess, Outcome::Succeeded { .. }) => {
            wrong(format!("`{kind}` succeeded without `end`"))
        }
        (_, Outcome::Closed { .. } | Outcome::Succeeded { end: Some(_), .. }) => {
            wrong(format!("`{kind}` cannot have `end`"))
        }
        (
            TaskKind::GrantAccess | TaskKind::ExtendAccess | TaskKind::ResetCredentials,
            Outcome::Succeeded { start: None, .. },
        ) => wrong(format!("`{kind}` succeeded without `start`")),
        (
            _,
            Outcome::Succeeded {
                start: Some(start), ..
            },
        ) if start.credential == "new" && start.sealed_credential.is_none() => wrong(
            "`start.credential` is `new`, but `start.sealed_credential` is missing".to_owned(),
        ),
        (_, Outcome::Succeeded { .. }) => Ok(()),
    }
}
