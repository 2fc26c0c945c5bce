//! What an inventory shows as standing access, and what it does not.

use super::{PROD, TEST, organization};
use crate::support::aws::front::Name;
use crate::support::realm::Realm;
use serde_json::Value;

/// Returns holder, account and permission sets of all standing access, after a synchronisation of now.
fn standing(realm: &Realm) -> Vec<String> {
    let sync = ["integration", "sync", "organization", "--wait", "60s"];
    realm.world.command(&sync).unwrap();
    let list = ["access", "organization", "--format", "json"];
    let all = realm.world.json(&list);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| {
        let (holder, account) = (text(&row["holder"]), text(&row["path"][0]));
        format!("{holder} {account} {}", row["privileges"])
    };
    all.as_array().unwrap().iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_that_was_given_is_no_standing_access_and_what_stood_before_is() {
    let operators = Name::group("Operators");
    let organization = organization().assigned(TEST, "ReadOnly", operators.clone());
    let realm = Realm::start(organization, &[]).await;
    let before = standing(&realm);
    let of_operators = format!("group:Operators {TEST} [\"ReadOnly\"]");
    assert_eq!(before, [of_operators]);

    let given = realm
        .grant(PROD, "ReadOnly", "alice@example.com", "1h")
        .unwrap();
    let joined = realm
        .grant(TEST, "ReadOnly", "group:Operators", "1h")
        .unwrap();
    assert!(
        realm
            .front
            .is_assigned(PROD, "ReadOnly", &Name::user("alice"))
    );
    assert_eq!(standing(&realm), before);

    for grant in [given.grant, joined.grant] {
        let revoke = ["revoke", &grant, "--wait", "30s"];
        realm.world.command(&revoke).unwrap();
    }
    assert_eq!(standing(&realm), before);
    assert!(realm.front.is_assigned(TEST, "ReadOnly", &operators));

    // Given by somebody else, past us.
    realm.front.assign(PROD, "ReadOnly", &Name::user("alice"));
    let of_alice = format!("user:alice {PROD} [\"ReadOnly\"]");
    assert_eq!(standing(&realm), [of_alice, before[0].clone()]);
}
