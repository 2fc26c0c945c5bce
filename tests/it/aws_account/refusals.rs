//! What cannot work is refused before anything is made, each with its own words.

use crate::support::account::{House, allow_all_but};

const ALICE: &str = "alice@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_before_anything_is_made() {
    let house = House::start(&[("credentials", "keys")]).await;
    house
        .make_role_trusting("foreign", "arn:aws:iam::999999999999:root")
        .await;
    let long = format!("arn:aws:iam::{}:policy/{}", house.account, "x/".repeat(120));
    for (kind, name, permission, words) in [
        ("aws-iam-role", "nothing", "ASSUME", "has no role `nothing`"),
        (
            "aws-iam-role",
            "a*",
            "ASSUME",
            "cannot be the name of a role",
        ),
        (
            "aws-iam-role",
            "foreign",
            "ASSUME",
            "trusts neither account",
        ),
        ("aws-iam-role", "deploy", "ADMIN", "knows `ASSUME`"),
        ("aws-iam-group", "nobody", "MEMBER", "has no group `nobody`"),
        (
            "aws-iam-policy",
            "arn:aws:iam::aws:policy/*",
            "ATTACH",
            "cannot be the name of a policy",
        ),
        (
            "aws-iam-policy",
            "arn:aws:iam::aws:policy/None",
            "ATTACH",
            "has no policy",
        ),
        ("aws-iam-policy", &long, "ATTACH", "too long to be recorded"),
        (
            "aws-s3-bucket",
            "*",
            "READ_ONLY",
            "cannot be the name of a bucket",
        ),
        ("postgresql-role", "x", "MEMBER", "no resources of type"),
    ] {
        let error = house
            .ask([kind, name, permission], ALICE, "1h")
            .unwrap_err();
        assert!(error.contains(words), "`{words}` is not in: {error}");
    }
    assert!(!house.has_user("alice_apono").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quota_is_named_before_anything_is_changed() {
    let house = House::start(&[("credentials", "keys"), ("user_tag", "owner")]).await;
    house.make_role("deploy").await;
    house.make_group("ops", "iam:ListUsers").await;
    let large = house.make_policy("large", "iam:ListUsers", 1900).await;
    let given = house.role("deploy", "1h").unwrap();
    for number in 0..10 {
        let name = format!("filler{number}");
        let arn = house.make_policy(&name, "iam:ListUsers", 10).await;
        house.attach("alice_apono", &arn).await;
        house.make_group(&name, "iam:ListUsers").await;
        house.join("alice_apono", &name).await;
    }
    let before = house.tags("alice_apono").await;
    for (kind, name, permission, words) in [
        (
            "aws-iam-policy",
            large.as_str(),
            "ATTACH",
            "has 10 attached policies",
        ),
        ("aws-iam-group", "ops", "MEMBER", "is in 10 groups"),
    ] {
        let error = house
            .ask([kind, name, permission], ALICE, "1h")
            .unwrap_err();
        assert!(error.contains(words), "`{words}` is not in: {error}");
    }
    let owner = [("owner", "dora@example.com")];
    house.make_person("dora", &owner).await;
    house.fill_policies("dora", 1900).await;
    house.revoke(&given);
    for (name, kind, permission, words) in [
        ("deploy", "aws-iam-role", "ASSUME", "of 2048"),
        (large.as_str(), "aws-iam-policy", "ATTACH", "of 2048"),
    ] {
        let error = house.ask([kind, name, permission], "dora@example.com", "1h");
        let error = error.unwrap_err();
        assert!(error.contains(words), "`{words}` is not in: {error}");
    }
    assert_eq!(house.tags("dora").await.len(), 1);
    assert_eq!(before.len(), 4, "{before:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named_and_nothing_stays_that_it_stopped() {
    let house = House::start(&[("credentials", "keys")]).await;
    house.make_role("deploy").await;
    for action in [
        "iam:CreateUser",
        "iam:TagUser",
        "iam:PutUserPolicy",
        "iam:CreateAccessKey",
    ] {
        allow_all_but(&house.iam, &house.account, action).await;
        let error = house.role("deploy", "1h").unwrap_err();
        // What a start left is taken back first, and its grant shows as over then: the log says why.
        let told = error + &house.world.logs();
        let hint = format!("allow `{action}` on");
        assert!(told.contains(&hint), "{action}: {told}");
        if let Some(policies) = house.policies("alice_apono").await {
            let given = |name: &String| name.starts_with("apono-grant-");
            assert!(!policies.iter().any(given), "{action}: {policies:?}");
            assert!(house.keys("alice_apono").await.is_empty(), "{action}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_work_are_named_in_the_status() {
    let mut house = House::prepare(&[]).await;
    let region = ("region", "eu-west-1");
    let role = ("role_arn", "arn:aws:iam::123456789012:role/none");
    let cases = [
        ("none", vec![], "`settings.region` is absent"),
        (
            "odd",
            vec![region, ("colour", "blue")],
            "`settings.colour` is not known",
        ),
        ("strange", vec![region, role], "role/none"),
    ];
    for (name, settings, _) in &cases {
        house
            .world
            .add_integration_of(name, "aws-account", settings);
    }
    house.begin();
    for (name, _, words) in cases {
        house.world.until(&format!("`{words}` is told"), |world| {
            let seen = world.integration(name);
            let message = seen["message"].as_str().unwrap_or_default();
            seen["status"] == "error" && message.contains(words)
        });
    }
}
