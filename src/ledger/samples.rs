//! Owns events for tests: one of each kind, and any at all.

use super::event::{Event, OutboxEntry};
use crate::domain::{
    Checkpoint, CredentialChange, Detail, EndReason, EndReport, ErrorClass, Evidence, Failure,
    Grant, GrantId, InstanceId, Integration, IntegrationId, IntegrationState, Permission,
    Principal, ResourceKind, ResourceRef, SealedCredential, SecretRef, StartReport, TaskId,
    TaskOutcome,
};
use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::time::Duration;
use uuid::Uuid;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn grant(n: u128) -> Grant {
    Grant {
        id: GrantId::new(id(n)),
        integration: IntegrationId::new(id(1)),
        principal: Principal::parse("alice@example.com").unwrap(),
        resource: ResourceRef::new(
            ResourceKind::PostgresSchema,
            vec!["shop".into(), "we\"ird; 😀\n".into()],
        )
        .unwrap(),
        permission: Permission::ReadOnly,
        expiry: at(1_900_000_000),
    }
}

pub(super) fn end_report(n: u128) -> EndReport {
    EndReport {
        grant: GrantId::new(id(n)),
        integration: IntegrationId::new(id(1)),
        ended_at: at(1_900_000_001),
        reason: EndReason::Expired,
        sessions_before: 2,
        sessions_after: 0,
        clean: false,
        leftovers: vec!["table `t` is owned by `alice_apono`".into()],
        details: Vec::new(),
    }
}

pub(super) fn start_intended(n: u128) -> Event {
    Event::StartIntended {
        grant: grant(n),
        task: TaskId::new(id(n + 1000)),
        attempt: 1,
    }
}

pub(super) fn end_intended(n: u128) -> Event {
    Event::EndIntended {
        grant: grant(n),
        reason: EndReason::Expired,
    }
}

fn step_events() -> [Event; 3] {
    let grant = GrantId::new(id(2));
    let note = "grant `a_12ab_apono` to `alice_apono`".to_owned();
    [
        Event::StepBegan {
            grant,
            note: note.clone(),
        },
        Event::StepDone {
            grant,
            note: note.clone(),
            outcome: Ok(Evidence::default().with("login", "alice_apono")),
        },
        Event::StepDone {
            grant,
            note,
            outcome: Err("server_gone".into()),
        },
    ]
}

fn report_events() -> [Event; 6] {
    let result = |id, outcome| Event::Queued {
        id,
        entry: OutboxEntry::Result {
            task: TaskId::new(self::id(1002)),
            attempt: 1,
            outcome,
        },
    };
    let start = StartReport {
        login: "alice_apono".into(),
        started_at: at(1_800_000_000),
        expiry: at(1_900_000_000),
        credential: CredentialChange::New(SealedCredential::from_ciphertext("armour".into())),
        details: Vec::new(),
    };
    let with_details = StartReport {
        credential: CredentialChange::None,
        details: vec![Detail::new("sign_in_url", "https://d-1.awsapps.com/start")],
        ..start.clone()
    };
    let failure = Failure {
        class: ErrorClass::NeedsOperator,
        reason: "login_not_ours",
        message: "`alice_apono` carries no mark".into(),
        hint: Some("rename it".into()),
        retry_after: Some(Duration::from_millis(1500)),
    };
    [
        result(
            0,
            TaskOutcome::Succeeded {
                start: Some(start),
                end: None,
            },
        ),
        result(1, TaskOutcome::Failed(failure)),
        result(2, TaskOutcome::Closed { end: end_report(2) }),
        Event::Queued {
            id: 3,
            entry: OutboxEntry::End(end_report(2)),
        },
        Event::Delivered(0),
        result(
            4,
            TaskOutcome::Succeeded {
                start: Some(with_details),
                end: None,
            },
        ),
    ]
}

/// One event of each kind, the ones with inner kinds once for each of those.
pub(super) fn one_of_each() -> Vec<Event> {
    let integration = Integration {
        id: IntegrationId::new(id(1)),
        name: "orders".into(),
        kind: "postgresql".into(),
        settings: [("hostname".into(), "db.example".into())].into(),
        secret: Some(SecretRef::parse("file:/run/secret").unwrap()),
        state: IntegrationState::Active,
    };
    let mut events = vec![
        Event::InstanceNamed(InstanceId::new(id(7))),
        Event::EpochSeen(id(8)),
        Event::IntegrationKnown(integration),
        Event::IntegrationGone(IntegrationId::new(id(9))),
        start_intended(2),
        Event::GrantLearned {
            grant: grant(3),
            started_at: Some(at(1_800_000_000)),
        },
        Event::Started {
            grant: GrantId::new(id(2)),
            at: at(1_800_000_000),
        },
        Event::StartAbandoned(GrantId::new(id(4))),
        Event::ExpiryMoved {
            grant: GrantId::new(id(2)),
            expiry: at(1_900_000_500),
        },
        end_intended(2),
        Event::EndCalledOff {
            grant: GrantId::new(id(2)),
            expiry: at(1_900_000_600),
        },
        Event::Closed(end_report(2)),
        Event::Clean(GrantId::new(id(2))),
        Event::Frozen(true),
        Event::ReportsFrom(4),
        Event::CheckpointKept {
            grant: GrantId::new(id(2)),
            checkpoint: Checkpoint::new("{\"before\":\"absent\"}".into()).unwrap(),
        },
    ];
    events.extend(step_events());
    events.extend(report_events());
    events
}

fn any_id() -> impl Strategy<Value = Uuid> {
    // Few, so that events meet the same grant.
    (1_u128..6).prop_map(id)
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000, 0_i32..1_000_000_000)
        .prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

/// Text as an enemy would write it.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        select(vec![
            "",
            "\0",
            "\"}",
            "'; DROP TABLE x; --",
            "\u{202e}😀\r\n"
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let path = vec("[^\0]{1,12}", 2);
    (any_id(), any_id(), path, any_time(), any::<bool>()).prop_map(
        |(id, integration, path, expiry, write)| Grant {
            id: GrantId::new(id),
            integration: IntegrationId::new(integration),
            principal: Principal::parse("zoë+x@example.com").unwrap(),
            resource: ResourceRef::new(ResourceKind::PostgresSchema, path).unwrap(),
            permission: if write {
                Permission::ReadWrite
            } else {
                Permission::ReadOnly
            },
            expiry,
        },
    )
}

fn any_reason() -> impl Strategy<Value = EndReason> {
    select(EndReason::ALL.to_vec())
}

fn any_end() -> impl Strategy<Value = EndReport> {
    (
        any_id(),
        any_id(),
        any_time(),
        any_reason(),
        any::<(u32, u32, bool)>(),
        vec(any_text(), 0..3),
    )
        .prop_map(
            |(grant, integration, ended_at, reason, (before, after, clean), leftovers)| EndReport {
                grant: GrantId::new(grant),
                integration: IntegrationId::new(integration),
                ended_at,
                reason,
                sessions_before: before,
                sessions_after: after,
                clean,
                leftovers,
                details: Vec::new(),
            },
        )
}

fn any_integration() -> impl Strategy<Value = Integration> {
    (
        any_id(),
        any_text(),
        any_text(),
        btree_map(any_text(), any_text(), 0..4),
        option::of("file:/[a-z/]{0,20}"),
        any::<bool>(),
    )
        .prop_map(|(id, name, kind, settings, secret, retiring)| Integration {
            id: IntegrationId::new(id),
            name,
            kind,
            settings,
            secret: secret.map(|text| SecretRef::parse(&text).unwrap()),
            state: if retiring {
                IntegrationState::Retiring
            } else {
                IntegrationState::Active
            },
        })
}

fn any_failure() -> impl Strategy<Value = Failure> {
    (
        select(ErrorClass::ALL.to_vec()),
        select(vec!["login_not_ours", "server_gone"]),
        any_text(),
        option::of(any_text()),
        option::of(any::<u64>()),
    )
        .prop_map(|(class, reason, message, hint, wait_ms)| Failure {
            class,
            reason,
            message,
            hint,
            retry_after: wait_ms.map(Duration::from_millis),
        })
}

fn any_start_report() -> impl Strategy<Value = StartReport> {
    let credential = prop_oneof![
        any_text().prop_map(|t| CredentialChange::New(SealedCredential::from_ciphertext(t))),
        Just(CredentialChange::Unchanged),
        Just(CredentialChange::None),
    ];
    (any_text(), any_time(), any_time(), credential).prop_map(
        |(login, started_at, expiry, credential)| StartReport {
            login,
            started_at,
            expiry,
            credential,
            details: Vec::new(),
        },
    )
}

fn any_outcome() -> impl Strategy<Value = TaskOutcome> {
    prop_oneof![
        (option::of(any_start_report()), option::of(any_end()))
            .prop_map(|(start, end)| TaskOutcome::Succeeded { start, end }),
        any_end().prop_map(|end| TaskOutcome::Closed { end }),
        any_failure().prop_map(TaskOutcome::Failed),
    ]
}

fn any_entry() -> impl Strategy<Value = OutboxEntry> {
    prop_oneof![
        (any_id(), any::<u32>(), any_outcome()).prop_map(|(task, attempt, outcome)| {
            OutboxEntry::Result {
                task: TaskId::new(task),
                attempt,
                outcome,
            }
        }),
        any_end().prop_map(OutboxEntry::End),
    ]
}

fn any_step() -> impl Strategy<Value = Event> {
    let seen = vec((select(vec!["sessions_before", "login"]), any_text()), 0..3);
    let outcome = prop_oneof![
        seen.prop_map(|facts| Ok(Evidence { facts })),
        any_text().prop_map(Err),
    ];
    prop_oneof![
        (any_id(), any_text()).prop_map(|(grant, note)| Event::StepBegan {
            grant: GrantId::new(grant),
            note
        }),
        (any_id(), any_text()).prop_map(|(grant, text)| Event::CheckpointKept {
            grant: GrantId::new(grant),
            checkpoint: Checkpoint::new(text.chars().take(500).collect()).unwrap(),
        }),
        (any_id(), any_text(), outcome).prop_map(|(grant, note, outcome)| Event::StepDone {
            grant: GrantId::new(grant),
            note,
            outcome
        }),
    ]
}

fn any_event_of_a_grant() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any_grant(), any_id(), any::<u32>()).prop_map(|(grant, task, attempt)| {
            Event::StartIntended {
                grant,
                task: TaskId::new(task),
                attempt,
            }
        }),
        (any_grant(), option::of(any_time()))
            .prop_map(|(grant, started_at)| Event::GrantLearned { grant, started_at }),
        any_step(),
        (any_id(), any_time()).prop_map(|(grant, at)| Event::Started {
            grant: GrantId::new(grant),
            at
        }),
        any_id().prop_map(|grant| Event::StartAbandoned(GrantId::new(grant))),
        (any_id(), any_time()).prop_map(|(grant, expiry)| Event::ExpiryMoved {
            grant: GrantId::new(grant),
            expiry
        }),
        (any_id(), any_time()).prop_map(|(grant, expiry)| Event::EndCalledOff {
            grant: GrantId::new(grant),
            expiry
        }),
        (any_grant(), any_reason())
            .prop_map(|(grant, reason)| Event::EndIntended { grant, reason }),
        any_end().prop_map(Event::Closed),
        any_id().prop_map(|grant| Event::Clean(GrantId::new(grant))),
    ]
}

/// Any event, with hostile text, about few grants.
pub(super) fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any_event_of_a_grant(),
        1 => prop_oneof![
            any_id().prop_map(|id| Event::InstanceNamed(InstanceId::new(id))),
            any_id().prop_map(Event::EpochSeen),
            any_integration().prop_map(Event::IntegrationKnown),
            any_id().prop_map(|id| Event::IntegrationGone(IntegrationId::new(id))),
            (0_u64..5, any_entry()).prop_map(|(id, entry)| Event::Queued { id, entry }),
            (0_u64..5).prop_map(Event::Delivered),
            any::<bool>().prop_map(Event::Frozen),
            any::<u64>().prop_map(Event::ReportsFrom),
        ],
    ]
}
