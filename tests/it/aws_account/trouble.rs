//! What AWS, the network and fate do between an order and its effect.

use crate::support::account::{House, assume};
use crate::support::aws::front::Refusal;
use crate::support::aws::proxy::{Act, Rule};
use std::time::Duration;

fn throttling() -> Act {
    Act::Answer(Refusal::new("Throttling", "Rate exceeded").status(400))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_throttles_end_in_one_access_and_in_none() {
    // Users are kept, so that no clean-up makes the calls that are meant for a person's end.
    let keep = [("credentials_cleanup_period_in_days", "1")];
    let house = House::start(&keep).await;
    let deploy = house.make_role("deploy").await;
    for (number, (operation, skip, act)) in [
        ("CreateUser", 0, Act::CutAfter),
        ("CreateUser", 0, throttling()),
        ("TagUser", 0, Act::CutAfter),
        // The first is the one that ends everything of the user.
        ("PutUserPolicy", 1, Act::CutAfter),
        ("PutUserPolicy", 1, Act::CutBefore),
        ("CreateAccessKey", 0, Act::CutAfter),
        ("CreateLoginProfile", 0, Act::CutAfter),
        ("DeleteUserPolicy", 0, Act::CutAfter),
        ("DeleteUserPolicy", 0, throttling()),
        ("DeleteAccessKey", 0, Act::CutAfter),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("{operation} {act:?}");
        let sprung = house.proxy.rule(Rule::once(operation, act).after(skip));
        let who = format!("p{number}@example.com");
        let one = house.ask(["aws-iam-role", "deploy", "ASSUME"], &who, "1h");
        let one = one.unwrap_or_else(|error| panic!("{what}: {error}\n{}", house.world.logs()));
        assert_eq!(assume(&one, &deploy).await, Ok(()), "{what}");
        assert_eq!(house.keys(&one.login).await.len(), 1, "{what}");
        // The order may find the end provisional; it goes on by itself.
        drop(house.world.command(&["revoke", &one.grant]));
        house
            .world
            .until(&format!("{what}: the access is gone"), |_| {
                let state = house.state(&one);
                state == "closed" || state == "ended"
            });
        assert!(assume(&one, &deploy).await.is_err(), "{what}");
        assert_eq!(sprung.times(), 1, "{what}");
        assert!(house.keys(&one.login).await.is_empty(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_lands_after_the_end_is_taken_away_before_the_grant_is_closed() {
    let house = House::start_landing(&[], 20).await;
    house.make_role("deploy").await;
    let held = house
        .proxy
        .rule(Rule::once("PutUserPolicy", Act::Hold).after(1));
    let grant = house.ask_and_leave("aws-iam-role", "deploy", "ASSUME");
    held.until_times(1).await;
    drop(house.world.command(&["revoke", &grant, "--wait", "1s"]));
    house.world.until("the end is under way", |world| {
        world.seen(&grant)["state"] == "ending"
    });
    // The connector gives up waiting for the answer after 15 s.
    tokio::time::sleep(Duration::from_secs(17)).await;
    held.release();
    held.until_said(1).await;
    let policy = format!("apono-grant-{grant}");
    let landed = house.policies("alice_apono").await.unwrap();
    assert!(landed.contains(&policy), "{landed:?}");
    assert_eq!(house.world.seen(&grant)["state"], "ending");
    house.world.until("the grant is closed", |world| {
        let state = world.seen(&grant)["state"].clone();
        state == "closed" || state == "ended"
    });
    let left = house.policies("alice_apono").await.unwrap_or_default();
    assert!(!left.contains(&policy), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_within_a_start_leaves_nothing_that_nobody_counts() {
    let mut house = House::start(&[]).await;
    house.make_role("deploy").await;
    // Dies with the policy written and the key not made.
    let held = house.proxy.rule(Rule::once("CreateAccessKey", Act::Hold));
    let grant = house.ask_and_leave("aws-iam-role", "deploy", "ASSUME");
    held.until_times(1).await;
    house.world.kill_connector();
    held.release_all();
    held.until_said(1).await;
    std::fs::remove_dir_all(house.world.path("state")).unwrap();
    house.begin();
    house.world.command(&["revoke", &grant]).unwrap_or_default();
    house.world.until("the grant is over", |world| {
        world.seen(&grant)["state"] == "ended" || world.seen(&grant)["state"] == "failed"
    });
    house
        .until("its user is gone", async || {
            !house.has_user("alice_apono").await
        })
        .await;
}
