//! The daemon and the commands beside it, as an operator uses them.

use crate::support::cluster::{Cluster, Version, fresh};
use crate::support::world::{Login, World};
use std::time::Duration;

fn ann(world: &World) -> Result<Login, String> {
    world.grant(&format!("{}@example.com", fresh("ann")), "READ_ONLY", "1h")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_lists_freezes_and_revokes_while_the_daemon_runs() {
    let world = World::start(Cluster::shared(Version::Pg15)).await;
    let first = ann(&world).unwrap();
    let (ok, listed) = world.connector_says(&["grants"]);
    assert!(
        ok && listed.contains(&first.grant) && listed.contains("live"),
        "{listed}"
    );
    let (ok, listed) = world.connector_says(&["grants", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert!(ok && listed[0]["grant"] == first.grant.as_str(), "{listed}");

    let (ok, said) = world.connector_says(&["freeze"]);
    assert!(ok && said.contains("unfreeze"), "{said}");
    let refused = ann(&world).unwrap_err();
    assert!(
        refused.contains("frozen") && refused.contains("hint: "),
        "{refused}"
    );
    assert!(world.psql(&first, "SELECT 1").ok, "a freeze ends nothing");
    let (ok, said) = world.connector_says(&["unfreeze"]);
    assert!(ok, "{said}");
    let second = ann(&world).unwrap();

    let (ok, said) = world.connector_says(&["revoke-all"]);
    assert!(ok && said.contains('2'), "{said}");
    for login in [&first, &second] {
        world.until("she is out", |world| !world.psql(login, "SELECT 1").ok);
        world.until("it is reported", |world| {
            world.seen(&login.grant)["end_reason"] == "revoke_all"
        });
    }
    assert!(ann(&world).unwrap_err().contains("frozen"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_lists_freezes_and_revokes_without_a_daemon_or_a_control_plane() {
    let mut world = World::start(Cluster::shared(Version::Pg18)).await;
    let first = ann(&world).unwrap();
    world.kill_connector();
    world.kill_plane();
    let (ok, listed) = world.connector_says(&["grants"]);
    assert!(
        ok && listed.contains(&first.grant) && listed.contains("live"),
        "{listed}"
    );
    let (ok, said) = world.connector_says(&["freeze"]);
    assert!(ok && said.contains("frozen"), "{said}");
    let (ok, said) = world.connector_says(&["unfreeze"]);
    assert!(ok && said.contains("allowed"), "{said}");
    let (ok, said) = world.connector_says(&["revoke-all"]);
    assert!(ok, "{said}");
    assert!(!world.psql(&first, "SELECT 1").ok);
    assert_eq!(world.memberships(&first.user), "0");

    world.start_plane();
    world.start_connector();
    world.until("the next daemon reports it", |world| {
        world.seen(&first.grant)["end_reason"] == "revoke_all"
    });
    assert!(
        ann(&world).unwrap_err().contains("frozen"),
        "the freeze is kept"
    );
    assert!(world.connector_says(&["unfreeze"]).0);
    assert!(ann(&world).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_the_same_state_folder_is_refused() {
    let mut world = World::start(Cluster::shared(Version::Pg15)).await;
    let pid = world.connector.as_ref().unwrap().pid();
    let (ok, said) = world.connector_says(&["run"]);
    assert!(
        !ok && said.contains("state") && said.contains("hint: "),
        "{said}"
    );
    assert!(!world.connector.as_mut().unwrap().ended(Duration::ZERO));
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    let (ok, said) = world.connector_says(&["grants"]);
    assert!(ok, "the socket of the first still answers: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn life_does_not_depend_on_the_control_plane_and_readiness_does() {
    let mut world = World::start(Cluster::shared(Version::Pg15)).await;
    let login = ann(&world).unwrap();
    world.until("it shows what is live", |world| {
        let (status, numbers) = world.listener("/metrics");
        status == 200
            && numbers.contains("apono_live_grants 1\n")
            && numbers.contains("apono_overdue_ends 0\n")
            && numbers.contains("apono_connector_ready 1\n")
    });
    assert_eq!(world.listener("/readyz").0, 200);
    world.kill_connector();
    world.kill_plane();
    world.start_connector();
    world.until("it listens", |world| {
        let log = std::fs::read_to_string(world.path("connector.err")).unwrap();
        log.matches("\"listening\"").count() == 2
    });
    assert_eq!(
        world.listener("/healthz"),
        (200, r#"{"alive":true}"#.to_owned())
    );
    let (status, why) = world.listener("/readyz");
    assert!(status == 503 && why.contains("control plane"), "{why}");
    world.until("its own record is read", |world| {
        world
            .listener("/metrics")
            .1
            .contains("apono_live_grants 1\n")
    });
    world.start_plane();
    world.until("it is ready again", |world| {
        world.listener("/readyz").0 == 200
    });
    assert!(world.psql(&login, "SELECT 1").ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_health_check_is_the_program_itself() {
    let mut world = World::prepare(Cluster::shared(Version::Pg15), &[], &[]).await;
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    world.write(
        "connector.toml",
        &format!("listen = \"127.0.0.1:{port}\"\n"),
    );
    let (ok, said) = world.connector_says(&["healthcheck"]);
    assert!(!ok && said.contains(&port.to_string()), "{said}");
    world.begin();
    let (ok, said) = world.connector_says(&["healthcheck"]);
    assert!(ok && said.contains("alive"), "{said}");
    world.kill_plane();
    let (ok, said) = world.connector_says(&["healthcheck"]);
    assert!(ok, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_checked_as_a_whole_and_every_command_explains_itself() {
    let mut world = World::prepare(Cluster::shared(Version::Pg15), &[], &[]).await;
    let (ok, said) = world.connector_says(&["check-config"]);
    assert!(ok && said.contains("good"), "{said}");
    for command in [
        "run",
        "check-config",
        "healthcheck",
        "grants",
        "freeze",
        "unfreeze",
        "revoke-all",
    ] {
        let (ok, said) = world.connector_says(&[command, "--help"]);
        assert!(ok && said.contains("Usage:"), "{command}: {said}");
    }
    let (ok, said) = world.connector_says(&["polish-silver"]);
    assert!(!ok && said.contains("polish-silver"), "{said}");
    world.write(
        "connector.toml",
        "listen = \"everywhere\"\nsilver = 1\n[executor]\nslots = 0\n",
    );
    world
        .environment
        .push(("APONO_CONNECTOR_ID".to_owned(), "not an id".to_owned()));
    world
        .environment
        .push(("APONO_URL".to_owned(), "http://example.com".to_owned()));
    for command in ["check-config", "run"] {
        let (ok, said) = world.connector_says(&[command]);
        assert!(!ok && said.contains("5 problems"), "{said}");
        for word in [
            "everywhere",
            "silver",
            "executor.slots",
            "APONO_CONNECTOR_ID",
            "APONO_URL",
        ] {
            assert!(said.contains(word), "`{word}` is not in: {said}");
        }
    }
}
