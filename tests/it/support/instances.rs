//! Owns the play of two instances of one connector, of which one after the other is killed at odd moments while grants start and end.
//! Counts what is wrong afterwards with SQL of its own.

use super::admin::Admin;
use super::world::{Process, World, now};
use apono_connector::domain::GrantId;
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::cell::Cell;
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Options the control plane needs: what a dead instance held is handed out again soon.
pub(crate) const PLANE: [&str; 2] = ["--lease-s", "3"];
/// Grants ordered at the same time.
const AT_ONCE: usize = 8;
/// Shortest time between two kills; the longest is twice as much.
const KILL_EVERY: Duration = Duration::from_millis(700);
/// How long every second grant lasts, which is then left to end by itself.
const LASTS: SignedDuration = SignedDuration::from_secs(15);
/// Longest wait for one task, over all instances that die meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why a task failed that was handed out too often.
const GIVEN_UP: &str = "too_many_attempts";

/// What was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) started: usize,
    /// Starts the control plane gave up, because whoever took the order died, again and again.
    pub(crate) given_up: usize,
    pub(crate) kills: usize,
    /// Memberships of our logins, and logins that may log in, with no grant left.
    pub(crate) leaked: u64,
    /// Grants without an end, in the server's record or the control plane's.
    pub(crate) unended: u64,
    /// Logins beyond one for each person, and grants that started twice.
    pub(crate) doubled: u64,
}

/// How far the play is.
#[derive(Default)]
struct Progress {
    settled: Cell<usize>,
    kills: Cell<usize>,
}

/// Starts and ends so many grants, each for a person of her own.
pub(crate) async fn play(world: &World, grants: usize) -> Outcome {
    let progress = Progress::default();
    let admin = Admin::of(world, "public");
    let started = tokio::select! {
        started = all(&admin, grants, &progress) => started,
        never = kill_in_turn(world, &progress) => match never {},
    };
    let _pair = [instance(world, "one"), instance(world, "two")];
    let deadline = Instant::now() + PATIENCE;
    while open_in_record(world) + open_in_plane(world) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Outcome {
        started,
        given_up: grants - started,
        kills: progress.kills.get(),
        leaked: leaked(world),
        unended: open_in_record(world) + open_in_plane(world),
        doubled: doubled(world, grants),
    }
}

fn instance(world: &World, name: &str) -> Process {
    let state = world.path(name).display().to_string();
    world.spawn_connector(&[("APONO_STATE_DIR", &state)])
}

/// Kills one of the two again and again, and brings it back at once.
async fn kill_in_turn(world: &World, progress: &Progress) -> Infallible {
    let names = ["one", "two"];
    let mut running = names.map(|name| Some(instance(world, name)));
    let mut settled = 0;
    loop {
        // Odd moments without a source of luck: the id of a grant is as good as any.
        let odd = u32::from(GrantId::generate().as_uuid().as_bytes()[15]);
        tokio::time::sleep(KILL_EVERY + KILL_EVERY * odd / 256).await;
        // On a busy machine a process that is killed every second never gets anywhere.
        if progress.settled.get() < settled + AT_ONCE {
            continue;
        }
        settled = progress.settled.get();
        let which = progress.kills.get() % names.len();
        if let Some(process) = running[which].take() {
            process.kill();
        }
        running[which] = Some(instance(world, names[which]));
        progress.kills.set(progress.kills.get() + 1);
    }
}

/// Takes everybody through start and end; returns how many grants started.
async fn all(admin: &Admin, grants: usize, progress: &Progress) -> usize {
    let one = |n: usize| async move {
        let who = format!("two{n}@example.com");
        let by_itself = n.is_multiple_of(2);
        let lasts = if by_itself { LASTS } else { LASTS * 240 };
        let requested = admin.request(&who, now() + lasts).await;
        let done = settled(admin, &requested.task).await;
        let started = done["state"] == "succeeded";
        assert!(started || done["failure"]["reason"] == GIVEN_UP, "{done:#}");
        if !by_itself {
            let path = format!("grants/{}/revoke", requested.grant);
            let ordered = admin.post(&path, &json!({})).await;
            settled(admin, ordered["task"].as_str().unwrap()).await;
        }
        progress.settled.set(progress.settled.get() + 1);
        usize::from(started)
    };
    let started: Vec<usize> = stream::iter(0..grants)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    started.into_iter().sum()
}

async fn settled(admin: &Admin, task: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = admin.get(&format!("tasks/{task}?wait_s=5")).await;
        // A revoke is cancelled when another instance has reported the end meanwhile.
        if ["succeeded", "failed", "closed", "cancelled"]
            .iter()
            .any(|state| seen["state"] == *state)
        {
            return seen;
        }
        assert!(Instant::now() < deadline, "{seen:#}");
    }
}

fn count(world: &World, sql: &str) -> u64 {
    world.sql(sql).parse().unwrap()
}

fn open_in_record(world: &World) -> u64 {
    count(
        world,
        "SELECT count(*) FROM apono.\"grant\" WHERE closed_at IS NULL",
    )
}

fn open_in_plane(world: &World) -> u64 {
    let all = world.json(&["grants", "--format", "json"]);
    // Closed is without access; the clean-up that follows takes its time.
    let open = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|grant| grant["state"] != "closed");
    u64::try_from(open.count()).unwrap()
}

fn leaked(world: &World) -> u64 {
    count(
        world,
        "SELECT (SELECT count(*) FROM pg_auth_members m JOIN pg_roles l ON l.oid = m.member JOIN apono.access_role a\n\
         ON a.name = pg_get_userbyid(m.roleid) WHERE l.rolcanlogin AND l.rolname <> current_user AND l.rolname LIKE '%\\_apono')\n\
         + (SELECT count(*) FROM pg_roles r JOIN apono.login l ON l.name = r.rolname WHERE r.rolcanlogin)\n\
         + (SELECT count(*) FROM pg_stat_activity s JOIN apono.login l ON l.name = s.usename)",
    )
}

fn doubled(world: &World, grants: usize) -> u64 {
    let people = u64::try_from(grants).unwrap();
    let both = "(SELECT login, principal, id FROM apono.\"grant\" UNION ALL SELECT login, principal, id FROM apono.history) g";
    let logins = count(world, &format!("SELECT count(DISTINCT login) FROM {both}"));
    let rows = count(world, &format!("SELECT count(*) FROM {both}"));
    logins.saturating_sub(people) + rows.saturating_sub(people)
}
