//! Owns reading who has access already: access lists of databases, schemas and tables, and memberships. Never says what follows from them.

use super::page::Name;
use super::{PostgresCatalog, failed};
use crate::domain::{AccessRecord, ResourceKind};
use crate::inventory::ids::stable_id;
use crate::inventory::{RecordSender, SourceError};
use crate::pg::{PgError, Row, Session};

/// Where access of one kind is read.
pub(super) struct AccessList {
    note: &'static str,
    sql: &'static str,
    kind: ResourceKind,
}

pub(super) const ON_DATABASES: AccessList = AccessList {
    note: "list access to databases",
    sql: include_str!("sql/access_databases.sql"),
    kind: ResourceKind::PostgresDatabase,
};
pub(super) const ON_SCHEMAS: AccessList = AccessList {
    note: "list access to schemas",
    sql: include_str!("sql/access_schemas.sql"),
    kind: ResourceKind::PostgresSchema,
};
pub(super) const ON_TABLES: AccessList = AccessList {
    note: "list access to tables",
    sql: include_str!("sql/access_tables.sql"),
    kind: ResourceKind::PostgresTable,
};
pub(super) const ON_ROLES: AccessList = AccessList {
    note: "list members of roles",
    sql: include_str!("sql/access_roles.sql"),
    kind: ResourceKind::PostgresRole,
};

impl PostgresCatalog {
    /// Sends all access of one kind, in pages by object and holder.
    pub(super) async fn list_access(
        &self,
        session: &Session,
        list: &AccessList,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        let database = &session.place().database;
        let here = |source| failed(database, source);
        let mut after = (0_u32, 0_u32);
        loop {
            let rows = session
                .query(list.note, list.sql, &[&after.0, &self.page, &after.1])
                .await
                .map_err(here)?;
            for row in &rows {
                let record = self.access(row, list.kind, database).map_err(here)?;
                records.send_access(record).await?;
            }
            let full = i64::try_from(rows.len()).is_ok_and(|count| count >= self.page);
            match rows.last() {
                Some(last) if full => {
                    after = (last.get(0).map_err(here)?, last.get(1).map_err(here)?);
                }
                _ => return Ok(()),
            }
        }
    }

    fn access(
        &self,
        row: &Row,
        kind: ResourceKind,
        database: &str,
    ) -> Result<AccessRecord, PgError> {
        let name = |column| Name::read(row, column).map(|name| name.unwrap_or_default().text);
        let holder = Name::read(row, 2)?.map(|holder| holder.text);
        let mut path = vec![name(5)?];
        if kind == ResourceKind::PostgresTable {
            path.insert(0, name(6)?);
        }
        if kind == ResourceKind::PostgresTable || kind == ResourceKind::PostgresSchema {
            path.insert(0, database.to_owned());
        }
        let words = |column| -> Result<Vec<String>, PgError> {
            let words: Option<Vec<String>> = row.get(column)?;
            Ok(words.unwrap_or_default())
        };
        let mut parts = vec![kind.as_str()];
        parts.extend(path.iter().map(String::as_str));
        // No role has an empty name.
        parts.push(holder.as_deref().unwrap_or_default());
        Ok(AccessRecord {
            id: stable_id(self.integration, "access", &parts),
            holder,
            kind,
            path,
            privileges: words(3)?,
            may_pass_on: words(4)?,
        })
    }
}
