//! What becomes of an operation.

use super::{BANK, SHOP, Stage, Table, organization, wish};
use crate::support::aws::front::{Account, Knobs, MANAGEMENT, Name, PermissionSet, Role, State};
use aws_sdk_ssoadmin::types::StatusValues::{Failed, Succeeded};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn creates_end_as_they_do_in_aws() {
    let organization = organization()
        .account(Account::new("444444444444").state(State::Suspended))
        .account(Account::new("555555555555").state(State::PendingClosure))
        .account(Account::new("666666666666").roles_left(1))
        .account(Account::new("777777777777").policy("/team/Limits"))
        .permission_set(PermissionSet::new("Limited").customer("/team/", "limits"));
    let stage = Stage::of(organization).await;
    let mut table = Table::default();
    let alice = wish(SHOP, "ReadOnly", "alice");
    table.line("a first one", stage.created(&alice).await.0, Succeeded);
    table.line("the same again", stage.created(&alice).await.0, Succeeded);
    table.line("is one row", stage.listed(SHOP, "ReadOnly").await.len(), 1);

    let nobody = "00000000-0000-4000-8000-000000000000";
    let id = stage.create_for(&alice, nobody).await.unwrap();
    let (status, reason) = stage.end_of_create(&id).await;
    table.line("an unknown principal", status, Failed);
    table.says(
        "an unknown principal",
        &reason,
        "the USER assignee 00000000",
    );
    let group = stage.front.id_of(&Name::group("dbas"));
    let id = stage.create_for(&alice, &group).await.unwrap();
    table.line(
        "a group called a user",
        stage.end_of_create(&id).await.0,
        Failed,
    );
    let group = super::Wish {
        name: Name::group("dbas"),
        ..alice.clone()
    };
    table.line("a group", stage.created(&group).await.0, Succeeded);
    let gone = wish(BANK, "Admin", "gone");
    table.line("a disabled user", stage.created(&gone).await.0, Succeeded);
    stage.front.turn(|knobs| knobs.disabled_users_exist = false);
    table.line(
        "a disabled user, the other way",
        stage.created(&wish(SHOP, "Admin", "gone")).await.0,
        Failed,
    );

    let (status, reason) = stage
        .created(&wish("999999999999", "ReadOnly", "alice"))
        .await;
    table.line("an account of nobody", status, Failed);
    table.says("an account of nobody", &reason, "404");
    let (status, reason) = stage
        .created(&wish("444444444444", "ReadOnly", "alice"))
        .await;
    table.line("a suspended account", status, Failed);
    table.says(
        "a suspended account",
        &reason,
        "unable to complete your request at this time",
    );
    table.line(
        "an account about to close",
        stage
            .created(&wish("555555555555", "ReadOnly", "alice"))
            .await
            .0,
        Succeeded,
    );
    table.line(
        "the last role",
        stage
            .created(&wish("666666666666", "ReadOnly", "alice"))
            .await
            .0,
        Succeeded,
    );
    table.line(
        "one role too many",
        stage
            .created(&wish("666666666666", "Admin", "alice"))
            .await
            .0,
        Failed,
    );
    table.line(
        "a role that is there",
        stage
            .created(&wish("666666666666", "ReadOnly", "bob"))
            .await
            .0,
        Succeeded,
    );
    let (status, reason) = stage.created(&wish(SHOP, "Limited", "alice")).await;
    table.line("a policy that is not there", status, Failed);
    table.says(
        "a policy that is not there",
        &reason,
        &format!("Not supported policy arn:aws:iam::{SHOP}:policy/team/limits"),
    );
    table.line(
        "a policy that is",
        stage
            .created(&wish("777777777777", "Limited", "alice"))
            .await
            .0,
        Succeeded,
    );
}

#[tokio::test]
async fn a_suspended_account_keeps_an_operation_waiting_and_others_away() {
    let knobs = Knobs {
        suspended_due: Duration::from_secs(120),
        ..Knobs::quick()
    };
    let stage = Stage::of(organization().knobs(knobs)).await;
    let mut table = Table::default();
    let alice = wish(SHOP, "ReadOnly", "alice");
    stage.create(&alice).await.unwrap();
    stage.front.set_state(SHOP, State::Suspended);
    stage.front.clock().advance(Duration::from_secs(60));
    table.line(
        "a minute later",
        stage.create(&alice).await,
        Err("ConflictException".to_owned()),
    );
    stage.front.clock().advance(Duration::from_secs(61));
    table.line("two minutes later", stage.front.assignments().len(), 0);
    table.line("the lock is gone", stage.create(&alice).await.is_ok(), true);
}

#[tokio::test]
async fn deletes_end_as_they_do_in_aws() {
    let stage = Stage::of(organization().assigned(SHOP, "ReadOnly", Name::user("alice"))).await;
    let mut table = Table::default();
    let alice = wish(SHOP, "ReadOnly", "alice");
    table.line(
        "one that is there",
        stage.deleted(&alice).await.0,
        Succeeded,
    );
    let (status, reason) = stage.deleted(&alice).await;
    table.line("one that is not", status, Failed);
    table.says("one that is not", &reason, "EntitlementItem doesn't exist");
    stage.front.assign(BANK, "ReadOnly", &Name::user("alice"));
    stage.front.set_state(BANK, State::Closed);
    table.line(
        "in a closed account",
        stage.deleted(&wish(BANK, "ReadOnly", "alice")).await.0,
        Succeeded,
    );
    stage.front.remove_user("bob");
    table.line(
        "others leave",
        stage.front.unassign(SHOP, "ReadOnly", &Name::user("alice")),
        false,
    );
    stage.front.remove_account(BANK);
}

#[tokio::test]
async fn provisions_bring_the_definition_and_fail_without_an_assignment() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let behind = async |set: &str| {
        let call = stage
            .sso
            .list_accounts_for_provisioned_permission_set()
            .instance_arn(stage.front.instance_arn())
            .permission_set_arn(stage.front.set_arn(set))
            .provisioning_status("LATEST_PERMISSION_SET_NOT_PROVISIONED".into());
        call.send().await.unwrap().account_ids().to_vec()
    };
    let (status, reason) = stage.provisioned("ReadOnly", Some(SHOP)).await;
    table.line("without an assignment", status, Failed);
    table.says("without an assignment", &reason, "Assignment not found");
    table.line(
        "all of none",
        stage.provisioned("ReadOnly", None).await.0,
        Succeeded,
    );
    for account in [SHOP, BANK] {
        stage.created(&wish(account, "ReadOnly", "alice")).await;
    }
    table.line(
        "new accounts are up to date",
        behind("ReadOnly").await,
        Vec::<String>::new(),
    );
    stage
        .front
        .edit_set("ReadOnly", |set| *set = set.clone().session("PT4H"));
    table.line(
        "an edit leaves them behind",
        behind("ReadOnly").await,
        vec![SHOP.to_owned(), BANK.to_owned()],
    );
    table.line(
        "one of them",
        stage.provisioned("ReadOnly", Some(SHOP)).await.0,
        Succeeded,
    );
    table.line(
        "is up to date",
        behind("ReadOnly").await,
        vec![BANK.to_owned()],
    );
    table.line(
        "another assignment",
        stage.created(&wish(BANK, "ReadOnly", "bob")).await.0,
        Succeeded,
    );
    table.line(
        "does not refresh the role",
        behind("ReadOnly").await,
        vec![BANK.to_owned()],
    );
    stage.front.turn(|knobs| knobs.create_refreshes_role = true);
    stage.created(&wish(BANK, "ReadOnly", "gone")).await;
    table.line(
        "unless it does",
        behind("ReadOnly").await,
        Vec::<String>::new(),
    );

    stage
        .front
        .edit_set("ReadOnly", |set| *set = set.clone().inline("{}"));
    stage.provision("ReadOnly", Some(SHOP)).await.unwrap();
    stage
        .front
        .edit_set("ReadOnly", |set| *set = set.clone().description("again"));
    stage.front.clock().advance(Duration::from_secs(1));
    table.line(
        "what is there when it runs counts",
        behind("ReadOnly").await,
        vec![BANK.to_owned()],
    );
    stage.front.turn(|knobs| knobs.provision_as_accepted = true);
    stage.provision("ReadOnly", Some(BANK)).await.unwrap();
    stage.front.edit_set("ReadOnly", |set| {
        *set = set
            .clone()
            .managed("arn:aws:iam::aws:policy/ReadOnlyAccess")
    });
    stage.front.clock().advance(Duration::from_secs(1));
    table.line("or what was accepted", behind("ReadOnly").await.len(), 2);
    stage.front.set_state(SHOP, State::Suspended);
    stage.provision("ReadOnly", None).await.unwrap();
    stage.front.clock().advance(Duration::from_secs(1));
    table.line(
        "one that fails does not stop the others",
        behind("ReadOnly").await,
        vec![SHOP.to_owned()],
    );
}

#[tokio::test]
async fn a_role_in_the_management_account_takes_rights_of_the_caller() {
    let policy = json!({"Statement": [{"Effect": "Allow", "Action": "sso:*", "Resource": "*"}]});
    let role = Role::new(MANAGEMENT, "no-iam", MANAGEMENT).policy(policy);
    let stage = Stage::of(organization().role(role)).await;
    let mut table = Table::default();
    table.line(
        "with them",
        stage.created(&wish(MANAGEMENT, "Admin", "alice")).await.0,
        Succeeded,
    );
    let keys = super::sessions::assumed(&stage.front, MANAGEMENT, "no-iam").await;
    let stage = Stage {
        sso: aws_sdk_ssoadmin::Client::new(&super::sessions::with(&stage.front, keys)),
        ..stage
    };
    let (status, reason) = stage.created(&wish(MANAGEMENT, "ReadOnly", "alice")).await;
    table.line("without them", status, Failed);
    table.says("without them", &reason, "Access denied by IAM");
    table.line(
        "elsewhere",
        stage.created(&wish(SHOP, "ReadOnly", "alice")).await.0,
        Succeeded,
    );
}
