//! Owns the shared access roles: makes them, fills them with exactly their level, says what someone else must grant. Gives nobody anything by itself.

use super::PostgresTarget;
use super::error::Trouble;
use super::given;
use super::mark::{self, RoleKind};
use super::observe;
use super::plan::check_ours;
use super::pool::{Conn, For};
use super::render::{comment, id, lit, membership, texts};
use super::rows::Rows;
use super::scope::{self, Gap, Object, Scope};
use super::settings::AccessRoles;
use crate::cut;
use crate::domain::{ErrorClass, Evidence, Permission, ResourceKind, ResourceRef};
use std::collections::BTreeMap;
use std::time::Duration;

/// Names in one `GRANT`: a longer list holds its locks for long, and on 18 a huge one exhausts the lock table.
const NAMES_PER_GRANT: usize = 1_000;
/// Rounds of "look, grant what is missing" before giving up.
const MAX_ROUNDS: u32 = 60;
/// Rounds without progress before giving up: somebody holds a lock, or the server ignores the grant.
const IDLE_ROUNDS: u32 = 4;
/// Wait before a round that follows one without progress.
const ROUND_WAIT: Duration = Duration::from_millis(150);
/// Objects named in an error.
const NAMED: usize = 5;
/// How long ago, in minutes, a role must have been complete for a start to go ahead while a completion is at work.
const LATELY_MIN: u32 = 5;

/// Who waits for an access role to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hurry {
    /// A start: it goes ahead while another completion is at work, if the role was complete lately.
    Start,
    /// Nobody.
    None,
}

impl PostgresTarget {
    /// Makes the role if need be and completes it.
    pub(super) async fn prepare(
        &self,
        access_role: &str,
        resource: &ResourceRef,
        permission: Permission,
        hurry: Hurry,
    ) -> Result<Evidence, Trouble> {
        self.refuse_system_objects(resource)?;
        if self.settings.access_roles == AccessRoles::Given {
            return self.accept_given(access_role, resource, permission).await;
        }
        let home = self.home(For::Work).await?;
        let lately = self
            .make_access_role(&home, access_role, resource, permission)
            .await?;
        cut::point("postgres.access_role.made");
        let goes_ahead = hurry == Hurry::Start && lately && !always_checked(resource.kind());
        let evidence = Evidence::default().with("access_role", access_role);
        let mut granted = 0;
        match resource.database() {
            None => {
                self.lend(&home, access_role, resource.name()).await?;
                self.pool.put(home);
            }
            Some(database) => {
                // Nobody holds one connection while waiting for another: that way all could wait for each other.
                self.pool.put(home);
                let scope = Scope {
                    access_role,
                    resource,
                    permission,
                    is_home: database == self.settings.home.database,
                    given: false,
                };
                let there = self.pool.get(For::Work, database).await?;
                let filled = self.fill(&there, database, scope, goes_ahead).await?;
                self.pool.put(there);
                let Some(filled) = filled else {
                    return Ok(evidence.with("completed_in_background", true));
                };
                granted = filled;
            }
        }
        cut::point("postgres.access_role.filled");
        let home = self.home(For::Work).await?;
        home.batch(
            "note that the access role is complete",
            &format!(
                "UPDATE apono.access_role SET complete_at = pg_catalog.clock_timestamp() WHERE name = {}",
                lit(access_role)
            ),
        )
        .await?;
        self.pool.put(home);
        Ok(evidence.with("objects_granted", granted))
    }

    fn refuse_system_objects(&self, resource: &ResourceRef) -> Result<(), Trouble> {
        let is_home = resource.database() == Some(&self.settings.home.database);
        let refused = resource.schema().is_some_and(|schema| {
            schema.starts_with("pg_")
                || schema == "information_schema"
                || (is_home && schema == "apono")
        });
        if refused {
            return Err(Trouble::refused(
                ErrorClass::Bug,
                "resource_not_grantable",
                format!("{resource} belongs to the server or to the connector, it is never given"),
            ));
        }
        Ok(())
    }

    /// Tells whether the role was complete lately.
    async fn make_access_role(
        &self,
        home: &Conn<'_>,
        name: &str,
        resource: &ResourceRef,
        permission: Permission,
    ) -> Result<bool, Trouble> {
        const DOING: &str = "look at the access role";
        let sql = format!(
            "{} WHERE r.rolname = {};\n\
             SELECT 'row', COALESCE(complete_at > pg_catalog.clock_timestamp() - interval '{LATELY_MIN} minutes', false)::text\n\
             FROM apono.access_role WHERE name = {};\n",
            observe::select_role("role", home.version()),
            lit(name),
            lit(name)
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        let role = rows
            .tagged("role")
            .next()
            .map(|line| observe::role(line, &self.settings.home, RoleKind::Access))
            .transpose()?;
        if let Some(line) = rows.tagged("role").next() {
            given::refuse_given(&observe::role(line, &self.settings.home, RoleKind::Given)?)?;
        }
        if let Some(role) = &role {
            check_ours(role)?;
            if let Some(row) = rows.tagged("row").next() {
                return row.yes(0);
            }
        }
        let mut sql = format!(
            "BEGIN READ WRITE;\n\
             INSERT INTO apono.access_role (name, connector, database, kind, path, level) VALUES ({}, {}, {}, {}, {}, {}) ON CONFLICT DO NOTHING;\n",
            lit(name),
            lit(self.settings.home.connector.as_str()),
            resource.database().map_or("NULL".to_owned(), lit),
            lit(resource.kind().as_str()),
            texts(resource.path().iter().map(String::as_str)),
            lit(permission.as_str())
        );
        if role.is_none() {
            sql += &format!("CREATE ROLE {} NOLOGIN;\n", id(name));
            sql += &comment(
                name,
                &mark::mark(&self.settings.home, name, RoleKind::Access),
            );
        }
        sql += "COMMIT;\n";
        home.batch("make the access role", &sql).await?;
        Ok(false)
    }

    /// Grants what is missing until a look finds nothing missing. Returns how many objects were granted on; nothing when another
    /// completion is at work and this one goes ahead without.
    async fn fill(
        &self,
        conn: &Conn<'_>,
        database: &str,
        scope: Scope<'_>,
        goes_ahead: bool,
    ) -> Result<Option<usize>, Trouble> {
        let lock = self.fill_lock(database);
        let _serialised = match lock.try_lock() {
            Ok(held) => held,
            Err(_) if goes_ahead => return Ok(None),
            Err(_) => {
                // Only those who grant wait for each other: most of the time there is nothing to grant.
                if is_complete(&scope::look(conn, scope).await?, scope, database)? {
                    return Ok(Some(0));
                }
                lock.lock().await
            }
        };
        let mut granted = 0;
        let mut idle = 0;
        let mut before = usize::MAX;
        for _ in 0..MAX_ROUNDS {
            let gap = scope::look(conn, scope).await?;
            if is_complete(&gap, scope, database)? {
                return Ok(Some(granted));
            }
            let open = open(&gap);
            idle = if open < before { 0 } else { idle + 1 };
            before = open;
            if idle > 0 {
                tokio::time::sleep(ROUND_WAIT * idle).await;
            }
            if idle >= IDLE_ROUNDS {
                break;
            }
            granted += apply(conn, &gap, scope.access_role).await?;
        }
        Err(Trouble::refused(
            ErrorClass::Conflict,
            "busy_object",
            format!(
                "privileges on {} could not be completed, {before} objects are locked or change all the time",
                scope.resource
            ),
        ))
    }

    /// Makes the access role a member of an existing role that is safe to lend out.
    async fn lend(&self, home: &Conn<'_>, access_role: &str, role: &str) -> Result<(), Trouble> {
        let lent = look_at_lent(home, access_role, role).await?;
        if !lent.administered {
            return Err(Trouble::operator(
                "role_not_ours",
                format!("we may not give membership of role {}", id(role)),
                format!(
                    "GRANT {} TO <the connector's admin role> WITH ADMIN OPTION;",
                    id(role)
                ),
            ));
        }
        if !lent.is_member {
            home.batch(
                "lend out the role",
                &membership(role, access_role, home.version()),
            )
            .await?;
        }
        Ok(())
    }
}

/// An existing role that is safe to lend out.
pub(super) struct Lent {
    /// Whether we may lend it.
    administered: bool,
    /// Whether the access role has it.
    pub(super) is_member: bool,
}

/// Looks at an existing role; refuses one with server-wide power, and one of ours.
pub(super) async fn look_at_lent(
    home: &Conn<'_>,
    access_role: &str,
    role: &str,
) -> Result<Lent, Trouble> {
    const DOING: &str = "look at the role to lend out";
    let administered = if home.version() >= 160_000 {
        "pg_catalog.pg_has_role(current_user, r.oid, 'MEMBER WITH ADMIN OPTION')"
    } else {
        "true"
    };
    let sql = format!(
        "WITH RECURSIVE up AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role}\n\
             UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN up ON m.member = up.oid)\n\
             SELECT 'up', r.rolname, (r.rolname = {role})::text, ({administered})::text,\n\
             (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls\n\
              OR r.rolname OPERATOR(pg_catalog.~) '^pg_' OR r.rolname OPERATOR(pg_catalog.~) '_apono$'\n\
              OR r.rolname IN (current_user, session_user))::text\n\
             FROM up JOIN pg_catalog.pg_roles r USING (oid);\n\
             SELECT 'member' FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid\n\
             JOIN pg_catalog.pg_roles l ON l.oid = m.member WHERE r.rolname = {role} AND l.rolname = {access};\n",
        role = lit(role),
        access = lit(access_role)
    );
    let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
    for line in rows.tagged("up") {
        if line.yes(3)? {
            return Err(Trouble::refused(
                ErrorClass::Bug,
                "role_not_lendable",
                format!(
                    "role {} is or reaches `{}`, which has server-wide power or is ours",
                    id(role),
                    line.text(0)?
                ),
            ));
        }
    }
    for line in rows.tagged("up") {
        if line.yes(1)? {
            return Ok(Lent {
                administered: line.yes(2)?,
                is_member: rows.tagged("member").next().is_some(),
            });
        }
    }
    Err(Trouble::refused(
        ErrorClass::NotFound,
        "resource_not_found",
        format!("role {} does not exist", id(role)),
    ))
}

/// Tells whether nothing is left to grant or to take; what only others could grant is an error.
fn is_complete(gap: &Gap, scope: Scope<'_>, database: &str) -> Result<bool, Trouble> {
    if !gap.found {
        return Err(Trouble::refused(
            ErrorClass::NotFound,
            "resource_not_found",
            format!("{} does not exist", scope.resource),
        ));
    }
    match foreign(gap, scope, database).filter(|_| open(gap) == 0) {
        Some(error) => Err(error),
        None => Ok(open(gap) == 0),
    }
}

fn open(gap: &Gap) -> usize {
    let ours = |objects: &[Object]| objects.iter().filter(|object| object.ours).count();
    ours(&gap.missing) + ours(&gap.surplus) + gap.future.len()
}

/// Grants what we may grant. A busy object is left for the next round and does not fail the others.
async fn apply(conn: &Conn<'_>, gap: &Gap, access_role: &str) -> Result<usize, Trouble> {
    let mut done = 0;
    for (objects, verb, word) in [
        (&gap.missing, "GRANT", "TO"),
        (&gap.surplus, "REVOKE", "FROM"),
    ] {
        let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for object in objects.iter().filter(|object| object.ours) {
            groups
                .entry((object.class, &object.privileges))
                .or_default()
                .push(&object.name);
        }
        for ((class, privileges), names) in groups {
            for chunk in names.chunks(NAMES_PER_GRANT) {
                let statement = |names: &[&str]| {
                    format!(
                        "{verb} {privileges} ON {class} {} {word} {};\n",
                        names.join(", "),
                        id(access_role)
                    )
                };
                if passed(conn.batch("grant privileges", &statement(chunk)).await)? {
                    done += chunk.len();
                    continue;
                }
                for name in chunk {
                    let alone = conn.batch("grant privileges", &statement(&[name])).await;
                    done += usize::from(passed(alone)?);
                }
            }
        }
    }
    for future in &gap.future {
        let place = match &future.schema {
            Some(schema) => format!(" IN SCHEMA {}", id(schema)),
            None => String::new(),
        };
        let sql = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {}{place} GRANT {} ON {} TO {};\n",
            id(&future.owner),
            future.privileges,
            future.class,
            id(access_role)
        );
        let _looked_at_again = passed(conn.batch("cover future objects", &sql).await)?;
    }
    Ok(done)
}

/// Tells whether it went through; not if somebody was in the way or the object just went.
fn passed<T>(result: Result<T, Trouble>) -> Result<bool, Trouble> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.class(), ErrorClass::Conflict | ErrorClass::NotFound) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// What is missing on objects of owners we may not act for.
fn foreign(gap: &Gap, scope: Scope<'_>, database: &str) -> Option<Trouble> {
    let first = gap.missing.first()?;
    let statements: Vec<_> = gap
        .missing
        .iter()
        .take(NAMED)
        .map(|object| {
            format!(
                "GRANT {} ON {} {} TO {}; -- in database {}, as {}",
                object.privileges,
                object.class,
                object.name,
                id(scope.access_role),
                id(database),
                id(&object.owner)
            )
        })
        .collect();
    let more = match gap.missing.len().saturating_sub(1) {
        0 => String::new(),
        count => format!(" and {count} more objects"),
    };
    Some(Trouble::operator(
        "object_owner_not_ours",
        format!(
            "{} {}{more} in database {} belong to an owner the connector may not act for (`{}`)",
            first.class.to_lowercase(),
            first.name,
            id(database),
            first.owner
        ),
        format!(
            "{}\nor let the connector act for the owner: GRANT {} TO <the connector's admin role>;",
            statements.join("\n"),
            id(&first.owner)
        ),
    ))
}

/// Tells whether the kind of resource is looked at before every start, because looking is cheap.
pub(super) fn always_checked(kind: ResourceKind) -> bool {
    matches!(
        kind,
        ResourceKind::PostgresTable | ResourceKind::PostgresRole
    )
}
