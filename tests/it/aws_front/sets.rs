//! Permission sets and what is attached to them.

use super::{Stage, Table, code, message, organization};
use crate::support::aws::front::Knobs;
use aws_sdk_ssoadmin::types::{CustomerManagedPolicyReference, PermissionsBoundary, Tag};

const MANAGED: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

#[tokio::test]
async fn names_are_unique_and_an_update_clears_what_it_leaves_out() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let instance = stage.front.instance_arn();
    let make = |name: &str| {
        stage
            .sso
            .create_permission_set()
            .instance_arn(&instance)
            .name(name)
    };
    let made = make("New+=,.@-")
        .description("of old")
        .relay_state("https://example.com")
        .send()
        .await
        .unwrap();
    let made = made.permission_set().unwrap();
    let arn = made.permission_set_arn().unwrap().to_owned();
    table.says("its ARN", &arn, "arn:aws:sso:::permissionSet/ssoins-");
    table.line("its session", made.session_duration(), Some("PT1H"));
    table.line(
        "the name again",
        message(make("New+=,.@-").send().await),
        "PermissionSet with name New+=,.@- already exists.",
    );
    let describe = async || {
        let call = stage
            .sso
            .describe_permission_set()
            .instance_arn(&instance)
            .permission_set_arn(&arn);
        call.send().await.unwrap().permission_set().unwrap().clone()
    };
    let update = || {
        stage
            .sso
            .update_permission_set()
            .instance_arn(&instance)
            .permission_set_arn(&arn)
    };
    update().session_duration("PT3H").send().await.unwrap();
    let shown = describe().await;
    table.line(
        "the session changed",
        shown.session_duration(),
        Some("PT3H"),
    );
    table.line("the relay state is gone", shown.relay_state(), None);
    table.line("the description stays", shown.description(), Some("of old"));
    stage
        .front
        .turn(|knobs| knobs.update_keeps_left_out = false);
    update().send().await.unwrap();
    let shown = describe().await;
    table.line(
        "or goes too",
        (shown.description(), shown.session_duration()),
        (None, Some("PT1H")),
    );
    stage.front.turn(|knobs| knobs.sets_per_instance = 3);
    table.line(
        "one too many",
        code(make("Fourth").send().await),
        "ServiceQuotaExceededException",
    );
    table.line("three there are", stage.front.set_names().len(), 3);
}

#[tokio::test]
async fn policies_are_attached_once_and_not_too_many() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let (instance, set) = (stage.front.instance_arn(), stage.front.set_arn("ReadOnly"));
    let attach = |arn: &str| {
        let call = stage
            .sso
            .attach_managed_policy_to_permission_set()
            .instance_arn(&instance);
        call.permission_set_arn(&set).managed_policy_arn(arn)
    };
    table.line("a first time", code(attach(MANAGED).send().await), "ok");
    table.line(
        "a second time",
        code(attach(MANAGED).send().await),
        "ConflictException",
    );
    table.line(
        "of somebody else",
        code(attach("arn:aws:iam::222222222222:policy/own").send().await),
        "ValidationException",
    );
    let reference = || {
        CustomerManagedPolicyReference::builder()
            .name("limits")
            .path("/team/")
            .build()
            .unwrap()
    };
    let customer = || {
        let call = stage
            .sso
            .attach_customer_managed_policy_reference_to_permission_set()
            .instance_arn(&instance);
        call.permission_set_arn(&set)
            .customer_managed_policy_reference(reference())
    };
    table.line("a customer's", code(customer().send().await), "ok");
    table.line(
        "a customer's again",
        code(customer().send().await),
        "ConflictException",
    );
    for number in 0..18 {
        let arn = format!("arn:aws:iam::aws:policy/Policy{number}");
        table.line("twenty in all", code(attach(&arn).send().await), "ok");
    }
    table.line(
        "the twenty-first",
        code(attach("arn:aws:iam::aws:policy/More").send().await),
        "ServiceQuotaExceededException",
    );
    let listed = stage
        .sso
        .list_managed_policies_in_permission_set()
        .instance_arn(&instance)
        .permission_set_arn(&set);
    table.line(
        "AWS's",
        listed
            .send()
            .await
            .unwrap()
            .attached_managed_policies()
            .len(),
        19,
    );
    let listed = stage
        .sso
        .list_customer_managed_policy_references_in_permission_set()
        .instance_arn(&instance);
    let listed = listed.permission_set_arn(&set).send().await.unwrap();
    table.line(
        "the customer's",
        listed.customer_managed_policy_references()[0].path(),
        Some("/team/"),
    );
    let detach = || {
        let call = stage
            .sso
            .detach_managed_policy_from_permission_set()
            .instance_arn(&instance);
        call.permission_set_arn(&set).managed_policy_arn(MANAGED)
    };
    table.line("taken off", code(detach().send().await), "ok");
    table.line(
        "taken off again",
        code(detach().send().await),
        "ResourceNotFoundException",
    );
    let detach = || {
        let call = stage
            .sso
            .detach_customer_managed_policy_reference_from_permission_set()
            .instance_arn(&instance);
        call.permission_set_arn(&set)
            .customer_managed_policy_reference(reference())
    };
    table.line(
        "the customer's taken off",
        code(detach().send().await),
        "ok",
    );
    table.line(
        "the customer's taken off again",
        code(detach().send().await),
        "ResourceNotFoundException",
    );
    table.line(
        "nothing else changed",
        stage.front.definition("ReadOnly").managed_count(),
        18,
    );
}

#[tokio::test]
async fn inline_policies_boundaries_and_tags() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let (instance, set) = (stage.front.instance_arn(), stage.front.set_arn("ReadOnly"));
    let get = || {
        stage
            .sso
            .get_inline_policy_for_permission_set()
            .instance_arn(&instance)
            .permission_set_arn(&set)
    };
    table.line(
        "no inline policy is an empty one",
        get().send().await.unwrap().inline_policy(),
        Some(""),
    );
    let put = |policy: String| {
        let call = stage
            .sso
            .put_inline_policy_to_permission_set()
            .instance_arn(&instance);
        call.permission_set_arn(&set).inline_policy(policy)
    };
    let of_size = |size: usize| format!("{{\"a\":\"{}\"}}", "b".repeat(size - 8));
    table.line(
        "10,240 bytes",
        code(put(of_size(10_240)).send().await),
        "ok",
    );
    table.line(
        "10,241 bytes",
        code(put(of_size(10_241)).send().await),
        "ServiceQuotaExceededException",
    );
    stage
        .front
        .turn(|knobs| knobs.inline_limit_is_a_quota = false);
    table.line(
        "the other way",
        code(put(of_size(10_241)).send().await),
        "ValidationException",
    );
    table.line(
        "white space is free",
        code(
            put(format!("{}{}", of_size(10_240), " ".repeat(100)))
                .send()
                .await,
        ),
        "ok",
    );
    table.line(
        "no JSON",
        code(put("policy".to_owned()).send().await),
        "ValidationException",
    );
    table.line(
        "it is there",
        get().send().await.unwrap().inline_policy().unwrap().len(),
        10_340,
    );
    let delete = stage
        .sso
        .delete_inline_policy_from_permission_set()
        .instance_arn(&instance)
        .permission_set_arn(&set);
    table.line("it goes", code(delete.send().await), "ok");
    table.line(
        "and is empty",
        get().send().await.unwrap().inline_policy(),
        Some(""),
    );

    let boundary = || {
        stage
            .sso
            .get_permissions_boundary_for_permission_set()
            .instance_arn(&instance)
            .permission_set_arn(&set)
    };
    table.line(
        "no boundary is not found",
        code(boundary().send().await),
        "ResourceNotFoundException",
    );
    let put = |boundary: PermissionsBoundary| {
        let call = stage
            .sso
            .put_permissions_boundary_to_permission_set()
            .instance_arn(&instance);
        call.permission_set_arn(&set).permissions_boundary(boundary)
    };
    let managed = PermissionsBoundary::builder()
        .managed_policy_arn(MANAGED)
        .build();
    let neither = PermissionsBoundary::builder().build();
    table.line(
        "neither of two",
        code(put(neither).send().await),
        "ValidationException",
    );
    table.line("one of two", code(put(managed).send().await), "ok");
    table.line("it is there", code(boundary().send().await), "ok");
    let delete = stage
        .sso
        .delete_permissions_boundary_from_permission_set()
        .instance_arn(&instance);
    table.line(
        "it goes",
        code(delete.permission_set_arn(&set).send().await),
        "ok",
    );

    let tags = || {
        stage
            .sso
            .list_tags_for_resource()
            .instance_arn(&instance)
            .resource_arn(&set)
    };
    table.line(
        "a tag from the start",
        tags().send().await.unwrap().tags()[0].value(),
        "tests",
    );
    let tag = |key: &str| {
        let tag = Tag::builder().key(key).value("v").build().unwrap();
        stage
            .sso
            .tag_resource()
            .instance_arn(&instance)
            .resource_arn(&set)
            .tags(tag)
    };
    for number in 0..49 {
        table.line(
            "fifty tags",
            code(tag(&format!("key-{number}")).send().await),
            "ok",
        );
    }
    table.line(
        "fifty-one",
        code(tag("more").send().await),
        "ServiceQuotaExceededException",
    );
    let untag = stage
        .sso
        .untag_resource()
        .instance_arn(&instance)
        .resource_arn(&set)
        .tag_keys("key-0");
    table.line("one fewer", code(untag.send().await), "ok");
    stage.front.untag_set("ReadOnly", "owner");
    table.line("two fewer", tags().send().await.unwrap().tags().len(), 48);
    table.line(
        "of a set that is not there",
        code(
            tags()
                .resource_arn(format!("{}x", &set[..set.len() - 1]))
                .send()
                .await,
        ),
        "ResourceNotFoundException",
    );
}

#[tokio::test]
async fn an_account_holds_so_many_sets() {
    let knobs = Knobs {
        sets_per_account: 1,
        ..Knobs::quick()
    };
    let stage = Stage::of(organization().knobs(knobs)).await;
    let mut table = Table::default();
    stage
        .created(&super::wish(super::SHOP, "ReadOnly", "alice"))
        .await;
    let second = stage
        .create(&super::wish(super::SHOP, "Admin", "alice"))
        .await;
    table.line(
        "a second set",
        second,
        Err("ServiceQuotaExceededException".to_owned()),
    );
    let again = stage
        .create(&super::wish(super::SHOP, "ReadOnly", "bob"))
        .await;
    table.line("the first set", again.is_ok(), true);
}
