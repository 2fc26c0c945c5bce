//! Owns the SQL that closes everything of one connector on a copy no connector manages. Never runs it.

use super::mark;
use super::render::lit;
use crate::domain::{ConnectorId, LoginName};

const TEMPLATE: &str = include_str!("sql/close_all.sql");
/// Where the part about logins begins, and where it comes once more.
const LOGINS: &str = "-- The logins";
const AGAIN: &str = "{again}";

/// Returns SQL that takes every membership from every login of a connector, blocks the logins and ends their sessions. It may run again,
/// needs no schema `apono`, and its last statement lists what is left.
#[must_use]
pub fn close_all_sql(connector: &ConnectorId) -> String {
    let ours = format!(
        "pg_catalog.right(l.rolname::text, {}) = {}\n    AND pg_catalog.starts_with(pg_catalog.shobj_description(l.oid, 'pg_authid'), {})",
        LoginName::SUFFIX.len(),
        lit(LoginName::SUFFIX),
        lit(&mark::logins_of(connector)),
    );
    let twice = TEMPLATE
        .split_once(AGAIN)
        .and_then(|(before, _)| before.rfind(LOGINS).map(|at| before[at..].trim_end()))
        .unwrap_or_default();
    TEMPLATE
        .replace(AGAIN, twice)
        .replace("{connector}", connector.as_str())
        .replace("{ours}", &ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_blocked_and_sessions_ended_twice_and_nothing_is_left_to_fill_in() {
        let sql = close_all_sql(&ConnectorId::parse("c-1").unwrap());
        assert_eq!(sql.matches("NOLOGIN").count(), 2);
        assert_eq!(sql.matches("pg_terminate_backend").count(), 2);
        assert!(!sql.contains('{') && !sql.contains('}'), "{sql}");
        assert!(sql.contains("'apono v1 connector=c-1 kind=login key='"));
    }
}
