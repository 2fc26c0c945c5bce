//! Owns emptying a role before it is dropped: what it owns goes to a powerless role, what it was granted goes away, and what
//! is left is named with the statement someone else must run. Never destroys an object, and never gives one to a role with power.

use super::PostgresTarget;
use super::error::Trouble;
use super::mark::{self, MarkedBy, RoleKind, hex16};
use super::observe;
use super::pool::{Conn, For};
use super::render::{comment, id, lit, owner_membership, self_membership};
use super::rest::{Where, given_on, line, prepared, rest};
use super::rows::Rows;
use crate::cut;

/// The owner of what people left behind: may not log in, is a member of nothing, holds nothing.
const LEFTOVERS_ROLE: &str = "leftovers_apono";
/// Databases visited for one role in one pass; the rest comes in the next.
const MAX_DATABASES: usize = 50;
/// Things named per role.
pub(super) const MAX_LINES: usize = 20;

/// A database in which something depends on the role.
struct Dependent {
    database: String,
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
        lines = given_on(home, role).await?;
        for dependent in census(home, role).await? {
            let database = dependent.database;
            if !dependent.connectable {
                lines.push(line(
                    &format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", id(&database)),
                    &Where::Anywhere,
                    "as its owner, until she is gone: the database takes no connections",
                ));
                continue;
            }
            match self.empty_in(home, &database, role, lock).await {
                Ok(mut left) => lines.append(&mut left),
                Err(error) if matches!(error.sqlstate(), Some("3D000")) => {}
                Err(error) if error.sqlstate() == Some("42501") => {
                    let leftovers = self.leftovers_role(home).await?;
                    lines.push(line(
                        &format!(
                            "REASSIGN OWNED BY {r} TO {}; DROP OWNED BY {r};",
                            id(&leftovers),
                            r = id(role)
                        ),
                        &Where::Database(&database),
                        "as a superuser: we may not enter it",
                    ));
                }
                Err(error) if error.sqlstate() == Some("28000") => {
                    lines.push(line(
                        "SELECT pg_reload_conf();",
                        &Where::Anywhere,
                        &format!(
                            "as a superuser, once pg_hba.conf lets us into database {}",
                            id(&database)
                        ),
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
        let needs = needs(&there, role, &leftovers).await?;
        let dropped = format!("DROP OWNED BY {};\n", id(role));
        let sql = reassign(&there, role, &leftovers, &needs, &dropped);
        // The lock is held in the home database while we work in this one; both are bounded by the server's time-outs.
        home.batch("take the lock of the role's row", lock).await?;
        cut::point("postgres.empty_role.before");
        let done = there.batch("empty the role", &sql).await;
        cut::point("postgres.empty_role.after");
        home.roll_back().await;
        let moved = match done {
            Ok(_) => true,
            Err(error) if matches!(error.sqlstate(), Some("2BP01" | "42501")) => {
                there.roll_back().await;
                false
            }
            Err(error) => return Err(error),
        };
        let lines = rest(&there, database, role, &leftovers, moved).await?;
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
        let needs = needs(&there, role, &leftovers).await?;
        let sql = reassign(&there, role, &leftovers, &needs, "");
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

/// What the new owner must be allowed for a moment, because the server asks for it of the owner of such a thing.
struct Needs {
    /// Schemas of others in which it will own something.
    schemas: Vec<String>,
    /// The database, if it will own a publication or a subscription there.
    database: Option<String>,
}

/// Moves what the role owns in one database. Our own memberships, and the new owner's right to have something in a schema or
/// database, exist inside this transaction only: nobody else ever sees them.
fn reassign(there: &Conn<'_>, role: &str, leftovers: &str, needs: &Needs, then: &str) -> String {
    let version = there.version();
    let (mut open, mut shut) = (String::new(), String::new());
    let mut lend = |what: &str, names: &[String]| {
        if names.is_empty() {
            return;
        }
        let list: Vec<_> = names.iter().map(|name| id(name)).collect();
        let on = format!("CREATE ON {what} {}", list.join(", "));
        open += &format!("GRANT {on} TO {};\n", id(leftovers));
        shut += &format!("REVOKE {on} FROM {};\n", id(leftovers));
    };
    lend("SCHEMA", &needs.schemas);
    lend("DATABASE", needs.database.as_slice());
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

/// Looks for what the new owner lacks and we may give.
async fn needs(there: &Conn<'_>, role: &str, leftovers: &str) -> Result<Needs, Trouble> {
    const DOING: &str = "look where the role owns something";
    let sql = format!(
        "SELECT DISTINCT 'schema', n.nspname FROM pg_catalog.pg_shdepend s\n\
         CROSS JOIN LATERAL pg_catalog.pg_identify_object_as_address(s.classid, s.objid, s.objsubid) o\n\
         JOIN pg_catalog.pg_namespace n ON n.nspname = o.object_names[1]\n\
         WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.deptype = 'o'\n\
         AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role})\n\
         AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())\n\
         AND n.nspowner <> s.refobjid AND pg_catalog.has_schema_privilege(n.oid, 'CREATE WITH GRANT OPTION')\n\
         AND NOT pg_catalog.has_schema_privilege({leftovers}::name, n.oid, 'CREATE') LIMIT 1000;\n\
         SELECT 'database', d.datname FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()\n\
         AND EXISTS (SELECT FROM pg_catalog.pg_shdepend s WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.deptype = 'o'\n\
          AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role}) AND s.dbid IN (0, d.oid)\n\
          AND s.classid IN ('pg_catalog.pg_publication'::regclass, 'pg_catalog.pg_subscription'::regclass))\n\
         AND pg_catalog.has_database_privilege(d.oid, 'CREATE WITH GRANT OPTION')\n\
         AND NOT pg_catalog.has_database_privilege({leftovers}::name, d.oid, 'CREATE');\n",
        role = lit(role),
        leftovers = lit(leftovers)
    );
    let rows = Rows::of(DOING, there.batch(DOING, &sql).await?);
    let schemas = rows
        .tagged("schema")
        .map(|line| line.text(0).map(str::to_owned))
        .collect::<Result<_, _>>()?;
    let database = rows.tagged("database").next();
    Ok(Needs {
        schemas,
        database: database
            .map(|line| line.text(0).map(str::to_owned))
            .transpose()?,
    })
}

/// Where something depends on the role. Objects of the whole server are reached from any database, so from the one we are in.
async fn census(home: &Conn<'_>, role: &str) -> Result<Vec<Dependent>, Trouble> {
    const DOING: &str = "look where the role is used";
    let sql = format!(
        "SELECT DISTINCT 'db', d.datname, d.datallowconn::text FROM pg_catalog.pg_shdepend s\n\
         JOIN pg_catalog.pg_database d ON d.oid = s.dbid OR (s.dbid = 0 AND d.datname = pg_catalog.current_database())\n\
         WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass\n\
         AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {}) ORDER BY 2 LIMIT {MAX_DATABASES}",
        lit(role)
    );
    let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
    rows.tagged("db")
        .map(|line| {
            Ok(Dependent {
                database: line.text(0)?.to_owned(),
                connectable: line.yes(1)?,
            })
        })
        .collect()
}
