//! Servers under pressure: somebody holds what we need, or settings leave next to no time.

use super::world::{World, end, login_of, person, target, warrant};
use crate::support::cluster::on_every_server;
use apono_connector::domain::{EndReason, ErrorClass, Permission};
use apono_connector::pg::Session;
use apono_connector::targets::{Target, TargetError};
use std::time::{Duration, Instant};

/// Longest time until somebody who waits for a lock says so: 5 s in a plan, 5 times 2 s at a door, and the machine may be busy.
const BOUND: Duration = Duration::from_secs(180);

/// Opens a transaction of the superuser's with some statements, and leaves it open.
async fn hold(world: &World, sql: &str) -> Session {
    let session = world.root().await;
    // Ours are ended after a silence inside a transaction, this one is not to be.
    let open = format!(
        "SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '30s'; BEGIN; {sql}"
    );
    session.batch("hold a lock", &open).await.unwrap();
    session
}

/// Waits until an answer to the superuser is as wanted.
async fn until(world: &World, sql: &str, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = world.ask(sql).await;
        if answer == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {answer}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn sessions_of(login: &str) -> String {
    format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{login}'")
}

fn memberships_of(login: &str) -> String {
    format!("SELECT count(*) FROM pg_auth_members WHERE member = '{login}'::regrole")
}

/// Does something again that met the server's limits between log-in and our first word, where they do hold.
async fn patiently(mut act: impl AsyncFnMut() -> Result<(), TargetError>) {
    for _ in 0..10 {
        match act().await {
            Err(error)
                if matches!(
                    error.failure().reason,
                    "server_unavailable" | "connection_lost"
                ) => {}
            done => return done.unwrap(),
        }
    }
    panic!("no connection lives long enough");
}

/// Says that the error names the process that is in the way, and how to end it.
fn names(error: &TargetError, holder: &Session) {
    let failure = error.failure();
    assert_eq!(
        (failure.reason, failure.class),
        ("busy_object", ErrorClass::Conflict)
    );
    let pid = holder.server().backend_pid;
    let who = format!("in the way may be process {pid} of `postgres`");
    assert!(failure.message.contains(&who), "{}", failure.message);
    let fix = failure.hint.clone().unwrap_or_default();
    assert!(
        fix.contains(&format!("SELECT pg_terminate_backend({pid});")),
        "{fix}"
    );
}

on_every_server! {
    async fn while_the_record_is_locked_ends_take_what_they_can_and_starts_say_who_is_in_the_way(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        let session = world.session(&her).await;
        // As `VACUUM FULL` or an `ALTER TABLE` does.
        let holder = hold(&world, "LOCK TABLE apono.\"grant\" IN ACCESS EXCLUSIVE MODE").await;
        let neighbour = world.another("c-1");
        let bob = world.grant(&person("bob"), world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&bob);
        let starting = async {
            let begun = Instant::now();
            let error = world.run(&neighbour, &order).await.unwrap_err();
            names(&error, &holder);
            assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
            assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", login_of(&bob.principal))).await, "0");
        };
        let ending = async {
            let begun = Instant::now();
            let error = end(&world.target, &warrant(&grant, EndReason::Revoked)).await.unwrap_err();
            names(&error, &holder);
            assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        };
        let hers = sessions_of(&her.login);
        let seeing = until(&world, &hers, "0");
        tokio::join!(starting, ending, seeing);
        assert!(session.batch("go on", "SELECT 1").await.is_err());

        holder.batch("let go", "COMMIT").await.unwrap();
        let ended = world.end(&grant).await;
        assert!(ended[0].ended_at.is_some());
        assert!(!world.psql(&her, "SELECT 1").ok);
        let him = world.open(&bob).await;
        assert!(world.psql(&him, "SELECT * FROM shop.orders").ok);
        world.end(&bob).await;
    }
}

on_every_server! {
    async fn somebody_who_works_on_the_grants_row_keeps_nobody_in(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let needed = world.grant(&alice, world.schema("other"), Permission::ReadOnly);
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&needed).await;
        world.open_more(&grant).await;
        let session = world.session(&her).await;
        let holder = hold(&world, &format!("UPDATE apono.\"grant\" SET attempt = attempt WHERE id = '{}'", grant.id)).await;
        let warrant = warrant(&grant, EndReason::Revoked);
        let ending = end(&world.target, &warrant);
        let releasing = async {
            until(&world, &sessions_of(&her.login), "0").await;
            until(&world, &memberships_of(&her.login), "1").await;
            // Nothing says that it is over, since that cannot be written down yet.
            assert_eq!(world.ask(&format!("SELECT ended_at IS NULL FROM apono.\"grant\" WHERE id = '{}'", grant.id)).await, "t");
            assert!(!world.psql(&her, "SELECT * FROM shop.orders").ok);
            assert!(world.psql(&her, "SELECT * FROM other.secrets").ok, "what the other grant gives stays");
            holder.batch("let go", "COMMIT").await.unwrap();
        };
        let (ended, ()) = tokio::join!(ending, releasing);
        assert!(ended.unwrap()[0].ended_at.is_some(), "as soon as the row is free, with no further order");
        assert!(session.batch("go on", "SELECT 1").await.is_err());
        world.end(&needed).await;
        assert!(!world.psql(&her, "SELECT 1").ok);
    }
}

on_every_server! {
    async fn an_administrator_who_works_on_a_login_keeps_nobody_in(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        let session = world.session(&her).await;
        let holder = hold(&world, &format!("ALTER ROLE {} CONNECTION LIMIT 9", her.login)).await;
        let begun = Instant::now();
        let error = end(&world.target, &warrant(&grant, EndReason::Revoked)).await.unwrap_err();
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        names(&error, &holder);
        assert!(session.batch("go on", "SELECT 1").await.is_err());
        assert_eq!(world.ask(&memberships_of(&her.login)).await, "0");
        assert!(!world.psql(&her, "SELECT * FROM shop.orders").ok);
        assert_eq!(world.ask(&format!("SELECT ended_at IS NOT NULL AND closed_at IS NULL FROM apono.\"grant\" WHERE id = '{}'", grant.id)).await, "t");
        holder.batch("let go", "COMMIT").await.unwrap();
        world.end(&grant).await;
        assert!(!world.psql(&her, "SELECT 1").ok);
        assert!(world.target.recorded().await.unwrap().iter().all(|row| row.closed));
    }
}

on_every_server! {
    async fn time_outs_set_for_our_user_or_the_database_do_not_hold_for_us(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let root = world.root().await;
        let major = root.server().major();
        let mut limits = vec!["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
        limits.extend((major >= 14).then_some("idle_session_timeout"));
        limits.extend((major >= 17).then_some("transaction_timeout"));
        for limit in limits {
            for whose in [format!("ROLE {}", world.user), format!("DATABASE {}", world.database)] {
                root.batch("leave no time", &format!("ALTER {whose} SET {limit} = '1s'")).await.unwrap();
            }
        }
        let target = target("c-1", &world.integration, &world.user);
        target.hold(true).await;
        // Much longer than any of the limits: an idle connection lives on, and so does a start that waits for the record.
        let first = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&first);
        patiently(async || world.run(&target, &order).await.map(drop)).await;
        let holder = hold(&world, "LOCK TABLE apono.login IN ACCESS EXCLUSIVE MODE").await;
        let second = world.grant(&person("bob"), world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&second);
        let waits = format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = '{}' AND wait_event_type = 'Lock'", world.user);
        let releasing = async {
            until(&world, &waits, "t").await;
            tokio::time::sleep(Duration::from_millis(1300)).await;
            holder.batch("let go", "COMMIT").await.unwrap();
        };
        let starting = patiently(async || world.run(&target, &order).await.map(drop));
        tokio::join!(starting, releasing);
        // No new connection from here on, and those that are there have been idle for too long by each of the limits.
        root.batch("close the way", &format!("ALTER ROLE {} CONNECTION LIMIT 0", world.user)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for grant in [&first, &second] {
            end(&target, &warrant(grant, EndReason::Revoked)).await.unwrap();
        }
        assert_eq!(world.ask("SELECT count(*) FROM apono.\"grant\" WHERE closed_at IS NULL").await, "0");
    }
}
