//! SIGTERM at any moment: the process ends in time and well, hands back what it has not begun, and leaves nothing half-made.

use crate::support::cluster::{Cluster, Version, fresh};
use crate::support::world::{Login, Process, World};
use std::time::{Duration, Instant};

/// Longest time with work in hand.
const SOFT: Duration = Duration::from_secs(25);
/// Longest time without.
const IDLE: Duration = Duration::from_secs(2);
/// Longest time after a second signal.
const HARD: Duration = Duration::from_secs(5);

/// Keeps starts and ends waiting at their first statement.
fn slow_server(world: &World, table: &str) -> Process {
    let slow = world.stay_as_superuser(&format!(
        "BEGIN; LOCK TABLE apono.\"{table}\" IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(300)"
    ));
    let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND database = \
        (SELECT oid FROM pg_database WHERE datname = current_database())";
    world.until("the server is slow", |world| world.sql(held) != "0");
    slow
}

/// The server goes on when the waiting client's session is ended, not when the client is.
fn quicken(world: &World, slow: Process) {
    world.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%ACCESS EXCLUSIVE%' AND pid <> pg_backend_pid() AND datname = current_database()");
    slow.kill();
}

fn is_waiting(world: &World, for_what: &str) -> bool {
    let user = &world.road.connector.user;
    world.sql(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}' AND wait_event_type = 'Lock' AND query LIKE '%{for_what}%'"
    )) != "0"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connector_stops_at_once() {
    let mut world = World::start(Cluster::shared(Version::Pg15)).await;
    let login = world
        .grant(&format!("{}@example.com", fresh("ann")), "READ_ONLY", "1h")
        .unwrap();
    let connector = world.connector.take().unwrap();
    assert!(connector.terminate(IDLE), "{}", world.logs());
    assert!(
        world.psql(&login, "SELECT 1").ok,
        "live access outlives a stop"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_without_a_control_plane_stops_in_time() {
    let mut world = World::start(Cluster::shared(Version::Pg15)).await;
    let login = world
        .grant(&format!("{}@example.com", fresh("ann")), "READ_ONLY", "2s")
        .unwrap();
    world.kill_plane();
    world.until("an end waits to be reported", |world| {
        world.memberships(&login.user) == "0"
    });
    let connector = world.connector.take().unwrap();
    assert!(connector.terminate(HARD), "{}", world.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_under_way_is_handed_back_and_done_by_the_next_process() {
    let mut world = World::start(Cluster::shared(Version::Pg15)).await;
    let slow = slow_server(&world, "login");
    let who = format!("{}@example.com", fresh("ann"));
    let connector = world.connector.take().unwrap();
    let login: Login = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.grant(&who, "READ_ONLY", "1h"));
        world.until("the start waits", |world| is_waiting(world, "login"));
        let begun = Instant::now();
        assert!(connector.terminate(SOFT), "{}", world.logs());
        eprintln!("stopped a waiting start after {:?}", begun.elapsed());
        quicken(&world, slow);
        assert_eq!(
            world.sql("SELECT count(*) FROM apono.\"grant\""),
            "0",
            "a start without its report"
        );
        let local = who.split('@').next().unwrap();
        assert_eq!(
            world.sql(&format!(
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE '{local}\\_%'"
            )),
            "0"
        );
        let _next = world.spawn_connector(&[]);
        asking.join().unwrap().unwrap()
    });
    assert!(world.psql(&login, "SELECT 1").ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_under_way_is_finished_by_the_next_process() {
    let mut world = World::start(Cluster::shared(Version::Pg18)).await;
    let login = world
        .grant(&format!("{}@example.com", fresh("ann")), "READ_ONLY", "1h")
        .unwrap();
    let slow = slow_server(&world, "login");
    // Says that the end is not done yet.
    world
        .command(&["revoke", &login.grant, "--wait", "0s"])
        .unwrap_err();
    world.until("the end waits", |world| is_waiting(world, "FOR UPDATE"));
    let connector = world.connector.take().unwrap();
    let begun = Instant::now();
    assert!(connector.terminate(SOFT), "{}", world.logs());
    eprintln!("stopped a waiting end after {:?}", begun.elapsed());
    quicken(&world, slow);
    world.start_connector();
    world.until("she is out", |world| world.memberships(&login.user) == "0");
    world.until("the end is reported", |world| {
        world.seen(&login.grant)["ended_at"].is_string()
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_stops_at_once() {
    let mut world = World::start(Cluster::shared(Version::Pg15)).await;
    let slow = slow_server(&world, "login");
    let who = format!("{}@example.com", fresh("ann"));
    let connector = world.connector.take().unwrap();
    let resource = format!("{}/public", world.road.database);
    let ask = [
        "grant",
        "--integration",
        "orders",
        "--to",
        &who,
        "--type",
        "postgresql-schema",
        "--resource",
        &resource,
    ];
    let how = ["--permission", "READ_ONLY", "--for", "1h", "--wait", "0s"];
    // Says that the start is not done yet.
    world.command(&[&ask[..], &how[..]].concat()).unwrap_err();
    world.until("the start waits", |world| is_waiting(world, "login"));
    connector.ask_to_stop();
    assert!(connector.terminate(HARD), "{}", world.logs());
    quicken(&world, slow);
    assert_eq!(world.sql("SELECT count(*) FROM apono.\"grant\""), "0");
}
