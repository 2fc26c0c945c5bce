//! The inventory of an account: what is listed, what is left out, and how a walk gets past the troubles of single services and regions.

use crate::support::aws::emulators::Emulator;
use crate::support::aws::front::{
    Account, Fault, Front, Knobs, MANAGEMENT, Organization, Refusal, Role,
};
use crate::support::world::http_client;
use apono_connector::aws::budget::{Budgets, Limits};
use apono_connector::aws::{Chain, Hop, Sessions, SessionsOptions};
use apono_connector::clock::SystemClock;
use apono_connector::domain::{
    ConnectorId, ErrorClass, IntegrationId, InventoryRecord, RecordStatus, ResourceKind,
};
use apono_connector::inventory::{
    AccountListing, AwsAccount, AwsOrganization, FoundDatabases, InventoryItem, MemberDatabases,
    OrganizationListing, RecordSender, Source, SourceError,
};
use apono_connector::targets::rds;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::types::Tag;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}"#;
const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "iam:*", "Resource": "*"}]}"#;
/// More than any walk of a test needs.
const PLENTY: Limits = Limits {
    requests_per_second: 2_000,
    assignments: 15,
    provisionings: 3,
};

/// A front with accounts of a test's own, each with a role for the connector, and one without.
async fn front_with(accounts: &[&str], shut: Option<&str>) -> Front {
    let mut organization = Organization::new().knobs(Knobs::quick());
    if let Some(account) = shut {
        organization = organization.account(Account::new(account).named("shut"));
    }
    for account in accounts {
        let role = Role::new(account, "apono-connector", MANAGEMENT);
        organization = organization
            .account(Account::new(account).named(account))
            .role(role.external_id("test-connector"));
    }
    Front::start(organization).await
}

pub(crate) async fn front(accounts: &[&str]) -> Front {
    front_with(accounts, None).await
}

fn sessions(front: &Front) -> Sessions {
    let base = SharedCredentialsProvider::new(front.key(MANAGEMENT));
    Sessions::new(SessionsOptions {
        connector: ConnectorId::parse("test-connector").unwrap(),
        profile: None,
        clock: Arc::new(SystemClock),
        base: Some(base),
        endpoint_url: Some(front.url()),
    })
}

fn integration() -> IntegrationId {
    IntegrationId::parse("018f0000-0000-7000-8000-000000000001").unwrap()
}

fn found() -> FoundDatabases {
    FoundDatabases {
        kind: rds::KIND,
        settings: BTreeMap::new(),
    }
}

pub(crate) fn account(
    front: &Front,
    integration: IntegrationId,
    id: &str,
    regions: &[&str],
) -> AwsAccount {
    let hop = Hop {
        role_arn: format!("arn:aws:iam::{id}:role/apono-connector"),
        external_id: Some("test-connector".to_owned()),
    };
    let listing = AccountListing {
        integration,
        chain: Chain {
            region: REGION.to_owned(),
            hops: vec![hop],
        },
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        sessions: sessions(front),
        found: found(),
    };
    AwsAccount::new(listing).unpaced()
}

async fn walk(source: &dyn Source) -> (Vec<InventoryItem>, Result<u64, SourceError>) {
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
async fn list(source: &dyn Source) -> Vec<InventoryItem> {
    let (items, ended) = walk(source).await;
    ended.unwrap();
    assert_eq!(items.last(), Some(&InventoryItem::Complete));
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

fn names(items: &[InventoryItem], kind: ResourceKind) -> Vec<&str> {
    let records = resources(items, kind).into_iter();
    records.map(|record| record.name.as_str()).collect()
}

fn unseen(items: &[InventoryItem]) -> Vec<String> {
    let parts = items.iter().filter_map(|item| match item {
        InventoryItem::Unseen(under) => Some(under.join("/")),
        InventoryItem::Resource(_) | InventoryItem::Access(_) | InventoryItem::Complete => None,
    });
    parts.collect()
}

fn told(record: &InventoryRecord) -> String {
    let pairs = |map: &BTreeMap<String, String>| {
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
        "{} `{}` {} [{}] {{{}}} {status}",
        record.path.join("/"),
        record.name,
        record.flavour,
        pairs(&record.tags),
        pairs(&record.context),
    )
}

fn told_of(items: &[InventoryItem], kind: ResourceKind) -> String {
    let lines: Vec<String> = resources(items, kind).into_iter().map(told).collect();
    lines.join("\n")
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().unwrap()
}

/// Understands tags, `key=value`.
fn tags_of(pairs: &[&str]) -> Vec<aws_sdk_rds::types::Tag> {
    let tag = |pair: &&str| {
        let (key, value) = pair.split_once('=').unwrap();
        let tag = aws_sdk_rds::types::Tag::builder().key(key).value(value);
        tag.build()
    };
    pairs.iter().map(tag).collect()
}

/// Makes an instance with tags.
async fn make_database(front: &Front, at: (&str, &'static str), id: &str, tags: &[&str]) {
    let (account, region) = at;
    let client = aws_sdk_rds::Client::new(&front.sdk(account, region));
    let call = client.create_db_instance().db_instance_identifier(id);
    let call = call.db_instance_class("db.t3.micro").engine("postgres");
    let call = call.allocated_storage(20).master_username("root");
    let call = call.master_user_password("a-password-of-a-master");
    let call = call.set_tags(Some(tags_of(tags)));
    call.send().await.unwrap();
}

/// Makes the cluster `aurora`, whose second member has no tags.
async fn make_cluster(front: &Front, account: &str, tags: &[&str]) {
    let rds = aws_sdk_rds::Client::new(&front.sdk(account, REGION));
    let cluster = rds.create_db_cluster().db_cluster_identifier("aurora");
    let cluster = cluster
        .engine("aurora-postgresql")
        .master_username("root")
        .master_user_password("a-password-of-a-master")
        .database_name("shop")
        .set_tags(Some(tags_of(tags)));
    cluster.send().await.unwrap();
    for (member, tags) in [("aurora-1", tags), ("aurora-2", &[])] {
        let call = rds.create_db_instance().db_instance_identifier(member);
        let call = call
            .db_instance_class("db.r5.large")
            .db_cluster_identifier("aurora");
        let call = call.engine("aurora-postgresql");
        let call = call.set_tags(Some(tags_of(tags)));
        call.send().await.unwrap();
    }
}

/// Asks moto for what no SDK here asks for.
async fn moto(account: &str, service: &str, method: &str, path: &str, body: &str) -> String {
    let url = format!("{}{path}", Emulator::moto().url());
    let request = http_client().request(method.parse().unwrap(), url);
    // Where a bucket may be made without saying where.
    let (region, kind) = match service {
        "s3" => ("us-east-1", "application/xml"),
        _ => (REGION, "application/x-www-form-urlencoded"),
    };
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let request = request
        .header("authorization", scope)
        .header("x-moto-account-id", account)
        .header("content-type", kind)
        .body(body.to_owned());
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{text}");
    text
}

#[tokio::test]
async fn an_account_is_listed_with_roles_groups_policies_buckets_instances_and_databases() {
    const ID: &str = "510000000001";
    let front = front(&[ID]).await;
    let iam = aws_sdk_iam::Client::new(&front.sdk(ID, REGION));
    let role = iam.create_role().role_name("ops+=,.@-_").path("/team/");
    let role = role
        .assume_role_policy_document(TRUST)
        .description("on call")
        .max_session_duration(7200);
    role.tags(tag("owner", "team-ops")).send().await.unwrap();
    for path in [
        "/aws-reserved/sso.amazonaws.com/",
        "/aws-service-role/rds.amazonaws.com/",
    ] {
        let role = iam.create_role().role_name(path.replace('/', "-"));
        let role = role.path(path).assume_role_policy_document(TRUST);
        role.send().await.unwrap();
    }
    iam.create_group()
        .group_name("admins")
        .send()
        .await
        .unwrap();
    let policy = iam.create_policy().policy_name("limits");
    let policy = policy.policy_document(POLICY).tags(tag("tier", "1"));
    policy.send().await.unwrap();
    let attach = iam.attach_group_policy().group_name("admins");
    let attach = attach.policy_arn("arn:aws:iam::aws:policy/ReadOnlyAccess");
    attach.send().await.unwrap();
    moto(ID, "s3", "PUT", "/a-tagged-bucket", "").await;
    let tags =
        "<Tagging><TagSet><Tag><Key>data</Key><Value>orders</Value></Tag></TagSet></Tagging>";
    moto(ID, "s3", "PUT", "/a-tagged-bucket?tagging", tags).await;
    let instance = "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount=1&MaxCount=1\
        &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=web";
    moto(ID, "ec2", "POST", "/", instance).await;
    make_database(&front, (ID, REGION), "plain", &["env=prod"]).await;

    let source = account(&front, integration(), ID, &[REGION]);
    let items = list(&source).await;
    assert!(source.troubles().is_empty(), "{:?}", source.troubles());
    assert!(unseen(&items).is_empty());
    let kinds = [
        ResourceKind::AwsIamRole,
        ResourceKind::AwsIamGroup,
        ResourceKind::AwsIamPolicy,
        ResourceKind::AwsS3Bucket,
        ResourceKind::AwsRdsInstance,
    ];
    let all = kinds.map(|kind| told_of(&items, kind)).join("\n");
    // AWS goes on changing its own policies, and the emulator its engines.
    let versions = regex_lite::Regex::new("_version=[v0-9.]+").unwrap();
    insta::assert_snapshot!(versions.replace_all(&all, "_version=V"), @r#"
    ops+=,.@-_ `ops+=,.@-_`  [owner=team-ops] {max_session_duration_s=7200; path=/team/; trust_policy={"Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"AWS":"*"}}],"Version":"2012-10-17"}} active
    admins `admins`  [] {path=/} active
    arn:aws:iam::510000000001:policy/limits `limits` customer managed [tier=1] {default_version=V; path=/} active
    arn:aws:iam::aws:policy/ReadOnlyAccess `ReadOnlyAccess` AWS managed [] {default_version=V; path=/} active
    a-tagged-bucket `a-tagged-bucket`  [data=orders] {region=eu-west-1} active
    arn:aws:rds:eu-west-1:510000000001:db:plain `plain` postgres [env=prod] {account=510000000001; endpoint=plain.aaaaaaaaaa.eu-west-1.rds.amazonaws.com; engine_version=V; iam_authentication=off; port=5432; region=eu-west-1; state=available} active
    "#);
    let instances = resources(&items, ResourceKind::AwsEc2Instance);
    assert_eq!((instances.len(), instances[0].name.as_str()), (1, "web"));
    assert!(instances[0].path[0].starts_with("i-"));
    let asked = front.calls_of("ListRoles");
    assert!(
        asked
            .iter()
            .all(|call| call.caller.contains("assumed-role/apono-connector")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn databases_ask_by_tags_and_what_is_missing_is_told_on_that_one_alone() {
    const ID: &str = "510000000002";
    let front = front(&[ID]).await;
    let by_token = ["apono-connect=true", "apono-auth-type=iam"];
    make_database(
        &front,
        (ID, REGION),
        "good",
        &[by_token[0], by_token[1], "apono-database=app"],
    )
    .await;
    make_database(&front, (ID, REGION), "half", &by_token).await;
    make_database(&front, (ID, "eu-west-2"), "good", &["apono-connect=false"]).await;
    let by_password = ["apono-connect=true", "apono-auth-type=password"];
    let secret = "apono-secret=prod/shop";
    make_cluster(&front, ID, &[by_password[0], by_password[1], secret]).await;

    let items = list(&account(&front, integration(), ID, &[REGION, "eu-west-2"])).await;
    let of = |name: &str, region: &str| {
        let both = [ResourceKind::AwsRdsInstance, ResourceKind::AwsRdsCluster];
        let mut all = both.into_iter().flat_map(|kind| resources(&items, kind));
        let found = all.find(|record| record.name == name && record.context["region"] == region);
        found.unwrap().clone()
    };
    let good = of("good", REGION);
    assert_eq!(good.status, RecordStatus::Active);
    let asks = good.discovered.unwrap();
    let settings: Vec<_> = asks
        .settings
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(
        settings.join(" "),
        "auth_type=iam database_name=app end_user_auth=iam instance_id=good region=eu-west-1"
    );
    let half = of("half", REGION);
    let RecordStatus::Error(problem) = half.status else {
        panic!("`half` is active");
    };
    assert!(
        problem.starts_with("tag `apono-database` is missing"),
        "{problem}"
    );
    assert!(
        problem.contains("aws rds add-tags-to-resource"),
        "{problem}"
    );
    assert!(half.discovered.is_some());
    let elsewhere = of("good", "eu-west-2");
    assert!(elsewhere.discovered.is_none() && elsewhere.status == RecordStatus::Active);
    assert_ne!(elsewhere.id, good.id);
    let aurora = of("aurora", REGION);
    let asks = aurora.discovered.unwrap();
    assert_eq!(asks.settings["instance_id"], "aurora");
    assert_eq!(asks.settings["database_name"], "shop");
    assert_eq!(
        asks.secret.unwrap().as_str(),
        "aws-secretsmanager:prod/shop"
    );
    assert!(
        aurora.context["reader_endpoint"].contains("cluster-ro"),
        "{:?}",
        aurora.context
    );
    assert_ne!(
        aurora.context["writer_endpoint"],
        aurora.context["reader_endpoint"]
    );
    assert_eq!(aurora.context["writer"], "aurora-1");
    assert_eq!(aurora.context["readers"], "aurora-2");
    let member = of("aurora-1", REGION);
    assert!(member.discovered.is_none(), "its cluster asks");
    assert_eq!(member.context["cluster"], "aurora");
}

pub(crate) fn refused(code: &str, message: &str) -> Fault {
    Fault::Refused(Refusal::new(code, message))
}

#[tokio::test]
async fn a_throttle_in_the_middle_costs_the_refused_page_and_nothing_else() {
    const ID: &str = "510000000003";
    const ROLES: usize = 130;
    let front = front(&[ID]).await;
    let iam = aws_sdk_iam::Client::new(&front.sdk(ID, REGION));
    for nth in 0..ROLES {
        let role = iam.create_role().role_name(format!("role-{nth:03}"));
        let role = role.assume_role_policy_document(TRUST);
        role.send().await.unwrap();
    }
    let fired = [
        front.fault("ListRoles", 1, 2, refused("Throttling", "Rate exceeded")),
        front.fault(
            "ListRoleTags",
            70,
            1,
            refused("Throttling", "Rate exceeded"),
        ),
    ];
    let source = account(&front, integration(), ID, &[]);
    let items = list(&source).await;
    assert_eq!(names(&items, ResourceKind::AwsIamRole).len(), ROLES);
    assert!(source.troubles().is_empty());
    assert_eq!(fired.map(|fired| fired.times()), [2, 1]);
    assert_eq!(front.calls_of("ListRoles").len(), 2 + 2);
    assert_eq!(front.calls_of("ListRoleTags").len(), ROLES + 1);
}

#[tokio::test]
async fn a_service_or_region_that_is_denied_is_a_warning_on_that_part_alone() {
    const ID: &str = "510000000004";
    let front = front(&[ID]).await;
    let iam = aws_sdk_iam::Client::new(&front.sdk(ID, REGION));
    let role = iam.create_role().role_name("ops");
    let role = role.assume_role_policy_document(TRUST);
    role.send().await.unwrap();
    make_database(&front, (ID, "eu-west-2"), "there", &[]).await;
    front.fault("ListGroups", 0, 1, refused("AccessDenied", "no"));
    // Clusters of the first region are asked for first.
    front.fault("DescribeDBClusters", 0, 1, refused("AccessDenied", "no"));
    let source = account(&front, integration(), ID, &[REGION, "eu-west-2"]);
    let items = list(&source).await;
    assert_eq!(unseen(&items), ["iam groups", "rds eu-west-1"]);
    assert_eq!(names(&items, ResourceKind::AwsIamRole), ["ops"]);
    assert_eq!(names(&items, ResourceKind::AwsRdsInstance), ["there"]);
    let troubles = source.troubles();
    let [groups, databases] = troubles.as_slice() else {
        panic!("{troubles:?}");
    };
    assert!(
        groups.starts_with("IAM groups could not be looked at: `iam:ListGroups`"),
        "{groups}"
    );
    assert!(groups.contains("allow `iam:ListGroups`"), "{groups}");
    assert!(
        databases
            .starts_with("databases in eu-west-1 could not be looked at: `rds:DescribeDBClusters`"),
        "{databases}"
    );
    // Nothing stays from one walk to the next.
    list(&source).await;
    assert!(source.troubles().is_empty());

    for operation in ["ListRoles", "ListGroups", "ListPolicies"] {
        front.fault(operation, 0, 1, refused("AccessDenied", "no"));
    }
    let (items, ended) = walk(&account(&front, integration(), ID, &[])).await;
    let error = ended.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NeedsOperator);
    assert!(error.to_string().contains("iam:ListRoles"), "{error}");
    assert!(!items.contains(&InventoryItem::Complete));
}

#[tokio::test]
async fn databases_of_member_accounts_are_found_by_a_role_each_of_them_has() {
    const OPEN: &str = "510000000005";
    const SHUT: &str = "510000000006";
    let front = front_with(&[OPEN], Some(SHUT)).await;
    let management = Role::new(MANAGEMENT, "apono-management", MANAGEMENT);
    let way_in = Hop {
        role_arn: management.arn().to_owned(),
        external_id: Some("test-connector".to_owned()),
    };
    front.add_role(management.external_id("test-connector"));
    let tags = [
        "apono-connect=true",
        "apono-auth-type=iam",
        "apono-database=app",
    ];
    make_database(&front, (OPEN, REGION), "orders", &tags).await;
    make_database(&front, (SHUT, REGION), "hidden", &tags).await;
    let source = AwsOrganization::new(OrganizationListing {
        integration: integration(),
        chain: Chain {
            region: crate::support::aws::front::REGION.to_owned(),
            hops: vec![way_in.clone()],
        },
        excluded: BTreeSet::new(),
        sessions: sessions(&front),
        budgets: Budgets::new(PLENTY),
        given: Arc::new(HashSet::new),
        members: Some(MemberDatabases {
            role: "apono-connector".to_owned(),
            regions: vec![REGION.to_owned()],
            found: found(),
        }),
    });
    let source = source.unpaced();
    let items = list(&source).await;
    let databases = resources(&items, ResourceKind::AwsRdsInstance);
    let [orders] = databases.as_slice() else {
        panic!("{databases:?}");
    };
    assert_eq!(orders.context["account"], OPEN);
    let asks = &orders.discovered.as_ref().unwrap().settings;
    assert_eq!(asks["management_role_arn"], way_in.role_arn);
    assert_eq!(
        asks["role_arn"],
        format!("arn:aws:iam::{OPEN}:role/apono-connector")
    );
    assert_eq!(asks["external_id"], "test-connector");
    assert_eq!(unseen(&items), [format!("rds {SHUT}")]);
    let troubles = source.troubles();
    let [shut] = troubles.as_slice() else {
        panic!("{troubles:?}");
    };
    assert!(
        shut.starts_with(&format!(
            "databases of account {SHUT} could not be looked at"
        )),
        "{shut}"
    );
    let accounts = resources(&items, ResourceKind::AwsOrganizationAccount);
    assert!(
        accounts
            .iter()
            .all(|account| account.status == RecordStatus::Active),
        "its databases are another thing than the account"
    );
}
