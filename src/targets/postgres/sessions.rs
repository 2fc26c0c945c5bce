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

/// Processes found at one look.
#[derive(Debug, Default)]
pub(super) struct Look {
    present: BTreeSet<i64>,
    /// Processes without a name, which may be the login's.
    hidden: BTreeSet<i64>,
}

impl Look {
    /// Reads what [`look_sql`] asked for.
    pub(super) fn read(rows: &Rows) -> Result<Self, Trouble> {
        Ok(Self {
            present: pids(rows, "pid")?,
            hidden: pids(rows, "hidden")?,
        })
    }
}

/// Looks, ends the sessions and waits until none of them is left.
pub(super) async fn end(conn: &Conn<'_>, login: &str, which: Which) -> Result<Seen, Trouble> {
    const DOING: &str = "look for sessions of the login";
    let sql = look_sql(&lit(login), None);
    let look = Look::read(&Rows::of(DOING, conn.batch(DOING, &sql).await?))?;
    end_seen(conn, login, which, look).await
}

/// Ends the sessions found at a look and waits until none of them is left.
pub(super) async fn end_seen(
    conn: &Conn<'_>,
    login: &str,
    which: Which,
    Look { present, hidden }: Look,
) -> Result<Seen, Trouble> {
    end_hidden(conn, login, &hidden).await?;
    let before = count(&present);
    if present.is_empty() {
        return Ok(Seen { before, after: 0 });
    }
    let mut now = order(conn, login).await?;
    let begun = Instant::now();
    let mut looks = 0;
    loop {
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
        tokio::time::sleep(LOOK_EVERY).await;
        // Each look is a transaction of its own: inside one, the view of sessions stands still.
        now = if looks % LOOKS_PER_ORDER == 0 {
            order(conn, login).await?
        } else {
            look(conn, login).await?
        };
    }
}

fn count(pids: &BTreeSet<i64>) -> u32 {
    u32::try_from(pids.len()).unwrap_or(u32::MAX)
}

fn pids(rows: &Rows, tag: &str) -> Result<BTreeSet<i64>, Trouble> {
    rows.tagged(tag).map(|line| line.number(0)).collect()
}

/// Asks for the processes that serve the login now; `login` is an expression.
fn question(login: &str) -> String {
    format!("SELECT 'pid', pid FROM pg_catalog.pg_stat_activity WHERE usename = {login};\n")
}

/// Asks for the processes that serve the login now. Under the condition, or without one always, also for those that wait
/// between log-in and their first appearance, where anybody can make them wait: they show only as a lock on a database,
/// without a name. `login` is an expression.
pub(super) fn look_sql(login: &str, hidden_if: Option<&str>) -> String {
    let only_if = hidden_if.map(|condition| format!("AND {condition} "));
    format!(
        "{}SELECT DISTINCT 'hidden', l.pid FROM pg_catalog.pg_locks l\n\
         WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted\n\
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid AND a.usesysid IS NOT NULL)\n\
         {}LIMIT {MAX_HIDDEN};\n",
        question(login),
        only_if.unwrap_or_default(),
    )
}

async fn look(conn: &Conn<'_>, login: &str) -> Result<BTreeSet<i64>, Trouble> {
    const DOING: &str = "look for sessions of the login";
    pids(
        &Rows::of(DOING, conn.batch(DOING, &question(&lit(login))).await?),
        "pid",
    )
}

/// Tells every session of the login to end, notes that some were seen, and looks again. The membership that gives us the
/// right is rolled back; the order stands.
async fn order(conn: &Conn<'_>, login: &str) -> Result<BTreeSet<i64>, Trouble> {
    const DOING: &str = "end the sessions of the login";
    let sql = format!(
        "BEGIN;\n{}SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = {l};\nROLLBACK;\n\
         BEGIN READ WRITE;\nUPDATE apono.login SET last_session_at = pg_catalog.clock_timestamp() WHERE name = {l};\nCOMMIT;\n{}",
        self_membership(login, conn.version()),
        question(&lit(login)),
        l = lit(login)
    );
    match conn.batch(DOING, &sql).await {
        Ok(outcome) => pids(&Rows::of(DOING, outcome), "pid"),
        // The role is gone, or somebody else works on it: the next look decides.
        Err(error) if is_in_the_way(&error) => look(conn, login).await,
        Err(error) => Err(error),
    }
}

fn is_in_the_way(error: &Trouble) -> bool {
    matches!(
        error.sqlstate(),
        Some("42704" | "XX000" | "55P03" | "40P01")
    )
}

/// Ends hidden processes of the login. An order to one that is not the login's is refused by the server.
async fn end_hidden(conn: &Conn<'_>, login: &str, hidden: &BTreeSet<i64>) -> Result<(), Trouble> {
    for pid in hidden {
        let sql = format!(
            "BEGIN;\n{}SELECT pg_catalog.pg_terminate_backend({pid});\nROLLBACK;\n",
            self_membership(login, conn.version()),
        );
        match conn.batch("end a hidden session", &sql).await {
            Ok(_) => {}
            // Somebody else's, gone, or in the way; there is a second look before the role is dropped.
            Err(error) if error.sqlstate() == Some("42501") || is_in_the_way(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
