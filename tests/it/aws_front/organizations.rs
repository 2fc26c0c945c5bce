//! Organizations.

use super::{BANK, SHOP, Stage, Table, code, message, organization};
use crate::support::aws::front::{Knobs, MANAGEMENT, REGION, State};
use aws_sdk_organizations::Client;
use std::time::Duration;

#[tokio::test]
async fn the_tree_is_told_in_pages_some_of_them_empty() {
    let stage = Stage::of(organization().delegated_to(SHOP)).await;
    let mut table = Table::default();
    let client = Client::new(&stage.front.sdk(MANAGEMENT, "us-east-1"));
    let (mut seen, mut empty, mut token) = (Vec::new(), 0, None);
    loop {
        let page = client
            .list_accounts()
            .max_results(1)
            .set_next_token(token)
            .send()
            .await
            .unwrap();
        empty += usize::from(page.accounts().is_empty());
        seen.extend(
            page.accounts()
                .iter()
                .map(|account| account.id().unwrap().to_owned()),
        );
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    table.line(
        "every account once",
        seen,
        vec![MANAGEMENT.to_owned(), SHOP.to_owned(), BANK.to_owned()],
    );
    table.line("an empty page between", empty > 0, true);
    stage.front.turn(|knobs| knobs.empty_page_every = 0);
    let root = client.list_roots().send().await.unwrap().roots()[0]
        .id()
        .unwrap()
        .to_owned();
    let units = async |parent: &str| {
        let found = client
            .list_organizational_units_for_parent()
            .parent_id(parent)
            .send()
            .await
            .unwrap();
        found
            .organizational_units()
            .iter()
            .map(|unit| unit.id().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let prod = stage.front.unit_id("Prod");
    table.line("units of the root", units(&root).await, vec![prod.clone()]);
    let payments = stage.front.unit_id("Prod/Payments");
    table.line(
        "units of a unit",
        units(&prod).await,
        vec![payments.clone()],
    );
    let within = client
        .list_accounts_for_parent()
        .parent_id(&payments)
        .send()
        .await
        .unwrap();
    table.line(
        "accounts of a unit",
        within.accounts()[0].name(),
        Some("shop"),
    );
    let path = within.accounts()[0].paths()[0].clone();
    table.says(
        "the account's path",
        &path,
        &format!("/{root}/{prod}/{payments}/{SHOP}/"),
    );
    let unit = client
        .describe_organizational_unit()
        .organizational_unit_id(&payments)
        .send()
        .await
        .unwrap();
    table.line(
        "a unit's name",
        unit.organizational_unit().unwrap().name(),
        Some("Payments"),
    );
    let parents = client.list_parents().child_id(SHOP).send().await.unwrap();
    table.line(
        "a parent",
        parents.parents()[0].id(),
        Some(payments.as_str()),
    );
    let parents = client.list_parents().child_id(&prod).send().await.unwrap();
    table.line(
        "a unit's parent",
        parents.parents()[0].id(),
        Some(root.as_str()),
    );
    let tags = client
        .list_tags_for_resource()
        .resource_id(SHOP)
        .send()
        .await
        .unwrap();
    table.line("tags", tags.tags()[0].value(), "shop");
    let delegated = client
        .list_delegated_administrators()
        .service_principal("sso.amazonaws.com")
        .send()
        .await
        .unwrap();
    table.line(
        "the delegated administrator",
        delegated.delegated_administrators()[0].id(),
        Some(SHOP),
    );
    let delegated = client
        .list_delegated_administrators()
        .service_principal("other.amazonaws.com")
        .send()
        .await
        .unwrap();
    table.line(
        "of another service",
        delegated.delegated_administrators().len(),
        0,
    );
}

#[tokio::test]
async fn state_is_told_and_status_is_on_its_way_out() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let client = Client::new(&stage.front.sdk(MANAGEMENT, "us-east-1"));
    let shown = async || {
        let answer = client
            .describe_account()
            .account_id(SHOP)
            .send()
            .await
            .unwrap();
        let account = answer.account().unwrap();
        let status = account.status().map(|status| status.as_str().to_owned());
        (account.state().unwrap().as_str().to_owned(), status)
    };
    table.line("active", shown().await, ("ACTIVE".to_owned(), None));
    stage.front.set_state(SHOP, State::Closed);
    stage.front.turn(|knobs| knobs.account_status_shown = true);
    table.line(
        "closed",
        shown().await,
        ("CLOSED".to_owned(), Some("SUSPENDED".to_owned())),
    );
    stage.front.set_state(SHOP, State::PendingActivation);
    table.line(
        "not yet",
        shown().await,
        ("PENDING_ACTIVATION".to_owned(), None),
    );
}

#[tokio::test]
async fn strangers_wrong_ids_and_haste_are_refused() {
    let knobs = Knobs {
        organizations_pace: true,
        empty_page_every: 0,
        ..Knobs::quick()
    };
    let stage = Stage::of(organization().knobs(knobs)).await;
    let mut table = Table::default();
    let client =
        |account: &str, region: &'static str| Client::new(&stage.front.sdk(account, region));
    let ours = client(MANAGEMENT, "us-east-1");
    table.line(
        "a member asks for accounts",
        code(client(SHOP, "us-east-1").list_accounts().send().await),
        "AccessDeniedException",
    );
    table.line(
        "a member asks for the organization",
        code(
            client(SHOP, "us-east-1")
                .describe_organization()
                .send()
                .await,
        ),
        "ok",
    );
    let stranger = client("999999999999", "us-east-1")
        .describe_organization()
        .send()
        .await;
    table.line(
        "a stranger",
        code(stranger),
        "AWSOrganizationsNotInUseException",
    );
    let asked = client(MANAGEMENT, REGION).list_accounts().send().await;
    table.line(
        "signed for another region",
        code(asked),
        "InvalidSignatureException",
    );
    table.line(
        "an unknown account",
        code(
            ours.describe_account()
                .account_id("999999999999")
                .send()
                .await,
        ),
        "AccountNotFoundException",
    );
    table.line(
        "an unknown child",
        code(ours.list_parents().child_id("999999999999").send().await),
        "ChildNotFoundException",
    );
    table.line(
        "an unknown parent",
        code(
            ours.list_accounts_for_parent()
                .parent_id("r-0000")
                .send()
                .await,
        ),
        "ParentNotFoundException",
    );
    table.line(
        "an unknown target",
        code(
            ours.list_tags_for_resource()
                .resource_id("999999999999")
                .send()
                .await,
        ),
        "TargetNotFoundException",
    );
    table.line(
        "pages of 21",
        code(ours.list_accounts().max_results(21).send().await),
        "InvalidInputException",
    );
    table.line(
        "a foreign token",
        code(ours.list_accounts().next_token("mine").send().await),
        "InvalidInputException",
    );
    stage.front.clock().advance(Duration::from_secs(10));
    for _ in 0..12 {
        table.line(
            "twelve at once",
            code(ours.list_accounts().send().await),
            "ok",
        );
    }
    let asked = ours.list_accounts().send().await;
    table.line("the thirteenth", code(asked), "TooManyRequestsException");
    table.line(
        "another call",
        code(ours.describe_account().account_id(SHOP).send().await),
        "ok",
    );
    stage.front.clock().advance(Duration::from_secs(1));
    for _ in 0..8 {
        table.line(
            "eight a second later",
            code(ours.list_accounts().send().await),
            "ok",
        );
    }
    table.says(
        "and no more",
        &message(ours.list_accounts().send().await),
        "AWS Organizations can't complete",
    );
}
