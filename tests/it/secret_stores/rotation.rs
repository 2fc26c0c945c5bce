//! A password that is changed while the connector runs.

use crate::support::cluster::{Cluster, Version};
use crate::support::kubernetes::Kubernetes;
use crate::support::world::World;
use std::time::Duration;

/// A connector whose credential is in Kubernetes.
async fn world(api: &Kubernetes, keep_s: u32) -> World {
    let cluster = Cluster::shared(Version::Pg15);
    let more = |world: &World| {
        world.write("k8s-token", "token-1");
        world.write("k8s-ca.pem", &api.certificates.ca);
        format!(
            "[secrets]\nkeep_s = {keep_s}\n[secrets.kubernetes]\nurl = \"{}\"\ntoken_file = \"{}\"\nca_file = \"{}\"\n",
            api.server.url(),
            world.path("k8s-token").display(),
            world.path("k8s-ca.pem").display(),
        )
    };
    World::prepare_with_secret(cluster, "kubernetes:apono/orders", more).await
}

fn store(api: &Kubernetes, world: &World, password: &str) {
    let user = &world.road.connector.user;
    api.store(
        "apono/orders",
        &[("username", user), ("password", password)],
    );
}

fn hang_up(world: &World) {
    world.sql(&format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{}'",
        world.road.connector.user
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_rotated_on_the_server_and_in_the_store_just_works() {
    let api = Kubernetes::start("token-1");
    // Only a refusal makes it look again.
    let mut world = Box::pin(world(&api, 3600)).await;
    store(&api, &world, world.road.connector.password.expose());
    world.begin();
    let alice = world.grant("alice@example.com", "READ_ONLY", "1h").unwrap();
    assert!(world.psql(&alice, "SELECT 1").ok);
    let rotated = |password: &str| {
        let user = &world.road.connector.user;
        world.sql(&format!("ALTER ROLE {user} PASSWORD '{password}'"));
        // Open connections would hide the change.
        hang_up(&world);
    };
    let asked = || api.server.heard().len();
    let before = asked();
    rotated("the-second-password");
    store(&api, &world, "the-second-password");
    let bob = world.grant("bob@example.com", "READ_ONLY", "1h").unwrap();
    assert!(world.psql(&bob, "SELECT 1").ok);
    assert!(asked() > before, "the store was asked again");
    rotated("the-third-password");
    store(&api, &world, "the-third-password");
    world.command(&["revoke", &alice.grant]).unwrap();
    world.until("the next end just works too", |world| {
        world.memberships(&alice.user) == "0"
    });
    api.server.no_surprises();
    assert!(
        world
            .connector
            .take()
            .unwrap()
            .terminate(Duration::from_secs(60))
    );
    for path in world.files() {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains("the-second-password"), "{}", path.display());
        assert!(!text.contains("the-third-password"), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_its_store_is_away_the_last_good_credential_serves_the_ends() {
    let api = Kubernetes::start("token-1");
    // Nothing is kept: every new connection asks.
    let mut world = Box::pin(world(&api, 0)).await;
    store(&api, &world, world.road.connector.password.expose());
    world.begin();
    let alice = world.grant("alice@example.com", "READ_ONLY", "1h").unwrap();
    api.answer_instead(Some(503));
    hang_up(&world);
    let before = api.server.heard().len();
    world.command(&["revoke", &alice.grant]).unwrap();
    world.until("the grant is ended while the store is away", |world| {
        world.memberships(&alice.user) == "0"
    });
    assert!(api.server.heard().len() > before, "the store was asked");
    api.server.no_surprises();
}
