//! Owns the text of the transactions that end access: the door, the login, the note that it is closed. Never runs them.

use super::{
    GRANT_COLUMNS, OWN_LOCK_TIMEOUT, begin, grant_values, id, lit, revoke, rows_of_membership, utc,
    uuid,
};
use crate::domain::{EndReason, Grant, GrantId};
use crate::targets::postgres::settings::Home;

/// How long an end waits for a lock the person herself may hold before her sessions are ended once more.
pub(super) const USER_LOCK_TIMEOUT: &str = "200ms";

/// What an end is rendered from.
pub(in crate::targets::postgres) struct DoorFacts<'a> {
    pub(in crate::targets::postgres) home: &'a Home,
    pub(in crate::targets::postgres) grant: &'a Grant,
    pub(in crate::targets::postgres) reason: EndReason,
    /// The login to record for a grant that was never started.
    pub(in crate::targets::postgres) login: &'a str,
    pub(in crate::targets::postgres) access_role: &'a str,
}

/// The first half of the door: take the lock, leave a tombstone for a grant that was never started, and read what is so now.
///
/// Result sets: locked logins, then one row of `door::State`.
pub(in crate::targets::postgres) fn door_read(facts: &DoorFacts<'_>) -> String {
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
pub(super) fn state_of(grant: GrantId) -> String {
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
pub(in crate::targets::postgres) fn door_close(
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

/// The first half of blocking a login; `login` is an expression.
///
/// Result sets: locked logins, then live grants, latest expiry, whether the role exists.
pub(in crate::targets::postgres) fn block_read(login: &str) -> String {
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
pub(super) const BLOCKED: &str = ", blocked_at = COALESCE(blocked_at, pg_catalog.clock_timestamp()), password_grant = NULL, password_attempt = NULL";

/// Until when somebody may log in; never again without a time.
pub(super) fn valid_until(login: &str, until: Option<&str>) -> String {
    match until {
        Some(until) => format!("ALTER ROLE {} VALID UNTIL {};\n", id(login), lit(until)),
        None => format!(
            "ALTER ROLE {} NOLOGIN PASSWORD NULL VALID UNTIL '-infinity';\n",
            id(login)
        ),
    }
}

/// The second half: nobody may log in any more, or only until the latest remaining expiry.
pub(in crate::targets::postgres) fn block_commit(
    login: &str,
    until: Option<&str>,
    role_exists: bool,
) -> String {
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
pub(in crate::targets::postgres) fn closed(grant: GrantId) -> String {
    format!(
        "UPDATE apono.\"grant\" SET closed_at = pg_catalog.clock_timestamp() WHERE id = {} AND ended_at IS NOT NULL AND closed_at IS NULL",
        uuid(grant)
    )
}

/// Marks an ended grant as closed, unless its membership still opens something that no live grant needs.
///
/// Result set: such memberships, with the role and who gave it.
pub(in crate::targets::postgres) fn closed_unless_member(grant: GrantId, login: &str) -> String {
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
