//! Owns mending: what of ours no live record backs is taken away, shared roles are completed. Never gives a person anything.

use super::PostgresTarget;
use super::access_role::Hurry;
use super::error::Trouble;
use super::mark::{MarkedBy, RoleKind};
use super::observe;
use super::pool::{Conn, For};
use super::record;
use super::render::{id, lit, lock_login, revoke};
use super::rows::Rows;
use super::sessions::{self, Which};
use super::settings::AccessRoles;
use crate::domain::{LoginName, Permission};
use crate::targets::Mended;

/// Things mended in one pass; the next pass takes the next ones.
const PER_PASS: usize = 50;
/// Access roles completed in one pass: each costs a look at a database.
const COMPLETED_PER_PASS: usize = 10;
/// Age of the last look, in seconds, from which a pass looks again. Less than the minute after which a start looks itself, so
/// that passes a minute apart leave starts nothing to do.
const COMPLETED_AFTER_S: u32 = 30;

/// The first version (as `server_version_num`) that asks for ADMIN OPTION of whoever lends a role, herself included.
const LENT_BY_SUPERUSERS_SINCE: u32 = 160_000;

impl PostgresTarget {
    /// One bounded pass.
    pub(super) async fn mend_pass(&self) -> Result<Vec<Mended>, Trouble> {
        let home = self.home(For::Work).await?;
        let mut notes = Vec::new();
        self.close_unbacked(&home, &mut notes).await?;
        if self.settings.access_roles == AccessRoles::Made {
            self.disown_access_roles(&home, &mut notes).await?;
        }
        self.complete_access_roles(home, &mut notes).await?;
        Ok(notes.into_iter().map(|note| Mended { note }).collect())
    }

    /// Closes what carries our mark and no live grant backs.
    pub(super) async fn close_unbacked(
        &self,
        home: &Conn<'_>,
        notes: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        self.take_strays(home, notes).await?;
        self.take_lent(home, notes).await?;
        self.block_idle_logins(home, notes).await?;
        self.block_unrecorded(home, notes).await
    }

    /// Memberships of our logins in our shared roles that no live grant backs.
    async fn take_strays(&self, home: &Conn<'_>, notes: &mut Vec<String>) -> Result<(), Trouble> {
        const DOING: &str = "look for memberships without a grant";
        let sql = format!(
            "SELECT DISTINCT 'stray', l.rolname, r.rolname FROM pg_catalog.pg_auth_members m\n\
             JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles l ON l.oid = m.member\n\
             JOIN apono.login o ON o.name = l.rolname AND o.connector = {connector}\n\
             JOIN apono.access_role a ON a.name = r.rolname AND a.connector = {connector}\n\
             WHERE NOT EXISTS (SELECT FROM apono.\"grant\" g WHERE g.login = l.rolname AND g.access_role = r.rolname AND g.ended_at IS NULL)\n\
             LIMIT {PER_PASS}",
            connector = lit(self.settings.home.connector.as_str())
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        for line in rows.tagged("stray") {
            let (login, role) = (line.text(0)?, line.text(1)?);
            let sql = format!(
                "BEGIN READ WRITE;\nSET LOCAL lock_timeout = '1s';\n{}\
                 SELECT pg_catalog.int2(CASE WHEN EXISTS (SELECT FROM apono.\"grant\" WHERE login = {} AND access_role = {} AND ended_at IS NULL) THEN 70000 ELSE 1 END);\n\
                 {}COMMIT;\n",
                lock_login(login),
                lit(login),
                lit(role),
                revoke(role, login)
            );
            if settled(home.batch("take a membership without a grant", &sql).await)? {
                sessions::end(home, login, Which::Present).await?;
                self.try_end_on_replicas(home, login, false).await;
                notes.push(format!(
                    "took `{role}` from `{login}`: no live grant needs it"
                ));
            }
        }
        Ok(())
    }

    /// Logins and shared roles of ours that were lent to somebody. Before 16 a person may lend her own role, and anybody with
    /// CREATEROLE any role; since then it takes a superuser, whose memberships are not ours to take.
    async fn take_lent(&self, home: &Conn<'_>, notes: &mut Vec<String>) -> Result<(), Trouble> {
        const DOING: &str = "look for roles of ours that were lent";
        if home.version() >= LENT_BY_SUPERUSERS_SINCE {
            return Ok(());
        }
        let sql = format!(
            "SELECT DISTINCT 'lent', r.rolname, m.rolname FROM pg_catalog.pg_auth_members a\n\
             JOIN pg_catalog.pg_roles r ON r.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member\n\
             WHERE (EXISTS (SELECT FROM apono.login o WHERE o.name = r.rolname AND o.connector = {connector})\n\
              OR EXISTS (SELECT FROM apono.access_role s WHERE s.name = r.rolname AND s.connector = {connector} AND s.database IS NOT NULL AND {made}))\n\
             AND NOT EXISTS (SELECT FROM apono.login o WHERE o.name = m.rolname AND o.connector = {connector}\n\
              AND EXISTS (SELECT FROM apono.access_role s WHERE s.name = r.rolname))\n\
             AND m.rolname NOT IN (current_user, session_user) ORDER BY 2, 3 LIMIT {PER_PASS}",
            made = self.settings.access_roles == AccessRoles::Made,
            connector = lit(self.settings.home.connector.as_str())
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        for line in rows.tagged("lent") {
            let (role, member) = (line.text(0)?, line.text(1)?);
            if settled(
                home.batch("take back a role of ours", &revoke(role, member))
                    .await,
            )? {
                notes.push(format!(
                    "took `{role}` from `{member}`: nobody but us gives our roles away"
                ));
            }
        }
        Ok(())
    }

    /// Logins on record without a live grant that can still log in, for example after a crash between two parts of an end.
    async fn block_idle_logins(
        &self,
        home: &Conn<'_>,
        notes: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        const DOING: &str = "look for logins without a grant";
        let sql = format!(
            "{} JOIN apono.login o ON o.name = r.rolname AND o.connector = {} WHERE (r.rolcanlogin OR o.blocked_at IS NULL)\n\
             AND NOT EXISTS (SELECT FROM apono.\"grant\" g WHERE g.login = r.rolname AND g.ended_at IS NULL) LIMIT {PER_PASS}",
            observe::select_role("role", home.version()),
            lit(self.settings.home.connector.as_str())
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        for line in rows.tagged("role") {
            let role = observe::role(line, &self.settings.home, RoleKind::Login)?;
            if role.marked_by == MarkedBy::Us && self.shut(home, &role.name).await? {
                notes.push(format!(
                    "blocked `{}`: it could log in without a live grant",
                    role.name
                ));
            }
        }
        Ok(())
    }

    /// Logins with our mark that our record does not know: it may have been restored from an older copy.
    async fn block_unrecorded(
        &self,
        home: &Conn<'_>,
        notes: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        const DOING: &str = "look for logins that are not on record";
        let sql = format!(
            "{} WHERE pg_catalog.right(r.rolname::text, 6) = {} AND r.rolcanlogin\n\
             AND NOT EXISTS (SELECT FROM apono.login o WHERE o.name = r.rolname)",
            observe::select_role("role", home.version()),
            lit(LoginName::SUFFIX)
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        let roles: Vec<_> = rows
            .tagged("role")
            .map(|line| observe::role(line, &self.settings.home, RoleKind::Login))
            .collect::<Result<_, _>>()?;
        let ours = |role: &&observe::Role| role.marked_by == MarkedBy::Us && role.administered;
        // Another home's logins, however many, must not stand before ours.
        for role in roles.iter().filter(ours).take(PER_PASS) {
            let mut sql = "BEGIN READ WRITE;\nSET LOCAL lock_timeout = '1s';\n".to_owned();
            for stray in memberships(home, &role.name).await? {
                sql += &revoke(&stray, &role.name);
            }
            sql += &format!(
                "ALTER ROLE {} NOLOGIN PASSWORD NULL;\nCOMMIT;\n",
                id(&role.name)
            );
            if settled(
                home.batch("block a login that is not on record", &sql)
                    .await,
            )? {
                sessions::end(home, &role.name, Which::All).await?;
                self.try_end_on_replicas(home, &role.name, true).await;
                notes.push(format!(
                    "blocked `{}`: it carries our mark but is not on record",
                    role.name
                ));
            }
        }
        Ok(())
    }

    /// A session that could act as a shared role may have made objects as it: they would keep its rights after every end.
    async fn disown_access_roles(
        &self,
        home: &Conn<'_>,
        notes: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        const DOING: &str = "look for objects of shared roles";
        let sql = format!(
            "SELECT DISTINCT 'owner', r.rolname, d.datname FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid\n\
             JOIN apono.access_role a ON a.name = r.rolname AND a.connector = {} JOIN pg_catalog.pg_database d ON d.oid = s.dbid\n\
             WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.deptype = 'o' LIMIT {PER_PASS}",
            lit(self.settings.home.connector.as_str())
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        for line in rows.tagged("owner") {
            let (role, database) = (line.text(0)?, line.text(1)?);
            if settled(self.disown(home, role, database).await)? {
                notes.push(format!(
                    "moved objects of `{role}` in database {} to a role without power",
                    id(database)
                ));
            }
        }
        Ok(())
    }

    /// Shared roles in use get what is missing, for example on tables that a new owner made.
    async fn complete_access_roles(
        &self,
        home: Conn<'_>,
        notes: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        const DOING: &str = "look for shared roles to complete";
        let sql = format!(
            "SELECT 'role', a.name, a.kind, pg_catalog.array_to_json(a.path), a.level FROM apono.access_role a WHERE a.connector = {}\n\
             AND EXISTS (SELECT FROM apono.\"grant\" g WHERE g.access_role = a.name AND g.ended_at IS NULL)\n\
             AND COALESCE(a.complete_at, '-infinity') < pg_catalog.clock_timestamp() - interval '{COMPLETED_AFTER_S} seconds'\n\
             ORDER BY a.complete_at NULLS FIRST LIMIT {COMPLETED_PER_PASS}",
            lit(self.settings.home.connector.as_str())
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        // Each completion borrows connections of its own.
        self.pool.put(home);
        for line in rows.tagged("role") {
            let name = line.text(0)?;
            let (Some(resource), Ok(level)) = (
                record::resource(line.text(1)?, line.texts(2)?),
                Permission::parse(line.text(3)?),
            ) else {
                continue;
            };
            match self.prepare(name, &resource, level, Hurry::None).await {
                Ok(_) => {}
                Err(error) => {
                    notes.push(format!("`{name}` on {resource} is not complete: {error}"))
                }
            }
        }
        Ok(())
    }
}

async fn memberships(home: &Conn<'_>, login: &str) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look at the memberships of a login";
    let sql = format!(
        "SELECT DISTINCT 'role', r.rolname FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid\n\
         JOIN pg_catalog.pg_roles l ON l.oid = m.member JOIN apono.access_role a ON a.name = r.rolname WHERE l.rolname = {}",
        lit(login)
    );
    let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
    rows.tagged("role")
        .map(|line| line.text(0).map(str::to_owned))
        .collect()
}

/// Tells whether it was done; not if something changed meanwhile, which the next pass will look at.
fn settled<T>(result: Result<T, Trouble>) -> Result<bool, Trouble> {
    match result {
        Ok(_) => Ok(true),
        Err(error)
            if error.is_collision()
                || matches!(error.sqlstate(), Some("22003" | "42704" | "3D000")) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
