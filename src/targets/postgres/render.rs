//! Owns the pieces every statement of ours is made of. Never runs them; values enter as `Ident` and `Literal` only.

mod end;
pub(super) mod makeshift;
mod start;
pub(super) mod together;

pub(super) use end::{
    DoorFacts, block_commit, block_read, closed, closed_unless_member, door_close, door_read,
};
pub(super) use start::{
    CredentialFacts, StartFacts, move_expiry, move_expiry_commit, set_credential, start,
};

use super::mark;
use super::settings::Home;
use crate::domain::{Grant, GrantId, Permission, ResourceRef};
use crate::pg::{Ident, Literal};
use jiff::Timestamp;
use std::fmt::Write;

/// The first server version (as `server_version_num`) whose memberships carry their own options.
const MEMBERSHIP_OPTIONS_SINCE: u32 = 160_000;
/// How long a transaction of ours waits for another of ours, in the server's words.
const OWN_LOCK_TIMEOUT: &str = "2s";
/// A quoted name. One the server could not keep becomes the empty name, which fails the whole message before any of it runs.
pub(super) fn id(name: &str) -> String {
    Ident::new(name).map_or_else(|_| "\"\"".to_owned(), |name| name.to_string())
}

/// A quoted text. One with a NUL becomes something the server cannot parse, which fails the whole message before any of it runs.
pub(super) fn lit(text: &str) -> String {
    Literal::new(text).map_or_else(|_| "(NUL in text)".to_owned(), |text| text.to_string())
}

/// A moment as a literal; the `Z` makes it independent of the session's settings.
pub(super) fn moment(at: Timestamp) -> String {
    format!("{}::timestamptz", lit(&at.to_string()))
}

/// An expression that prints a `timestamptz` in the one form we read back.
pub(super) fn utc(expression: &str) -> String {
    format!(
        "pg_catalog.to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    )
}

fn uuid(grant: GrantId) -> String {
    format!("'{}'::uuid", grant.as_uuid())
}

/// A list of names as a `text[]`.
pub(super) fn texts<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names
        .into_iter()
        .map(|name| lit(name).to_string())
        .collect();
    format!("ARRAY[{}]::text[]", names.join(", "))
}

/// `GRANT role TO member`; nobody can `SET ROLE` to it where the server can forbid that.
pub(super) fn membership(role: &str, member: &str, server_version: u32) -> String {
    let options = if server_version >= MEMBERSHIP_OPTIONS_SINCE {
        " WITH INHERIT TRUE, SET FALSE"
    } else {
        ""
    };
    format!("GRANT {} TO {}{options};\n", id(role), id(member))
}

/// Membership of ourselves, to be rolled back: enough right to end sessions and to visit what a login owns.
pub(super) fn self_membership(role: &str, server_version: u32) -> String {
    let options = if server_version >= MEMBERSHIP_OPTIONS_SINCE {
        " WITH INHERIT TRUE, SET FALSE"
    } else {
        ""
    };
    format!("GRANT {} TO CURRENT_USER{options};\n", id(role))
}

/// Membership of ourselves in a role that is to own something, to be taken back in the same transaction.
pub(super) fn owner_membership(role: &str, server_version: u32) -> String {
    let options = if server_version >= MEMBERSHIP_OPTIONS_SINCE {
        " WITH INHERIT TRUE, SET TRUE"
    } else {
        ""
    };
    format!("GRANT {} TO CURRENT_USER{options};\n", id(role))
}

/// Refuses with 22003 unless the condition holds: "no longer as planned". The fence has 22012 for itself.
fn expect(with: &str, condition: &str) -> String {
    format!("{with}SELECT pg_catalog.int2(CASE WHEN {condition} THEN 1 ELSE 70000 END);\n")
}

/// Refuses with 22012 once the moment has passed.
fn fence(deadline: Timestamp) -> String {
    format!(
        "SELECT 1/(pg_catalog.clock_timestamp() < {})::int;\n",
        moment(deadline)
    )
}

fn begin(lock_timeout: &str) -> String {
    format!("BEGIN READ WRITE;\nSET LOCAL lock_timeout = '{lock_timeout}';\n")
}

const GRANT_COLUMNS: &str =
    "id, connector, integration, login, access_role, principal, kind, path, level, expiry";

/// `login` is an expression, everything else a value.
fn grant_values(home: &Home, grant: &Grant, login: &str, access_role: &str) -> String {
    format!(
        "{}, {}, '{}'::uuid, {}, {}, {}, {}, {}, {}, {}",
        uuid(grant.id),
        lit(home.connector.as_str()),
        grant.integration.as_uuid(),
        login,
        lit(access_role),
        lit(grant.principal.as_str()),
        lit(grant.resource.kind().as_str()),
        texts(grant.resource.path().iter().map(String::as_str)),
        lit(grant.permission.as_str()),
        moment(grant.expiry)
    )
}

fn add(sql: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _done = sql.write_str(text);
}

pub(super) fn comment(role: &str, text: &str) -> String {
    format!("COMMENT ON ROLE {} IS {};\n", id(role), lit(text))
}

pub(super) fn revoke(role: &str, member: &str) -> String {
    format!("REVOKE {} FROM {};\n", id(role), id(member))
}

/// Takes the lock of one login.
pub(super) fn lock_login(login: &str) -> String {
    format!(
        "SELECT 'locked', name FROM apono.login WHERE name = {} FOR UPDATE;\n",
        lit(login)
    )
}

/// Rows of `pg_auth_members m` that make one role a member of another, whoever gave it; both are expressions.
fn rows_of_membership(role: &str, member: &str) -> String {
    let oid = |name: &str| format!("(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {name})");
    format!(
        "pg_catalog.pg_auth_members m WHERE m.roleid = {} AND m.member = {}",
        oid(role),
        oid(member)
    )
}

/// Name of the shared role for one level on one resource, as seen from one home.
pub(super) fn access_role_name(home: &Home, resource: &ResourceRef, level: Permission) -> String {
    let mut parts = vec![
        "access",
        home.connector.as_str(),
        &home.database,
        resource.kind().as_str(),
        level.as_str(),
    ];
    parts.extend(resource.path().iter().map(String::as_str));
    format!("a_{}_apono", mark::hex16(&parts))
}

#[cfg(test)]
mod tests;
