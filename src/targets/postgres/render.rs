//! Owns the text of the transactions that start, extend and end access. Never runs them; values enter as `Ident` and `Literal` only.

pub(super) mod makeshift;
pub(super) mod together;

use super::mark::{self, RoleKind};
use super::settings::Home;
use crate::domain::{EndReason, Grant, GrantId, Permission, ResourceRef, Start, StartGrant};
use crate::pg::{Ident, Literal};
use crate::secret::Secret;
use jiff::Timestamp;
use std::fmt::Write;

/// Sessions a person may have at once, so that she cannot take every connection of the server.
const CONNECTION_LIMIT: u32 = 10;
/// The first server version (as `server_version_num`) whose memberships carry their own options.
const MEMBERSHIP_OPTIONS_SINCE: u32 = 160_000;
/// How long a transaction of ours waits for another of ours, in the server's words.
const OWN_LOCK_TIMEOUT: &str = "2s";
/// How long an end waits for a lock the person herself may hold before her sessions are ended once more.
const USER_LOCK_TIMEOUT: &str = "200ms";

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

/// What a start is rendered from.
pub(super) struct StartFacts<'a> {
    pub(super) home: &'a Home,
    pub(super) start: &'a Start,
    pub(super) planned: &'a StartGrant,
    pub(super) verifier: Option<&'a Secret>,
    pub(super) deadline: Timestamp,
    pub(super) server_version: u32,
}

/// The start: one message, one transaction. The first row it returns is the start's time.
pub(super) fn start(facts: &StartFacts<'_>) -> Secret {
    let StartFacts {
        home,
        start,
        planned,
        ..
    } = facts;
    let login = &planned.login;
    let mut sql = begin(OWN_LOCK_TIMEOUT);
    add(
        &mut sql,
        &format!(
            "INSERT INTO apono.login (name, connector, principal) VALUES ({}, {}, {}) ON CONFLICT DO NOTHING;\n",
            lit(login),
            lit(home.connector.as_str()),
            lit(start.grant.principal.as_str())
        ),
    );
    sql += &expect(
        &format!(
            "WITH held AS (SELECT version FROM apono.login WHERE name = {} AND connector = {} AND principal = {} FOR UPDATE)\n",
            lit(login),
            lit(home.connector.as_str()),
            lit(start.grant.principal.as_str())
        ),
        &format!("(SELECT version FROM held) = {}", planned.login_version),
    );
    sql += &expect(
        &format!(
            "WITH held AS (SELECT name FROM apono.access_role WHERE name = {} AND complete_at IS NOT NULL FOR KEY SHARE)\n",
            lit(&planned.access_role)
        ),
        "(SELECT pg_catalog.count(*) FROM held) = 1",
    );
    sql += &login_role(facts);
    for stray in &planned.strays {
        sql += &revoke(stray, login);
    }
    sql += &membership(&planned.access_role, login, facts.server_version);
    sql += &format!(
        "INSERT INTO apono.\"grant\" ({GRANT_COLUMNS}, lease_deadline, attempt, started_at)\n\
         VALUES ({}, {}, {}, pg_catalog.clock_timestamp());\n",
        grant_values(home, &start.grant, &lit(login), &planned.access_role),
        moment(start.lease_deadline),
        start.attempt
    );
    sql += &format!(
        "UPDATE apono.login SET version = version + 1, blocked_at = NULL, leftovers = '{{}}'{} WHERE name = {};\n",
        owed(start, planned.set_password),
        lit(login)
    );
    sql += &format!(
        "SELECT 'started', {} FROM apono.\"grant\" WHERE id = {};\n",
        utc("started_at"),
        uuid(start.grant.id)
    );
    sql += &fence(facts.deadline);
    sql += "COMMIT;\n";
    Secret::new(sql)
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

fn owed(start: &Start, set_password: bool) -> String {
    if set_password {
        format!(
            ", password_grant = {}, password_attempt = {}",
            uuid(start.grant.id),
            start.attempt
        )
    } else {
        String::new()
    }
}

fn login_role(facts: &StartFacts<'_>) -> String {
    let login = &facts.planned.login;
    let verb = if facts.planned.make_login {
        "CREATE"
    } else {
        "ALTER"
    };
    let mut sql = format!("{verb} ROLE {} LOGIN", id(login));
    if let Some(verifier) = facts.verifier {
        add(&mut sql, &format!(" PASSWORD {}", lit(verifier.expose())));
    }
    add(
        &mut sql,
        &format!(
            " CONNECTION LIMIT {CONNECTION_LIMIT} VALID UNTIL {};\n",
            lit(&facts.planned.valid_until.to_string())
        ),
    );
    if facts.planned.make_login {
        let text = mark::mark(facts.home, login, RoleKind::Login);
        sql += &comment(login, &text);
    }
    sql
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

/// What a new password is rendered from.
pub(super) struct CredentialFacts<'a> {
    pub(super) start: &'a Start,
    pub(super) login: &'a str,
    pub(super) verifier: &'a Secret,
    pub(super) deadline: Timestamp,
}

/// A new password for the login of a live grant. The fence alone refuses a stale delivery: a reset counts its own deliveries.
pub(super) fn set_credential(facts: &CredentialFacts<'_>) -> Secret {
    let mut sql = begin(OWN_LOCK_TIMEOUT);
    sql += &lock_login(facts.login);
    sql += &expect(
        "",
        &format!(
            "EXISTS (SELECT FROM apono.\"grant\" WHERE id = {} AND login = {} AND ended_at IS NULL)",
            uuid(facts.start.grant.id),
            lit(facts.login)
        ),
    );
    sql += &format!(
        "ALTER ROLE {} PASSWORD {};\n",
        id(facts.login),
        lit(facts.verifier.expose())
    );
    sql += &format!(
        "UPDATE apono.login SET version = version + 1{} WHERE name = {};\n",
        owed(facts.start, true),
        lit(facts.login)
    );
    sql += &format!(
        "UPDATE apono.\"grant\" SET attempt = GREATEST(attempt, {}) WHERE id = {};\n",
        facts.start.attempt,
        uuid(facts.start.grant.id)
    );
    sql += &fence(facts.deadline);
    sql += "COMMIT;\n";
    Secret::new(sql)
}

/// The extension: the row is the expiry, the role's own date only follows.
pub(super) fn move_expiry(grant: GrantId, expiry: Timestamp, login: &str) -> String {
    let mut sql = begin(OWN_LOCK_TIMEOUT);
    sql += &lock_login(login);
    sql += &expect(
        &format!(
            "WITH moved AS (UPDATE apono.\"grant\" SET expiry = {}\n\
             WHERE id = {} AND login = {} AND ended_at IS NULL AND expiry > pg_catalog.clock_timestamp() RETURNING id)\n",
            moment(expiry),
            uuid(grant),
            lit(login)
        ),
        "(SELECT pg_catalog.count(*) FROM moved) = 1",
    );
    sql += &format!(
        "SELECT 'latest', {} FROM apono.\"grant\" WHERE login = {} AND ended_at IS NULL;\n",
        utc("pg_catalog.max(expiry)"),
        lit(login)
    );
    sql
}

/// The second half of an extension.
pub(super) fn move_expiry_commit(login: &str, valid_until: &str, expiry: Timestamp) -> String {
    format!(
        "ALTER ROLE {} VALID UNTIL {};\n\
         UPDATE apono.login SET version = version + 1 WHERE name = {};\n{}COMMIT;\n",
        id(login),
        lit(valid_until),
        lit(login),
        fence(expiry)
    )
}

/// Takes the lock of one login.
pub(super) fn lock_login(login: &str) -> String {
    format!(
        "SELECT 'locked', name FROM apono.login WHERE name = {} FOR UPDATE;\n",
        lit(login)
    )
}

/// What an end is rendered from.
pub(super) struct DoorFacts<'a> {
    pub(super) home: &'a Home,
    pub(super) grant: &'a Grant,
    pub(super) reason: EndReason,
    /// The login to record for a grant that was never started.
    pub(super) login: &'a str,
    pub(super) access_role: &'a str,
}

/// The first half of the door: take the lock, leave a tombstone for a grant that was never started, and read what is so now.
///
/// Result sets: locked logins, then one row of `door::State`.
pub(super) fn door_read(facts: &DoorFacts<'_>) -> String {
    let grant = uuid(facts.grant.id);
    let mut sql = begin(OWN_LOCK_TIMEOUT);
    sql += &format!(
        "SELECT 'locked', name FROM apono.login WHERE name IN (SELECT login FROM apono.\"grant\" WHERE id = {grant})\n\
         OR (connector = {} AND principal = {}) ORDER BY name FOR UPDATE;\n",
        lit(facts.home.connector.as_str()),
        lit(facts.grant.principal.as_str())
    );
    // The principal's login as it is called here; the derived name where there is none.
    let on_record = format!(
        "COALESCE((SELECT name FROM apono.login WHERE connector = {} AND principal = {}), {})",
        lit(facts.home.connector.as_str()),
        lit(facts.grant.principal.as_str()),
        lit(facts.login)
    );
    sql += &format!(
        "INSERT INTO apono.\"grant\" ({GRANT_COLUMNS}, ended_at, reason)\n\
         SELECT {}, pg_catalog.clock_timestamp(), {}\n\
         WHERE NOT EXISTS (SELECT FROM apono.history WHERE id = {grant}) ON CONFLICT (id) DO NOTHING;\n",
        grant_values(facts.home, facts.grant, &on_record, facts.access_role),
        lit(facts.reason.as_str())
    );
    sql += &state_of(facts.grant.id);
    sql
}

/// Asks for one row of `door::State`.
fn state_of(grant: GrantId) -> String {
    let grant = uuid(grant);
    format!(
        "SELECT 'grant', g.connector, g.login, g.access_role, {expiry}, (g.expiry > pg_catalog.clock_timestamp())::text,\n\
         {ended}, g.reason,\n\
         (SELECT pg_catalog.count(*) FROM apono.\"grant\" o WHERE o.login = g.login AND o.access_role = g.access_role\n\
          AND o.id <> g.id AND o.ended_at IS NULL)::text,\n\
         (SELECT pg_catalog.count(*) FROM {member})::text\n\
         FROM (SELECT * FROM apono.\"grant\" WHERE id = {grant}\n\
          UNION ALL SELECT {history} FROM apono.history WHERE id = {grant}) g;\n",
        expiry = utc("g.expiry"),
        ended = utc("g.ended_at"),
        member = rows_of_membership("g.access_role", "g.login"),
        history = "id, connector, integration, login, access_role, principal, kind, path, level, expiry, \
                   lease_deadline, attempt, started_at, ended_at, reason, closed_at, clean_at",
    )
}

/// The second half of the door. No statement in it can be blocked by the person: no `ALTER ROLE` of the login, no `DROP`.
///
/// Result sets: when and why it ended, then how many memberships are left.
pub(super) fn door_close(
    grant: GrantId,
    reason: EndReason,
    login: &str,
    revoked: Option<&str>,
) -> String {
    let mut sql = format!(
        "UPDATE apono.\"grant\" SET ended_at = pg_catalog.clock_timestamp(), reason = {} WHERE id = {} AND ended_at IS NULL;\n",
        lit(reason.as_str()),
        uuid(grant)
    );
    if let Some(access_role) = revoked {
        sql += &revoke(access_role, login);
    }
    sql += &format!(
        "UPDATE apono.login SET version = version + 1 WHERE name = {};\n\
         SELECT 'ended', {}, reason FROM apono.\"grant\" WHERE id = {};\nCOMMIT;\n",
        lit(login),
        utc("ended_at"),
        uuid(grant)
    );
    if let Some(access_role) = revoked {
        sql += &format!(
            "SELECT 'left', pg_catalog.count(*) FROM {};\n",
            rows_of_membership(&lit(access_role), &lit(login))
        );
    }
    sql
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

/// The first half of blocking a login; `login` is an expression.
///
/// Result sets: locked logins, then live grants, latest expiry, whether the role exists.
pub(super) fn block_read(login: &str) -> String {
    format!(
        "{}SELECT 'locked', name FROM apono.login WHERE name = {login} FOR UPDATE;\n\
         SELECT 'live', (SELECT pg_catalog.count(*) FROM apono.\"grant\" WHERE login = {login} AND ended_at IS NULL)::text,\n\
         (SELECT {} FROM apono.\"grant\" WHERE login = {login} AND ended_at IS NULL),\n\
         (SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles WHERE rolname = {login})::text;\n",
        begin(USER_LOCK_TIMEOUT),
        utc("pg_catalog.max(expiry)"),
    )
}

/// What is noted of a login that is blocked.
const BLOCKED: &str = ", blocked_at = COALESCE(blocked_at, pg_catalog.clock_timestamp()), password_grant = NULL, password_attempt = NULL";

/// Until when somebody may log in; never again without a time.
fn valid_until(login: &str, until: Option<&str>) -> String {
    match until {
        Some(until) => format!("ALTER ROLE {} VALID UNTIL {};\n", id(login), lit(until)),
        None => format!(
            "ALTER ROLE {} NOLOGIN PASSWORD NULL VALID UNTIL '-infinity';\n",
            id(login)
        ),
    }
}

/// The second half: nobody may log in any more, or only until the latest remaining expiry.
pub(super) fn block_commit(login: &str, until: Option<&str>, role_exists: bool) -> String {
    let alter = if role_exists {
        valid_until(login, until)
    } else {
        String::new()
    };
    let blocked = if until.is_none() { BLOCKED } else { "" };
    format!(
        "{alter}UPDATE apono.login SET version = version + 1{blocked} WHERE name = {};\nCOMMIT;\n",
        lit(login)
    )
}

/// Marks an ended grant as closed.
pub(super) fn closed(grant: GrantId) -> String {
    format!(
        "UPDATE apono.\"grant\" SET closed_at = pg_catalog.clock_timestamp() WHERE id = {} AND ended_at IS NOT NULL AND closed_at IS NULL",
        uuid(grant)
    )
}

/// Marks an ended grant as closed, unless its membership still opens something that no live grant needs.
///
/// Result set: such memberships, with the role and who gave it.
pub(super) fn closed_unless_member(grant: GrantId, login: &str) -> String {
    let login = lit(login);
    let access_role = format!(
        "(SELECT access_role FROM apono.\"grant\" WHERE id = {})",
        uuid(grant)
    );
    format!(
        "BEGIN READ WRITE;\n\
         WITH left_over AS MATERIALIZED (\n\
         SELECT pg_catalog.pg_get_userbyid(m.roleid) AS role, pg_catalog.pg_get_userbyid(m.grantor) AS grantor FROM {}\n\
         AND NOT EXISTS (SELECT FROM apono.\"grant\" WHERE login = {login} AND access_role = {access_role} AND ended_at IS NULL)\n\
         AND (EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {login} AND rolcanlogin)\n\
          OR EXISTS (SELECT FROM apono.\"grant\" WHERE login = {login} AND ended_at IS NULL))),\n\
         noted AS ({} AND NOT EXISTS (SELECT FROM left_over))\n\
         SELECT 'left', role, grantor FROM left_over;\nCOMMIT;\n",
        rows_of_membership(&access_role, &login),
        closed(grant)
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
