//! Which results count, and what each changes.

use super::harness::{Plane, text};
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn the_same_result_again_is_acknowledged_and_another_is_refused() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    let outcome = json!({"status": "succeeded", "start": plane.started(&task)});
    for _ in 0..3 {
        assert_eq!(plane.report(&instance, &task, outcome.clone()).await.0, 200);
    }
    let other = json!({"status": "failed", "class": "bug", "reason": "x", "message": "y"});
    let (status, reply) = plane.report(&instance, &task, other).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("result_differs"))
    );
    let grant = plane.grant(&id).await;
    assert_eq!(grant["state"], "active");
    assert_eq!(grant["login"], "alice_apono");
    assert!(text(&grant["sealed_credential"]).starts_with("-----BEGIN AGE"));
}

#[tokio::test]
async fn an_older_attempt_is_refused() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 6000).await;
    let first = plane.lease(&instance, 1, 0).await.remove(0);
    plane.running.expire_leases().await.unwrap();
    let second = plane.lease(&instance, 1, 0).await.remove(0);
    assert_eq!(second["attempt"], 2);
    let outcome = json!({"status": "succeeded", "start": plane.started(&first)});
    let (status, reply) = plane.report(&instance, &first, outcome.clone()).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("stale_attempt"))
    );
    assert_eq!(plane.report(&instance, &second, outcome).await.0, 200);
}

#[tokio::test]
async fn a_late_result_counts_while_nobody_else_took_the_task() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 6000).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    plane.running.expire_leases().await.unwrap();
    let restarted = plane.register(instance.id).await;
    plane
        .succeed(&restarted, &task, json!({"start": plane.started(&task)}))
        .await;
    assert_eq!(plane.grant(&id).await["state"], "active");
    assert!(plane.lease(&restarted, 9, 9).await.is_empty());
}

#[tokio::test]
async fn another_instance_cannot_report_for_the_holder() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 600).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    let other = plane.register(Uuid::now_v7()).await;
    let outcome = json!({"status": "succeeded", "start": plane.started(&task)});
    assert_eq!(plane.report(&other, &task, outcome).await.0, 409);
}

#[tokio::test]
async fn a_result_of_the_wrong_shape_is_refused_and_changes_nothing() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    let mut unsealed = plane.started(&task);
    unsealed["sealed_credential"] = json!(null);
    for outcome in [
        json!({"status": "succeeded"}),
        json!({"status": "succeeded", "start": unsealed}),
        json!({"status": "closed", "end": plane.end(&task, true)}),
        json!({"status": "wonderful"}),
    ] {
        let (status, reply) = plane.report(&instance, &task, outcome).await;
        assert_eq!(status, 422, "{reply}");
    }
    assert_eq!(plane.grant(&id).await["state"], "starting");
    let unknown = json!({"id": Uuid::now_v7(), "attempt": 1});
    let outcome = json!({"status": "succeeded"});
    assert_eq!(plane.report(&instance, &unknown, outcome).await.0, 404);
}

#[tokio::test]
async fn a_start_that_failed_for_good_is_over_without_an_end() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    plane.fail(&instance, &task, "needs_operator").await;
    let grant = plane.grant(&id).await;
    assert_eq!(grant["state"], "failed");
    assert_eq!(grant["failure"]["hint"], "mend it");
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
}

#[tokio::test]
async fn a_start_that_failed_for_good_after_a_lost_lease_is_ended() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 6000).await;
    plane.lease(&instance, 1, 0).await;
    plane.running.expire_leases().await.unwrap();
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    plane.fail(&instance, &task, "bug").await;
    assert_eq!(plane.grant(&id).await["state"], "ending");
    let end = plane.lease(&instance, 0, 1).await.remove(0);
    assert_eq!(end["kind"], "revoke-access");
}

#[tokio::test]
async fn a_start_that_may_work_later_is_delivered_again_after_a_pause() {
    let (plane, instance) = Plane::with_orders().await;
    plane.ask("alice@example.com", 6000).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    plane.fail(&instance, &task, "transient").await;
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
    plane.pass(1);
    let again = plane.lease_when_ready(&instance).await;
    assert_eq!((&again["id"], &again["attempt"]), (&task["id"], &json!(2)));
    let throttled = json!({"status": "failed", "class": "throttled", "reason": "slow", "message": "slow",
        "retry_after_s": 100});
    assert_eq!(plane.report(&instance, &again, throttled).await.0, 200);
    plane.pass(99);
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
    plane.pass(1);
    assert_eq!(plane.lease_when_ready(&instance).await["attempt"], 3);
}

#[tokio::test]
async fn a_start_that_keeps_failing_is_given_up_and_ended() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 6000).await;
    for _ in 0..5 {
        let task = plane.lease_when_ready(&instance).await;
        assert_eq!(task["kind"], "grant-access");
        plane.fail(&instance, &task, "transient").await;
        plane.pass(60);
    }
    let end = plane.lease_when_ready(&instance).await;
    assert_eq!(end["kind"], "revoke-access");
    plane
        .succeed(&instance, &end, json!({"end": plane.end(&end, true)}))
        .await;
    let grant = plane.grant(&id).await;
    assert_eq!(grant["state"], "ended");
    assert_eq!(grant["failure"]["reason"], "because");
}

#[tokio::test]
async fn an_end_is_never_given_up() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 60_000).await;
    plane.order(&format!("grants/{id}/revoke"), json!({})).await;
    for (attempt, class) in (1..).zip([
        "needs_operator",
        "bug",
        "not_found",
        "unauthorised",
        "conflict",
        "transient",
        "throttled",
    ]) {
        let end = plane.lease_when_ready(&instance).await;
        assert_eq!(end["kind"], "revoke-access");
        assert_eq!(end["attempt"], attempt);
        plane.fail(&instance, &end, class).await;
        if class == "needs_operator" {
            plane.pass(59);
            assert!(plane.lease(&instance, 9, 9).await.is_empty());
        }
        plane.pass(60);
    }
    assert_eq!(plane.grant(&id).await["state"], "ending");
}

#[tokio::test]
async fn an_end_may_be_closed_first_and_clean_later() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 600).await;
    plane.order(&format!("grants/{id}/revoke"), json!({})).await;
    let task = plane.lease(&instance, 0, 1).await.remove(0);
    let closed = plane.end(&task, false);
    let outcome = json!({"status": "closed", "end": closed});
    assert_eq!(plane.report(&instance, &task, outcome).await.0, 200);
    let grant = plane.grant(&id).await;
    assert_eq!(
        (&grant["state"], &grant["clean"]),
        (&json!("closed"), &json!(false))
    );
    assert_eq!(grant["leftovers"], json!(["a table"]));
    assert_eq!(grant["sessions_before"], 2);
    plane.pass(100);
    let clean = plane.end(&task, true);
    let ends = json!({"session": instance.session, "ends": [clean]});
    assert_eq!(plane.connector("ends", ends).await.0, 200);
    let later = plane.grant(&id).await;
    assert_eq!(
        (&later["state"], &later["clean"]),
        (&json!("ended"), &json!(true))
    );
    assert_eq!(later["ended_at"], grant["ended_at"]);
    assert_eq!(later["leftovers"], json!([]));
}

#[tokio::test]
async fn a_grant_that_ended_by_itself_needs_no_order_any_more() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 600).await;
    let entry = plane.read("grants?since=0").await["grants"][0].clone();
    plane.pass(600);
    plane.until_state(&id, "ending").await;
    let mut end = plane.end(&entry, true);
    end["reason"] = json!("expired");
    let ends = json!({"session": instance.session, "ends": [end]});
    for _ in 0..2 {
        assert_eq!(plane.connector("ends", ends.clone()).await.0, 200);
    }
    let grant = plane.grant(&id).await;
    assert_eq!(
        (&grant["state"], &grant["end_reason"]),
        (&json!("ended"), &json!("expired"))
    );
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
}

#[tokio::test]
async fn ends_of_unknown_grants_are_passed_over_and_impossible_ones_refused() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 600).await;
    let entry = plane.read("grants?since=0").await["grants"][0].clone();
    let mut unknown = plane.end(&entry, true);
    unknown["grant"] = json!(Uuid::now_v7());
    let ends = json!({"session": instance.session, "ends": [unknown, plane.end(&entry, true)]});
    assert_eq!(plane.connector("ends", ends).await.0, 200);
    assert_eq!(plane.grant(&id).await["state"], "ended");

    let mut open = plane.end(&entry, true);
    open["sessions_after"] = json!(1);
    let ends = json!({"session": instance.session, "ends": [open]});
    let (status, reply) = plane.connector("ends", ends).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (422, &json!("sessions_left"))
    );
    let many = vec![plane.end(&entry, true); 101];
    let ends = json!({"session": instance.session, "ends": many});
    assert_eq!(plane.connector("ends", ends).await.0, 422);
}
