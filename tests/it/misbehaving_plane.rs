//! Whatever the control plane answers, or does not answer: the running connector keeps what is live and ends it on time.

use crate::support::cluster::{Cluster, Version, fresh};
use crate::support::front::{Front, Manner, answer};
use crate::support::world::{Login, World, now};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How late an end may be; the machine may be busy with other tests.
const LATE: SignedDuration = SignedDuration::from_secs(8);
/// Between two expiries.
const APART: SignedDuration = SignedDuration::from_millis(1500);
/// From the requests to the first expiry.
const HEAD_START: SignedDuration = SignedDuration::from_secs(16);

fn manners() -> Vec<(&'static str, Manner)> {
    let error = br#"{"error": {"code": "no", "message": "no"}}"#;
    let status = |status| Manner::Answer(answer(status, "", error));
    let mut half = answer(200, "", &[b' '; 1000]);
    half.truncate(half.len() - 500);
    vec![
        ("401", status(401)),
        ("403", status(403)),
        ("404", status(404)),
        ("409", status(409)),
        (
            "429",
            Manner::Answer(answer(429, "retry-after: 2\r\n", error)),
        ),
        ("500", status(500)),
        (
            "garbage",
            Manner::Answer(answer(200, "", b"<html>\x00\xff{")),
        ),
        (
            "no http",
            Manner::Answer(b"220 mail.example.com ESMTP\r\n".to_vec()),
        ),
        ("nothing", Manner::Answer(Vec::new())),
        ("silence", Manner::Silence),
        ("half a body", Manner::Answer(half)),
        (
            "10 MiB",
            Manner::Answer(answer(200, "", &vec![b' '; 10 << 20])),
        ),
    ]
}

fn sleep_until(moment: Timestamp) {
    let left = Duration::try_from(moment.duration_since(now())).unwrap_or_default();
    std::thread::sleep(left);
}

fn ask(world: &World, expiry: Timestamp) -> Login {
    let database = world.road.database.as_str();
    let who = format!("{}@example.com", fresh("ann"));
    let until = expiry.to_string();
    let schema = ["postgresql-schema", database, "public"];
    let asked = world.grant_in(
        "orders",
        &schema,
        &who,
        &["--permission", "READ_ONLY", "--until", &until],
    );
    asked.unwrap()
}

fn is_in(world: &World, login: &Login) -> bool {
    world.sql(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
        login.user
    )) == "1"
}

fn lose_access_on_time(world: &World, login: &Login, expiry: Timestamp, meanwhile: &str) {
    sleep_until(expiry - SignedDuration::from_millis(700));
    let in_before = is_in(world, login);
    assert!(
        in_before || now() >= expiry,
        "{meanwhile}: she is out too early\n{}",
        world.logs()
    );
    sleep_until(expiry);
    world.until("she is out", |world| {
        !is_in(world, login) && world.memberships(&login.user) == "0"
    });
    let late = now().duration_since(expiry);
    assert!(late < LATE, "{meanwhile}: {late:#} late\n{}", world.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_of_the_control_plane_keeps_access_alive_or_cuts_it_short() {
    let (mut world, front) = Front::of_a_world(Cluster::shared(Version::Pg15)).await;
    world.begin();
    let manners = manners();
    let mut expiry = now() + HEAD_START;
    let mut expiries = Vec::new();
    for _ in &manners {
        expiries.push(expiry);
        expiry += APART;
    }
    let logins: Vec<Login> = std::thread::scope(|scope| {
        let asking: Vec<_> = expiries
            .iter()
            .map(|expiry| scope.spawn(|| ask(&world, *expiry)))
            .collect();
        asking
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let sessions: Vec<_> = logins
        .iter()
        .map(|login| world.stay(login, "SELECT pg_sleep(300)"))
        .collect();
    for login in &logins {
        world.until("she is in", |world| is_in(world, login));
    }
    assert!(
        now() < expiries[0] - APART,
        "the machine is too slow for this test"
    );
    for (((name, manner), login), expiry) in manners.into_iter().zip(&logins).zip(&expiries) {
        front.set(manner);
        lose_access_on_time(&world, login, *expiry, name);
    }
    drop(sessions);
    assert!(
        !world.connector.as_mut().unwrap().ended(Duration::ZERO),
        "the connector is gone"
    );

    front.set(Manner::Pass);
    for (login, expiry) in logins.iter().zip(&expiries) {
        world.until("its end is reported", |world| {
            world.seen(&login.grant)["ended_at"].is_string()
        });
        let seen = world.seen(&login.grant);
        let ended: Timestamp = seen["ended_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(seen["end_reason"], "expired");
        assert!(
            ended >= *expiry && ended.duration_since(*expiry) < LATE,
            "{seen}"
        );
    }
    let until = now() + SignedDuration::from_secs(3600);
    let ann = ask(&world, until);
    assert!(
        world.psql(&ann, "SELECT 1").ok,
        "it serves as before\n{}",
        world.logs()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_of_another_epoch_ends_nothing_and_its_orders_are_taken() {
    let mut world = World::start(Cluster::shared(Version::Pg18)).await;
    let expiry = now() + SignedDuration::from_secs(11);
    let ann = ask(&world, expiry);
    let session = world.stay(&ann, "SELECT pg_sleep(300)");
    world.until("she is in", |world| is_in(world, &ann));
    world.kill_plane();
    world.plane_options.push("--new-epoch".to_owned());
    world.start_plane();
    world.until("the new epoch is seen", |world| {
        world.logs().contains("its lists are read from the start")
    });
    let bob = ask(&world, now() + SignedDuration::from_secs(3600));
    assert!(world.psql(&bob, "SELECT 1").ok);
    lose_access_on_time(&world, &ann, expiry, "a new epoch");
    drop(session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_refused_for_a_lost_session_is_reported_in_the_next() {
    let (mut world, front) = Front::of_a_world(Cluster::shared(Version::Pg15)).await;
    world.begin();
    let unknown = r#"{"error": {"code": "unknown_session", "message": "a new one is needed"}}"#;
    front.answer_once("/result", 404, unknown);
    // The connector's own rhythm may use some of them up.
    for _ in 0..3 {
        front.answer_once("/heartbeat", 404, unknown);
    }
    let ann = ask(&world, now() + SignedDuration::from_secs(3600));
    assert!(world.psql(&ann, "SELECT 1").ok, "its first password holds");
}
