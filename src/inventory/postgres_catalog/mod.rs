//! Owns the list of what a PostgreSQL server holds, read from its catalogs in pages. Never reads a row of anybody's data.

mod access;
mod page;
mod role;

use super::ids::stable_id;
use super::{RecordSender, Source, SourceError};
use crate::domain::{IntegrationId, InventoryRecord, RecordStatus, ResourceKind};
use crate::pg::{ConnectOptions, PgError, Row, Session};
use access::{ON_DATABASES, ON_ROLES, ON_SCHEMAS, ON_TABLES};
use async_trait::async_trait;
use page::{Found, Name, Pages};
use role::{acting_role, cannot_lend, quoted};
use std::collections::BTreeMap;

/// Rows read at a time: about 1 MB with long names and comments.
const PAGE: i64 = 1_000;

const DATABASES: &str = include_str!("sql/databases.sql");
const SCHEMAS: &str = include_str!("sql/schemas.sql");
const TABLES: &str = include_str!("sql/tables.sql");
const ROLES: &str = include_str!("sql/roles.sql");

/// Lists databases, schemas, tables and roles of one server, and who has access to them already.
#[derive(Debug)]
pub struct PostgresCatalog {
    integration: IntegrationId,
    options: ConnectOptions,
    admin_role: Option<String>,
    page: i64,
}

impl PostgresCatalog {
    /// Takes how to connect to the server's home database, and the role the connector acts as. Without one, that is
    /// `apono_admin` if the user may act as it, else the user.
    #[must_use]
    pub fn new(
        integration: IntegrationId,
        options: ConnectOptions,
        admin_role: Option<String>,
    ) -> Self {
        Self {
            integration,
            options,
            admin_role,
            page: PAGE,
        }
    }

    /// Reads pages of another size.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn in_pages_of(mut self, rows: i64) -> Self {
        self.page = rows;
        self
    }

    async fn walk_server(&self, records: &mut RecordSender) -> Result<(), SourceError> {
        let home = self.enter(&self.options.database).await;
        let home = home.map_err(|source| failed(&self.options.database, source))?;
        let mut pages = Pages::new(self.page, &home, "list databases", DATABASES);
        while let Some(rows) = pages.next(&[]).await? {
            for row in &rows {
                self.walk_database(row, records).await?;
            }
        }
        self.list_access(&home, &ON_DATABASES, records).await?;
        self.list_roles(&home, records).await?;
        self.list_access(&home, &ON_ROLES, records).await
    }

    async fn walk_database(
        &self,
        row: &Row,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        let at_home = |source| failed(&self.options.database, source);
        let found = Found::read(row).map_err(at_home)?;
        let mut record = self.record(&found, ResourceKind::PostgresDatabase, &[]);
        let database = found.name.text.clone();
        let closed = if !found.name.exact {
            None
        } else if !row.get::<_, bool>(4).map_err(at_home)? {
            Some("does not accept connections: ALTER DATABASE … ALLOW_CONNECTIONS true".to_owned())
        } else if !row.get::<_, bool>(5).map_err(at_home)? {
            Some(format!(
                "the connector may not enter it: {}",
                connect_grant(&database, &self.options.user)
            ))
        } else {
            match self.enter(&database).await {
                Ok(session) => match forbidden(&session).await? {
                    Some(reason) => Some(reason),
                    None => {
                        records.send(record).await?;
                        return self.list_objects(&session, records).await;
                    }
                },
                Err(error) => match closed_by(&error) {
                    Closed::Gone => return Ok(()),
                    Closed::ForUs(reason) => Some(reason),
                    Closed::Unknown => return Err(failed(&database, error)),
                },
            }
        };
        if let Some(reason) = closed {
            record.status = RecordStatus::Error(reason);
            // What is in it was not looked at, so nothing of it is gone.
            records.unseen(record.path.clone()).await?;
        }
        records.send(record).await
    }

    async fn list_objects(
        &self,
        session: &Session,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        let database = &session.place().database;
        let here = |source| failed(database, source);
        let mut pages = Pages::new(self.page, session, "list schemas", SCHEMAS);
        while let Some(rows) = pages.next(&[]).await? {
            for row in &rows {
                let found = Found::read(row).map_err(here)?;
                let record = self.record(&found, ResourceKind::PostgresSchema, &[database]);
                records.send(record).await?;
            }
        }
        let mut pages = Pages::new(self.page, session, "list tables", TABLES);
        while let Some(rows) = pages.next(&[]).await? {
            for row in &rows {
                let found = Found::read(row).map_err(here)?;
                let schema = Name::read(row, 4).map_err(here)?.unwrap_or_default();
                let mut record = self.record(
                    &found,
                    ResourceKind::PostgresTable,
                    &[database, &schema.text],
                );
                row.get::<_, &str>(5)
                    .map(flavour)
                    .map_err(here)?
                    .clone_into(&mut record.flavour);
                if !schema.exact {
                    record.status = unreadable_name();
                }
                records.send(record).await?;
            }
        }
        self.list_access(session, &ON_SCHEMAS, records).await?;
        self.list_access(session, &ON_TABLES, records).await
    }

    async fn list_roles(
        &self,
        home: &Session,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        let here = |source| failed(&self.options.database, source);
        let (acting, acting_name) = acting_role(home, self.admin_role.as_deref())
            .await
            .map_err(here)?;
        let mut pages = Pages::new(self.page, home, "list roles", ROLES);
        while let Some(rows) = pages.next(&[&acting]).await? {
            for row in &rows {
                let found = Found::read(row).map_err(here)?;
                let mut record = self.record(&found, ResourceKind::PostgresRole, &[]);
                let login: bool = row.get(8).map_err(here)?;
                (if login { "login" } else { "group" }).clone_into(&mut record.flavour);
                if let Some(reason) = cannot_lend(row, &found, &acting_name).map_err(here)? {
                    record.status = RecordStatus::Error(format!("cannot be lent: {reason}"));
                }
                records.send(record).await?;
            }
        }
        Ok(())
    }

    async fn enter(&self, database: &str) -> Result<Session, PgError> {
        let mut options = self.options.clone();
        database.clone_into(&mut options.database);
        let session = Session::connect(&options).await?;
        // Such a database promises nothing about its bytes, so the server would refuse to send some names; we look at them raw.
        session
            .batch(
                "read names as they are",
                "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) \
                 WHERE pg_catalog.current_setting('server_encoding') = 'SQL_ASCII'",
            )
            .await?;
        Ok(session)
    }

    fn record(&self, found: &Found, kind: ResourceKind, parents: &[&str]) -> InventoryRecord {
        let mut path: Vec<String> = parents.iter().map(|name| (*name).to_owned()).collect();
        path.push(found.name.text.clone());
        let status = if found.name.exact {
            RecordStatus::Active
        } else {
            unreadable_name()
        };
        InventoryRecord {
            id: stable_id(
                self.integration,
                kind.as_str(),
                &path.iter().map(String::as_str).collect::<Vec<_>>(),
            ),
            native_id: found.oid.to_string(),
            name: found.name.text.clone(),
            path,
            kind,
            flavour: String::new(),
            owner: found.owner.clone(),
            comment: found.comment.clone(),
            tags: found.tags.clone(),
            context: BTreeMap::new(),
            permissions: kind.permissions().to_vec(),
            status,
            part: None,
            discovered: None,
        }
    }
}

#[async_trait]
impl Source for PostgresCatalog {
    fn integration(&self) -> IntegrationId {
        self.integration
    }

    async fn walk(&self, mut records: RecordSender) -> Result<u64, SourceError> {
        let walk = self.walk_server(&mut records).await;
        records.finish(walk).await
    }
}

/// What a refused connection says about the database.
enum Closed {
    /// It was dropped meanwhile.
    Gone,
    /// It exists and lets others in.
    ForUs(String),
    /// Nothing: the trouble may be anywhere.
    Unknown,
}

fn closed_by(error: &PgError) -> Closed {
    let fix = |what: &str| {
        let hint = error.hint();
        Closed::ForUs(hint.map_or_else(|| what.to_owned(), |hint| format!("{what}: {hint}")))
    };
    match error.sqlstate() {
        Some("3D000") => Closed::Gone,
        Some("42501" | "28000") => fix("the connector may not enter it"),
        Some("55000") => fix("does not accept connections"),
        _ if matches!(error, PgError::RefusedMethod { .. }) => {
            fix("the connector does not send its password there")
        }
        _ => Closed::Unknown,
    }
}

/// Tells whether the catalog of a database hides what everybody can usually read. Looked at first, so that each thing is sent once.
async fn forbidden(session: &Session) -> Result<Option<String>, SourceError> {
    let database = &session.place().database;
    let hidden = session
        .query_opt(
            "look whether the catalog can be read",
            "SELECT c.name FROM pg_catalog.unnest(ARRAY['pg_namespace', 'pg_class', 'pg_roles', 'pg_description', \
             'pg_shdescription']) AS c (name) \
             WHERE NOT pg_catalog.has_table_privilege('pg_catalog.' || c.name, 'SELECT') LIMIT 1",
            &[],
        )
        .await;
    let hidden = hidden.map_err(|source| failed(database, source))?;
    hidden
        .map(|row| {
            let name: &str = row.get(0)?;
            Ok(format!(
                "the connector may not read its catalog: GRANT SELECT ON pg_catalog.{name} TO PUBLIC"
            ))
        })
        .transpose()
        .map_err(|source| failed(database, source))
}

fn connect_grant(database: &str, user: &str) -> String {
    format!(
        "GRANT CONNECT ON DATABASE {} TO {}",
        quoted(database),
        quoted(user)
    )
}

fn unreadable_name() -> RecordStatus {
    RecordStatus::Error(
        "its name is not valid UTF-8, so no order can name it: rename it".to_owned(),
    )
}

fn flavour(relkind: &str) -> &'static str {
    match relkind {
        "v" => "view",
        "m" => "materialized view",
        "f" => "foreign table",
        "p" => "partitioned table",
        _ => "table",
    }
}

fn failed(database: &str, source: PgError) -> SourceError {
    SourceError::Read {
        database: database.to_owned(),
        source,
    }
}
