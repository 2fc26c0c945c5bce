//! Refusals further in: policies, shapes, existence, and how much may be under way.

use super::{BANK, SHOP, Stage, Table, code, message, organization, wish};
use crate::support::aws::emulators::sdk;
use crate::support::aws::front::{Account, Fault, Kind, Knobs, MANAGEMENT, Name, REGION, Role};
use aws_credential_types::Credentials;
use aws_sdk_ssoadmin::Client;
use aws_sdk_ssoadmin::types::{PrincipalType, Tag, TargetType};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn policies_are_asked_for_every_resource_with_its_tags() {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": "sso:*", "Resource": "arn:aws:sso:::instance/*"},
        {"Effect": "Allow", "Action": "sso:*AccountAssignment", "Resource": "*",
         "Condition": {"StringEquals": {"aws:ResourceTag/owner": "tests"}}},
        {"Effect": "Allow", "Action": "sso:CreateAccountAssignment", "Resource": format!("arn:aws:sso:::account/{SHOP}")},
        {"Effect": "Allow", "Action": "sso:CreatePermissionSet", "Resource": "*",
         "Condition": {"StringLike": {"aws:RequestTag/owner": "t*"}}},
        {"Effect": "Deny", "Action": "sso:UntagResource", "Resource": "*"},
    ]});
    let role = Role::new(MANAGEMENT, "narrow", MANAGEMENT).policy(policy);
    let stage = Stage::of(organization().role(role)).await;
    let mut table = Table::default();
    let sts = aws_sdk_sts::Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let role = format!("arn:aws:iam::{MANAGEMENT}:role/narrow");
    let session = sts
        .assume_role()
        .role_arn(role)
        .role_session_name("narrow")
        .send()
        .await
        .unwrap();
    let keys = session.credentials().unwrap();
    let keys = Credentials::new(
        keys.access_key_id(),
        keys.secret_access_key(),
        Some(keys.session_token().to_owned()),
        None,
        "test",
    );
    let narrow = Client::new(&sdk(&stage.front.url(), REGION, keys));
    let instance = stage.front.instance_arn();
    let ask = async |account: &str, set: &str| {
        let call = narrow
            .create_account_assignment()
            .instance_arn(&instance)
            .target_id(account)
            .target_type(TargetType::AwsAccount)
            .permission_set_arn(stage.front.set_arn(set))
            .principal_type(PrincipalType::User)
            .principal_id(stage.front.id_of(&Name::user("alice")));
        call.send().await
    };
    table.line(
        "account, set and tag fit",
        code(ask(SHOP, "ReadOnly").await),
        "ok",
    );
    let asked = ask(SHOP, "Admin").await;
    let expected = format!(
        "is not authorized to perform: sso:CreateAccountAssignment on resource: {}",
        stage.front.set_arn("Admin")
    );
    table.says("a set without the tag", &message(asked), &expected);
    table.says(
        "another account",
        &message(ask(BANK, "ReadOnly").await),
        &format!("arn:aws:sso:::account/{BANK}"),
    );
    let make = async |tag: &str| {
        let tag = Tag::builder().key("owner").value(tag).build().unwrap();
        code(
            narrow
                .create_permission_set()
                .instance_arn(&instance)
                .name(format!("new-{}", tag.value()))
                .tags(tag)
                .send()
                .await,
        )
    };
    table.line("a new set with the mark", make("tests").await, "ok");
    table.line(
        "a new set with another",
        make("others").await,
        "AccessDeniedException",
    );
    let untag = narrow
        .untag_resource()
        .instance_arn(&instance)
        .resource_arn(stage.front.set_arn("ReadOnly"));
    table.says(
        "what is denied says so",
        &message(untag.tag_keys("owner").send().await),
        "with an explicit deny",
    );
}

#[tokio::test]
async fn shapes_are_those_of_the_published_model() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let instance = stage.front.instance_arn();
    let set = stage.front.set_arn("ReadOnly");
    let base = || {
        stage
            .sso
            .create_account_assignment()
            .instance_arn(&instance)
            .target_type(TargetType::AwsAccount)
    };
    let alice = stage.front.id_of(&Name::user("alice"));
    let lines = [
        (
            "an account of eleven digits",
            base()
                .target_id("22222222222")
                .permission_set_arn(&set)
                .principal_id(&alice),
        ),
        (
            "an account of letters",
            base()
                .target_id("accountnumbr")
                .permission_set_arn(&set)
                .principal_id(&alice),
        ),
        (
            "a principal that is a name",
            base()
                .target_id(SHOP)
                .permission_set_arn(&set)
                .principal_id("alice"),
        ),
        (
            "a set in the emulator's form",
            base()
                .target_id(SHOP)
                .permission_set_arn("arn:aws:sso:::instance/ssoins-0/ps-0")
                .principal_id(&alice),
        ),
        (
            "no principal",
            base().target_id(SHOP).permission_set_arn(&set),
        ),
    ];
    for (rule, call) in lines {
        let asked = call.principal_type(PrincipalType::User).send().await;
        table.line(rule, code(asked), "ValidationException");
    }
    let call = base()
        .target_id(SHOP)
        .permission_set_arn(&set)
        .principal_id(&alice);
    let asked = call.principal_type("ROLE".into()).send().await;
    table.says(
        "an unknown enumeration value",
        &message(asked),
        "'principalType' failed to satisfy constraint",
    );
    let make = |name: &str| {
        stage
            .sso
            .create_permission_set()
            .instance_arn(&instance)
            .name(name)
    };
    table.line(
        "a name of 33",
        code(make(&"n".repeat(33)).send().await),
        "ValidationException",
    );
    table.line(
        "a name of 32",
        code(make(&"n".repeat(32)).send().await),
        "ok",
    );
    table.line(
        "a name with a blank",
        code(make("a b").send().await),
        "ValidationException",
    );
    table.line(
        "an empty description",
        code(make("empty").description("").send().await),
        "ValidationException",
    );
    table.line(
        "a session of 15 minutes",
        code(make("short").session_duration("PT15M").send().await),
        "ValidationException",
    );
    table.line(
        "a session of 13 hours",
        code(make("long").session_duration("PT13H").send().await),
        "ValidationException",
    );
    table.line(
        "a session of 12 hours",
        code(make("half-a-day").session_duration("PT12H").send().await),
        "ok",
    );
    let list = |most: i32| {
        stage
            .sso
            .list_permission_sets()
            .instance_arn(&instance)
            .max_results(most)
    };
    table.line(
        "pages of 0",
        code(list(0).send().await),
        "ValidationException",
    );
    table.line(
        "pages of 101",
        code(list(101).send().await),
        "ValidationException",
    );
    let first = list(1).send().await.unwrap();
    let token = first.next_token().unwrap().to_owned();
    table.line(
        "its token",
        code(list(1).next_token(&token).send().await),
        "ok",
    );
    table.line(
        "a changed token",
        code(list(1).next_token(format!("{token}0")).send().await),
        "ValidationException",
    );
    let other = stage
        .sso
        .list_permission_set_provisioning_status()
        .instance_arn(&instance)
        .next_token(&token);
    table.line(
        "a token of another list",
        code(other.send().await),
        "ValidationException",
    );
    let inline = stage
        .sso
        .put_inline_policy_to_permission_set()
        .instance_arn(&instance)
        .permission_set_arn(&set);
    let spaces = format!("{{{}}}", " ".repeat(32_770));
    table.line(
        "a policy over 32,768",
        code(inline.inline_policy(spaces).send().await),
        "ValidationException",
    );
}

#[tokio::test]
async fn instance_and_set_have_to_exist_and_account_and_principal_have_not() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let set = stage.front.set_arn("ReadOnly");
    let other_instance = "arn:aws:sso:::instance/ssoins-0000000000000000";
    let listed = stage
        .sso
        .list_permission_sets()
        .instance_arn(other_instance)
        .send()
        .await;
    table.line(
        "an unknown instance",
        code(listed),
        "ResourceNotFoundException",
    );
    let missing = format!("{}0", &set[..set.len() - 1])
        .replace("ps-", "ps-")
        .to_owned();
    let missing = if missing == set {
        format!("{}1", &set[..set.len() - 1])
    } else {
        missing
    };
    let described = stage
        .sso
        .describe_permission_set()
        .instance_arn(stage.front.instance_arn())
        .permission_set_arn(&missing)
        .send()
        .await;
    table.says(
        "an unknown set",
        &message(described),
        "Could not find PermissionSet with id ps-",
    );
    let nobody = "00000000-0000-4000-8000-000000000000";
    let asked = stage
        .create_for(&wish("999999999999", "ReadOnly", "alice"), nobody)
        .await;
    table.line(
        "an unknown account and principal are taken",
        asked.is_ok(),
        true,
    );
    let off = Stage::of(organization().permission_sets_switched_off()).await;
    let listed = off
        .sso
        .list_permission_sets()
        .instance_arn(off.front.instance_arn())
        .send()
        .await;
    table.line(
        "permission sets switched off",
        code(listed),
        "AccessDeniedException",
    );
}

#[tokio::test]
async fn one_operation_too_many_is_throttled() {
    let slow = Knobs {
        due: (Duration::from_secs(60), Duration::from_secs(60)),
        ..Knobs::quick()
    };
    let mut organization = organization().knobs(slow);
    let accounts: Vec<String> = (0..17)
        .map(|number| format!("4000000000{number:02}"))
        .collect();
    for account in &accounts {
        organization = organization.account(Account::new(account));
    }
    let stage = Stage::of(organization).await;
    let mut table = Table::default();
    let alice = Name::user("alice");
    let ask = async |account: &str| {
        let call = stage
            .sso
            .create_account_assignment()
            .instance_arn(stage.front.instance_arn())
            .target_id(account)
            .target_type(TargetType::AwsAccount)
            .permission_set_arn(stage.front.set_arn("Admin"))
            .principal_type(PrincipalType::User)
            .principal_id(stage.front.id_of(&alice));
        call.send().await
    };
    for account in &accounts[..15] {
        table.line("fifteen creates", code(ask(account).await), "ok");
    }
    let text = "There are too many requests processing. Please try again later.";
    table.line("the sixteenth", message(ask(&accounts[15]).await), text);
    let delete = stage.delete(&wish(SHOP, "Admin", "alice")).await;
    table.line(
        "deletes count too",
        delete,
        Err("ThrottlingException".to_owned()),
    );
    stage.front.turn(|knobs| knobs.deletes_count = false);
    let delete = stage.delete(&wish(SHOP, "Admin", "alice")).await;
    table.line("unless they do not", delete.is_ok(), true);
    stage.front.clock().advance(Duration::from_secs(61));
    stage.front.turn(|knobs| knobs.creates_of_others = 15);
    table.line("others use it up", message(ask(&accounts[16]).await), text);
    stage.front.turn(|knobs| knobs.creates_of_others = 0);

    for account in &accounts[..3] {
        table.line(
            "three provisions",
            stage.provision("Admin", Some(account)).await.is_ok(),
            true,
        );
    }
    let fourth = stage.provision("Admin", Some(&accounts[3])).await;
    table.line("the fourth", fourth, Err("ThrottlingException".to_owned()));
    table.line(
        "highest creates",
        stage.front.most_outstanding(Kind::Create),
        15,
    );
    table.line(
        "highest provisions",
        stage.front.most_outstanding(Kind::Provision),
        3,
    );
    let fired = stage
        .front
        .fault("ListInstances", 0, 1, Fault::too_many_outstanding());
    table.line(
        "on demand",
        message(stage.sso.list_instances().send().await),
        text,
    );
    table.line("and told", fired.times(), 1);
}
