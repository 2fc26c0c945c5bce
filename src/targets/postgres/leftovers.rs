//! Owns emptying a role before it is dropped: what it owns goes to a powerless role, what it was granted goes away, and what
//! is left is named with the statement someone else must run. Never destroys an object, and never gives one to a role with power.

use super::PostgresTarget;
use super::error::Trouble;
use super::mark::{self, MarkedBy, RoleKind, hex16};
use super::observe;
use super::pool::{Conn, For};
use super::render::{comment, id, lit, owner_membership, self_membership};
use super::rows::Rows;
use crate::cut;

/// The owner of what people left behind: may not log in, is a member of nothing, holds nothing.
const LEFTOVERS_ROLE: &str = "leftovers_apono";
/// Databases visited for one role in one pass; the rest comes in the next.
const MAX_DATABASES: usize = 50;
/// Things named per role.
const MAX_LINES: usize = 20;

/// A database in which something depends on the role.
struct Dependent {
    /// None for objects of the whole server.
    database: Option<String>,
    connectable: bool,
}

impl PostgresTarget {
    /// Empties the role everywhere. Returns what is left, for people; empty when the role can be dropped.
    ///
    /// `lock` opens a transaction in the home database that holds the lock of the role's row and fails unless the role is
    /// still unused; it is taken anew for each database.
    pub(super) async fn empty_role(
        &self,
        home: &Conn<'_>,
        role: &str,
        lock: &str,
    ) -> Result<Vec<String>, Trouble> {
        let mut lines = prepared(home, role).await?;
        if !lines.is_empty() {
            return Ok(lines);
        }
        for dependent in census(home, role).await? {
            let database = match dependent {
                Dependent {
                    database: Some(database),
                    connectable: true,
                } => database,
                Dependent {
                    database: Some(database),
                    connectable: false,
                } => {
                    lines.push(format!(
                        "database {} takes no connections: ALTER DATABASE {} ALLOW_CONNECTIONS true;",
                        id(&database),
                        id(&database)
                    ));
                    continue;
                }
                // Both verbs reach objects of the whole server from any database.
                Dependent { database: None, .. } => self.settings.home.database.clone(),
            };
            match self.empty_in(home, &database, role, lock).await {
                Ok(mut left) => lines.append(&mut left),
                Err(error) if matches!(error.sqlstate(), Some("3D000")) => {}
                Err(error) if matches!(error.sqlstate(), Some("42501" | "28000")) => {
                    lines.push(format!(
                        "we may not work in database {}: {error}; its owner must run GRANT CONNECT ON DATABASE {} TO <the connector's admin role>;",
                        id(&database),
                        id(&database)
                    ));
                }
                Err(error) => return Err(error),
            }
            if lines.len() >= MAX_LINES {
                break;
            }
        }
        lines.truncate(MAX_LINES);
        Ok(lines)
    }

    async fn empty_in(
        &self,
        home: &Conn<'_>,
        database: &str,
        role: &str,
        lock: &str,
    ) -> Result<Vec<String>, Trouble> {
        let leftovers = self.leftovers_role(home).await?;
        let there = self.pool.get(For::Work, database).await?;
        let schemas = foreign_schemas(&there, role, &leftovers).await?;
        let dropped = format!("DROP OWNED BY {};\n", id(role));
        let sql = reassign(&there, role, &leftovers, &schemas, &dropped);
        // The lock is held in the home database while we work in this one; both are bounded by the server's time-outs.
        home.batch("take the lock of the role's row", lock).await?;
        cut::point("postgres.empty_role.before");
        let done = there.batch("empty the role", &sql).await;
        cut::point("postgres.empty_role.after");
        home.roll_back().await;
        if let Err(error) = done {
            if error.sqlstate() == Some("2BP01") || error.sqlstate() == Some("42501") {
                let lines = rest(&there, database, role).await?;
                self.pool.put(there);
                return Ok(lines);
            }
            return Err(error);
        }
        let lines = rest(&there, database, role).await?;
        self.pool.put(there);
        Ok(lines)
    }

    /// Moves what a shared role owns in one database to the powerless owner; its privileges stay.
    pub(super) async fn disown(
        &self,
        home: &Conn<'_>,
        role: &str,
        database: &str,
    ) -> Result<(), Trouble> {
        let leftovers = self.leftovers_role(home).await?;
        let there = self.pool.get(For::Work, database).await?;
        let schemas = foreign_schemas(&there, role, &leftovers).await?;
        let sql = reassign(&there, role, &leftovers, &schemas, "");
        there.batch("move objects of a shared role", &sql).await?;
        self.pool.put(there);
        Ok(())
    }

    /// Returns the powerless owner, made when first needed.
    async fn leftovers_role(&self, home: &Conn<'_>) -> Result<String, Trouble> {
        const DOING: &str = "look at the role for leftovers";
        let settings = &self.settings.home;
        let own = format!(
            "leftovers_{}_apono",
            hex16(&[settings.connector.as_str(), &settings.database])
        );
        for name in [LEFTOVERS_ROLE, own.as_str()] {
            let sql = format!(
                "{} WHERE r.rolname = {}",
                observe::select_role("role", home.version()),
                lit(name)
            );
            let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
            let Some(line) = rows.tagged("role").next() else {
                let sql = format!(
                    "BEGIN READ WRITE;\nCREATE ROLE {} NOLOGIN;\n{}COMMIT;\n",
                    id(name),
                    comment(name, &mark::mark(settings, name, RoleKind::Leftovers))
                );
                home.batch("make the role for leftovers", &sql).await?;
                return Ok(name.to_owned());
            };
            let role = observe::role(line, settings, RoleKind::Leftovers)?;
            if role.marked_by == MarkedBy::Us && role.administered && !role.elevated {
                return Ok(name.to_owned());
            }
        }
        Err(Trouble::operator(
            "leftovers_role_not_ours",
            format!("role `{own}` is not ours, so leftovers have nowhere to go"),
            format!("DROP ROLE {};", id(&own)),
        ))
    }
}

/// Moves what the role owns in one database. Our own memberships, and the new owner's right to have something in a schema,
/// exist inside this transaction only: nobody else ever sees them.
fn reassign(
    there: &Conn<'_>,
    role: &str,
    leftovers: &str,
    schemas: &[String],
    then: &str,
) -> String {
    let version = there.version();
    let list: Vec<_> = schemas.iter().map(|name| id(name)).collect();
    let (mut open, mut shut) = (String::new(), String::new());
    if !list.is_empty() {
        let list = list.join(", ");
        open = format!("GRANT CREATE ON SCHEMA {list} TO {};\n", id(leftovers));
        shut = format!("REVOKE CREATE ON SCHEMA {list} FROM {};\n", id(leftovers));
    }
    format!(
        "BEGIN READ WRITE;\nSET LOCAL lock_timeout = '1s';\nSET LOCAL statement_timeout = '4s';\n{me}{giver}{open}\
         REASSIGN OWNED BY {role} TO {leftovers};\n{then}{shut}\
         REVOKE {role} FROM CURRENT_USER;\nREVOKE {leftovers} FROM CURRENT_USER;\nCOMMIT;\n",
        me = self_membership(role, version),
        giver = owner_membership(leftovers, version),
        role = id(role),
        leftovers = id(leftovers)
    )
}

/// Schemas of others in which the role owns something whose new owner must be allowed to create there.
async fn foreign_schemas(
    there: &Conn<'_>,
    role: &str,
    leftovers: &str,
) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look where the role owns something";
    let sql = format!(
        "SELECT DISTINCT 'schema', n.nspname FROM pg_catalog.pg_shdepend s\n\
         CROSS JOIN LATERAL pg_catalog.pg_identify_object_as_address(s.classid, s.objid, s.objsubid) o\n\
         JOIN pg_catalog.pg_namespace n ON n.nspname = o.object_names[1]\n\
         WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.deptype = 'o'\n\
         AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role})\n\
         AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())\n\
         AND n.nspowner <> s.refobjid AND pg_catalog.has_schema_privilege(n.oid, 'CREATE WITH GRANT OPTION')\n\
         AND NOT pg_catalog.has_schema_privilege({leftovers}::name, n.oid, 'CREATE') LIMIT 1000",
        role = lit(role),
        leftovers = lit(leftovers)
    );
    let rows = Rows::of(DOING, there.batch(DOING, &sql).await?);
    rows.tagged("schema")
        .map(|line| line.text(0).map(str::to_owned))
        .collect()
}

/// Where something depends on the role.
async fn census(home: &Conn<'_>, role: &str) -> Result<Vec<Dependent>, Trouble> {
    const DOING: &str = "look where the role is used";
    let sql = format!(
        "SELECT DISTINCT 'db', d.datname, COALESCE(d.datallowconn, true)::text FROM pg_catalog.pg_shdepend s\n\
         LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass\n\
         AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {}) LIMIT {MAX_DATABASES}",
        lit(role)
    );
    let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
    rows.tagged("db")
        .map(|line| {
            Ok(Dependent {
                database: line.maybe(0).map(str::to_owned),
                connectable: line.yes(1)?,
            })
        })
        .collect()
}

/// Prepared transactions outlive sessions and keep their locks; once the role is gone only a superuser could end them.
async fn prepared(home: &Conn<'_>, role: &str) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look for prepared transactions";
    let sql = format!(
        "SELECT 'gid', gid, database FROM pg_catalog.pg_prepared_xacts WHERE owner = {} LIMIT {MAX_LINES}",
        lit(role)
    );
    let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
    rows.tagged("gid")
        .map(|line| {
            Ok(format!(
                "a prepared transaction of {} in database {}: ROLLBACK PREPARED {};",
                id(role),
                id(line.text(1)?),
                lit(line.text(0)?)
            ))
        })
        .collect()
}

/// What still names the role in this database: `DROP OWNED` reports success also where it revoked nothing.
async fn rest(there: &Conn<'_>, database: &str, role: &str) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look for what is left of the role";
    let sql = format!(
        "SELECT 'rest', o.type, o.identity, s.deptype FROM pg_catalog.pg_shdepend s\n\
         CROSS JOIN LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) o\n\
         WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass\n\
         AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {})\n\
         AND s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) LIMIT {MAX_LINES}",
        lit(role)
    );
    let rows = Rows::of(DOING, there.batch(DOING, &sql).await?);
    rows.tagged("rest")
        .map(|line| {
            let (kind, identity) = (line.text(0)?, line.text(1)?);
            let statement = match line.text(2)? {
                "o" => format!("ALTER {} {identity} OWNER TO …;", kind.to_uppercase()),
                _ => format!(
                    "REVOKE ALL ON {} {identity} FROM {};",
                    grantable(kind),
                    id(role)
                ),
            };
            Ok(format!(
                "{kind} {identity} in database {} names {}; as its owner, as whoever granted there, or as a superuser: {statement}",
                id(database),
                id(role)
            ))
        })
        .collect()
}

/// The word `REVOKE` knows for an object type of the catalog.
fn grantable(kind: &str) -> String {
    match kind {
        "table" | "view" | "materialized view" | "foreign table" | "table column" => {
            "TABLE".to_owned()
        }
        "server" => "FOREIGN SERVER".to_owned(),
        other => other.to_uppercase(),
    }
}
