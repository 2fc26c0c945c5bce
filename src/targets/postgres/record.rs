//! Owns reading our record and the state of the server for others: what is live, what ended, what rights we have. Never changes access.

use super::PostgresTarget;
use super::error::Trouble;
use super::pool::{Conn, For};
use super::render::{id, lit, utc};
use super::rows::{Line, Rows};
use crate::domain::{
    EndReason, Evidence, Grant, GrantId, IntegrationId, Permission, Principal, ResourceKind,
    ResourceRef,
};
use crate::pg::SslMode;
use crate::targets::{CheckReport, RecordedGrant};

/// Most grants read at once; more than one connector can have.
const MAX_GRANTS: usize = 100_000;

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
        closed: line.yes(11)?,
    }))
}

/// Reads a resource back from a row.
pub(super) fn resource(kind: &str, path: Vec<String>) -> Option<ResourceRef> {
    ResourceRef::new(ResourceKind::parse(kind).ok()?, path).ok()
}

/// Looks whether everything works, and says what is missing.
pub(super) async fn check(target: &PostgresTarget) -> Result<CheckReport, Trouble> {
    const DOING: &str = "look at our own rights";
    let conn = target.home(For::Work).await?;
    let sql = "SELECT 'me', current_user, session_user, pg_catalog.current_setting('server_version'),\n\
               rolcreaterole::text, rolsuper::text FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let rows = Rows::of(DOING, conn.batch(DOING, sql).await?);
    let me = rows.one("me")?;
    let (user, session, version) = (me.text(0)?, me.text(1)?, me.text(2)?);
    let mut report = CheckReport {
        evidence: Evidence::default()
            .with("server_version", version)
            .with("database_user", session)
            .with("acting_as", user)
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
    let superuser = me.yes(4)?;
    if superuser {
        report.warnings.push(format!(
            "`{user}` is a superuser, which is far more than needed: use a role with CREATEROLE and membership in the owning roles"
        ));
    } else if !me.yes(3)? {
        report.warnings.push(format!(
            "`{user}` may not make logins: ALTER ROLE {} CREATEROLE;",
            id(user)
        ));
    }
    target.pool.put(conn);
    Ok(report)
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
