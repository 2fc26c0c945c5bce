//! Owns naming what still keeps a role from being dropped, each thing with the statement that removes it. Never removes anything.
//!
//! A line is a statement to paste, then a comment that says where and as whom. Names enter statements quoted; the comment
//! holds no name that could end it.

use super::error::Trouble;
use super::leftovers::MAX_LINES;
use super::pool::Conn;
use super::render::{id, lit};
use super::rows::{Line, Rows};

/// The first version (as `server_version_num`) in which settings of the server can be granted.
const PARAMETER_GRANTS_SINCE: u32 = 150_000;
/// The first version that removes a membership together with the role that gave it.
const GRANTORS_SINCE: u32 = 160_000;

/// Where a statement is to be run.
pub(super) enum Where<'a> {
    Database(&'a str),
    Anywhere,
}

/// One line for people.
pub(super) fn line(statement: &str, at: &Where<'_>, why: &str) -> String {
    let place = match at {
        Where::Database(database) => format!("database {}", one_line(&id(database))),
        Where::Anywhere => "any database".to_owned(),
    };
    format!("{statement} -- in {place}, {}", one_line(why))
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Prepared transactions outlive sessions and keep their locks; once the role is gone only a superuser could end them.
pub(super) async fn prepared(home: &Conn<'_>, role: &str) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look for prepared transactions";
    let sql = format!(
        "SELECT 'gid', gid, database FROM pg_catalog.pg_prepared_xacts WHERE owner = {} ORDER BY gid LIMIT {MAX_LINES}",
        lit(role)
    );
    let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
    rows.tagged("gid")
        .map(|found| {
            Ok(line(
                &format!("ROLLBACK PREPARED {};", lit(found.text(0)?)),
                &Where::Database(found.text(1)?),
                "as a superuser: the prepared transaction outlives her sessions and keeps its locks",
            ))
        })
        .collect()
}

/// Memberships in other roles that she gave to others: before 16 they outlive the role that gave them.
pub(super) async fn given_on(home: &Conn<'_>, role: &str) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look for memberships the role gave to others";
    if home.version() >= GRANTORS_SINCE {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT 'given', r.rolname, m.rolname FROM pg_catalog.pg_auth_members a\n\
         JOIN pg_catalog.pg_roles g ON g.oid = a.grantor JOIN pg_catalog.pg_roles r ON r.oid = a.roleid\n\
         JOIN pg_catalog.pg_roles m ON m.oid = a.member\n\
         WHERE g.rolname = {} AND r.oid <> g.oid ORDER BY 2, 3 LIMIT {MAX_LINES}",
        lit(role)
    );
    let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
    rows.tagged("given")
        .map(|found| {
            Ok(line(
                &format!("REVOKE {} FROM {};", id(found.text(0)?), id(found.text(1)?)),
                &Where::Anywhere,
                "as whoever may give that role: she gave this membership, and it would outlive her",
            ))
        })
        .collect()
}

/// What still names the role in this database, after an attempt to empty it. `moved` tells whether that attempt succeeded:
/// `DROP OWNED` reports success also where it revoked nothing.
pub(super) async fn rest(
    there: &Conn<'_>,
    database: &str,
    role: &str,
    new_owner: &str,
    moved: bool,
) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look for what is left of the role";
    let sql = format!("{}{}", owned(role), granted(role, there.version(), moved));
    let rows = Rows::of(DOING, there.batch(DOING, &sql).await?);
    let mut lines = Vec::new();
    let kinds = rows
        .tagged("owned")
        .map(|found| found.text(0).map(str::to_owned))
        .collect::<Result<Vec<_>, _>>()?;
    if !kinds.is_empty() {
        lines.push(line(
            &format!("REASSIGN OWNED BY {} TO {};", id(role), id(new_owner)),
            &Where::Database(database),
            &format!(
                "as a superuser: we may not move all that she owns ({})",
                kinds.join(", ")
            ),
        ));
    }
    for found in rows.tagged("granted") {
        lines.push(line(
            &revoke_all(role, found)?,
            &Where::Database(database),
            "as a superuser or whoever granted it: we may not take it away",
        ));
    }
    for found in rows.tagged("other") {
        lines.push(line(
            &format!("DROP OWNED BY {};", id(role)),
            &Where::Database(database),
            &format!("as a superuser: a {} names her", found.text(0)?),
        ));
    }
    Ok(lines)
}

fn dependency(role: &str, deptype: &str) -> String {
    format!(
        "pg_catalog.pg_shdepend s WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.deptype {deptype}\n\
         AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {})\n\
         AND s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))",
        lit(role)
    )
}

/// Kinds of objects the role owns, and things that are neither owned nor granted.
fn owned(role: &str) -> String {
    format!(
        "SELECT DISTINCT 'owned', o.type FROM (SELECT * FROM {}) s\n\
         CROSS JOIN LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) o ORDER BY 2 LIMIT {MAX_LINES};\n",
        dependency(role, "= 'o'")
    )
}

/// Entries for the role in access lists, by object and grantor.
fn granted(role: &str, server_version: u32, moved: bool) -> String {
    let mut lists = Vec::new();
    let mut list = |class: &str, sub: &str, query: &str| {
        lists.push(format!(
            "SELECT {query} AND s.classid = 'pg_catalog.{class}'::regclass AND s.objsubid {sub}"
        ));
    };
    for (class, acl, owner) in [
        ("pg_namespace", "nspacl", "nspowner"),
        ("pg_proc", "proacl", "proowner"),
        ("pg_type", "typacl", "typowner"),
        ("pg_language", "lanacl", "lanowner"),
        ("pg_foreign_data_wrapper", "fdwacl", "fdwowner"),
        ("pg_foreign_server", "srvacl", "srvowner"),
        ("pg_database", "datacl", "datdba"),
        ("pg_tablespace", "spcacl", "spcowner"),
    ] {
        list(
            class,
            "= 0",
            &format!("{acl}, {owner} FROM pg_catalog.{class} WHERE oid = s.objid"),
        );
    }
    list(
        "pg_class",
        "= 0",
        "relacl, relowner FROM pg_catalog.pg_class WHERE oid = s.objid",
    );
    list(
        "pg_class",
        "<> 0",
        "a.attacl, c.relowner FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid\n\
         WHERE a.attrelid = s.objid AND a.attnum = s.objsubid",
    );
    list(
        "pg_largeobject",
        "= 0",
        "lomacl, lomowner FROM pg_catalog.pg_largeobject_metadata WHERE oid = s.objid",
    );
    if server_version >= PARAMETER_GRANTS_SINCE {
        list(
            "pg_parameter_acl",
            "= 0",
            "paracl, 10::oid FROM pg_catalog.pg_parameter_acl WHERE oid = s.objid",
        );
    }
    let lists = lists.join("\nUNION ALL ");
    // Where nothing was done yet, what we can take away ourselves is none of anybody's business.
    let which = if moved {
        "true"
    } else {
        "NOT (x.grantor = l.owner AND pg_catalog.pg_has_role(l.owner, 'USAGE'))"
    };
    format!(
        "SELECT DISTINCT 'granted', o.type, o.identity, NULLIF(g.rolname, w.rolname) FROM (SELECT * FROM {dependency}) s\n\
         CROSS JOIN LATERAL ({lists}) l (acl, owner)\n\
         CROSS JOIN LATERAL pg_catalog.aclexplode(l.acl) x\n\
         CROSS JOIN LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, 0) o\n\
         JOIN pg_catalog.pg_roles g ON g.oid = x.grantor JOIN pg_catalog.pg_roles w ON w.oid = l.owner\n\
         WHERE x.grantee = s.refobjid AND {which} ORDER BY 2, 3, 4 LIMIT {MAX_LINES};\n\
         SELECT DISTINCT 'other', o.type FROM (SELECT * FROM {other}) s\n\
         CROSS JOIN LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) o WHERE {moved} ORDER BY 2 LIMIT {MAX_LINES};\n",
        dependency = dependency(role, "= 'a'"),
        other = dependency(role, "NOT IN ('o', 'a')"),
    )
}

/// The owner's grants are taken back by any superuser; those of others only as the one who made them. What she passed on
/// goes with it.
fn revoke_all(role: &str, found: Line<'_>) -> Result<String, Trouble> {
    let (kind, identity) = (found.text(0)?, found.text(1)?);
    let revoke = format!(
        "REVOKE ALL ON {} {identity} FROM {} CASCADE;",
        grantable(kind),
        id(role)
    );
    Ok(match found.maybe(2) {
        None => revoke,
        Some(grantor) => format!("SET ROLE {}; {revoke} RESET ROLE;", id(grantor)),
    })
}

/// The word `REVOKE` knows for an object type of the catalog.
fn grantable(kind: &str) -> String {
    match kind {
        "table" | "view" | "materialized view" | "foreign table" => "TABLE".to_owned(),
        "function" | "procedure" | "aggregate" => "ROUTINE".to_owned(),
        "composite type" => "TYPE".to_owned(),
        "foreign-data wrapper" => "FOREIGN DATA WRAPPER".to_owned(),
        "server" => "FOREIGN SERVER".to_owned(),
        "parameter ACL" => "PARAMETER".to_owned(),
        other => other.to_uppercase(),
    }
}
