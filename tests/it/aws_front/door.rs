//! Refusals at the door, in their order.

use super::{BANK, SHOP, Stage, Table, code, message, organization, wish};
use crate::support::aws::emulators::sdk;
use crate::support::aws::front::{Knobs, MANAGEMENT, Name, REGION, Role, WrongRegion};
use aws_credential_types::Credentials;
use aws_sdk_ssoadmin::Client;
use aws_sdk_ssoadmin::types::{PrincipalType, RegionScope, TargetType};
use serde_json::json;
use std::time::Duration;

/// More than a signature may be old.
const TOO_OLD: Duration = Duration::from_secs(16 * 60);
const ALMOST: Duration = Duration::from_secs(14 * 60);

#[tokio::test]
async fn signatures_are_checked_before_anything_else() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let with = |key: &str, secret: &str, token: Option<&str>| {
        let keys = Credentials::new(key, secret, token.map(str::to_owned), None, "test");
        Client::new(&sdk(&stage.front.url(), REGION, keys))
    };
    let good = stage.front.key(MANAGEMENT);
    let asked = with(good.access_key_id(), "wrong", None)
        .list_instances()
        .send()
        .await;
    table.line("a wrong secret", code(asked), "InvalidSignatureException");
    let asked = with("AKIANOBODY", "any", None)
        .list_instances()
        .send()
        .await;
    table.line("an unknown key", code(asked), "UnrecognizedClientException");
    let asked = with(
        good.access_key_id(),
        good.secret_access_key(),
        Some("foreign"),
    )
    .list_instances()
    .send()
    .await;
    table.line(
        "a token that is not the key's",
        code(asked),
        "UnrecognizedClientException",
    );
    let bare = reqwest::ClientBuilder::new().build().unwrap();
    let unsigned = async |target: &str| {
        let asked = bare
            .post(stage.front.url())
            .header("x-amz-target", target)
            .body("{}")
            .send();
        let answer = asked.await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, body) = unsigned("SWBExternalService.ListInstances").await;
    table.line("no signature", status, 400);
    table.says("no signature", &body, "MissingAuthenticationTokenException");
    table.line(
        "a good one",
        code(stage.sso.list_instances().send().await),
        "ok",
    );

    let ask = || stage.sso.list_instances().send();
    stage.front.clock().advance(ALMOST);
    table.line("a signature of 14 minutes ago", code(ask().await), "ok");
    stage.front.clock().advance(TOO_OLD - ALMOST);
    table.says(
        "a signature of 16 minutes ago",
        &message(ask().await),
        "Signature expired: ",
    );
    stage.front.clock().go_back(2 * TOO_OLD);
    table.says(
        "a signature of the future",
        &message(ask().await),
        "Signature not yet current: ",
    );
    stage.front.turn(|knobs| knobs.signature_age = 2 * TOO_OLD);
    table.line("the age can be set", code(ask().await), "ok");
}

#[tokio::test]
async fn calls_are_let_in_at_their_pace() {
    let paced = Knobs {
        requests_per_second: Some(20),
        ..Knobs::quick()
    };
    let stage = Stage::of(organization().knobs(paced)).await;
    let mut table = Table::default();
    let burst = async || {
        let mut let_in = 0;
        for _ in 0..25 {
            let_in += usize::from(code(stage.sso.list_instances().send().await) == "ok");
        }
        let_in
    };
    table.line("twenty of a burst", burst().await, 20);
    let asked = stage.sso.list_instances().send().await;
    table.line("the rest is throttled", message(asked), "Rate exceeded");
    let identities = aws_sdk_identitystore::Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let store = stage.front.store_id();
    let asked = identities
        .list_users()
        .identity_store_id(&store)
        .send()
        .await;
    table.line("the identity store has its own bucket", code(asked), "ok");
    stage.front.clock().advance(Duration::from_millis(500));
    table.line("half a second later ten more", burst().await, 10);
    stage.front.turn(|knobs| knobs.refused_calls_count = true);
    stage.front.clock().advance(Duration::from_secs(2));
    table.line("a full bucket again", burst().await, 20);
    stage.front.clock().advance(Duration::from_millis(500));
    table.line("refused calls took theirs", burst().await, 5);
    table.line(
        "all were seen",
        stage.front.most_in_a_second("sso") >= 25,
        true,
    );
}

#[tokio::test]
async fn only_the_primary_region_and_the_right_accounts_are_served() {
    let organization = organization()
        .further_region("eu-central-1")
        .delegated_to(SHOP);
    let stage = Stage::of(organization).await;
    let mut table = Table::default();
    let instance = stage.front.instance_arn();
    let elsewhere = Client::new(&stage.front.sdk(MANAGEMENT, "us-east-1"));
    let replica = Client::new(&stage.front.sdk(MANAGEMENT, "eu-central-1"));
    let sets = async |client: &Client| {
        code(
            client
                .list_permission_sets()
                .instance_arn(&instance)
                .send()
                .await,
        )
    };
    table.line(
        "sets elsewhere",
        sets(&elsewhere).await,
        "AccessDeniedException",
    );
    stage
        .front
        .turn(|knobs| knobs.wrong_region = WrongRegion::NotFound);
    table.line(
        "sets elsewhere, the other way",
        sets(&elsewhere).await,
        "ResourceNotFoundException",
    );
    let listed = elsewhere.list_instances().send().await.unwrap();
    table.line("no instance elsewhere", listed.instances().len(), 0);
    let listed = elsewhere
        .list_instances()
        .region_scope(RegionScope::AllRegions)
        .send()
        .await
        .unwrap();
    table.line(
        "unless all regions are asked for",
        listed.instances()[0].primary_region(),
        Some(REGION),
    );
    table.line(
        "sets in a further region",
        sets(&replica).await,
        "ResourceNotFoundException",
    );
    let listed = replica.list_instances().send().await.unwrap();
    table.line(
        "the instance in a further region",
        listed.instances().len(),
        1,
    );
    let described = replica
        .describe_instance()
        .instance_arn(&instance)
        .send()
        .await;
    table.line("and its description", code(described), "ok");

    table.line(
        "another member",
        sets(&stage.of_account(BANK)).await,
        "AccessDeniedException",
    );
    table.line(
        "a stranger",
        sets(&stage.of_account("999999999999")).await,
        "AccessDeniedException",
    );
    let delegated = stage.of_account(SHOP);
    table.line("the delegated administrator", sets(&delegated).await, "ok");
    let of_principal = async |client: &Client| {
        let call = client
            .list_account_assignments_for_principal()
            .instance_arn(&instance);
        let alice = stage.front.id_of(&Name::user("alice"));
        code(
            call.principal_type(PrincipalType::User)
                .principal_id(alice)
                .send()
                .await,
        )
    };
    table.line(
        "by principal, delegated",
        of_principal(&delegated).await,
        "AccessDeniedException",
    );
    table.line("by principal", of_principal(&stage.sso).await, "ok");
}

#[tokio::test]
async fn the_delegated_administrator_loses_what_touched_the_management_account() {
    let stage = Stage::of(organization().delegated_to(SHOP)).await;
    let mut table = Table::default();
    let delegated = stage.of_account(SHOP);
    let ask = async |account: &str, set: &str| {
        let call = delegated
            .create_account_assignment()
            .instance_arn(stage.front.instance_arn())
            .target_id(account)
            .target_type(TargetType::AwsAccount)
            .permission_set_arn(stage.front.set_arn(set))
            .principal_type(PrincipalType::User)
            .principal_id(stage.front.id_of(&Name::user("alice")));
        code(call.send().await)
    };
    table.line("a member account", ask(BANK, "ReadOnly").await, "ok");
    table.line(
        "the management account",
        ask(MANAGEMENT, "ReadOnly").await,
        "AccessDeniedException",
    );
    stage.front.rest(super::PATIENCE).await;
    let mine = wish(MANAGEMENT, "ReadOnly", "alice");
    stage.created(&mine).await;
    stage.deleted(&mine).await;
    table.line(
        "a set that was once there",
        ask(SHOP, "ReadOnly").await,
        "AccessDeniedException",
    );
    table.line("another set", ask(SHOP, "Admin").await, "ok");
    let edit = delegated
        .put_inline_policy_to_permission_set()
        .instance_arn(stage.front.instance_arn())
        .permission_set_arn(stage.front.set_arn("ReadOnly"))
        .inline_policy("{}");
    table.line(
        "editing it",
        code(edit.send().await),
        "AccessDeniedException",
    );
}

#[tokio::test]
async fn an_earlier_refusal_wins() {
    let role = Role::new(MANAGEMENT, "none", MANAGEMENT).policy(json!({"Statement": []}));
    let knobs = Knobs {
        requests_per_second: Some(2),
        wrong_region: WrongRegion::NotFound,
        ..Knobs::quick()
    };
    let stage = Stage::of(organization().role(role).delegated_to(SHOP).knobs(knobs)).await;
    let mut table = Table::default();
    // Wrong in every way that is asked about later: shape, instance, account.
    let ask = async |client: &Client, instance: &str, account: &str| {
        let call = client
            .create_account_assignment()
            .instance_arn(instance)
            .target_id(account);
        let call = call
            .target_type(TargetType::AwsAccount)
            .permission_set_arn(stage.front.set_arn("Admin"));
        let call = call
            .principal_type(PrincipalType::User)
            .principal_id(stage.front.id_of(&Name::user("alice")));
        code(call.send().await)
    };
    let instance = stage.front.instance_arn();
    let other_instance = "arn:aws:sso:::instance/ssoins-0000000000000000";
    let refill = || stage.front.clock().advance(Duration::from_secs(1));
    let key = stage.front.key(MANAGEMENT);
    let forged = Credentials::new(key.access_key_id(), "wrong", None, None, "test");
    let forged = Client::new(&sdk(&stage.front.url(), REGION, forged));
    let elsewhere = Client::new(&stage.front.sdk(BANK, "us-east-1"));
    let member = stage.of_account(BANK);
    let keys = super::sessions::assumed(&stage.front, MANAGEMENT, "none").await;
    let powerless = Client::new(&super::sessions::with(&stage.front, keys));
    while ask(&stage.sso, &instance, "1").await != "ThrottlingException" {}
    table.line(
        "signature before pace",
        ask(&forged, "x", "1").await,
        "InvalidSignatureException",
    );
    table.line(
        "pace before region",
        ask(&elsewhere, "x", "1").await,
        "ThrottlingException",
    );
    refill();
    table.line(
        "region before caller",
        ask(&elsewhere, "x", "1").await,
        "ResourceNotFoundException",
    );
    table.line(
        "caller before shape",
        ask(&member, "x", "1").await,
        "AccessDeniedException",
    );
    refill();
    table.line(
        "policy before shape",
        ask(&powerless, "x", "1").await,
        "AccessDeniedException",
    );
    table.line(
        "shape before existence",
        ask(&stage.sso, other_instance, "1").await,
        "ValidationException",
    );
    refill();
    let delegated = stage.of_account(SHOP);
    let asked = ask(&delegated, other_instance, MANAGEMENT).await;
    table.line(
        "existence before the management account",
        asked,
        "ResourceNotFoundException",
    );
    stage.front.turn(|knobs| {
        knobs.requests_per_second = None;
        knobs.sets_per_account = 0;
        knobs.most_creates = 1;
    });
    let asked = ask(&delegated, &instance, MANAGEMENT).await;
    table.line(
        "the management account before counts",
        asked,
        "AccessDeniedException",
    );
    stage.front.turn(|knobs| knobs.sets_per_account = 1);
    table.line("one is taken", ask(&stage.sso, &instance, BANK).await, "ok");
    table.line(
        "conflict before too many",
        ask(&stage.sso, &instance, BANK).await,
        "ConflictException",
    );
    table.line(
        "too many",
        ask(&stage.sso, &instance, SHOP).await,
        "ThrottlingException",
    );
    stage.front.turn(|knobs| knobs.sets_per_account = 0);
    table.line(
        "counts before conflict",
        ask(&stage.sso, &instance, BANK).await,
        "ServiceQuotaExceededException",
    );
}
