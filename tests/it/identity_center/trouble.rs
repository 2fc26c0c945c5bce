//! What AWS, the network and fate do between an order and its effect.

use super::{PROD, alice, organization};
use crate::support::aws::front::{Fault, Kind};
use crate::support::realm::Realm;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_throttles_and_lost_answers_end_in_one_assignment_and_in_none() {
    let realm = Realm::start(organization(), &[]).await;
    let create = "CreateAccountAssignment";
    let delete = "DeleteAccountAssignment";
    for (what, operation, fault) in [
        ("a conflict at the start", create, Fault::conflict()),
        ("a throttle at the start", create, Fault::throttled()),
        (
            "a full window at the start",
            create,
            Fault::too_many_outstanding(),
        ),
        ("a server error at the start", create, Fault::server_error()),
        (
            "a server error after the effect",
            create,
            Fault::server_error_after(),
        ),
        ("an answer that is lost", create, Fault::AnswerLost),
        ("an answer that is cut", create, Fault::AnswerCut),
        ("a failure with effect", create, Fault::FailsWithEffect),
        ("a failure without effect", create, Fault::FailsUnexpectedly),
        ("a conflict at the end", delete, Fault::conflict()),
        ("a throttle at the end", delete, Fault::throttled()),
        (
            "a full window at the end",
            delete,
            Fault::too_many_outstanding(),
        ),
        ("a server error at the end", delete, Fault::server_error()),
        ("an answer lost at the end", delete, Fault::AnswerLost),
        (
            "a removal that fails with effect",
            delete,
            Fault::FailsWithEffect,
        ),
        ("a removal that fails", delete, Fault::FailsUnexpectedly),
        (
            "a list that is throttled",
            "ListAccountAssignments",
            Fault::throttled(),
        ),
        (
            "an unreadable status",
            "DescribeAccountAssignmentCreationStatus",
            Fault::server_error(),
        ),
    ] {
        let fired = realm.front.fault(operation, 0, 1, fault);
        let login = realm
            .grant(PROD, "ReadOnly", "alice@example.com", "1h")
            .unwrap_or_else(|error| panic!("{what}: {error}\n{}", realm.world.logs()));
        assert!(
            realm.front.is_assigned(PROD, "ReadOnly", &alice()),
            "{what}"
        );
        // The order may find the end provisional; it goes on by itself.
        drop(realm.world.command(&["revoke", &login.grant]));
        realm
            .world
            .until(&format!("{what}: the grant is over"), |_| {
                realm.state(&login.grant) == "ended"
            });
        assert!(realm.front.assignments().is_empty(), "{what}");
        assert_eq!(fired.times(), 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_runs_when_it_is_revoked_is_waited_for_and_undone() {
    let realm = Realm::start(organization(), &[]).await;
    let slow = Fault::Takes(Duration::from_secs(5));
    let _fired = realm.front.fault("CreateAccountAssignment", 0, 1, slow);
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| realm.grant(PROD, "ReadOnly", "alice@example.com", "1h"));
        realm.world.until("the order is under way", |_| {
            realm.front.running(Kind::Create) == 1
        });
        let grants = realm.world.json(&["grants", "--format", "json"]);
        let grant = grants[0]["grant"]["id"].as_str().unwrap().to_owned();
        drop(realm.world.command(&["revoke", &grant]));
        drop(asking.join());
        grant
    });
    realm
        .world
        .until("the grant is over", |_| realm.state(&asked) == "ended");
    assert!(realm.front.assignments().is_empty());
}
