//! Owns what can be done for an end whose door cannot be recorded yet, because somebody holds a lock on the record or the server has no
//! room: the membership goes and the sessions end all the same. Never counts as an end, and never takes what another live grant needs.

use super::PostgresTarget;
use super::door::State;
use super::error::Trouble;
use super::mark::{MarkedBy, RoleKind};
use super::observe;
use super::plan::candidates;
use super::pool::Conn;
use super::render::{access_role_name, lit, makeshift, texts};
use super::rows::Rows;
use super::sessions::{self, Which};
use crate::cut;
use crate::policy::EndWarrant;
use std::time::Duration;

/// Longest wait for the sessions; the next try tells them again.
const SESSIONS_WAIT: Duration = Duration::from_secs(2);

/// How far it went.
struct Taken {
    login: String,
    membership: bool,
}

impl PostgresTarget {
    /// Takes what can be taken; whatever fails is left to the next try, as all of it is.
    pub(super) async fn make_do(&self, conn: &Conn<'_>, warrant: &EndWarrant) {
        conn.roll_back().await;
        let done = async {
            let taken = match self.take_membership(conn, warrant).await {
                Ok(taken) => taken,
                Err(error) if error.is_lock() || error.is_full() => {
                    conn.roll_back().await;
                    self.member_by_catalog(conn, warrant).await?
                }
                Err(error) => return Err(error),
            };
            cut::point("postgres.door.made_do");
            let Some(Taken { login, membership }) = taken else {
                return Ok(());
            };
            let seen = sessions::end_within(conn, &login, Which::Present, SESSIONS_WAIT).await?;
            let (sessions, left) = seen.of(&login);
            tracing::warn!(
                login,
                membership,
                sessions,
                left,
                "an end cannot be recorded yet, what can be taken before is taken"
            );
            Ok(())
        };
        if let Err(error) = done.await {
            conn.roll_back().await;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an end cannot be recorded yet, and nothing can be taken before"
            );
        }
    }

    /// Takes the membership under the login's lock, as the door does. Nothing when the grant is not on record or its time is not over.
    async fn take_membership(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Option<Taken>, Trouble> {
        const READ: &str = "take the lock of the login";
        const TAKE: &str = "take the membership away without a note";
        let sql = makeshift::read(warrant.grant.id);
        let rows = Rows::of(READ, conn.batch(READ, &sql).await?);
        let state = rows.tagged("grant").next().map(State::read).transpose()?;
        let Some(state) = state.filter(|state| {
            state.connector == self.settings.home.connector.as_str() && !state.is_extended(warrant)
        }) else {
            conn.roll_back().await;
            return Ok(None);
        };
        let locked = rows
            .tagged("locked")
            .any(|line| line.maybe(0) == Some(&state.login));
        let revoked = state.revoked().filter(|_| locked);
        let membership = match revoked {
            Some(role) => {
                let sql = makeshift::close(role, &state.login);
                let taken = conn.batch(TAKE, &sql).await;
                // Without it the sessions go all the same.
                taken.is_ok()
            }
            None => false,
        };
        conn.roll_back().await;
        Ok(Some(Taken {
            login: state.login,
            membership,
        }))
    }

    /// The person's login by the catalogs alone: ours, and a member of the role the grant is about.
    async fn member_by_catalog(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
    ) -> Result<Option<Taken>, Trouble> {
        const DOING: &str = "look for the login in the catalogs";
        let home = &self.settings.home;
        let names = candidates(home, &warrant.grant.principal);
        let access_role = access_role_name(home, &warrant.grant.resource, warrant.grant.permission);
        let sql = format!(
            "{} WHERE r.rolname = ANY({}) AND EXISTS (SELECT FROM pg_catalog.pg_auth_members m\n\
             JOIN pg_catalog.pg_roles a ON a.oid = m.roleid WHERE m.member = r.oid AND a.rolname = {});\n",
            observe::select_role("role", conn.version()),
            texts(names.iter().map(|name| name.as_str())),
            lit(&access_role)
        );
        let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
        for line in rows.tagged("role") {
            let role = observe::role(line, home, RoleKind::Login)?;
            if role.marked_by == MarkedBy::Us {
                return Ok(Some(Taken {
                    login: role.name,
                    membership: false,
                }));
            }
        }
        Ok(None)
    }
}
