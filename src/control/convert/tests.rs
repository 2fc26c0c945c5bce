//! Owns golden orders and lists: what the door lets through, and what it says of the rest. Never tests transport.

use super::*;
use crate::control::protocol as wire;
use serde_json::json;

const TASK: &str = "0190a1b2-0000-7000-8000-000000000001";
const GRANT: &str = "0190a1b2-0000-7000-8000-000000000002";
const INTEGRATION: &str = "0190a1b2-0000-7000-8000-000000000003";

fn grant() -> Value {
    json!({
        "id": GRANT,
        "integration": INTEGRATION,
        "principal": { "email": "Alice@example.com" },
        "resource": { "type": "postgresql-schema", "path": ["app", "public"] },
        "permission": "READ_ONLY",
        "expiry": "2030-01-01T01:00:00Z",
    })
}

fn order(kind: &str) -> Value {
    json!({
        "id": TASK,
        "attempt": 2,
        "kind": kind,
        "integration": INTEGRATION,
        "issued_at": "2030-01-01T00:00:00Z",
        "lease_deadline": "2030-01-01T00:01:00Z",
        "grant": grant(),
        "recipient": "age1example",
        "something_newer": { "a": 1 },
    })
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if new.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), new);
    }
    value
}

#[track_caller]
fn lease(value: &Value) -> Lease {
    let parsed = parse_task(value);
    let ParsedTask::Order(lease) = parsed else {
        panic!("{parsed:?}");
    };
    lease
}

#[track_caller]
fn check_refused(value: &Value, reason: &str, names: &str) {
    let ParsedTask::Refused {
        task,
        attempt,
        failure,
    } = parse_task(value)
    else {
        panic!("not refused");
    };
    assert_eq!(task.to_string(), TASK);
    assert_eq!(Some(u64::from(attempt)), value["attempt"].as_u64());
    assert_eq!(failure.class, ErrorClass::Bug);
    assert_eq!(failure.reason, reason, "{failure:?}");
    assert!(failure.message.contains(names), "{failure:?}");
}

#[test]
fn an_order_is_understood_and_unknown_fields_are_ignored() {
    insta::assert_debug_snapshot!(lease(&order("grant-access")), @r#"
    Lease {
        task: Task {
            id: TaskId(0190a1b2-0000-7000-8000-000000000001),
            attempt: 2,
            issued_at: 2030-01-01T00:00:00Z,
            integration: IntegrationId(0190a1b2-0000-7000-8000-000000000003),
            order: Start {
                grant: Grant {
                    id: GrantId(0190a1b2-0000-7000-8000-000000000002),
                    integration: IntegrationId(0190a1b2-0000-7000-8000-000000000003),
                    principal: Principal {
                        kind: Email,
                        name: "alice@example.com",
                    },
                    resource: ResourceRef {
                        kind: PostgresSchema,
                        path: [
                            "app",
                            "public",
                        ],
                    },
                    permission: ReadOnly,
                    expiry: 2030-01-01T01:00:00Z,
                },
                recipient: "age1example",
            },
        },
        deadline: 2030-01-01T00:01:00Z,
        checkpoint: None,
    }
    "#);
}

#[test]
fn every_kind_of_order_is_understood() {
    for kind in TaskKind::ALL {
        assert_eq!(lease(&order(kind.as_str())).task.order.kind(), kind);
    }
    for kind in ["check-integration", "sync-integration"] {
        let bare = with(order(kind), "/grant", Value::Null);
        assert!(lease(&bare).task.order.grant().is_none());
    }
}

#[test]
fn what_the_wire_type_says_is_what_the_door_reads() {
    let typed: wire::LeasedTask = serde_json::from_value(order("grant-access")).unwrap();
    let again = serde_json::to_value(&typed).unwrap();
    assert_eq!(lease(&again), lease(&order("grant-access")));
}

#[test]
fn an_unknown_kind_is_unsupported_whatever_else_it_holds() {
    check_refused(
        &json!({ "id": TASK, "attempt": 1, "kind": "collect-audit", "grant": 7 }),
        "unsupported",
        "`collect-audit`",
    );
}

#[test]
fn a_newer_type_or_level_is_unsupported() {
    let newer = with(
        order("grant-access"),
        "/grant/resource/type",
        json!("mysql-table"),
    );
    check_refused(&newer, "unsupported", "`mysql-table`");
    let newer = with(order("grant-access"), "/grant/permission", json!("OWNER"));
    check_refused(&newer, "unsupported", "`OWNER`");
}

#[test]
fn a_malformed_order_is_answered_with_the_name_of_the_field() {
    let cases = [
        ("/attempt", json!(0), "`attempt`"),
        ("/kind", json!(5), "`kind`"),
        ("/integration", json!("x"), "`integration`"),
        ("/issued_at", json!("yesterday"), "`issued_at`"),
        ("/issued_at", Value::Null, "`issued_at` is missing"),
        ("/lease_deadline", json!(7), "`lease_deadline`"),
        ("/checkpoint", json!("x".repeat(4097)), "`checkpoint`"),
        ("/recipient", Value::Null, "`recipient` is missing"),
        ("/recipient", json!(" "), "`recipient`"),
        ("/recipient", json!("x".repeat(5000)), "`recipient`"),
        ("/grant", Value::Null, "`grant` is missing"),
        ("/grant", json!([]), "`grant`"),
        ("/grant/id", json!("1"), "`grant.id`"),
        ("/grant/integration", json!(TASK), "`grant.integration`"),
        ("/grant/expiry", Value::Null, "`grant.expiry` is missing"),
        (
            "/grant/expiry",
            json!("12030-01-01T00:00:00Z"),
            "`grant.expiry`",
        ),
        ("/grant/expiry", json!(1893456000), "`grant.expiry`"),
        ("/grant/permission", json!({}), "`grant.permission`"),
        ("/grant/principal", json!("alice"), "`grant.principal`"),
        (
            "/grant/principal/email",
            json!("alice"),
            "`principal.email`",
        ),
        ("/grant/resource/path", json!(["app"]), "`resource.path`"),
        (
            "/grant/resource/path",
            json!(["app", 5]),
            "`grant.resource.path`",
        ),
        (
            "/grant/resource/path",
            json!(["app", "a\u{0}b"]),
            "`resource.path`",
        ),
        (
            "/grant/resource/path",
            json!(["app", "x".repeat(64)]),
            "`resource.path`",
        ),
    ];
    for (pointer, value, names) in cases {
        let order = with(order("grant-access"), pointer, value);
        check_refused(&order, "malformed_task", names);
    }
}

#[test]
fn a_reset_needs_a_recipient_too() {
    let order = with(order("reset-credentials"), "/recipient", Value::Null);
    check_refused(&order, "malformed_task", "`recipient` is missing");
}

#[test]
fn an_end_is_not_stopped_by_a_bad_checkpoint_or_a_missing_recipient() {
    let order = with(order("revoke-access"), "/checkpoint", json!(["x"]));
    let order = with(order, "/recipient", Value::Null);
    assert_eq!(lease(&order).checkpoint, None);
}

#[test]
fn a_far_or_past_expiry_is_left_to_the_guardrails() {
    for expiry in ["2130-01-01T00:00:00Z", "1999-01-01T00:00:00Z"] {
        let order = with(order("grant-access"), "/grant/expiry", json!(expiry));
        let lease = lease(&order);
        assert_eq!(lease.task.order.grant().unwrap().expiry.to_string(), expiry);
    }
}

#[test]
fn names_are_data_whatever_they_hold() {
    let name = "a\"b;--\\$$\n😀";
    let order = with(
        order("grant-access"),
        "/grant/resource/path",
        json!(["app", name]),
    );
    let lease = lease(&order);
    assert_eq!(lease.task.order.grant().unwrap().resource.name(), name);
}

#[test]
fn an_order_without_an_id_or_an_attempt_is_unreadable() {
    for value in [
        json!(null),
        json!("task"),
        json!({ "attempt": 1 }),
        json!({ "id": "x", "attempt": 1 }),
        json!({ "id": TASK }),
        json!({ "id": TASK, "attempt": -1 }),
    ] {
        assert!(
            matches!(parse_task(&value), ParsedTask::Unreadable(_)),
            "{value}"
        );
    }
}

#[test]
fn one_bad_entry_does_not_spoil_a_page_of_grants() {
    let good = json!({ "grant": grant(), "ended": true });
    let listed = parse_grants(&[
        json!(5),
        json!({ "grant": with(grant(), "/expiry", Value::Null) }),
        json!({ "grant": grant(), "ended": "yes" }),
        good,
        json!({ "grant": grant() }),
    ]);
    let ended: Vec<_> = listed.iter().map(|listed| listed.ended).collect();
    assert_eq!(ended, [true, false]);
}

fn integration() -> Value {
    json!({
        "id": INTEGRATION,
        "name": "orders",
        "type": "postgresql",
        "settings": { "hostname": "db.example.com", "port": "5432" },
        "secret": "file:/run/secrets/orders",
        "state": "active",
    })
}

#[test]
fn an_integration_is_understood() {
    let listed = parse_integrations(&[integration()]);
    insta::assert_debug_snapshot!(listed, @r#"
    [
        ListedIntegration {
            integration: Integration {
                id: IntegrationId(0190a1b2-0000-7000-8000-000000000003),
                name: "orders",
                kind: "postgresql",
                settings: {
                    "hostname": "db.example.com",
                    "port": "5432",
                },
                secret: Some(
                    SecretRef(
                        "file:/run/secrets/orders",
                    ),
                ),
                state: Active,
            },
            retired: false,
        },
    ]
    "#);
}

#[test]
fn one_bad_entry_does_not_spoil_a_page_of_integrations() {
    let bad = [
        ("/id", json!(5)),
        ("/name", json!("")),
        ("/name", json!("x".repeat(257))),
        ("/type", Value::Null),
        ("/settings", json!([])),
        ("/settings", json!({ "port": 5432 })),
        ("/settings", json!({ "x": "y".repeat(5000) })),
        ("/secret", json!("hunter2")),
        ("/state", json!("paused")),
    ];
    let mut page: Vec<_> = bad
        .into_iter()
        .map(|(pointer, value)| with(integration(), pointer, value))
        .collect();
    page.push(with(integration(), "/state", json!("retired")));
    let listed = parse_integrations(&page);
    assert_eq!(listed.len(), 1);
    assert!(listed[0].retired);
}
