//! Who gets which task, when, and what happens when nobody answers.

use super::harness::{PATIENCE, Plane, kinds, text};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn ends_come_first_then_starts_then_checks_then_reads() {
    let (plane, instance) = Plane::with_orders().await;
    let alice = plane.active(&instance, "alice@example.com", 600).await;
    plane.order("integrations/orders/sync", json!({})).await;
    plane.order("integrations/orders/check", json!({})).await;
    plane.ask("bob@example.com", 600).await;
    plane
        .order(&format!("grants/{alice}/revoke"), json!({}))
        .await;
    let tasks = plane.lease(&instance, 9, 0).await;
    assert_eq!(
        kinds(&tasks),
        [
            "revoke-access",
            "grant-access",
            "check-integration",
            "sync-integration"
        ]
    );
}

#[tokio::test]
async fn places_kept_for_ends_take_nothing_else() {
    let (plane, instance) = Plane::with_orders().await;
    let alice = plane.active(&instance, "alice@example.com", 600).await;
    plane.ask("bob@example.com", 600).await;
    plane
        .order(&format!("grants/{alice}/revoke"), json!({}))
        .await;
    let tasks = plane.lease(&instance, 0, 5).await;
    assert_eq!(kinds(&tasks), ["revoke-access"]);
    assert!(plane.lease_reply(&instance, 0, 0, json!({})).await["tasks"][0].is_null());
}

#[tokio::test]
async fn a_start_carries_all_that_is_needed() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("Alice@Example.com", 600).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    assert_eq!(task["kind"], "grant-access");
    assert_eq!(task["attempt"], 1);
    assert_eq!(task["recipient"], "age1recipient");
    assert_eq!(task["grant"]["id"], json!(id));
    assert_eq!(task["grant"]["principal"]["email"], "alice@example.com");
    assert_eq!(task["grant"]["resource"]["path"], json!(["app", "public"]));
    let deadline: jiff::Timestamp = text(&task["lease_deadline"]).parse().unwrap();
    assert_eq!(deadline.duration_since(plane.now()).as_secs(), 60);
}

#[tokio::test]
async fn a_waiting_poll_is_answered_when_work_arrives() {
    let (plane, instance) = Plane::with_orders().await;
    let header = plane.lease_reply(&instance, 0, 0, json!({})).await["header"].clone();
    let more = json!({"wait_s": 50, "grants_revision": header["grants_revision"],
        "integrations_revision": header["integrations_revision"]});
    let (reply, _) = tokio::join!(
        plane.lease_reply(&instance, 1, 0, more),
        plane.ask("alice@example.com", 600)
    );
    assert_eq!(kinds(reply["tasks"].as_array().unwrap()), ["grant-access"]);
}

#[tokio::test]
async fn a_waiting_poll_is_answered_when_a_list_is_not_the_one_the_connector_has() {
    let (plane, instance) = Plane::with_orders().await;
    let reply = plane
        .lease_reply(&instance, 1, 0, json!({"wait_s": 50}))
        .await;
    assert!(reply["tasks"][0].is_null());
    assert_ne!(reply["header"]["integrations_revision"], 0);
    let more = json!({"wait_s": 50,
        "integrations_revision": reply["header"]["integrations_revision"]});
    let (reply, _) = tokio::join!(
        plane.lease_reply(&instance, 0, 0, more),
        plane.add_integration("another")
    );
    assert!(reply["tasks"][0].is_null());
}

#[tokio::test]
async fn a_task_the_session_does_not_know_is_sent_again_with_the_same_attempt() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 600).await;
    let first = plane.lease(&instance, 1, 0).await.remove(0);
    let again = plane.lease(&instance, 1, 0).await.remove(0);
    assert_eq!((&again["id"], &again["attempt"]), (&first["id"], &json!(1)));
    assert!(plane.lease_new(&instance, &[&first]).await.is_empty());
    assert!(plane.lease(&instance, 0, 9).await.is_empty());
}

#[tokio::test]
async fn a_new_session_of_the_same_instance_takes_its_leases_over_at_once() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 600).await;
    let first = plane.lease(&instance, 1, 0).await.remove(0);
    let other = plane.register(Uuid::now_v7()).await;
    assert!(plane.lease(&other, 9, 9).await.is_empty());
    let restarted = plane.register(instance.id).await;
    let second = plane.lease(&restarted, 1, 0).await.remove(0);
    assert_eq!(
        (&second["id"], &second["attempt"]),
        (&first["id"], &json!(2))
    );
    let old = json!({"session": instance.session, "free_any": 1, "free_end": 1, "wait_s": 0});
    let (status, reply) = plane.connector("tasks/lease", old).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (404, &json!("unknown_session"))
    );
}

#[tokio::test]
async fn a_lease_that_runs_out_goes_to_another_instance() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 6000).await;
    let first = plane.lease(&instance, 1, 0).await.remove(0);
    let other = plane.register(Uuid::now_v7()).await;
    plane.pass(61);
    let second = plane.lease_when_ready(&other).await;
    assert_eq!(
        (&second["id"], &second["attempt"]),
        (&first["id"], &json!(2))
    );
    let renew = json!({"session": instance.session, "attempt": 1});
    let path = format!("tasks/{}/renew", text(&first["id"]));
    let (status, reply) = plane.connector(&path, renew).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("lease_lost"))
    );
}

#[tokio::test]
async fn a_renewed_lease_lasts_and_keeps_its_checkpoint_for_the_next_holder() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 6000).await;
    let first = plane.lease(&instance, 1, 0).await.remove(0);
    let path = format!("tasks/{}/renew", text(&first["id"]));
    for _ in 0..3 {
        plane.pass(50);
        let renew = json!({"session": instance.session, "attempt": 1, "progress": "half-way",
            "checkpoint": "so far"});
        let (status, reply) = plane.connector(&path, renew).await;
        assert_eq!((status, &reply["cancel"]), (200, &json!(false)), "{reply}");
    }
    let too_much =
        json!({"session": instance.session, "attempt": 1, "checkpoint": "x".repeat(4097)});
    assert_eq!(plane.connector(&path, too_much).await.0, 422);
    plane.pass(61);
    let second = plane.lease_when_ready(&instance).await;
    assert_eq!(second["checkpoint"], "so far");
    assert_eq!(second["attempt"], 2);
}

#[tokio::test]
async fn a_start_delivered_five_times_without_a_result_fails_and_is_ended() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 6000).await;
    for attempt in 1..=5 {
        let task = plane.lease_when_ready(&instance).await;
        assert_eq!(
            (&task["kind"], &task["attempt"]),
            (&json!("grant-access"), &json!(attempt))
        );
        plane.running.expire_leases().await.unwrap();
    }
    let end = plane.lease_when_ready(&instance).await;
    assert_eq!(end["kind"], "revoke-access");
    assert_eq!(end["grant"]["id"], json!(id));
    let grant = plane.grant(&id).await;
    assert_eq!(grant["state"], "ending");
    assert_eq!(grant["failure"]["reason"], "too_many_attempts");
}

#[tokio::test]
async fn a_start_older_than_ten_minutes_is_not_handed_out() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 6000).await;
    plane.pass(600);
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
    let grant = plane.until_state(&id, "failed").await;
    assert_eq!(grant["failure"]["reason"], "order_expired");
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
}

#[tokio::test]
async fn two_starts_of_one_person_run_one_after_the_other() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 600).await;
    let second = plane.ask("alice@example.com", 600).await;
    plane.ask("bob@example.com", 600).await;
    let tasks = plane.lease(&instance, 9, 0).await;
    let who: Vec<_> = tasks
        .iter()
        .map(|task| task["grant"]["principal"]["email"].clone())
        .collect();
    assert_eq!(who, ["alice@example.com", "bob@example.com"]);
    plane
        .succeed(
            &instance,
            &tasks[0],
            json!({"start": plane.started(&tasks[0])}),
        )
        .await;
    let next = plane.lease_new(&instance, &[&tasks[1]]).await.remove(0);
    assert_eq!(next["grant"]["id"], json!(second));
}

#[tokio::test]
async fn a_revoke_is_handed_out_beside_a_running_start_which_learns_of_it() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    let start = plane.lease(&instance, 1, 0).await.remove(0);
    plane.order(&format!("grants/{id}/revoke"), json!({})).await;
    let end = plane.lease_new(&instance, &[&start]).await.remove(0);
    assert_eq!(end["kind"], "revoke-access");
    let path = format!("tasks/{}/renew", text(&start["id"]));
    let renew = json!({"session": instance.session, "attempt": 1});
    assert_eq!(plane.connector(&path, renew).await.1["cancel"], true);
    plane
        .succeed(&instance, &end, json!({"end": plane.end(&end, true)}))
        .await;
    assert_eq!(plane.grant(&id).await["state"], "ended");
    let (status, _) = plane
        .report(&instance, &start, json!({"status": "failed", "class": "conflict", "reason": "cancelled", "message": "taken back"}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(plane.grant(&id).await["state"], "ended");
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
}

#[tokio::test]
async fn access_that_appears_after_its_end_is_ended_again() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    let start = plane.lease(&instance, 1, 0).await.remove(0);
    plane.order(&format!("grants/{id}/revoke"), json!({})).await;
    let end = plane.lease_new(&instance, &[&start]).await.remove(0);
    plane
        .succeed(&instance, &end, json!({"end": plane.end(&end, true)}))
        .await;
    plane
        .succeed(&instance, &start, json!({"start": plane.started(&start)}))
        .await;
    let again = plane.lease(&instance, 9, 9).await.remove(0);
    assert_eq!(again["kind"], "revoke-access");
    assert_ne!(again["id"], end["id"]);
    let entry = plane.read("grants?since=0").await["grants"][0].clone();
    assert_eq!(entry["ended"], false);
}

#[tokio::test]
async fn a_released_task_goes_to_another_at_once_and_counts_as_not_begun() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    let first = plane.lease(&instance, 1, 0).await.remove(0);
    let path = format!("tasks/{}/release", text(&first["id"]));
    let (status, _) = plane
        .connector(&path, json!({"session": instance.session, "attempt": 1}))
        .await;
    assert_eq!(status, 200);
    let (status, _) = plane
        .connector(&path, json!({"session": instance.session, "attempt": 1}))
        .await;
    assert_eq!(status, 409);
    let other = plane.register(Uuid::now_v7()).await;
    let second = plane.lease(&other, 1, 0).await.remove(0);
    assert_eq!(second["attempt"], 2);
    let (status, _) = plane
        .connector(&path, json!({"session": other.session, "attempt": 2}))
        .await;
    assert_eq!(status, 200);
    plane.order(&format!("grants/{id}/revoke"), json!({})).await;
    assert_eq!(plane.grant(&id).await["state"], "ended");
    assert!(plane.lease(&other, 9, 9).await.is_empty());
}

#[tokio::test]
async fn an_answer_never_has_more_tasks_than_there_are_places() {
    let (plane, instance) = Plane::with_orders().await;
    for n in 0..5 {
        plane.ask(&format!("p{n}@example.com"), 600).await;
    }
    let tasks = plane.lease(&instance, 3, 9).await;
    assert_eq!(tasks.len(), 3);
    let rest = plane
        .lease_new(&instance, &tasks.iter().collect::<Vec<_>>())
        .await;
    assert_eq!(rest.len(), 2);
}

#[tokio::test]
async fn a_waiting_poll_ends_when_the_server_stops() {
    let (plane, instance) = Plane::with_orders().await;
    let header = plane.lease_reply(&instance, 0, 0, json!({})).await["header"].clone();
    let url = plane.url("/v1/connectors/c1/tasks/lease");
    let ask = json!({"session": instance.session, "free_any": 1, "free_end": 1, "wait_s": 50,
        "integrations_revision": header["integrations_revision"]});
    let http = plane.http.clone();
    let poll = http
        .post(url)
        .bearer_auth(super::harness::CONNECTOR_TOKEN)
        .json(&ask)
        .send();
    let (answer, ()) = tokio::join!(poll, async {
        // The poll is accepted first: the listener takes connections in order, and this call comes after it.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        tokio::time::timeout(PATIENCE, plane.running.stop())
            .await
            .unwrap();
    });
    let reply: Value = answer.unwrap().json().await.unwrap();
    assert_eq!(reply["tasks"], json!([]));
}
