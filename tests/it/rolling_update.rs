//! Both instances of a connector are replaced under load, as ECS does it: a new one is ready before an old one is asked to stop.

use crate::support::admin::Admin;
use crate::support::cluster::{Cluster, Version};
use crate::support::fleet::Fleet;
use crate::support::rig::Rig;
use crate::support::world::{World, now};
use apono_connector::ledger::{Household, Ledger, LedgerError, LedgerOptions, State};
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Requests under way at any time.
const AT_ONCE: usize = 4;
/// Tasks that are done before the update begins, between its steps, and after it.
const EACH_STAGE: usize = 12;
/// Between two requests of one person.
const PACE: Duration = Duration::from_millis(200);
/// How long every second grant lasts, which is then left to end by itself: room for a debug build on a busy machine.
const LASTS: SignedDuration = SignedDuration::from_secs(20);
/// What a container platform gives a process after it asked it to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for one task.
const PATIENCE: Duration = Duration::from_secs(60);
/// The promise is 1 s, which `make bench` measures. This catches ends nobody was there for.
const LATEST: f64 = 15.0;

/// What people saw.
#[derive(Debug, Default)]
struct Seen {
    failed: Vec<String>,
    longest: Duration,
}

/// Starts and ends grants without a break until it is told to stop; every second one ends by itself.
async fn load(admin: Admin, done: Arc<AtomicUsize>, stop: CancellationToken) -> Seen {
    let one = |n: usize| {
        let admin = admin.clone();
        async move {
            tokio::time::sleep(PACE).await;
            let by_itself = n.is_multiple_of(2);
            let lasts = if by_itself { LASTS } else { LASTS * 180 };
            let who = format!("roll{n}@example.com");
            let asked = Instant::now();
            let requested = admin.request(&who, now() + lasts).await;
            let mut seen = vec![(outcome(&admin, &requested.task).await, asked.elapsed())];
            if !by_itself {
                let path = format!("grants/{}/revoke", requested.grant);
                let asked = Instant::now();
                let ordered = admin.post(&path, &json!({})).await;
                let task = ordered["task"].as_str().unwrap().to_owned();
                seen.push((outcome(&admin, &task).await, asked.elapsed()));
            }
            seen
        }
    };
    let numbers = stream::iter(0_usize..).take_until(stop.cancelled_owned());
    let mut tasks = std::pin::pin!(numbers.map(one).buffer_unordered(AT_ONCE));
    let mut seen = Seen::default();
    while let Some(finished) = tasks.next().await {
        for (failure, waited) in finished {
            seen.failed.extend(failure);
            seen.longest = seen.longest.max(waited);
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
    seen
}

/// Waits for a task; returns what is wrong with it, if anything is.
async fn outcome(admin: &Admin, task: &str) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = admin.get(&format!("tasks/{task}?wait_s=5")).await;
        match seen["state"].as_str().unwrap_or_default() {
            // A revoke is cancelled when an end was reported meanwhile.
            "succeeded" | "closed" | "cancelled" => return None,
            "failed" => return Some(format!("{seen:#}")),
            _ if Instant::now() > deadline => return Some(format!("it takes too long: {seen:#}")),
            _ => {}
        }
    }
}

fn count(world: &World, sql: &str) -> u64 {
    world.sql(sql).parse().unwrap()
}

/// Tells whether no folder nobody holds owes anything.
fn nothing_is_left(world: &World) -> bool {
    let folders = Household::folders(&world.path("state"));
    folders.iter().all(
        |folder| match Ledger::open(folder, LedgerOptions::default()) {
            Err(LedgerError::Locked { .. }) => true,
            opened => opened.unwrap().read(State::owes_nothing),
        },
    )
}

#[tokio::test]
async fn a_stop_ends_the_session_so_that_an_order_on_its_way_does_not_wait_for_its_lease() {
    let mut rig = Rig::start();
    let _grant = rig.started().await;
    let before = rig.control.sessions();
    rig.stop().await;
    assert_eq!(rig.control.sessions(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_instances_are_replaced_under_load_and_no_task_fails() {
    let fleet = Fleet::prepare(Cluster::shared(Version::Pg18), 1).await;
    let world = &fleet.world;
    let mut running = vec![fleet.join("old-1"), fleet.join("old-2")];
    running.iter().for_each(|member| fleet.until_in_use(member));

    let (done, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let people = load(Admin::of(world, "public"), Arc::clone(&done), stop.clone());
    let people = TaskTracker::new().spawn(people);
    let some_more = |stage: &str| {
        let wanted = done.load(Ordering::SeqCst) + EACH_STAGE;
        world.until(stage, |_| done.load(Ordering::SeqCst) >= wanted);
    };
    some_more("the old ones do their work");
    for name in ["new-1", "new-2"] {
        let next = fleet.join(name);
        fleet.until_ready(&next);
        running.push(next);
        let stopped = running.remove(0).process.terminate(STOP_TIMEOUT);
        assert!(stopped, "it did not stop well\n{}", world.logs());
        some_more("both do their work");
    }
    stop.cancel();
    let Seen { failed, longest } = people.await.unwrap();
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), world.logs());

    world.until("everybody is out", |world| {
        count(
            world,
            "SELECT count(*) FROM apono.\"grant\" WHERE closed_at IS NULL",
        ) == 0
    });
    world.until("every end is reported", |world| {
        let all = world.json(&["grants", "--format", "json"]);
        all.as_array()
            .unwrap()
            .iter()
            .all(|grant| grant["state"] == "closed")
    });
    world.until(
        "nothing is left in the folders of the old ones",
        nothing_is_left,
    );
    assert!(Household::folders(&world.path("state")).len() > running.len());
    let late = "SELECT coalesce(max(extract(epoch FROM closed_at - expiry)), -1) FROM apono.\"grant\" WHERE reason = 'expired'";
    let early =
        "SELECT count(*) FROM apono.\"grant\" WHERE reason = 'expired' AND ended_at < expiry";
    let tasks = done.load(Ordering::SeqCst);
    let latest: f64 = world.sql(late).parse().unwrap();
    world.until("the new ones say how the database is", |world| {
        world.integration("orders")["status"] == "active"
    });
    println!(
        "measured: {tasks} tasks done, {} failed, longest wait {longest:.1?}, latest end {latest:.2} s after its expiry",
        failed.len()
    );
    assert_eq!(count(world, early), 0);
    assert!(
        (0.0..LATEST).contains(&latest),
        "{latest}\n{}",
        world.logs()
    );
    world.until("no login is left that can be used", |world| {
        let usable = "SELECT count(*) FROM pg_roles r JOIN apono.login l ON l.name = r.rolname WHERE r.rolcanlogin";
        let inside = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN apono.login l ON l.name = r.rolname";
        count(world, usable) + count(world, inside) == 0
    });
}
