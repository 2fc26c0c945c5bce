//! Owns the end of access after the door: sessions, login, and the note that all is closed. Never waits for anything a person can hold, and never needs a permit.

use super::PostgresTarget;
use super::error::Trouble;
use super::mark::{self, MarkedBy, RoleKind};
use super::observe;
use super::pool::Conn;
use super::render::{self, id, lit, texts};
use super::replicas::Wanted;
use super::rows::Rows;
use super::sessions::{self, Look, Which};
use crate::cut;
use crate::domain::{ErrorClass, Evidence};
use crate::policy::EndWarrant;
use crate::targets::Ended;
use std::time::Duration;

/// Tries for something that another instance, or the person herself, can be in the way of.
const TRIES: u32 = 20;
/// Wait between two such tries.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// Which login is to be blocked.
#[derive(Clone, Copy)]
enum Whose<'a> {
    Login(&'a str),
    /// That of the grant, on record.
    Grant(&'a EndWarrant),
}

/// What came of blocking a login.
struct Block {
    login: String,
    /// Whether nobody may log in any more; not with a live grant left, or without a role.
    blocked: bool,
    /// Who was still in right after the block.
    look: Look,
}

impl PostgresTarget {
    /// Part 2: every session of the login goes, also when another grant lives on: a cursor or a `SET ROLE` keeps the access.
    pub(super) async fn end_sessions(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Ended, Trouble> {
        const DOING: &str = "look for sessions of the grant";
        let login = login_of(warrant);
        // A hidden session matters here only if the login stays open: otherwise the look after the block finds it.
        let stays = format!(
            "EXISTS (SELECT FROM apono.\"grant\" WHERE login = {login} AND ended_at IS NULL)"
        );
        let sql = self.record_sql(conn, warrant)
            + &sessions::look_sql(&format!("ARRAY{login}"), Some(&stays));
        let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
        let Some(login) = self.recorded_login(&rows, warrant)? else {
            return Ok(sessions_ended("", (0, 0)));
        };
        let look = Look::read(&rows)?;
        let seen = end_found(conn, &login, Which::Present, look).await?;
        Ok(sessions_ended(&login, seen))
    }

    /// Part 3: with no live grant left nobody may log in; otherwise only until the latest remaining expiry.
    pub(super) async fn block_login(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Ended, Trouble> {
        let Some(Block {
            login,
            blocked,
            look,
        }) = self.block(conn, Whose::Grant(warrant)).await?
        else {
            let sql = render::closed(warrant.grant.id);
            conn.batch("note that the grant is closed", &sql).await?;
            return Ok(sessions_ended("", (0, 0)));
        };
        cut::point("postgres.login.blocked");
        let (here, after) = end_found(conn, &login, Which::All, look).await?;
        let wanted = Wanted {
            login: &login,
            ended: Some(warrant.grant.id),
            blocked,
            nobody_hides: false,
        };
        let elsewhere = self.end_on_replicas(conn, wanted).await?;
        self.note_closed(conn, warrant, &login).await?;
        let mut ended = sessions_ended(&login, (here + elsewhere, after));
        ended.evidence = ended.evidence.with("login_blocked", blocked);
        if elsewhere > 0 {
            ended.evidence = ended.evidence.with("sessions_on_replicas", elsewhere);
        }
        Ok(ended)
    }

    /// Blocks a login that has no live grant and ends its sessions. Tells whether it was so.
    pub(super) async fn shut(&self, conn: &Conn<'_>, login: &str) -> Result<bool, Trouble> {
        let Some(block) = self.block(conn, Whose::Login(login)).await? else {
            return Ok(false);
        };
        end_found(conn, login, Which::All, block.look).await?;
        // Clean-up comes back to it: the login is not dropped before.
        self.try_end_on_replicas(conn, login, block.blocked).await;
        Ok(block.blocked)
    }

    async fn block(&self, conn: &Conn<'_>, whose: Whose<'_>) -> Result<Option<Block>, Trouble> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.block_once(conn, whose).await {
                Err(error) if tries < TRIES && error.is_collision() => {
                    // She holds a lock on her own role: her sessions go first, then we try again.
                    conn.roll_back().await;
                    match whose {
                        Whose::Login(login) => {
                            sessions::end(conn, login, Which::Present).await.map(drop)?
                        }
                        Whose::Grant(warrant) => {
                            self.end_sessions(conn, warrant).await.map(drop)?
                        }
                    }
                    tokio::time::sleep(TRY_EVERY).await;
                }
                result => return result,
            }
        }
    }

    /// Reads under the login's lock, blocks, and looks who is still in, in two messages. Nothing when the grant has no login of ours.
    async fn block_once(
        &self,
        conn: &Conn<'_>,
        whose: Whose<'_>,
    ) -> Result<Option<Block>, Trouble> {
        const READ: &str = "take the lock of the login";
        const BLOCK: &str = "block the login";
        let sql = match whose {
            Whose::Login(login) => render::block_read(&lit(login)),
            Whose::Grant(warrant) => {
                render::block_read(&login_of(warrant)) + &self.record_sql(conn, warrant)
            }
        };
        let rows = Rows::of(READ, conn.batch(READ, &sql).await?);
        let login = match whose {
            Whose::Login(login) => Ok(Some(login.to_owned())),
            Whose::Grant(warrant) => self.recorded_login(&rows, warrant),
        };
        let Ok(Some(login)) = login else {
            conn.roll_back().await;
            return login.map(|_| None);
        };
        let line = rows.one("live")?;
        let live = line.count(0)? > 0;
        let until = line.maybe(1).filter(|_| live);
        let exists = line.count(2)? > 0;
        let blocked = !live && exists;
        let mut sql = render::block_commit(&login, until, exists);
        if blocked {
            sql += &sessions::look_sql(&texts([login.as_str()]), None);
        }
        let rows = Rows::of(BLOCK, conn.batch(BLOCK, &sql).await?);
        Ok(Some(Block {
            blocked,
            look: Look::read(&rows)?,
            login,
        }))
    }

    /// Asks for the login on record for the grant, and for its role.
    fn record_sql(&self, conn: &Conn<'_>, warrant: &EndWarrant) -> String {
        let login = login_of(warrant);
        format!(
            "SELECT 'row', login, EXISTS (SELECT FROM apono.login l WHERE l.name = g.login AND l.connector = {})::text FROM {login} g;\n\
             {} WHERE r.rolname = {login};\n",
            lit(self.settings.home.connector.as_str()),
            observe::select_role("role", conn.version()),
        )
    }

    /// Reads what [`Self::record_sql`] asked for; nothing when the grant has no login that is ours, as one that was never started.
    fn recorded_login(&self, rows: &Rows, warrant: &EndWarrant) -> Result<Option<String>, Trouble> {
        let home = &self.settings.home;
        let Some(row) = rows.tagged("row").next() else {
            return Err(Trouble::refused(
                ErrorClass::Conflict,
                "end_not_recorded",
                format!(
                    "grant `{}` is not on record, its door must be closed first",
                    warrant.grant.id
                ),
            ));
        };
        let role = rows.tagged("role").next();
        let Some(role) = role.filter(|_| row.yes(1).unwrap_or(false)) else {
            return Ok(None);
        };
        let role = observe::role(role, home, RoleKind::Login)?;
        if role.marked_by == MarkedBy::Us {
            return Ok(Some(role.name));
        }
        Err(Trouble::operator(
            "login_not_ours",
            format!(
                "role `{}` lost our mark, it is not touched although our record names it",
                role.name
            ),
            format!(
                "{}or end its sessions and run ALTER ROLE {} NOLOGIN; yourself",
                render::comment(&role.name, &mark::mark(home, &role.name, RoleKind::Login)),
                id(&role.name)
            ),
        ))
    }

    /// Reads back that the grant's membership is gone unless a live grant needs it, and only then calls the grant closed.
    async fn note_closed(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
        login: &str,
    ) -> Result<(), Trouble> {
        const DOING: &str = "note that the grant is closed";
        let sql = render::closed_unless_member(warrant.grant.id, login);
        let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
        match rows.tagged("left").next() {
            None => Ok(()),
            Some(line) => {
                let (role, grantor) = (line.text(0)?, line.text(1)?);
                Err(Trouble::operator(
                    "membership_not_ours",
                    format!(
                        "login `{login}` is still a member of `{role}`, given by `{grantor}`, which we may not take back"
                    ),
                    format!(
                        "as `{grantor}` or a superuser: REVOKE {} FROM {} GRANTED BY {};",
                        id(role),
                        id(login),
                        id(grantor)
                    ),
                ))
            }
        }
    }
}

/// Ends the sessions found, none of which may be left; returns how many there were, and 0.
async fn end_found(
    conn: &Conn<'_>,
    login: &str,
    which: Which,
    look: Look,
) -> Result<(u32, u32), Trouble> {
    let seen = sessions::end_seen(conn, &[login], which, look, sessions::WAIT).await?;
    let (before, after) = seen.of(login);
    if after > 0 {
        return Err(Trouble::refused(
            ErrorClass::Transient,
            "sessions_left",
            format!("{after} of {before} sessions of `{login}` have not ended yet"),
        ));
    }
    Ok((before, after))
}

/// The login on record for the grant, as an expression.
fn login_of(warrant: &EndWarrant) -> String {
    let grant = warrant.grant.id.as_uuid();
    format!(
        "(SELECT login FROM apono.\"grant\" WHERE id = '{grant}' UNION ALL SELECT login FROM apono.history WHERE id = '{grant}')"
    )
}

fn sessions_ended(login: &str, (before, after): (u32, u32)) -> Ended {
    Ended {
        evidence: Evidence::default()
            .with("login", login)
            .with("sessions_before", before)
            .with("sessions_after", after),
        sessions: Some((before, after)),
        ..Ended::default()
    }
}
