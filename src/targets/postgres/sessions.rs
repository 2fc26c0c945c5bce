//! Owns ending sessions of logins and seeing that they are gone. Never touches sessions of anyone else.

use super::error::Trouble;
use super::pool::Conn;
use super::render::{id, owner_membership, self_membership, texts};
use super::rows::Rows;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Longest wait for sessions to be gone; measured are 1 to 8 ms, also for a loop that swallows the cancel.
pub(super) const WAIT: Duration = Duration::from_secs(10);
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

/// Processes, and the login each serves.
type Processes = BTreeMap<i64, String>;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    before: Processes,
    after: Processes,
}

impl Seen {
    /// Sessions of a login before and after.
    pub(super) fn of(&self, login: &str) -> (u32, u32) {
        let count = |processes: &Processes| {
            let its = processes.values().filter(|served| *served == login);
            u32::try_from(its.count()).unwrap_or(u32::MAX)
        };
        (count(&self.before), count(&self.after))
    }
}

/// Processes found at one look.
#[derive(Debug, Default)]
pub(super) struct Look {
    present: Processes,
    /// Processes without a name, which may be the login's.
    hidden: BTreeSet<i64>,
}

impl Look {
    /// Reads what [`look_sql`] asked for.
    pub(super) fn read(rows: &Rows) -> Result<Self, Trouble> {
        let hidden = rows.tagged("hidden").map(|line| line.number(0));
        Ok(Self {
            present: processes(rows)?,
            hidden: hidden.collect::<Result<_, _>>()?,
        })
    }
}

/// Looks, ends the sessions of a login and waits until none of them is left.
pub(super) async fn end(conn: &Conn<'_>, login: &str, which: Which) -> Result<Seen, Trouble> {
    end_within(conn, login, which, WAIT).await
}

/// The same with another longest wait.
pub(super) async fn end_within(
    conn: &Conn<'_>,
    login: &str,
    which: Which,
    wait: Duration,
) -> Result<Seen, Trouble> {
    const DOING: &str = "look for sessions of the login";
    let sql = look_sql(&texts([login]), None);
    let look = Look::read(&Rows::of(DOING, conn.batch(DOING, &sql).await?))?;
    end_seen(conn, &[login], which, look, wait).await
}

/// Ends the sessions found at a look and waits until none of them is left, at most as long as given.
pub(super) async fn end_seen(
    conn: &Conn<'_>,
    logins: &[&str],
    which: Which,
    Look { present, hidden }: Look,
    wait: Duration,
) -> Result<Seen, Trouble> {
    end_hidden(conn, logins, &hidden).await?;
    if present.is_empty() {
        return Ok(Seen::default());
    }
    let mut now = order(conn, logins, &present).await?;
    let begun = Instant::now();
    let mut looks = 0;
    loop {
        if which == Which::Present {
            now.retain(|pid, _| present.contains_key(pid));
        }
        if now.is_empty() || begun.elapsed() > wait {
            return Ok(Seen {
                before: present,
                after: now,
            });
        }
        looks += 1;
        tokio::time::sleep(LOOK_EVERY).await;
        // Each look is a transaction of its own: inside one, the view of sessions stands still.
        now = if looks % LOOKS_PER_ORDER == 0 {
            order(conn, logins, &now).await?
        } else {
            look(conn, logins).await?
        };
    }
}

fn processes(rows: &Rows) -> Result<Processes, Trouble> {
    rows.tagged("pid")
        .map(|line| Ok((line.number(0)?, line.text(1)?.to_owned())))
        .collect()
}

/// Asks for the processes that serve logins now; `logins` is an expression for an array of names.
fn question(logins: &str) -> String {
    format!(
        "SELECT 'pid', pid, usename FROM pg_catalog.pg_stat_activity WHERE usename = ANY({logins});\n"
    )
}

/// Asks for the processes that serve logins now. Under the condition, or without one always, also for those that wait
/// between log-in and their first appearance, where anybody can make them wait: they show only as a lock on a database,
/// without a name. `logins` is an expression for an array of names.
pub(super) fn look_sql(logins: &str, hidden_if: Option<&str>) -> String {
    let only_if = hidden_if.map(|condition| format!("AND {condition} "));
    format!(
        "{}SELECT DISTINCT 'hidden', l.pid FROM pg_catalog.pg_locks l\n\
         WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted\n\
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid AND a.usesysid IS NOT NULL)\n\
         {}LIMIT {MAX_HIDDEN};\n",
        question(logins),
        only_if.unwrap_or_default(),
    )
}

async fn look(conn: &Conn<'_>, logins: &[&str]) -> Result<Processes, Trouble> {
    const DOING: &str = "look for sessions of the login";
    let sql = question(&texts(logins.iter().copied()));
    processes(&Rows::of(DOING, conn.batch(DOING, &sql).await?))
}

/// Tells the sessions of the logins that were seen with one to end, notes that there were some, and looks at all logins again. The
/// memberships that give us the right are rolled back; the order stands. Each costs a walk over every role we made since 16, so
/// there is none for a login without a session.
async fn order(conn: &Conn<'_>, logins: &[&str], seen: &Processes) -> Result<Processes, Trouble> {
    const DOING: &str = "end the sessions of the login";
    let in_session: BTreeSet<&str> = seen.values().map(String::as_str).collect();
    let names = texts(in_session.iter().copied());
    let asked = question(&texts(logins.iter().copied()));
    let sql = format!(
        "BEGIN;\n{}SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = ANY({names});\nROLLBACK;\n\
         BEGIN READ WRITE;\nUPDATE apono.login SET last_session_at = pg_catalog.clock_timestamp() WHERE name = ANY({names});\nCOMMIT;\n{asked}",
        self_memberships(conn, &in_session),
    );
    match conn.batch(DOING, &sql).await {
        Ok(outcome) => processes(&Rows::of(DOING, outcome)),
        // A role is gone, or somebody else works on it: the next look decides.
        Err(error) if is_in_the_way(&error) => look(conn, logins).await,
        Err(error) if error.is_full() => order_in_passing(conn, &names, &asked).await,
        Err(error) => Err(error),
    }
}

/// Tells every session to end without writing anything, which a server without room allows where we may signal others anyway.
async fn order_in_passing(conn: &Conn<'_>, names: &str, asked: &str) -> Result<Processes, Trouble> {
    const DOING: &str = "end the sessions of the login without a note";
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = ANY({names});\n{asked}"
    );
    let outcome = match conn.batch(DOING, &sql).await {
        Err(error) if error.sqlstate() == Some("42501") => conn.batch(DOING, asked).await?,
        outcome => outcome?,
    };
    processes(&Rows::of(DOING, outcome))
}

fn self_memberships(conn: &Conn<'_>, logins: &BTreeSet<&str>) -> String {
    logins
        .iter()
        .map(|login| self_membership(login, conn.version()))
        .collect()
}

fn is_in_the_way(error: &Trouble) -> bool {
    matches!(
        error.sqlstate(),
        Some("42704" | "XX000" | "55P03" | "40P01")
    )
}

/// Ends hidden processes of the logins.
async fn end_hidden(
    conn: &Conn<'_>,
    logins: &[&str],
    hidden: &BTreeSet<i64>,
) -> Result<(), Trouble> {
    for login in logins {
        for pid in hidden {
            end_if_its(conn, login, *pid).await?;
        }
    }
    Ok(())
}

/// Gives the order as the login itself, which may end its own sessions and nobody else's, whatever rights we have: the server
/// refuses it for a process that is not the login's.
async fn end_if_its(conn: &Conn<'_>, login: &str, pid: i64) -> Result<(), Trouble> {
    let sql = format!(
        "BEGIN;\n{}SET LOCAL ROLE {};\nSELECT pg_catalog.pg_terminate_backend({pid});\nROLLBACK;\n",
        owner_membership(login, conn.version()),
        id(login),
    );
    match conn.batch("end a hidden session", &sql).await {
        Ok(_) => Ok(()),
        // Somebody else's, gone, or in the way; there is a second look before the role is dropped.
        Err(error)
            if error.sqlstate() == Some("42501") || is_in_the_way(&error) || error.is_full() =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
