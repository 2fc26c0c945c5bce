//! Owns ending many grants in few transactions, as when many expire at the same moment. Never insists: whatever anything is in
//! the way of is left to be ended alone, which every part of an end allows.

use super::PostgresTarget;
use super::error::Trouble;
use super::mark::{MarkedBy, RoleKind};
use super::observe;
use super::pool::{Conn, For};
use super::render::{texts, together};
use super::rows::{Line, Rows};
use super::sessions::{self, Look, Which};
use crate::cut;
use crate::domain::{EndReason, Evidence, GrantId};
use crate::policy::EndWarrant;
use crate::targets::EndedTogether;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest wait for the sessions of all; measured are 1 to 20 ms. Whose sessions take longer is ended alone.
const SESSIONS_WAIT: Duration = Duration::from_millis(500);

/// One grant that can go with the others.
struct Member {
    id: GrantId,
    reason: EndReason,
    login: String,
    access_role: String,
    /// Live grants that are not ended here and need the same membership.
    needed: u32,
    /// Rows of the membership in the catalog.
    member: u32,
}

impl Member {
    fn read(line: Line<'_>, warrants: &[EndWarrant]) -> Result<Option<Self>, Trouble> {
        let id = line.text(0)?;
        let Some(warrant) = warrants.iter().find(|w| w.grant.id.to_string() == id) else {
            return Ok(None);
        };
        Ok(Some(Self {
            id: warrant.grant.id,
            reason: warrant.reason,
            login: line.text(1)?.to_owned(),
            access_role: line.text(2)?.to_owned(),
            needed: line.count(3)?,
            member: line.count(4)?,
        }))
    }
}

/// When and why each grant ended, by the record.
type Doors = BTreeMap<String, (Timestamp, Option<EndReason>)>;

impl PostgresTarget {
    /// Ends what can be ended together; returns what is closed.
    pub(super) async fn end_many(
        &self,
        warrants: &[EndWarrant],
    ) -> Result<Vec<EndedTogether>, Trouble> {
        // An end waits for its replicas alone, so that one that lags holds up no other's.
        if self.replicas.any() {
            return Ok(Vec::new());
        }
        let conn = self.home(For::End).await?;
        let ended = self.end_many_with(&conn, warrants).await?;
        self.pool.put(conn);
        Ok(ended)
    }

    async fn end_many_with(
        &self,
        conn: &Conn<'_>,
        warrants: &[EndWarrant],
    ) -> Result<Vec<EndedTogether>, Trouble> {
        let members = self.gather(conn, warrants).await?;
        if members.is_empty() {
            conn.roll_back().await;
            return Ok(Vec::new());
        }
        let logins: Vec<&str> = members
            .iter()
            .map(|member| member.login.as_str())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let (doors, look) = close_doors(conn, &members, &logins).await?;
        cut::point("postgres.doors.closed");
        let present =
            sessions::end_seen(conn, &logins, Which::Present, look, SESSIONS_WAIT).await?;
        let look = block(conn, &logins).await?;
        cut::point("postgres.logins.blocked");
        let late = sessions::end_seen(conn, &logins, Which::Present, look, SESSIONS_WAIT).await?;
        let gone = members
            .iter()
            .filter(|member| present.of(&member.login).1 == 0 && late.of(&member.login).1 == 0);
        let closed = note_closed(conn, gone.map(|member| member.id)).await?;
        Ok(members
            .iter()
            .filter_map(|member| {
                let id = member.id.to_string();
                let (ended_at, reason) = doors.get(&id)?;
                closed.contains(&id).then(|| EndedTogether {
                    grant: member.id,
                    ended_at: *ended_at,
                    reason: reason.unwrap_or(member.reason),
                    sessions: present.of(&member.login).0 + late.of(&member.login).0,
                    evidence: Evidence::default()
                        .with("login", &member.login)
                        .with("access_role", &member.access_role)
                        .with("membership_needed_by_others", member.needed),
                })
            })
            .collect())
    }

    /// Takes the locks that are free, and reads what can go: live grants of ours whose time is over, with logins of ours.
    async fn gather(
        &self,
        conn: &Conn<'_>,
        warrants: &[EndWarrant],
    ) -> Result<Vec<Member>, Trouble> {
        const DOING: &str = "take the locks of the logins";
        let home = &self.settings.home;
        let sql = together::read(&together::Facts {
            home,
            warrants,
            select_role: &observe::select_role("role", conn.version()),
        });
        let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
        cut::point("postgres.doors.locked");
        let locked: BTreeSet<_> = rows
            .tagged("locked")
            .filter_map(|line| line.maybe(0))
            .collect();
        let mut ours = BTreeSet::new();
        for line in rows.tagged("role") {
            let role = observe::role(line, home, RoleKind::Login)?;
            if role.marked_by == MarkedBy::Us {
                ours.insert(role.name);
            }
        }
        let mut members = Vec::new();
        for line in rows.tagged("grant") {
            let member = Member::read(line, warrants)?;
            members.extend(member.filter(|member| {
                locked.contains(member.login.as_str()) && ours.contains(&member.login)
            }));
        }
        Ok(members)
    }
}

/// The doors of all in one transaction, and a first look at who is in.
async fn close_doors(
    conn: &Conn<'_>,
    members: &[Member],
    logins: &[&str],
) -> Result<(Doors, Look), Trouble> {
    const DOING: &str = "take the memberships away";
    let ended: Vec<_> = members.iter().map(|m| (m.id, m.reason)).collect();
    let mut revoked = BTreeMap::<_, BTreeSet<_>>::new();
    for member in members.iter().filter(|m| m.needed == 0 && m.member > 0) {
        let of_role = revoked.entry(member.access_role.as_str()).or_default();
        of_role.insert(member.login.as_str());
    }
    let names = texts(logins.iter().copied());
    let live = format!(
        "EXISTS (SELECT FROM apono.\"grant\" WHERE login = ANY({names}) AND ended_at IS NULL)"
    );
    let sql = together::close(&ended, &revoked, &names) + &sessions::look_sql(&names, Some(&live));
    let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
    let mut doors = Doors::new();
    for line in rows.tagged("ended") {
        let reason = EndReason::parse(line.maybe(2).unwrap_or_default());
        doors.insert(line.text(0)?.to_owned(), (line.time(1)?, reason));
    }
    Ok((doors, Look::read(&rows)?))
}

/// Blocks the logins that have no live grant, in one transaction, and looks who is still in.
async fn block(conn: &Conn<'_>, logins: &[&str]) -> Result<Look, Trouble> {
    const READ: &str = "take the locks of the logins";
    const BLOCK: &str = "block the logins";
    let names = texts(logins.iter().copied());
    let rows = Rows::of(READ, conn.batch(READ, &together::block_read(&names)).await?);
    let mut live = Vec::new();
    for line in rows.tagged("live") {
        let any = line.count(1)? > 0;
        live.push((line.text(0)?, line.maybe(2).filter(|_| any)));
    }
    let blocked = live.iter().filter(|(_, until)| until.is_none());
    let blocked = texts(blocked.map(|(login, _)| *login));
    // Later sessions of a login that stays open belong to its other grants.
    let sql = together::block_commit(&live) + &sessions::look_sql(&blocked, None);
    Look::read(&Rows::of(BLOCK, conn.batch(BLOCK, &sql).await?))
}

/// Calls grants closed whose memberships are seen to be gone; returns which.
async fn note_closed(
    conn: &Conn<'_>,
    grants: impl Iterator<Item = GrantId>,
) -> Result<BTreeSet<String>, Trouble> {
    const DOING: &str = "note that the grants are closed";
    let grants: Vec<GrantId> = grants.collect();
    if grants.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sql = together::closed(&grants);
    let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
    rows.tagged("closed")
        .map(|line| Ok(line.text(0)?.to_owned()))
        .collect()
}
