//! What survives a restart, and what a restore means.

use super::harness::{Plane, kinds, options};
use apono_connector::reference_plane::{PlaneError, start};
use serde_json::json;

#[tokio::test]
async fn everything_survives_a_restart() {
    let (plane, instance) = Plane::with_orders().await;
    let live = plane.active(&instance, "alice@example.com", 600).await;
    plane.ask("bob@example.com", 600).await;
    let held = plane.lease(&instance, 1, 0).await.remove(0);
    let before = plane.grant(&live).await;
    let epoch = plane.read("grants?since=0").await["header"]["epoch"].clone();

    let plane = plane.stop_and_start(false).await;
    assert_eq!(plane.grant(&live).await, before);
    assert_eq!(plane.read("grants?since=0").await["header"]["epoch"], epoch);
    let again = plane.lease(&instance, 1, 0).await.remove(0);
    assert_eq!((&again["id"], &again["attempt"]), (&held["id"], &json!(1)));
    plane
        .succeed(&instance, &again, json!({"start": plane.started(&again)}))
        .await;
    plane.pass(600);
    let end = plane.lease_when_ready(&instance).await;
    assert_eq!(end["kind"], "revoke-access");
}

#[tokio::test]
async fn a_grant_that_expires_while_the_server_is_down_is_ended_when_it_is_back() {
    let (plane, instance) = Plane::with_orders().await;
    plane.active(&instance, "alice@example.com", 30).await;
    plane.pass(3600);
    let plane = plane.stop_and_start(false).await;
    assert_eq!(
        plane.lease_when_ready(&instance).await["kind"],
        "revoke-access"
    );
}

#[tokio::test]
async fn a_new_epoch_starts_nothing_that_was_ordered_before() {
    let (plane, instance) = Plane::with_orders().await;
    let live = plane.active(&instance, "alice@example.com", 600).await;
    let waiting = plane.ask("bob@example.com", 600).await;
    plane
        .order(&format!("grants/{live}/revoke"), json!({}))
        .await;
    let epoch = plane.read("grants?since=0").await["header"]["epoch"].clone();

    let plane = plane.stop_and_start(true).await;
    assert_ne!(plane.read("grants?since=0").await["header"]["epoch"], epoch);
    let grant = plane.grant(&waiting).await;
    assert_eq!(
        (&grant["state"], &grant["failure"]["reason"]),
        (&json!("failed"), &json!("issued_before_restore"))
    );
    let ask = json!({"session": instance.session, "free_any": 1, "free_end": 1, "wait_s": 0});
    assert_eq!(plane.connector("tasks/lease", ask).await.0, 404);
    let back = plane.register(instance.id).await;
    assert_eq!(kinds(&plane.lease(&back, 9, 9).await), ["revoke-access"]);
}

#[tokio::test]
async fn a_report_is_not_lost_because_its_session_is_over() {
    let (plane, instance) = Plane::with_orders().await;
    let live = plane.active(&instance, "alice@example.com", 600).await;
    let entry = plane.read("grants?since=0").await["grants"][0].clone();
    let other = plane.ask("bob@example.com", 600).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);

    let plane = plane.stop_and_start(true).await;
    plane
        .succeed(&instance, &task, json!({"start": plane.started(&task)}))
        .await;
    assert_eq!(plane.grant(&other).await["login"], "alice_apono");
    let ends = json!({"session": instance.session, "ends": [plane.end(&entry, true)]});
    assert_eq!(plane.connector("ends", ends).await.0, 200);
    assert_eq!(plane.grant(&live).await["state"], "ended");
}

#[tokio::test]
async fn a_second_process_on_the_same_store_is_refused() {
    let plane = Plane::start().await;
    let second = start(options(&plane.folder, &plane.clock)).await;
    assert!(matches!(second, Err(PlaneError::InUse(_))));
}

#[tokio::test]
async fn the_store_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (plane, instance) = Plane::with_orders().await;
    plane.active(&instance, "alice@example.com", 600).await;
    for name in ["plane.db", "plane.db-wal", "plane.db.lock"] {
        let path = plane.folder.path().join(name);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}
