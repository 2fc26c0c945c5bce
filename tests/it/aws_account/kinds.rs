//! What can be granted in an account, and that it can be used before the end and not after.

use crate::support::account::{Given, House, assume, denied, list_users, s3};

const ALICE: &str = "alice@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_can_be_used_at_each_level_and_no_further() {
    let house = House::start(&[("credentials", "keys")]).await;
    let bucket = format!("logs-{}", house.account);
    let object = format!("/{bucket}/object");
    let policy = format!("/{bucket}?policy=");
    house.make_bucket(&bucket).await;
    let (list, other) = (format!("/{bucket}?list-type=2"), "/");
    for (level, may_write) in [("READ_ONLY", false), ("READ_WRITE", true), ("ADMIN", true)] {
        let who = format!("{}@example.com", level.to_lowercase());
        let given = house.ask(["aws-s3-bucket", &bucket, level], &who, "1h");
        let given: Given = given.unwrap();
        assert_eq!(given.answer["password"], serde_json::Value::Null);
        let key = given.key();
        assert_eq!(s3(&key, "GET", &list).await, 200, "{level}");
        let written = s3(&key, "PUT", &object).await;
        assert_eq!(written, if may_write { 200 } else { 403 }, "{level}");
        assert_eq!(s3(&key, "PUT", &policy).await, 403, "{level}");
        assert_eq!(s3(&key, "GET", other).await, 403, "{level}");
        house.revoke(&given);
        assert_eq!(s3(&key, "GET", &list).await, 403, "{level}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_policy_is_copied_with_an_end_and_attached_where_it_does_not_fit() {
    let house = House::start(&[("credentials", "keys")]).await;
    let role = house.make_role("deploy").await;
    let kept = house.role("deploy", "2h").unwrap();
    let small = house.make_policy("small", "iam:ListUsers", 10).await;
    let large = house.make_policy("large", "iam:ListUsers", 1900).await;
    let mut seen = Vec::new();
    for arn in [&small, &large] {
        assert_eq!(list_users(&kept).await, denied());
        let given = house.ask(["aws-iam-policy", arn, "ATTACH"], ALICE, "1h");
        let given = given.unwrap();
        assert_eq!(list_users(&kept).await, Ok(()));
        seen.push(given.detail("ends_by_itself").to_owned());
        if *arn == large {
            assert_eq!(
                house.attached("alice_apono").await,
                std::slice::from_ref(&large)
            );
        } else {
            let policy = format!("apono-grant-{}", given.grant);
            let document = house.document("alice_apono", &policy).await.to_string();
            assert!(document.contains("aws:CurrentTime"), "{document}");
            assert_eq!(
                given.detail("copy_of_version"),
                "v1; later versions do not reach this grant"
            );
        }
        house.revoke(&given);
        assert_eq!(list_users(&kept).await, denied());
        assert_eq!(assume(&kept, &role).await, Ok(()));
    }
    assert!(
        seen[0].starts_with("AWS itself refuses it from "),
        "{seen:?}"
    );
    assert!(
        seen[1].starts_with("attached as it is: too large"),
        "{seen:?}"
    );
    assert!(house.attached("alice_apono").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_end_of_its_own_ends_with_the_last_grant_of_its_user_by_aws_itself() {
    let mut house = House::start(&[("credentials", "keys")]).await;
    house.make_group("ops", "iam:ListUsers").await;
    let given = house.ask(["aws-iam-group", "ops", "MEMBER"], ALICE, "25s");
    let given = given.unwrap();
    assert_eq!(list_users(&given).await, Ok(()));
    assert!(given.detail("ends_by_itself").starts_with("by membership"));
    house.world.kill_connector();
    tokio::time::sleep(std::time::Duration::from_secs(26)).await;
    assert_eq!(house.groups("alice_apono").await, ["ops"]);
    assert_eq!(list_users(&given).await, denied());
    house.begin();
    house.until_ended(&given);
    assert!(!house.has_user("alice_apono").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_grants_of_one_group_end_it_with_the_last() {
    let house = House::start(&[("credentials", "keys")]).await;
    house.make_group("ops", "iam:ListUsers").await;
    let ask = || house.ask(["aws-iam-group", "ops", "MEMBER"], ALICE, "1h");
    let (first, second) = (ask().unwrap(), ask().unwrap());
    house.revoke(&first);
    assert_eq!(list_users(&first).await, Ok(()));
    house.revoke(&second);
    assert!(list_users(&first).await.is_err());
    assert!(house.groups("alice_apono").await.is_empty());
}
