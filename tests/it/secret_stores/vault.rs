//! Secrets in HashiCorp Vault.

use super::{fetch, told};
use crate::support::vault::Vault;
use apono_connector::aws::{AwsError, Hop};
use apono_connector::secrets::{AwsAccess, KvVersion, VaultLogin, VaultOptions, VaultSecrets};
use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_types::SdkConfig;
use aws_types::region::Region;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ONE: &str = "vault:kv/orders";
const TWO: &str = "vault:team/kv2/prod/orders db";

/// The connector's credentials, fixed.
struct Fixed;

#[async_trait]
impl AwsAccess for Fixed {
    async fn config(&self, region: Option<&str>, _roles: &[Hop]) -> Result<SdkConfig, AwsError> {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "hunter2",
            Some("session".to_owned()),
            None,
            "test",
        );
        Ok(aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.unwrap_or("eu-west-1").to_owned()))
            .credentials_provider(credentials)
            .load()
            .await)
    }
}

fn store(vault: &Vault, login: VaultLogin, change: impl FnOnce(&mut VaultOptions)) -> VaultSecrets {
    let mut options = VaultOptions {
        url: vault.server.url().parse().unwrap(),
        ca_file: None,
        namespace: None,
        kv_version: KvVersion::Asked,
        login,
    };
    change(&mut options);
    VaultSecrets::new(options, Arc::new(Fixed))
}

fn token_login(folder: &Path) -> VaultLogin {
    let file = folder.join("vault-token");
    std::fs::write(&file, "hvs.given\n").unwrap();
    VaultLogin::Token { file }
}

fn kubernetes_login(folder: &Path) -> VaultLogin {
    let token_file = folder.join("jwt");
    std::fs::write(&token_file, "jwt-1").unwrap();
    VaultLogin::Kubernetes {
        mount: "kubernetes".to_owned(),
        role: "connector".to_owned(),
        token_file,
    }
}

/// A Vault with a secret in each engine and a token for the connector.
fn filled() -> Vault {
    let vault = Vault::start();
    vault.store("kv/orders", json!({"username": "u1", "password": "p1"}));
    vault.store(
        "team/kv2/prod/orders%20db",
        json!({"username": "u2", "password": "p2", "host": "db"}),
    );
    vault.with(|state| {
        state.tokens.push("hvs.given".to_owned());
        state.jwt = "jwt-1".to_owned();
    });
    vault
}

#[tokio::test]
async fn both_versions_of_the_engine_are_read_in_mounts_with_and_without_a_slash() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    let store = store(&vault, token_login(folder.path()), |_| {});
    let found = fetch(&store, ONE).await.unwrap();
    assert_eq!(
        (found.username.as_str(), found.password.expose()),
        ("u1", "p1")
    );
    let found = fetch(&store, TWO).await.unwrap();
    assert_eq!(
        (found.username.as_str(), found.password.expose()),
        ("u2", "p2")
    );
    assert_eq!(found.host.as_deref(), Some("db"));
    vault.server.no_surprises();
}

#[tokio::test]
async fn a_version_that_is_set_is_not_asked_for() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    vault.with(|state| state.no_mounts = true);
    let asking = store(&vault, token_login(folder.path()), |_| {});
    let text = told(fetch(&asking, ONE).await, ONE);
    assert!(
        text.starts_with(
            "S may not be read by the connector: `read kv/orders` was refused | needs_operator"
        ),
        "{text}"
    );
    let told_so = store(&vault, token_login(folder.path()), |options| {
        options.kv_version = KvVersion::One;
    });
    fetch(&told_so, ONE).await.unwrap();
    vault.server.no_surprises();
}

#[tokio::test]
async fn the_namespace_goes_with_every_call() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    vault.with(|state| state.namespace = Some("team-a/db".to_owned()));
    let store = store(&vault, kubernetes_login(folder.path()), |options| {
        options.namespace = Some("team-a/db".to_owned());
    });
    fetch(&store, ONE).await.unwrap();
    vault.server.no_surprises();
}

#[tokio::test]
async fn a_log_in_is_kept_for_half_its_lease_then_renewed_then_made_anew() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    let store = store(&vault, kubernetes_login(folder.path()), |_| {});
    let counts = || vault.with(|state| (state.log_ins, state.renewals));
    fetch(&store, ONE).await.unwrap();
    fetch(&store, ONE).await.unwrap();
    assert_eq!(counts(), (1, 0));
    // A token that was revoked before its time.
    vault.with(|state| state.tokens.clear());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    vault.with(|state| state.lease = 2);
    fetch(&store, ONE).await.unwrap();
    assert_eq!(counts(), (2, 0));
    // Past half of two seconds, but maybe past all of it on a busy machine.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    vault.with(|state| state.no_renewal = true);
    fetch(&store, ONE).await.unwrap();
    assert_eq!(counts(), (3, 0), "renewal was refused");
    vault.server.no_surprises();
}

#[tokio::test]
async fn a_token_past_half_its_lease_is_renewed() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    vault.with(|state| state.lease = 8);
    let store = store(&vault, kubernetes_login(folder.path()), |_| {});
    fetch(&store, ONE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(4100)).await;
    vault.with(|state| state.lease = 3600);
    fetch(&store, ONE).await.unwrap();
    fetch(&store, ONE).await.unwrap();
    assert_eq!(vault.with(|state| (state.log_ins, state.renewals)), (1, 1));
    vault.server.no_surprises();
}

#[tokio::test]
async fn a_policy_that_forbids_does_not_make_a_token_per_question() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    vault.with(|state| state.no_mounts = true);
    let store = store(&vault, kubernetes_login(folder.path()), |_| {});
    for _ in 0..5 {
        let text = told(fetch(&store, ONE).await, ONE);
        assert!(text.contains("may not be read"), "{text}");
    }
    // One more each second at most.
    let log_ins = vault.with(|state| state.log_ins);
    assert!(log_ins < 5, "{log_ins}");
}

#[tokio::test]
async fn an_aws_log_in_sends_a_question_signed_for_this_vault() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    let login = |role: &str| VaultLogin::Aws {
        mount: "aws".to_owned(),
        role: role.to_owned(),
        region: Some("eu-west-1".to_owned()),
        server_id: Some("vault.example.com".to_owned()),
    };
    drop(folder);
    let found = fetch(&store(&vault, login("connector"), |_| {}), ONE)
        .await
        .unwrap();
    assert_eq!(found.username, "u1");
    let sent = vault.with(|state| state.aws.clone());
    let value = |name: &str| {
        let fields = sent.as_object().unwrap().iter();
        let mut found = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let (_, values) = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {sent}"));
        values[0].as_str().unwrap().to_owned()
    };
    assert_eq!(value("host"), "sts.eu-west-1.amazonaws.com");
    assert_eq!(value("x-vault-aws-iam-server-id"), "vault.example.com");
    assert_eq!(value("x-amz-security-token"), "session");
    let signed = value("authorization");
    assert!(
        signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
        "{signed}"
    );
    assert!(signed.contains("/eu-west-1/sts/aws4_request"), "{signed}");
    for name in [
        "host",
        "x-amz-date",
        "x-amz-security-token",
        "x-vault-aws-iam-server-id",
    ] {
        let list = signed.split("SignedHeaders=").nth(1).unwrap();
        let list = list.split(',').next().unwrap();
        assert!(list.split(';').any(|one| one == name), "{name} in {list}");
    }
    let text = told(
        fetch(&store(&vault, login("other"), |_| {}), ONE).await,
        ONE,
    );
    assert!(text.starts_with("S cannot be read: the log-in to its store was refused (Vault's AWS method at `aws`) | needs_operator"), "{text}");
    vault.server.no_surprises();
}

#[tokio::test]
async fn each_refusal_of_vault_has_its_words_and_its_fix() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    let store = store(&vault, token_login(folder.path()), |options| {
        options.kv_version = KvVersion::One;
    });
    for (status, expected) in [
        (
            403,
            "S may not be read by the connector: `read kv/orders` was refused | needs_operator",
        ),
        (404, "S does not exist | unauthorised"),
        (412, "S cannot be read: the store answers `412` | transient"),
        (
            429,
            "S was not read: the store asks to slow down | throttled",
        ),
        (
            307,
            "S cannot be read: a standby of the store answered | transient",
        ),
        (
            473,
            "S cannot be read: a standby of the store answered | transient",
        ),
        (
            503,
            "S cannot be read: the store is sealed or in maintenance | transient",
        ),
        (500, "S cannot be read: the store answers `500` | transient"),
        (
            400,
            "S cannot be read: the store answers `400` | needs_operator",
        ),
    ] {
        vault.with(|state| state.instead = Some(status));
        let text = told(fetch(&store, ONE).await, ONE);
        assert!(text.starts_with(expected), "{text}");
    }
    vault.server.no_surprises();
}

#[tokio::test]
async fn bad_content_in_vault_is_named_and_never_shown() {
    let (vault, folder) = (filled(), tempfile::tempdir().unwrap());
    let store = store(&vault, token_login(folder.path()), |_| {});
    for (data, expected) in [
        (json!({"username": "hunter2"}), "S: `password` is missing"),
        (
            json!({"username": "u", "password": 7}),
            "S: `password` is not a text",
        ),
        (
            json!(["hunter2"]),
            "S cannot be read: the answer of the store has no `data`",
        ),
    ] {
        vault.store("kv/orders", data);
        let text = told(fetch(&store, ONE).await, ONE);
        assert_eq!(text.split(" | ").next(), Some(expected));
    }
    vault.store(
        "team/kv2/prod/orders%20db",
        json!({"destroyed": true, "deletion_time": ""}),
    );
    let text = told(fetch(&store, TWO).await, TWO);
    assert!(
        text.starts_with("S is deleted or scheduled for deletion | needs_operator"),
        "{text}"
    );
    std::fs::write(folder.path().join("vault-token"), "").unwrap();
    let text = told(fetch(&store, ONE).await, ONE);
    assert!(text.contains("(the token in `"), "{text}");
}
