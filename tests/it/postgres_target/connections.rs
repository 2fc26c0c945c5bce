//! What becomes of starts and ends when the way to the server, or the credential, changes under them.

use super::world::{CONNECTOR_PASSWORD, World, apply, connector, end, permit, person, warrant};
use crate::support::cluster::{Cluster, Version, fresh, on_every_server};
use crate::support::gate::{Gate, Trap};
use crate::support::pooler::Pooler;
use apono_connector::domain::{EndReason, ErrorClass, Integration, Permission};
use apono_connector::secret::Secret;
use apono_connector::targets::postgres::{
    CredentialSource, DatabaseCredential, LookupError, PostgresTarget,
};
use apono_connector::targets::{Target, TargetError};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A secret that can be changed.
struct Safe(Mutex<DatabaseCredential>);

#[async_trait]
impl CredentialSource for Safe {
    async fn fetch(&self) -> Result<DatabaseCredential, LookupError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

impl Safe {
    fn holding(user: &str) -> Arc<Self> {
        let safe = Self(Mutex::new(DatabaseCredential {
            username: String::new(),
            password: Secret::new(String::new()),
            host: None,
        }));
        safe.put(user, CONNECTOR_PASSWORD);
        Arc::new(safe)
    }

    fn put(&self, user: &str, password: &str) {
        *self.0.lock().unwrap() = DatabaseCredential {
            username: user.to_owned(),
            password: Secret::new(password.to_owned()),
            host: None,
        };
    }
}

/// The target of a world by another way, with a secret of the test's.
fn target(world: &World, changed: &[(&str, String)]) -> (PostgresTarget, Integration, Arc<Safe>) {
    let mut integration = world.integration.clone();
    for (key, value) in changed {
        integration
            .settings
            .insert((*key).to_owned(), value.clone());
    }
    let safe = Safe::holding(&world.user);
    let source = Arc::clone(&safe) as Arc<dyn CredentialSource>;
    let target = PostgresTarget::new(connector("c-1"), &integration, source).unwrap();
    (target, integration, safe)
}

/// The way through a gate, in clear, so that the gate understands what is said.
fn through(gate: &Gate) -> [(&'static str, String); 2] {
    [
        ("port", gate.port.to_string()),
        ("sslmode", "disable".to_owned()),
    ]
}

fn reason(error: &TargetError) -> (&str, ErrorClass) {
    (error.failure().reason, error.class())
}

/// Ends every connection of the connector, and waits until a check says that it cannot make a new one.
async fn cut_off(world: &World, target: &PostgresTarget) -> TargetError {
    let theirs = format!("FROM pg_stat_activity WHERE usename = '{}'", world.user);
    let sql = format!("SELECT pg_terminate_backend(pid) {theirs}");
    world.root().await.batch("cut off", &sql).await.unwrap();
    // Only from 14 on does the order itself wait.
    while world.ask(&format!("SELECT count(*) {theirs}")).await != "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    loop {
        match target.check().await {
            Err(error) if error.failure().reason == "connection_lost" => {}
            other => return other.unwrap_err(),
        }
    }
}

on_every_server! {
    async fn a_secret_that_is_rotated_is_used_from_the_next_connection_on(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let (target, integration, safe) = target(&world, &[]);
        let alice = person("alice");
        let grants: Vec<_> = (0..2).map(|_| world.grant(&alice, world.schema("shop"), Permission::ReadOnly)).collect();
        let start = async |grant| {
            let order = world.order(grant);
            let permit = permit(&integration, grant, Some(order.lease_deadline));
            let plan = target.plan_start(&permit, &order).await?;
            apply(&target, &permit, &order, &plan).await
        };
        start(&grants[0]).await.unwrap();
        let root = world.root().await;
        root.batch("rotate", &format!("ALTER ROLE {} PASSWORD 'second'", world.user)).await.unwrap();
        // The connections that are there go on.
        start(&grants[1]).await.unwrap();
        let error = cut_off(&world, &target).await;
        assert_eq!(reason(&error), ("login_refused", ErrorClass::Unauthorised));
        safe.put(&world.user, "second");
        assert_eq!(target.check().await.unwrap().warnings, Vec::<String>::new());

        // Two users by turns: the other one takes over, and what the first one made belongs to neither.
        let other = fresh("connector");
        root.batch("make the other user", &format!("CREATE ROLE {other} LOGIN PASSWORD 'third'; GRANT {} TO {other}; ALTER ROLE {} NOLOGIN", world.admin, world.user)).await.unwrap();
        let error = cut_off(&world, &target).await;
        assert_eq!(reason(&error), ("login_refused", ErrorClass::Unauthorised));
        safe.put(&other, "third");
        let report = target.check().await.unwrap();
        assert!(format!("{:?}", report.evidence).contains(&other));
        for grant in &grants {
            end(&target, &warrant(grant, EndReason::Revoked)).await.unwrap();
        }
        assert!(target.recorded().await.unwrap().iter().all(|row| row.closed));
    }
}

#[tokio::test]
async fn while_the_secret_is_wrong_the_held_connection_ends_access() {
    let world = World::new(Cluster::shared(Version::Pg15)).await;
    let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
    let her = world.open(&grant).await;
    let (target, ..) = target(&world, &[]);
    target.hold(true).await;
    let rotate = format!("ALTER ROLE {} PASSWORD 'second'", world.user);
    world.root().await.batch("rotate", &rotate).await.unwrap();
    assert_eq!(
        reason(&target.recorded().await.unwrap_err()),
        ("login_refused", ErrorClass::Unauthorised)
    );
    end(&target, &warrant(&grant, EndReason::Revoked))
        .await
        .unwrap();
    assert!(!world.psql(&her, "SELECT 1").ok);
}

#[tokio::test]
async fn an_idle_connection_that_died_unseen_is_replaced_before_it_is_used() {
    let world = World::new(Cluster::shared(Version::Pg18)).await;
    let gate = Gate::to(world.cluster.port).await;
    let (target, ..) = target(&world, &through(&gate));
    let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
    let her = world.open(&grant).await;
    target.check().await.unwrap();
    assert_eq!(gate.opened(), 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    gate.silence();
    // A read is not tried again, so it must not meet the dead one.
    target.check().await.unwrap();
    end(&target, &warrant(&grant, EndReason::Revoked))
        .await
        .unwrap();
    assert_eq!(gate.opened(), 2, "one dead, one in its place");
    assert!(!world.psql(&her, "SELECT 1").ok);
}

#[tokio::test]
async fn an_end_whose_connection_dies_on_the_way_is_completed_on_a_new_one() {
    let world = World::new(Cluster::shared(Version::Pg18)).await;
    // The access role is there before the cases, which run side by side.
    let first = world.grant(&person("first"), world.schema("shop"), Permission::ReadOnly);
    world.open(&first).await;
    let case = async |words, heard| {
        let gate = Gate::to(world.cluster.port).await;
        let (target, ..) = target(&world, &through(&gate));
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        let session = world.session(&her).await;
        gate.set(Trap { words, heard });
        let ended = end(&target, &warrant(&grant, EndReason::Revoked))
            .await
            .unwrap();
        assert!(gate.has_sprung() && gate.opened() == 2, "{words}");
        assert!(ended[0].ended_at.is_some(), "{words}");
        assert!(session.batch("read on", "SELECT 1").await.is_err());
        assert!(!world.psql(&her, "SELECT 1").ok, "{words}");
        let recorded = target.recorded().await.unwrap();
        assert!(
            recorded
                .iter()
                .any(|row| row.grant.id == grant.id && row.closed),
            "{words}"
        );
    };
    tokio::join!(
        case("SET ended_at", true),
        case("SET ended_at", false),
        case("pg_terminate_backend", true),
        case("NOLOGIN", true),
    );
}

#[tokio::test]
async fn a_start_whose_connection_dies_on_the_way_is_found_done_or_is_done_once() {
    let world = World::new(Cluster::shared(Version::Pg18)).await;
    // The access role is there before the cases, which run side by side.
    let first = world.grant(&person("first"), world.schema("shop"), Permission::ReadOnly);
    world.open(&first).await;
    let case = async |heard| {
        let gate = Gate::to(world.cluster.port).await;
        let (target, integration, _) = target(&world, &through(&gate));
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&grant);
        let permit = permit(&integration, &grant, Some(order.lease_deadline));
        let plan = target.plan_start(&permit, &order).await.unwrap();
        gate.set(Trap {
            words: "INSERT INTO apono.\"grant\"",
            heard,
        });
        let lost = apply(&target, &permit, &order, &plan).await.unwrap_err();
        assert_eq!(reason(&lost), ("timeout", ErrorClass::Transient));
        let rows = format!(
            "SELECT count(*) FROM apono.\"grant\" WHERE id = '{}'",
            grant.id
        );
        assert_eq!(world.ask(&rows).await, if heard { "1" } else { "0" });
        let plan = target.plan_start(&permit, &order).await.unwrap();
        let applied = apply(&target, &permit, &order, &plan).await.unwrap();
        assert_eq!(world.ask(&rows).await, "1");
        let her = world.opened(&applied);
        assert_eq!(
            world.psql(&her, "SELECT note FROM shop.orders").out,
            "first"
        );
        end(&target, &warrant(&grant, EndReason::Revoked))
            .await
            .unwrap();
    };
    tokio::join!(case(true), case(false));
}

#[tokio::test]
async fn weak_protection_and_poolers_are_named_by_the_check() {
    let world = World::new(Cluster::shared(Version::Pg15)).await;
    let pooler = |mode| {
        let conf = format!("pool_mode = {mode}\nclient_tls_sslmode = allow");
        Pooler::start(world.cluster, &world.user, CONNECTOR_PASSWORD, &conf)
    };
    let by_session = pooler("session");
    for (mode, port, warned) in [
        (
            "disable",
            world.cluster.port,
            "`sslmode` is `disable`, whoever is on the way can read and change everything (the connection is not encrypted): set `verify-full`",
        ),
        (
            "prefer",
            world.cluster.port,
            "`sslmode` is `prefer`, whoever is on the way can have it spoken in clear, and read and change everything (the connection is encrypted now): set `verify-full`",
        ),
        ("require", world.cluster.port, ""),
        ("verify-ca", world.cluster.port, ""),
        (
            "verify-full",
            by_session.port,
            "a connection pooler in session mode is in between, an end would wait with it: give host and port of the server itself",
        ),
    ] {
        let (target, ..) = target(
            &world,
            &[("sslmode", mode.to_owned()), ("port", port.to_string())],
        );
        assert_eq!(
            target.check().await.unwrap().warnings.join("\n"),
            warned,
            "{mode}"
        );
    }
    let by_transaction = pooler("transaction");
    let (target, ..) = target(&world, &[("port", by_transaction.port.to_string())]);
    let error = target.check().await.unwrap_err();
    assert_eq!(
        reason(&error),
        ("transaction_pooler", ErrorClass::NeedsOperator)
    );
    assert!(
        error
            .failure()
            .hint
            .as_ref()
            .unwrap()
            .contains("server itself")
    );
}
