//! Owns the table of exact privileges: resource kind x level. `docs/postgresql.md` shows the same table, and a test compares them.

use crate::domain::{Permission, ResourceKind};

/// The first server version (as `server_version_num`) that knows `MAINTAIN`.
const MAINTAIN_SINCE: u32 = 170_000;

/// What one level on one kind of resource means: privileges by the class of object they are given on.
///
/// Never `TRIGGER` (it is "run code as every later writer"), never a grant option, never ownership, never a predefined role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// On the database.
    pub(super) database: &'static [&'static str],
    /// On the schema, or every schema of the database.
    pub(super) schema: &'static [&'static str],
    /// On the table, or every table, view, materialised view and foreign table in scope.
    pub(super) table: &'static [&'static str],
    /// On every sequence in scope; for one table, the sequences it owns.
    pub(super) sequence: &'static [&'static str],
}

const READ: &[&str] = &["SELECT"];
const WRITE: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];
const ADMIN: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
];
const ADMIN_17: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "MAINTAIN",
];
const CONNECT: &[&str] = &["CONNECT"];
const NOTHING: Level = Level {
    database: &[],
    schema: &[],
    table: &[],
    sequence: &[],
};

/// Returns the privileges of a level; nothing for a pair that does not exist and for `MEMBER`, which is a membership.
pub(super) fn level(kind: ResourceKind, permission: Permission, server_version: u32) -> Level {
    let admin_table = if server_version >= MAINTAIN_SINCE {
        ADMIN_17
    } else {
        ADMIN
    };
    let usage: &[&str] = &["USAGE"];
    match (kind, permission) {
        (_, Permission::ReadOnly) if kind.is_postgresql() => Level {
            database: CONNECT,
            schema: usage,
            table: READ,
            sequence: &[],
        },
        (_, Permission::ReadWrite) if kind.is_postgresql() => Level {
            database: CONNECT,
            schema: usage,
            table: WRITE,
            sequence: usage,
        },
        (ResourceKind::PostgresTable, Permission::Admin) => Level {
            database: CONNECT,
            schema: usage,
            table: admin_table,
            sequence: &["USAGE", "UPDATE"],
        },
        (ResourceKind::PostgresSchema, Permission::Admin) => Level {
            database: CONNECT,
            schema: &["USAGE", "CREATE"],
            table: admin_table,
            sequence: &["USAGE", "UPDATE"],
        },
        (ResourceKind::PostgresDatabase, Permission::Admin) => Level {
            database: &["CONNECT", "CREATE", "TEMPORARY"],
            schema: &["USAGE", "CREATE"],
            table: admin_table,
            sequence: &["USAGE", "UPDATE"],
        },
        _ => NOTHING,
    }
}

/// Prints the table as the lines of a Markdown table, as published.
#[must_use]
pub fn published_table() -> String {
    let mut lines = vec![
        "| resource | level | on the database | on each schema in scope | on each table in scope | on each sequence in scope |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    let kinds = ResourceKind::ALL.into_iter();
    for kind in kinds.filter(|kind| kind.is_postgresql()) {
        for permission in kind.permissions() {
            if *permission == Permission::Member {
                lines.push(format!(
                    "| `{kind}` | `{permission}` | membership in the role, nothing else | | | |"
                ));
                continue;
            }
            let old = level(kind, *permission, MAINTAIN_SINCE - 1);
            let new = level(kind, *permission, MAINTAIN_SINCE);
            let extra = if old == new {
                ""
            } else {
                ", from version 17 `MAINTAIN`"
            };
            lines.push(format!(
                "| `{kind}` | `{permission}` | {} | {} | {}{extra} | {} |",
                list(old.database),
                list(old.schema),
                list(old.table),
                list(old.sequence)
            ));
        }
    }
    lines.join("\n")
}

fn list(privileges: &[&str]) -> String {
    let quoted: Vec<_> = privileges.iter().map(|p| format!("`{p}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_table_is_the_one_in_the_code() {
        let page = include_str!("../../../docs/postgresql.md");
        assert!(
            page.contains(&published_table()),
            "put this table into docs/postgresql.md:\n{}",
            published_table()
        );
    }

    #[test]
    fn no_level_gives_a_way_to_run_code_as_others() {
        for kind in ResourceKind::ALL {
            for permission in Permission::LEVELS {
                let level = level(kind, permission, 180_000);
                let all = [level.database, level.schema, level.table, level.sequence].concat();
                for banned in ["TRIGGER", "ALL", "EXECUTE", "SET", "ALTER SYSTEM"] {
                    assert!(!all.contains(&banned), "{kind} {permission}");
                }
            }
        }
    }

    #[test]
    fn maintain_is_asked_only_of_servers_that_know_it() {
        let level = |version| level(ResourceKind::PostgresTable, Permission::Admin, version);
        assert!(!level(160_009).table.contains(&"MAINTAIN"));
        assert!(level(170_000).table.contains(&"MAINTAIN"));
    }
}
