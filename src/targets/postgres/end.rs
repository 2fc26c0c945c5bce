//! Owns the end of access: door, sessions, login. Never waits for anything a person can hold, and never needs a permit.

use super::PostgresTarget;
use super::error::Trouble;
use super::mark::{self, MarkedBy, RoleKind};
use super::observe;
use super::plan::candidates;
use super::pool::Conn;
use super::render::{self, DoorFacts, access_role_name, id};
use super::replicas::Wanted;
use super::rows::{Line, Rows};
use super::sessions::{self, Seen, Which};
use crate::cut;
use crate::domain::{EndReason, ErrorClass, Evidence};
use crate::policy::EndWarrant;
use crate::targets::Ended;
use std::time::Duration;

/// Tries for something that another instance, or the person herself, can be in the way of.
const TRIES: u32 = 20;
/// Wait between two such tries.
const TRY_EVERY: Duration = Duration::from_millis(10);
/// Tries for the door, which only our own transactions can be in the way of.
const DOOR_TRIES: u32 = 5;

/// No session at all.
const NOBODY: Seen = Seen {
    before: 0,
    after: 0,
};

/// What the door's first half reads.
struct State {
    connector: String,
    login: String,
    access_role: String,
    expiry: jiff::Timestamp,
    is_ahead: bool,
    ended: Option<jiff::Timestamp>,
    /// Other live grants of the login that need the same membership.
    needed: u32,
    /// Rows of the membership in the catalog.
    member: u32,
}

impl State {
    fn read(line: Line<'_>) -> Result<Self, Trouble> {
        Ok(Self {
            connector: line.text(0)?.to_owned(),
            login: line.text(1)?.to_owned(),
            access_role: line.text(2)?.to_owned(),
            expiry: line.time(3)?,
            is_ahead: line.yes(4)?,
            ended: line.maybe_time(5)?,
            needed: line.count(7)?,
            member: line.count(8)?,
        })
    }
}

impl PostgresTarget {
    /// Part 1: the row is marked as ended and the membership goes, in one transaction nobody can block.
    pub(super) async fn close_door(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Ended, Trouble> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.close_door_once(conn, warrant).await {
                Err(error) if tries < DOOR_TRIES && error.is_collision() => {
                    conn.roll_back().await;
                    tokio::time::sleep(TRY_EVERY * tries).await;
                }
                result => return result,
            }
        }
    }

    async fn close_door_once(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Ended, Trouble> {
        const READ: &str = "take the lock of the login";
        const CLOSE: &str = "take the membership away";
        let home = &self.settings.home;
        let grant = &warrant.grant;
        let [plain, _] = candidates(home, &grant.principal);
        let facts = DoorFacts {
            home,
            grant,
            reason: warrant.reason,
            login: plain.as_str(),
            access_role: &access_role_name(home, &grant.resource, grant.permission),
        };
        let rows = Rows::of(READ, conn.batch(READ, &render::door_read(&facts)).await?);
        let state = State::read(rows.one("grant")?)?;
        cut::point("postgres.door.locked");
        if state.connector != home.connector.as_str() {
            conn.roll_back().await;
            return Err(Trouble::refused(
                ErrorClass::Bug,
                "grant_not_ours",
                format!(
                    "grant `{}` is on record for connector `{}`",
                    grant.id, state.connector
                ),
            ));
        }
        let locked = rows
            .tagged("locked")
            .any(|line| line.maybe(0) == Some(&state.login));
        if state.ended.is_none() && !locked {
            // The start committed between our two looks: begin again, now with its lock.
            return Err(Trouble::changed());
        }
        if state.ended.is_none() && warrant.reason == EndReason::Expired && state.is_ahead {
            conn.roll_back().await;
            return Ok(Ended {
                evidence: Evidence::default().with("expiry", state.expiry),
                ended_at: None,
                reason: None,
                sessions: None,
                extended_until: Some(state.expiry),
            });
        }
        let revoked = (state.needed == 0 && state.member > 0).then_some(state.access_role.as_str());
        let sql = render::door_close(grant.id, warrant.reason, &state.login, revoked);
        let rows = Rows::of(CLOSE, conn.batch(CLOSE, &sql).await?);
        cut::point("postgres.door.closed");
        let end = rows.tagged("ended").next();
        let left = match rows.tagged("left").next() {
            Some(line) => line.count(0)?,
            None => 0,
        };
        let mut evidence = Evidence::default()
            .with("login", &state.login)
            .with("access_role", &state.access_role)
            .with("membership_revoked", revoked.is_some())
            .with("membership_needed_by_others", state.needed);
        if left > 0 {
            evidence = evidence.with("membership_left", left);
        }
        Ok(Ended {
            evidence,
            ended_at: end.map_or(Ok(state.ended), |line| line.maybe_time(0))?,
            reason: end
                .and_then(|line| EndReason::parse(line.maybe(1).unwrap_or_default()))
                .or(Some(warrant.reason)),
            sessions: None,
            extended_until: None,
        })
    }

    /// Part 2: every session of the login goes, also when another grant lives on: a cursor or a `SET ROLE` keeps the access.
    pub(super) async fn end_sessions(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Ended, Trouble> {
        let Some(login) = self.recorded_login(conn, warrant).await? else {
            return Ok(sessions_ended("", NOBODY));
        };
        let seen = sessions::end(conn, &login, Which::Present).await?;
        if seen.after > 0 {
            return Err(still_there(&login, seen));
        }
        Ok(sessions_ended(&login, seen))
    }

    /// Part 3: with no live grant left nobody may log in; otherwise only until the latest remaining expiry.
    pub(super) async fn block_login(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Ended, Trouble> {
        let Some(login) = self.recorded_login(conn, warrant).await? else {
            let sql = render::closed(warrant.grant.id, "");
            conn.batch("note that the grant is closed", &sql).await?;
            return Ok(sessions_ended("", NOBODY));
        };
        let blocked = self.block(conn, &login).await?;
        cut::point("postgres.login.blocked");
        let seen = if blocked {
            end_all(conn, &login).await?
        } else {
            NOBODY
        };
        let wanted = Wanted {
            login: &login,
            ended: Some(warrant.grant.id),
            blocked,
            nobody_hides: false,
        };
        let elsewhere = self.end_on_replicas(conn, wanted).await?;
        self.note_closed(conn, warrant, &login).await?;
        let mut ended = sessions_ended(&login, seen.and(elsewhere));
        ended.evidence = ended.evidence.with("login_blocked", blocked);
        if elsewhere.before > 0 {
            ended.evidence = ended
                .evidence
                .with("sessions_on_replicas", elsewhere.before);
        }
        Ok(ended)
    }

    /// Blocks a login that has no live grant and ends its sessions. Tells whether it was so.
    pub(super) async fn shut(&self, conn: &Conn<'_>, login: &str) -> Result<bool, Trouble> {
        let blocked = self.block(conn, login).await?;
        if blocked {
            end_all(conn, login).await?;
            let wanted = Wanted {
                login,
                ended: None,
                blocked,
                nobody_hides: false,
            };
            if let Err(error) = self.end_on_replicas(conn, wanted).await {
                // Clean-up comes back to it: the login is not dropped before.
                tracing::warn!(
                    login,
                    error = &error as &dyn std::error::Error,
                    "sessions on replicas may be left"
                );
            }
        }
        Ok(blocked)
    }

    async fn block(&self, conn: &Conn<'_>, login: &str) -> Result<bool, Trouble> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.block_once(conn, login).await {
                Err(error) if tries < TRIES && error.is_collision() => {
                    // She holds a lock on her own role: her sessions go first, then we try again.
                    conn.roll_back().await;
                    sessions::end(conn, login, Which::Present).await?;
                    tokio::time::sleep(TRY_EVERY).await;
                }
                result => return result,
            }
        }
    }

    async fn block_once(&self, conn: &Conn<'_>, login: &str) -> Result<bool, Trouble> {
        const READ: &str = "take the lock of the login";
        const BLOCK: &str = "block the login";
        let rows = Rows::of(READ, conn.batch(READ, &render::block_read(login)).await?);
        let line = rows.one("live")?;
        let live = line.count(0)?;
        let until = line.maybe(1);
        let exists = line.count(2)? > 0;
        let until = if live > 0 { until } else { None };
        conn.batch(BLOCK, &render::block_commit(login, until, exists))
            .await?;
        Ok(live == 0 && exists)
    }

    /// Returns the login on record for the grant; nothing when it has none that is ours, as for a grant that was never started.
    async fn recorded_login(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Option<String>, Trouble> {
        const DOING: &str = "read the login of the grant";
        let grant = warrant.grant.id.as_uuid();
        let home = &self.settings.home;
        let login = format!(
            "(SELECT login FROM apono.\"grant\" WHERE id = '{grant}' UNION ALL SELECT login FROM apono.history WHERE id = '{grant}')"
        );
        let sql = format!(
            "SELECT 'row', login, EXISTS (SELECT FROM apono.login l WHERE l.name = g.login AND l.connector = {})::text FROM {login} g;\n\
             {} WHERE r.rolname = {login};\n",
            render::lit(home.connector.as_str()),
            observe::select_role("role", conn.version()),
        );
        let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
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
        const DOING: &str = "read back the memberships of the login";
        let left = format!(
            "FROM pg_catalog.pg_auth_members m\n\
             JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles l ON l.oid = m.member\n\
             WHERE l.rolname = {login} AND r.rolname = (SELECT access_role FROM apono.\"grant\" WHERE id = '{id}')\n\
             AND NOT EXISTS (SELECT FROM apono.\"grant\" g WHERE g.login = l.rolname AND g.access_role = r.rolname AND g.ended_at IS NULL)\n\
             AND (l.rolcanlogin OR EXISTS (SELECT FROM apono.\"grant\" g WHERE g.login = l.rolname AND g.ended_at IS NULL))",
            login = render::lit(login),
            id = warrant.grant.id.as_uuid()
        );
        let sql = format!(
            "BEGIN READ WRITE;\n{}COMMIT;\nSELECT 'left', r.rolname, pg_catalog.pg_get_userbyid(m.grantor) {left}",
            render::closed(
                warrant.grant.id,
                &format!(" AND NOT EXISTS (SELECT {left})")
            ),
        );
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

/// After the block nobody can come any more: all sessions go, and none may be left.
async fn end_all(conn: &Conn<'_>, login: &str) -> Result<Seen, Trouble> {
    let seen = sessions::end(conn, login, Which::All).await?;
    if seen.after > 0 {
        return Err(still_there(login, seen));
    }
    Ok(seen)
}

fn sessions_ended(login: &str, seen: Seen) -> Ended {
    Ended {
        evidence: Evidence::default()
            .with("login", login)
            .with("sessions_before", seen.before)
            .with("sessions_after", seen.after),
        ended_at: None,
        reason: None,
        sessions: Some((seen.before, seen.after)),
        extended_until: None,
    }
}

fn still_there(login: &str, seen: Seen) -> Trouble {
    Trouble::refused(
        ErrorClass::Transient,
        "sessions_left",
        format!(
            "{} of {} sessions of `{login}` have not ended yet",
            seen.after, seen.before
        ),
    )
}
