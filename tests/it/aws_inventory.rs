//! The inventory of an organization: what is listed, what is left out, and how a walk gets past the troubles of single accounts and calls.

use crate::support::aws::front::{
    Account, Fault, Front, Group, Knobs, MANAGEMENT, Name, Organization, PermissionSet, REGION,
    Refusal, Role, State, User,
};
use crate::support::cluster::{Cluster, Version};
use crate::support::world::World;
use apono_connector::aws::budget::{Budgets, Limits};
use apono_connector::aws::{Chain, Sessions, SessionsOptions};
use apono_connector::clock::SystemClock;
use apono_connector::domain::{
    AccessRecord, ConnectorId, ErrorClass, IntegrationId, InventoryRecord, Permission,
    RecordStatus, ResourceKind,
};
use apono_connector::inventory::{
    Assignment, AwsOrganization, InventoryItem, OrganizationListing, RecordSender, Source,
    SourceError,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

const SHOP: &str = "222222222222";
const BANK: &str = "333333333333";
const LAB: &str = "444444444444";

/// More than any walk of a test needs.
const PLENTY: Limits = Limits {
    requests_per_second: 2_000,
    assignments: 15,
    provisionings: 3,
};

/// What a test lists of a front, with nothing given and nothing excluded.
pub(crate) fn listing(front: &Front, integration: IntegrationId) -> OrganizationListing {
    let base = SharedCredentialsProvider::new(front.key(MANAGEMENT));
    OrganizationListing {
        integration,
        chain: Chain {
            region: REGION.to_owned(),
            hops: Vec::new(),
        },
        excluded: BTreeSet::new(),
        declared: Vec::new(),
        made_mark: "apono-connector",
        sessions: Sessions::new(SessionsOptions {
            connector: ConnectorId::parse("test-connector").unwrap(),
            profile: None,
            clock: Arc::new(SystemClock),
            base: Some(base),
            endpoint_url: Some(front.url()),
        }),
        budgets: Budgets::new(PLENTY),
        given: Arc::new(HashSet::new),
        members: None,
    }
}

fn of(front: &Front) -> OrganizationListing {
    let integration = IntegrationId::parse("018f0000-0000-7000-8000-000000000001").unwrap();
    listing(front, integration)
}

#[tokio::test]
async fn declared_permissions_come_with_every_account_and_sets_made_for_grants_with_none() {
    let made = PermissionSet::new("Auditor-abcdefghij").tag("apono-connector", "some");
    let organization = Organization::new()
        .permission_set(PermissionSet::new("ReadOnly"))
        .permission_set(made);
    let front = Front::start(organization).await;
    let mut listing = of(&front);
    listing.declared = vec![Permission::parse("Auditor").unwrap()];
    let (items, ended) = walk(&AwsOrganization::new(listing).unpaced()).await;
    ended.unwrap();
    let records = |kind| {
        let records = items.iter().filter_map(move |item| {
            let InventoryItem::Resource(record) = item else {
                return None;
            };
            (record.kind == kind).then_some(record)
        });
        records.collect::<Vec<_>>()
    };
    let sets = records(ResourceKind::AwsPermissionSet);
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].name, "ReadOnly");
    let accounts = records(ResourceKind::AwsOrganizationAccount);
    assert_eq!(accounts[0].permissions[0].as_str(), "Auditor");
}

async fn walk(source: &AwsOrganization) -> (Vec<InventoryItem>, Result<u64, SourceError>) {
    let (sender, mut receiver) = mpsc::channel::<InventoryItem>(1);
    let take = async {
        let mut items = Vec::new();
        while let Some(item) = receiver.recv().await {
            items.push(item);
        }
        items
    };
    let (ended, items) = tokio::join!(source.walk(RecordSender::new(sender)), take);
    (items, ended)
}

/// Walks to the end.
async fn list(source: AwsOrganization) -> Vec<InventoryItem> {
    let (mut items, ended) = walk(&source).await;
    let sent = ended.unwrap();
    assert_eq!(items.pop(), Some(InventoryItem::Complete));
    let unseen = |item: &&InventoryItem| matches!(item, InventoryItem::Unseen(_));
    let told = items.iter().filter(unseen).count();
    assert_eq!(sent, (items.len() - told) as u64);
    items
}

fn resources(items: &[InventoryItem], kind: ResourceKind) -> Vec<&InventoryRecord> {
    let records = items.iter().filter_map(|item| match item {
        InventoryItem::Resource(record) => Some(&**record).filter(|record| record.kind == kind),
        InventoryItem::Access(_) | InventoryItem::Unseen(_) | InventoryItem::Complete => None,
    });
    let mut records: Vec<_> = records.collect();
    records.sort_by(|one, other| one.path.cmp(&other.path));
    records
}

fn access(items: &[InventoryItem]) -> Vec<String> {
    let mut lines: Vec<String> = items
        .iter()
        .filter_map(|item| match item {
            InventoryItem::Access(record) => Some(access_line(record)),
            InventoryItem::Resource(_) | InventoryItem::Unseen(_) | InventoryItem::Complete => None,
        })
        .collect();
    lines.sort();
    lines
}

fn access_line(record: &AccessRecord) -> String {
    assert_eq!(record.kind, ResourceKind::AwsOrganizationAccount);
    assert!(record.may_pass_on.is_empty());
    format!(
        "{} {} {}",
        record.path.join("/"),
        record.holder.as_deref().unwrap(),
        record.privileges.join(" ")
    )
}

fn paths(items: &[InventoryItem], kind: ResourceKind) -> Vec<String> {
    let records = resources(items, kind);
    records.iter().map(|record| record.path.join("/")).collect()
}

/// Everything about a record but its id, in one line.
fn told(record: &InventoryRecord) -> String {
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        let pairs: Vec<String> = map
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        pairs.join("; ")
    };
    let status = match &record.status {
        RecordStatus::Active => "active",
        RecordStatus::Error(reason) => reason,
    };
    format!(
        "{} `{}` [{}] {{{}}} {} {status}",
        record.path.join("/"),
        record.name,
        pairs(&record.tags),
        pairs(&record.context),
        record.comment.as_deref().unwrap_or("-"),
    )
}

fn told_of(items: &[InventoryItem], kind: ResourceKind) -> String {
    let lines: Vec<String> = resources(items, kind).into_iter().map(told).collect();
    lines.join("\n")
}

/// Two accounts in units and one that is suspended, hostile names, somebody who is gone.
fn organization() -> Organization {
    Organization::new()
        .account(
            Account::new(SHOP)
                .named("shop")
                .within("Prod/Payments")
                .tag("owner", "team-shop")
                .tag("cost/centre", "+=,.@-"),
        )
        .account(Account::new(BANK).named("bank").within("Prod"))
        .account(
            Account::new(LAB)
                .named("lab")
                .within("Sandbox")
                .state(State::Suspended),
        )
        .user(User::new("alice").email("alice@example.com"))
        .user(User::new("a/+=,.@-b").email("both@example.com"))
        .user(User::new("twin").email("both@example.com"))
        .user(User::new("nobody").disabled())
        .user(User::new("leaver"))
        .group(Group::new("dbas +=,.@-/").member("alice").member("twin"))
        .group(Group::new("empty"))
        .permission_set(
            PermissionSet::new("Read+=,.@-Only")
                .description("look only")
                .session("PT2H")
                .managed("arn:aws:iam::aws:policy/ReadOnlyAccess")
                .managed("arn:aws:iam::aws:policy/Billing")
                .customer("/team/", "limits")
                .inline(r#"{ "Version": "2012-10-17",  "Statement": [] }"#)
                .tag("apono", "no"),
        )
        .permission_set(PermissionSet::new("Admin"))
        .assigned(SHOP, "Read+=,.@-Only", Name::user("alice"))
        .assigned(SHOP, "Admin", Name::user("alice"))
        .assigned(SHOP, "Admin", Name::group("dbas +=,.@-/"))
        .assigned(BANK, "Admin", Name::user("leaver"))
        .assigned(BANK, "Admin", Name::user("a/+=,.@-b"))
        .knobs(Knobs::quick())
}

#[tokio::test]
async fn a_whole_organization_is_listed_with_what_is_known_of_each_thing() {
    let front = Front::start(organization()).await;
    let gone = front.id_of(&Name::user("leaver"));
    front.remove_user("leaver");
    let items = list(AwsOrganization::new(of(&front)).unpaced()).await;
    let [prod, payments, sandbox] =
        ["Prod", "Prod/Payments", "Sandbox"].map(|at| front.unit_id(at));
    let accounts = told_of(&items, ResourceKind::AwsOrganizationAccount)
        .replace(&prod, "ou-PROD")
        .replace(&payments, "ou-PAYMENTS")
        .replace(&sandbox, "ou-SANDBOX");
    insta::assert_snapshot!(accounts, @r"
    111111111111 `management` [] {state=ACTIVE} - active
    222222222222 `shop` [cost/centre=+=,.@-; owner=team-shop] {ou_ids=ou-PROD/ou-PAYMENTS; ou_path=Prod/Payments; state=ACTIVE} - active
    333333333333 `bank` [] {ou_ids=ou-PROD; ou_path=Prod; state=ACTIVE} - active
    444444444444 `lab` [] {ou_ids=ou-SANDBOX; ou_path=Sandbox; state=SUSPENDED} - the account is SUSPENDED, access is given only in active accounts: reactivate it
    ");
    insta::assert_snapshot!(told_of(&items, ResourceKind::AwsPermissionSet), @r#"
    Admin `Admin` [] {session_duration=PT1H} - active
    Read+=,.@-Only `Read+=,.@-Only` [apono=no] {customer_managed_policies=/team/limits; inline_policy={"Statement":[],"Version":"2012-10-17"}; inline_policy_sha256=a48803b796029b4ad945f4aec0d1641ad8dcabcb95df2ec87594ffcb95d0eeb8; managed_policies=arn:aws:iam::aws:policy/Billing arn:aws:iam::aws:policy/ReadOnlyAccess; session_duration=PT2H} look only active
    "#);
    insta::assert_snapshot!(told_of(&items, ResourceKind::AwsIdentityUser), @r"
    a/+=,.@-b `a/+=,.@-b` [] {display_name=a/+=,.@-b; email=both@example.com; user_status=ENABLED} - active
    alice `alice` [] {display_name=alice; email=alice@example.com; user_status=ENABLED} - active
    nobody `nobody` [] {display_name=nobody; user_status=DISABLED} - the user is disabled, so nothing can be given to it: enable it in the identity store
    twin `twin` [] {display_name=twin; email=both@example.com; user_status=ENABLED} - active
    ");
    insta::assert_snapshot!(told_of(&items, ResourceKind::AwsIdentityGroup), @r"
    dbas +=,.@-/ `dbas +=,.@-/` [] {member_names=user:alice user:twin; members=2} - active
    empty `empty` [] {members=0} - active
    ");
    insta::assert_snapshot!(access(&items).join("\n").replace(&gone, "ID-OF-LEAVER"), @r"
    222222222222 group:dbas +=,.@-/ Admin
    222222222222 user:alice Admin Read+=,.@-Only
    333333333333 ID-OF-LEAVER Admin
    333333333333 user:a/+=,.@-b Admin
    ");
    let units = resources(&items, ResourceKind::AwsOrganizationalUnit);
    let mut names: Vec<_> = units
        .iter()
        .map(|unit| unit.context["ou_path"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["Prod", "Prod/Payments", "Sandbox"]);
    let payments = units.iter().find(|unit| unit.path == [payments.clone()]);
    assert_eq!(payments.unwrap().context["parent"], prod);
    let ids: HashSet<_> = items
        .iter()
        .filter_map(|item| match item {
            InventoryItem::Resource(record) => Some(record.id),
            InventoryItem::Access(record) => Some(record.id),
            InventoryItem::Unseen(_) | InventoryItem::Complete => None,
        })
        .collect();
    assert_eq!(ids.len(), items.len());
    assert!(front.calls().iter().all(|call| {
        call.refused
            .as_deref()
            .is_none_or(|code| code == "ResourceNotFoundException")
    }));
}

#[tokio::test]
async fn excluded_units_are_left_out_with_all_below_them() {
    let front = Front::start(organization()).await;
    let mut by_asking = Vec::new();
    for shown in [true, false] {
        front.turn(|knobs| knobs.account_paths_shown = shown);
        let mut listing = of(&front);
        listing.excluded = [front.unit_id("Prod")].into();
        let items = list(AwsOrganization::new(listing).unpaced()).await;
        assert_eq!(
            paths(&items, ResourceKind::AwsOrganizationAccount),
            [MANAGEMENT, LAB]
        );
        assert_eq!(
            paths(&items, ResourceKind::AwsOrganizationalUnit),
            [front.unit_id("Sandbox")]
        );
        assert!(access(&items).is_empty());
        by_asking.push(told_of(&items, ResourceKind::AwsOrganizationAccount));
        let mut listing = of(&front);
        listing.excluded = [front.unit_id("Prod/Payments")].into();
        let items = list(AwsOrganization::new(listing).unpaced()).await;
        assert_eq!(
            paths(&items, ResourceKind::AwsOrganizationAccount),
            [MANAGEMENT, BANK, LAB]
        );
    }
    assert_eq!(by_asking[0], by_asking[1], "with paths and without");
    let asked = front.calls_of("ListAccountAssignments");
    assert!(
        asked
            .iter()
            .all(|call| call.account.as_deref() != Some(SHOP))
    );
}

fn denied() -> Fault {
    Fault::Refused(Refusal::new(
        "AccessDeniedException",
        "User: x is not authorized",
    ))
}

#[tokio::test]
async fn one_account_that_cannot_be_looked_into_is_a_warning_on_that_account_alone() {
    let front = Front::start(organization()).await;
    // The management account is looked into first, the shop next.
    let fired = front.fault("ListPermissionSetsProvisionedToAccount", 1, 1, denied());
    let items = list(AwsOrganization::new(of(&front)).unpaced()).await;
    assert_eq!(fired.times(), 1);
    let statuses: Vec<_> = resources(&items, ResourceKind::AwsOrganizationAccount)
        .into_iter()
        .map(|record| (record.path[0].clone(), record.status.clone()))
        .collect();
    let RecordStatus::Error(reason) = &statuses[1].1 else {
        panic!("{statuses:?}");
    };
    assert!(
        reason.contains("sso:ListPermissionSetsProvisionedToAccount"),
        "{reason}"
    );
    assert!(reason.contains("allow `sso:"), "{reason}");
    assert_eq!(statuses[0].1, RecordStatus::Active);
    assert_eq!(statuses[2].1, RecordStatus::Active);
    assert!(items.contains(&InventoryItem::Unseen(vec![SHOP.to_owned()])));
    let access = access(&items);
    assert_eq!(access.len(), 2, "{access:?}");
    assert!(access.iter().all(|line| line.starts_with(BANK)));
}

#[tokio::test]
async fn an_account_that_leaves_or_is_closed_during_the_walk_does_not_disturb_it() {
    let front = Arc::new(Front::start(organization()).await);
    let mut listing = of(&front);
    let (events, looked) = (Arc::clone(&front), AtomicUsize::new(0));
    listing.given = Arc::new(move || {
        // The management account is looked into, and all have been listed.
        if looked.fetch_add(1, Ordering::SeqCst) == 0 {
            events.remove_account(SHOP);
            events.set_state(BANK, State::Closed);
        }
        HashSet::new()
    });
    let items = list(AwsOrganization::new(listing).unpaced()).await;
    assert_eq!(
        paths(&items, ResourceKind::AwsOrganizationAccount),
        [MANAGEMENT, BANK, LAB]
    );
    let again = list(AwsOrganization::new(of(&front)).unpaced()).await;
    let accounts = told_of(&again, ResourceKind::AwsOrganizationAccount);
    let closed = accounts
        .lines()
        .find(|line| line.starts_with(BANK))
        .unwrap();
    assert!(closed.contains("the account is CLOSED"), "{closed}");
    assert_eq!(access(&again).len(), 2, "its assignments still stand");
}

#[tokio::test]
async fn a_throttle_slows_down_and_the_refused_page_alone_is_asked_for_again() {
    let quiet = Front::start(organization()).await;
    list(AwsOrganization::new(of(&quiet)).unpaced()).await;
    let front = Front::start(organization()).await;
    let too_many = || Fault::Refused(Refusal::new("TooManyRequestsException", "slow down"));
    let fired = [
        front.fault("ListAccounts", 0, 2, too_many()),
        front.fault("ListOrganizationalUnitsForParent", 2, 1, too_many()),
        front.fault("ListAccountAssignments", 1, 2, Fault::throttled()),
        front.fault("ListUsers", 0, 1, Fault::throttled()),
        front.fault("ListGroupMemberships", 0, 1, Fault::AnswerCut),
        front.fault("DescribePermissionSet", 1, 1, Fault::server_error()),
    ];
    let listing = of(&front);
    let budgets = listing.budgets.clone();
    let items = list(AwsOrganization::new(listing).unpaced()).await;
    assert_eq!(fired.iter().map(|one| one.times()).sum::<usize>(), 8);
    assert_eq!(access(&items).len(), 4);
    assert_eq!(
        front.calls().len(),
        quiet.calls().len() + 8,
        "nothing else was asked for twice"
    );
    let usage = budgets.of(&front.instance_arn()).usage();
    assert!(
        usage.requests_per_second < PLENTY.requests_per_second / 2 + 300,
        "the budget shared with grants was slowed down: {usage:?}"
    );
}

#[tokio::test]
async fn what_the_service_counts_is_kept_to_without_a_throttle() {
    let front = Front::start(organization()).await;
    front.turn(|knobs| {
        knobs.organizations_pace = true;
        knobs.requests_per_second = Some(20);
    });
    let mut listing = of(&front);
    listing.budgets = Budgets::default();
    let items = list(AwsOrganization::new(listing)).await;
    assert_eq!(access(&items).len(), 4);
    let refused: Vec<_> = front
        .calls()
        .into_iter()
        .filter_map(|call| call.refused)
        .filter(|code| code != "ResourceNotFoundException")
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn access_a_connector_gave_is_no_standing_access() {
    let front = Front::start(organization()).await;
    let ours = Assignment {
        account: SHOP.to_owned(),
        permission_set: front.set_arn("Admin"),
        principal: front.id_of(&Name::user("alice")),
    };
    let mut listing = of(&front);
    // Known only after the account was read, as with a start that comes in between.
    let asked = AtomicUsize::new(0);
    listing.given = Arc::new(move || {
        let late = asked.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        late.then(|| ours.clone()).into_iter().collect()
    });
    let items = list(AwsOrganization::new(listing).unpaced()).await;
    let access = access(&items);
    assert!(
        access.contains(&format!("{SHOP} user:alice Read+=,.@-Only")),
        "{access:?}"
    );
    assert!(
        access.contains(&format!("{SHOP} group:dbas +=,.@-/ Admin")),
        "{access:?}"
    );
}

#[tokio::test]
async fn a_list_that_is_denied_as_a_whole_names_the_action() {
    for (operation, action) in [
        ("ListAccounts", "organizations:ListAccounts"),
        (
            "ListOrganizationalUnitsForParent",
            "organizations:ListOrganizationalUnitsForParent",
        ),
        ("ListPermissionSets", "sso:ListPermissionSets"),
        ("ListUsers", "identitystore:ListUsers"),
        ("ListGroupMemberships", "identitystore:ListGroupMemberships"),
    ] {
        let front = Front::start(organization()).await;
        front.fault(operation, 0, 1, denied());
        let (items, ended) = walk(&AwsOrganization::new(of(&front)).unpaced()).await;
        let error = ended.unwrap_err();
        assert!(!items.contains(&InventoryItem::Complete), "{action}");
        assert_eq!(error.class(), ErrorClass::NeedsOperator);
        assert!(error.to_string().contains(action), "{error}");
        assert!(error.hint().unwrap().contains(action), "{:?}", error.hint());
    }
}

#[tokio::test]
async fn a_user_made_during_the_walk_is_shown_by_name() {
    let front = Arc::new(Front::start(organization()).await);
    let mut listing = of(&front);
    let (events, done) = (Arc::clone(&front), Mutex::new(false));
    listing.given = Arc::new(move || {
        let mut done = done.lock().unwrap();
        if !std::mem::replace(&mut *done, true) {
            events.add_user(User::new("newcomer"));
            events.assign(BANK, "Admin", &Name::user("newcomer"));
        }
        HashSet::new()
    });
    let items = list(AwsOrganization::new(listing).unpaced()).await;
    let access = access(&items);
    assert!(
        access.contains(&format!("{BANK} user:newcomer Admin")),
        "{access:?}"
    );
    assert_eq!(paths(&items, ResourceKind::AwsIdentityUser).len(), 5);
}

#[tokio::test]
async fn each_pair_of_account_and_permission_set_costs_one_request_and_no_more() {
    const ACCOUNTS: usize = 30;
    const SETS: usize = 8;
    let mut organization = Organization::new().knobs(Knobs::quick());
    for set in 0..SETS {
        organization = organization.permission_set(PermissionSet::new(&format!("set-{set}")));
    }
    organization = organization.group(Group::new("team"));
    for nth in 0..ACCOUNTS {
        let id = format!("{:012}", 500_000_000_000 + nth as u64);
        organization = organization.account(Account::new(&id).within(&format!("ou{}", nth % 3)));
        for set in 0..SETS {
            organization = organization.assigned(&id, &format!("set-{set}"), Name::group("team"));
        }
    }
    let front = Front::start(organization).await;
    let items = list(AwsOrganization::new(of(&front)).unpaced()).await;
    assert_eq!(access(&items).len(), ACCOUNTS);
    assert_eq!(
        front.calls_of("ListAccountAssignments").len(),
        ACCOUNTS * SETS
    );
    // The management account is one more.
    let per_account = front.calls_of("ListPermissionSetsProvisionedToAccount");
    assert_eq!(per_account.len(), ACCOUNTS + 1);
    assert!(front.calls_of("ListParents").is_empty());
    let all = front.calls().len();
    println!("{ACCOUNTS} accounts x {SETS} permission sets: {all} requests");
    // Tags of accounts, empty pages, and six requests for each permission set.
    assert!(
        all <= ACCOUNTS * SETS + 4 * ACCOUNTS + 8 * SETS + 40,
        "{all}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_reports_an_organization_through_its_management_role() {
    let role = Role::new(MANAGEMENT, "apono-management", MANAGEMENT).external_id("test-connector");
    let role_arn = format!("--setting=management_role_arn={}", role.arn());
    let front = Front::start(organization().role(role)).await;
    let (key, url) = (front.key(MANAGEMENT), front.url());
    let environment = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", key.access_key_id()),
        ("AWS_SECRET_ACCESS_KEY", key.secret_access_key()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let mut world = World::prepare(Cluster::shared(Version::Pg15), &environment, &[]).await;
    let excluded = format!("--setting=exclude_ou_ids={}", front.unit_id("Sandbox"));
    let mut add = vec!["integration", "add", "--connector", "test-connector"];
    add.extend(["--name", "organization", "--type", "aws-organization"]);
    let region = format!("--setting=sso_region={REGION}");
    // A role no account has.
    let member = "--setting=member_role_name=apono-member";
    add.extend([region.as_str(), &role_arn, &excluded, member]);
    world.command(&add).unwrap();
    world.start_connector();
    world.until("the organization is reported", |world| {
        let shown = world.command(&["inventory", "organization"]);
        shown.is_ok_and(|shown| shown.contains(SHOP))
    });
    let shown = world.command(&["inventory", "organization"]).unwrap();
    assert!(shown.contains(&format!("{SHOP} (shop)")), "{shown}");
    assert!(shown.contains("Read+=,.@-Only"), "{shown}");
    assert!(
        !shown.contains(LAB) && !shown.contains("Sandbox"),
        "{shown}"
    );
    world.until("what could not be looked at is a warning", |world| {
        world.integration("organization")["status"] == "warning"
    });
    let warning = world.integration("organization")["message"].to_string();
    for account in [SHOP, BANK] {
        let told = format!("databases of account {account} could not be looked at");
        assert!(warning.contains(&told), "{warning}");
    }
    let access = world.command(&["access", "organization"]).unwrap();
    let alice = access.lines().find(|line| line.starts_with("user:alice"));
    let alice = alice.unwrap();
    assert!(
        alice.contains("Admin") && alice.contains("Read+=,.@-Only") && alice.contains(SHOP),
        "{access}"
    );
    let reads = front.calls_of("ListAccountAssignments");
    assert!(
        reads
            .iter()
            .all(|call| call.caller.contains("assumed-role/apono-management")),
        "{reads:?}"
    );
}

#[tokio::test]
async fn three_thousand_accounts_and_five_hundred_sets_are_listed_whole() {
    const ACCOUNTS: usize = 3_000;
    const SETS: usize = 500;
    let set = |nth: usize| format!("set+=,.@-_{}", nth % SETS);
    let mut organization = Organization::new().knobs(Knobs::quick());
    for nth in 0..SETS {
        organization = organization.permission_set(PermissionSet::new(&set(nth)));
    }
    organization = organization.group(Group::new("team"));
    for nth in 0..ACCOUNTS {
        let id = format!("{:012}", 500_000_000_000 + nth as u64);
        organization = organization
            .account(Account::new(&id).within(&format!("ou{}", nth % 40)))
            .assigned(&id, &set(nth), Name::group("team"));
    }
    let front = Front::start(organization).await;
    let items = list(AwsOrganization::new(of(&front)).unpaced()).await;
    let count = |kind| paths(&items, kind).len();
    // The management account is one more.
    assert_eq!(count(ResourceKind::AwsOrganizationAccount), ACCOUNTS + 1);
    assert_eq!(count(ResourceKind::AwsPermissionSet), SETS);
    assert_eq!(access(&items).len(), ACCOUNTS);
}
