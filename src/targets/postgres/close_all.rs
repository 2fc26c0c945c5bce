//! Owns the SQL that closes everything of one connector on a copy no connector manages. Never runs it.

use super::mark;
use super::render::lit;
use crate::domain::{ConnectorId, LoginName};

const TEMPLATE: &str = include_str!("sql/close_all.sql");

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
    TEMPLATE
        .replace("{connector}", connector.as_str())
        .replace("{ours}", &ours)
}
