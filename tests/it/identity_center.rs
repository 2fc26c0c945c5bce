//! Access to the accounts of an organization: real processes, the real SDK, and an AWS that refuses whatever the real one refuses.

mod late;
mod preconditions;
mod standing;
mod trouble;

use crate::support::aws::front::{Account, Group, Knobs, Name, Organization, PermissionSet, User};
use crate::support::realm::{LATEST_LANDING_S, Realm};
use std::time::Duration;

pub(crate) const PROD: &str = "222222222222";
pub(crate) const TEST: &str = "333333333333";

/// Alice and Bob, the group Operators, two accounts and two permission sets. Operations take next to no time.
pub(crate) fn organization() -> Organization {
    Organization::new()
        .account(Account::new(PROD).named("prod").within("Production"))
        .account(Account::new(TEST).named("test"))
        .user(User::new("alice").email("alice@example.com"))
        .user(User::new("bob").email("bob@example.com"))
        .group(Group::new("Operators").member("bob"))
        .permission_set(PermissionSet::new("ReadOnly").session("PT4H"))
        .permission_set(PermissionSet::new("Power+User=,.@-_1"))
        .knobs(Knobs {
            signature_age: Duration::from_secs(LATEST_LANDING_S),
            ..Knobs::quick()
        })
}

fn alice() -> Name {
    Name::user("alice")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_appears_says_how_to_sign_in_and_is_gone_at_its_end() {
    let realm = Realm::start(organization(), &[]).await;
    let login = realm
        .grant(PROD, "ReadOnly", "Alice@example.com", "8s")
        .unwrap();
    assert_eq!(login.user, "alice");
    assert!(realm.front.is_assigned(PROD, "ReadOnly", &alice()));
    let link = realm.detail(&login.grant, "details", "sign_in_url");
    assert_eq!(
        link.as_deref(),
        Some(
            "https://d-1234567890.awsapps.com/start/#/console?account_id=222222222222&role_name=ReadOnly"
        )
    );
    let residual = realm.detail(&login.grant, "details", "residual_session");
    assert_eq!(residual.as_deref(), Some("PT4H"));
    realm.world.until("the grant is over and clean", |_| {
        realm.state(&login.grant) == "ended"
    });
    assert!(!realm.front.is_assigned(PROD, "ReadOnly", &alice()));
    let role = realm.detail(&login.grant, "end_details", "role");
    assert_eq!(role.as_deref(), Some("deleted with its last assignment"));
    for call in ["CreateAccountAssignment", "DeleteAccountAssignment"] {
        let calls = realm.front.calls_of(call);
        let [call] = calls.as_slice() else {
            panic!("{calls:?}");
        };
        let session = &login.grant;
        assert!(call.caller.contains(session.as_str()), "{call:?}");
        assert!(call.user_agent.contains("apono-connector"), "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_user_names_are_given_access_and_an_order_takes_it_away() {
    let realm = Realm::start(organization(), &[]).await;
    let set = "Power+User=,.@-_1";
    let group = realm.grant(TEST, set, "group:Operators", "1h").unwrap();
    let user = realm.grant(TEST, set, "user:bob", "1h").unwrap();
    assert!(
        realm
            .front
            .is_assigned(TEST, set, &Name::group("Operators"))
    );
    assert!(realm.front.is_assigned(TEST, set, &Name::user("bob")));
    realm.world.command(&["revoke", &group.grant]).unwrap();
    assert!(
        !realm
            .front
            .is_assigned(TEST, set, &Name::group("Operators"))
    );
    assert!(realm.front.is_assigned(TEST, set, &Name::user("bob")));
    let role = realm.detail(&group.grant, "end_details", "role");
    assert!(role.unwrap().starts_with("still used by others"));
    realm.world.command(&["revoke", &user.grant]).unwrap();
    assert!(realm.front.assignments().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_that_stood_before_is_used_and_left() {
    let organization = organization().assigned(PROD, "ReadOnly", alice());
    let realm = Realm::start(organization, &[]).await;
    let login = realm
        .grant(PROD, "ReadOnly", "alice@example.com", "1h")
        .unwrap();
    realm.world.command(&["revoke", &login.grant]).unwrap();
    assert!(realm.front.is_assigned(PROD, "ReadOnly", &alice()));
    let kept = realm.detail(&login.grant, "end_details", "kept");
    assert!(kept.unwrap().contains("stood before"));
    for call in ["CreateAccountAssignment", "DeleteAccountAssignment"] {
        assert!(realm.front.calls_of(call).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_grants_of_one_assignment_end_it_with_the_last() {
    let realm = Realm::start(organization(), &[]).await;
    let first = realm
        .grant(PROD, "ReadOnly", "alice@example.com", "1h")
        .unwrap();
    let second = realm.grant(PROD, "ReadOnly", "user:alice", "1h").unwrap();
    realm.world.command(&["revoke", &first.grant]).unwrap();
    assert!(realm.front.is_assigned(PROD, "ReadOnly", &alice()));
    realm.world.command(&["revoke", &second.grant]).unwrap();
    assert!(!realm.front.is_assigned(PROD, "ReadOnly", &alice()));
    assert_eq!(realm.front.calls_of("CreateAccountAssignment").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_somebody_took_away_ends_its_grant() {
    let realm = Realm::start(organization(), &[]).await;
    let login = realm
        .grant(PROD, "ReadOnly", "alice@example.com", "1h")
        .unwrap();
    assert!(realm.front.unassign(PROD, "ReadOnly", &alice()));
    // A process that begins looks at once; one that runs looks every five minutes.
    let mut realm = realm;
    realm.world.kill_connector();
    realm.begin();
    realm.world.until("the grant is over", |_| {
        realm.state(&login.grant) == "ended"
    });
    assert_eq!(realm.world.seen(&login.grant)["end_reason"], "drift");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_can_be_extended_and_lasts_until_its_new_end() {
    let realm = Realm::start(organization(), &[]).await;
    let login = realm
        .grant(PROD, "ReadOnly", "alice@example.com", "8s")
        .unwrap();
    let extend = ["extend", login.grant.as_str(), "--for", "1h"];
    realm.world.command(&extend).unwrap();
    let expiry = realm.world.seen(&login.grant)["grant"]["expiry"].clone();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(realm.front.is_assigned(PROD, "ReadOnly", &alice()));
    assert_eq!(realm.state(&login.grant), "active", "{expiry}");
    realm.world.command(&["revoke", &login.grant]).unwrap();
    assert!(realm.front.assignments().is_empty());
}
