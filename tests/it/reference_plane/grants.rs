//! What administrators can ask for, and what happens at expiry.

use super::harness::{Plane, request, text};
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn a_request_that_does_not_fit_is_refused_with_the_reason() {
    let (plane, _) = Plane::with_orders().await;
    let base = || request("alice@example.com", 600);
    let with = |key: &str, value: serde_json::Value| {
        let mut body = base();
        body[key] = value;
        body
    };
    let resource =
        |kind: &str, path: serde_json::Value| with("resource", json!({"type": kind, "path": path}));
    let past = plane.now() - jiff::SignedDuration::from_secs(1);
    let mut absent = base();
    absent["duration_s"] = json!(null);
    let mut expired = absent.clone();
    expired["expiry"] = json!(past);
    for (body, status, part) in [
        (with("integration", json!("nope")), 404, "`nope`"),
        (with("principal", json!({"email": "nobody"})), 422, "e-mail"),
        (with("permission", json!("OWNER")), 422, "`READ_ONLY`"),
        (with("permission", json!("MEMBER")), 422, "`ADMIN`"),
        (with("recipient", json!("ssh-rsa AAAA")), 422, "ssh-ed25519"),
        (with("duration_s", json!(0)), 422, "after now"),
        (with("duration_s", json!(u64::MAX)), 422, "9999"),
        (with("expiry", json!("2999-01-01T00:00:00Z")), 422, "both"),
        (absent, 422, "missing"),
        (expired, 422, "after now"),
        (
            resource("postgresql-planet", json!(["a"])),
            422,
            "`postgresql-table`",
        ),
        (
            resource("postgresql-schema", json!(["app"])),
            422,
            "database, schema",
        ),
        (
            resource("postgresql-schema", json!(["app", "a\u{0}b"])),
            422,
            "NUL",
        ),
        (
            resource("postgresql-schema", json!(["app", "x".repeat(64)])),
            422,
            "64 bytes",
        ),
    ] {
        let (answered, reply) = plane.admin("grants", body.clone()).await;
        assert_eq!(answered, status, "{body}: {reply}");
        let message = text(&reply["error"]["message"]);
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    assert_eq!(plane.look("grants?all=true").await["grants"], json!([]));
}

#[tokio::test]
async fn odd_names_are_data() {
    let (plane, instance) = Plane::with_orders().await;
    let mut body = request("o'brien+x@example.com", 600);
    body["resource"]["path"] = json!(["a\";drop$$", "😀\n\\"]);
    plane.order("grants", body).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    assert_eq!(
        task["grant"]["resource"]["path"],
        json!(["a\";drop$$", "😀\n\\"])
    );
}

#[tokio::test]
async fn one_idempotency_key_gives_one_grant() {
    let (plane, _) = Plane::with_orders().await;
    let mut body = request("alice@example.com", 600);
    body["idempotency_key"] = json!("ticket-1");
    let first = plane.order("grants", body.clone()).await;
    plane.pass(5);
    let again = plane.order("grants", body.clone()).await;
    assert_eq!(first["grant"], again["grant"]);
    assert_eq!(first["task"], again["task"]);
    body["permission"] = json!("ADMIN");
    let (status, reply) = plane.admin("grants", body).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("idempotency_key_reused"))
    );
}

#[tokio::test]
async fn at_expiry_the_end_is_ordered_without_anybody_asking() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 30).await;
    plane.pass(29);
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
    plane.pass(1);
    let end = plane.lease_when_ready(&instance).await;
    assert_eq!(
        (&end["kind"], &end["grant"]["id"]),
        (&json!("revoke-access"), &json!(id))
    );
    plane
        .succeed(&instance, &end, json!({"end": plane.end(&end, true)}))
        .await;
    assert_eq!(plane.grant(&id).await["state"], "ended");
}

#[tokio::test]
async fn a_grant_whose_time_is_over_before_its_start_never_starts() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 5).await;
    plane.pass(5);
    let grant = plane.until_state(&id, "failed").await;
    assert_eq!(grant["failure"]["reason"], "expired_before_start");
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
}

#[tokio::test]
async fn an_extension_counts_once_it_is_confirmed() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 30).await;
    plane
        .order(&format!("grants/{id}/extend"), json!({"duration_s": 300}))
        .await;
    let before = plane.grant(&id).await;
    assert!(before["wanted_expiry"].is_string());
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    assert_eq!(task["kind"], "extend-access");
    assert_eq!(task["grant"]["expiry"], before["wanted_expiry"]);
    let mut start = plane.started(&task);
    start["credential"] = json!("unchanged");
    start["sealed_credential"] = json!(null);
    plane
        .succeed(&instance, &task, json!({"start": start}))
        .await;
    let after = plane.grant(&id).await;
    assert_eq!(after["grant"]["expiry"], before["wanted_expiry"]);
    assert!(after["wanted_expiry"].is_null());
    assert!(text(&after["sealed_credential"]).starts_with("-----BEGIN"));
    plane.pass(31);
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
    plane.pass(270);
    assert_eq!(
        plane.lease_when_ready(&instance).await["kind"],
        "revoke-access"
    );
}

#[tokio::test]
async fn an_extension_nobody_confirmed_does_not_move_the_end() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 30).await;
    plane
        .order(&format!("grants/{id}/extend"), json!({"duration_s": 300}))
        .await;
    plane.pass(30);
    plane.until_state(&id, "ending").await;
    let tasks = plane.lease(&instance, 9, 9).await;
    assert_eq!(super::harness::kinds(&tasks), ["revoke-access"]);
}

#[tokio::test]
async fn a_shorter_end_is_kept_even_when_nobody_confirms_it() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 600).await;
    plane
        .order(&format!("grants/{id}/extend"), json!({"duration_s": 10}))
        .await;
    plane.pass(10);
    plane.until_state(&id, "ending").await;
}

#[tokio::test]
async fn an_extension_before_the_first_delivery_needs_no_order() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 30).await;
    let ordered = plane
        .order(&format!("grants/{id}/extend"), json!({"duration_s": 300}))
        .await;
    assert!(ordered["task"].is_null());
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    assert_eq!(
        task["grant"]["expiry"],
        plane.grant(&id).await["grant"]["expiry"]
    );
    plane
        .order(&format!("grants/{id}/extend"), json!({"duration_s": 500}))
        .await;
    assert!(plane.lease_new(&instance, &[&task]).await.is_empty());
    plane
        .succeed(&instance, &task, json!({"start": plane.started(&task)}))
        .await;
    assert_eq!(
        plane.lease(&instance, 1, 0).await[0]["kind"],
        "extend-access"
    );
}

#[tokio::test]
async fn two_extensions_of_one_grant_run_one_after_the_other() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 30).await;
    let path = format!("grants/{id}/extend");
    plane.order(&path, json!({"duration_s": 300})).await;
    let first = plane.lease(&instance, 1, 0).await.remove(0);
    plane.order(&path, json!({"duration_s": 600})).await;
    assert!(plane.lease_new(&instance, &[&first]).await.is_empty());
    plane
        .succeed(&instance, &first, json!({"start": plane.started(&first)}))
        .await;
    let second = plane.lease(&instance, 1, 0).await.remove(0);
    plane
        .succeed(&instance, &second, json!({"start": plane.started(&second)}))
        .await;
    assert_eq!(
        plane.grant(&id).await["grant"]["expiry"],
        second["grant"]["expiry"]
    );
}

#[tokio::test]
async fn a_refused_extension_leaves_the_grant_as_it_was() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 30).await;
    let before = plane.grant(&id).await;
    plane
        .order(&format!("grants/{id}/extend"), json!({"duration_s": 300}))
        .await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    plane.fail(&instance, &task, "bug").await;
    assert_eq!(plane.grant(&id).await, before);
}

#[tokio::test]
async fn a_reset_gives_a_new_credential_of_a_live_grant_only() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    let reset = json!({"recipient": "ssh-ed25519 AAAA me"});
    let path = format!("grants/{id}/reset-credentials");
    let (status, reply) = plane.admin(&path, reset.clone()).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("grant_not_active"))
    );
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    plane
        .succeed(&instance, &task, json!({"start": plane.started(&task)}))
        .await;
    let ordered = plane.order(&path, reset).await;
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    assert_eq!(
        (&task["kind"], &task["id"]),
        (&json!("reset-credentials"), &ordered["task"])
    );
    assert_eq!(task["recipient"], "ssh-ed25519 AAAA me");
    let mut start = plane.started(&task);
    start["sealed_credential"] = json!("another");
    plane
        .succeed(&instance, &task, json!({"start": start}))
        .await;
    assert_eq!(plane.grant(&id).await["sealed_credential"], "another");
    let view = plane
        .look(&format!("tasks/{}", text(&ordered["task"])))
        .await;
    assert_eq!(view["start"]["sealed_credential"], "another");
}

#[tokio::test]
async fn a_grant_that_is_over_can_be_revoked_again_but_not_changed() {
    let (plane, _) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    for _ in 0..2 {
        let ordered = plane.order(&format!("grants/{id}/revoke"), json!({})).await;
        assert!(ordered["task"].is_null());
    }
    for verb in ["extend", "reset-credentials"] {
        let body = json!({"duration_s": 5, "recipient": "age1x"});
        let (status, reply) = plane.admin(&format!("grants/{id}/{verb}"), body).await;
        assert_eq!(
            (status, &reply["error"]["reason"]),
            (409, &json!("grant_over"))
        );
    }
    let nobody = Uuid::now_v7();
    let (status, _) = plane
        .admin(&format!("grants/{nobody}/revoke"), json!({}))
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_retiring_integration_takes_nothing_new_and_is_retired_once_nothing_is_left() {
    let (plane, instance) = Plane::with_orders().await;
    let live = plane.active(&instance, "alice@example.com", 600).await;
    let waiting = plane.ask("bob@example.com", 600).await;
    let view = plane.order("integrations/orders/retire", json!({})).await;
    assert_eq!(view["state"], "retiring");
    assert_eq!(plane.grant(&waiting).await["state"], "failed");
    let (status, reply) = plane.admin("grants", request("eve@example.com", 600)).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("integration_retiring"))
    );
    let listed = plane.read("integrations?since=0").await["integrations"][0].clone();
    assert_eq!(
        (&listed["state"], &listed["settings"]["hostname"]),
        (&json!("retiring"), &json!("localhost"))
    );

    plane
        .order(&format!("grants/{live}/revoke"), json!({}))
        .await;
    let end = plane.lease(&instance, 0, 1).await.remove(0);
    let outcome = json!({"status": "closed", "end": plane.end(&end, false)});
    assert_eq!(plane.report(&instance, &end, outcome).await.0, 200);
    assert_eq!(
        plane.look("integrations").await["integrations"][0]["state"],
        "retiring"
    );
    let ends = json!({"session": instance.session, "ends": [plane.end(&end, true)]});
    plane.connector("ends", ends).await;
    assert_eq!(
        plane.look("integrations").await["integrations"][0]["state"],
        "retired"
    );
    plane.add_integration("orders").await;
}

#[tokio::test]
async fn a_start_under_way_when_its_integration_retires_is_not_handed_out_again() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 6000).await;
    plane.lease(&instance, 1, 0).await;
    plane.order("integrations/orders/retire", json!({})).await;
    plane.running.expire_leases().await.unwrap();
    assert!(plane.lease(&instance, 9, 9).await.is_empty());
    plane.pass(600);
    let end = plane.lease_when_ready(&instance).await;
    assert_eq!(
        (&end["kind"], &end["grant"]["id"]),
        (&json!("revoke-access"), &json!(id))
    );
}

#[tokio::test]
async fn an_integration_that_does_not_fit_is_refused() {
    let plane = Plane::start().await;
    plane.add_integration("orders").await;
    let base = json!({"connector": "c1", "name": "x", "type": "postgresql"});
    for (key, value, status) in [
        ("connector", json!("a b"), 422),
        ("name", json!(""), 422),
        ("name", json!("a\nb"), 422),
        ("name", json!(Uuid::now_v7()), 422),
        ("name", json!("orders"), 409),
        ("secret", json!("hunter2"), 422),
        ("settings", json!({"": "x"}), 422),
        ("settings", json!({"a": "x".repeat(5000)}), 422),
    ] {
        let mut body = base.clone();
        body[key] = value;
        let (answered, reply) = plane.admin("integrations", body.clone()).await;
        assert_eq!(answered, status, "{body}: {reply}");
    }
}
