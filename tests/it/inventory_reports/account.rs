//! Reports of an account: what could not be looked at is not taken to be gone.

use super::Stage;
use crate::aws_account_inventory::{REGION, TRUST, account, front, refused};
use apono_connector::inventory::AwsAccount;

/// Returns the names of the roles at the control plane.
async fn roles(stage: &Stage) -> Vec<String> {
    let page = stage.admin("integrations/orders/inventory", None).await;
    let all = page["resources"].as_array().unwrap().iter();
    let roles = all.filter(|one| one["type"] == "aws-iam-role");
    roles
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_second_report_of_an_account_keeps_what_it_could_not_look_at() {
    const ID: &str = "510000000007";
    let front = front(&[ID]).await;
    let iam = aws_sdk_iam::Client::new(&front.sdk(ID, REGION));
    let make = async |name: &str| {
        let role = iam.create_role().role_name(name);
        let role = role.assume_role_policy_document(TRUST);
        role.send().await.unwrap();
    };
    make("first").await;
    make("second").await;
    let stage = Stage::set().await;
    let source: AwsAccount = account(&front, stage.integration, ID, &[REGION]);
    let full = stage.reporter.report(&source).await.unwrap();
    assert!(full.full && full.changed == full.records, "{full:?}");
    let same = stage.reporter.report(&source).await.unwrap();
    assert_eq!((same.full, same.changed, same.gone), (false, 0, 0));

    iam.delete_role().role_name("first").send().await.unwrap();
    front.fault("ListRoles", 0, 1, refused("AccessDenied", "no"));
    let blind = stage.reporter.report(&source).await.unwrap();
    assert_eq!((blind.changed, blind.gone), (0, 0), "{blind:?}");
    assert_eq!(roles(&stage).await, ["first", "second"]);
    let clear = stage.reporter.report(&source).await.unwrap();
    assert_eq!((clear.full, clear.gone), (false, 1), "{clear:?}");
    assert_eq!(roles(&stage).await, ["second"]);
    let same = stage.reporter.report(&source).await.unwrap();
    assert_eq!((same.full, same.changed, same.gone), (false, 0, 0));
}
