//! Owns the watch on many grants that expire at the same moment while the control plane is gone. Sees with its own connections
//! alone: sessions in `pg_stat_activity`, and attempts to log in.

use super::admin::Admin;
use super::world::World;
use apono_connector::clock::{Clock, SystemClock};
use apono_connector::pg::{ConnectOptions, Session, SslMode};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between two looks at the server.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Longest watch after the expiry.
const PATIENCE: Duration = Duration::from_secs(30);
/// Grants ordered at the same time.
const ASK_AT_ONCE: usize = 8;

/// How it went.
#[derive(Debug)]
pub(crate) struct OfflineEnds {
    /// For each login: from its expiry to "login refused and session gone", sorted.
    pub(crate) after_expiry: Vec<Duration>,
    /// Sessions that were gone before their time.
    pub(crate) early: usize,
    /// Logins that were let in at the end of the watch.
    pub(crate) let_in: usize,
}

impl OfflineEnds {
    pub(crate) fn median(&self) -> Duration {
        self.after_expiry[self.after_expiry.len() / 2]
    }

    pub(crate) fn worst(&self) -> Duration {
        self.after_expiry[self.after_expiry.len() - 1]
    }
}

/// When something was first seen of each login.
type FirstSeen = BTreeMap<String, Timestamp>;

/// Starts so many grants that end together after `lead`, opens a session for each, kills the control plane, and watches.
pub(crate) async fn watch(world: &mut World, count: usize, lead: Duration) -> OfflineEnds {
    let clock = SystemClock;
    let expiry = clock.now() + SignedDuration::try_from(lead).unwrap();
    let people = start(world, count, expiry).await;
    let mut sessions = Vec::new();
    for person in &people {
        sessions.push(Session::connect(person).await.unwrap());
    }
    world.kill_plane();
    assert!(
        clock.now() < expiry - SignedDuration::from_secs(1),
        "setting up took longer than {lead:?}"
    );

    let watcher = world.cluster.superuser("postgres").await;
    let early = look_until(&watcher, &people, expiry).await;
    let (gone, refused) = tokio::join!(
        until_gone(&watcher, &people, expiry),
        until_refused(&people, expiry)
    );
    let mut after_expiry: Vec<Duration> = people
        .iter()
        .map(|person| {
            let over = gone[&person.user].max(refused[&person.user]);
            Duration::try_from(over.duration_since(expiry)).unwrap()
        })
        .collect();
    after_expiry.sort();
    let mut let_in = 0;
    for person in &people {
        let_in += usize::from(Session::connect(person).await.is_ok());
    }
    drop(sessions);
    OfflineEnds {
        after_expiry,
        early,
        let_in,
    }
}

async fn start(world: &World, count: usize, expiry: Timestamp) -> Vec<ConnectOptions> {
    use futures_util::{StreamExt, stream};
    let admin = Admin::of(world, "public");
    let admin = &admin;
    stream::iter(0..count)
        .map(|n| async move {
            let (_, sealed) = admin.start(&format!("p{n}@example.com"), expiry).await;
            admin.open(&sealed, world)
        })
        .buffer_unordered(ASK_AT_ONCE)
        .collect()
        .await
}

/// Returns the logins that have a session now.
async fn present(watcher: &Session) -> BTreeSet<String> {
    let answer = watcher
        .batch(
            "look for sessions",
            "SELECT DISTINCT usename FROM pg_stat_activity WHERE usename IS NOT NULL",
        )
        .await
        .unwrap();
    let names = answer.rows.into_iter().flatten();
    names.flatten().collect()
}

/// Looks until the expiry; returns how many sessions went before it.
async fn look_until(watcher: &Session, people: &[ConnectOptions], expiry: Timestamp) -> usize {
    let mut missing = BTreeSet::new();
    while SystemClock.now() < expiry - SignedDuration::from_millis(20) {
        let there = present(watcher).await;
        let gone = people.iter().filter(|p| !there.contains(&p.user));
        missing.extend(gone.map(|person| &person.user));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    missing.len()
}

async fn until_gone(watcher: &Session, people: &[ConnectOptions], expiry: Timestamp) -> FirstSeen {
    let mut seen = FirstSeen::new();
    while seen.len() < people.len() {
        let there = present(watcher).await;
        let now = SystemClock.now();
        for person in people.iter().filter(|p| !there.contains(&p.user)) {
            seen.entry(person.user.clone()).or_insert(now);
        }
        assert_in_time(now, expiry, || format!("{} sessions are gone", seen.len()));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    seen
}

/// Tries each login in turn from the expiry on, until it is refused. In the clear, because a handshake per attempt would keep
/// the machine busier than the ends do.
async fn until_refused(people: &[ConnectOptions], expiry: Timestamp) -> FirstSeen {
    let wait = Duration::try_from(expiry.duration_since(SystemClock.now())).unwrap_or_default();
    tokio::time::sleep(wait).await;
    let mut seen = FirstSeen::new();
    while seen.len() < people.len() {
        for person in people {
            if seen.contains_key(&person.user) {
                continue;
            }
            let attempt = ConnectOptions {
                ssl_mode: SslMode::Disable,
                ..person.clone()
            };
            let outcome = Session::connect(&attempt).await;
            let now = SystemClock.now();
            if matches!(&outcome, Err(error) if is_refusal(error.sqlstate())) {
                seen.insert(person.user.clone(), now);
            }
            assert_in_time(now, expiry, || format!("{} logins are refused", seen.len()));
        }
    }
    seen
}

/// 28P01: the password is not valid (any more). 28000: the role may not log in.
fn is_refusal(sqlstate: Option<&str>) -> bool {
    matches!(sqlstate, Some("28P01" | "28000"))
}

#[track_caller]
fn assert_in_time(now: Timestamp, expiry: Timestamp, state: impl Fn() -> String) {
    let limit = SignedDuration::try_from(PATIENCE).unwrap();
    assert!(
        now.duration_since(expiry) < limit,
        "{PATIENCE:?} after the expiry only {}",
        state()
    );
}
