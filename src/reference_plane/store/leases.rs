//! Owns leases: who gets which task, until when, and what happens when nobody answers.

use super::row::{At, GrantRow, Id, TaskRow};
use super::{Store, Tx};
use crate::control::protocol::{
    Acknowledged, Header, LeaseRequest, LeasedTask, MAX_CHECKPOINT_BYTES, ReleaseRequest,
    RenewReply, RenewRequest,
};
use crate::domain::TaskKind;
use crate::reference_plane::PlaneError;
use crate::reference_plane::rules::{self, Delivery, Next, Slots};
use rusqlite::params;
use uuid::Uuid;

/// Most bytes of a progress text that are kept.
const MAX_PROGRESS: usize = 1000;

/// What a lease call found.
#[derive(Debug)]
pub(in crate::reference_plane) struct Work {
    pub(in crate::reference_plane) header: Header,
    pub(in crate::reference_plane) tasks: Vec<LeasedTask>,
}

impl Store {
    /// Hands out what fits: first what the session holds without knowing it, then what waits.
    pub(in crate::reference_plane) fn lease(
        &mut self,
        connector: &str,
        ask: &LeaseRequest,
    ) -> Result<Work, PlaneError> {
        self.write(|tx| {
            let instance = tx.session_instance(connector, ask.session)?;
            tx.lose_overdue_leases()?;
            let mut slots = Slots {
                any: ask.free_any,
                end: ask.free_end,
                room: rules::MAX_TASKS_PER_ANSWER,
            };
            let mut tasks = tx.lease_again(ask, &mut slots)?;
            while let Some(task) = tx.next_waiting(connector, slots)? {
                if !slots.take(task.kind) {
                    break;
                }
                tasks.push(tx.lease_one(task, ask.session, instance)?);
            }
            Ok(Work {
                header: tx.header(connector)?,
                tasks,
            })
        })
    }

    /// Prolongs a lease.
    pub(in crate::reference_plane) fn renew(
        &mut self,
        connector: &str,
        task: Uuid,
        ask: &RenewRequest,
    ) -> Result<RenewReply, PlaneError> {
        if let Some(checkpoint) = &ask.checkpoint
            && checkpoint.len() > MAX_CHECKPOINT_BYTES
        {
            return Err(PlaneError::invalid(
                "checkpoint_too_large",
                format!(
                    "the checkpoint has {} bytes, at most {MAX_CHECKPOINT_BYTES} are kept",
                    checkpoint.len()
                ),
            ));
        }
        self.write(|tx| {
            let row = tx.held(connector, task, ask.session, ask.attempt)?;
            let deadline = rules::later(tx.now, tx.lease);
            let progress: String = ask.progress.chars().take(MAX_PROGRESS).collect();
            tx.exec(
                "UPDATE tasks SET lease_deadline = ?2, progress = ?3, checkpoint = coalesce(?4, checkpoint)
                 WHERE id = ?1",
                params![row.id, At(deadline), progress, ask.checkpoint],
            )?;
            let ended = match &ask.checkpoint {
                Some(checkpoint) => tx.keep_checkpoint(&row, checkpoint)?,
                None => false,
            };
            Ok(RenewReply {
                header: tx.header(connector)?,
                lease_deadline: deadline,
                cancel: row.cancel || ended,
            })
        })
    }

    /// Takes a task back of which no outside effect has begun.
    pub(in crate::reference_plane) fn release(
        &mut self,
        connector: &str,
        task: Uuid,
        ask: &ReleaseRequest,
    ) -> Result<Acknowledged, PlaneError> {
        self.write(|tx| {
            let row = tx.held(connector, task, ask.session, ask.attempt)?;
            tx.exec(
                "UPDATE tasks SET unproven = max(unproven - 1, 0) WHERE id = ?1",
                params![row.id],
            )?;
            let row = TaskRow {
                unproven: row.unproven.saturating_sub(1),
                ..row
            };
            tx.queue_or_give_up(&row)?;
            Ok(Acknowledged {
                header: tx.header(connector)?,
            })
        })
    }

    /// Ends every lease now, as if no holder had answered.
    #[cfg(feature = "test-util")]
    pub(in crate::reference_plane) fn expire_leases(&mut self) -> Result<(), PlaneError> {
        self.write(|tx| {
            let held = tx.all(
                "SELECT * FROM tasks WHERE state = 'leased'",
                params![],
                TaskRow::read,
            )?;
            held.iter().try_for_each(|task| tx.lose_lease(task))
        })
    }
}

impl Tx<'_> {
    /// Keeps with a grant what is needed to end it; tells whether it is being ended already.
    fn keep_checkpoint(&self, task: &TaskRow, checkpoint: &str) -> Result<bool, PlaneError> {
        let Some(id) = task.grant else {
            return Ok(false);
        };
        self.exec(
            "UPDATE grants SET checkpoint = ?2 WHERE id = ?1",
            params![id, checkpoint],
        )?;
        self.touch_grant(id, &task.connector)?;
        let grant = self.grant_row(id)?;
        Ok(grant.is_over() || grant.state == "ending")
    }

    /// Finds a task of a connector.
    pub(super) fn task(&self, connector: &str, task: Uuid) -> Result<TaskRow, PlaneError> {
        self.one(
            "SELECT * FROM tasks WHERE id = ?1 AND connector = ?2",
            params![Id(task), connector],
            TaskRow::read,
        )?
        .ok_or_else(|| {
            PlaneError::not_found("unknown_task", format!("task `{task}` is not known here"))
        })
    }

    /// Queues again what was leased until now and longer.
    pub(super) fn lose_overdue_leases(&self) -> Result<usize, PlaneError> {
        let overdue = self.all(
            "SELECT * FROM tasks WHERE state = 'leased' AND lease_deadline <= ?1",
            params![self.now()],
            TaskRow::read,
        )?;
        overdue.iter().try_for_each(|task| self.lose_lease(task))?;
        Ok(overdue.len())
    }

    /// Ends a lease that brought no result.
    pub(super) fn lose_lease(&self, task: &TaskRow) -> Result<(), PlaneError> {
        self.exec(
            "UPDATE tasks SET lost = lost + 1 WHERE id = ?1",
            params![task.id],
        )?;
        self.queue_or_give_up(task)
    }

    /// Tells the rules what is known of a delivery.
    pub(super) fn delivery(&self, task: &TaskRow, failures: u32) -> Delivery {
        Delivery {
            kind: task.kind,
            deliveries: task.unproven,
            failures,
            issued_at: task.issued_at.0,
            now: self.now,
        }
    }

    /// Queues a task again from a time on.
    pub(super) fn queue_again(&self, task: &TaskRow, from: At) -> Result<(), PlaneError> {
        self.exec(
            "UPDATE tasks SET state = 'queued', lease_deadline = NULL, not_before = ?2
             WHERE id = ?1",
            params![task.id, from],
        )?;
        Ok(())
    }

    fn queue_or_give_up(&self, task: &TaskRow) -> Result<(), PlaneError> {
        if task.cancel {
            return self.withdraw(task);
        }
        match rules::after_lost_lease(&self.delivery(task, task.failures)) {
            Next::Again(from) => self.queue_again(task, At(from)),
            Next::Final => self.fail_unanswered(
                task,
                "too_many_attempts",
                format!(
                    "the order was delivered {} times and no result came",
                    task.unproven
                ),
            ),
        }
    }

    fn lease_again(
        &self,
        ask: &LeaseRequest,
        slots: &mut Slots,
    ) -> Result<Vec<LeasedTask>, PlaneError> {
        let leased = self.all(
            "SELECT * FROM tasks WHERE state = 'leased' AND session = ?1 ORDER BY rank, seq",
            params![Id(ask.session)],
            TaskRow::read,
        )?;
        let mut tasks = Vec::new();
        for task in leased {
            if ask.held.contains(&task.id.0) || !slots.take(task.kind) {
                continue;
            }
            let deadline = At(rules::later(self.now, self.lease));
            self.exec(
                "UPDATE tasks SET lease_deadline = ?2 WHERE id = ?1",
                params![task.id, deadline],
            )?;
            tasks.push(self.leased_task(task, deadline)?);
        }
        Ok(tasks)
    }

    /// Finds the first task that may be handed out and has a place.
    fn next_waiting(&self, connector: &str, slots: Slots) -> Result<Option<TaskRow>, PlaneError> {
        if !slots.end_free() {
            return Ok(None);
        }
        let last_rank = if slots.any_free() { u8::MAX } else { 0 };
        let oldest_start = rules::later(self.now, -rules::START_VALID);
        self.one(
            "SELECT t.* FROM tasks AS t
             WHERE t.state = 'queued' AND t.connector = ?1 AND t.rank <= ?2 AND t.not_before <= ?3
               AND (t.kind NOT IN ('grant-access', 'reset-credentials') OR (t.issued_at > ?4
                    AND NOT EXISTS (SELECT 1 FROM tasks AS l WHERE l.state = 'leased'
                        AND l.kind IN ('grant-access', 'reset-credentials')
                        AND l.integration = t.integration AND l.lane = t.lane)))
               AND (t.kind NOT IN ('extend-access', 'reset-credentials')
                    OR EXISTS (SELECT 1 FROM grants AS g WHERE g.id = t.grant_id AND g.state = 'active'))
               AND (t.kind <> 'extend-access' OR NOT EXISTS (SELECT 1 FROM tasks AS l
                        WHERE l.grant_id = t.grant_id AND l.kind = t.kind AND l.state = 'leased'))
               AND (t.rank <> 1 OR EXISTS (SELECT 1 FROM integrations AS i
                        WHERE i.id = t.integration AND i.state = 'active'))
             ORDER BY t.rank, t.lost, t.seq LIMIT 1",
            params![connector, last_rank, self.now(), At(oldest_start)],
            TaskRow::read,
        )
    }

    fn lease_one(
        &self,
        task: TaskRow,
        session: Uuid,
        instance: Id,
    ) -> Result<LeasedTask, PlaneError> {
        let deadline = At(rules::later(self.now, self.lease));
        self.exec(
            "UPDATE tasks SET state = 'leased', attempt = attempt + 1, unproven = unproven + 1,
                 session = ?2, instance = ?3, lease_deadline = ?4, progress = '' WHERE id = ?1",
            params![task.id, Id(session), instance, deadline],
        )?;
        if let (TaskKind::GrantAccess, Some(grant)) = (task.kind, task.grant) {
            self.exec(
                "UPDATE grants SET state = 'starting' WHERE id = ?1 AND state = 'requested'",
                params![grant],
            )?;
            let newly = self.exec(
                "UPDATE grants SET listed = 1 WHERE id = ?1 AND listed = 0",
                params![grant],
            )?;
            if newly > 0 {
                self.touch_grant(grant, &task.connector)?;
            }
        }
        let task = TaskRow {
            attempt: task.attempt + 1,
            ..task
        };
        self.leased_task(task, deadline)
    }

    fn leased_task(&self, task: TaskRow, deadline: At) -> Result<LeasedTask, PlaneError> {
        let mut checkpoint = task.checkpoint.clone();
        let grant = match task.grant {
            None => None,
            Some(id) => {
                let GrantRow {
                    mut spec,
                    checkpoint: of_grant,
                    ..
                } = self.grant_row(id)?;
                checkpoint = of_grant.or(checkpoint);
                if let (TaskKind::ExtendAccess, Some(expiry)) = (task.kind, task.expiry) {
                    spec.expiry = expiry.0;
                }
                Some(spec)
            }
        };
        Ok(LeasedTask {
            id: task.id.0,
            attempt: task.attempt,
            kind: task.kind.as_str().to_owned(),
            integration: task.integration.0,
            issued_at: task.issued_at.0,
            lease_deadline: deadline.0,
            checkpoint,
            grant,
            recipient: task.recipient,
        })
    }

    /// Finds a task that a session holds now, under this attempt.
    fn held(
        &self,
        connector: &str,
        task: Uuid,
        session: Uuid,
        attempt: u32,
    ) -> Result<TaskRow, PlaneError> {
        self.session_instance(connector, session)?;
        let row = self.task(connector, task)?;
        let holds = row.state == "leased"
            && row.session == Some(Id(session))
            && row.attempt == attempt
            && row.lease_deadline.is_some_and(|at| at > self.now());
        if holds {
            return Ok(row);
        }
        Err(PlaneError::conflict(
            "lease_lost",
            format!("session `{session}` does not hold task `{task}` in attempt {attempt}"),
        ))
    }

    /// Finds a grant the store itself refers to.
    pub(super) fn grant_row(&self, grant: Id) -> Result<GrantRow, PlaneError> {
        self.one(
            "SELECT * FROM grants WHERE id = ?1",
            params![grant],
            GrantRow::read,
        )?
        .ok_or_else(|| PlaneError::Damaged(format!("grant `{}` is missing", grant.0)))
    }
}
