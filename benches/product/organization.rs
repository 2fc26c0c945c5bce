//! Measures the inventory of a large organization, played by the strict front of the tests: requests, and the memory of a process that does
//! nothing but walk.

use crate::support::aws::front::{
    Account, Front, Group, Knobs, MANAGEMENT, Name, Organization, PermissionSet, REGION, User,
};
use crate::{figure, machine};
use apono_connector::aws::budget::{Budgets, Limits};
use apono_connector::aws::{Chain, Sessions, SessionsOptions};
use apono_connector::clock::SystemClock;
use apono_connector::domain::{ConnectorId, IntegrationId};
use apono_connector::inventory::{
    AwsOrganization, InventoryItem, OrganizationListing, RecordSender, Source,
};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use std::collections::HashSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Measures of organizations by name and number of accounts; taken only when asked for by their whole names.
pub(crate) const SIZES: &[(&str, u64)] = &[
    ("organization-200-accounts", 200),
    ("organization-2000-accounts", 2_000),
];
/// The argument with which this program walks instead of measuring; the address of the front and a key follow.
const WALK: &str = "walk-organization";
const SETS: u64 = 40;
const USERS: u64 = 5_000;
/// Time is not what is measured, so nothing waits for its turn.
const AT_ONCE: Limits = Limits {
    requests_per_second: 1_000_000,
    assignments: 15,
    provisionings: 3,
};

pub(crate) async fn measure(name: &str, accounts: u64) {
    let begun = Instant::now();
    let front = Front::start(organization(accounts)).await;
    let key = front.key(MANAGEMENT);
    let (url, access, secret) = (
        front.url(),
        key.access_key_id().to_owned(),
        key.secret_access_key().to_owned(),
    );
    let walked = tokio::task::spawn_blocking(move || {
        let this = std::env::current_exe().unwrap();
        let walk = Command::new(this)
            .args([WALK, &url, &access, &secret])
            .stderr(Stdio::inherit())
            .output();
        let output = walk.unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    });
    let walked = walked.await.unwrap();
    let numbers: Vec<f64> = walked
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let [before, most, records] = numbers[..] else {
        panic!("{walked}");
    };
    let requests = front.calls().len();
    figure::alone(
        &format!("{name}-memory"),
        &format!(
            "grew by {} MiB at its most, from {} MiB before the walk to {} MiB (VmHWM)",
            figure::short(most - before),
            figure::short(before),
            figure::short(most)
        ),
    );
    figure::alone(&format!("{name}-requests"), &format!("{requests} requests"));
    figure::behind(
        name,
        &format!(
            "{accounts} accounts x {SETS} permission sets, {USERS} users, {records} records, took {:.0} s without any pace; at the pace of AWS {:.0} min",
            begun.elapsed().as_secs_f64(),
            requests as f64 / 15.0 * 1.05 / 60.0
        ),
    );
    assert!(most - before < 64.0, "{most} MiB");
}

fn organization(accounts: u64) -> Organization {
    let mut organization = Organization::new().knobs(Knobs::quick());
    for set in 0..SETS {
        organization = organization.permission_set(PermissionSet::new(&format!("set-{set:02}")));
    }
    for user in 0..USERS {
        let name = format!("user-{user:05}@example.com");
        organization = organization.user(User::new(&name).email(&name));
    }
    organization = organization.group(Group::new("everybody").member("user-00000@example.com"));
    for nth in 0..accounts {
        let id = (500_000_000_000 + nth).to_string();
        let unit = format!("unit-{}/team-{}", nth % 10, nth % 100);
        organization = organization.account(Account::new(&id).within(&unit).tag("owner", "team"));
        for set in 0..SETS {
            let user = format!("user-{:05}@example.com", (nth * SETS + set) % USERS);
            let set = format!("set-{set:02}");
            organization = organization
                .assigned(&id, &set, Name::user(&user))
                .assigned(&id, &set, Name::group("everybody"));
        }
    }
    organization
}

/// Walks if that is what this process was started for.
pub(crate) async fn walk_if_asked() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, url, access, secret] = arguments.as_slice() else {
        return false;
    };
    if what != WALK {
        return false;
    }
    let key = Credentials::new(access, secret, None, None, "bench");
    let source = AwsOrganization::new(OrganizationListing {
        integration: IntegrationId::generate(),
        chain: Chain {
            region: REGION.to_owned(),
            hops: Vec::new(),
        },
        excluded: [].into(),
        sessions: Sessions::new(SessionsOptions {
            connector: ConnectorId::parse("bench").unwrap(),
            profile: None,
            clock: Arc::new(SystemClock),
            base: Some(SharedCredentialsProvider::new(key)),
            endpoint_url: Some(url.clone()),
        }),
        budgets: Budgets::new(AT_ONCE),
        given: Arc::new(HashSet::new),
        members: None,
    })
    .unpaced();
    let (before, _) = machine::memory(std::process::id());
    let (sender, mut receiver) = mpsc::channel::<InventoryItem>(256);
    let take = async {
        let mut records = 0;
        while let Some(item) = receiver.recv().await {
            assert!(!matches!(item, InventoryItem::Unseen(_)), "{item:?}");
            records += 1;
        }
        records
    };
    let (ended, records) = tokio::join!(source.walk(RecordSender::new(sender)), take);
    ended.unwrap();
    let (_, most) = machine::memory(std::process::id());
    println!("{before} {most} {records}");
    true
}
