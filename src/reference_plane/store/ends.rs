//! Owns how grants end: the first proof counts, and a clean end may follow later.

use super::row::{At, GrantRow, Id, json};
use super::{Store, Tx};
use crate::control::protocol::{Acknowledged, EndSpec, EndsRequest, MAX_ENDS};
use crate::reference_plane::PlaneError;
use rusqlite::params;

impl Store {
    /// Notes grants that ended without an order, or became clean. Idempotent per grant.
    ///
    /// An end is a fact, whatever became of the session that reports it.
    pub(in crate::reference_plane) fn ends(
        &mut self,
        connector: &str,
        report: &EndsRequest,
    ) -> Result<Acknowledged, PlaneError> {
        if report.ends.len() > MAX_ENDS {
            return Err(PlaneError::invalid(
                "too_many_ends",
                format!(
                    "the report has {} ends, at most {MAX_ENDS} fit",
                    report.ends.len()
                ),
            ));
        }
        report.ends.iter().try_for_each(check_end)?;
        self.write(|tx| {
            for end in &report.ends {
                tx.note_end(connector, end)?;
            }
            Ok(Acknowledged {
                header: tx.header(connector)?,
            })
        })
    }
}

impl Tx<'_> {
    /// Notes an end. A grant this store does not know, as after a restore, is passed over.
    pub(super) fn note_end(&self, connector: &str, end: &EndSpec) -> Result<(), PlaneError> {
        let known = self.one(
            "SELECT * FROM grants WHERE id = ?1 AND connector = ?2 AND integration = ?3",
            params![Id(end.grant), connector, Id(end.integration)],
            GrantRow::read,
        )?;
        let Some(grant) = known else {
            tracing::warn!(grant.id = %end.grant, "an unknown grant was reported as ended");
            return Ok(());
        };
        let id = grant.id;
        self.withdraw_orders_of(id)?;
        self.exec(
            "UPDATE tasks SET state = 'cancelled', finished_at = ?2
             WHERE grant_id = ?1 AND state = 'queued' AND kind = 'revoke-access'",
            params![id, self.now()],
        )?;
        let clean = grant.clean || end.clean;
        let leftovers = if clean {
            "[]".to_owned()
        } else {
            json(&end.leftovers)?
        };
        if grant.ended_at.is_none() {
            self.exec(
                "UPDATE grants SET ended_at = ?2, end_reason = ?3, sessions_before = ?4, sessions_after = ?5,
                     end_details = ?6, wanted_expiry = NULL WHERE id = ?1",
                params![
                    id,
                    At(end.ended_at),
                    end.reason,
                    end.sessions_before,
                    end.sessions_after,
                    json(&end.details)?
                ],
            )?;
        }
        let changed = self.exec(
            "UPDATE grants SET state = ?2, clean = ?3, leftovers = ?4
             WHERE id = ?1 AND (state, clean, leftovers) <> (?2, ?3, ?4)",
            params![id, if clean { "ended" } else { "closed" }, clean, leftovers],
        )?;
        if changed > 0 {
            self.touch_grant(id, connector)?;
        }
        self.retire_if_empty(Id(end.integration), connector)
    }
}

/// Refuses an end that left sessions: the access is not gone then.
pub(super) fn check_end(end: &EndSpec) -> Result<(), PlaneError> {
    if end.sessions_after == 0 {
        return Ok(());
    }
    Err(PlaneError::invalid(
        "sessions_left",
        format!(
            "grant `{}` is reported as ended with {} sessions left",
            end.grant, end.sessions_after
        ),
    )
    .hint("report the end when no session is left"))
}
