//! Sessions at AWS: chains of roles, what they carry, and what is said when one does not work.

mod recorder;

use crate::support::aws::emulators::{Emulator, ROOT_SECRET};
use crate::support::logs;
use apono_connector::aws::{
    AwsError, Chain, Hop, NotAfter, Purpose, Sessions, SessionsOptions, refused,
};
use apono_connector::clock::{Clock, FakeClock, SharedClock, SystemClock};
use apono_connector::domain::{ConnectorId, ErrorClass, GrantId};
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use recorder::Recorder;
use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REGION: &str = "eu-west-1";
const CONNECTOR: &str = "team-1.prod";

fn options(url: &str, key: &str, secret: &str, clock: SharedClock) -> SessionsOptions {
    let base = Credentials::new(key, secret, None, None, "test");
    SessionsOptions {
        connector: ConnectorId::parse(CONNECTOR).unwrap(),
        profile: None,
        clock,
        base: Some(SharedCredentialsProvider::new(base)),
        endpoint_url: Some(url.to_owned()),
    }
}

fn sessions(url: &str, key: &str, secret: &str) -> Sessions {
    Sessions::new(options(url, key, secret, Arc::new(SystemClock)))
}

fn chain(hops: &[(&str, Option<&str>)]) -> Chain {
    let hop = |(role_arn, external_id): &(&str, Option<&str>)| Hop {
        role_arn: (*role_arn).to_owned(),
        external_id: external_id.map(str::to_owned),
    };
    Chain {
        region: REGION.to_owned(),
        hops: hops.iter().map(hop).collect(),
    }
}

fn role(account: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role/{name}")
}

/// What MiniStack is told before a test.
struct Account {
    id: &'static str,
    iam: aws_sdk_iam::Client,
}

impl Account {
    fn new(id: &'static str) -> Self {
        let root = Emulator::ministack().sdk(REGION, id, ROOT_SECRET);
        Self {
            id,
            iam: aws_sdk_iam::Client::new(&root),
        }
    }

    /// A user who may assume whatever lets itself be assumed; returns key and secret.
    async fn user(&self) -> (String, String) {
        self.iam
            .create_user()
            .user_name("own")
            .send()
            .await
            .unwrap();
        self.iam
            .put_user_policy()
            .user_name("own")
            .policy_name("may")
            .policy_document(may_assume())
            .send()
            .await
            .unwrap();
        let made = self.iam.create_access_key().user_name("own").send();
        let made = made.await.unwrap();
        let key = made.access_key().unwrap();
        (
            key.access_key_id().to_owned(),
            key.secret_access_key().to_owned(),
        )
    }

    /// A role that trusts an account for some actions, under a condition; it may assume what lets itself be assumed.
    async fn role(
        &self,
        name: &str,
        trusted: &str,
        actions: &[&str],
        condition: serde_json::Value,
    ) {
        let trust = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{trusted}:root")},
                "Action": actions,
                "Condition": condition,
            }],
        });
        self.role_trusting(name, trust.to_string()).await;
    }

    async fn role_trusting(&self, name: &str, trust: String) {
        self.iam
            .create_role()
            .role_name(name)
            .assume_role_policy_document(trust)
            .send()
            .await
            .unwrap();
        self.iam
            .put_role_policy()
            .role_name(name)
            .policy_name("may")
            .policy_document(may_assume())
            .send()
            .await
            .unwrap();
    }
}

fn may_assume() -> String {
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
            "Resource": "*",
        }],
    })
    .to_string()
}

/// The trust policy as the page tells it.
fn documented_trust(account: &str, external_id: &str) -> String {
    let page = include_str!("../../docs/aws.md");
    let policy = page.split("```json").nth(1).unwrap();
    let policy = policy.split("```").next().unwrap();
    assert!(policy.contains("ASSUMING_ROLE_ARN") && policy.contains("EXTERNAL_ID"));
    policy
        .replace("ASSUMING_ROLE_ARN", &format!("arn:aws:iam::{account}:root"))
        .replace("EXTERNAL_ID", external_id)
}

fn external_id(id: &str) -> serde_json::Value {
    serde_json::json!({"StringEquals": {"sts:ExternalId": id}})
}

const ASSUME: &[&str] = &["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];

async fn key_of(config: &SdkConfig) -> Credentials {
    let provider = config.credentials_provider().unwrap();
    provider.provide_credentials().await.unwrap()
}

#[tokio::test]
async fn a_chain_of_roles_ends_in_the_last_account_and_carries_connector_and_grant() {
    logs::start();
    let own = Account::new("650000000001");
    let management = Account::new("650000000002");
    let member = Account::new("650000000003");
    let (key, secret) = own.user().await;
    let grant = GrantId::generate();
    management
        .role_trusting("apono", documented_trust(own.id, "right"))
        .await;
    // The trust policy proves what the session carries.
    let condition = serde_json::json!({"StringEquals": {
        "sts:RoleSessionName": format!("grant-{grant}"),
        "aws:RequestTag/apono-connector": CONNECTOR,
        "aws:RequestTag/apono-grant": grant.to_string(),
    }});
    member
        .role("apono-member", management.id, ASSUME, condition)
        .await;
    let (first, second) = (
        role(management.id, "apono"),
        role(member.id, "apono-member"),
    );
    let sessions = sessions(&Emulator::ministack().url(), &key, &secret);

    let caller = sessions.caller(&chain(&[(&first, Some("right"))])).await;
    let caller = caller.unwrap();
    assert_eq!(caller.account.as_str(), management.id);
    let named = format!("assumed-role/apono/{CONNECTOR}");
    assert!(caller.arn.ends_with(&named), "{}", caller.arn);

    let whole = chain(&[(&first, Some("right")), (&second, None)]);
    let config = sessions
        .config(&whole, &Purpose::Grant(grant))
        .await
        .unwrap();
    let identity = aws_sdk_sts::Client::new(&config).get_caller_identity();
    let identity = identity.send().await.unwrap();
    assert_eq!(identity.account(), Some(member.id));
    let named = format!("assumed-role/apono-member/grant-{grant}");
    assert!(identity.arn().unwrap().ends_with(&named));

    // No part of a credential is shown or logged, at any level.
    let given = key_of(&config).await;
    let shown = format!("{sessions:?} {config:?} {given:?} {}", logs::so_far());
    assert!(shown.contains("assume_role") || shown.contains("AssumeRole"));
    for hidden in [
        secret.as_str(),
        given.secret_access_key(),
        given.session_token().unwrap(),
    ] {
        assert!(!shown.contains(hidden), "a credential is shown");
    }
}

#[tokio::test]
async fn a_hop_that_is_denied_is_named_with_its_external_id_and_what_to_check() {
    let own = Account::new("650000000011");
    let management = Account::new("650000000012");
    let (key, secret) = own.user().await;
    management
        .role("good", own.id, ASSUME, external_id("right"))
        .await;
    management
        .role(
            "untagged",
            own.id,
            &["sts:AssumeRole"],
            external_id("right"),
        )
        .await;
    management
        .role("stranger", "650000000019", ASSUME, external_id("right"))
        .await;
    let sessions = sessions(&Emulator::ministack().url(), &key, &secret);
    let good = role(management.id, "good");
    let denied = async |hops: &[(&str, Option<&str>)]| {
        let error = sessions.caller(&chain(hops)).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::NeedsOperator, "{error}");
        assert_eq!(error.reason(), "access_denied");
        assert!(!error.outcome_unknown());
        for part in [
            "sts:AssumeRole",
            "sts:TagSession",
            "sts:SetSourceIdentity",
            "trust policy",
        ] {
            assert!(error.hint().unwrap().contains(part), "{:?}", error.hint());
        }
        format!("{error} {}", error.hint().unwrap())
    };
    for (name, id) in [
        ("good", Some("wrong")),
        ("good", None),
        ("missing", Some("right")),
        ("untagged", Some("right")),
        ("stranger", Some("right")),
    ] {
        let asked = role(management.id, name);
        let said = denied(&[(&asked, id)]).await;
        assert!(said.contains("hop 1,") && said.contains(&asked), "{said}");
        assert!(said.contains("the connector's own credentials"), "{said}");
        let about = id.map_or("no condition".to_owned(), |id| format!("`{id}`"));
        assert!(said.contains(&about), "{said}");
    }
    let missing = role("650000000013", "missing");
    let said = denied(&[(&good, Some("right")), (&missing, Some("other"))]).await;
    assert!(said.contains("hop 2,") && said.contains(&missing), "{said}");
    assert!(said.contains(&format!("from role `{good}`")), "{said}");
    // The way in still works: nothing denied was kept.
    sessions
        .caller(&chain(&[(&good, Some("right"))]))
        .await
        .unwrap();
}

#[tokio::test]
async fn credentials_of_its_own_that_are_unknown_wrong_or_expired_are_unauthorised() {
    let own = Account::new("650000000021");
    let (key, secret) = own.user().await;
    own.role("self", own.id, ASSUME, serde_json::json!({}))
        .await;
    let url = Emulator::ministack().url();
    let target = role(own.id, "self");
    let hops = chain(&[(&target, None)]);
    let fails = async |sessions: Sessions| {
        sessions
            .config(&hops, &Purpose::Connector)
            .await
            .unwrap_err()
    };

    let unknown = fails(sessions(&url, "AKIAUNKNOWN000000000", "x")).await;
    assert_eq!(
        (unknown.class(), unknown.reason()),
        (ErrorClass::Unauthorised, "credentials_expired")
    );
    let wrong = fails(sessions(&url, &key, "not-the-secret")).await;
    assert_eq!(
        (wrong.class(), wrong.reason()),
        (ErrorClass::Unauthorised, "signature_refused")
    );
    assert!(wrong.hint().unwrap().contains("the secret key is wrong"));

    // A session of one second, seen to be over before it is used.
    let direct = Emulator::ministack().sdk(REGION, &key, &secret);
    let short = aws_sdk_sts::Client::new(&direct)
        .assume_role()
        .role_arn(&target)
        .role_session_name("short")
        .duration_seconds(1)
        .send()
        .await
        .unwrap();
    let short = short.credentials().unwrap();
    let base = Credentials::new(
        short.access_key_id(),
        short.secret_access_key(),
        Some(short.session_token().to_owned()),
        None,
        "test",
    );
    let expired = SessionsOptions {
        base: Some(SharedCredentialsProvider::new(base)),
        ..options(&url, "", "", Arc::new(SystemClock))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let error = loop {
        let sessions = Sessions::new(expired.clone());
        if let Err(error) = sessions.config(&hops, &Purpose::Connector).await {
            break error;
        }
        assert!(Instant::now() < deadline, "the session does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(error.class(), ErrorClass::Unauthorised, "{error}");
    assert!(error.to_string().contains(&target), "{error}");
}

#[tokio::test]
async fn a_clock_that_is_20_minutes_off_is_named_with_both_times() {
    logs::start();
    let own = Account::new("650000000031");
    let (key, secret) = own.user().await;
    own.role("self", own.id, ASSUME, serde_json::json!({}))
        .await;
    let hops = chain(&[(&role(own.id, "self"), None)]);
    for ahead in [true, false] {
        let off = Duration::from_secs(20 * 60);
        let now = SystemClock.now();
        let clock = FakeClock::at(if ahead { now + off } else { now - off });
        let signed = clock.now().to_string();
        let url = Emulator::ministack().url();
        let sessions = Sessions::new(options(&url, &key, &secret, Arc::new(clock)));
        let error = sessions.caller(&hops).await.unwrap_err();
        assert_eq!(
            (error.class(), error.reason()),
            (ErrorClass::NeedsOperator, "clock_skew"),
            "{error}"
        );
        // Down to the minute: the second may have passed.
        let side = if ahead { "ahead of" } else { "behind" };
        let said = error.to_string();
        assert!(
            said.contains(side) && said.contains(&signed[..16]),
            "{said}"
        );
        assert!(error.hint().unwrap().contains("NTP"));
    }
    assert!(logs::so_far().contains("the clock of this machine is wrong"));
}

#[tokio::test]
async fn sessions_are_kept_shared_and_renewed_half_way_through() {
    let clock = Arc::new(FakeClock::at(SystemClock.now()));
    // It gives an hour from the real time and does not look at signatures, so its clock may differ from ours.
    let recorder = Recorder::start().await;
    let shared: SharedClock = Arc::<FakeClock>::clone(&clock);
    let sessions = Sessions::new(options(&recorder.url, "AKIATEST", "any", shared));
    let hops = chain(&[
        ("arn:aws:iam::650000000041:role/a", Some("one")),
        ("arn:aws:iam::650000000042:role/b", None),
    ]);
    let key = async |purpose: Purpose| {
        let config = sessions.config(&hops, &purpose).await.unwrap();
        key_of(&config).await.access_key_id().to_owned()
    };
    let first = key(Purpose::Connector).await;
    for _ in 0..5 {
        assert_eq!(key(Purpose::Connector).await, first);
    }
    let grant = Purpose::Grant(GrantId::generate());
    let of_grant = key(grant.clone()).await;
    assert_ne!(of_grant, first);
    clock.advance(Duration::from_secs(25 * 60));
    assert_eq!(key(Purpose::Connector).await, first);
    clock.advance(Duration::from_secs(6 * 60));
    let second = key(Purpose::Connector).await;
    assert_ne!(second, first);
    assert_ne!(key(grant).await, of_grant);
    assert_eq!(key(Purpose::Connector).await, second);
    // Both roles for the connector and the last one for the grant, once and once more.
    assert_eq!(recorder.requests().len(), 6);
}

#[tokio::test]
async fn every_hop_lasts_an_hour_and_the_source_identity_is_set_once() {
    let recorder = Recorder::start().await;
    let sessions = sessions(&recorder.url, "AKIATEST", "any");
    let hops = chain(&[
        ("arn:aws:iam::650000000051:role/a", Some("one")),
        ("arn:aws:iam::650000000052:role/b", None),
        ("arn:aws:iam::650000000053:role/c", None),
    ]);
    let grant = GrantId::generate();
    let purpose = Purpose::Grant(grant);
    let all = (0..20).map(|_| sessions.config(&hops, &purpose));
    for config in futures_util::future::join_all(all).await {
        config.unwrap();
    }
    let requests = recorder.requests();
    let seen: Vec<_> = requests
        .iter()
        .map(|request| {
            [
                "RoleArn",
                "DurationSeconds",
                "ExternalId",
                "SourceIdentity",
                "RoleSessionName",
                "Tags.member.1.Key",
                "Tags.member.1.Value",
                "Tags.member.2.Value",
                "TransitiveTagKeys.member.1",
            ]
            .map(|name| request.field(name).to_owned())
        })
        .collect();
    let grant_name = format!("grant-{grant}");
    let grant = grant.to_string();
    let a = "arn:aws:iam::650000000051:role/a";
    let tag = "apono-connector";
    assert_eq!(
        seen,
        [
            [
                a, "3600", "one", CONNECTOR, CONNECTOR, tag, CONNECTOR, "", ""
            ],
            [
                &a.replace("51:role/a", "52:role/b"),
                "3600",
                "",
                "",
                CONNECTOR,
                tag,
                CONNECTOR,
                "",
                ""
            ],
            [
                &a.replace("51:role/a", "53:role/c"),
                "3600",
                "",
                "",
                &grant_name,
                tag,
                CONNECTOR,
                &grant,
                ""
            ],
        ]
    );
    // Each hop is signed with the session before it, in the region of the chain, by one user agent.
    for (number, request) in requests.iter().enumerate() {
        let key = if number == 0 {
            "AKIATEST".to_owned()
        } else {
            format!("ASIA{number}")
        };
        let signed = &request.headers["authorization"];
        assert!(signed.contains(&format!("Credential={key}/")), "{signed}");
        assert!(signed.contains(&format!("/{REGION}/sts/")), "{signed}");
        assert!(request.headers["user-agent"].contains("app/apono-connector-"));
    }
}

#[tokio::test]
async fn a_role_of_the_wrong_account_is_found() {
    let recorder = Recorder::start().await;
    let sessions = sessions(&recorder.url, "AKIATEST", "any");
    let hops = chain(&[("arn:aws:iam::650000000061:role/a", None)]);
    let error = sessions.caller(&hops).await.unwrap_err();
    assert_eq!(error.reason(), "wrong_account");
    let said = error.to_string();
    assert!(
        said.contains("650000000061") && said.contains("650000000099"),
        "{said}"
    );
}

#[tokio::test]
async fn nothing_is_sent_twice_nothing_unlisted_and_nothing_signed_too_late() {
    let recorder = Recorder::start().await;
    let sessions = sessions(&recorder.url, "AKIATEST", "any");
    let config = sessions
        .config(&chain(&[]), &Purpose::Connector)
        .await
        .unwrap();
    let iam = aws_sdk_iam::Client::new(&config);

    let failed = iam.list_groups().send().await;
    let error: AwsError = refused("iam:ListGroups", failed.unwrap_err());
    assert_eq!(
        (error.class(), error.code(), error.outcome_unknown()),
        (ErrorClass::Transient, Some("ServiceFailure"), true)
    );
    assert_eq!(recorder.requests().len(), 1);

    let unlisted = iam.create_account_alias().account_alias("x").send().await;
    let error = refused("iam:CreateAccountAlias", unlisted.unwrap_err());
    assert_eq!(
        (error.class(), error.reason()),
        (ErrorClass::Bug, "action_not_listed")
    );
    assert_eq!(recorder.requests().len(), 1);

    let minute = Duration::from_secs(60);
    let late = NotAfter::new(SystemClock.now() - minute);
    let sent = iam.get_user().customize().interceptor(late).send().await;
    let error = refused("iam:GetUser", sent.unwrap_err());
    assert_eq!(error.reason(), "signed_too_late");
    assert!(!error.outcome_unknown());
    assert_eq!(recorder.requests().len(), 1);
    let in_time = NotAfter::new(SystemClock.now() + minute);
    let sent = iam.get_user().customize().interceptor(in_time).send().await;
    assert_eq!(
        refused("iam:GetUser", sent.unwrap_err()).code(),
        Some("ServiceFailure")
    );
    assert_eq!(recorder.requests().len(), 2);
}

/// The environment is a process's own, so the test runs itself once more with it.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "tells the second run from the first"
)]
async fn profile_and_endpoints_are_taken_from_the_environment() {
    const INSIDE: &str = "APONO_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let options = SessionsOptions {
            base: None,
            endpoint_url: None,
            profile: Some("apono".to_owned()),
            ..options("", "", "", Arc::new(SystemClock))
        };
        let sessions = Sessions::new(options);
        let config = sessions
            .config(&chain(&[]), &Purpose::Connector)
            .await
            .unwrap();
        let sts = aws_sdk_sts::Client::new(&config).get_caller_identity();
        assert_eq!(sts.send().await.unwrap().account(), Some("650000000099"));
        let iam = aws_sdk_iam::Client::new(&config).list_groups().send().await;
        let error = refused("iam:ListGroups", iam.unwrap_err());
        assert_eq!(error.code(), Some("ServiceFailure"));
        return;
    }
    let (one, other) = (Recorder::start().await, Recorder::start().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(
        &file,
        "[apono]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = any\n",
    )
    .unwrap();
    let mut inside = Command::new(std::env::current_exe().unwrap());
    inside
        .args([
            "--exact",
            "aws_sessions::profile_and_endpoints_are_taken_from_the_environment",
        ])
        .env(INSIDE, "1")
        .env("AWS_SHARED_CREDENTIALS_FILE", &file)
        .env("AWS_CONFIG_FILE", folder.path().join("none"))
        .env("AWS_ENDPOINT_URL", &one.url)
        .env("AWS_ENDPOINT_URL_STS", &other.url)
        .env("NO_PROXY", "127.0.0.1");
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AWS_REGION",
    ] {
        inside.env_remove(name);
    }
    let ran = tokio::task::spawn_blocking(move || inside.output().unwrap());
    let ran = ran.await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    let actions = |recorder: &Recorder| -> HashSet<String> {
        let requests = recorder.requests();
        assert!(requests.iter().all(|request| {
            request.headers["authorization"].contains("Credential=AKIAPROFILE/")
        }));
        requests
            .iter()
            .map(|request| request.field("Action").to_owned())
            .collect()
    };
    assert_eq!(actions(&one), HashSet::from(["ListGroups".to_owned()]));
    assert_eq!(
        actions(&other),
        HashSet::from(["GetCallerIdentity".to_owned()])
    );
}
