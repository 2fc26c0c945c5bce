//! The identity store.

use super::{Stage, Table, code, message, organization};
use crate::support::aws::front::{MANAGEMENT, Name, REGION, Role, User};
use aws_sdk_identitystore::Client;
use aws_sdk_identitystore::types::{
    AlternateIdentifier, ExternalId, Filter, MemberId, UniqueAttribute, UserStatus,
};
use aws_smithy_types::Document;
use serde_json::json;

fn unique(path: &str, value: &str) -> AlternateIdentifier {
    let value = Document::String(value.to_owned());
    let attribute = UniqueAttribute::builder()
        .attribute_path(path)
        .attribute_value(value)
        .build()
        .unwrap();
    AlternateIdentifier::UniqueAttribute(attribute)
}

#[tokio::test]
async fn users_and_groups_are_found_by_what_is_unique() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let client = Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let store = stage.front.store_id();
    let alice = stage.front.id_of(&Name::user("alice"));
    let find = async |identifier: AlternateIdentifier| {
        let call = client
            .get_user_id()
            .identity_store_id(&store)
            .alternate_identifier(identifier);
        call.send().await.map(|found| found.user_id().to_owned())
    };
    table.line(
        "by name",
        find(unique("userName", "alice")).await.ok(),
        Some(alice.clone()),
    );
    table.line(
        "by e-mail",
        find(unique("emails.value", "alice@example.com")).await.ok(),
        Some(alice.clone()),
    );
    table.line(
        "in capitals",
        find(unique("userName", "ALICE")).await.ok(),
        Some(alice.clone()),
    );
    stage.front.turn(|knobs| knobs.names_ignore_case = false);
    table.line(
        "in capitals, the other way",
        code(find(unique("userName", "ALICE")).await),
        "ResourceNotFoundException",
    );
    table.line(
        "nobody",
        code(find(unique("userName", "nobody")).await),
        "ResourceNotFoundException",
    );
    table.line(
        "by another path",
        code(find(unique("displayName", "alice")).await),
        "ValidationException",
    );
    let external = ExternalId::builder().issuer("idp").id("1").build().unwrap();
    table.line(
        "by an external id",
        code(find(AlternateIdentifier::ExternalId(external)).await),
        "ResourceNotFoundException",
    );
    let call = client
        .get_user_id()
        .identity_store_id("d-0000000000")
        .alternate_identifier(unique("userName", "alice"));
    table.line(
        "in another store",
        code(call.send().await),
        "ResourceNotFoundException",
    );
    let call = client
        .get_user_id()
        .identity_store_id("d-xyz")
        .alternate_identifier(unique("userName", "alice"));
    table.line(
        "in no store",
        code(call.send().await),
        "ValidationException",
    );
    let call = client
        .get_group_id()
        .identity_store_id(&store)
        .alternate_identifier(unique("displayName", "dbas"));
    let dbas = stage.front.id_of(&Name::group("dbas"));
    table.line(
        "a group",
        call.send().await.unwrap().group_id(),
        dbas.as_str(),
    );
    let call = client
        .get_group_id()
        .identity_store_id(&store)
        .alternate_identifier(unique("userName", "dbas"));
    table.line(
        "a group by a wrong path",
        code(call.send().await),
        "ValidationException",
    );

    let describe = |id: &str| client.describe_user().identity_store_id(&store).user_id(id);
    let shown = describe(&format!("arn:aws:identitystore:::user/{alice}"))
        .send()
        .await
        .unwrap();
    table.line("by ARN too", shown.user_name(), Some("alice"));
    table.line("enabled", shown.user_status(), Some(&UserStatus::Enabled));
    stage.front.disable_user("alice");
    table.line(
        "disabled",
        describe(&alice).send().await.unwrap().user_status(),
        Some(&UserStatus::Disabled),
    );
    stage.front.turn(|knobs| knobs.user_status_shown = false);
    table.line(
        "nobody says",
        describe(&alice).send().await.unwrap().user_status(),
        None,
    );
    stage.front.remove_user("alice");
    table.line(
        "gone",
        message(describe(&alice).send().await),
        "USER not found.",
    );
    stage.front.add_user(User::new("alice"));
    table.line(
        "back under another id",
        stage.front.id_of(&Name::user("alice")) == alice,
        false,
    );
    let call = client
        .describe_group()
        .identity_store_id(&store)
        .group_id(&dbas);
    table.line(
        "a group's name",
        call.send().await.unwrap().display_name(),
        Some("dbas"),
    );
}

#[tokio::test]
#[expect(
    deprecated,
    reason = "filters are still there, and refuse a second one"
)]
async fn lists_have_long_tokens_and_one_filter() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let client = Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let store = stage.front.store_id();
    let list = || client.list_users().identity_store_id(&store);
    let first = list().max_results(2).send().await.unwrap();
    let token = first.next_token().unwrap().to_owned();
    table.line("a long token", token.len(), 5_000);
    let second = list()
        .max_results(2)
        .next_token(token)
        .send()
        .await
        .unwrap();
    table.line(
        "the rest",
        (second.users().len(), second.next_token()),
        (1, None),
    );
    let by_name = |name: &str| {
        Filter::builder()
            .attribute_path("UserName")
            .attribute_value(name)
            .build()
            .unwrap()
    };
    let found = list().filters(by_name("bob")).send().await.unwrap();
    table.line("one by name", found.users().len(), 1);
    let asked = list()
        .filters(by_name("bob"))
        .filters(by_name("alice"))
        .send()
        .await;
    table.line("two filters", code(asked), "ValidationException");
    let groups = client
        .list_groups()
        .identity_store_id(&store)
        .send()
        .await
        .unwrap();
    table.line("groups", groups.groups().len(), 1);
    let member = Client::new(&stage.front.sdk(super::SHOP, REGION));
    table.line(
        "a member account",
        code(member.list_users().identity_store_id(&store).send().await),
        "AccessDeniedException",
    );
}

#[tokio::test]
async fn members_join_once_and_leave() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let client = Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let store = stage.front.store_id();
    let group = stage.front.id_of(&Name::group("dbas"));
    let alice = MemberId::UserId(stage.front.id_of(&Name::user("alice")));
    let bob = MemberId::UserId(stage.front.id_of(&Name::user("bob")));
    let join = |member: &MemberId| {
        client
            .create_group_membership()
            .identity_store_id(&store)
            .group_id(&group)
            .member_id(member.clone())
    };
    table.line("joins", code(join(&alice).send().await), "ok");
    table.line(
        "joins again",
        code(join(&alice).send().await),
        "ConflictException",
    );
    let nobody = MemberId::UserId("00000000-0000-4000-8000-000000000000".to_owned());
    table.line(
        "nobody joins",
        code(join(&nobody).send().await),
        "ResourceNotFoundException",
    );
    let of_group = client
        .list_group_memberships()
        .identity_store_id(&store)
        .group_id(&group);
    table.line(
        "two members",
        of_group.send().await.unwrap().group_memberships().len(),
        2,
    );
    let of_member = || {
        client
            .list_group_memberships_for_member()
            .identity_store_id(&store)
            .member_id(alice.clone())
    };
    table.line(
        "one group",
        of_member().send().await.unwrap().group_memberships().len(),
        1,
    );
    let member = |who: &MemberId| {
        client
            .is_member_in_groups()
            .identity_store_id(&store)
            .member_id(who.clone())
            .group_ids(&group)
    };
    table.line(
        "is a member",
        member(&bob).send().await.unwrap().results()[0].membership_exists(),
        true,
    );
    let id = client
        .get_group_membership_id()
        .identity_store_id(&store)
        .group_id(&group)
        .member_id(alice.clone());
    let id = id.send().await.unwrap().membership_id().to_owned();
    let shown = client
        .describe_group_membership()
        .identity_store_id(&store)
        .membership_id(&id);
    table.line("the membership", code(shown.send().await), "ok");
    let leave = || {
        client
            .delete_group_membership()
            .identity_store_id(&store)
            .membership_id(&id)
    };
    table.line("leaves", code(leave().send().await), "ok");
    table.line(
        "leaves again",
        code(leave().send().await),
        "ResourceNotFoundException",
    );
    table.line(
        "is none any more",
        member(&alice).send().await.unwrap().results()[0].membership_exists(),
        false,
    );
}

#[tokio::test]
async fn policies_are_asked_here_too() {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": "identitystore:GetUserId", "Resource": "*",
         "Condition": {"StringEquals": {"identitystore:PrimaryRegion": REGION}}},
        {"Effect": "Allow", "Action": "identitystore:*Membership*", "Resource": format!("arn:aws:identitystore::{MANAGEMENT}:*")},
        {"Effect": "Allow", "Action": "organizations:List*", "Resource": "*"},
    ]});
    let stage =
        Stage::of(organization().role(Role::new(MANAGEMENT, "narrow", MANAGEMENT).policy(policy)))
            .await;
    let mut table = Table::default();
    let keys = super::sessions::assumed(&stage.front, MANAGEMENT, "narrow").await;
    let client = Client::new(&super::sessions::with(&stage.front, keys.clone()));
    let store = stage.front.store_id();
    let group = stage.front.id_of(&Name::group("dbas"));
    let call = client
        .get_user_id()
        .identity_store_id(&store)
        .alternate_identifier(unique("userName", "alice"));
    table.line("what is allowed", code(call.send().await), "ok");
    table.line(
        "what is not",
        code(client.list_users().identity_store_id(&store).send().await),
        "AccessDeniedException",
    );
    let call = client
        .list_group_memberships()
        .identity_store_id(&store)
        .group_id(&group);
    table.says(
        "the group is a resource of its own",
        &message(call.send().await),
        &format!("arn:aws:identitystore:::group/{group}"),
    );
    let config = crate::support::aws::emulators::sdk(&stage.front.url(), "us-east-1", keys);
    let organizations = aws_sdk_organizations::Client::new(&config);
    table.line(
        "a list of Organizations",
        code(organizations.list_roots().send().await),
        "ok",
    );
    let asked = organizations
        .describe_account()
        .account_id(MANAGEMENT)
        .send()
        .await;
    table.line("another call", code(asked), "AccessDeniedException");
}
