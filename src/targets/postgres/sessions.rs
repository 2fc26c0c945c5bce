//! Owns ending sessions of a login and seeing that they are gone. Never touches sessions of anyone else.

use super::error::Trouble;
use super::pool::Conn;
use super::render::{lit, self_membership};
use super::rows::Rows;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Longest wait for sessions to be gone; measured are 1 to 8 ms, also for a loop that swallows the cancel.
const WAIT: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Looks after which the sessions that are left are told once more.
const LOOKS_PER_ORDER: u32 = 25;
/// Hidden processes tried in one go; each costs a round trip.
const MAX_HIDDEN: usize = 16;

/// Which sessions are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that exist at the first look: a later one finds the door shut, and may belong to another grant.
    Present,
    /// All, because nobody may log in any more.
    All,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) before: u32,
    pub(super) after: u32,
}

/// Ends the sessions and waits until none of them is left.
pub(super) async fn end(conn: &Conn<'_>, login: &str, which: Which) -> Result<Seen, Trouble> {
    let present = look(conn, login).await?;
    end_hidden(conn, login).await?;
    let before = count(&present);
    if present.is_empty() {
        return Ok(Seen { before, after: 0 });
    }
    order(conn, login).await?;
    let begun = Instant::now();
    let mut looks = 0;
    loop {
        // Each look is a transaction of its own: inside one, the view of sessions stands still.
        let now = look(conn, login).await?;
        let left: BTreeSet<_> = match which {
            Which::Present => now.intersection(&present).copied().collect(),
            Which::All => now,
        };
        if left.is_empty() || begun.elapsed() > WAIT {
            return Ok(Seen {
                before,
                after: count(&left),
            });
        }
        looks += 1;
        if looks % LOOKS_PER_ORDER == 0 {
            order(conn, login).await?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn count(pids: &BTreeSet<i64>) -> u32 {
    u32::try_from(pids.len()).unwrap_or(u32::MAX)
}

/// The processes that serve the login now.
pub(super) async fn look(conn: &Conn<'_>, login: &str) -> Result<BTreeSet<i64>, Trouble> {
    const DOING: &str = "look for sessions of the login";
    let sql = format!(
        "SELECT 'pid', a.pid FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid WHERE r.rolname = {}",
        lit(login)
    );
    let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
    rows.tagged("pid").map(|line| line.number(0)).collect()
}

/// Tells every session of the login to end. The membership that gives us the right is rolled back; the order stands.
async fn order(conn: &Conn<'_>, login: &str) -> Result<(), Trouble> {
    let sql = format!(
        "BEGIN;\n{}SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a\n\
         JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid WHERE r.rolname = {};\nROLLBACK;\n",
        self_membership(login, conn.version()),
        lit(login)
    );
    match conn.batch("end the sessions of the login", &sql).await {
        // The role is gone, or somebody else works on it: the next look decides.
        Err(error)
            if matches!(
                error.sqlstate(),
                Some("42704" | "XX000" | "55P03" | "40P01")
            ) =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Ends processes of the login that wait between log-in and their first appearance, where anybody can make them wait.
///
/// They show only as a lock on a database, without a name. An order to one that is not the login's is refused by the server.
async fn end_hidden(conn: &Conn<'_>, login: &str) -> Result<(), Trouble> {
    const DOING: &str = "look for hidden sessions";
    let sql = format!(
        "SELECT DISTINCT 'pid', l.pid FROM pg_catalog.pg_locks l\n\
         WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted\n\
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid AND a.usesysid IS NOT NULL) LIMIT {MAX_HIDDEN}"
    );
    let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
    for line in rows.tagged("pid") {
        let sql = format!(
            "BEGIN;\n{}SELECT pg_catalog.pg_terminate_backend({});\nROLLBACK;\n",
            self_membership(login, conn.version()),
            line.number(0)?
        );
        if let Err(error) = conn.batch("end a hidden session", &sql).await {
            // 42501: somebody else's. The others: gone, or in the way; there is a second look before the role is dropped.
            if !matches!(
                error.sqlstate(),
                Some("42501" | "42704" | "XX000" | "55P03" | "40P01")
            ) {
                return Err(error);
            }
        }
    }
    Ok(())
}
