//! Owns the question what a shared role of an administrator's can do beyond its level. Never changes anything.

use super::super::error::Trouble;
use super::super::levels::level;
use super::super::pool::Conn;
use super::super::render::{id, lit, texts};
use super::super::rows::Rows;
use super::super::scope::{Scope, schemas};
use crate::domain::{ResourceKind, ResourceRef};

/// Statements of one kind that are named at once.
const PER_KIND: usize = 20;

/// Reads what a role has outside the database of its resource, as a problem and what helps.
pub(super) fn server_wide(name: &str, resource: &ResourceRef) -> String {
    let role = format!(
        "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {})",
        lit(name)
    );
    let of_role = format!(
        "s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = {role}"
    );
    let by_database = "pg_catalog.pg_shdepend s JOIN pg_catalog.pg_database d ON d.oid = CASE s.dbid WHEN 0 THEN s.objid ELSE s.dbid END";
    let lent = match resource.database() {
        Some(_) => "NULL".to_owned(),
        None => lit(resource.name()),
    };
    let database = match resource.database() {
        Some(database) => {
            format!(
                "(SELECT oid FROM pg_catalog.pg_database WHERE datname = {})",
                lit(database)
            )
        }
        None => "0".to_owned(),
    };
    format!(
        "SELECT 'excess', 'it is a member of ' || pg_catalog.quote_ident(m.rolname),\n\
         pg_catalog.format('REVOKE %I FROM %I;', m.rolname, {name}::text)\n\
         FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.roleid\n\
         WHERE a.member = {role} AND m.rolname IS DISTINCT FROM {lent}::name LIMIT {PER_KIND};\n\
         SELECT DISTINCT 'excess', 'it owns objects in database ' || pg_catalog.quote_ident(d.datname),\n\
         pg_catalog.format('-- look what they are, and give them away: REASSIGN OWNED BY %I TO a role without power; -- in database %I', {name}::text, d.datname)\n\
         FROM {by_database} WHERE {of_role} AND s.deptype = 'o' LIMIT {PER_KIND};\n\
         SELECT DISTINCT 'excess', 'it holds privileges in database ' || pg_catalog.quote_ident(d.datname),\n\
         pg_catalog.format('-- take them away in database %I: DROP OWNED BY %I; -- then its level again', d.datname, {name}::text)\n\
         FROM {by_database} WHERE {of_role} AND s.deptype = 'a' AND s.dbid NOT IN (0, {database}) LIMIT {PER_KIND};\n\
         SELECT 'excess', 'it holds privileges on ' || i.type || ' ' || i.identity,\n\
         pg_catalog.format('REVOKE ALL ON %s %s FROM %I;', CASE i.type WHEN 'database' THEN 'DATABASE' WHEN 'tablespace' THEN 'TABLESPACE' ELSE 'PARAMETER' END,\n\
         i.identity, {name}::text)\n\
         FROM pg_catalog.pg_shdepend s, pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) i\n\
         WHERE {of_role} AND s.deptype = 'a' AND s.dbid = 0\n\
         AND NOT (s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid = {database}) LIMIT {PER_KIND};\n",
        name = lit(name),
    )
}

/// Reads what a role holds in the database of its resource beyond its level, as statements that take it away.
pub(super) async fn statements(conn: &Conn<'_>, scope: Scope<'_>) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look for privileges beyond the level";
    let rows = Rows::of(
        DOING,
        conn.batch(DOING, &in_database(scope, conn.version()))
            .await?,
    );
    rows.tagged("excess")
        .map(|line| {
            Ok(format!(
                "{}{}{};",
                line.text(0)?,
                id(scope.access_role),
                line.text(1)?
            ))
        })
        .collect()
}

/// Each row is a statement without the role, and what follows the role.
fn in_database(scope: Scope<'_>, server_version: u32) -> String {
    let level = level(scope.resource.kind(), scope.permission, server_version);
    let role = format!(
        "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {})",
        lit(scope.access_role)
    );
    let list = |privileges: &[&'static str]| texts(privileges.iter().copied());
    let (table, sequence) = (list(level.table), list(level.sequence));
    let held = format!(
        "s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.deptype = 'a' AND s.refobjid = {role}\n\
         AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    );
    let verb = "CASE WHEN x.is_grantable AND x.privilege_type = ANY({level}) THEN 'REVOKE GRANT OPTION FOR ' ELSE 'REVOKE ' END";
    let cascade = "CASE WHEN x.is_grantable THEN ' CASCADE' ELSE '' END";
    let beyond = "x.grantee = {role} AND (x.is_grantable OR x.privilege_type <> ALL({level}))";
    let fill = |text: &str, level: &str| text.replace("{level}", level).replace("{role}", &role);
    let relation_level = format!("CASE c.relkind WHEN 'S' THEN {sequence} ELSE {table} END");
    let mut sql = format!(
        "SELECT 'excess', {verb} || x.privilege_type || CASE c.relkind WHEN 'S' THEN ' ON SEQUENCE ' ELSE ' ON TABLE ' END\n\
         || pg_catalog.format('%I.%I FROM ', n.nspname, c.relname), {cascade}\n\
         FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_class c ON s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = s.objid\n\
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, pg_catalog.aclexplode(c.relacl) x\n\
         WHERE {held} AND s.objsubid = 0 AND {schemas} AND {beyond} LIMIT {PER_KIND};\n\
         SELECT 'excess', 'REVOKE ' || x.privilege_type || pg_catalog.format(' (%I) ON TABLE %I.%I FROM ', t.attname, n.nspname, c.relname), {cascade}\n\
         FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_class c ON s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = s.objid\n\
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute t ON t.attrelid = c.oid AND t.attnum = s.objsubid,\n\
         pg_catalog.aclexplode(t.attacl) x WHERE {held} AND s.objsubid <> 0 AND x.grantee = {role} LIMIT {PER_KIND};\n",
        verb = fill(verb, &relation_level),
        beyond = fill(beyond, &relation_level),
        schemas = schemas(scope),
    );
    let schema_level = list(level.schema);
    sql += &format!(
        "SELECT 'excess', {verb} || x.privilege_type || pg_catalog.format(' ON SCHEMA %I FROM ', n.nspname), {cascade}\n\
         FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) x WHERE {schemas} AND {beyond} LIMIT {PER_KIND};\n",
        verb = fill(verb, &schema_level),
        beyond = fill(beyond, &schema_level),
        schemas = schemas(scope),
    );
    let database_level = list(level.database);
    sql += &format!(
        "SELECT 'excess', {verb} || x.privilege_type || pg_catalog.format(' ON DATABASE %I FROM ', d.datname), {cascade}\n\
         FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) x\n\
         WHERE d.datname = pg_catalog.current_database() AND {beyond} LIMIT {PER_KIND};\n",
        verb = fill(verb, &database_level),
        beyond = fill(beyond, &database_level),
    );
    sql += &format!(
        "SELECT DISTINCT 'excess', pg_catalog.format('REVOKE ALL ON %s %s FROM ', CASE i.type WHEN 'server' THEN 'FOREIGN SERVER'\n\
         WHEN 'foreign-data wrapper' THEN 'FOREIGN DATA WRAPPER' WHEN 'aggregate' THEN 'FUNCTION' ELSE pg_catalog.upper(i.type) END, i.identity), ''\n\
         FROM pg_catalog.pg_shdepend s, pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) i WHERE {held}\n\
         AND s.classid NOT IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_namespace'::pg_catalog.regclass,\n\
          'pg_catalog.pg_default_acl'::pg_catalog.regclass) LIMIT {PER_KIND};\n"
    );
    sql + &defaults(scope, &role, [&table, &sequence, &schema_level])
}

/// What it is to get on objects made later, beyond what its level covers.
fn defaults(scope: Scope<'_>, role: &str, [table, sequence, schema]: [&str; 3]) -> String {
    let kind = scope.resource.kind();
    let covered = if kind == ResourceKind::PostgresSchema {
        let schema = scope.resource.schema().map_or("NULL".to_owned(), lit);
        format!("g.nspname IS NOT DISTINCT FROM {schema}::name")
    } else {
        (kind == ResourceKind::PostgresDatabase).to_string()
    };
    format!(
        "SELECT 'excess', pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE %s ON %s FROM ', pg_catalog.pg_get_userbyid(d.defaclrole),\n\
         CASE WHEN g.nspname IS NULL THEN '' ELSE pg_catalog.format(' IN SCHEMA %I', g.nspname) END, x.privilege_type,\n\
         CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'n' THEN 'SCHEMAS' WHEN 'f' THEN 'FUNCTIONS'\n\
         WHEN 'T' THEN 'TYPES' ELSE 'LARGE OBJECTS' END), CASE WHEN x.is_grantable THEN ' CASCADE' ELSE '' END\n\
         FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace g ON g.oid = d.defaclnamespace, pg_catalog.aclexplode(d.defaclacl) x\n\
         WHERE x.grantee = {role} AND (x.is_grantable OR NOT ({covered}) OR x.privilege_type <> ALL(CASE d.defaclobjtype\n\
         WHEN 'r' THEN {table} WHEN 'S' THEN {sequence} WHEN 'n' THEN {schema} ELSE ARRAY[]::text[] END)) LIMIT {PER_KIND};\n"
    )
}
