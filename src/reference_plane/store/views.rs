//! Owns what people see of grants and tasks.

use super::row::{At, GrantRow, Id, TaskRow, from_json, grant_spec};
use super::{Store, Tx};
use crate::control::protocol::{ErrorSpec, MAX_PAGE, Outcome};
use crate::reference_plane::PlaneError;
use crate::reference_plane::admin::{GrantView, GrantViews, TaskView};
use rusqlite::params;
use uuid::Uuid;

const WITH_NAME: &str = "SELECT g.*, i.name AS integration_name FROM grants AS g
    JOIN integrations AS i ON i.id = g.integration";

impl Store {
    /// Lists grants, oldest first: the open ones, or all.
    pub(in crate::reference_plane) fn grants(
        &mut self,
        all: bool,
        after: Option<Uuid>,
    ) -> Result<GrantViews, PlaneError> {
        self.write(|tx| {
            let after = after.map(|id| id.to_string()).unwrap_or_default();
            let grants = tx.all(
                &format!(
                    "{WITH_NAME} WHERE g.id > ?1 AND (?2 OR g.state NOT IN ('ended', 'failed'))
                     ORDER BY g.id LIMIT ?3"
                ),
                params![after, all, MAX_PAGE],
                view,
            )?;
            let last = grants.last().filter(|_| grants.len() == MAX_PAGE);
            Ok(GrantViews {
                next: last.map(|grant| grant.grant.id),
                grants,
            })
        })
    }

    /// Shows one grant.
    pub(in crate::reference_plane) fn grant_by_id(
        &mut self,
        grant: Uuid,
    ) -> Result<GrantView, PlaneError> {
        self.write(|tx| {
            let GrantRow { id, .. } = tx.known_grant(grant)?;
            tx.grant_view(id)
        })
    }

    /// Shows one task.
    pub(in crate::reference_plane) fn task_by_id(
        &mut self,
        task: Uuid,
    ) -> Result<TaskView, PlaneError> {
        self.write(|tx| {
            tx.one(
                "SELECT * FROM tasks WHERE id = ?1",
                params![Id(task)],
                |row| Ok(task_view(TaskRow::read(row)?, row.get("progress")?)),
            )?
            .ok_or_else(|| {
                PlaneError::not_found("unknown_task", format!("task `{task}` is not known here"))
            })
        })
    }
}

impl Tx<'_> {
    pub(super) fn grant_view(&self, grant: Id) -> Result<GrantView, PlaneError> {
        self.one(
            &format!("{WITH_NAME} WHERE g.id = ?1"),
            params![grant],
            view,
        )?
        .ok_or_else(|| PlaneError::Damaged(format!("grant `{}` is missing", grant.0)))
    }
}

fn view(row: &rusqlite::Row<'_>) -> rusqlite::Result<GrantView> {
    let time = |column: &str| -> rusqlite::Result<_> {
        Ok(row.get::<_, Option<At>>(column)?.map(|at| at.0))
    };
    let failure: Option<String> = row.get("failure")?;
    Ok(GrantView {
        grant: grant_spec(row)?,
        integration_name: row.get("integration_name")?,
        state: row.get("state")?,
        created_at: row.get::<_, At>("created_at")?.0,
        wanted_expiry: time("wanted_expiry")?,
        started_at: time("started_at")?,
        login: row.get("login")?,
        credential: row.get("credential")?,
        sealed_credential: row.get("sealed_credential")?,
        ended_at: time("ended_at")?,
        end_reason: row.get("end_reason")?,
        sessions_before: row.get("sessions_before")?,
        sessions_after: row.get("sessions_after")?,
        clean: row.get("clean")?,
        leftovers: from_json(row, "leftovers")?,
        details: from_json(row, "details")?,
        end_details: from_json(row, "end_details")?,
        failure: failure.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

fn task_view(task: TaskRow, progress: String) -> TaskView {
    let outcome = task
        .outcome
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    let (start, failure) = match outcome {
        Some(Outcome::Succeeded { start, .. }) => (start, None),
        Some(Outcome::Failed {
            reason,
            message,
            hint,
            ..
        }) => (
            None,
            Some(ErrorSpec {
                reason,
                message,
                hint,
            }),
        ),
        Some(Outcome::Closed { .. }) | None => (None, None),
    };
    TaskView {
        id: task.id.0,
        kind: task.kind.as_str().to_owned(),
        grant: task.grant.map(|grant| grant.0),
        state: task.state,
        attempt: task.attempt,
        progress,
        failure,
        start,
    }
}
