//! Owns the slow end of an end: logins nobody uses are emptied and dropped, tombstones move on. Never shuts or opens a door.

use super::PostgresTarget;
use super::error::Trouble;
use super::mark::{MarkedBy, RoleKind};
use super::observe;
use super::pool::{Conn, For};
use super::render::{id, lit, lock_login, revoke, texts};
use super::replicas::Wanted;
use super::rest::{Where, line};
use super::rows::Rows;
use super::sessions::{self, Which};
use super::settings::AccessRoles;
use crate::cut;
use crate::domain::GrantId;
use crate::targets::CleanedUp;

/// Logins worked on in one pass, so that a pass stays short; the next pass takes the next ones.
const LOGINS_PER_PASS: usize = 20;
/// Access roles dropped in one pass.
const ACCESS_ROLES_PER_PASS: usize = 5;
/// Rows moved or forgotten in one pass.
const ROWS_PER_PASS: usize = 1_000;

impl PostgresTarget {
    /// One bounded pass.
    pub(super) async fn clean_up_pass(&self) -> Result<Vec<CleanedUp>, Trouble> {
        let home = self.home(For::Work).await?;
        self.clean_at_once(&home).await?;
        let mut done = Vec::new();
        for login in self.due(&home).await? {
            match self.clean_login(&home, &login).await {
                Ok(mut cleaned) => done.append(&mut cleaned),
                // One login must not starve the others.
                Err(error) => {
                    home.roll_back().await;
                    if self.is_on_record(&home, "login", &login).await? {
                        tracing::warn!(
                            login,
                            error = &error as &dyn std::error::Error,
                            "clean-up will be tried again"
                        );
                    }
                }
            }
        }
        for role in self.unused_access_roles(&home).await? {
            if let Err(error) = self.drop_access_role(&home, &role).await {
                home.roll_back().await;
                if self.is_on_record(&home, "access_role", &role).await? {
                    tracing::warn!(
                        role,
                        error = &error as &dyn std::error::Error,
                        "the access role will be dropped later"
                    );
                }
            }
        }
        done.append(&mut self.lately_clean(&home).await?);
        self.move_tombstones(&home).await?;
        self.pool.put(home);
        Ok(done)
    }

    /// Tells whether a role is still ours to remove: another instance may have removed it while we tried.
    async fn is_on_record(
        &self,
        home: &Conn<'_>,
        table: &str,
        role: &str,
    ) -> Result<bool, Trouble> {
        const DOING: &str = "look for the role on record";
        let sql = format!(
            "SELECT 'role', name FROM apono.{table} WHERE name = {}",
            lit(role)
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        Ok(rows.tagged("role").next().is_some())
    }

    /// Closed grants with nothing to clean: the login serves another live grant, or there never was one.
    async fn clean_at_once(&self, home: &Conn<'_>) -> Result<(), Trouble> {
        let connector = lit(self.settings.home.connector.as_str());
        let sql = format!(
            "UPDATE apono.\"grant\" g SET clean_at = pg_catalog.clock_timestamp()\n\
             WHERE g.connector = {connector} AND g.closed_at IS NOT NULL AND g.clean_at IS NULL\n\
             AND (EXISTS (SELECT FROM apono.\"grant\" o WHERE o.login = g.login AND o.ended_at IS NULL)\n\
              OR NOT EXISTS (SELECT FROM apono.login l WHERE l.name = g.login AND l.connector = {connector}))"
        );
        home.batch("note what is clean at once", &sql)
            .await
            .map(drop)
    }

    /// Grants that became clean within the last hour, whichever instance saw to it: another one may have ended them, or the
    /// news may have been lost in a crash.
    async fn lately_clean(&self, home: &Conn<'_>) -> Result<Vec<CleanedUp>, Trouble> {
        const DOING: &str = "look for grants that are clean";
        let sql = format!(
            "SELECT 'clean', id FROM apono.\"grant\" WHERE connector = {} AND clean_at > pg_catalog.clock_timestamp() - interval '1 hour'\n\
             ORDER BY clean_at DESC LIMIT {ROWS_PER_PASS}",
            lit(self.settings.home.connector.as_str())
        );
        cleaned(&Rows::of(DOING, home.batch(DOING, &sql).await?), &[])
    }

    /// Logins whose last session is long enough ago.
    async fn due(&self, home: &Conn<'_>) -> Result<Vec<String>, Trouble> {
        const DOING: &str = "look for logins to remove";
        let sql = format!(
            "SELECT 'login', name FROM apono.login l WHERE connector = {} AND blocked_at IS NOT NULL\n\
             AND NOT EXISTS (SELECT FROM apono.\"grant\" g WHERE g.login = l.name AND (g.ended_at IS NULL OR g.closed_at IS NULL))\n\
             AND GREATEST(blocked_at, last_session_at) + interval '{} seconds' <= pg_catalog.clock_timestamp()\n\
             ORDER BY pg_catalog.cardinality(leftovers), blocked_at LIMIT {LOGINS_PER_PASS}",
            lit(self.settings.home.connector.as_str()),
            self.settings.clean_up_delay.as_secs()
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        rows.tagged("login")
            .map(|line| line.text(0).map(str::to_owned))
            .collect()
    }

    async fn clean_login(&self, home: &Conn<'_>, login: &str) -> Result<Vec<CleanedUp>, Trouble> {
        const LOOK: &str = "look at the login to remove";
        let sql = format!(
            "{} WHERE r.rolname = {l};\n\
             SELECT 'member', m.rolname FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.member\n\
             JOIN pg_catalog.pg_roles r ON r.oid = a.roleid WHERE r.rolname = {l} AND m.rolname <> current_user;\n",
            observe::select_role("role", home.version()),
            l = lit(login)
        );
        let rows = Rows::of(LOOK, home.batch(LOOK, &sql).await?);
        let role = rows
            .tagged("role")
            .next()
            .map(|line| observe::role(line, &self.settings.home, RoleKind::Login))
            .transpose()?;
        let mut lines = Vec::new();
        match &role {
            None => {}
            Some(role) if role.marked_by != MarkedBy::Us || !role.administered => {
                lines.push(line(
                    &format!("DROP ROLE {};", id(login)),
                    &Where::Anywhere,
                    "as a superuser: the role lost our mark or our ADMIN OPTION, so it is not touched",
                ));
            }
            Some(_) => {
                let seen = sessions::end(home, login, Which::All).await?;
                // Once the role is gone, nobody but a superuser can end its sessions: on no server.
                let wanted = Wanted {
                    login,
                    ended: None,
                    blocked: true,
                    nobody_hides: true,
                };
                let elsewhere = self.end_on_replicas(home, wanted).await?;
                if seen.of(login).0 + elsewhere > 0 {
                    // A session that had hidden: the wait begins anew.
                    return Ok(Vec::new());
                }
                let members = rows
                    .tagged("member")
                    .map(|line| line.text(0).map(str::to_owned))
                    .collect::<Result<Vec<_>, _>>()?;
                take_members(home, login, &members).await?;
                lines = self.empty_role(home, login, &unused_login(login)).await?;
            }
        }
        if lines.is_empty() {
            self.drop_login(home, login, role.is_some()).await?;
            return Ok(Vec::new());
        }
        self.note_leftovers(home, login, &lines).await
    }

    async fn drop_login(&self, home: &Conn<'_>, login: &str, exists: bool) -> Result<(), Trouble> {
        let mut sql = unused_login(login);
        if exists {
            sql += &format!("DROP ROLE {};\n", id(login));
        }
        sql += &format!(
            "DELETE FROM apono.login WHERE name = {l};\n\
             UPDATE apono.\"grant\" SET clean_at = pg_catalog.clock_timestamp() WHERE login = {l} AND connector = {} AND clean_at IS NULL;\n\
             COMMIT;\n",
            lit(self.settings.home.connector.as_str()),
            l = lit(login)
        );
        cut::point("postgres.drop_login.before");
        home.batch("drop the login", &sql).await?;
        cut::point("postgres.drop_login.after");
        Ok(())
    }

    async fn note_leftovers(
        &self,
        home: &Conn<'_>,
        login: &str,
        lines: &[String],
    ) -> Result<Vec<CleanedUp>, Trouble> {
        const DOING: &str = "note what is left";
        let sql = format!(
            "UPDATE apono.login SET leftovers = {} WHERE name = {l};\n\
             SELECT 'clean', id FROM apono.\"grant\" WHERE login = {l} AND connector = {} AND ended_at IS NOT NULL AND clean_at IS NULL;\n",
            texts(lines.iter().map(String::as_str)),
            lit(self.settings.home.connector.as_str()),
            l = lit(login)
        );
        cleaned(&Rows::of(DOING, home.batch(DOING, &sql).await?), lines)
    }

    /// Access roles no grant has named for a day.
    async fn unused_access_roles(&self, home: &Conn<'_>) -> Result<Vec<String>, Trouble> {
        const DOING: &str = "look for access roles to remove";
        if self.settings.access_roles == AccessRoles::Given {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT 'role', name FROM apono.access_role a WHERE connector = {}\n\
             AND GREATEST(made_at, complete_at) < pg_catalog.clock_timestamp() - interval '1 day'\n\
             AND NOT EXISTS (SELECT FROM apono.\"grant\" g WHERE g.access_role = a.name) ORDER BY name LIMIT {ACCESS_ROLES_PER_PASS}",
            lit(self.settings.home.connector.as_str())
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        rows.tagged("role")
            .map(|line| line.text(0).map(str::to_owned))
            .collect()
    }

    async fn drop_access_role(&self, home: &Conn<'_>, role: &str) -> Result<(), Trouble> {
        const LOOK: &str = "look at the access role to remove";
        let sql = format!(
            "{} WHERE r.rolname = {}",
            observe::select_role("role", home.version()),
            lit(role)
        );
        let rows = Rows::of(LOOK, home.batch(LOOK, &sql).await?);
        let mut sql = unused_access_role(role);
        if let Some(line) = rows.tagged("role").next() {
            let found = observe::role(line, &self.settings.home, RoleKind::Access)?;
            if found.marked_by != MarkedBy::Us {
                return Ok(());
            }
            let lines = self
                .empty_role(home, role, &unused_access_role(role))
                .await?;
            if let Some(line) = lines.first() {
                tracing::warn!(
                    role,
                    left = lines.len(),
                    first = line,
                    "an unused access role cannot be dropped yet"
                );
                return Ok(());
            }
            sql += &format!("DROP ROLE {};\n", id(role));
        }
        sql += &format!(
            "DELETE FROM apono.access_role WHERE name = {};\nCOMMIT;\n",
            lit(role)
        );
        home.batch("drop the access role", &sql).await.map(drop)
    }

    /// Tombstones become history after a day; history is forgotten after 30.
    async fn move_tombstones(&self, home: &Conn<'_>) -> Result<(), Trouble> {
        let connector = lit(self.settings.home.connector.as_str());
        let sql = format!(
            "WITH old AS (SELECT id FROM apono.\"grant\" WHERE connector = {connector}\n\
              AND clean_at < pg_catalog.clock_timestamp() - interval '24 hours' LIMIT {ROWS_PER_PASS} FOR UPDATE SKIP LOCKED),\n\
             gone AS (DELETE FROM apono.\"grant\" g USING old WHERE g.id = old.id RETURNING g.*)\n\
             INSERT INTO apono.history SELECT *, pg_catalog.clock_timestamp() FROM gone ON CONFLICT DO NOTHING;\n\
             DELETE FROM apono.history WHERE id IN (SELECT id FROM apono.history WHERE connector = {connector}\n\
              AND moved_at < pg_catalog.clock_timestamp() - interval '30 days' LIMIT {ROWS_PER_PASS});\n"
        );
        home.batch("move tombstones to the history", &sql)
            .await
            .map(drop)
    }
}

/// Whoever may act as the login goes first: before 16 a person can lend her own role, and what she owns is still hers now.
async fn take_members(home: &Conn<'_>, login: &str, members: &[String]) -> Result<(), Trouble> {
    if members.is_empty() {
        return Ok(());
    }
    let mut sql = unused_login(login);
    for member in members {
        sql += &revoke(login, member);
    }
    sql += "COMMIT;\n";
    home.batch("take the login from its members", &sql)
        .await
        .map(drop)
}

/// Opens a transaction that holds the login's lock, and fails unless no live grant came meanwhile.
fn unused_login(login: &str) -> String {
    format!(
        "BEGIN READ WRITE;\nSET LOCAL lock_timeout = '1s';\n{}\
         SELECT pg_catalog.int2(CASE WHEN EXISTS (SELECT FROM apono.\"grant\" WHERE login = {} AND ended_at IS NULL) THEN 70000 ELSE 1 END);\n",
        lock_login(login),
        lit(login)
    )
}

/// The same for an access role: a start holds a share of the row's lock.
fn unused_access_role(role: &str) -> String {
    format!(
        "BEGIN READ WRITE;\nSET LOCAL lock_timeout = '1s';\n\
         SELECT 'locked', name FROM apono.access_role WHERE name = {r} FOR UPDATE;\n\
         SELECT pg_catalog.int2(CASE WHEN EXISTS (SELECT FROM apono.\"grant\" WHERE access_role = {r}) THEN 70000 ELSE 1 END);\n",
        r = lit(role)
    )
}

fn cleaned(rows: &Rows, leftovers: &[String]) -> Result<Vec<CleanedUp>, Trouble> {
    rows.tagged("clean")
        .map(|line| {
            let id = line.text(0)?;
            Ok(CleanedUp {
                grant: GrantId::parse(id).map_err(|_| Trouble::Answer {
                    doing: "read the id of a grant",
                })?,
                leftovers: leftovers.to_vec(),
            })
        })
        .collect()
}
