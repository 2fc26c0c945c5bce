//! Access within one AWS account: real processes, the real SDK, and an emulator that checks signatures and evaluates policies, `aws:CurrentTime`
//! among their conditions. What a person can do is tried with the key the person got.

mod kinds;
mod people;
mod refusals;
mod trouble;

use crate::support::account::{House, assume, denied};
use apono_connector::targets::RecordedGrant;
use std::fs;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_can_be_assumed_until_its_grant_ends_and_another_grant_is_not_disturbed() {
    let house = House::start(&[]).await;
    let deploy = house.make_role("deploy").await;
    let audit = house.make_role("audit").await;
    let first = house.role("deploy", "1h").unwrap();
    assert_eq!(first.login, "alice_apono");
    assert_eq!(assume(&first, &deploy).await, Ok(()));
    assert_eq!(assume(&first, &audit).await, denied());
    let config = first.detail("aws_config");
    let profile = format!("[profile apono-deploy]\nrole_arn = {deploy}\nsource_profile = apono\n");
    assert!(config.starts_with(&profile), "{config}");
    assert_eq!(first.detail("residual_session"), "PT1H");
    assert!(first.detail("console_url").contains(&house.account));
    assert!(first.answer["password"].as_str().unwrap().len() >= 32);

    let second = house.role("audit", "1h").unwrap();
    assert_eq!(second.answer["credential"], "unchanged");
    assert_eq!(assume(&first, &audit).await, Ok(()));
    house.revoke(&first);
    assert_eq!(assume(&first, &deploy).await, denied());
    assert_eq!(assume(&first, &audit).await, Ok(()));
    house.revoke(&second);
    let refused = assume(&first, &audit).await;
    assert!(refused.is_err());
    assert_ne!(refused, denied(), "the key is gone, not only its rights");
    house.until_ended(&first);
    house.until_ended(&second);
    assert!(!house.has_user("alice_apono").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_itself_ends_a_grant_while_nothing_of_ours_runs() {
    let mut house = House::start(&[]).await;
    let deploy = house.make_role("deploy").await;
    let given = house.role("deploy", "25s").unwrap();
    assert_eq!(assume(&given, &deploy).await, Ok(()));
    house.world.kill_connector();
    tokio::time::sleep(Duration::from_secs(26)).await;
    assert_eq!(assume(&given, &deploy).await, denied());
    let policies = house.policies("alice_apono").await.unwrap();
    assert!(policies.contains(&format!("apono-grant-{}", given.grant)));
    // A new process without memory finds it all on the user.
    fs::remove_dir_all(house.world.path("state")).unwrap();
    house.begin();
    house.until_ended(&given);
    assert!(!house.has_user("alice_apono").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_can_be_extended_and_its_policy_ends_at_the_new_end() {
    let house = House::start(&[]).await;
    let deploy = house.make_role("deploy").await;
    let given = house.role("deploy", "25s").unwrap();
    let extend = ["extend", given.grant.as_str(), "--for", "1h"];
    house.world.command(&extend).unwrap();
    tokio::time::sleep(Duration::from_secs(26)).await;
    assert_eq!(assume(&given, &deploy).await, Ok(()));
    assert_eq!(house.state(&given), "active");
    house.revoke(&given);
    assert!(assume(&given, &deploy).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_users_of_an_account_are_the_record_of_its_grants() {
    let house = House::start(&[]).await;
    house.make_role("deploy").await;
    house.make_role("audit").await;
    let given = [
        house.role("deploy", "1h").unwrap(),
        house.role("audit", "2h").unwrap(),
    ];
    house.revoke(&given[0]);
    // A target that knows nothing but its settings.
    let target = house.target();
    let mut recorded = target.recorded().await.unwrap();
    recorded.sort_by_key(|entry| entry.grant.id);
    let [ended, live]: [RecordedGrant; 2] = recorded.try_into().unwrap();
    for (entry, given) in [(&ended, &given[0]), (&live, &given[1])] {
        let seen = house.world.seen(&given.grant);
        assert_eq!(entry.grant.id.to_string(), given.grant);
        assert_eq!(entry.grant.principal.as_str(), "alice@example.com");
        assert_eq!(entry.login, "alice_apono");
        assert_eq!(entry.grant.permission.as_str(), "ASSUME");
        let expiry: jiff::Timestamp = seen["grant"]["expiry"].as_str().unwrap().parse().unwrap();
        assert_eq!(entry.grant.expiry, expiry);
    }
    assert_eq!(live.grant.resource.name(), "audit");
    assert!(live.ended.is_none() && !live.undecided && live.started_at.is_some());
    assert!(ended.ended.is_some() && ended.closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_credential_is_made_anew_and_the_old_one_is_gone() {
    let house = House::start(&[]).await;
    let deploy = house.make_role("deploy").await;
    let given = house.role("deploy", "1h").unwrap();
    let again = house.reset(&given);
    assert_eq!(assume(&again, &deploy).await, Ok(()));
    assert!(assume(&given, &deploy).await.is_err());
    assert_ne!(given.answer["password"], again.answer["password"]);
    assert_eq!(house.keys("alice_apono").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_emulator_of_iam_takes_the_same_calls_and_shows_the_same_record() {
    let house = House::start_on_moto().await;
    house.make_role("deploy").await;
    let arn = house.make_policy("large", "iam:ListUsers", 1900).await;
    let role = house.role("deploy", "1h").unwrap();
    let alice = "alice@example.com";
    let policy = house.ask(["aws-iam-policy", &arn, "ATTACH"], alice, "1h");
    let policy = policy.unwrap();
    assert_eq!(house.attached("alice_apono").await, [arn]);
    assert_eq!(house.keys("alice_apono").await.len(), 1);
    let name = format!("apono-grant-{}", role.grant);
    let document = house.document("alice_apono", &name).await;
    let end = &document["Statement"]["Condition"]["DateLessThan"]["aws:CurrentTime"];
    let expiry = house.world.seen(&role.grant)["grant"]["expiry"].clone();
    let (end, expiry) = (end.as_str().unwrap(), expiry.as_str().unwrap());
    assert_eq!(end[..19], expiry[..19]);
    house.revoke(&policy);
    assert!(house.attached("alice_apono").await.is_empty());
    house.revoke(&role);
    assert!(house.keys("alice_apono").await.is_empty());
    house.until_ended(&role);
    house.until_ended(&policy);
    assert!(!house.has_user("alice_apono").await);
}
