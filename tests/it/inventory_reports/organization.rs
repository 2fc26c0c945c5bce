//! Reports of an organization: what changes travels alone, and what could not be looked into is not taken to be gone.

use super::Stage;
use crate::aws_inventory::listing;
use crate::support::aws::front::{
    Account, Fault, Front, Group, Knobs, Name, Organization, PermissionSet, Refusal, User,
};
use apono_connector::inventory::AwsOrganization;
use serde_json::Value;

const SHOP: &str = "222222222222";
const BANK: &str = "333333333333";

/// Returns who has access at the control plane, as `account holder sets`.
async fn standing(stage: &Stage) -> Vec<String> {
    let page = stage.admin("integrations/orders/access", None).await;
    let lines = page["access"].as_array().unwrap().iter().map(|line| {
        let access = if line["access"].is_object() {
            &line["access"]
        } else {
            line
        };
        let privileges: Vec<&str> = access["privileges"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        format!(
            "{} {} {}",
            access["path"][0].as_str().unwrap(),
            access["holder"].as_str().unwrap(),
            privileges.join(" ")
        )
    });
    lines.collect()
}

#[tokio::test]
async fn a_second_report_of_an_organization_sends_only_changes_and_keeps_what_it_could_not_see() {
    let organization = Organization::new()
        .account(Account::new(SHOP).named("shop").within("Prod"))
        .account(Account::new(BANK).named("bank"))
        .user(User::new("alice"))
        .group(Group::new("dbas").member("alice"))
        .permission_set(PermissionSet::new("Admin"))
        .permission_set(PermissionSet::new("ReadOnly"))
        .assigned(SHOP, "Admin", Name::user("alice"))
        .assigned(SHOP, "Admin", Name::group("dbas"))
        .assigned(BANK, "Admin", Name::user("alice"))
        .knobs(Knobs::quick());
    let front = Front::start(organization).await;
    let stage = Stage::set().await;
    let source = AwsOrganization::new(listing(&front, stage.integration)).unpaced();
    let full = stage.reporter.report(&source).await.unwrap();
    assert!(full.full && full.changed == full.records, "{full:?}");
    let same = stage.reporter.report(&source).await.unwrap();
    assert_eq!(
        (same.full, same.changed, same.gone),
        (false, 0, 0),
        "{same:?}"
    );

    front.assign(BANK, "ReadOnly", &Name::user("alice"));
    front.unassign(SHOP, "Admin", &Name::group("dbas"));
    let changed = stage.reporter.report(&source).await.unwrap();
    assert_eq!(
        (changed.full, changed.changed, changed.gone),
        (false, 1, 1),
        "{changed:?}"
    );
    let alice_everywhere = [
        format!("{SHOP} user:alice Admin"),
        format!("{BANK} user:alice Admin ReadOnly"),
    ];
    assert_eq!(standing(&stage).await, alice_everywhere);

    // The shop cannot be looked into, while its access changes: what was known stays, until it can be looked into again.
    front.unassign(SHOP, "Admin", &Name::user("alice"));
    let denied = Fault::Refused(Refusal::new("AccessDeniedException", "not authorized"));
    front.fault("ListPermissionSetsProvisionedToAccount", 1, 1, denied);
    let blind = stage.reporter.report(&source).await.unwrap();
    assert_eq!((blind.changed, blind.gone), (1, 0), "{blind:?}");
    assert_eq!(standing(&stage).await, alice_everywhere);
    let page = stage.admin("integrations/orders/inventory", None).await;
    let shop = page["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["path"][0] == SHOP);
    assert_eq!(shop.unwrap()["status"], "error", "{shop:?}");

    let clear = stage.reporter.report(&source).await.unwrap();
    assert!(!clear.full && clear.gone == 1, "{clear:?}");
    assert_eq!(standing(&stage).await, alice_everywhere[1..]);
    let page = stage.admin("integrations/orders/inventory", None).await;
    let shop = page["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["path"][0] == SHOP);
    assert_eq!(shop.unwrap()["context"]["ou_path"], "Prod");
    let same = stage.reporter.report(&source).await.unwrap();
    assert_eq!(
        (same.full, same.changed, same.gone),
        (false, 0, 0),
        "{same:?}"
    );
}
