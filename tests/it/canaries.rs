//! Passwords and tokens are searched for everywhere they must not be. A canary planted in each place proves that the search sees it.

use crate::support::cluster::{fresh, on_every_server};
use crate::support::front::Front;
use crate::support::world::{World, http_client};
use serde_json::json;
use std::fs;

/// Files in which a secret is at home.
const HOMES: [&str; 3] = ["secret.json", "connector.token", "admin.token"];

/// A grant nobody knows, whose end the control plane notes in its log.
const STRANGER: &str = "019a0000-0000-7000-8000-00000000cafe";

/// Makes the control plane write a line of its log.
async fn complain_about(world: &World, front: &Front) {
    let calls = front.calls();
    let lease = calls
        .iter()
        .find(|call| call.line.contains("/lease "))
        .unwrap();
    let asked = String::from_utf8_lossy(&lease.asked).into_owned();
    let asked: serde_json::Value =
        serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap();
    let end = json!({
        "grant": STRANGER, "integration": STRANGER, "ended_at": "2026-01-01T00:00:00Z", "reason": "expired",
        "sessions_before": 0, "sessions_after": 0, "clean": true,
    });
    let token = fs::read_to_string(world.path("connector.token")).unwrap();
    let sent = http_client()
        .post(format!("{}/v1/connectors/test-connector/ends", front.url()))
        .bearer_auth(token.trim())
        .json(&json!({"session": asked["session"], "ends": [end]}));
    assert!(sent.send().await.unwrap().status().is_success());
}

/// Everything that was written down anywhere, by the name of the place.
fn places(world: &World, front: &Front) -> Vec<(String, Vec<u8>)> {
    let mut places: Vec<(String, Vec<u8>)> = world
        .files()
        .into_iter()
        .filter(|path| !HOMES.iter().any(|home| path.ends_with(home)))
        .map(|path| {
            (
                path.strip_prefix(world.folder.path())
                    .unwrap()
                    .display()
                    .to_string(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    places.push(("server log".to_owned(), world.cluster.log().into_bytes()));
    let statements = world.sql("SELECT query FROM stats.pg_stat_statements");
    places.push(("pg_stat_statements".to_owned(), statements.into_bytes()));
    let mut bodies = Vec::new();
    for call in front.calls() {
        for message in [call.asked, call.answered] {
            // The head has the token, as it must.
            let end = message.windows(4).position(|four| four == b"\r\n\r\n");
            bodies.extend_from_slice(end.map_or(&[][..], |end| &message[end..]));
        }
    }
    places.push(("http bodies".to_owned(), bodies));
    places
}

fn holds(bytes: &[u8], wanted: &str) -> bool {
    bytes
        .windows(wanted.len())
        .any(|window| window == wanted.as_bytes())
}

/// Gives the connector's user a password that never went to the server in clear.
fn set_password(world: &World, password: &str) {
    let user = &world.road.connector.user;
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    world.sql(&format!("ALTER ROLE {user} PASSWORD '{verifier}'"));
    world.write(
        "secret.json",
        &json!({"username": user, "password": password}).to_string(),
    );
}

on_every_server! {
    async fn a_canary_is_found_in_every_place_and_a_secret_in_none(cluster: &Cluster) {
        let canary = fresh("canary_of_the_mine");
        let database_password = fresh("Pw-of-the-connector-in-the-mine");
        let (mut world, front) = Front::of_a_world(cluster).await;
        world.environment.push(("APONO_LOG".to_owned(), "debug".to_owned()));
        world.sql("CREATE SCHEMA stats; CREATE EXTENSION pg_stat_statements SCHEMA stats");
        set_password(&world, &database_password);
        world.begin();

        let mut secrets = vec![database_password];
        for token in ["connector.token", "admin.token"] {
            secrets.push(fs::read_to_string(world.path(token)).unwrap().trim().to_owned());
        }
        let ann = world.grant(&format!("{canary}@example.com"), "READ_ONLY", "1h").unwrap();
        let bob = world.grant(&format!("{}@example.com", fresh("bob")), "ADMIN", "1h").unwrap();
        let short = world.grant(&format!("{}@example.com", fresh("cid")), "READ_WRITE", "10s").unwrap();
        assert!(world.psql(&ann, &format!("SELECT 1 AS {canary}")).ok);
        let reset = world.command(&["reset-credentials", &ann.grant, "--format", "json"]).unwrap();
        let reset: serde_json::Value = serde_json::from_str(&reset).unwrap();
        let reset = reset["password"].as_str().unwrap().to_owned();
        assert_ne!(reset, ann.password);
        assert!(world.cluster.psql(&ann.user, &reset, &ann.database, "SELECT 1").ok);
        secrets.extend([ann.password.clone(), bob.password.clone(), short.password.clone(), reset]);
        // A log line about a name of ours, and one of the control plane's about an answer nobody asked for.
        world.add_changed_integration("test-connector", &canary, &[("port", "1")]);
        world.until("the connector logs it", |world| holds(&fs::read(world.path("connector.err")).unwrap(), &canary));
        complain_about(&world, &front).await;
        world.until("the short one is over", |world| world.seen(&short.grant)["ended_at"].is_string());
        world.command(&["revoke", &bob.grant, "--wait", "20s"]).unwrap();

        let places = places(&world, &front);
        let ledger = |name: &str| name.starts_with("state/");
        for wanted in ["connector.err", "server log", "pg_stat_statements", "http bodies"] {
            let (_, bytes) = places.iter().find(|(name, _)| name == wanted).unwrap();
            assert!(holds(bytes, &canary), "the canary is not in {wanted}, so the search there proves nothing");
        }
        let any = |wanted: &dyn Fn(&str) -> bool| {
            let mut of_it = places.iter().filter(|(name, _)| wanted(name));
            of_it.any(|(_, bytes)| holds(bytes, &canary))
        };
        assert!(any(&ledger), "the canary is not in the ledger");
        assert!(any(&|name| name.starts_with("plane.sqlite")), "the canary is not in the store");
        let searched: Vec<&str> = places.iter().map(|(name, _)| name.as_str()).collect();
        let (_, plane_log) = places.iter().find(|(name, _)| name == "plane.log").unwrap();
        assert!(holds(plane_log, STRANGER), "the control plane's log is not searched");
        for (name, bytes) in &places {
            for (at, secret) in secrets.iter().enumerate() {
                assert!(secret.len() >= 24, "secret {at} is too short to search for");
                assert!(!holds(bytes, secret), "secret {at} is in {name}");
            }
        }
        let total: usize = places.iter().map(|(_, bytes)| bytes.len()).sum();
        eprintln!("{} secrets searched for in {total} bytes of {searched:?}", secrets.len());
    }
}
