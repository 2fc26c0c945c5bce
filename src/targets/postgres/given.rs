//! Owns shared roles that an administrator made and filled: looks whether one holds its level and nothing else, and says with which
//! statements it would. Never changes one.

mod excess;

use super::PostgresTarget;
use super::access_role::look_at_lent;
use super::error::Trouble;
use super::mark::{self, MarkedBy, RoleKind};
use super::observe::{self, Role};
use super::pool::{Conn, For};
use super::render::{comment, id, lit, texts};
use super::rows::Rows;
use super::scope::{self, Gap, Scope};
use crate::domain::{ErrorClass, Evidence, Permission, ResourceRef};
use std::collections::BTreeMap;

/// Objects of one class in one schema named one by one; more are named by their schema.
const NAMED: usize = 5;
/// Names in one statement at most, so that the longest of them can be reported whole.
const NAMES_PER_STATEMENT: usize = 20;
/// Characters of statements in one answer, of the 4000 that can be reported. What does not fit is said after these were run.
const MAX_STATEMENTS: usize = 3500;
/// The first version (as `server_version_num`) on which lending a role takes ADMIN OPTION on it.
const ADMIN_OPTION_SINCE: u32 = 160_000;

/// What keeps a role from being used, and what helps.
#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    statements: Vec<String>,
    /// Whether it can do more than it should.
    excessive: bool,
}

impl Findings {
    fn lacks(&mut self, problem: impl Into<String>, statements: impl IntoIterator<Item = String>) {
        self.problems.push(problem.into());
        self.statements.extend(statements);
    }

    fn exceeds(
        &mut self,
        problem: impl Into<String>,
        statements: impl IntoIterator<Item = String>,
    ) {
        self.excessive = true;
        self.lacks(problem, statements);
    }
}

impl PostgresTarget {
    /// Takes the role into use as it is, or refuses it with the statements that put it right.
    pub(super) async fn accept_given(
        &self,
        name: &str,
        resource: &ResourceRef,
        permission: Permission,
    ) -> Result<Evidence, Trouble> {
        let mut findings = Findings::default();
        let home = self.home(For::Work).await?;
        let exists = self
            .look_at_role(&home, name, resource, &mut findings)
            .await?;
        match resource.database() {
            None => {
                let lent = look_at_lent(&home, name, resource.name()).await?;
                self.pool.put(home);
                if !lent.is_member {
                    findings.lacks(
                        format!("it is not a member of {}", id(resource.name())),
                        [format!("GRANT {} TO {};", id(resource.name()), id(name))],
                    );
                }
            }
            Some(database) => {
                // Nobody holds one connection while waiting for another.
                self.pool.put(home);
                let there = self.pool.get(For::Work, database).await?;
                let scope = Scope {
                    // What a role that is not there would hold is what everybody holds.
                    access_role: if exists { name } else { "public" },
                    resource,
                    permission,
                    is_home: database == self.settings.home.database,
                    given: true,
                };
                let gap = scope::look(&there, scope).await?;
                if !gap.found {
                    return Err(Trouble::refused(
                        ErrorClass::NotFound,
                        "resource_not_found",
                        format!("{resource} does not exist"),
                    ));
                }
                missing(&gap, name, &mut findings);
                if exists {
                    surplus(&gap, name, &mut findings);
                    let found = excess::statements(&there, scope).await?;
                    if !found.is_empty() {
                        findings.exceeds("it holds more than its level", found);
                    }
                }
                self.pool.put(there);
            }
        }
        if !findings.problems.is_empty() {
            return Err(refused(name, resource, permission, findings));
        }
        self.note_accepted(name, resource, permission).await?;
        Ok(Evidence::default()
            .with("access_role", name)
            .with("given", true))
    }

    async fn note_accepted(
        &self,
        name: &str,
        resource: &ResourceRef,
        permission: Permission,
    ) -> Result<(), Trouble> {
        let home = self.home(For::Work).await?;
        let sql = format!(
            "INSERT INTO apono.access_role (name, connector, database, kind, path, level, complete_at)\n\
             VALUES ({}, {}, {}, {}, {}, {}, pg_catalog.clock_timestamp())\n\
             ON CONFLICT (name) DO UPDATE SET complete_at = pg_catalog.clock_timestamp()",
            lit(name),
            lit(self.settings.home.connector.as_str()),
            resource.database().map_or("NULL".to_owned(), lit),
            lit(resource.kind().as_str()),
            texts(resource.path().iter().map(String::as_str)),
            lit(permission.as_str())
        );
        home.batch("note that the access role is complete", &sql)
            .await?;
        self.pool.put(home);
        Ok(())
    }

    /// Looks at what a role has all over the server. Tells whether it exists.
    async fn look_at_role(
        &self,
        home: &Conn<'_>,
        name: &str,
        resource: &ResourceRef,
        findings: &mut Findings,
    ) -> Result<bool, Trouble> {
        const DOING: &str = "look at the access role";
        let sql = format!(
            "SELECT 'me', current_user;\n{} WHERE r.rolname = {};\n{}",
            observe::select_role("role", home.version()),
            lit(name),
            excess::server_wide(name, resource)
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        let me = rows.one("me")?.text(0)?;
        let marked = comment(
            name,
            &mark::mark(&self.settings.home, name, RoleKind::Given),
        );
        let marked = marked.trim_end().to_owned();
        let admin = format!(
            "GRANT {} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;",
            id(name),
            id(me)
        );
        let asks_for_admin = home.version() >= ADMIN_OPTION_SINCE;
        let Some(line) = rows.tagged("role").next() else {
            let make = format!("CREATE ROLE {} NOLOGIN;", id(name));
            findings.lacks(
                "it does not exist",
                [make, marked]
                    .into_iter()
                    .chain(asks_for_admin.then_some(admin)),
            );
            return Ok(false);
        };
        let role = observe::role(line, &self.settings.home, RoleKind::Given)?;
        let made_by_us = observe::role(line, &self.settings.home, RoleKind::Access)?;
        if role.marked_by != MarkedBy::Us && made_by_us.marked_by != MarkedBy::Us {
            findings.lacks("it does not carry our mark", [marked]);
        }
        if !role.administered {
            findings.lacks("we lack ADMIN OPTION on it", [admin]);
        }
        if role.elevated || role.can_login {
            findings.exceeds(
                "it has attributes no shared role needs",
                [format!(
                    "ALTER ROLE {} NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS;",
                    id(name)
                )],
            );
        }
        for line in rows.tagged("excess") {
            findings.exceeds(line.text(0)?, [line.text(1)?.to_owned()]);
        }
        Ok(true)
    }
}

/// Refuses to fill a role that an administrator made to be lent as it is.
pub(super) fn refuse_given(role: &Role) -> Result<(), Trouble> {
    if role.marked_by != MarkedBy::Us {
        return Ok(());
    }
    Err(Trouble::operator(
        "access_role_given",
        format!(
            "role `{}` was made by an administrator to be lent as it is, but `access_roles` is `made`",
            role.name
        ),
        format!(
            "set `access_roles` to `given`, or let us make the role: DROP ROLE {};",
            id(&role.name)
        ),
    ))
}

/// What its level promises and it does not hold.
fn missing(gap: &Gap, name: &str, findings: &mut Findings) {
    let mut groups: BTreeMap<(&str, Option<&str>, &str), Vec<&str>> = BTreeMap::new();
    for object in &gap.missing {
        // Schemas and the database stand alone; what is in a schema can be named by it.
        let schema = object.schema.as_deref();
        groups
            .entry((object.class, schema, &object.privileges))
            .or_default()
            .push(&object.name);
    }
    let mut statements = Vec::new();
    for ((class, schema, privileges), names) in groups {
        let grant = |on: String| format!("GRANT {privileges} ON {on} TO {};", id(name));
        match schema {
            Some(schema) if names.len() > NAMED => {
                statements.push(grant(format!("ALL {class}S IN SCHEMA {}", id(schema))));
            }
            _ => statements.extend(
                names
                    .chunks(NAMES_PER_STATEMENT)
                    .map(|names| grant(format!("{class} {}", names.join(", ")))),
            ),
        }
    }
    for future in &gap.future {
        let place = match &future.schema {
            Some(schema) => format!(" IN SCHEMA {}", id(schema)),
            None => String::new(),
        };
        statements.push(format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {}{place} GRANT {} ON {} TO {};",
            id(&future.owner),
            future.privileges,
            future.class,
            id(name)
        ));
    }
    if !statements.is_empty() {
        findings.lacks("it does not hold all of its level", statements);
    }
}

/// What it holds in this database outside its resource.
fn surplus(gap: &Gap, name: &str, findings: &mut Findings) {
    let statements: Vec<_> = gap
        .surplus
        .iter()
        .map(|object| {
            format!(
                "REVOKE ALL ON {} {} FROM {};",
                object.class,
                object.name,
                id(name)
            )
        })
        .collect();
    if !statements.is_empty() {
        findings.exceeds("it holds privileges outside its resource", statements);
    }
}

fn refused(
    name: &str,
    resource: &ResourceRef,
    permission: Permission,
    findings: Findings,
) -> Trouble {
    let place = match resource.database() {
        Some(database) => format!(
            "-- in database {}, as the owners or a superuser",
            id(database)
        ),
        None => "-- as a superuser".to_owned(),
    };
    let mut hint = place;
    let mut left = 0;
    for statement in &findings.statements {
        if left > 0 || hint.len() + statement.len() > MAX_STATEMENTS {
            left += 1;
            continue;
        }
        hint.push('\n');
        hint.push_str(statement);
    }
    if left > 0 {
        hint.push_str(&format!(
            "\n-- and {left} more, which the next try will name"
        ));
    }
    Trouble::operator(
        if findings.excessive {
            "access_role_excessive"
        } else {
            "access_role_incomplete"
        },
        format!(
            "role `{name}` for {permission} on {resource} is not as an administrator has to make it (`access_roles` is `given`): {}",
            findings.problems.join(", ")
        ),
        hint,
    )
}
