//! The life of a grant between a control plane and a target in memory: what is done once, what is refused, what is finished.

use crate::support::rig::Rig;
use apono_connector::clock::Clock;
use apono_connector::control::IntegrationStatus;
use apono_connector::domain::{
    EndReason, EndReport, ErrorClass, IntegrationId, IntegrationState, Order, SecretRef, Task,
    TaskId, TaskOutcome,
};
use apono_connector::ledger::{Event, Faults, Ledger, LedgerOptions};
use apono_connector::targets::fake::Trouble;
use jiff::SignedDuration;
use std::time::Duration;

fn reason(outcome: &TaskOutcome) -> &'static str {
    match outcome {
        TaskOutcome::Failed(failure) => failure.reason,
        TaskOutcome::Succeeded { .. } => "succeeded",
        TaskOutcome::Closed { .. } => "closed",
    }
}

#[tokio::test]
async fn a_grant_starts_is_used_and_is_revoked() {
    let rig = Rig::start();
    let grant = rig.started().await;
    let task = rig.order_revoke(&grant);
    let TaskOutcome::Closed { end } = rig.outcome(task).await else {
        panic!("not closed")
    };
    assert_eq!(
        (end.grant, end.reason, end.sessions_after),
        (grant.id, EndReason::Revoked, 0)
    );
    assert!(!rig.system.has_access(grant.id));
    rig.until("the clean end is reported", || {
        rig.control.ends().iter().any(|end| end.clean)
    })
    .await;
}

#[tokio::test]
async fn an_order_delivered_twice_has_one_effect() {
    let rig = Rig::start();
    let grant = rig.started().await;
    let first = rig.system.grant(grant.id).unwrap();
    let again = rig.order_start(&grant);
    assert_eq!(reason(&rig.outcome(again).await), "succeeded");
    assert_eq!(
        rig.system.grant(grant.id).unwrap().started_at,
        first.started_at
    );
}

#[tokio::test]
async fn an_ended_grant_never_starts_again() {
    let rig = Rig::start();
    let grant = rig.started().await;
    rig.outcome(rig.order_revoke(&grant)).await;
    let again = rig.order_start(&grant);
    assert_eq!(reason(&rig.outcome(again).await), "grant_ended");
    assert!(!rig.system.has_access(grant.id));
}

#[tokio::test]
async fn a_revoke_that_comes_before_its_start_wins() {
    let rig = Rig::start();
    let grant = rig.grant();
    rig.outcome(rig.order_revoke(&grant)).await;
    assert_eq!(
        reason(&rig.outcome(rig.order_start(&grant)).await),
        "grant_ended"
    );
}

#[tokio::test]
async fn a_start_whose_answer_is_lost_is_found_to_have_happened() {
    let rig = Rig::start();
    rig.system
        .fail_next(Trouble::AfterStart, ErrorClass::Transient);
    let grant = rig.started().await;
    assert_eq!(
        rig.ledger.read(|state| state.grants[&grant.id].started_at),
        rig.system.grant(grant.id).unwrap().started_at
    );
}

#[tokio::test]
async fn a_start_that_fails_for_good_leaves_nothing_and_is_reported() {
    let rig = Rig::start();
    rig.system
        .fail_next(Trouble::BeforeStart, ErrorClass::NeedsOperator);
    let grant = rig.grant();
    assert_eq!(
        reason(&rig.outcome(rig.order_start(&grant)).await),
        "planned"
    );
    assert!(!rig.system.has_access(grant.id));
    assert!(
        rig.ledger
            .read(|state| !state.grants.contains_key(&grant.id))
    );
}

#[tokio::test]
async fn a_start_that_stands_but_cannot_be_verified_is_ended_again() {
    let rig = Rig::start();
    rig.system
        .fail_next(Trouble::Verify, ErrorClass::NeedsOperator);
    let grant = rig.grant();
    let task = rig.order_start(&grant);
    assert_eq!(reason(&rig.outcome(task).await), "planned");
    assert!(!rig.system.has_access(grant.id));
    let (_, why) = rig.system.grant(grant.id).unwrap().ended.unwrap();
    assert_eq!(why, EndReason::StartFailed);
}

#[tokio::test]
async fn orders_the_rules_forbid_touch_nothing() {
    let rig = Rig::start();
    let check = async |grant: apono_connector::domain::Grant, expect: &str| {
        let task = rig.order_start(&grant);
        assert_eq!(reason(&rig.outcome(task).await), expect);
        assert!(rig.system.grant(grant.id).is_none());
    };
    let mut unknown = rig.grant();
    unknown.integration = IntegrationId::generate();
    check(unknown, "integration_not_assigned").await;
    let mut past = rig.grant();
    past.expiry -= SignedDuration::from_hours(2);
    check(past, "expiry_past").await;
    let mut long = rig.grant();
    long.expiry += SignedDuration::from_hours(24 * 365 * 100);
    check(long, "longest_grant").await;
}

#[tokio::test]
async fn a_start_older_than_ten_minutes_is_not_started() {
    let rig = Rig::start();
    let grant = rig.grant();
    let issued_at =
        apono_connector::clock::Clock::now(rig.clock.as_ref()) - SignedDuration::from_secs(601);
    let order = Order::Start {
        grant: grant.clone(),
        recipient: "age1nobody".to_owned(),
    };
    let task = TaskId::generate();
    rig.control.redeliver(Task {
        id: task,
        attempt: 1,
        issued_at,
        integration: rig.integration.id,
        order,
    });
    assert_eq!(reason(&rig.outcome(task).await), "order_too_old");
}

#[tokio::test]
async fn a_frozen_instance_starts_nothing_still_ends_and_says_so_at_once() {
    let rig = Rig::start();
    let live = rig.started().await;
    rig.executor.freeze(true).await.unwrap();
    assert_eq!(
        reason(&rig.outcome(rig.order_start(&rig.grant())).await),
        "frozen"
    );
    assert_eq!(
        reason(&rig.outcome(rig.order_revoke(&live)).await),
        "closed"
    );
    rig.until("the heartbeat says so", || {
        rig.control.last_heartbeat().is_some_and(|beat| beat.frozen)
    })
    .await;
    rig.executor.freeze(false).await.unwrap();
    rig.started().await;
}

#[tokio::test]
async fn revoke_all_freezes_and_ends_everything() {
    let rig = Rig::start();
    let grants = [rig.started().await, rig.started().await];
    let (begun, frozen) = rig.executor.revoke_all().await;
    frozen.unwrap();
    assert_eq!(begun, 2);
    for grant in grants {
        rig.until("the access is gone", || !rig.system.has_access(grant.id))
            .await;
    }
    assert!(rig.ledger.read(|state| state.frozen));
}

#[tokio::test]
async fn a_clean_up_nobody_lived_to_tell_of_is_reported_all_the_same() {
    let mut rig =
        Rig::assemble(Ledger::in_memory(LedgerOptions::default(), Faults::default()).unwrap());
    let grant = rig.grant();
    let closed = EndReport {
        grant: grant.id,
        integration: grant.integration,
        ended_at: rig.clock.now(),
        reason: EndReason::Revoked,
        sessions_before: 0,
        sessions_after: 0,
        clean: false,
        leftovers: Vec::new(),
        details: Vec::new(),
    };
    // The target's record has nothing of the grant any more: the process died after the clean-up, before its journal.
    let before = vec![
        Event::IntegrationKnown(rig.integration.clone()),
        Event::GrantLearned {
            grant,
            started_at: None,
        },
        Event::Closed(closed.clone()),
    ];
    rig.ledger.append(before).await.unwrap();
    rig.run();
    rig.until("the clean-up is reported", || {
        rig.control
            .ends()
            .iter()
            .any(|end| end.grant == closed.grant && end.clean)
    })
    .await;
}

#[tokio::test]
async fn an_integration_pointed_elsewhere_keeps_its_settings_while_grants_are_open() {
    let rig = Rig::start();
    let grant = rig.started().await;
    let mut moved = rig.integration.clone();
    moved
        .settings
        .insert("hostname".to_owned(), "elsewhere".to_owned());
    rig.control.assign(moved.clone());
    let health = |status| {
        rig.control
            .last_heartbeat()
            .is_some_and(|beat| beat.integrations.iter().any(|one| one.status == status))
    };
    rig.until("the change is refused", || health(IntegrationStatus::Error))
        .await;
    let kept = rig
        .ledger
        .read(|state| state.integrations[&moved.id].clone());
    assert_eq!(kept.settings, rig.integration.settings);
    assert_eq!(kept.state, IntegrationState::Retiring);
    assert_eq!(
        reason(&rig.outcome(rig.order_revoke(&grant)).await),
        "closed"
    );
}

#[tokio::test]
async fn an_integration_retired_too_early_is_kept_until_its_grants_are_clean_and_then_forgotten() {
    let rig = Rig::start();
    let grant = rig.started().await;
    let asked = rig.control.integrations_asked();
    rig.control.retire(rig.integration.id);
    rig.until("the list is read", || {
        rig.control.integrations_asked() > asked
    })
    .await;
    let is_known = || {
        rig.ledger
            .read(|state| state.integrations.contains_key(&rig.integration.id))
    };
    assert!(is_known());
    rig.until("nothing starts any more", || {
        rig.ledger.read(|state| {
            state.integrations[&rig.integration.id].state == IntegrationState::Retiring
        })
    })
    .await;
    let late = rig.order_start(&rig.grant());
    assert_eq!(reason(&rig.outcome(late).await), "integration_retiring");
    assert_eq!(
        reason(&rig.outcome(rig.order_revoke(&grant)).await),
        "closed"
    );
    rig.until("it is forgotten", || !is_known()).await;
    assert!(rig.control.ends().iter().any(|end| end.clean));
}

#[tokio::test]
async fn a_new_secret_reference_is_taken_over_at_once() {
    let rig = Rig::start();
    rig.started().await;
    let mut changed = rig.integration.clone();
    changed.secret = Some(SecretRef::parse("file:/run/other").unwrap());
    rig.control.assign(changed.clone());
    rig.until("it is taken over", || {
        rig.ledger
            .read(|state| state.integrations[&changed.id] == changed)
    })
    .await;
}

#[tokio::test]
async fn a_restored_control_plane_is_read_from_the_start_and_ends_nothing() {
    let rig = Rig::start();
    let grant = rig.started().await;
    rig.control.restore();
    let asked = rig.control.grants_asked().len();
    rig.control
        .assign(apono_connector::control::fake::integration("fake"));
    rig.until("the list is asked from 0", || {
        rig.control.grants_asked()[asked..].contains(&0)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(rig.system.has_access(grant.id));
}

#[tokio::test]
async fn stopping_hands_back_what_has_not_begun() {
    let mut rig = Rig::start();
    rig.started().await;
    rig.system.set_down(true);
    let grant = rig.grant();
    let task = rig.order_start(&grant);
    rig.until("the start is being tried", || {
        rig.ledger
            .read(|state| state.grants.contains_key(&grant.id))
    })
    .await;
    rig.stop().await;
    assert_eq!(rig.control.released(), [task]);
    assert!(
        rig.ledger
            .read(|state| !state.grants.contains_key(&grant.id))
    );
}

#[tokio::test]
async fn a_task_counts_as_held_until_its_report_is_acknowledged() {
    let rig = Rig::start();
    rig.control.set_deaf(true);
    let grant = rig.grant();
    let task = rig.order_start(&grant);
    rig.until("the access is there and the report waits", || {
        rig.ledger.read(|state| !state.outbox.is_empty())
    })
    .await;
    rig.control.assign(rig.integration.clone());
    rig.until("the next request for work names it", || {
        rig.control.held().contains(&task)
    })
    .await;
    rig.control.set_deaf(false);
    rig.outcome(task).await;
    // The report is on record here a moment before the connector knows it: each look brings another request for work.
    rig.until("a later one does not", || {
        rig.control.assign(rig.integration.clone());
        !rig.control.held().contains(&task)
    })
    .await;
}
