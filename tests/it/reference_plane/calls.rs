//! Tokens, bodies, sessions, paths.

use super::harness::{ADMIN_TOKEN, CONNECTOR_TOKEN, Plane, options, text};
use apono_connector::reference_plane::{PlaneError, start};
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn a_missing_or_wrong_token_is_answered_401_and_the_other_sides_token_403() {
    let plane = Plane::start().await;
    for (token, path, status) in [
        ("", "/v1/connectors/c1/grants", 401),
        (
            "connector-token-0123456788",
            "/v1/connectors/c1/grants",
            401,
        ),
        (ADMIN_TOKEN, "/v1/connectors/c1/grants", 403),
        (CONNECTOR_TOKEN, "/v1/connectors/c1/grants", 200),
        ("", "/admin/v1/grants", 401),
        (CONNECTOR_TOKEN, "/admin/v1/grants", 403),
        (ADMIN_TOKEN, "/admin/v1/grants", 200),
    ] {
        let (answered, body) = plane.call(token, path, None).await;
        assert_eq!(answered, status, "{token} {path}");
        assert_eq!(body["error"].is_object(), status != 200, "{body}");
    }
}

#[tokio::test]
async fn a_body_of_10_mib_is_answered_413_and_others_are_still_served() {
    let (plane, instance) = Plane::with_orders().await;
    let big = json!({"session": instance.session, "frozen": false, "running": 0,
        "ledger_ok": true, "guardrails_digest": "x".repeat(10 << 20)});
    let (status, body) = plane.connector("heartbeat", big.clone()).await;
    assert_eq!(
        (status, &body["error"]["reason"]),
        (413, &json!("body_too_large"))
    );
    let (status, _) = plane.call("wrong", "/admin/v1/grants", Some(big)).await;
    assert_eq!(status, 401);
    assert_eq!(plane.read("grants?since=0").await["grants"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_with_a_reason() {
    let plane = Plane::start().await;
    let send = async |body: &'static str| {
        let url = plane.url("/v1/connectors/c1/sessions");
        let answer = plane.http.post(url).bearer_auth(CONNECTOR_TOKEN).body(body);
        let answer = answer.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<serde_json::Value>().await.unwrap(),
        )
    };
    assert_eq!(send("{").await.0, 400);
    assert_eq!(send("").await.0, 400);
    let (status, body) = send("{}").await;
    assert_eq!(status, 422);
    assert!(
        text(&body["error"]["message"]).contains("instance"),
        "{body}"
    );
    let (status, body) = plane.call(CONNECTOR_TOKEN, "/v1/nothing", None).await;
    assert_eq!(
        (status, &body["error"]["reason"]),
        (404, &json!("unknown_path"))
    );
    let (status, _) = plane
        .call(CONNECTOR_TOKEN, "/v1/connectors/c1/heartbeat", None)
        .await;
    assert_eq!(status, 405);
    let (status, body) = plane
        .call(CONNECTOR_TOKEN, "/v1/connectors/a%20b/grants", None)
        .await;
    assert_eq!(status, 422, "{body}");
    let lease = json!({"session": Uuid::now_v7(), "attempt": 1});
    let (status, _) = plane.connector("tasks/not-an-id/renew", lease).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_session_tells_the_intervals_and_is_needed_for_work() {
    let plane = Plane::start().await;
    let hello =
        json!({"instance": Uuid::now_v7(), "version": "1", "protocol_min": 1, "protocol_max": 1});
    let (status, reply) = plane.connector("sessions", hello).await;
    assert_eq!(status, 200);
    assert_eq!(reply["protocol"], 1);
    assert_eq!(reply["lease_s"], 60);
    assert_eq!(reply["renew_s"], 10);
    assert_eq!(reply["poll_wait_s"], 25);
    let ask = json!({"session": Uuid::now_v7(), "free_any": 1, "free_end": 1, "wait_s": 0});
    let (status, reply) = plane.connector("tasks/lease", ask).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (404, &json!("unknown_session"))
    );
}

#[tokio::test]
async fn a_connector_of_another_protocol_is_refused() {
    let plane = Plane::start().await;
    let hello =
        json!({"instance": Uuid::now_v7(), "version": "9", "protocol_min": 2, "protocol_max": 3});
    let (status, reply) = plane.connector("sessions", hello).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (422, &json!("unsupported_protocol"))
    );
}

#[tokio::test]
async fn a_heartbeat_is_shown_to_people() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.look("integrations").await["integrations"][0]["id"].clone();
    let beat = json!({"session": instance.session, "frozen": true, "running": 3, "ledger_ok": true,
        "integrations": [{"integration": id, "status": "warning", "message": "look at it"}]});
    let (status, reply) = plane.connector("heartbeat", beat).await;
    assert_eq!(status, 200);
    assert!(reply["header"]["epoch"].is_string());
    let seen = plane.look("connectors").await["instances"][0].clone();
    assert_eq!(seen["heartbeat"]["frozen"], true);
    assert_eq!(seen["host"], "here");
    let integration = plane.look("integrations").await["integrations"][0].clone();
    assert_eq!(integration["status"], "warning");
    assert_eq!(integration["message"], "look at it");
}

#[tokio::test]
async fn an_address_others_can_reach_is_refused_without_a_tls_proxy() {
    let plane = Plane::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut exposed = options(&folder, &plane.clock);
    exposed.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(
        start(exposed.clone()).await,
        Err(PlaneError::Exposed(_))
    ));
    exposed.behind_tls_proxy = true;
    start(exposed).await.unwrap().stop().await;
}
