//! Owns the question which of the rights we need are missing, and which statement gives each. Never changes anything, and never
//! advises membership in a role with server-wide power.

use super::error::Trouble;
use super::mark::{self, MarkedBy, RoleKind};
use super::observe;
use super::pool::Conn;
use super::render::{id, lit};
use super::rows::{Line, Rows};
use super::settings::{AccessRoles, DEFAULT_ADMIN_ROLE, Settings};

/// Owners we may not act for that are named; the rest are counted.
const NAMED_OWNERS: usize = 10;
/// Roles of ours without ADMIN OPTION in one statement, so that it can be reported whole; the rest are counted.
const NAMED_ROLES: usize = 40;
/// Roles of ours looked at for ADMIN OPTION.
const MAX_ROLES: usize = 1_000;
/// Connections we use at once at most: 4 for work, 8 for ends, one held for ends, one for the inventory.
const CONNECTIONS: i64 = 14;
/// The first version (as `server_version_num`) on which CREATEROLE alone does not change a role, and memberships carry options.
const ADMIN_OPTION_SINCE: u32 = 160_000;

const DOING: &str = "look at our own rights";

/// A right we lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    problem: String,
    /// What gives it, if a statement can.
    statement: Option<String>,
    /// The reason to give if nothing at all can be started without it.
    pub(super) stops: Option<&'static str>,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.statement {
            Some(statement) => write!(f, "{}:\n{statement}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// What was seen.
pub(super) struct Probed {
    pub(super) user: String,
    /// The role our rights come from.
    pub(super) me: String,
    pub(super) server_version: String,
    /// Owners of things in the server's databases: those we may act for, and the others.
    pub(super) owners: (u32, u32),
    pub(super) lacks: Vec<Lack>,
}

/// Ourselves.
struct Me {
    user: String,
    /// Whose rights count: the role we act as, or the one we should act as.
    name: String,
    superuser: bool,
    inherits: bool,
    version: u32,
}

/// Looks, in two messages. Works without our record, which may be what is missing.
pub(super) async fn look(conn: &Conn<'_>, settings: &Settings) -> Result<Probed, Trouble> {
    let rows = Rows::of(DOING, conn.batch(DOING, &who(settings)).await?);
    let line = rows.one("me")?;
    let me = Me {
        user: line.text(0)?.to_owned(),
        name: line.text(1)?.to_owned(),
        superuser: line.yes(3)?,
        inherits: line.yes(4)?,
        version: conn.version(),
    };
    let mut probed = Probed {
        user: me.user.clone(),
        me: me.name.clone(),
        server_version: line.text(6)?.to_owned(),
        owners: (0, 0),
        lacks: role_lacks(&me, line)?,
    };
    if me.superuser {
        return Ok(probed);
    }
    let rows = Rows::of(DOING, conn.batch(DOING, &rights(&me)).await?);
    probed
        .lacks
        .extend(schema(&me, settings, rows.one("schema")?)?);
    let owners = rows.one("owners")?;
    probed.owners = (owners.count(0)?, owners.count(1)?);
    if settings.access_roles == AccessRoles::Made {
        owner_lacks(&me, &rows, &mut probed.lacks)?;
    }
    probed.lacks.extend(unadministered(&me, settings, &rows)?);
    Ok(probed)
}

/// Says that nothing can be started, and all that is missing.
pub(super) fn refused(probed: &Probed) -> Trouble {
    let problems: Vec<_> = probed.lacks.iter().map(|l| l.problem.as_str()).collect();
    let statements: Vec<_> = probed
        .lacks
        .iter()
        .filter_map(|lack| lack.statement.as_deref())
        .collect();
    let mut reasons = probed.lacks.iter().filter_map(|lack| lack.stops);
    let reason = match (reasons.next(), reasons.next()) {
        (Some(only), None) => only,
        _ => "right_missing",
    };
    Trouble::operator(reason, problems.join("\n"), statements.join("\n"))
}

/// Selects the login user, and the role whose rights count: where the default admin role is there and only membership in it is
/// missing, that is the one to look at.
fn who(settings: &Settings) -> String {
    let default = match settings.admin_role {
        Some(_) => "false",
        None => "NOT m.rolcreaterole AND NOT m.rolsuper",
    };
    format!(
        "SELECT 'me', session_user, a.rolname, m.rolcreaterole::text, (m.rolsuper OR u.rolsuper)::text, a.rolinherit::text,\n\
         u.rolconnlimit, pg_catalog.current_setting('server_version'), (a.oid <> m.oid)::text\n\
         FROM pg_catalog.pg_roles m JOIN pg_catalog.pg_roles u ON u.rolname = session_user\n\
         JOIN LATERAL (SELECT * FROM pg_catalog.pg_roles r WHERE r.oid = m.oid OR (r.rolname = {} AND r.rolcreaterole AND {default})\n\
          ORDER BY r.oid = m.oid LIMIT 1) a ON true WHERE m.rolname = current_user",
        lit(DEFAULT_ADMIN_ROLE)
    )
}

fn role_lacks(me: &Me, line: Line<'_>) -> Result<Vec<Lack>, Trouble> {
    let mut lacks = Vec::new();
    if me.superuser {
        lacks.push(Lack {
            problem: format!(
                "`{}` is a superuser, which is far more than needed: use a role with CREATEROLE and membership in the owning roles",
                me.name
            ),
            statement: None,
            stops: None,
        });
        return Ok(lacks);
    }
    if line.yes(7)? {
        lacks.push(Lack {
            problem: format!(
                "`{}` may not make logins, and is not a member of `{}`, which may",
                me.user, me.name
            ),
            statement: Some(format!("GRANT {} TO {};", id(&me.name), id(&me.user))),
            stops: Some("right_missing"),
        });
    } else if !line.yes(2)? {
        lacks.push(Lack {
            problem: format!("`{}` may not make logins", me.name),
            statement: Some(format!("ALTER ROLE {} CREATEROLE;", id(&me.name))),
            stops: Some("right_missing"),
        });
    }
    if !me.inherits && me.version < ADMIN_OPTION_SINCE {
        lacks.push(Lack {
            problem: format!(
                "`{}` does not inherit the rights of the roles it is in, so sessions could not be ended",
                me.name
            ),
            statement: Some(format!("ALTER ROLE {} INHERIT;", id(&me.name))),
            stops: Some("right_missing"),
        });
    }
    let limit = line.number(5)?;
    if (0..CONNECTIONS).contains(&limit) {
        lacks.push(Lack {
            problem: format!(
                "`{}` may have {limit} connections at once, up to {CONNECTIONS} are used",
                me.user
            ),
            statement: Some(format!(
                "ALTER ROLE {} CONNECTION LIMIT {CONNECTIONS};",
                id(&me.user)
            )),
            stops: None,
        });
    }
    Ok(lacks)
}

fn rights(me: &Me) -> String {
    let name = lit(&me.name);
    let mut sql = format!(
        "SELECT 'schema', pg_catalog.pg_get_userbyid(n.nspowner), o.rolsuper::text, pg_catalog.pg_has_role({name}::name, n.nspowner, 'USAGE')::text,\n\
         pg_catalog.has_database_privilege({name}::name, pg_catalog.current_database(), 'CREATE')::text\n\
         FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'apono' LEFT JOIN pg_catalog.pg_roles o ON o.oid = n.nspowner;\n\
         {}",
        owners(&name)
    );
    if me.version >= ADMIN_OPTION_SINCE {
        sql += &format!(
            "{} WHERE pg_catalog.right(r.rolname::text, 6) = '_apono' AND NOT pg_catalog.pg_has_role({name}::name, r.oid, 'MEMBER WITH ADMIN OPTION')\n\
             ORDER BY r.rolname LIMIT {MAX_ROLES};\n",
            observe::select_role("role", me.version)
        );
    }
    sql
}

/// Who owns what in every database, from the one catalog that knows: no other database is entered. It does not know what the
/// first superuser owns. Roles with server-wide power are left out, a start names their objects one by one.
///
/// A database in which we may act for nobody was left out on purpose, unless it is the home database.
fn owners(me: &str) -> String {
    let judged = format!(
        "WITH owned AS MATERIALIZED (SELECT CASE s.dbid WHEN 0 THEN s.objid ELSE s.dbid END AS db, s.refobjid AS owner,\n\
          pg_catalog.count(*) AS objects FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles o ON o.oid = s.refobjid\n\
          WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.deptype = 'o'\n\
          AND (s.classid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_namespace'::pg_catalog.regclass)\n\
           OR s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass)\n\
          AND o.rolname <> {me} AND o.rolname OPERATOR(pg_catalog.!~) '^pg_' AND o.rolname OPERATOR(pg_catalog.!~) '_apono$'\n\
          AND NOT (o.rolsuper OR o.rolcreaterole OR o.rolreplication OR o.rolbypassrls) GROUP BY 1, 2),\n\
         judged AS MATERIALIZED (SELECT o.*, d.datname, pg_catalog.pg_has_role({me}::name, o.owner, 'USAGE') AS ours\n\
          FROM owned o JOIN pg_catalog.pg_database d ON d.oid = o.db)\n"
    );
    format!(
        "{judged}SELECT 'owner', pg_catalog.pg_get_userbyid(j.owner), pg_catalog.count(*)::text, pg_catalog.min(j.datname), pg_catalog.sum(j.objects)::text\n\
         FROM judged j WHERE NOT j.ours AND (j.datname = pg_catalog.current_database()\n\
          OR EXISTS (SELECT FROM judged k WHERE k.db = j.db AND k.ours))\n\
         GROUP BY j.owner ORDER BY pg_catalog.sum(j.objects) DESC, 2 LIMIT {};\n\
         {judged}SELECT 'owners', (SELECT pg_catalog.count(DISTINCT owner) FROM judged WHERE ours)::text,\n\
         (SELECT pg_catalog.count(DISTINCT owner) FROM judged WHERE NOT ours)::text;\n",
        NAMED_OWNERS + 1
    )
}

fn schema(me: &Me, settings: &Settings, line: Line<'_>) -> Result<Option<Lack>, Trouble> {
    let database = id(&settings.home.database);
    let (reason, problem, statement) = match line.maybe(0) {
        None if line.yes(3)? => return Ok(None),
        None => (
            "schema_right_missing",
            format!(
                "`{}` may not create schema `apono` in database {database}",
                me.name
            ),
            format!(
                "CREATE SCHEMA apono AUTHORIZATION {}; -- in database {database}",
                id(&me.name)
            ),
        ),
        Some(_) if line.yes(2)? => return Ok(None),
        Some(owner) => (
            "schema_not_ours",
            format!(
                "schema `apono` in database {database} is owned by `{owner}`, not by `{}`",
                me.name
            ),
            // Never membership in a superuser, and an owner without power may be another connector's.
            if line.yes(1)? {
                format!(
                    "ALTER SCHEMA apono OWNER TO {}; -- in database {database}",
                    id(&me.name)
                )
            } else {
                format!("GRANT {} TO {};", id(owner), id(&me.name))
            },
        ),
    };
    Ok(Some(Lack {
        problem,
        statement: Some(statement),
        stops: Some(reason),
    }))
}

fn owner_lacks(me: &Me, rows: &Rows, lacks: &mut Vec<Lack>) -> Result<(), Trouble> {
    let options = if me.version >= ADMIN_OPTION_SINCE {
        " WITH INHERIT TRUE, SET FALSE"
    } else {
        ""
    };
    for (place, line) in rows.tagged("owner").enumerate() {
        if place == NAMED_OWNERS {
            lacks.push(Lack {
                problem: "and there are more owners, which the next check will name".to_owned(),
                statement: None,
                stops: None,
            });
            break;
        }
        let (owner, databases) = (line.text(0)?, line.count(1)?);
        let elsewhere = match databases.saturating_sub(1) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        lacks.push(Lack {
            problem: format!(
                "`{owner}` owns {} things in database {}{elsewhere}, and `{}` may not act for it, so access to them cannot be given",
                line.text(3)?,
                id(line.text(2)?),
                me.name
            ),
            statement: Some(format!("GRANT {} TO {}{options};", id(owner), id(&me.name))),
            stops: None,
        });
    }
    Ok(())
}

/// Roles of ours that we may not change: a server upgraded from 15 or before has no ADMIN OPTION for who made a role there.
fn unadministered(me: &Me, settings: &Settings, rows: &Rows) -> Result<Option<Lack>, Trouble> {
    let kinds = [
        RoleKind::Login,
        RoleKind::Access,
        RoleKind::Given,
        RoleKind::Leftovers,
    ];
    let mut names = Vec::new();
    for line in rows.tagged("role") {
        let (name, note) = (line.text(0)?, line.maybe(1));
        let elevated = line.yes(2)?;
        let ours = |kind| mark::read(note, &settings.home, name, kind) == MarkedBy::Us;
        if !elevated && kinds.into_iter().any(ours) {
            names.push(id(name));
        }
    }
    let Some(first) = names.first() else {
        return Ok(None);
    };
    let more = match names.len().saturating_sub(NAMED_ROLES) {
        0 => String::new(),
        more => format!(" ({more} more are named by the next check)"),
    };
    Ok(Some(Lack {
        problem: format!(
            "`{}` lacks ADMIN OPTION on {} roles of ours, such as {first}, as after an upgrade from 15 or before; they can neither be lent nor closed{more}",
            me.name,
            names.len()
        ),
        statement: Some(format!(
            "GRANT {} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;",
            names
                .iter()
                .take(NAMED_ROLES)
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
            id(&me.name)
        )),
        stops: None,
    }))
}
