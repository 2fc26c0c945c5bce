//! Whose users are used, made and removed, and whose never.

use crate::support::account::{House, assume, denied};

const CAROL: &str = "carol@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_own_user_gets_access_keeps_the_rest_and_is_never_removed() {
    let house = House::start(&[("user_tag", "owner")]).await;
    let deploy = house.make_role("deploy").await;
    let carol = house
        .make_person("carol", &[("owner", "Carol@example.com")])
        .await;
    // A tag counts once the list of users is two seconds old.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let ask = |name: &str| house.ask(["aws-iam-role", name, "ASSUME"], CAROL, "1h");
    let given = ask("deploy").unwrap();
    assert_eq!(
        (given.login.as_str(), &given.answer["credential"]),
        ("carol", &"none".into())
    );
    assert_eq!(assume(&carol, &deploy).await, Ok(()));
    let group = house.ask(["aws-iam-group", "ops", "MEMBER"], CAROL, "1h");
    assert!(group.unwrap_err().contains("the person's own"));
    house.make_person("carol2", &[("owner", CAROL)]).await;
    house.revoke(&given);
    assert_eq!(assume(&carol, &deploy).await, denied());
    house.until_ended(&given);
    assert_eq!(house.policies("carol").await.unwrap(), ["own"]);
    assert_eq!(house.keys("carol").await.len(), 1);
    let tags = house.tags("carol").await;
    assert_eq!(tags, [("owner".to_owned(), "Carol@example.com".to_owned())]);

    let error = ask("deploy").unwrap_err();
    assert!(error.contains("both IAM user"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_our_mark_is_neither_adopted_nor_removed() {
    let house = House::start(&[("credentials", "keys")]).await;
    let deploy = house.make_role("deploy").await;
    house.make_person("bob_apono", &[]).await;
    let error = house.ask(
        ["aws-iam-role", "deploy", "ASSUME"],
        "bob@example.com",
        "1h",
    );
    let error = error.unwrap_err();
    assert!(
        error.contains("does not carry this connector's mark"),
        "{error}"
    );
    assert_eq!(house.policies("bob_apono").await.unwrap(), ["own"]);
    assert_eq!(house.tags("bob_apono").await, []);

    // Somebody takes the mark off ours: the access goes, the user stays.
    let given = house.role("deploy", "1h").unwrap();
    house.untag("alice_apono", "apono-connector").await;
    house.revoke(&given);
    assert_eq!(assume(&given, &deploy).await, denied());
    house.until_ended(&given);
    assert!(house.has_user("alice_apono").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_one_name_get_users_of_their_own() {
    let house = House::start(&[("credentials", "keys")]).await;
    let deploy = house.make_role("deploy").await;
    let ask = |who: &str| house.ask(["aws-iam-role", "deploy", "ASSUME"], who, "1h");
    let one = ask("alice@example.com").unwrap();
    let other = ask("alice@example.org").unwrap();
    assert_eq!(one.login, "alice_apono");
    assert!(other.login.starts_with("alice_") && other.login != one.login);
    house.revoke(&one);
    assert_eq!(assume(&other, &deploy).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_ours_that_no_record_backs_is_taken_away() {
    let house = House::start(&[("credentials", "keys")]).await;
    house.make_role("deploy").await;
    let given = house.role("deploy", "1h").unwrap();
    let stranger = "apono-grant-0190a4f0-0000-7000-8000-000000000001";
    house
        .copy_policy(
            "alice_apono",
            &format!("apono-grant-{}", given.grant),
            stranger,
        )
        .await;
    house
        .until("the stranger is gone", async || {
            let left = house.policies("alice_apono").await.unwrap();
            !left.iter().any(|name| name == stranger)
        })
        .await;
    let left = house.policies("alice_apono").await.unwrap();
    assert!(
        left.contains(&format!("apono-grant-{}", given.grant)),
        "{left:?}"
    );
    assert_eq!(house.state(&given), "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_kept_for_its_clean_up_period_without_any_credential() {
    let house = House::start(&[("credentials_cleanup_period_in_days", "1")]).await;
    let deploy = house.make_role("deploy").await;
    let first = house.role("deploy", "1h").unwrap();
    house.revoke(&first);
    assert!(house.keys("alice_apono").await.is_empty());
    assert!(!house.has_password("alice_apono").await);
    // Longer than a user without a period would stay.
    tokio::time::sleep(std::time::Duration::from_secs(14)).await;
    assert_eq!(
        house.policies("alice_apono").await.unwrap(),
        ["apono-until"]
    );
    let second = house.role("deploy", "1h").unwrap();
    assert_eq!(assume(&second, &deploy).await, Ok(()));
    assert_eq!(house.keys("alice_apono").await.len(), 1);
    assert!(house.has_password("alice_apono").await);
}
