//! The wait for operations of Identity Center, with the real SDK, on the strict front.

use crate::support::aws::front::{
    Account, Front, Knobs, MANAGEMENT, Name, Organization, PermissionSet, REGION, User,
};
use apono_connector::aws::budget::{Budget, Limits, Turn};
use apono_connector::aws::operations::{
    Finished, OperationKind, Operations, SsoAdminOperations, Watched,
};
use aws_sdk_ssoadmin::Client;
use aws_sdk_ssoadmin::types::{PrincipalType, ProvisionTargetType, TargetType};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const SHOP: &str = "660000000001";
const BANK: &str = "660000000002";

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "three orders told one after the other"
)]
async fn creations_deletions_and_provisionings_are_followed_to_their_end() {
    let second = Duration::from_secs(1);
    let knobs = Knobs {
        status_visible_after: second / 2,
        due: (second, 2 * second),
        ..Knobs::default()
    };
    let organization = Organization::new()
        .account(Account::new(SHOP))
        .account(Account::new(BANK))
        .user(User::new("alice"))
        .permission_set(PermissionSet::new("ReadOnly"))
        .permission_set(PermissionSet::new("Admin"))
        .assigned(BANK, "Admin", Name::user("alice"))
        .knobs(knobs);
    let front = Front::start(organization).await;
    let client = Client::new(&front.sdk(MANAGEMENT, REGION));
    let instance = front.instance_arn();
    let reader = SsoAdminOperations::new(client.clone(), instance.clone());
    let operations = Operations::new(Arc::new(reader), Budget::new(Limits::IDENTITY_CENTER));
    let alice = front.id_of(&Name::user("alice"));

    let created = client
        .create_account_assignment()
        .instance_arn(&instance)
        .target_id(SHOP)
        .target_type(TargetType::AwsAccount)
        .permission_set_arn(front.set_arn("ReadOnly"))
        .principal_type(PrincipalType::User)
        .principal_id(&alice)
        .send()
        .await
        .unwrap();
    let created = created.account_assignment_creation_status().unwrap();
    // Not there: accepted, and fails later.
    let deleted = client
        .delete_account_assignment()
        .instance_arn(&instance)
        .target_id(BANK)
        .target_type(TargetType::AwsAccount)
        .permission_set_arn(front.set_arn("ReadOnly"))
        .principal_type(PrincipalType::User)
        .principal_id(&alice)
        .send()
        .await
        .unwrap();
    let deleted = deleted.account_assignment_deletion_status().unwrap();
    let provisioned = client
        .provision_permission_set()
        .instance_arn(&instance)
        .permission_set_arn(front.set_arn("Admin"))
        .target_type(ProvisionTargetType::AwsAccount)
        .target_id(BANK)
        .send()
        .await
        .unwrap();
    let provisioned = provisioned.permission_set_provisioning_status().unwrap();

    let watch = |kind, id, seconds| {
        let operations = operations.clone();
        async move {
            let what = Watched {
                kind,
                id,
                turn: Turn::End,
            };
            let deadline = Instant::now() + Duration::from_secs(seconds);
            operations.watch(what, deadline).await
        }
    };
    let (one, two, three, none) = tokio::join!(
        watch(OperationKind::Creation, created.request_id().unwrap(), 60),
        watch(OperationKind::Deletion, deleted.request_id().unwrap(), 60),
        watch(
            OperationKind::Provisioning,
            provisioned.request_id().unwrap(),
            60
        ),
        // A creation is no deletion.
        watch(OperationKind::Deletion, created.request_id().unwrap(), 6),
    );
    assert!(matches!(one, Finished::Succeeded), "{one:?}");
    let said = "EntitlementItem doesn't exist";
    assert!(
        matches!(&two, Finished::Failed { reason } if reason.contains(said)),
        "{two:?}"
    );
    assert!(matches!(three, Finished::Succeeded), "{three:?}");
    assert!(matches!(none, Finished::Lost { trouble: None }), "{none:?}");
}
