//! Owns the first part of an end: the record says ended and the membership goes, in one transaction. Never waits for anything a person can hold.

use super::PostgresTarget;
use super::error::Trouble;
use super::plan::candidates;
use super::pool::Conn;
use super::render::{self, DoorFacts, access_role_name};
use super::rows::{Line, Rows};
use crate::cut;
use crate::domain::{EndReason, ErrorClass, Evidence};
use crate::policy::EndWarrant;
use crate::targets::Ended;
use std::time::Duration;

/// Tries for the door, which only our own transactions can be in the way of.
const TRIES: u32 = 5;
/// Wait before the second try; each further wait is longer by as much.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// What the door's first half reads.
pub(super) struct State {
    pub(super) connector: String,
    pub(super) login: String,
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
    pub(super) fn read(line: Line<'_>) -> Result<Self, Trouble> {
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

    /// The expiry was moved since the warrant was made, so the time is not over.
    pub(super) fn is_extended(&self, warrant: &EndWarrant) -> bool {
        self.ended.is_none() && warrant.reason == EndReason::Expired && self.is_ahead
    }

    /// The role whose membership is to be taken.
    pub(super) fn revoked(&self) -> Option<&str> {
        (self.needed == 0 && self.member > 0).then_some(self.access_role.as_str())
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
            let error = match self.close_door_once(conn, warrant).await {
                Ok(ended) => return Ok(ended),
                Err(error) => error,
            };
            if tries == 1 && (error.is_lock() || error.is_full()) {
                self.make_do(conn, warrant).await;
            }
            if tries == TRIES || !error.is_collision() {
                return Err(error);
            }
            conn.roll_back().await;
            tokio::time::sleep(TRY_EVERY * tries).await;
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
        if state.is_extended(warrant) {
            conn.roll_back().await;
            return Ok(Ended {
                evidence: Evidence::default().with("expiry", state.expiry),
                extended_until: Some(state.expiry),
                ..Ended::default()
            });
        }
        let revoked = state.revoked();
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
            ..Ended::default()
        })
    }
}
