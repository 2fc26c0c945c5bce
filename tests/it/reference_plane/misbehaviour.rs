//! The script of misbehaviour does what it says.

use super::harness::{ADMIN_TOKEN, CONNECTOR_TOKEN, Plane};
use apono_connector::reference_plane::script::{Fault, Misbehaviour};
use serde_json::{Value, json};

fn once(call: &str, fault: Fault) -> Misbehaviour {
    Misbehaviour {
        call: Some(call.to_owned()),
        fault,
        after: 0,
        times: 1,
    }
}

async fn try_lease(plane: &Plane, session: &str) -> Result<Value, reqwest::Error> {
    let ask = json!({"session": session, "free_any": 1, "free_end": 1, "wait_s": 0});
    let request = plane.http.post(plane.url("/v1/connectors/c1/tasks/lease"));
    request
        .bearer_auth(CONNECTOR_TOKEN)
        .json(&ask)
        .send()
        .await?
        .json()
        .await
}

#[tokio::test]
async fn a_dropped_request_is_not_carried_out_and_a_dropped_answer_is() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 600).await;
    plane
        .running
        .script()
        .add(once("lease", Fault::DropRequest));
    plane.running.script().add(once("lease", Fault::DropAnswer));
    assert!(try_lease(&plane, &instance.session).await.is_err());
    assert_eq!(
        plane.look("grants").await["grants"][0]["state"],
        "requested"
    );
    assert!(try_lease(&plane, &instance.session).await.is_err());
    assert_eq!(plane.look("grants").await["grants"][0]["state"], "starting");
    let again = try_lease(&plane, &instance.session).await.unwrap();
    assert_eq!(again["tasks"][0]["attempt"], 1);
}

#[tokio::test]
async fn a_call_carried_out_twice_has_one_effect() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    plane.running.script().add(once("result", Fault::Duplicate));
    plane
        .succeed(&instance, &task, json!({"start": plane.started(&task)}))
        .await;
    assert_eq!(plane.grant(&id).await["state"], "active");
}

#[tokio::test]
async fn a_status_an_odd_text_and_lost_leases_can_be_ordered_over_the_admin_api() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 600).await;
    for scene in [
        json!({"call": "lease", "do": "status", "status": 429, "retry_after_s": 7}),
        json!({"call": "lease", "do": "garbage", "text": "<html>"}),
        json!({"call": "lease", "do": "expire_leases"}),
    ] {
        let (status, _) = plane
            .call(ADMIN_TOKEN, "/admin/v1/misbehave", Some(scene))
            .await;
        assert_eq!(status, 204);
    }
    let refused = try_lease(&plane, &instance.session).await.unwrap();
    assert_eq!(refused["error"]["reason"], "scripted");
    assert!(try_lease(&plane, &instance.session).await.is_err());
    let lost = try_lease(&plane, &instance.session).await.unwrap();
    assert_eq!(lost["tasks"][0]["attempt"], 1);
    let next = try_lease(&plane, &instance.session).await.unwrap();
    assert_eq!(next["tasks"][0]["attempt"], 2);
}

#[tokio::test]
async fn an_answer_held_back_is_overtaken_by_the_next() {
    let (plane, instance) = Plane::with_orders().await;
    plane.running.script().add(once("lease", Fault::Reorder));
    let overtaken = std::sync::atomic::AtomicBool::new(false);
    let first = async {
        try_lease(&plane, &instance.session).await.unwrap();
        assert!(overtaken.load(std::sync::atomic::Ordering::SeqCst));
    };
    let second = async {
        // Asked again and again, because nothing tells when the first call has reached the server.
        for _ in 0..200 {
            plane.read("grants?since=0").await;
            overtaken.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    };
    tokio::join!(first, second);
}
