//! Owns the question what an access role lacks, and what it has too much, in one database. Never changes anything.

use super::error::Trouble;
use super::levels::{Level, level};
use super::pool::Conn;
use super::render::{id, lit, texts};
use super::rows::Rows;
use crate::domain::{Permission, ResourceKind, ResourceRef};

/// Objects looked at in one round; the rounds go on until nothing is missing.
const OBJECTS_PER_ROUND: usize = 20_000;
/// Tables, partitioned tables, views, materialised views and foreign tables.
const TABLE_KINDS: &str = "('r', 'p', 'v', 'm', 'f')";
const DOING: &str = "look for missing privileges";

/// A resource, a level and the role that is to hold it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) access_role: &'a str,
    pub(super) resource: &'a ResourceRef,
    pub(super) permission: Permission,
    /// Whether the database is the home database, where schema `apono` is no resource.
    pub(super) is_home: bool,
    /// Whether somebody else fills the role, so that every owner of objects counts and not only those we may act for.
    pub(super) given: bool,
}

/// Something with privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// `DATABASE`, `SCHEMA`, `TABLE` or `SEQUENCE`.
    pub(super) class: &'static str,
    /// The bare name of its schema, where it is in one.
    pub(super) schema: Option<String>,
    /// Quoted and qualified.
    pub(super) name: String,
    pub(super) owner: String,
    /// Comma-separated; for surplus ones always `ALL`.
    pub(super) privileges: String,
    /// Whether we may grant and revoke there.
    pub(super) ours: bool,
}

/// Default privileges that are missing for objects one owner makes later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Future {
    pub(super) owner: String,
    pub(super) schema: Option<String>,
    /// `TABLES`, `SEQUENCES` or `SCHEMAS`.
    pub(super) class: &'static str,
    pub(super) privileges: String,
}

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Gap {
    /// Whether the resource exists.
    pub(super) found: bool,
    pub(super) missing: Vec<Object>,
    pub(super) surplus: Vec<Object>,
    pub(super) future: Vec<Future>,
}

/// Looks, in one message.
pub(super) async fn look(conn: &Conn<'_>, scope: Scope<'_>) -> Result<Gap, Trouble> {
    let level = level(scope.resource.kind(), scope.permission, conn.version());
    let rows = Rows::of(DOING, conn.batch(DOING, &sql(scope, level)).await?);
    let mut gap = Gap {
        found: rows.one("found")?.yes(0)?,
        ..Gap::default()
    };
    for line in rows.tagged("missing") {
        gap.missing.push(Object {
            class: class(line.text(0)?),
            schema: line.maybe(1).map(str::to_owned),
            name: qualified(line.maybe(1), line.text(2)?),
            owner: line.text(3)?.to_owned(),
            privileges: line.text(4)?.to_owned(),
            ours: line.yes(5)?,
        });
    }
    for line in rows.tagged("surplus") {
        gap.surplus.push(Object {
            class: class(line.text(0)?),
            schema: line.maybe(1).map(str::to_owned),
            name: qualified(line.maybe(1), line.text(2)?),
            owner: line.text(3)?.to_owned(),
            privileges: "ALL".to_owned(),
            ours: line.yes(4)?,
        });
    }
    for line in rows.tagged("future") {
        gap.future.push(Future {
            owner: line.text(0)?.to_owned(),
            schema: line.maybe(1).map(str::to_owned),
            class: match line.text(2)? {
                "S" => "SEQUENCES",
                "n" => "SCHEMAS",
                _ => "TABLES",
            },
            privileges: line.text(3)?.to_owned(),
        });
    }
    Ok(gap)
}

fn class(text: &str) -> &'static str {
    match text {
        "database" => "DATABASE",
        "schema" => "SCHEMA",
        "sequence" => "SEQUENCE",
        _ => "TABLE",
    }
}

fn qualified(schema: Option<&str>, name: &str) -> String {
    match schema {
        Some(schema) => format!("{}.{}", id(schema), id(name)),
        None => id(name),
    }
}

fn sql(scope: Scope<'_>, level: Level) -> String {
    let mut sql = format!("SELECT 'found', ({})::text;\n", exists(scope));
    sql += &format!(
        "SELECT 'missing', 'database', NULL, d.datname, pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.string_agg(p.priv, ', '),\n\
         pg_catalog.bool_and(pg_catalog.has_database_privilege(d.oid, p.priv || ' WITH GRANT OPTION'))::text\n\
         FROM pg_catalog.pg_database d, pg_catalog.unnest({}) p(priv) WHERE d.datname = pg_catalog.current_database()\n\
         AND NOT pg_catalog.has_database_privilege({}::name, d.oid, p.priv) GROUP BY d.oid, d.datname, d.datdba;\n",
        texts(level.database.iter().copied()),
        lit(scope.access_role),
    );
    sql += &format!(
        "SELECT 'missing', 'schema', NULL, n.nspname, pg_catalog.pg_get_userbyid(n.nspowner), pg_catalog.string_agg(p.priv, ', '),\n\
         pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, p.priv || ' WITH GRANT OPTION'))::text\n\
         FROM pg_catalog.pg_namespace n, pg_catalog.unnest({}) p(priv) WHERE {}{}\n\
         AND NOT pg_catalog.has_schema_privilege({}::name, n.oid, p.priv) GROUP BY n.oid, n.nspname, n.nspowner\n\
         ORDER BY 7 DESC LIMIT {OBJECTS_PER_ROUND};\n",
        texts(level.schema.iter().copied()),
        schemas(scope),
        match scope.resource.schema() {
            Some(_) => String::new(),
            None => not_peoples("n.nspowner"),
        },
        lit(scope.access_role),
    );
    sql += &relations(scope, "table", level.table);
    if !level.sequence.is_empty() {
        sql += &relations(scope, "sequence", level.sequence);
    }
    if scope.resource.kind() != ResourceKind::PostgresTable {
        sql += &future(scope, "r", level.table);
        sql += &future(scope, "S", level.sequence);
        if scope.resource.kind() == ResourceKind::PostgresDatabase {
            sql += &future(scope, "n", level.schema);
        }
    }
    sql += &surplus(scope);
    sql
}

/// Condition over `n`: which schemas belong to the scope.
pub(super) fn schemas(scope: Scope<'_>) -> String {
    match scope.resource.schema() {
        Some(schema) => format!("n.nspname = {}", lit(schema)),
        None => {
            let home = if scope.is_home {
                " AND n.nspname <> 'apono'"
            } else {
                ""
            };
            format!(
                "n.nspname OPERATOR(pg_catalog.!~) '^pg_' AND n.nspname <> 'information_schema'{home}"
            )
        }
    }
}

/// Condition over `n` and `c`: which relations belong to the scope.
fn in_scope(scope: Scope<'_>, what: &str) -> String {
    let kinds = if what == "sequence" {
        "c.relkind = 'S'".to_owned()
    } else {
        format!("c.relkind IN {TABLE_KINDS}")
    };
    let which = match (scope.resource.kind(), what) {
        (ResourceKind::PostgresTable, "sequence") => format!(
            " AND c.oid IN (SELECT o.objid FROM pg_catalog.pg_depend o JOIN pg_catalog.pg_class t ON t.oid = o.refobjid\n\
             JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace\n\
             WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.refclassid = 'pg_catalog.pg_class'::regclass\n\
             AND o.deptype = 'a' AND tn.nspname = {} AND t.relname = {})",
            lit(scope.resource.schema().unwrap_or_default()),
            lit(scope.resource.name())
        ),
        (ResourceKind::PostgresTable, _) => format!(
            " AND {} AND c.relname = {}",
            schemas(scope),
            lit(scope.resource.name())
        ),
        _ => format!(" AND {}", schemas(scope)),
    };
    format!("{kinds}{which}")
}

fn relations(scope: Scope<'_>, what: &str, privileges: &[&str]) -> String {
    let not_peoples = if scope.resource.kind() == ResourceKind::PostgresTable {
        String::new()
    } else {
        not_peoples("c.relowner")
    };
    format!(
        "SELECT 'missing', '{what}', n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner), pg_catalog.string_agg(p.priv, ', '),\n\
         pg_catalog.bool_and(pg_catalog.has_{what}_privilege(c.oid, p.priv || ' WITH GRANT OPTION'))::text\n\
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, pg_catalog.unnest({}) p(priv)\n\
         WHERE {}{not_peoples} AND NOT pg_catalog.has_{what}_privilege({}::name, c.oid, p.priv)\n\
         GROUP BY c.oid, n.nspname, c.relname, c.relowner ORDER BY 7 DESC LIMIT {OBJECTS_PER_ROUND};\n",
        texts(privileges.iter().copied()),
        in_scope(scope, what),
        lit(scope.access_role),
    )
}

/// Condition that leaves out what people made there or left behind: it belongs to roles of ours, is not ours to give, and must
/// not stop others.
fn not_peoples(owner: &str) -> String {
    format!(" AND pg_catalog.pg_get_userbyid({owner}) OPERATOR(pg_catalog.!~) '_apono$'")
}

/// Default privileges follow the role that creates an object: one line per owner we may act for. Superusers make tables of their
/// own everywhere, an administrator is not asked to give them all away beforehand.
fn future(scope: Scope<'_>, class: &str, privileges: &[&str]) -> String {
    let schema = match scope.resource.schema() {
        Some(schema) => format!(
            "(SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {})",
            lit(schema)
        ),
        None => "0::oid".to_owned(),
    };
    // In the home database our own later tables must not fall under anybody's default privileges.
    let not_us = if scope.is_home && scope.resource.schema().is_none() {
        " AND o.rolname <> current_user"
    } else {
        ""
    };
    // Without CREATE the owner cannot make anything there, and some versions refuse the statement.
    let creates = match scope.resource.schema() {
        Some(_) => format!(" AND pg_catalog.has_schema_privilege(o.oid, {schema}, 'CREATE')"),
        None => String::new(),
    };
    format!(
        "SELECT 'future', o.rolname, {name}, '{class}', pg_catalog.string_agg(p.priv, ', ')\n\
         FROM pg_catalog.pg_roles o, pg_catalog.unnest({privileges}) p(priv)\n\
         WHERE o.oid IN (SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()\n\
          UNION SELECT n.nspowner FROM pg_catalog.pg_namespace n WHERE {schemas}\n\
          UNION SELECT c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {schemas})\n\
         AND o.rolname OPERATOR(pg_catalog.!~) '^pg_' AND o.rolname OPERATOR(pg_catalog.!~) '_apono$'\n\
         {acting}{not_us}{creates}\n\
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) x\n\
          WHERE d.defaclrole = o.oid AND d.defaclnamespace = {schema} AND d.defaclobjtype = '{class}'\n\
          AND x.grantee = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {access}) AND x.privilege_type = p.priv)\n\
         GROUP BY o.rolname;\n",
        acting = if scope.given {
            "AND NOT o.rolsuper"
        } else {
            "AND pg_catalog.pg_has_role(current_user, o.oid, 'USAGE')"
        },
        name = scope.resource.schema().map_or("NULL".to_owned(), lit),
        privileges = texts(privileges.iter().copied()),
        schemas = schemas(scope),
        access = lit(scope.access_role),
    )
}

/// What the role holds outside its scope: a table keeps its access list when it is renamed or moved to another schema.
fn surplus(scope: Scope<'_>) -> String {
    let held = format!(
        "s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.deptype = 'a'\n\
         AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {})\n\
         AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
        lit(scope.access_role)
    );
    format!(
        "SELECT DISTINCT 'surplus', CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, n.nspname, c.relname,\n\
         pg_catalog.pg_get_userbyid(c.relowner), pg_catalog.has_table_privilege(c.oid, 'SELECT WITH GRANT OPTION')::text\n\
         FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_class c ON s.classid = 'pg_catalog.pg_class'::regclass AND c.oid = s.objid\n\
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace\n\
         WHERE {held} AND NOT ({tables}) AND NOT ({sequences}) LIMIT {OBJECTS_PER_ROUND};\n\
         SELECT 'surplus', 'schema', NULL, n.nspname, pg_catalog.pg_get_userbyid(n.nspowner),\n\
         pg_catalog.has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION')::text\n\
         FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_namespace n ON s.classid = 'pg_catalog.pg_namespace'::regclass AND n.oid = s.objid\n\
         WHERE {held} AND NOT ({schemas}) LIMIT {OBJECTS_PER_ROUND};\n",
        tables = in_scope(scope, "table"),
        sequences = in_scope(scope, "sequence"),
        schemas = schemas(scope),
    )
}

fn exists(scope: Scope<'_>) -> String {
    let schema = lit(scope.resource.schema().unwrap_or_default());
    let kind = scope.resource.kind();
    if kind == ResourceKind::PostgresSchema {
        return format!("EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {schema})");
    }
    if kind == ResourceKind::PostgresTable {
        return format!(
            "EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace\n\
             WHERE n.nspname = {schema} AND c.relname = {} AND c.relkind IN {TABLE_KINDS})",
            lit(scope.resource.name())
        );
    }
    "true".to_owned()
}
