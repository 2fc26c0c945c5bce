//! Secrets in AWS Secrets Manager: what it gives by an emulator, what it refuses by a server that says just that.

use super::{fetch, told, wanted};
use crate::support::aws::emulators::{Emulator, sdk};
use crate::support::cluster::fresh;
use crate::support::strict_http::StrictServer;
use apono_connector::aws::{AwsError, Hop};
use apono_connector::domain::{ErrorClass, SecretRef};
use apono_connector::secrets::{AwsAccess, AwsSecretsManager, SecretStore, Wanted};
use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::Tag;
use aws_types::SdkConfig;
use aws_types::region::Region;
use serde_json::json;
use std::sync::Arc;

const REGION: &str = "eu-west-1";
/// A secret of the server that answers everything.
const S: &str = "aws-secretsmanager:orders";

/// One emulator for every region.
struct Emulated(SdkConfig);

#[async_trait]
impl AwsAccess for Emulated {
    async fn config(&self, region: Option<&str>, _roles: &[Hop]) -> Result<SdkConfig, AwsError> {
        let none = || {
            AwsError::new(
                "x:Y",
                ErrorClass::NeedsOperator,
                "no_region",
                "no AWS region",
            )
        };
        let region = region.ok_or_else(none)?.to_owned();
        Ok(self.0.to_builder().region(Region::new(region)).build())
    }
}

fn moto() -> (Client, AwsSecretsManager) {
    let config = Emulator::moto().sdk(REGION, "AKIAEXAMPLE", "secret");
    let client = Client::new(&config);
    (client, AwsSecretsManager::new(Arc::new(Emulated(config))))
}

/// A description with the tag.
fn tagged() -> (u16, String) {
    let tags = json!([{"Key": "apono-connector-read", "Value": "true"}]);
    (
        200,
        json!({"Name": "orders", "KmsKeyId": "key-1", "Tags": tags}).to_string(),
    )
}

/// A store behind which one server answers everything.
fn strict(
    answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
) -> (StrictServer, AwsSecretsManager) {
    let server = StrictServer::start(None, move |heard| {
        let signed = heard
            .header("authorization")
            .contains("/eu-west-1/secretsmanager/aws4_request");
        let operation = heard
            .header("x-amz-target")
            .strip_prefix("secretsmanager.")?;
        let fits = heard.method == "POST" && heard.path == "/" && signed;
        fits.then(|| answer(operation))
    });
    let config = sdk(
        &server.url(),
        REGION,
        Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"),
    );
    (server, AwsSecretsManager::new(Arc::new(Emulated(config))))
}

fn here(name: &str) -> String {
    format!("aws-secretsmanager:{name}")
}

async fn make(client: &Client, text: &str) -> String {
    let name = fresh("prod/orders");
    let mark = Tag::builder()
        .key("apono-connector-read")
        .value("true")
        .build();
    let made = client
        .create_secret()
        .name(&name)
        .tags(mark)
        .secret_string(text);
    made.send().await.unwrap();
    name
}

fn at(reference: &str) -> Wanted {
    Wanted {
        reference: SecretRef::parse(reference).unwrap(),
        region: Some(REGION.to_owned()),
        roles: Vec::new(),
    }
}

#[tokio::test]
async fn a_secret_of_aws_is_read_by_name_in_a_region_or_by_its_whole_arn() {
    let (client, store) = moto();
    let name = make(
        &client,
        r#"{"username":"u","password":"p","host":"db","engine":"postgres"}"#,
    )
    .await;
    let found = store.fetch(&at(&here(&name))).await.unwrap();
    assert_eq!(
        (found.username.as_str(), found.password.expose()),
        ("u", "p")
    );
    assert_eq!(found.host.as_deref(), Some("db"));
    let described = client
        .describe_secret()
        .secret_id(&name)
        .send()
        .await
        .unwrap();
    let by_arn = here(described.arn().unwrap());
    let found = fetch(&store, &by_arn).await.unwrap();
    assert_eq!(found.username, "u");
    let text = told(fetch(&store, &here(&name)).await, &here(&name));
    assert!(
        text.starts_with(
            "S cannot be read: the log-in to its store was refused (`x:Y`: no AWS region) | needs_operator"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn the_version_before_a_rotation_can_be_had() {
    let (client, store) = moto();
    let name = make(&client, r#"{"username":"u","password":"one"}"#).await;
    let wanted = at(&here(&name));
    assert!(store.fetch_previous(&wanted).await.unwrap().is_none());
    let rotated = client.put_secret_value().secret_id(&name);
    let rotated = rotated.secret_string(r#"{"username":"u","password":"two"}"#);
    rotated.send().await.unwrap();
    let found = store.fetch(&wanted).await.unwrap();
    assert_eq!(found.password.expose(), "two");
    let before = store.fetch_previous(&wanted).await.unwrap().unwrap();
    assert_eq!(before.password.expose(), "one");
}

#[tokio::test]
async fn a_secret_of_aws_without_the_tag_is_refused_with_the_command_that_sets_it() {
    let (client, store) = moto();
    for value in [None, Some("false")] {
        let name = fresh("untagged");
        let tags = value.map(|value| {
            vec![
                Tag::builder()
                    .key("apono-connector-read")
                    .value(value)
                    .build(),
            ]
        });
        let made = client.create_secret().name(&name).set_tags(tags);
        made.secret_string("hunter2").send().await.unwrap();
        let expected = format!(
            "S has no tag `apono-connector-read=true`, without which the connector does not read it | needs_operator | aws secretsmanager tag-resource --region eu-west-1 --secret-id {name} --tags Key=apono-connector-read,Value=true"
        );
        let outcome = store.fetch(&at(&here(&name))).await;
        assert_eq!(told(outcome, &here(&name)), expected);
    }
}

#[tokio::test]
async fn bad_content_of_a_secret_of_aws_is_named_and_never_shown() {
    let (client, store) = moto();
    let big = format!(
        r#"{{"username":"u","password":"p","x":"{}"}}"#,
        "x".repeat(60 << 10)
    );
    let name = make(&client, &big).await;
    store.fetch(&at(&here(&name))).await.unwrap();
    for (text, expected) in [
        (
            "hunter2",
            "S is not a JSON object, trouble at line 1 column 1",
        ),
        (
            r#"["hunter2"]"#,
            "S is not a JSON object, trouble at line 1 column 0",
        ),
        (r#"{"password":"hunter2"}"#, "S: `username` is missing"),
        (
            r#"{"username":"hunter2","password":null}"#,
            "S: `password` is missing",
        ),
        (
            r#"{"username":"hunter2","password":"a\u0000"}"#,
            "S: `password` holds a NUL",
        ),
    ] {
        let reference = here(&make(&client, text).await);
        let told = told(store.fetch(&at(&reference)).await, &reference);
        assert_eq!(told.split(" | ").next(), Some(expected), "{text}");
    }
    let name = make(&client, "{}").await;
    let binary = client.put_secret_value().secret_id(&name);
    binary
        .secret_binary(Blob::new("hunter2"))
        .send()
        .await
        .unwrap();
    let told_binary = told(store.fetch(&at(&here(&name))).await, &here(&name));
    assert!(
        told_binary.starts_with("S is binary, must be a text | unauthorised"),
        "{told_binary}"
    );
}

#[tokio::test]
async fn a_secret_of_aws_that_is_gone_or_going_is_told_apart() {
    let (client, store) = moto();
    let absent = here(&fresh("absent"));
    let text = told(store.fetch(&at(&absent)).await, &absent);
    assert_eq!(
        text,
        "S does not exist | unauthorised | create the secret in region eu-west-1, or give its whole ARN when it is in another account"
    );
    let name = make(&client, r#"{"username":"u","password":"p"}"#).await;
    client
        .delete_secret()
        .secret_id(&name)
        .send()
        .await
        .unwrap();
    let text = told(store.fetch(&at(&here(&name))).await, &here(&name));
    let expected = format!(
        "S is deleted or scheduled for deletion | needs_operator | aws secretsmanager restore-secret --region eu-west-1 --secret-id {name}"
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn each_refusal_of_secrets_manager_has_its_words_and_its_fix() {
    for (code, status, expected) in [
        (
            "AccessDeniedException",
            400,
            "S may not be read by the connector: `secretsmanager:GetSecretValue` was refused | needs_operator | allow secretsmanager:GetSecretValue on the secret to the connector's role, and kms:Decrypt on the key key-1",
        ),
        (
            "DecryptionFailure",
            400,
            "S cannot be decrypted: the store answers `DecryptionFailure` | needs_operator",
        ),
        (
            "KMSDisabledException",
            400,
            "S cannot be decrypted: the store answers `KMSDisabledException` | needs_operator",
        ),
        (
            "InvalidRequestException",
            400,
            "S is deleted or scheduled for deletion | needs_operator",
        ),
        (
            "ResourceNotFoundException",
            400,
            "S does not exist | unauthorised | give the secret a value with the label AWSCURRENT",
        ),
        (
            "ThrottlingException",
            400,
            "S was not read: the store asks to slow down | throttled",
        ),
        (
            "InternalServiceError",
            500,
            "S cannot be read: the store answers `InternalServiceError` | transient",
        ),
        (
            "ExpiredTokenException",
            400,
            "S cannot be read: the log-in to its store was refused (ExpiredTokenException) | needs_operator",
        ),
        (
            "InvalidSignatureException",
            400,
            "S cannot be read: the log-in to its store was refused (InvalidSignatureException) | needs_operator",
        ),
        (
            "SomethingNew",
            400,
            "S cannot be read: the store answers `SomethingNew` | needs_operator",
        ),
    ] {
        let (server, store) = strict(move |operation| match operation {
            "DescribeSecret" => tagged(),
            _ => (
                status,
                json!({"__type": code, "Message": "hunter2"}).to_string(),
            ),
        });
        let text = told(store.fetch(&at(S)).await, S);
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(server.heard().len(), 2, "nothing is sent twice");
        server.no_surprises();
    }
}

#[tokio::test]
async fn an_answer_of_secrets_manager_that_is_too_large_or_no_answer_is_named() {
    let (server, store) = strict(|_| {
        (
            400,
            json!({"__type": "AccessDeniedException", "Message": "hunter2"}).to_string(),
        )
    });
    let text = told(store.fetch(&at(S)).await, S);
    assert!(
        text.contains("`secretsmanager:DescribeSecret` was refused | needs_operator"),
        "{text}"
    );
    server.no_surprises();
    let long =
        json!({"username": "u", "password": "hunter2", "x": "x".repeat(64 << 10)}).to_string();
    let (_, store) = strict(move |operation| match operation {
        "DescribeSecret" => tagged(),
        _ => (200, json!({"SecretString": long}).to_string()),
    });
    let text = told(store.fetch(&at(S)).await, S);
    assert!(
        text.starts_with("S is larger than 65536 bytes | unauthorised"),
        "{text}"
    );
    let (_, store) = strict(|_| (200, "hunter2".to_owned()));
    let text = told(store.fetch(&at(S)).await, S);
    assert!(
        text.starts_with("S cannot be read: the answer of the store is not understood | transient"),
        "{text}"
    );
}

#[tokio::test]
async fn a_secrets_manager_out_of_reach_is_waited_for() {
    let unused = crate::support::ports::free_port();
    let config = sdk(
        &format!("http://127.0.0.1:{unused}"),
        REGION,
        Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"),
    );
    let store = AwsSecretsManager::new(Arc::new(Emulated(config)));
    let text = told(store.fetch(&at(S)).await, S);
    assert!(
        text.starts_with("S cannot be read: its store cannot be reached | transient"),
        "{text}"
    );
    let other = told(store.fetch(&wanted("file:/x")).await, "file:/x");
    assert!(
        other.starts_with("S is in a store that is not set up | needs_operator"),
        "{other}"
    );
}
