//! Owns the end of access on replicas: each must have replayed it, and none may serve a session of the login any more. Never changes a
//! role, but for a membership of our own in the login, which it takes back.

mod problem;

use super::PostgresTarget;
use super::error::Trouble;
use super::identity::BEGAN;
use super::pool::{Conn, Pool};
use super::render::{id, lit, self_membership};
use super::rows::Rows;
use super::settings::Place;
use crate::domain::{ErrorClass, GrantId};
use crate::pg::Session;
use futures_util::future::join_all;
use problem::{Problem, trouble};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time until a replica lets us in; an end holds its place meanwhile.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait of one visit for replay and for sessions to be gone; the end is tried again by itself.
const VISIT: Duration = Duration::from_secs(3);
/// Longest wait for an idle connection to show that it lives.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Longest visit altogether: connecting, waiting, and one question that goes unanswered.
const WHOLE_VISIT: Duration = Duration::from_secs(8);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// First pause after a replica failed us, so that many ends do not all wait for it; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Idle connections kept per replica.
const IDLE: usize = 4;

/// What must be seen on a replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) login: &'a str,
    /// The record there shows the end of this grant.
    pub(super) ended: Option<GrantId>,
    /// Nobody can log in there as the login any more, and all its sessions go; otherwise those that were there at the end.
    pub(super) blocked: bool,
    /// Nobody there is between log-in and first appearance.
    pub(super) nobody_hides: bool,
}

/// The replicas of one server.
pub(super) struct Replicas {
    known: Vec<Replica>,
}

struct Replica {
    place: Place,
    idle: Mutex<Vec<Session>>,
    trial: Mutex<Trial>,
}

/// How the last visits went.
#[derive(Default)]
struct Trial {
    failures: u32,
    until: Option<Instant>,
    /// Why it could not be reached.
    why: Option<String>,
}

/// One look at a replica.
struct Look {
    in_recovery: bool,
    has_end: bool,
    may_end: bool,
    hidden: bool,
    pids: BTreeSet<i64>,
}

impl Replicas {
    pub(super) fn new(places: &[Place]) -> Self {
        let replica = |place: &Place| Replica {
            place: place.clone(),
            idle: Mutex::default(),
            trial: Mutex::default(),
        };
        Self {
            known: places.iter().map(replica).collect(),
        }
    }

    /// Tells whether there are any.
    pub(super) fn any(&self) -> bool {
        !self.known.is_empty()
    }
}

impl PostgresTarget {
    /// Ends the login's sessions on every replica and waits until each has replayed the end; returns how many there were. Whoever
    /// calls has shut the door on the primary.
    pub(super) async fn end_on_replicas(
        &self,
        home: &Conn<'_>,
        wanted: Wanted<'_>,
    ) -> Result<u32, Trouble> {
        let all = &self.replicas.known;
        if all.is_empty() {
            return Ok(0);
        }
        let first = join_all(all.iter().map(|one| one.visit(&self.pool, wanted, false))).await;
        let refused: Vec<bool> = first
            .iter()
            .map(|v| matches!(v, Err(Problem::NoRight)))
            .collect();
        let mut visits = first;
        if refused.contains(&true) {
            let lent = self.lend_ourselves(home, wanted.login).await;
            if lent.is_ok() {
                let again = all
                    .iter()
                    .zip(&refused)
                    .enumerate()
                    .filter(|(_, (_, no))| **no);
                let again = join_all(again.map(|(at, (one, _))| async move {
                    (at, one.visit(&self.pool, wanted, true).await)
                }))
                .await;
                for (at, visit) in again {
                    visits[at] = visit;
                }
            }
            // Also after a failure whose outcome is not known.
            self.take_ourselves_back(home, wanted.login).await?;
            lent?;
        }
        self.judge(home, wanted.login, visits).await
    }

    /// The same where no end waits for it; what may be left is said.
    pub(super) async fn try_end_on_replicas(&self, home: &Conn<'_>, login: &str, blocked: bool) {
        let wanted = Wanted {
            login,
            ended: None,
            blocked,
            nobody_hides: false,
        };
        if let Err(error) = self.end_on_replicas(home, wanted).await {
            tracing::warn!(
                login,
                error = &error as &dyn std::error::Error,
                "sessions on replicas may be left"
            );
        }
    }

    async fn judge(
        &self,
        home: &Conn<'_>,
        login: &str,
        visits: Vec<Result<u32, Problem>>,
    ) -> Result<u32, Trouble> {
        let mut before = 0;
        let mut problems = Vec::new();
        for (replica, visit) in self.replicas.known.iter().zip(visits) {
            match visit {
                Ok(seen) => before += seen,
                Err(Problem::Primary) if replica.is_home(&self.pool, home).await? => {}
                Err(problem) => problems.push((&replica.place, problem)),
            }
        }
        let sessions = problems
            .iter()
            .any(|(_, p)| matches!(p, Problem::SessionsLeft(_)));
        if before > 0 || sessions {
            note_sessions(home, login).await?;
        }
        match trouble(login, &problems) {
            None => Ok(before),
            Some(trouble) => Err(trouble),
        }
    }

    /// A replica takes no change, so the right to end sessions there has to come from here.
    async fn lend_ourselves(&self, home: &Conn<'_>, login: &str) -> Result<(), Trouble> {
        let sql = format!(
            "BEGIN READ WRITE;\nSET LOCAL lock_timeout = '1s';\n{}COMMIT;\n",
            self_membership(login, home.version())
        );
        home.batch("lend ourselves the login", &sql).await.map(drop)
    }

    async fn take_ourselves_back(&self, home: &Conn<'_>, login: &str) -> Result<(), Trouble> {
        let sql = format!(
            "BEGIN READ WRITE;\nSET LOCAL lock_timeout = '1s';\nREVOKE {} FROM CURRENT_USER;\nCOMMIT;\n",
            id(login)
        );
        match home.batch("take ourselves back from the login", &sql).await {
            Err(error) if error.sqlstate() != Some("42704") => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Says what is wrong with the replicas, for people.
    pub(super) async fn replica_warnings(&self, home: &Conn<'_>) -> Result<Vec<String>, Trouble> {
        let mut warnings = Vec::new();
        let mut addresses = Vec::new();
        for replica in &self.replicas.known {
            match replica.address(&self.pool).await {
                Ok(Some(address)) => addresses.push(address),
                // It may be the primary itself, where the list names every server of a group.
                Ok(None) if replica.is_home(&self.pool, home).await? => {}
                Ok(None) => warnings.push(Problem::Primary.said(&replica.place)),
                Err(problem) => warnings.push(problem.said(&replica.place)),
            }
        }
        if !self.replicas.known.is_empty() {
            warnings.extend(self.signal_right(home).await?);
        }
        warnings.extend(unlisted(home, &addresses).await?);
        Ok(warnings)
    }

    /// A session on a replica can hold up the replay of what would let us end it.
    async fn signal_right(&self, home: &Conn<'_>) -> Result<Option<String>, Trouble> {
        const DOING: &str = "look for the right to end sessions";
        let sql = "SELECT current_user WHERE NOT pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'USAGE')";
        let answer = home.batch(DOING, sql).await?;
        Ok(answer.text().map(|user| {
            format!(
                "a transaction on a replica can hold up its own end there: GRANT pg_signal_backend TO {};",
                id(user)
            )
        }))
    }
}

impl Replica {
    /// Returns how many sessions were ended.
    async fn visit(&self, pool: &Pool, wanted: Wanted<'_>, lent: bool) -> Result<u32, Problem> {
        let patience = self.patience()?;
        let visiting = self.visit_within(pool, wanted, lent, patience);
        let visited = tokio::time::timeout(WHOLE_VISIT, visiting)
            .await
            .unwrap_or_else(|_| {
                let why = format!("it did not answer within {WHOLE_VISIT:?}");
                Err(Problem::Unreachable(why))
            });
        match &visited {
            Ok(_) | Err(Problem::NoRight | Problem::Primary) => self.note(None),
            Err(problem) => self.note(Some(problem)),
        }
        visited
    }

    async fn visit_within(
        &self,
        pool: &Pool,
        wanted: Wanted<'_>,
        lent: bool,
        patience: Duration,
    ) -> Result<u32, Problem> {
        let session = self.session(pool).await?;
        let begun = Instant::now();
        let mut ended = BTreeSet::new();
        let mut present: Option<BTreeSet<i64>> = None;
        loop {
            let look = look(&session, wanted).await?;
            if !look.in_recovery {
                return Err(Problem::Primary);
            }
            if look.has_end && present.is_none() {
                present = Some(look.pids.clone());
            }
            let left = match (&present, wanted.blocked) {
                (Some(present), false) => look.pids.intersection(present).count(),
                _ => look.pids.len(),
            };
            if look.has_end && left == 0 && !(wanted.nobody_hides && look.hidden) {
                self.put(session);
                return Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX));
            }
            if !look.pids.is_empty() {
                if look.may_end {
                    order(&session, wanted.login).await?;
                    ended.extend(look.pids);
                } else if !lent {
                    self.put(session);
                    return Err(Problem::NoRight);
                }
            }
            let limit = if look.has_end { VISIT } else { patience };
            if begun.elapsed() >= limit {
                self.put(session);
                return Err(match look.has_end {
                    false => Problem::Behind,
                    true if left > 0 => Problem::SessionsLeft(left),
                    true => Problem::Hidden,
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns how long a visit may wait: hardly, while the replica is known to be behind; and fails at once while it is known to be away.
    fn patience(&self) -> Result<Duration, Problem> {
        let trial = self.trial.lock().unwrap_or_else(PoisonError::into_inner);
        let pausing = trial.until.is_some_and(|until| Instant::now() < until);
        match &trial.why {
            Some(why) if pausing => Err(Problem::Unreachable(why.clone())),
            _ if pausing => Ok(Duration::ZERO),
            _ => Ok(VISIT),
        }
    }

    fn note(&self, problem: Option<&Problem>) {
        let mut trial = self.trial.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(problem) = problem else {
            *trial = Trial::default();
            return;
        };
        if trial.until.is_none_or(|until| Instant::now() >= until) {
            let pause = FIRST_PAUSE.saturating_mul(1 << trial.failures.min(16));
            trial.until = Some(Instant::now() + pause.min(LONGEST_PAUSE));
            trial.failures = trial.failures.saturating_add(1);
        }
        trial.why = match problem {
            Problem::Unreachable(why) => Some(why.clone()),
            Problem::Failed(_)
            | Problem::Behind
            | Problem::Primary
            | Problem::NoRight
            | Problem::SessionsLeft(_)
            | Problem::Hidden => None,
        };
    }

    async fn session(&self, pool: &Pool) -> Result<Session, Problem> {
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|session| !session.is_closed());
            idle.pop()
        };
        if let Some(session) = idle
            // It may have died unseen.
            && session.answers_within(ANSWER_LIMIT).await
        {
            return Ok(session);
        }
        match tokio::time::timeout(CONNECT_LIMIT, pool.replica(&self.place)).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(Problem::Unreachable(error.to_string())),
            Err(_) => Err(Problem::Unreachable(format!(
                "it did not let us in within {CONNECT_LIMIT:?}"
            ))),
        }
    }

    fn put(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && !session.is_closed() {
            idle.push(session);
        }
    }

    /// Returns the address it has, if it is a replica.
    async fn address(&self, pool: &Pool) -> Result<Option<String>, Problem> {
        const DOING: &str = "look at the replica";
        let session = self.session(pool).await?;
        let sql = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()), '') END";
        let answer = session.batch(DOING, sql).await.map_err(failed)?;
        let address = answer.text().map(str::to_owned);
        self.put(session);
        Ok(address)
    }

    /// Tells whether this is the very server `home` is a connection to.
    async fn is_home(&self, pool: &Pool, home: &Conn<'_>) -> Result<bool, Trouble> {
        const DOING: &str = "read when the server began";
        let Ok(session) = self.session(pool).await else {
            return Ok(false);
        };
        let there = session.batch(DOING, BEGAN).await;
        let here = home.batch(DOING, BEGAN).await?;
        Ok(there.is_ok_and(|there| there.text().is_some() && there.text() == here.text()))
    }
}

async fn look(session: &Session, wanted: Wanted<'_>) -> Result<Look, Problem> {
    const DOING: &str = "look for sessions on the replica";
    let ended = wanted.ended.map_or_else(
        || "true".to_owned(),
        |grant| {
            format!(
                "(EXISTS (SELECT FROM apono.\"grant\" WHERE id = '{id}' AND ended_at IS NOT NULL)\n\
                 OR EXISTS (SELECT FROM apono.history WHERE id = '{id}'))",
                id = grant.as_uuid()
            )
        },
    );
    let blocked = if wanted.blocked {
        "NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {login} AND rolcanlogin)"
    } else {
        "true"
    };
    let login = lit(wanted.login);
    let sql = format!(
        "SELECT 'state', pg_catalog.pg_is_in_recovery()::text, ({ended} AND {blocked})::text,\n\
         EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname IN ('pg_signal_backend', {login})\n\
          AND pg_catalog.pg_has_role(current_user, r.oid, 'USAGE'))::text,\n\
         EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass\n\
          AND l.mode = 'RowExclusiveLock' AND l.granted AND NOT EXISTS\n\
          (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid AND a.usesysid IS NOT NULL))::text;\n\
         SELECT 'pid', a.pid FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid WHERE r.rolname = {login};\n",
        blocked = blocked.replace("{login}", &login),
    );
    let rows = Rows::of(DOING, session.batch(DOING, &sql).await.map_err(failed)?);
    let read = || -> Result<Look, Trouble> {
        let state = rows.one("state")?;
        Ok(Look {
            in_recovery: state.yes(0)?,
            has_end: state.yes(1)?,
            may_end: state.yes(2)?,
            hidden: state.yes(3)?,
            pids: rows
                .tagged("pid")
                .map(|line| line.number(0))
                .collect::<Result<_, _>>()?,
        })
    };
    read().map_err(|error| Problem::Failed(error.to_string()))
}

async fn order(session: &Session, login: &str) -> Result<(), Problem> {
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a\n\
         JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid WHERE r.rolname = {}",
        lit(login)
    );
    match session.batch("end the sessions on the replica", &sql).await {
        Ok(_) => Ok(()),
        // The right was taken back meanwhile, by another end of the same login.
        Err(error) if error.sqlstate() == Some("42501") => Err(Problem::NoRight),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: crate::pg::PgError) -> Problem {
    if error.class() == ErrorClass::Transient {
        Problem::Unreachable(error.to_string())
    } else {
        Problem::Failed(error.to_string())
    }
}

/// The wait before the role is dropped begins anew.
async fn note_sessions(home: &Conn<'_>, login: &str) -> Result<(), Trouble> {
    let sql = format!(
        "UPDATE apono.login SET last_session_at = pg_catalog.clock_timestamp() WHERE name = {}",
        lit(login)
    );
    home.batch("note that sessions were seen", &sql)
        .await
        .map(drop)
}

/// Replicas that stream from the primary and are not in the settings. Their ports are not to be seen, and without
/// `pg_read_all_stats` not even their addresses, so they can only be pointed at.
async fn unlisted(home: &Conn<'_>, listed: &[String]) -> Result<Vec<String>, Trouble> {
    const DOING: &str = "look for replicas";
    let sql = "SELECT 'sender', COALESCE(pg_catalog.host(r.client_addr), '') FROM pg_catalog.pg_stat_replication r\n\
               WHERE COALESCE(r.state, '') <> 'backup' AND NOT EXISTS\n\
               (SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical') LIMIT 64";
    let rows = Rows::of(DOING, home.batch(DOING, sql).await?);
    let mut listed = listed.to_vec();
    let mut strange = Vec::new();
    let mut nameless = 0_usize;
    for line in rows.tagged("sender") {
        let address = line.text(0)?;
        if address.is_empty() {
            nameless += 1;
        } else if let Some(at) = listed.iter().position(|known| known == address) {
            // Each listed replica explains one sender.
            listed.remove(at);
        } else {
            strange.push(format!(
                "replica at `{address}` is not in the settings: add it to `replicas`, sessions on it are not ended"
            ));
        }
    }
    if nameless > listed.len() {
        strange.push(format!(
            "replicas that stream from this server and are not in the setting `replicas`: {}; sessions on them are not ended, and only with `pg_read_all_stats` could we say where they are",
            nameless - listed.len()
        ));
    }
    Ok(strange)
}
