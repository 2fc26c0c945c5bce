//! Owns how values and rows look in SQLite. Never decides anything.

use super::PlaneError;
use crate::control::protocol::{GrantSpec, PrincipalSpec, ResourceSpec};
use crate::domain::{Principal, PrincipalKind, ResourceKind, TaskKind};
use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// A time, as whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At(pub(super) Timestamp);

impl ToSql for At {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_microsecond().into())
    }
}

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let micros = value.as_i64()?;
        Timestamp::from_microsecond(micros)
            .map(Self)
            .map_err(|_| FromSqlError::OutOfRange(micros))
    }
}

/// An id, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) Uuid);

impl ToSql for Id {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.to_string().into())
    }
}

impl FromSql for Id {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Uuid::try_parse(value.as_str()?)
            .map(Self)
            .map_err(FromSqlError::other)
    }
}

/// Writes a value as JSON text.
pub(super) fn json(value: &impl Serialize) -> Result<String, PlaneError> {
    serde_json::to_string(value).map_err(|error| PlaneError::Damaged(error.to_string()))
}

/// Reads a column of JSON text.
pub(super) fn from_json<T: DeserializeOwned>(
    row: &rusqlite::Row<'_>,
    column: &str,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

/// The part of a grant that decides what happens to it.
#[derive(Debug, Clone)]
pub(super) struct GrantRow {
    pub(super) id: Id,
    pub(super) connector: String,
    pub(super) spec: GrantSpec,
    pub(super) principal: String,
    pub(super) state: String,
    pub(super) listed: bool,
    pub(super) ended_at: Option<At>,
    pub(super) clean: bool,
    pub(super) checkpoint: Option<String>,
}

impl GrantRow {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            connector: row.get("connector")?,
            spec: grant_spec(row)?,
            principal: row.get("principal")?,
            state: row.get("state")?,
            listed: row.get("listed")?,
            ended_at: row.get("ended_at")?,
            clean: row.get("clean")?,
            checkpoint: row.get("checkpoint")?,
        })
    }

    /// Returns what at most one start at a time is about: the person, whose login is one; in an organization the account.
    pub(super) fn lane(&self) -> String {
        let resource = &self.spec.resource;
        match ResourceKind::parse(&resource.kind) {
            Ok(ResourceKind::AwsOrganizationAccount) => resource.path.join("/"),
            _ => self.principal.clone(),
        }
    }

    /// Tells whether nothing can be started, moved or ended any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "closed" | "ended" | "failed")
    }
}

fn principal_spec(text: &str) -> rusqlite::Result<PrincipalSpec> {
    let principal = Principal::parse_text(text).map_err(|_| rusqlite::Error::InvalidQuery)?;
    let name = Some(principal.as_str().to_owned());
    Ok(match principal.kind() {
        PrincipalKind::Email => PrincipalSpec {
            email: name,
            ..PrincipalSpec::default()
        },
        PrincipalKind::UserName => PrincipalSpec {
            user_name: name,
            ..PrincipalSpec::default()
        },
        PrincipalKind::Group => PrincipalSpec {
            group: name,
            ..PrincipalSpec::default()
        },
    })
}

/// Reads what the wire says of a grant.
pub(super) fn grant_spec(row: &rusqlite::Row<'_>) -> rusqlite::Result<GrantSpec> {
    Ok(GrantSpec {
        id: row.get::<_, Id>("id")?.0,
        integration: row.get::<_, Id>("integration")?.0,
        principal: principal_spec(&row.get::<_, String>("principal")?)?,
        resource: ResourceSpec {
            kind: row.get("resource_type")?,
            path: from_json(row, "resource_path")?,
        },
        permission: row.get("permission")?,
        expiry: row.get::<_, At>("expiry")?.0,
    })
}

/// A task.
#[derive(Debug, Clone)]
pub(super) struct TaskRow {
    pub(super) id: Id,
    pub(super) connector: String,
    pub(super) integration: Id,
    pub(super) kind: TaskKind,
    pub(super) grant: Option<Id>,
    pub(super) recipient: Option<String>,
    pub(super) expiry: Option<At>,
    pub(super) issued_at: At,
    pub(super) state: String,
    pub(super) attempt: u32,
    pub(super) unproven: u32,
    pub(super) failures: u32,
    pub(super) session: Option<Id>,
    pub(super) instance: Option<Id>,
    pub(super) lease_deadline: Option<At>,
    pub(super) cancel: bool,
    pub(super) checkpoint: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) outcome_attempt: Option<u32>,
}

impl TaskRow {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let kind: String = row.get("kind")?;
        Ok(Self {
            id: row.get("id")?,
            connector: row.get("connector")?,
            integration: row.get("integration")?,
            kind: TaskKind::parse(&kind).ok_or(rusqlite::Error::InvalidQuery)?,
            grant: row.get("grant_id")?,
            recipient: row.get("recipient")?,
            expiry: row.get("expiry")?,
            issued_at: row.get("issued_at")?,
            state: row.get("state")?,
            attempt: row.get("attempt")?,
            unproven: row.get("unproven")?,
            failures: row.get("failures")?,
            session: row.get("session")?,
            instance: row.get("instance")?,
            lease_deadline: row.get("lease_deadline")?,
            cancel: row.get("cancel")?,
            checkpoint: row.get("checkpoint")?,
            outcome: row.get("outcome")?,
            outcome_attempt: row.get("outcome_attempt")?,
        })
    }

    /// Tells whether it was neither finished nor taken back.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "queued" | "leased")
    }
}
