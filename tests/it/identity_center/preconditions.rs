//! What cannot work is refused before anything is ordered, each with its own words.

use super::{PROD, TEST, organization};
use crate::support::aws::front::{Account, MANAGEMENT, Name, State, User};
use crate::support::realm::Realm;
use crate::support::world::Login;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_before_anything_is_ordered() {
    let organization = organization()
        .account(Account::new("444444444444").state(State::Suspended))
        .account(Account::new("555555555555").state(State::Closed))
        .account(Account::new("666666666666").state(State::PendingActivation))
        .user(User::new("carol").email("carol@example.com").disabled())
        .user(User::new("dave@example.com").email("david@example.com"))
        .user(User::new("dave").email("dave@example.com"))
        .group(crate::support::aws::front::Group::new("Empty"));
    let realm = Realm::start(organization, &[]).await;
    let alice = "alice@example.com";
    for (account, set, who, words) in [
        (
            "999999999999",
            "ReadOnly",
            alice,
            "is not in the organization",
        ),
        ("444444444444", "ReadOnly", alice, "is SUSPENDED"),
        ("555555555555", "ReadOnly", alice, "is CLOSED"),
        ("666666666666", "ReadOnly", alice, "is PENDING_ACTIVATION"),
        (PROD, "readonly", alice, "no permission set `readonly`"),
        (
            PROD,
            "ReadOnly",
            "zed@example.com",
            "has no `zed@example.com`",
        ),
        (PROD, "ReadOnly", "user:nobody", "has no `user:nobody`"),
        (
            PROD,
            "ReadOnly",
            "group:Nobodies",
            "has no `group:Nobodies`",
        ),
        (PROD, "ReadOnly", "carol@example.com", "`carol` is disabled"),
        (PROD, "ReadOnly", "dave@example.com", "user name of another"),
        (
            PROD,
            "READ_ONLY",
            alice,
            "must be the name of a permission set",
        ),
    ] {
        let error = realm.grant(account, set, who, "1h").unwrap_err();
        assert!(error.contains(words), "`{words}` is not in: {error}");
    }
    assert!(realm.front.calls_of("CreateAccountAssignment").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_below_an_excluded_unit_is_refused() {
    let deep = Account::new("777777777777").within("Secret/Vault/Inner");
    let realm = Realm::prepare(organization().account(deep), &[]).await;
    let unit = realm.front.unit_id("Secret");
    let role = format!("arn:aws:iam::{MANAGEMENT}:role/apono-management");
    let list = format!("ou-zzzz-zzzzzzzz, {unit}");
    let settings = [
        ("sso_region", "eu-west-1"),
        ("management_role_arn", role.as_str()),
        ("exclude_ou_ids", list.as_str()),
    ];
    realm
        .world
        .add_integration_of("narrow", "aws-organization", &settings);
    let mut realm = realm;
    realm.begin();
    let ask = |account| ask_in(&realm, "narrow", account);
    let error = ask("777777777777").unwrap_err();
    assert!(
        error.contains(&unit) && error.contains("excludes"),
        "{error}"
    );
    ask(TEST).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_management_account_is_refused_to_a_delegated_administrator() {
    let realm = Realm::prepare(organization().delegated_to(TEST), &[]).await;
    let role = crate::support::aws::front::Role::new(TEST, "apono-delegate", MANAGEMENT);
    let arn = role.arn().to_owned();
    realm.front.add_role(role);
    let settings = [
        ("sso_region", "eu-west-1"),
        ("management_role_arn", arn.as_str()),
    ];
    realm
        .world
        .add_integration_of("delegate", "aws-organization", &settings);
    let mut realm = realm;
    realm.begin();
    let ask = |account| ask_in(&realm, "delegate", account);
    let error = ask(MANAGEMENT).unwrap_err();
    assert!(error.contains("delegated administrator"), "{error}");
    ask(PROD).unwrap();
    assert!(
        realm
            .front
            .is_assigned(PROD, "ReadOnly", &Name::user("alice"))
    );
}

/// Asks for alice's access to an account in an integration of its own.
fn ask_in(realm: &Realm, integration: &str, account: &str) -> Result<Login, String> {
    let how = ["--permission", "ReadOnly", "--for", "1h"];
    let resource = ["aws-organization-account", account];
    let alice = "alice@example.com";
    realm.world.grant_in(integration, &resource, alice, &how)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_work_are_named_in_the_status() {
    let realm = Realm::prepare(organization(), &[]).await;
    let role = format!("arn:aws:iam::{MANAGEMENT}:role/apono-management");
    let role = role.as_str();
    let mut cases = Vec::new();
    for (name, settings, words) in [
        (
            "no-region",
            vec![("management_role_arn", role)],
            "`sso_region` is missing",
        ),
        (
            "no-role",
            vec![("sso_region", "eu-west-1")],
            "`management_role_arn` is missing",
        ),
        (
            "bad-role",
            vec![
                ("sso_region", "eu-west-1"),
                ("management_role_arn", "apono"),
            ],
            "`apono`",
        ),
        (
            "bad-portal",
            vec![
                ("sso_region", "eu-west-1"),
                ("management_role_arn", role),
                ("sso_portal", "http://x"),
            ],
            "must be an https address",
        ),
        (
            "bad-unit",
            vec![
                ("sso_region", "eu-west-1"),
                ("management_role_arn", role),
                ("exclude_ou_ids", "Prod"),
            ],
            "ids of organizational units",
        ),
        (
            "misspelt",
            vec![
                ("sso_region", "eu-west-1"),
                ("management_role_arn", role),
                ("exclude_ou_id", "ou-ab12-cd345678"),
            ],
            "`exclude_ou_id` is not known",
        ),
        (
            "wrong-region",
            vec![("sso_region", "us-east-1"), ("management_role_arn", role)],
            "primary region",
        ),
        (
            "wrong-external-id",
            vec![
                ("sso_region", "eu-west-1"),
                ("management_role_arn", role),
                ("management_external_id", "another"),
            ],
            "external id",
        ),
    ] {
        realm
            .world
            .add_integration_of(name, "aws-organization", &settings);
        cases.push((name, words));
    }
    let mut realm = realm;
    realm.begin();
    for (name, words) in cases {
        realm.world.until(&format!("`{words}` is told"), |world| {
            let seen = world.integration(name);
            let message = seen["message"].as_str().unwrap_or_default();
            seen["status"] == "error" && message.contains(words)
        });
    }
}
