//! Owns the text of the transactions that end many grants at once. Never runs them.

use super::OWN_LOCK_TIMEOUT;
use super::end::{BLOCKED, USER_LOCK_TIMEOUT, valid_until};
use super::{begin, id, lit, rows_of_membership, texts, utc, uuid};
use crate::domain::{EndReason, GrantId};
use crate::policy::EndWarrant;
use crate::targets::postgres::settings::Home;
use std::collections::{BTreeMap, BTreeSet};

/// What the first message is rendered from.
pub(in super::super) struct Facts<'a> {
    pub(in super::super) home: &'a Home,
    pub(in super::super) warrants: &'a [EndWarrant],
    /// Selects a role `r`, without its `WHERE`.
    pub(in super::super) select_role: &'a str,
}

fn ids(grants: impl Iterator<Item = GrantId>) -> String {
    let list: Vec<String> = grants.map(|grant| lit(&grant.to_string())).collect();
    format!("ARRAY[{}]::uuid[]", list.join(", "))
}

/// Takes the locks that are free and reads what can go: an end by expiry only once the time on record is over.
///
/// Result sets: locked logins; for each grant its login, access role, how many further live grants need the membership and how
/// many rows the membership has; the logins' roles.
pub(in super::super) fn read(facts: &Facts<'_>) -> String {
    let connector = lit(facts.home.connector.as_str());
    let all = ids(facts.warrants.iter().map(|warrant| warrant.grant.id));
    let by_order = facts
        .warrants
        .iter()
        .filter(|warrant| warrant.reason != EndReason::Expired);
    let by_order = ids(by_order.map(|warrant| warrant.grant.id));
    let logins = format!(
        "SELECT login FROM apono.\"grant\" WHERE id = ANY({all}) AND connector = {connector}"
    );
    format!(
        "{begin}SELECT 'locked', name FROM apono.login WHERE name IN ({logins}) AND connector = {connector} FOR UPDATE SKIP LOCKED;\n\
         WITH moment AS MATERIALIZED (SELECT pg_catalog.clock_timestamp() AS now), over AS MATERIALIZED (\n\
         SELECT g.id, g.login, g.access_role FROM apono.\"grant\" g, moment WHERE g.id = ANY({all}) AND g.connector = {connector}\n\
          AND g.ended_at IS NULL AND (g.expiry <= moment.now OR g.id = ANY({by_order})))\n\
         SELECT 'grant', o.id, o.login, o.access_role,\n\
         (SELECT pg_catalog.count(*) FROM apono.\"grant\" g WHERE g.login = o.login AND g.access_role = o.access_role\n\
          AND g.ended_at IS NULL AND NOT EXISTS (SELECT FROM over WHERE over.id = g.id)),\n\
         (SELECT pg_catalog.count(*) FROM {member}) FROM over o;\n\
         {role} WHERE r.rolname IN ({logins});\n",
        begin = begin(OWN_LOCK_TIMEOUT),
        member = rows_of_membership("o.access_role", "o.login"),
        role = facts.select_role,
    )
}

/// The doors of all: no statement in it can be blocked by a person.
///
/// Result set: for each grant when and why it ended.
pub(in super::super) fn close(
    ended: &[(GrantId, EndReason)],
    revoked: &BTreeMap<&str, BTreeSet<&str>>,
    logins: &str,
) -> String {
    let rows: Vec<String> = ended
        .iter()
        .map(|(grant, reason)| format!("({}, {})", uuid(*grant), lit(reason.as_str())))
        .collect();
    let mut sql = format!(
        "UPDATE apono.\"grant\" g SET ended_at = pg_catalog.clock_timestamp(), reason = a.reason\n\
         FROM (VALUES {}) AS a (id, reason) WHERE g.id = a.id AND g.ended_at IS NULL;\n",
        rows.join(", ")
    );
    for (access_role, logins) in revoked {
        sql += &revoke_from_all(access_role, logins);
    }
    sql += &format!(
        "UPDATE apono.login SET version = version + 1 WHERE name = ANY({logins});\n\
         SELECT 'ended', id, {}, reason FROM apono.\"grant\" WHERE id = ANY({});\nCOMMIT;\n",
        utc("ended_at"),
        ids(ended.iter().map(|(grant, _)| *grant))
    );
    sql
}

/// One statement for all, because since 16 each asks once more for our right over every role we made.
fn revoke_from_all(access_role: &str, logins: &BTreeSet<&str>) -> String {
    let logins: Vec<String> = logins.iter().map(|login| id(login)).collect();
    format!("REVOKE {} FROM {};\n", id(access_role), logins.join(", "))
}

/// Result sets: locked logins, then for each its live grants and their latest expiry.
pub(in super::super) fn block_read(logins: &str) -> String {
    format!(
        "{}SELECT 'locked', name FROM apono.login WHERE name = ANY({logins}) ORDER BY name FOR UPDATE;\n\
         SELECT 'live', l.name, pg_catalog.count(g.id), {} FROM apono.login l\n\
         LEFT JOIN apono.\"grant\" g ON g.login = l.name AND g.ended_at IS NULL WHERE l.name = ANY({logins}) GROUP BY l.name;\n",
        begin(USER_LOCK_TIMEOUT),
        utc("pg_catalog.max(g.expiry)"),
    )
}

/// Sets how long each login may log in; nobody may as one without a live grant.
pub(in super::super) fn block_commit(live: &[(&str, Option<&str>)]) -> String {
    let mut sql = String::new();
    for (login, until) in live {
        sql += &valid_until(login, *until);
    }
    let names = |open: bool| {
        let chosen = live
            .iter()
            .filter(move |(_, until)| until.is_some() == open);
        texts(chosen.map(|(login, _)| *login))
    };
    sql += &format!(
        "UPDATE apono.login SET version = version + 1 WHERE name = ANY({});\n\
         UPDATE apono.login SET version = version + 1{} WHERE name = ANY({});\nCOMMIT;\n",
        names(true),
        BLOCKED,
        names(false)
    );
    sql
}

/// Marks ended grants as closed whose membership opens nothing any more.
///
/// Result set: which were marked.
pub(in super::super) fn closed(grants: &[GrantId]) -> String {
    let all = ids(grants.iter().copied());
    format!(
        "BEGIN READ WRITE;\n\
         WITH left_over AS MATERIALIZED (\n\
         SELECT g.id FROM apono.\"grant\" g WHERE g.id = ANY({all})\n\
          AND EXISTS (SELECT FROM {member})\n\
          AND NOT EXISTS (SELECT FROM apono.\"grant\" o WHERE o.login = g.login AND o.access_role = g.access_role AND o.ended_at IS NULL)\n\
          AND (EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = g.login AND r.rolcanlogin)\n\
           OR EXISTS (SELECT FROM apono.\"grant\" o WHERE o.login = g.login AND o.ended_at IS NULL))),\n\
         noted AS (UPDATE apono.\"grant\" g SET closed_at = pg_catalog.clock_timestamp() WHERE g.id = ANY({all})\n\
          AND g.ended_at IS NOT NULL AND g.closed_at IS NULL AND NOT EXISTS (SELECT FROM left_over l WHERE l.id = g.id) RETURNING g.id)\n\
         SELECT 'closed', id FROM noted;\nCOMMIT;\n",
        member = rows_of_membership("g.access_role", "g.login"),
    )
}
