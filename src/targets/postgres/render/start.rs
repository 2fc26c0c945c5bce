//! Owns the text of the transactions that start and extend access, and that change a password. Never runs them.

use super::{
    GRANT_COLUMNS, OWN_LOCK_TIMEOUT, add, begin, comment, expect, fence, grant_values, id, lit,
    lock_login, membership, moment, revoke, utc, uuid,
};
use crate::domain::{GrantId, Start, StartGrant};
use crate::secret::Secret;
use crate::targets::postgres::mark::{self, RoleKind};
use crate::targets::postgres::rds_iam::RDS_IAM;
use crate::targets::postgres::settings::{EndUsers, Home};
use jiff::Timestamp;

/// Sessions a person may have at once, so that she cannot take every connection of the server.
const CONNECTION_LIMIT: u32 = 10;
/// What a start is rendered from.
pub(in crate::targets::postgres) struct StartFacts<'a> {
    pub(in crate::targets::postgres) home: &'a Home,
    pub(in crate::targets::postgres) start: &'a Start,
    pub(in crate::targets::postgres) planned: &'a StartGrant,
    pub(in crate::targets::postgres) verifier: Option<&'a Secret>,
    pub(in crate::targets::postgres) deadline: Timestamp,
    pub(in crate::targets::postgres) server_version: u32,
}

/// The start: one message, one transaction. The first row it returns is the start's time.
pub(in crate::targets::postgres) fn start(facts: &StartFacts<'_>) -> Secret {
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
    let by_token = facts.home.end_users == EndUsers::RdsIam;
    if let Some(verifier) = facts.verifier {
        add(&mut sql, &format!(" PASSWORD {}", lit(verifier.expose())));
    } else if by_token {
        // A password from before would be of no use, and nobody would know of it.
        add(&mut sql, " PASSWORD NULL");
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
    if by_token {
        sql += &membership(RDS_IAM, login, facts.server_version);
    }
    sql
}

/// What a new password is rendered from.
pub(in crate::targets::postgres) struct CredentialFacts<'a> {
    pub(in crate::targets::postgres) start: &'a Start,
    pub(in crate::targets::postgres) login: &'a str,
    pub(in crate::targets::postgres) verifier: &'a Secret,
    pub(in crate::targets::postgres) deadline: Timestamp,
}

/// A new password for the login of a live grant. The fence alone refuses a stale delivery: a reset counts its own deliveries.
pub(in crate::targets::postgres) fn set_credential(facts: &CredentialFacts<'_>) -> Secret {
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
pub(in crate::targets::postgres) fn move_expiry(
    grant: GrantId,
    expiry: Timestamp,
    login: &str,
) -> String {
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
pub(in crate::targets::postgres) fn move_expiry_commit(
    login: &str,
    valid_until: &str,
    expiry: Timestamp,
) -> String {
    format!(
        "ALTER ROLE {} VALID UNTIL {};\n\
         UPDATE apono.login SET version = version + 1 WHERE name = {};\n{}COMMIT;\n",
        id(login),
        lit(valid_until),
        lit(login),
        fence(expiry)
    )
}
