//! Ends by the local clock: with the control plane gone, with the target gone for a while, across restarts and clock jumps.

use crate::support::rig::{Rig, at};
use apono_connector::clock::Clock;
use apono_connector::domain::{EndReason, ErrorClass, Order, TaskOutcome};
use apono_connector::targets::fake::Trouble;
use jiff::SignedDuration;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn access_ends_at_its_expiry_while_the_control_plane_is_gone() {
    let rig = Rig::start();
    let grant = rig.started().await;
    rig.control.set_down(true);
    rig.advance(HOUR);
    rig.until("the access is gone", || !rig.system.has_access(grant.id))
        .await;
    assert_eq!(
        rig.system.grant(grant.id).unwrap().ended.unwrap().1,
        EndReason::Expired
    );
    rig.control.set_down(false);
    rig.until("the end is reported", || {
        rig.control.ends().iter().any(|end| end.grant == grant.id)
    })
    .await;
}

#[tokio::test]
async fn access_lasts_until_its_expiry() {
    let rig = Rig::start();
    let grant = rig.started().await;
    rig.advance(HOUR - Duration::from_millis(1));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(rig.system.has_access(grant.id));
}

#[tokio::test]
async fn what_expired_while_the_process_was_away_ends_when_it_is_back() {
    let mut rig = Rig::start();
    let grant = rig.started().await;
    rig.stop().await;
    rig.control.set_down(true);
    rig.advance(HOUR);
    rig.restart().await;
    rig.until("the access is gone", || !rig.system.has_access(grant.id))
        .await;
}

#[tokio::test]
async fn a_grant_the_ledger_never_knew_is_learned_from_the_target_and_ended() {
    let rig = Rig::start();
    let grant = rig.started().await;
    rig.ledger
        .append_one(apono_connector::ledger::Event::Clean(grant.id))
        .await
        .unwrap();
    rig.until("it is learned", || {
        rig.ledger
            .read(|state| state.grants.contains_key(&grant.id))
    })
    .await;
    rig.advance(HOUR);
    rig.until("the access is gone", || !rig.system.has_access(grant.id))
        .await;
}

#[tokio::test]
async fn an_end_goes_on_until_the_target_is_back() {
    let rig = Rig::start();
    let grant = rig.started().await;
    rig.system.set_down(true);
    let task = rig.order_revoke(&grant);
    assert!(
        matches!(rig.outcome(task).await, TaskOutcome::Failed(failure) if failure.class == ErrorClass::Transient)
    );
    let overdue = || {
        rig.control
            .last_heartbeat()
            .is_some_and(|beat| beat.oldest_overdue_end.is_some())
    };
    rig.advance(HOUR);
    rig.until("the heartbeat shows the overdue end", overdue)
        .await;
    rig.system.set_down(false);
    rig.advance(Duration::from_secs(60));
    rig.until("the access is gone", || !rig.system.has_access(grant.id))
        .await;
    rig.until("the end is reported", || {
        rig.control.ends().iter().any(|end| end.grant == grant.id)
    })
    .await;
}

#[tokio::test]
async fn an_end_that_fails_is_tried_again() {
    let rig = Rig::start();
    let grant = rig.started().await;
    for class in [
        ErrorClass::Conflict,
        ErrorClass::NeedsOperator,
        ErrorClass::Bug,
    ] {
        rig.system.fail_next(Trouble::BeforeEnd, class);
    }
    rig.advance(HOUR);
    rig.until("the access is gone", || !rig.system.has_access(grant.id))
        .await;
}

#[tokio::test]
async fn an_extension_moves_the_end() {
    let rig = Rig::start();
    let mut grant = rig.started().await;
    grant.expiry += SignedDuration::from_hours(1);
    let task = rig.control.order(
        rig.integration.id,
        Order::Extend {
            grant: grant.clone(),
        },
    );
    assert!(matches!(
        rig.outcome(task).await,
        TaskOutcome::Succeeded { .. }
    ));
    rig.advance(HOUR);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(rig.system.has_access(grant.id));
    rig.advance(HOUR);
    rig.until("the access is gone", || !rig.system.has_access(grant.id))
        .await;
}

#[tokio::test]
async fn a_wall_clock_turned_back_does_not_lengthen_access() {
    let rig = Rig::start();
    let grant = rig.started().await;
    // Seen once, so that the boot-time clock knows of it.
    tokio::time::sleep(Duration::from_millis(600)).await;
    rig.clock.jump_wall(at("2029-01-01T00:00:00Z"));
    rig.advance(HOUR);
    rig.until("the access is gone", || !rig.system.has_access(grant.id))
        .await;
    assert!(rig.clock.now() < grant.expiry);
}

#[tokio::test]
async fn a_wall_clock_that_runs_ahead_does_not_end_access_before_the_target_says_so() {
    let rig = Rig::start();
    let grant = rig.started().await;
    rig.clock.jump_wall(grant.expiry);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(rig.system.has_access(grant.id));
    rig.system_clock.jump_wall(grant.expiry);
    rig.advance(Duration::from_secs(1));
    rig.until("the access is gone", || !rig.system.has_access(grant.id))
        .await;
}
