//! Orders that come too late, and processes that die between an order and its result.

use super::{alice, organization};
use crate::support::aws::front::{Account, Fault, Knobs, Name, Organization, PermissionSet, User};
use crate::support::aws::proxy::{Act, Proxy, Rule};
use crate::support::realm::Realm;
use std::fs;
use std::time::{Duration, Instant};

const CREATE: &str = "CreateAccountAssignment";

fn account(number: usize) -> String {
    format!("{:012}", 400_000_000_000_usize + number)
}

fn with_accounts(count: usize) -> Organization {
    (0..count).fold(organization(), |organization, number| {
        organization.account(Account::new(&account(number)))
    })
}

/// Asks for the same set in many accounts at once, and returns when every request was made.
fn ask_all(realm: &Realm, accounts: &[String], lasts: &str) {
    std::thread::scope(|scope| {
        for account in accounts {
            scope.spawn(|| realm.ask(account, "ReadOnly", "alice@example.com", lasts));
        }
    });
}

/// How long a signature is taken here: longer than the connector waits for an answer, so that an order can land after the look that found
/// nothing.
const SIGNATURE_AGE: Duration = Duration::from_secs(40);
/// When the first half is let go: after the connector gave up waiting, which it does after 20 s.
const FIRST_RELEASE: Duration = Duration::from_secs(28);

/// Orders that were signed are held back on their way until the grant is over; half of them arrive while AWS still takes them, half after.
async fn late_starts(count: usize) {
    let accounts: Vec<String> = (0..count).map(account).collect();
    let organization = with_accounts(count).knobs(Knobs {
        signature_age: SIGNATURE_AGE,
        ..Knobs::quick()
    });
    let landing_s = SIGNATURE_AGE.as_secs();
    let mut realm = Realm::prepare_landing(organization, &[], landing_s).await;
    let proxy = Proxy::before(realm.front.port).await;
    realm.go_through(&proxy.url());
    realm.begin();
    let held = proxy.rule(Rule::once(CREATE, Act::Hold).times(count));
    ask_all(&realm, &accounts, "10s");
    realm
        .world
        .until("every order is held back", |_| held.times() >= count);
    let signed = Instant::now();
    tokio::time::sleep(FIRST_RELEASE).await;
    assert!(
        realm
            .listed()
            .iter()
            .all(|grant| grant["state"] == "ending")
    );
    for _ in 0..count / 2 {
        held.release();
    }
    let expired = signed + SIGNATURE_AGE + Duration::from_secs(2);
    tokio::time::sleep(expired.saturating_duration_since(Instant::now())).await;
    held.release_all();
    held.until_said(count).await;
    realm.world.until("every grant is closed", |_| {
        let closed = |state: &serde_json::Value| state == "closed" || state == "ended";
        realm.listed().iter().all(|grant| closed(&grant["state"]))
    });
    // What is closed stays closed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(realm.front.assignments(), Vec::new());
    let said = held.said();
    let landed = said.iter().filter(|(status, _)| *status == 200).count();
    println!(
        "{count} orders were held back; {landed} landed after their grant's end and were undone before it was closed"
    );
    assert_eq!(landed, count / 2, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_lands_after_the_end_is_undone_before_the_grant_is_closed() {
    late_starts(6).await;
}

#[cfg(feature = "at-length")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_orders_that_land_after_their_end_are_undone() {
    for _ in 0..17 {
        late_starts(6).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_at_once_all_find_a_permission_set_that_one_of_them_just_read() {
    let organization = (0..20).fold(with_accounts(6), |organization, number| {
        organization.permission_set(PermissionSet::new(&format!("Other{number}")))
    });
    let realm = Realm::start(organization, &[]).await;
    let accounts: Vec<String> = (0..6).map(account).collect();
    ask_all(&realm, &accounts, "1h");
    realm.world.until("every grant is active", |_| {
        let grants = realm.listed();
        grants.len() == 6 && grants.iter().all(|grant| grant["state"] == "active")
    });
    assert_eq!(realm.front.assignments().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_whose_user_was_made_anew_gives_up_and_takes_away_what_the_first_try_made() {
    let mut realm = Realm::start(with_accounts(1), &[]).await;
    let accounts = [account(0)];
    let slow = Fault::Takes(Duration::from_millis(1500));
    let _fired = realm.front.fault(CREATE, 0, 1, slow);
    ask_all(&realm, &accounts, "16s");
    realm.world.until("the order is under way", |_| {
        realm.front.calls_of(CREATE).len() == 1
    });
    realm.world.kill_connector();
    realm.world.until("the order has its effect", |_| {
        realm.front.assignments().len() == 1
    });
    realm.front.remove_user("alice");
    realm
        .front
        .add_user(User::new("alice").email("alice@example.com"));
    realm.begin();
    realm.world.until("the grant is over", |_| {
        let over = |state: &serde_json::Value| state == "ended" || state == "failed";
        realm.listed().iter().all(|grant| over(&grant["state"]))
    });
    assert_eq!(realm.front.assignments(), Vec::new());
    assert_eq!(realm.front.calls_of(CREATE).len(), 1);
}

/// Kills the process while orders run, with the same disk or an empty one, and looks until everything is over.
async fn kills(rounds: usize, at_once: usize) {
    let mut organization = with_accounts(rounds * at_once);
    for number in 0..rounds * at_once {
        // Stands before, and must stand afterwards.
        organization = organization.assigned(&account(number), "ReadOnly", Name::user("bob"));
    }
    let mut realm = Realm::start(organization, &[]).await;
    for round in 0..rounds {
        // A lane of its own each: a start whose holder is gone keeps its account until its lease is over.
        let accounts: Vec<String> = (round * at_once..(round + 1) * at_once)
            .map(account)
            .collect();
        let before = realm.front.calls_of(CREATE).len();
        let slow = Fault::Takes(Duration::from_millis(1500));
        let _fired = realm.front.fault(CREATE, 0, at_once, slow);
        ask_all(&realm, &accounts, "16s");
        let kill_after = 1 + round % at_once;
        realm.world.until("orders are under way", |_| {
            realm.front.calls_of(CREATE).len() >= before + kill_after
        });
        realm.world.kill_connector();
        if round % 2 == 1 {
            fs::remove_dir_all(realm.world.path("state")).unwrap();
        }
        realm.begin();
        realm.world.until("every grant is over", |_| {
            let over = |state: &serde_json::Value| state == "ended" || state == "failed";
            realm.listed().iter().all(|grant| over(&grant["state"]))
        });
        for account in &accounts {
            assert!(
                !realm.front.is_assigned(account, "ReadOnly", &alice()),
                "round {round}"
            );
            assert!(
                realm
                    .front
                    .is_assigned(account, "ReadOnly", &Name::user("bob"))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_between_order_and_result_leaves_nothing_behind() {
    kills(2, 4).await;
}

#[cfg(feature = "at-length")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_orders_whose_process_dies_before_the_result_leave_nothing_behind() {
    kills(25, 4).await;
}
