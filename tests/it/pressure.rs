//! The whole product on servers that are full: of sessions, or of data.

use crate::support::cluster::{Cluster, Halt, SUPERUSER_PASSWORD, Version, fresh};
use crate::support::disk::Disk;
use crate::support::world::{Login, World};
use apono_connector::pg::Session;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Room for the superuser, and on 16 and later for whom he names.
const SESSIONS: &str = "max_connections = 30\nsuperuser_reserved_connections = 5";

fn email(name: &str) -> String {
    format!("{}@example.com", fresh(name))
}

fn is_in(login: &Login) -> String {
    format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
        login.user
    )
}

/// Value of a metric without labels.
fn metric(world: &World, name: &str) -> f64 {
    let (status, body) = world.listener("/metrics");
    assert_eq!(status, 200);
    let line = body
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("{name} is not in\n{body}"))
}

/// Asks for access and does not wait for it; returns the grant.
fn ask_for(world: &World, who: &str) -> String {
    let database = format!("--path={}", world.road.database);
    let answer = world.command(&[
        "grant",
        "--integration",
        "orders",
        "--to",
        who,
        "--type",
        "postgresql-schema",
        &database,
        "--path=public",
        "--permission",
        "READ_ONLY",
        "--for",
        "1h",
        "--wait",
        "1s",
    ]);
    assert!(answer.is_err(), "{answer:?}");
    let all = world.json(&["grants", "--all", "--format", "json"]);
    let found = all
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["grant"]["principal"]["email"] == who);
    found.unwrap()["grant"]["id"].as_str().unwrap().to_owned()
}

/// People who take every ordinary connection there is, and each that comes free.
struct Crowd {
    stop: Arc<AtomicBool>,
    pushing: tokio::task::JoinHandle<()>,
    is_full: Arc<AtomicBool>,
}

impl Crowd {
    fn gather(world: &World) -> Self {
        let name = fresh("crowd");
        world.sql(&format!("CREATE ROLE {name} LOGIN PASSWORD 'crowd'"));
        let options = world.cluster.options(&name, "crowd", &world.road.database);
        let (stop, is_full) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (stopped, full) = (Arc::clone(&stop), Arc::clone(&is_full));
        let pushing = TaskTracker::new().spawn(async move {
            let mut taken = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match Session::connect(&options).await {
                    Ok(session) => taken.push(session),
                    Err(error) => {
                        full.store(error.sqlstate() == Some("53300"), Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        Self {
            stop,
            pushing,
            is_full,
        }
    }

    fn has_taken_all(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    async fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.pushing.await.unwrap();
    }
}

async fn taken_up(version: Version, extra: &str) {
    let conf = format!("{SESSIONS}\n{extra}");
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::private(version, &conf)));
    let world = World::start(cluster).await;
    let eve = world.grant(&email("eve"), "READ_ONLY", "14s").unwrap();
    let expiry: jiff::Timestamp = world.seen(&eve.grant)["grant"]["expiry"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let mut hers: Vec<_> = (0..10)
        .map(|_| world.stay(&eve, "SELECT pg_sleep(300)"))
        .collect();
    world.until("she has all her connections", |world| {
        world.sql(&is_in(&eve)) == "10"
    });
    let crowd = Crowd::gather(&world);
    world.until("no connection is free", |_| crowd.has_taken_all());
    while crate::support::world::now() < expiry {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.until("her access is gone", |world| {
        world.memberships(&eve.user) == "0" && world.sql(&is_in(&eve)) == "0"
    });
    assert!(
        hers.iter_mut()
            .all(|session| session.ended(Duration::from_secs(60)))
    );
    world.until("the end is reported", |world| {
        world.seen(&eve.grant)["end_reason"] == "expired"
    });
    world.until("nothing is overdue", |world| {
        metric(world, "apono_overdue_ends") < 0.5
    });

    // Now the connector loses all of its own, until none of them is free.
    let user = &world.road.connector.user;
    let lose =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'");
    world.until("it is said why nothing can be started", |world| {
        world.sql(&lose);
        let seen = world.integration("orders");
        let message = seen["message"].as_str().unwrap_or_default();
        seen["status"] == "error"
            && message.contains("SQLSTATE 53300")
            && message.contains("raise `max_connections`")
    });
    assert_eq!(world.listener("/healthz").0, 200);
    let bob = ask_for(&world, &email("bob"));
    assert_ne!(world.seen(&bob)["state"], "failed");
    if extra.is_empty() {
        crowd.leave().await;
    } else {
        // What docs/postgresql.md advises.
        world.sql(&format!("GRANT pg_use_reserved_connections TO {user}"));
    }
    world.until("he gets his access", |world| {
        world.seen(&bob)["state"] == "active"
    });
    world.until("the integration is well again", |world| {
        world.integration("orders")["status"] == "active"
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_people_take_every_connection_ends_are_on_time_and_starts_wait_on_15() {
    taken_up(Version::Pg15, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_people_take_every_connection_ends_are_on_time_and_reserved_ones_start_on_18() {
    taken_up(Version::Pg18, "reserved_connections = 5").await;
}

/// Makes the disk full, and uses up the room on the pages of our record and of the roles, in a transaction that stays open, so that it can be given back.
async fn use_up_the_room(world: &World, disk: &Disk, memberships: bool) -> Session {
    let root = world.cluster.superuser(&world.road.database).await;
    let tables = [
        "apono.\"grant\"",
        "apono.login",
        "pg_authid",
        "pg_auth_members",
    ];
    for table in tables {
        let sql = format!("VACUUM {table}");
        root.batch("tidy the pages", &sql).await.unwrap();
    }
    disk.fill();
    let rows = [
        "INSERT INTO apono.\"grant\" (id, connector, integration, login, access_role, principal, kind, path, level, expiry) \
         VALUES (gen_random_uuid(), '', gen_random_uuid(), '', '', '', '', '{}', '', now())",
        "INSERT INTO apono.login (name, connector, principal) VALUES ('filler_' || n, '', 'filler_' || n)",
        "EXECUTE format('CREATE ROLE %I', 'filler_' || n)",
    ];
    let mut fill: String = rows
        .iter()
        .map(|row| {
            format!(
                "LOOP n := n + 1; BEGIN {row}; EXCEPTION WHEN disk_full THEN EXIT; END; END LOOP; "
            )
        })
        .collect();
    if memberships {
        fill += "FOR a, b IN SELECT x.rolname, y.rolname FROM pg_roles x, pg_roles y \
            WHERE x.rolname LIKE 'filler%' AND y.rolname LIKE 'filler%' AND x.rolname < y.rolname LOOP \
            BEGIN EXECUTE format('GRANT %I TO %I', a, b); EXCEPTION WHEN disk_full THEN EXIT; END; END LOOP; ";
    }
    root.batch(
        "use up the room",
        &format!(
            "SET idle_in_transaction_session_timeout = 0; BEGIN; DO $$ DECLARE n int := 0; a name; b name; BEGIN {fill} END $$"
        ),
    )
    .await
    .unwrap();
    root
}

/// How the want of room ends.
enum Relief {
    Room,
    Restart,
}

async fn give_room(world: &World, disk: &Disk, filler: Session, relief: Relief) {
    match relief {
        Relief::Room => {
            disk.free();
            filler
                .batch("give the room back", "ROLLBACK")
                .await
                .unwrap();
        }
        Relief::Restart => {
            // Its log cannot grow either: it goes down with everybody who was in, and does not come back before there is room.
            let on = "SELECT pg_switch_wal(), txid_current()";
            world.until("the server is down", |world| {
                !world
                    .cluster
                    .psql("postgres", SUPERUSER_PASSWORD, &world.road.database, on)
                    .ok
            });
            assert_eq!(world.listener("/healthz").0, 200);
            disk.free();
            world.cluster.halt(Halt::Killed);
            world.cluster.start_again();
        }
    }
}

async fn out_of_room(version: Version, relief: Relief) {
    let (cluster, disk) = Disk::with_a_server(version);
    let mut world = World::start(cluster).await;
    let ann = world.grant(&email("ann"), "READ_ONLY", "1h").unwrap();
    let mut session = world.stay(&ann, "SELECT pg_sleep(300)");
    world.until("she is in", |world| world.sql(&is_in(&ann)) == "1");
    let everywhere = matches!(relief, Relief::Restart);
    if everywhere {
        // What docs/postgresql.md advises.
        world.sql(&format!("GRANT pg_signal_backend TO {}", world.road.admin));
    }
    let filler = use_up_the_room(&world, &disk, everywhere).await;

    let said = world
        .command(&["revoke", &ann.grant, "--wait", "20s"])
        .unwrap_err();
    assert!(
        said.contains("SQLSTATE 53100") && said.contains("free space"),
        "{said}"
    );
    assert!(
        session.ended(Duration::from_secs(60)),
        "her session lives on\n{}",
        world.logs()
    );
    assert_eq!(world.memberships(&ann.user), "0");
    assert_eq!(
        world.seen(&ann.grant)["state"],
        "ending",
        "an end that is not on record is not over"
    );
    let open = format!(
        "SELECT ended_at IS NULL FROM apono.\"grant\" WHERE id = '{}'",
        ann.grant
    );
    assert_eq!(world.sql(&open), "t");

    let bob = ask_for(&world, &email("bob"));
    let log = || fs::read_to_string(world.path("connector.err")).unwrap();
    world.until("it is said why he has to wait", |_| {
        log().lines().any(|line| {
            line.contains("an order failed so far, it is tried again") && line.contains("53100")
        })
    });
    assert_eq!(
        world.sql(&format!(
            "SELECT count(*) FROM apono.\"grant\" WHERE id = '{bob}'"
        )),
        "0"
    );
    assert_eq!(
        world.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'bob%'"),
        "0"
    );
    let tries = log().matches("could not be ended yet").count();
    assert!(tries < 100, "{tries} tries in seconds");

    give_room(&world, &disk, filler, relief).await;
    world.until("the end is on record", |world| {
        world.seen(&ann.grant)["end_reason"] == "revoked"
    });
    world.until("he gets his access", |world| {
        world.seen(&bob)["state"] == "active"
    });
    assert_eq!(world.sql(&open), "f");
    assert!(!world.psql(&ann, "SELECT 1").ok);
    assert!(world.connector.as_mut().unwrap().status().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_starts_people_are_out_and_ends_complete_once_there_is_room() {
    out_of_room(Version::Pg15, Relief::Room).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_for_want_of_room_has_its_ends_completed_when_it_is_back() {
    out_of_room(Version::Pg18, Relief::Restart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_cannot_be_recorded_shows_as_overdue_and_says_who_is_in_the_way() {
    let world = World::start(Cluster::shared(Version::Pg15)).await;
    let ann = world.grant(&email("ann"), "READ_ONLY", "12s").unwrap();
    let mut session = world.stay(&ann, "SELECT pg_sleep(300)");
    world.until("she is in", |world| world.sql(&is_in(&ann)) == "1");
    let root = world.cluster.superuser(&world.road.database).await;
    let row = format!(
        "UPDATE apono.\"grant\" SET attempt = attempt WHERE id = '{}'",
        ann.grant
    );
    let hold = format!("SET idle_in_transaction_session_timeout = 0; BEGIN; {row}");
    root.batch("hold the row", &hold).await.unwrap();
    assert!(
        session.ended(Duration::from_secs(60)),
        "her session lives on\n{}",
        world.logs()
    );
    assert_eq!(world.memberships(&ann.user), "0");
    let holder = format!("in the way may be process {}", root.server().backend_pid);
    world.until("it is said who is in the way", |world| {
        let log = fs::read_to_string(world.path("connector.err")).unwrap();
        log.lines()
            .any(|line| line.contains("could not be ended yet") && line.contains(&holder))
    });
    world.until("it counts as overdue", |world| {
        metric(world, "apono_overdue_ends") > 0.5
    });
    world.until("the heartbeat says so", |world| {
        let all = world.json(&["connectors", "--format", "json"]);
        all.to_string().contains("\"oldest_overdue_end\":\"")
    });
    assert_eq!(
        world.seen(&ann.grant)["end_reason"],
        serde_json::Value::Null
    );
    root.batch("let go", "COMMIT").await.unwrap();
    world.until("the end is reported", |world| {
        world.seen(&ann.grant)["end_reason"] == "expired"
    });
    world.until("nothing is overdue", |world| {
        metric(world, "apono_overdue_ends") < 0.5
    });
}
