//! What reading shows, and when.

use super::{BANK, PATIENCE, SHOP, Stage, Table, code, organization, wish};
use crate::support::aws::front::{Account, Knobs, MANAGEMENT, Name, Order, Paging, PermissionSet};
use aws_sdk_ssoadmin::types::{OperationStatusFilter, PrincipalType, StatusValues};
use std::time::Duration;

#[tokio::test]
async fn status_is_told_by_kind_and_for_a_time() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let instance = stage.front.instance_arn();
    let id = stage
        .create(&wish(SHOP, "ReadOnly", "alice"))
        .await
        .unwrap();
    stage.front.rest(PATIENCE).await;
    let create = async |id: &str| {
        let call = stage
            .sso
            .describe_account_assignment_creation_status()
            .instance_arn(&instance);
        code(call.account_assignment_creation_request_id(id).send().await)
    };
    let delete = async |id: &str| {
        let call = stage
            .sso
            .describe_account_assignment_deletion_status()
            .instance_arn(&instance);
        code(call.account_assignment_deletion_request_id(id).send().await)
    };
    table.line("its own kind", create(&id).await, "ok");
    table.line(
        "the other kind",
        delete(&id).await,
        "ResourceNotFoundException",
    );
    let nobody = "00000000-0000-4000-8000-000000000000";
    table.line(
        "an unknown one",
        create(nobody).await,
        "ResourceNotFoundException",
    );
    table.line("no id at all", create("mine").await, "ValidationException");
    let removed = stage
        .delete(&wish(SHOP, "ReadOnly", "alice"))
        .await
        .unwrap();
    stage.front.rest(PATIENCE).await;
    table.line("after the assignment went", create(&id).await, "ok");
    table.line("a delete of its own", removed == id, false);
    stage
        .front
        .turn(|knobs| knobs.status_kept = Duration::from_secs(60));
    stage.front.clock().advance(Duration::from_secs(61));
    table.line(
        "when it is old",
        create(&id).await,
        "ResourceNotFoundException",
    );
    stage
        .front
        .turn(|knobs| knobs.status_visible_after = Duration::from_secs(2));
    let id = stage
        .create(&wish(SHOP, "ReadOnly", "alice"))
        .await
        .unwrap();
    table.line(
        "when it is young",
        create(&id).await,
        "ResourceNotFoundException",
    );
    stage.front.clock().advance(Duration::from_secs(2));
    table.line("a little later", create(&id).await, "ok");
}

#[tokio::test]
async fn bulk_lists_say_status_and_id_alone() {
    let knobs = Knobs {
        page: 2,
        ..Knobs::quick()
    };
    let stage = Stage::of(organization().knobs(knobs)).await;
    let mut table = Table::default();
    let instance = stage.front.instance_arn();
    let mut ids = Vec::new();
    for (account, set) in [(SHOP, "ReadOnly"), (SHOP, "Admin"), (BANK, "ReadOnly")] {
        ids.push(stage.create(&wish(account, set, "alice")).await.unwrap());
        stage.front.clock().advance(Duration::from_secs(1));
    }
    ids.push(stage.create(&wish(BANK, "Admin", "alice")).await.unwrap());
    let list = |token: Option<String>| {
        stage
            .sso
            .list_account_assignment_creation_status()
            .instance_arn(&instance)
            .set_next_token(token)
    };
    let first = list(None).send().await.unwrap();
    let second = list(first.next_token().map(str::to_owned))
        .send()
        .await
        .unwrap();
    table.line("two pages", second.next_token(), None);
    let mut seen: Vec<_> = [&first, &second]
        .iter()
        .flat_map(|page| page.account_assignments_creation_status())
        .map(|row| row.request_id().unwrap().to_owned())
        .collect();
    seen.reverse();
    table.line("newest first", seen.clone(), ids.clone());
    stage.front.turn(|knobs| knobs.status_order = Order::Random);
    let page = list(None).max_results(100).send().await.unwrap();
    table.line(
        "or in no order",
        page.account_assignments_creation_status().len(),
        4,
    );
    let running = OperationStatusFilter::builder()
        .status(StatusValues::InProgress)
        .build();
    let page = list(None).filter(running).send().await.unwrap();
    let rows: Vec<_> = page
        .account_assignments_creation_status()
        .iter()
        .map(|row| row.request_id().unwrap())
        .collect();
    table.line("what is under way", rows, vec![ids[3].as_str()]);
    table.line(
        "and when",
        page.account_assignments_creation_status()[0]
            .created_date()
            .is_some(),
        true,
    );
    let page = stage
        .sso
        .list_account_assignment_deletion_status()
        .instance_arn(&instance)
        .send()
        .await
        .unwrap();
    table.line(
        "deletes have their own",
        page.account_assignments_deletion_status().len(),
        0,
    );
    let page = stage
        .sso
        .list_permission_set_provisioning_status()
        .instance_arn(&instance)
        .send()
        .await
        .unwrap();
    table.line(
        "provisions too",
        page.permission_sets_provisioning_status().len(),
        0,
    );
}

#[tokio::test]
async fn lists_may_lag_behind() {
    let knobs = Knobs {
        read_lag: Duration::from_secs(3),
        ..Knobs::quick()
    };
    let stage = Stage::of(organization().knobs(knobs).assigned(
        BANK,
        "ReadOnly",
        Name::user("bob"),
    ))
    .await;
    let mut table = Table::default();
    let alice = wish(SHOP, "ReadOnly", "alice");
    stage.create(&alice).await.unwrap();
    stage.front.clock().advance(Duration::from_secs(1));
    table.line(
        "it is in effect",
        stage.front.is_assigned(SHOP, "ReadOnly", &alice.name),
        true,
    );
    table.line(
        "and not listed yet",
        stage.listed(SHOP, "ReadOnly").await.len(),
        0,
    );
    stage.front.clock().advance(Duration::from_secs(3));
    table.line("then listed", stage.listed(SHOP, "ReadOnly").await.len(), 1);
    table.line(
        "what stood before is listed",
        stage.listed(BANK, "ReadOnly").await.len(),
        1,
    );
    stage.delete(&alice).await.unwrap();
    stage.front.clock().advance(Duration::from_secs(1));
    table.line(
        "it is gone",
        stage.front.is_assigned(SHOP, "ReadOnly", &alice.name),
        false,
    );
    table.line(
        "and still listed",
        stage.listed(SHOP, "ReadOnly").await.len(),
        1,
    );
    stage.front.clock().advance(Duration::from_secs(3));
    table.line(
        "then no more",
        stage.listed(SHOP, "ReadOnly").await.len(),
        0,
    );
}

#[tokio::test]
async fn what_is_provisioned_where_is_told_both_ways() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let instance = stage.front.instance_arn();
    for (account, set) in [(SHOP, "ReadOnly"), (SHOP, "Admin"), (BANK, "ReadOnly")] {
        stage.created(&wish(account, set, "alice")).await;
    }
    let of_account = |account: &str| {
        stage
            .sso
            .list_permission_sets_provisioned_to_account()
            .instance_arn(&instance)
            .account_id(account)
    };
    let sets = of_account(SHOP).send().await.unwrap();
    table.line("sets of an account", sets.permission_sets().len(), 2);
    stage
        .front
        .edit_set("Admin", |set| *set = set.clone().inline("{}"));
    let sets = of_account(SHOP)
        .provisioning_status("LATEST_PERMISSION_SET_PROVISIONED".into())
        .send()
        .await
        .unwrap();
    table.line(
        "those up to date",
        sets.permission_sets(),
        [stage.front.set_arn("ReadOnly")],
    );
    let alice = stage.front.id_of(&Name::user("alice"));
    let of_alice = || {
        let call = stage
            .sso
            .list_account_assignments_for_principal()
            .instance_arn(&instance);
        call.principal_type(PrincipalType::User)
            .principal_id(&alice)
    };
    table.line(
        "hers",
        of_alice().send().await.unwrap().account_assignments().len(),
        3,
    );
    let filter = aws_sdk_ssoadmin::types::ListAccountAssignmentsFilter::builder()
        .account_id(BANK)
        .build();
    table.line(
        "hers in one account",
        of_alice()
            .filter(filter)
            .send()
            .await
            .unwrap()
            .account_assignments()
            .len(),
        1,
    );
    table.line(
        "others' rows",
        stage.front.unassign(BANK, "ReadOnly", &Name::user("alice")),
        true,
    );
    table.line(
        "one fewer",
        of_alice().send().await.unwrap().account_assignments().len(),
        2,
    );
}

#[tokio::test]
async fn rows_may_slip_between_pages() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let instance = stage.front.instance_arn();
    for name in ["One", "Two", "Three"] {
        stage
            .sso
            .create_permission_set()
            .instance_arn(&instance)
            .name(name)
            .send()
            .await
            .unwrap();
    }
    let walk = async || {
        let page = |token: Option<String>| {
            stage
                .sso
                .list_permission_sets()
                .instance_arn(&instance)
                .max_results(2)
                .set_next_token(token)
        };
        let first = page(None).send().await.unwrap();
        let arn = first.permission_sets()[0].clone();
        stage
            .sso
            .delete_permission_set()
            .instance_arn(&instance)
            .permission_set_arn(arn)
            .send()
            .await
            .unwrap();
        let mut seen = first.permission_sets().len();
        let mut token = first.next_token().map(str::to_owned);
        while token.is_some() {
            let next = page(token).send().await.unwrap();
            seen += next.permission_sets().len();
            token = next.next_token().map(str::to_owned);
        }
        seen
    };
    table.line("all five are seen", walk().await, 5);
    stage.front.turn(|knobs| knobs.paging = Paging::ByNumber);
    table.line("one of four is missed", walk().await, 3);
}

/// The size of a large customer, walked as an inventory walks it. Only what is asked for is counted, not time.
#[tokio::test]
async fn a_large_organization_is_served() {
    let mut organization = super::organization();
    for number in 0..40 {
        organization = organization.permission_set(PermissionSet::new(&format!("set-{number}")));
    }
    for number in 0..2_000 {
        let id = format!("7{number:011}");
        organization = organization.account(Account::new(&id));
        for set in 0..40 {
            organization = organization.assigned(&id, &format!("set-{set}"), Name::user("alice"));
        }
    }
    let stage = Stage::of(organization.seed(7)).await;
    assert_eq!(stage.front.assignments().len(), 80_000);
    assert_eq!(
        stage.listed("700000000007", "set-3").await,
        vec![stage.front.id_of(&Name::user("alice"))]
    );
    let call = stage
        .sso
        .list_permission_sets_provisioned_to_account()
        .instance_arn(stage.front.instance_arn());
    assert_eq!(
        call.account_id("700000001999")
            .send()
            .await
            .unwrap()
            .permission_sets()
            .len(),
        40
    );
    let organizations =
        aws_sdk_organizations::Client::new(&stage.front.sdk(MANAGEMENT, "us-east-1"));
    let mut pages = organizations.list_accounts().into_paginator().send();
    let mut accounts = 0;
    while let Some(page) = pages.next().await {
        accounts += page.unwrap().accounts().len();
    }
    assert_eq!(accounts, 2_003);
}
