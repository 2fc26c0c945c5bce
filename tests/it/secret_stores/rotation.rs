//! A password that is changed while the connector runs.

use crate::support::aws::emulators::Emulator;
use crate::support::cluster::{Cluster, Version, fresh};
use crate::support::kubernetes::Kubernetes;
use crate::support::world::World;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::Tag;
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

/// It logs in for each database, and between the change on the server and the one in the store it would be refused.
fn inventory_is_done(world: &World) {
    world.until("the first inventory is reported", |world| {
        world
            .logs()
            .contains("changes of the inventory of `orders` reported")
    });
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
    inventory_is_done(&world);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_rotated_in_secrets_manager_just_works() {
    const REGION: &str = "eu-west-1";
    let moto = Emulator::moto();
    let client = Client::new(&moto.sdk(REGION, "AKIAEXAMPLE", "secret"));
    let name = fresh("rotated");
    let cluster = Cluster::shared(Version::Pg15);
    let reference = format!("aws-secretsmanager:{name}");
    let keep = |_: &World| "[secrets]\nkeep_s = 3600\n".to_owned();
    let mut world = Box::pin(World::prepare_with_secret(cluster, &reference, keep)).await;
    for (key, value) in [
        ("AWS_ENDPOINT_URL", moto.url().as_str()),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ] {
        world.environment.push((key.to_owned(), value.to_owned()));
    }
    let user = world.road.connector.user.clone();
    let body =
        |password: &str| serde_json::json!({"username": user, "password": password}).to_string();
    let mark = Tag::builder()
        .key("apono-connector-read")
        .value("true")
        .build();
    let made = client.create_secret().name(&name).tags(mark);
    let made = made.secret_string(body(world.road.connector.password.expose()));
    made.send().await.unwrap();
    world.begin();
    world.grant("alice@example.com", "READ_ONLY", "1h").unwrap();
    inventory_is_done(&world);

    // The database first, as a rotation does it, and the store behind.
    world.sql(&format!("ALTER ROLE {user} PASSWORD 'a-rotated-password'"));
    let put = client.put_secret_value().secret_id(&name);
    put.secret_string(body("a-rotated-password"))
        .send()
        .await
        .unwrap();
    hang_up(&world);
    world.grant("bob@example.com", "READ_ONLY", "1h").unwrap();

    // The store is ahead of the database: the version before is the one that counts.
    let put = client.put_secret_value().secret_id(&name);
    put.secret_string(body("not-yet-in-the-database"))
        .send()
        .await
        .unwrap();
    world.connector.take().unwrap().kill();
    world.start_connector();
    world.grant("carol@example.com", "READ_ONLY", "1h").unwrap();
}
