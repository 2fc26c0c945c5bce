//! The control channel against a control plane that answers in order, badly, or not at all.

mod inventory;
mod scripted;
mod way_out;

use apono_connector::address::ControlPlaneUrl;
use apono_connector::clock::SystemClock;
use apono_connector::control::{
    ControlError, ControlPlane, Heartbeat, Hello, HttpControlPlane, HttpOptions, IntegrationHealth,
    IntegrationStatus, LeaseAsk, ParsedTask, Renewal, TaskReport, TimeLimits, TokenSource,
};
use apono_connector::domain::{
    ConnectorId, CredentialChange, EndReason, EndReport, ErrorClass, Failure, GrantId,
    IntegrationId, SealedCredential, SessionId, StartReport, TaskId, TaskOutcome,
};
use apono_connector::secret::Secret;
use scripted::{Reply, Scripted};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A secret no error text may hold.
const TOKEN: &str = "canary-token-0123456789abcdef";
/// Time limit of a call in these tests.
const CALL: Duration = Duration::from_millis(700);

fn options(url: &str) -> HttpOptions {
    HttpOptions {
        url: ControlPlaneUrl::parse(url).unwrap(),
        connector: ConnectorId::parse("c1").unwrap(),
        token: TokenSource::Value(Secret::new(TOKEN.to_owned())),
        ca_file: None,
        proxy: None,
        limits: TimeLimits {
            connect: CALL,
            call: CALL,
        },
    }
}

fn plane(options: HttpOptions) -> HttpControlPlane {
    HttpControlPlane::new(options, Arc::new(SystemClock)).unwrap()
}

fn id(last: u64) -> Uuid {
    Uuid::from_u64_pair(0x0190_a1b2_0000_7000, 0x8000_0000_0000_0000 | last)
}

fn session() -> SessionId {
    SessionId::new(id(9))
}

fn header() -> Value {
    json!({
        "epoch": id(1),
        "server_time": "2030-01-01T00:00:00Z",
        "grants_revision": 3,
        "integrations_revision": 4,
        "newer": true,
    })
}

fn acknowledged() -> Reply {
    Reply::json(200, &json!({ "header": header() }))
}

/// Makes one call against one reply; returns the error, which must come in time and hold no secret.
async fn error_after(reply: Reply) -> ControlError {
    let server = Scripted::start([reply]).await;
    let start = Instant::now();
    let error = plane(options(&server.url()))
        .heartbeat(session(), &Heartbeat::default())
        .await
        .unwrap_err();
    assert!(start.elapsed() < CALL * 10, "{:?}", start.elapsed());
    let mut text = format!("{error} {error:?}");
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        text += &format!(" {error}");
        cause = error.source();
    }
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("heartbeat"), "{text}");
    error
}

#[tokio::test]
async fn the_status_alone_decides_the_class() {
    let table = [
        (302, ErrorClass::Transient),
        (400, ErrorClass::Bug),
        (401, ErrorClass::Unauthorised),
        (403, ErrorClass::Unauthorised),
        (404, ErrorClass::NotFound),
        (409, ErrorClass::Conflict),
        (410, ErrorClass::NotFound),
        (413, ErrorClass::Bug),
        (422, ErrorClass::Bug),
        (429, ErrorClass::Throttled),
        (500, ErrorClass::Transient),
        (502, ErrorClass::Transient),
        (503, ErrorClass::Transient),
    ];
    for (status, class) in table {
        let body = json!({ "error": { "reason": "not_found", "message": "gone", "hint": "look" } });
        let error = error_after(Reply::json(status, &body)).await;
        assert_eq!(error.class(), class, "{status}");
        let text = error.to_string();
        assert!(text.contains("not_found: gone (hint: look)"), "{text}");
        assert!(text.contains(&status.to_string()), "{text}");
    }
}

#[tokio::test]
async fn a_retry_after_is_passed_on_and_bounded() {
    for (value, seconds) in [("7", 7), ("86400", 300)] {
        let headers = format!("retry-after: {value}\r\n");
        let error = error_after(Reply::with(429, &headers, b"")).await;
        assert_eq!(error.class(), ErrorClass::Throttled);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)));
    }
    let error = error_after(Reply::with(503, "retry-after: now\r\n", b"")).await;
    assert_eq!(error.retry_after(), None);
}

#[tokio::test]
async fn an_error_answer_never_shows_our_token_or_more_than_200_characters() {
    let said = format!("no {TOKEN} {}", "x".repeat(10_000));
    let body = json!({ "error": { "reason": "r", "message": said } });
    let error = error_after(Reply::json(401, &body)).await;
    let text = error.to_string();
    assert!(text.contains("r: no (hidden) xxx"), "{text}");
    assert!(text.chars().count() < 300, "{text}");

    let error = error_after(Reply::with(500, "", TOKEN.as_bytes())).await;
    assert!(error.to_string().contains("gives no reason"), "{error}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_understood_is_named() {
    let bodies = [
        String::new(),
        "<html>".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({ "header": { "epoch": TOKEN } }).to_string(),
        json!({ "header": { "epoch": id(1), "server_time": "soon" } }).to_string(),
    ];
    for body in bodies {
        let error = error_after(Reply::with(200, "", body.as_bytes())).await;
        assert!(
            matches!(error, ControlError::Garbled { .. }),
            "{body}: {error}"
        );
        assert_eq!(error.class(), ErrorClass::Transient);
    }
}

#[tokio::test]
async fn what_is_no_http_or_breaks_off_counts_as_unreachable() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"header\":".to_vec();
    let replies = [
        Reply::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec()),
        Reply::Bytes(Vec::new()),
        Reply::Bytes(half.clone()),
        Reply::Stall(Vec::new()),
        Reply::Stall(half),
    ];
    for (nth, reply) in replies.into_iter().enumerate() {
        let error = error_after(reply).await;
        assert!(
            matches!(error, ControlError::Unreachable { .. }),
            "{nth}: {error}"
        );
        assert_eq!(error.class(), ErrorClass::Transient);
    }
}

#[tokio::test]
async fn a_broken_error_answer_still_has_its_class() {
    let half = b"HTTP/1.1 403 x\r\ncontent-length: 1000\r\n\r\n{".to_vec();
    for reply in [Reply::Bytes(half.clone()), Reply::Stall(half)] {
        let error = error_after(reply).await;
        assert_eq!(error.class(), ErrorClass::Unauthorised);
    }
}

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    let huge = "HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n";
    let error = error_after(Reply::Endless(huge.into(), vec![b' '; 1 << 16])).await;
    assert!(matches!(error, ControlError::TooLarge { .. }), "{error}");

    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend(vec![b' '; 0x10000]);
    chunk.extend(b"\r\n");
    let error = error_after(Reply::Endless(chunked.into(), chunk)).await;
    assert!(matches!(error, ControlError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_named() {
    let server = Scripted::start([]).await;
    let url = server.url();
    drop(server);
    let error = plane(options(&url)).grants(0).await.unwrap_err();
    assert!(matches!(error, ControlError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&url), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Scripted::start([acknowledged()]).await;
    let location = format!("location: {}/\r\n", elsewhere.url());
    let error = error_after(Reply::with(307, &location, b"")).await;
    assert!(
        matches!(error, ControlError::Refused { status: 307, .. }),
        "{error}"
    );
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn another_epoch_is_passed_on() {
    let mut restored = header();
    restored["epoch"] = json!(id(2));
    let server = Scripted::start([
        acknowledged(),
        Reply::json(200, &json!({ "header": restored })),
    ])
    .await;
    let plane = plane(options(&server.url()));
    let first = plane
        .heartbeat(session(), &Heartbeat::default())
        .await
        .unwrap();
    let second = plane
        .heartbeat(session(), &Heartbeat::default())
        .await
        .unwrap();
    assert_eq!((first.epoch, second.epoch), (id(1), id(2)));
    assert_eq!((first.grants_revision, first.integrations_revision), (3, 4));
}

#[tokio::test]
async fn a_session_is_registered_and_its_intervals_are_kept_within_reason() {
    let reply = |protocol: u32, wait: u32| {
        let body = json!({
            "header": header(), "session": id(9), "protocol": protocol,
            "poll_wait_s": wait, "heartbeat_s": 0, "renew_s": 10, "lease_s": 60,
        });
        Reply::json(200, &body)
    };
    let server = Scripted::start([reply(1, 4_000_000), reply(2, 25)]).await;
    let plane = plane(options(&server.url()));
    let hello = Hello {
        instance: id(5),
        version: "1.2.3".to_owned(),
        host: "{}".to_owned(),
    };
    let session = plane.open_session(&hello).await.unwrap();
    assert_eq!(session.poll_wait, Duration::from_secs(50));
    assert_eq!(session.heartbeat_every, Duration::from_secs(1));
    assert_eq!(session.renew_every, Duration::from_secs(10));
    let error = plane.open_session(&hello).await.unwrap_err();
    assert!(error.to_string().contains("protocol version 2"), "{error}");

    let request = &server.received()[0];
    assert_eq!(
        request.request_line(),
        "POST /v1/connectors/c1/sessions HTTP/1.1"
    );
    assert_eq!(
        request.header("authorization"),
        Some(&*format!("Bearer {TOKEN}"))
    );
    assert!(
        request
            .header("user-agent")
            .unwrap()
            .starts_with("apono-connector/")
    );
    insta::assert_snapshot!(request.json(), @r#"
    {"capabilities":["check-integration","sync-integration","grant-access","extend-access","revoke-access","reset-credentials","postgresql-database","postgresql-schema","postgresql-table","postgresql-role","aws-organization-account","aws-iam-role","aws-iam-group","aws-iam-policy","aws-s3-bucket"],"host":"{}","instance":"0190a1b2-0000-7000-8000-000000000005","protocol_max":1,"protocol_min":1,"version":"1.2.3"}
    "#);
}

#[tokio::test]
async fn one_bad_order_spoils_no_other() {
    let check = json!({
        "id": id(20), "attempt": 1, "kind": "check-integration", "integration": id(30),
        "issued_at": "2030-01-01T00:00:00Z", "lease_deadline": "2030-01-01T00:01:00Z",
    });
    let tasks = json!([null, { "id": id(21), "attempt": 1, "kind": "dance" }, check]);
    let reply = Reply::json(200, &json!({ "header": header(), "tasks": tasks }));
    let server = Scripted::start([reply]).await;
    let ask = LeaseAsk {
        free_any: 3,
        free_end: 1,
        held: vec![TaskId::new(id(22))],
        wait: Duration::from_secs(25),
        grants_revision: 3,
        integrations_revision: 4,
    };
    let leased = plane(options(&server.url()))
        .lease(session(), &ask)
        .await
        .unwrap();
    let kinds: Vec<_> = leased
        .tasks
        .iter()
        .map(|task| match task {
            ParsedTask::Unreadable(_) => "unreadable",
            ParsedTask::Refused { failure, .. } => failure.reason,
            ParsedTask::Order(_) => "order",
        })
        .collect();
    assert_eq!(kinds, ["unreadable", "unsupported", "order"]);
    let request = &server.received()[0];
    assert_eq!(
        request.request_line(),
        "POST /v1/connectors/c1/tasks/lease HTTP/1.1"
    );
    insta::assert_snapshot!(request.json(), @r#"
    {"free_any":3,"free_end":1,"grants_revision":3,"held":["0190a1b2-0000-7000-8000-000000000016"],"integrations_revision":4,"session":"0190a1b2-0000-7000-8000-000000000009","wait_s":25}
    "#);
}

#[tokio::test]
async fn more_entries_than_a_page_may_have_are_refused() {
    let tasks = vec![Value::Null; 1001];
    let reply = Reply::json(200, &json!({ "header": header(), "tasks": tasks }));
    let server = Scripted::start([reply]).await;
    let error = plane(options(&server.url()))
        .lease(session(), &LeaseAsk::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("1001 entries"), "{error}");
}

#[tokio::test]
async fn a_lease_call_outlasts_its_wait_and_no_more() {
    let server = Scripted::start([Reply::Stall(Vec::new())]).await;
    let ask = LeaseAsk {
        wait: Duration::from_secs(1),
        ..LeaseAsk::default()
    };
    let start = Instant::now();
    let error = plane(options(&server.url()))
        .lease(session(), &ask)
        .await
        .unwrap_err();
    assert!(matches!(error, ControlError::Unreachable { .. }), "{error}");
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(1) + CALL && took < Duration::from_secs(9),
        "{took:?}"
    );
}

fn end() -> EndReport {
    EndReport {
        grant: GrantId::new(id(40)),
        integration: IntegrationId::new(id(30)),
        ended_at: "2030-01-01T01:00:00.25Z".parse().unwrap(),
        reason: EndReason::Expired,
        sessions_before: 2,
        sessions_after: 0,
        clean: false,
        leftovers: vec!["schema `x` is owned by `alice_apono`".to_owned()],
        details: Vec::new(),
    }
}

#[tokio::test]
async fn every_outcome_is_reported_in_the_form_of_the_protocol() {
    let started = StartReport {
        login: "alice_apono".to_owned(),
        started_at: "2030-01-01T00:00:01Z".parse().unwrap(),
        expiry: "2030-01-01T01:00:00Z".parse().unwrap(),
        credential: CredentialChange::New(SealedCredential::from_ciphertext("sealed".to_owned())),
        details: Vec::new(),
    };
    let unchanged = StartReport {
        credential: CredentialChange::Unchanged,
        ..started.clone()
    };
    let outcomes = [
        TaskOutcome::Succeeded {
            start: Some(started),
            end: None,
        },
        TaskOutcome::Succeeded {
            start: Some(unchanged),
            end: None,
        },
        TaskOutcome::Succeeded {
            start: None,
            end: None,
        },
        TaskOutcome::Closed { end: end() },
        TaskOutcome::Failed(Failure {
            class: ErrorClass::NeedsOperator,
            reason: "login_not_ours",
            message: "x".repeat(5000),
            hint: Some("rename it".to_owned()),
            retry_after: Some(Duration::from_millis(1500)),
        }),
    ];
    let server = Scripted::start(outcomes.iter().map(|_| acknowledged())).await;
    let plane = plane(options(&server.url()));
    for outcome in outcomes {
        let report = TaskReport {
            task: TaskId::new(id(20)),
            attempt: 2,
            outcome,
        };
        plane.report(session(), &report).await.unwrap();
    }
    let mut sent = String::new();
    for request in server.received() {
        let mut outcome = request.json()["outcome"].clone();
        if let Some(message) = outcome["message"].as_str() {
            assert_eq!(message.chars().count(), 1000);
            outcome["message"] = json!("cut");
        }
        sent += &format!("{outcome}\n");
    }
    let line = format!("POST /v1/connectors/c1/tasks/{}/result HTTP/1.1", id(20));
    assert_eq!(server.received()[0].request_line(), line);
    insta::assert_snapshot!(sent, @r#"
    {"start":{"credential":"new","expiry":"2030-01-01T01:00:00Z","login":"alice_apono","sealed_credential":"sealed","started_at":"2030-01-01T00:00:01Z"},"status":"succeeded"}
    {"start":{"credential":"unchanged","expiry":"2030-01-01T01:00:00Z","login":"alice_apono","started_at":"2030-01-01T00:00:01Z"},"status":"succeeded"}
    {"status":"succeeded"}
    {"end":{"clean":false,"ended_at":"2030-01-01T01:00:00.25Z","grant":"0190a1b2-0000-7000-8000-000000000028","integration":"0190a1b2-0000-7000-8000-00000000001e","leftovers":["schema `x` is owned by `alice_apono`"],"reason":"expired","sessions_after":0,"sessions_before":2},"status":"closed"}
    {"class":"needs_operator","hint":"rename it","message":"cut","reason":"login_not_ours","retry_after_s":2,"status":"failed"}
    "#);
}

#[tokio::test]
async fn ends_are_reported_a_hundred_at_a_time() {
    let server = Scripted::start([acknowledged(), acknowledged()]).await;
    let ends = vec![end(); 101];
    plane(options(&server.url()))
        .report_ends(session(), &ends)
        .await
        .unwrap();
    let counts: Vec<_> = server
        .received()
        .iter()
        .map(|request| request.json()["ends"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts, [100, 1]);
}

#[tokio::test]
async fn renewals_releases_and_heartbeats_have_the_form_of_the_protocol() {
    let renewed = json!({
        "header": header(), "lease_deadline": "2030-01-01T00:02:00Z", "cancel": true,
    });
    let server =
        Scripted::start([Reply::json(200, &renewed), acknowledged(), acknowledged()]).await;
    let plane = plane(options(&server.url()));
    let task = TaskId::new(id(20));
    let renewal = Renewal {
        task,
        attempt: 1,
        progress: "p".repeat(500),
        checkpoint: None,
    };
    let answer = plane.renew(session(), &renewal).await.unwrap();
    assert!(answer.cancel);
    assert_eq!(answer.deadline.to_string(), "2030-01-01T00:02:00Z");
    plane.release(session(), task, 1).await.unwrap();
    let heartbeat = Heartbeat {
        frozen: true,
        running: 2,
        oldest_overdue_end: Some("2030-01-01T00:00:00Z".parse().unwrap()),
        outbox: 3,
        ledger_ok: true,
        guardrails_digest: "d".to_owned(),
        integrations: vec![IntegrationHealth {
            integration: IntegrationId::new(id(30)),
            status: IntegrationStatus::Warning,
            message: "m".to_owned(),
        }],
    };
    plane.heartbeat(session(), &heartbeat).await.unwrap();
    let received = server.received();
    assert_eq!(received[0].json()["progress"].as_str().unwrap().len(), 200);
    let release = format!("POST /v1/connectors/c1/tasks/{task}/release HTTP/1.1");
    assert_eq!(received[1].request_line(), release);
    insta::assert_snapshot!(received[2].json(), @r#"
    {"frozen":true,"guardrails_digest":"d","integrations":[{"integration":"0190a1b2-0000-7000-8000-00000000001e","message":"m","status":"warning"}],"ledger_ok":true,"oldest_overdue_end":"2030-01-01T00:00:00Z","outbox":3,"running":2,"session":"0190a1b2-0000-7000-8000-000000000009"}
    "#);
}

#[tokio::test]
async fn lists_are_read_from_a_revision_on() {
    let grants = json!({ "header": header(), "through": 12, "grants": [5] });
    let integrations = json!({
        "header": header(), "through": 4,
        "integrations": [{ "id": id(30), "name": "orders", "type": "postgresql", "state": "retiring" }, {}],
    });
    let server =
        Scripted::start([Reply::json(200, &grants), Reply::json(200, &integrations)]).await;
    let plane = plane(options(&server.url()));
    let grants = plane.grants(11).await.unwrap();
    assert_eq!((grants.through, grants.grants.len()), (12, 0));
    let integrations = plane.integrations(0).await.unwrap();
    assert_eq!(
        (integrations.through, integrations.integrations.len()),
        (4, 1)
    );
    let received = server.received();
    assert_eq!(
        received[0].request_line(),
        "GET /v1/connectors/c1/grants?since=11 HTTP/1.1"
    );
    assert_eq!(
        received[1].request_line(),
        "GET /v1/connectors/c1/integrations?since=0 HTTP/1.1"
    );
}

#[tokio::test]
async fn a_rotated_token_is_used_from_the_next_call_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let refused = || Reply::with(401, "", b"");
    let server = Scripted::start([acknowledged(), refused(), acknowledged()]).await;
    let plane = plane(HttpOptions {
        token: TokenSource::File(path.clone()),
        ..options(&server.url())
    });
    let beat = async || plane.heartbeat(session(), &Heartbeat::default()).await;
    beat().await.unwrap();
    std::fs::write(&path, "second\n").unwrap();
    assert_eq!(beat().await.unwrap_err().class(), ErrorClass::Unauthorised);
    std::fs::remove_file(&path).unwrap();
    beat().await.unwrap();
    let used: Vec<_> = server
        .received()
        .iter()
        .map(|request| request.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(used, ["Bearer first", "Bearer second", "Bearer second"]);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let server = Scripted::start([acknowledged()]).await;
    let plane = plane(HttpOptions {
        token: TokenSource::File("/nowhere/token".into()),
        ..options(&server.url())
    });
    let error = plane.grants(0).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthorised);
    assert!(error.to_string().contains("/nowhere/token"), "{error}");
    assert!(server.received().is_empty());
}
