//! Owns what happens by the clock: lost leases, orders too old, grants whose time is over, old rows.

use super::row::{At, GrantRow, TaskRow};
use super::{Store, Tx};
use crate::domain::EndReason;
use crate::reference_plane::{PlaneError, rules};
use jiff::{SignedDuration, Timestamp};
use rusqlite::params;

/// How long finished tasks are kept; grants are kept for good, they are the record of who had what.
const TASKS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Most rows dealt with in one round, so that a round stays short.
const ROUND: u32 = 500;

/// What a round found.
#[derive(Debug, Clone, Copy)]
pub(in crate::reference_plane) struct Round {
    /// Whether somebody who waits should look again.
    pub(in crate::reference_plane) woke: bool,
    /// When something is due next.
    pub(in crate::reference_plane) next: Option<Timestamp>,
}

impl Store {
    /// Does what is due now.
    pub(in crate::reference_plane) fn upkeep(&mut self) -> Result<Round, PlaneError> {
        let since = self.looked_at;
        let (round, now) = self.write(|tx| {
            let lost = tx.lose_overdue_leases()?;
            let old = tx.give_up_old_orders()?;
            let over = tx.order_due_ends()?;
            let ready = tx.became_ready(since)?;
            tx.forget_old_tasks()?;
            let round = Round {
                woke: lost + old + over > 0 || ready,
                next: tx.next_due()?,
            };
            Ok((round, tx.now))
        })?;
        self.looked_at = now;
        Ok(round)
    }
}

impl Tx<'_> {
    fn give_up_old_orders(&self) -> Result<usize, PlaneError> {
        let oldest = rules::later(self.now, -rules::START_VALID);
        let old = self.all(
            "SELECT * FROM tasks WHERE state = 'queued' AND kind IN ('grant-access', 'reset-credentials')
               AND issued_at <= ?1 LIMIT ?2",
            params![At(oldest), ROUND],
            TaskRow::read,
        )?;
        for task in &old {
            self.fail_unanswered(
                task,
                "order_expired",
                "no connector carried the order out within 10 minutes".to_owned(),
            )?;
        }
        Ok(old.len())
    }

    fn order_due_ends(&self) -> Result<usize, PlaneError> {
        let due = self.all(
            "SELECT * FROM grants WHERE state IN ('requested', 'starting', 'active')
               AND min(expiry, coalesce(wanted_expiry, expiry)) <= ?1 LIMIT ?2",
            params![self.now(), ROUND],
            GrantRow::read,
        )?;
        for grant in &due {
            self.order_end(grant, EndReason::Expired)?;
        }
        Ok(due.len())
    }

    fn became_ready(&self, since: Timestamp) -> Result<bool, PlaneError> {
        let ready = self.one(
            "SELECT EXISTS (SELECT 1 FROM tasks WHERE state = 'queued' AND not_before > ?1 AND not_before <= ?2)",
            params![At(since), self.now()],
            |row| row.get(0),
        )?;
        Ok(ready.unwrap_or(false))
    }

    fn forget_old_tasks(&self) -> Result<(), PlaneError> {
        let oldest = At(rules::later(self.now, -TASKS_KEPT));
        self.exec(
            "DELETE FROM tasks WHERE seq IN (SELECT t.seq FROM tasks AS t WHERE t.finished_at < ?1
                 AND (t.grant_id IS NULL OR EXISTS (SELECT 1 FROM grants AS g
                     WHERE g.id = t.grant_id AND g.state IN ('ended', 'failed'))) LIMIT ?2)",
            params![oldest, ROUND],
        )?;
        Ok(())
    }

    fn next_due(&self) -> Result<Option<Timestamp>, PlaneError> {
        let next = self.one(
            "SELECT min(due) FROM (
                 SELECT min(lease_deadline) AS due FROM tasks WHERE state = 'leased'
                 UNION ALL SELECT min(not_before) FROM tasks WHERE state = 'queued' AND not_before > ?1
                 UNION ALL SELECT min(min(expiry, coalesce(wanted_expiry, expiry))) FROM grants
                     WHERE state IN ('requested', 'starting', 'active'))",
            params![self.now()],
            |row| row.get::<_, Option<At>>(0),
        )?;
        Ok(next.flatten().map(|at| at.0))
    }
}
