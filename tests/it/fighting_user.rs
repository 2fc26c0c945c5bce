//! A person who does all she can to keep her access loses it within seconds of its end.

use crate::support::cluster::{Cluster, Version, fresh, on_every_server};
use crate::support::world::{World, now};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest time from the end of a grant until nobody is in; the machine may be busy with other tests.
const WITHIN: Duration = Duration::from_secs(12);

on_every_server! {
    async fn she_cannot_fight_her_end_even_while_the_control_plane_is_gone(cluster: &Cluster) {
        let mut world = World::start(cluster).await;
        world.sql_as_owner("CREATE TABLE t (a int)");
        let who = format!("{}@example.com", fresh("eve"));
        let eve = world.grant(&who, "ADMIN", "10s").unwrap();
        let expiry: jiff::Timestamp = world.seen(&eve.grant)["grant"]["expiry"].as_str().unwrap().parse().unwrap();
        world.kill_plane();
        let mut held = vec![
            world.stay(&eve, "BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'; LOCK TABLE t; SELECT pg_sleep(300)"),
            world.stay(&eve, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; CREATE TABLE mine (a int); \
                SELECT pg_advisory_lock(1), pg_sleep(300)"),
        ];
        held.extend((0..8).map(|_| world.stay(&eve, "SELECT pg_sleep(300)")));
        let in_now = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", eve.user);
        world.until("she has all her connections", |world| world.sql(&in_now) == "10");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| while !stop.load(Ordering::Relaxed) {
                drop(world.psql(&eve, "SELECT pg_sleep(300)"));
            });
            while now() < expiry {
                std::thread::sleep(Duration::from_millis(20));
            }
            let over = Instant::now();
            world.until("her access is gone", |world| world.memberships(&eve.user) == "0" && world.sql(&in_now) == "0");
            let took = over.elapsed();
            stop.store(true, Ordering::Relaxed);
            assert!(took < WITHIN, "it took {took:?}\n{}", world.logs());
        });
        assert!(!world.psql(&eve, "SELECT 1").ok);
        let mine = cluster.psql(&eve.user, "mine", &world.road.database, "SELECT 1");
        assert!(!mine.ok, "the password of her open transaction counts");
        for session in &mut held {
            assert!(session.ended(Duration::from_secs(5)), "a session of hers lives on");
        }
        let may_log_in = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}' AND rolcanlogin", eve.user);
        world.until("her login is blocked", |world| world.sql(&may_log_in) == "0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ran_out_while_the_connector_was_dead_ends_first_when_it_is_back() {
    let mut world = World::start(Cluster::shared(Version::Pg15)).await;
    let who = format!("{}@example.com", fresh("ann"));
    let ann = world.grant(&who, "READ_ONLY", "8s").unwrap();
    let mut session = world.stay(&ann, "SELECT pg_sleep(300)");
    let in_now = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
        ann.user
    );
    world.until("she is in", |world| world.sql(&in_now) == "1");
    let expiry: jiff::Timestamp = world.seen(&ann.grant)["grant"]["expiry"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    world.kill_connector();
    world.kill_plane();
    while now() < expiry {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        world.sql(&in_now),
        "1",
        "a session outlives a dead connector"
    );
    world.start_connector();
    let begun = Instant::now();
    assert!(
        session.ended(WITHIN),
        "her session lives on\n{}",
        world.logs()
    );
    world.until("she is no member any more", |world| {
        world.memberships(&ann.user) == "0"
    });
    assert!(begun.elapsed() < WITHIN, "it took {:?}", begun.elapsed());
    world.start_plane();
    world.until("the end is reported", |world| {
        world.seen(&ann.grant)["end_reason"] == "expired"
    });
}
