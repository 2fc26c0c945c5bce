//! Owns the schema `apono` in the home database: makes it, upgrades it step by step, and refuses one that is not ours. Never reads grants.

use super::error::Trouble;
use super::pool::Conn;
use super::render::id;

/// The steps, in order; the number of a step is its place, counting from 1. A step that was released never changes.
const MIGRATIONS: [&str; 2] = [
    include_str!("sql/001_grant_table.sql"),
    include_str!("sql/002_server.sql"),
];
/// Tries when another instance makes or upgrades the schema at the same moment.
const TRIES: u32 = 5;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// The record is new.
    New,
    /// There was one.
    Kept,
}

/// What is there.
struct Found {
    me: String,
    owner: Option<String>,
    may_act_as_owner: bool,
    may_create: bool,
    has_meta: bool,
    database: String,
}

/// Makes sure that our record is there and of this version.
pub(super) async fn ensure(conn: &Conn<'_>) -> Result<Made, Trouble> {
    let mut tries = 0;
    loop {
        tries += 1;
        match ensure_once(conn).await {
            Err(error) if tries < TRIES && error.is_collision() => {
                tracing::debug!(
                    tries,
                    "another instance works on schema `apono`, looking again"
                );
            }
            result => return result,
        }
    }
}

async fn ensure_once(conn: &Conn<'_>) -> Result<Made, Trouble> {
    let found = look(conn).await?;
    match &found.owner {
        None if !found.may_create => return Err(no_right(&found)),
        Some(owner) if !found.may_act_as_owner => {
            return Err(Trouble::operator(
                "schema_not_ours",
                format!(
                    "schema `apono` in database `{}` is owned by `{owner}`, we act as `{}`",
                    found.database, found.me
                ),
                format!(
                    "let the connector act as `{owner}`: GRANT {} TO {};",
                    id(owner),
                    id(&found.me)
                ),
            ));
        }
        Some(_) | None => {}
    }
    let version = if found.has_meta {
        version(conn).await?
    } else {
        0
    };
    if version > MIGRATIONS.len() {
        return Err(Trouble::operator(
            "schema_too_new",
            format!(
                "schema `apono` has version {version}, this connector knows up to {}",
                MIGRATIONS.len()
            ),
            "use a connector of at least the version that upgraded the schema",
        ));
    }
    let pending = MIGRATIONS.get(version..).unwrap_or_default();
    if pending.is_empty() {
        return Ok(Made::Kept);
    }
    let mut sql = "BEGIN READ WRITE;\n".to_owned();
    if found.owner.is_none() {
        sql += "CREATE SCHEMA apono;\n";
    }
    if found.has_meta {
        sql += "LOCK TABLE apono.meta IN ACCESS EXCLUSIVE MODE;\n";
        sql += &format!(
            "SELECT pg_catalog.int2(CASE WHEN (SELECT pg_catalog.max(version) FROM apono.meta) = {version} THEN 1 ELSE 70000 END);\n"
        );
    }
    sql += &pending.join("\n");
    sql += "COMMIT;\n";
    conn.batch("make or upgrade schema `apono`", &sql).await?;
    tracing::info!(database = %found.database, from = version, to = MIGRATIONS.len(), "schema `apono` is up to date");
    Ok(if version == 0 { Made::New } else { Made::Kept })
}

async fn look(conn: &Conn<'_>) -> Result<Found, Trouble> {
    let answer = conn
        .batch(
            "look at schema `apono`",
            "SELECT current_user, pg_catalog.pg_get_userbyid(n.nspowner),\n\
             pg_catalog.pg_has_role(current_user, n.nspowner, 'USAGE')::text,\n\
             pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')::text,\n\
             (pg_catalog.to_regclass('apono.meta') IS NOT NULL)::text, pg_catalog.current_database()\n\
             FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'apono'",
        )
        .await?;
    let row = answer.rows.into_iter().next().unwrap_or_default();
    let [me, owner, acts, create, meta, database] =
        <[Option<String>; 6]>::try_from(row).map_err(|_| Trouble::Answer {
            doing: "look at schema `apono`",
        })?;
    let yes = |text: Option<String>| text.as_deref() == Some("true");
    Ok(Found {
        me: me.unwrap_or_default(),
        owner,
        may_act_as_owner: yes(acts),
        may_create: yes(create),
        has_meta: yes(meta),
        database: database.unwrap_or_default(),
    })
}

async fn version(conn: &Conn<'_>) -> Result<usize, Trouble> {
    let answer = conn
        .batch(
            "read the version of schema `apono`",
            "SELECT pg_catalog.max(version) FROM apono.meta",
        )
        .await?;
    Ok(answer
        .text()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0))
}

fn no_right(found: &Found) -> Trouble {
    Trouble::operator(
        "schema_right_missing",
        format!(
            "`{}` may not create schema `apono` in database `{}`",
            found.me, found.database
        ),
        format!(
            "CREATE SCHEMA apono AUTHORIZATION {}; -- in database {}",
            id(&found.me),
            id(&found.database)
        ),
    )
}
