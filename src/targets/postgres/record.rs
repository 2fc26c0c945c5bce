//! Owns reading our record and the state of the server for others: what is live, what ended, what rights we have. Never changes access.

use super::PostgresTarget;
use super::access_role::Hurry;
use super::error::Trouble;
use super::pool::{Conn, For};
use super::probe;
use super::render::{lit, utc};
use super::rows::{Line, Rows};
use super::settings::AccessRoles;
use crate::domain::{
    EndReason, Evidence, Grant, GrantId, IntegrationId, Permission, Principal, ResourceKind,
    ResourceRef,
};
use crate::pg::SslMode;
use crate::targets::{CheckReport, RecordedGrant};

/// Most grants read at once; more than one connector can have.
const MAX_GRANTS: usize = 100_000;
/// Most given roles looked at in one check: each costs a look at its database.
const GIVEN_PER_CHECK: usize = 20;

/// Reads every grant of this integration that is live, or ended and not yet clean.
pub(super) async fn read(target: &PostgresTarget) -> Result<Vec<RecordedGrant>, Trouble> {
    const DOING: &str = "read the grant table";
    let home = &target.settings.home;
    let sql = format!(
        "SELECT 'grant', id, integration, principal, kind, pg_catalog.array_to_json(path), level, {}, login, {}, {}, reason,\n\
         (closed_at IS NOT NULL)::text FROM apono.\"grant\" WHERE connector = {} AND integration = '{}' AND clean_at IS NULL\n\
         ORDER BY id LIMIT {MAX_GRANTS}",
        utc("expiry"),
        utc("started_at"),
        utc("ended_at"),
        lit(home.connector.as_str()),
        home.integration.as_uuid()
    );
    let conn = target.home(For::Work).await?;
    let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
    target.pool.put(conn);
    let mut grants = Vec::new();
    for line in rows.tagged("grant") {
        match recorded(line)? {
            Some(grant) => grants.push(grant),
            None => tracing::warn!(
                grant.id = line.maybe(0),
                "a row of the grant table cannot be understood, a later version may have written it"
            ),
        }
    }
    Ok(grants)
}

fn recorded(line: Line<'_>) -> Result<Option<RecordedGrant>, Trouble> {
    let resource = resource(line.text(3)?, line.texts(4)?);
    let (Ok(id), Ok(integration), Ok(principal), Some(resource), Ok(permission)) = (
        GrantId::parse(line.text(0)?),
        IntegrationId::parse(line.text(1)?),
        Principal::parse(line.text(2)?),
        resource,
        Permission::parse(line.text(5)?),
    ) else {
        return Ok(None);
    };
    let reason = line
        .maybe(10)
        .map(|text| EndReason::parse(text).unwrap_or(EndReason::Revoked));
    Ok(Some(RecordedGrant {
        grant: Grant {
            id,
            integration,
            principal,
            resource,
            permission,
            expiry: line.time(6)?,
        },
        login: line.text(7)?.to_owned(),
        started_at: line.maybe_time(8)?,
        ended: line.maybe_time(9)?.zip(reason),
        undecided: false,
        closed: line.yes(11)?,
    }))
}

/// Reads a resource back from a row.
pub(super) fn resource(kind: &str, path: Vec<String>) -> Option<ResourceRef> {
    ResourceRef::new(ResourceKind::parse(kind).ok()?, path).ok()
}

/// Looks whether everything works, and says what is missing: all of it at once.
pub(super) async fn check(target: &PostgresTarget) -> Result<CheckReport, Trouble> {
    let conn = target.pool.home(For::Work).await?;
    let probed = probe::look(&conn, &target.settings).await?;
    if !probed.lacks.is_empty() {
        // What helps may be another role to act as, which a connection takes on once.
        target.pool.forget_idle();
    }
    if probed.lacks.iter().any(|lack| lack.stops.is_some()) {
        return Err(probe::refused(&probed));
    }
    let mut report = CheckReport {
        evidence: Evidence::default()
            .with("server_version", &probed.server_version)
            .with("database_user", &probed.user)
            .with("acting_as", &probed.me)
            .with("owners_acted_for", probed.owners.0)
            .with("owners_not_acted_for", probed.owners.1)
            .with("sslmode", target.settings.tls)
            .with("encrypted", conn.encrypted())
            .with("home_database", &target.settings.home.database),
        warnings: protection_warning(target, &conn).into_iter().collect(),
    };
    if conn.pooled() {
        report.warnings.push(
            "a connection pooler in session mode is in between, an end would wait with it: give host and port of the server itself"
                .to_owned(),
        );
    }
    report
        .warnings
        .extend(probed.lacks.iter().map(ToString::to_string));
    // A connection that lacks rights is not used again: the next one may have them.
    let keep = probed.lacks.is_empty();
    if keep {
        target.pool.put(conn);
    } else {
        drop(conn);
    }
    // Our own record is made by the first who needs it, at the latest here.
    let conn = target.home(For::Work).await?;
    let given = given_roles(target, &conn).await?;
    report
        .warnings
        .extend(target.replica_warnings(&conn).await?);
    if keep {
        target.pool.put(conn);
    } else {
        drop(conn);
    }
    for (name, resource, level) in given {
        if let Err(error) = target.prepare(&name, &resource, level, Hurry::None).await {
            report.warnings.push(error.with_hint());
        }
    }
    Ok(report)
}

/// Shared roles an administrator made and we took into use, those in use first.
async fn given_roles(
    target: &PostgresTarget,
    conn: &Conn<'_>,
) -> Result<Vec<(String, ResourceRef, Permission)>, Trouble> {
    const DOING: &str = "look for shared roles that were given";
    if target.settings.access_roles == AccessRoles::Made {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT 'role', a.name, a.kind, pg_catalog.array_to_json(a.path), a.level FROM apono.access_role a WHERE a.connector = {}\n\
         ORDER BY EXISTS (SELECT FROM apono.\"grant\" g WHERE g.access_role = a.name AND g.ended_at IS NULL) DESC, a.name\n\
         LIMIT {GIVEN_PER_CHECK}",
        lit(target.settings.home.connector.as_str())
    );
    let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
    let mut found = Vec::new();
    for line in rows.tagged("role") {
        if let (Some(resource), Ok(level)) = (
            resource(line.text(1)?, line.texts(2)?),
            Permission::parse(line.text(3)?),
        ) {
            found.push((line.text(0)?.to_owned(), resource, level));
        }
    }
    Ok(found)
}

/// Says what a weak mode leaves open.
fn protection_warning(target: &PostgresTarget, conn: &Conn<'_>) -> Option<String> {
    let has_root_ca = target.settings.tls_files.root_ca.is_some();
    let now = if conn.encrypted() {
        "the connection is encrypted now"
    } else {
        "the connection is not encrypted"
    };
    let open = match target.settings.tls {
        SslMode::Disable => "whoever is on the way can read and change everything",
        SslMode::Allow | SslMode::Prefer => {
            "whoever is on the way can have it spoken in clear, and read and change everything"
        }
        SslMode::Require if !has_root_ca => "the server does not prove who it is",
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => return None,
    };
    Some(format!(
        "`sslmode` is `{}`, {open} ({now}): set `verify-full`",
        target.settings.tls
    ))
}
