//! STS: who may become whom.

use super::{SHOP, Stage, Table, code, organization};
use crate::support::aws::emulators::{Emulator, sdk};
use crate::support::aws::front::{Front, MANAGEMENT, REGION, Role};
use crate::support::aws::proxy::{Act, Proxy, Rule};
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use aws_sdk_sts::types::Tag;
use serde_json::json;
use std::time::Duration;

/// Becomes a role that the management account trusts.
pub(super) async fn assumed(front: &Front, account: &str, role: &str) -> Credentials {
    let sts = Client::new(&front.sdk(MANAGEMENT, REGION));
    let role = format!("arn:aws:iam::{account}:role/{role}");
    keys(
        &sts.assume_role()
            .role_arn(role)
            .role_session_name("tests")
            .send()
            .await
            .unwrap(),
    )
}

pub(super) fn with(front: &Front, keys: Credentials) -> SdkConfig {
    sdk(&front.url(), REGION, keys)
}

fn keys(session: &AssumeRoleOutput) -> Credentials {
    let keys = session.credentials().unwrap();
    let token = Some(keys.session_token().to_owned());
    Credentials::new(
        keys.access_key_id(),
        keys.secret_access_key(),
        token,
        None,
        "test",
    )
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().unwrap()
}

/// What was refused, in full.
async fn refused(call: AssumeRoleFluentBuilder) -> String {
    match call.send().await {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            use aws_sdk_sts::error::ProvideErrorMetadata;
            format!(
                "{}: {}",
                error.code().unwrap_or_default(),
                error.message().unwrap_or_default()
            )
        }
    }
}

#[tokio::test]
async fn roles_are_assumed_by_the_rules_and_every_denial_looks_the_same() {
    let bare = json!({"Statement": [{
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:aws:iam::{MANAGEMENT}:root")},
        "Action": "sts:AssumeRole",
    }]});
    let organization = organization()
        .role(Role::new(SHOP, "open", MANAGEMENT).longest_session(Duration::from_secs(7200)))
        .role(Role::new(SHOP, "asks", MANAGEMENT).external_id("right"))
        .role(Role::new(SHOP, "bare", MANAGEMENT).trusting(bare))
        .role(Role::new(SHOP, "strangers", "999999999999"));
    let stage = Stage::of(organization).await;
    let mut table = Table::default();
    let sts = Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let ask = |role: &str| {
        let arn = format!("arn:aws:iam::{SHOP}:role/{role}");
        sts.assume_role().role_arn(arn).role_session_name("tests")
    };
    table.line("an open one", refused(ask("open")).await, "ok");
    let denied = |role: &str, action: &str| {
        format!(
            "AccessDenied: User: arn:aws:iam::{MANAGEMENT}:user/tester is not authorized to perform: {action} on resource: \
             arn:aws:iam::{SHOP}:role/{role}"
        )
    };
    table.line(
        "a missing one",
        refused(ask("missing")).await,
        denied("missing", "sts:AssumeRole"),
    );
    table.line(
        "a stranger's",
        refused(ask("strangers")).await,
        denied("strangers", "sts:AssumeRole"),
    );
    table.line(
        "no external id",
        refused(ask("asks")).await,
        denied("asks", "sts:AssumeRole"),
    );
    table.line(
        "a wrong one",
        refused(ask("asks").external_id("wrong")).await,
        denied("asks", "sts:AssumeRole"),
    );
    table.line(
        "the right one",
        refused(ask("asks").external_id("right")).await,
        "ok",
    );
    table.line(
        "tags nobody allowed",
        refused(ask("bare").tags(tag("a", "b"))).await,
        denied("bare", "sts:TagSession"),
    );
    table.line(
        "a source nobody allowed",
        refused(ask("bare").source_identity("us")).await,
        denied("bare", "sts:SetSourceIdentity"),
    );
    table.line(
        "tags and a source",
        refused(ask("open").tags(tag("a", "b")).source_identity("us")).await,
        "ok",
    );

    table.line(
        "two hours of two",
        refused(ask("open").duration_seconds(7200)).await,
        "ok",
    );
    let text = "ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    table.line(
        "three hours of two",
        refused(ask("open").duration_seconds(10_800)).await,
        text,
    );
    table.says(
        "a minute",
        &refused(ask("open").duration_seconds(60)).await,
        "ValidationError: 1 validation error detected",
    );
    table.says(
        "a name with a blank",
        &refused(ask("open").role_session_name("a b")).await,
        "ValidationError: 1 validation",
    );
    table.says(
        "a name too long",
        &refused(ask("open").role_session_name("n".repeat(65))).await,
        "ValidationError",
    );
    table.says(
        "a source of AWS's",
        &refused(ask("open").source_identity("aws:me")).await,
        "ValidationError",
    );
    let mut many = ask("open");
    for number in 0..50 {
        many = many.tags(tag(&format!("key-{number}"), &"v".repeat(100)));
    }
    table.says(
        "more than fits",
        &refused(many).await,
        "PackedPolicyTooLarge",
    );
}

#[tokio::test]
async fn a_chain_is_short_keeps_its_source_and_its_tags() {
    let onward = |name: &str| Role::new(MANAGEMENT, name, MANAGEMENT);
    let no_source = json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole", "sts:TagSession"]}]});
    let organization = organization()
        .role(onward("first"))
        .role(onward("second").longest_session(Duration::from_secs(43_200)))
        .role(onward("plain").trusting(no_source));
    let stage = Stage::of(organization).await;
    let mut table = Table::default();
    let sts = Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let arn = |role: &str| format!("arn:aws:iam::{MANAGEMENT}:role/{role}");
    let first = sts
        .assume_role()
        .role_arn(arn("first"))
        .role_session_name("one")
        .source_identity("connector")
        .tags(tag("task", "1"))
        .transitive_tag_keys("task")
        .send()
        .await
        .unwrap();
    let chained = Client::new(&with(&stage.front, keys(&first)));
    let caller = chained.get_caller_identity().send().await.unwrap();
    let expected = format!("arn:aws:sts::{MANAGEMENT}:assumed-role/first/one");
    table.line("who it is", caller.arn(), Some(expected.as_str()));
    let ask = |role: &str| {
        chained
            .assume_role()
            .role_arn(arn(role))
            .role_session_name("two")
    };
    let text = "ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role \
                chaining.";
    table.line(
        "two hours in a chain",
        refused(ask("second").duration_seconds(7200)).await,
        text,
    );
    table.line(
        "one hour in a chain",
        refused(ask("second").duration_seconds(3600)).await,
        "ok",
    );
    table.says(
        "another source",
        &refused(ask("second").source_identity("other")).await,
        "AccessDenied",
    );
    table.line(
        "the same source",
        refused(ask("second").source_identity("connector")).await,
        "ok",
    );
    table.says(
        "a role that forbids a source",
        &refused(ask("plain")).await,
        "sts:SetSourceIdentity",
    );
    stage
        .front
        .turn(|knobs| knobs.inherited_needs_permission = false);
    table.line(
        "unless inheriting is free",
        refused(ask("plain")).await,
        "ok",
    );
    table.says(
        "a tag that is inherited",
        &refused(ask("second").tags(tag("Task", "2"))).await,
        "InvalidParameterValue",
    );
    table.line(
        "another tag",
        refused(ask("second").tags(tag("more", "2"))).await,
        "ok",
    );

    stage.front.clock().advance(Duration::from_secs(3601));
    stage
        .front
        .turn(|knobs| knobs.signature_age = Duration::from_secs(7200));
    table.says(
        "after its hour",
        &refused(ask("second")).await,
        "ExpiredToken: ",
    );
    let sso = aws_sdk_ssoadmin::Client::new(&with(&stage.front, keys(&first)));
    table.line(
        "in JSON too",
        code(sso.list_instances().send().await),
        "ExpiredTokenException",
    );
}

#[tokio::test]
async fn session_policies_narrow_and_ended_sessions_are_nobody() {
    let role = Role::new(MANAGEMENT, "wide", MANAGEMENT);
    let arn = role.arn().to_owned();
    let stage = Stage::of(organization()).await;
    stage.front.add_role(role);
    let mut table = Table::default();
    let sts = Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let only =
        json!({"Statement": [{"Effect": "Allow", "Action": "sso:ListInstances", "Resource": "*"}]})
            .to_string();
    let session = sts
        .assume_role()
        .role_arn(&arn)
        .role_session_name("narrow")
        .policy(only)
        .send()
        .await
        .unwrap();
    let sso = aws_sdk_ssoadmin::Client::new(&with(&stage.front, keys(&session)));
    table.line(
        "what it names",
        code(sso.list_instances().send().await),
        "ok",
    );
    let sets = || {
        sso.list_permission_sets()
            .instance_arn(stage.front.instance_arn())
            .send()
    };
    table.line(
        "what it does not",
        code(sets().await),
        "AccessDeniedException",
    );
    stage.front.end_sessions_of(&arn);
    table.line(
        "after its end",
        code(sso.list_instances().send().await),
        "UnrecognizedClientException",
    );
}

#[tokio::test]
async fn what_the_front_does_not_play_goes_to_moto_in_the_callers_account() {
    // By way of a proxy, to see that another server can be named.
    let proxy = Proxy::before(Emulator::moto().port).await;
    let passed = proxy.rule(Rule::every(Act::Delay(Duration::ZERO)));
    let organization = organization().passing_to(proxy.port);
    let stage = Stage::of(organization.role(Role::new(SHOP, "reads", MANAGEMENT))).await;
    let secret = "of-the-shop";
    let keys = assumed(&stage.front, SHOP, "reads").await;
    let secrets = aws_sdk_secretsmanager::Client::new(&with(&stage.front, keys));
    let made = secrets
        .create_secret()
        .name(secret)
        .secret_string("x")
        .send()
        .await
        .unwrap();
    assert!(made.arn().unwrap().contains(SHOP), "{:?}", made.arn());
    let ours = aws_sdk_secretsmanager::Client::new(&stage.front.sdk(MANAGEMENT, REGION));
    let read = ours.get_secret_value().secret_id(secret).send().await;
    assert_eq!(code(read), "ResourceNotFoundException");
    let wrong = Credentials::new(format!("AKIAFRNT{SHOP}"), "wrong", None, None, "test");
    let wrong = aws_sdk_secretsmanager::Client::new(&with(&stage.front, wrong));
    let read = wrong.get_secret_value().secret_id(secret).send().await;
    assert_eq!(code(read), "InvalidSignatureException");
    let seen = stage.front.calls_of("GetSecretValue");
    assert_eq!(seen.iter().filter(|call| call.refused.is_none()).count(), 1);
    assert_eq!(passed.times(), 2);
}
