//! Owns orders: making tasks, taking them back, giving them up.

use super::Tx;
use super::row::{At, GrantRow, Id, TaskRow, json};
use crate::control::protocol::{ErrorSpec, Outcome};
use crate::domain::{EndReason, TaskKind};
use crate::reference_plane::{PlaneError, rules};
use rusqlite::params;
use uuid::Uuid;

/// What to order.
#[derive(Debug)]
pub(super) struct NewTask<'a> {
    pub(super) kind: TaskKind,
    pub(super) connector: &'a str,
    pub(super) integration: Id,
    pub(super) grant: Option<&'a GrantRow>,
    pub(super) recipient: Option<&'a str>,
    pub(super) expiry: Option<At>,
}

impl Tx<'_> {
    /// Queues a task.
    pub(super) fn order(&self, new: &NewTask<'_>) -> Result<Uuid, PlaneError> {
        let id = Uuid::now_v7();
        self.exec(
            "INSERT INTO tasks (id, connector, integration, kind, rank, grant_id, lane, recipient, expiry,
                 issued_at, not_before, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, 'queued')",
            params![
                Id(id),
                new.connector,
                new.integration,
                new.kind.as_str(),
                rules::rank(new.kind),
                new.grant.map(|grant| grant.id),
                new.grant.map(GrantRow::lane),
                new.recipient,
                new.expiry,
                self.now()
            ],
        )?;
        Ok(id)
    }

    /// Orders the end of a grant, unless it is over or its end is under way; returns the open task.
    ///
    /// A grant that provably never began needs no order: it is over at once.
    pub(super) fn order_end(
        &self,
        grant: &GrantRow,
        reason: EndReason,
    ) -> Result<Option<Uuid>, PlaneError> {
        if let Some(open) = self.open_end(grant.id)? {
            return Ok(Some(open));
        }
        let begun = self.may_have_begun(grant.id)?;
        self.withdraw_orders_of(grant.id)?;
        if !begun {
            if !grant.is_over() {
                self.end_unbegun(grant, reason)?;
            }
            return Ok(None);
        }
        self.exec(
            "UPDATE grants SET state = 'ending', wanted_expiry = NULL WHERE id = ?1",
            params![grant.id],
        )?;
        if grant.is_over() {
            // It stands on the list as ended and must come back, with all that is needed to end it.
            self.exec(
                "UPDATE grants SET ended_at = NULL, clean = 0 WHERE id = ?1",
                params![grant.id],
            )?;
            self.touch_grant(grant.id, &grant.connector)?;
        }
        let task = self.order(&NewTask {
            kind: TaskKind::RevokeAccess,
            connector: &grant.connector,
            integration: Id(grant.spec.integration),
            grant: Some(grant),
            recipient: None,
            expiry: None,
        })?;
        Ok(Some(task))
    }

    /// Takes a queued task back for good.
    pub(super) fn withdraw(&self, task: &TaskRow) -> Result<(), PlaneError> {
        self.exec(
            "UPDATE tasks SET state = 'cancelled', lease_deadline = NULL, finished_at = ?2
             WHERE id = ?1",
            params![task.id, self.now()],
        )?;
        Ok(())
    }

    /// Gives up an order nobody carried out. A start that may have had an effect gets an end.
    pub(super) fn fail_unanswered(
        &self,
        task: &TaskRow,
        reason: &str,
        message: String,
    ) -> Result<(), PlaneError> {
        let outcome = Outcome::Failed {
            class: "transient".to_owned(),
            reason: reason.to_owned(),
            message: message.clone(),
            hint: None,
            retry_after_s: None,
        };
        self.exec(
            "UPDATE tasks SET state = 'failed', lease_deadline = NULL, finished_at = ?2,
                 outcome = ?3, outcome_attempt = NULL WHERE id = ?1",
            params![task.id, self.now(), json(&outcome)?],
        )?;
        let error = ErrorSpec {
            reason: reason.to_owned(),
            message,
            hint: Some("see whether the connector runs and reaches the target".to_owned()),
        };
        self.after_final_failure(task, &error)
    }

    /// Draws the consequences of an order that failed for good.
    pub(super) fn after_final_failure(
        &self,
        task: &TaskRow,
        error: &ErrorSpec,
    ) -> Result<(), PlaneError> {
        let Some(id) = task.grant else {
            return self.note_check(task, error);
        };
        let grant = self.grant_row(id)?;
        match task.kind {
            TaskKind::GrantAccess => {
                self.exec(
                    "UPDATE grants SET failure = ?2 WHERE id = ?1",
                    params![id, json(error)?],
                )?;
                if !grant.is_over() {
                    self.order_end(&grant, EndReason::StartFailed)?;
                }
                Ok(())
            }
            TaskKind::ExtendAccess => {
                self.exec(
                    "UPDATE grants SET wanted_expiry = NULL WHERE id = ?1 AND wanted_expiry = ?2",
                    params![id, task.expiry],
                )?;
                Ok(())
            }
            TaskKind::ResetCredentials
            | TaskKind::RevokeAccess
            | TaskKind::CheckIntegration
            | TaskKind::SyncIntegration => Ok(()),
        }
    }

    /// Retires an integration of which nothing is left.
    pub(super) fn retire_if_empty(
        &self,
        integration: Id,
        connector: &str,
    ) -> Result<(), PlaneError> {
        let retired = self.exec(
            "UPDATE integrations SET state = 'retired', status = 'disabled' WHERE id = ?1 AND state = 'retiring'
               AND NOT EXISTS (SELECT 1 FROM grants WHERE integration = ?1
                   AND NOT (state = 'failed' OR (state = 'ended' AND clean = 1)))",
            params![integration],
        )?;
        if retired > 0 {
            self.touch_integration(integration, connector)?;
        }
        Ok(())
    }

    /// Gives up what was ordered before the store's new epoch began.
    pub(super) fn drop_orders_of_old_epoch(&self) -> Result<(), PlaneError> {
        let orders = self.all(
            "SELECT * FROM tasks WHERE state = 'queued'
               AND kind IN ('grant-access', 'extend-access', 'reset-credentials')",
            params![],
            TaskRow::read,
        )?;
        for task in &orders {
            self.fail_unanswered(
                task,
                "issued_before_restore",
                "the order was made before the store was restored, so it is not carried out"
                    .to_owned(),
            )?;
        }
        Ok(())
    }

    fn open_end(&self, grant: Id) -> Result<Option<Uuid>, PlaneError> {
        let id = self.one(
            "SELECT id FROM tasks WHERE grant_id = ?1 AND kind = 'revoke-access' AND state IN ('queued', 'leased')",
            params![grant],
            |row| row.get::<_, Id>(0),
        )?;
        Ok(id.map(|id| id.0))
    }

    fn may_have_begun(&self, grant: Id) -> Result<bool, PlaneError> {
        let begun = self.one(
            "SELECT count(*) > 0 FROM tasks WHERE grant_id = ?1 AND kind = 'grant-access' AND unproven > 0",
            params![grant],
            |row| row.get(0),
        )?;
        Ok(begun.unwrap_or(true))
    }

    /// Takes back what is queued for a grant; whoever holds a start, extension or reset of it learns so at the next renewal.
    pub(super) fn withdraw_orders_of(&self, grant: Id) -> Result<(), PlaneError> {
        self.exec(
            "UPDATE tasks SET state = 'cancelled', finished_at = ?2
             WHERE grant_id = ?1 AND state = 'queued' AND kind <> 'revoke-access'",
            params![grant, self.now()],
        )?;
        self.exec(
            "UPDATE tasks SET cancel = 1 WHERE grant_id = ?1 AND state = 'leased' AND kind <> 'revoke-access'",
            params![grant],
        )?;
        Ok(())
    }

    fn end_unbegun(&self, grant: &GrantRow, reason: EndReason) -> Result<(), PlaneError> {
        if reason == EndReason::Revoked {
            self.exec(
                "UPDATE grants SET state = 'ended', ended_at = ?2, end_reason = ?3, sessions_before = 0,
                     sessions_after = 0, clean = 1, wanted_expiry = NULL WHERE id = ?1",
                params![grant.id, self.now(), reason.as_str()],
            )?;
        } else {
            let error = ErrorSpec {
                reason: "expired_before_start".to_owned(),
                message: "the grant was over before any connector took its start".to_owned(),
                hint: Some("see whether the connector runs".to_owned()),
            };
            self.exec(
                "UPDATE grants SET state = 'failed', clean = 1, wanted_expiry = NULL,
                     failure = coalesce(failure, ?2) WHERE id = ?1",
                params![grant.id, json(&error)?],
            )?;
        }
        if grant.listed {
            self.touch_grant(grant.id, &grant.connector)?;
        }
        self.retire_if_empty(Id(grant.spec.integration), &grant.connector)
    }

    fn note_check(&self, task: &TaskRow, error: &ErrorSpec) -> Result<(), PlaneError> {
        self.exec(
            "UPDATE integrations SET status = 'error', message = ?2 WHERE id = ?1",
            params![task.integration, error.message],
        )?;
        Ok(())
    }
}
