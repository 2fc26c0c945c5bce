//! Owns credentials in the key-value engines of HashiCorp Vault, versions 1 and 2. Never writes, and never keeps a token longer than its lease.

mod login;

pub use login::VaultLogin;

use super::aws_secrets_manager::AwsAccess;
use super::body::{SHAPE, Spot};
use super::http::{Answer, Question, Server};
use super::{Credential, SecretError, SecretProblem, SecretStore, Wanted};
use crate::domain::SecretPlace;
use crate::secret::Secret;
use async_trait::async_trait;
use login::Keeper;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Longest time for everything a fetch may need: log-in, the mount's version, the secret.
const LIMIT: Duration = Duration::from_secs(12);

/// The version of a key-value engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvVersion {
    /// Vault is asked, which also tells where the mount ends and the path begins.
    Asked,
    /// Version 1 in a mount whose name has no slash.
    One,
    /// Version 2 in a mount whose name has no slash.
    Two,
}

/// Where Vault is and how we prove who we are.
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// Its address.
    pub url: Url,
    /// Certificate authorities in PEM form, the only ones that are trusted; without a file, the system's are.
    pub ca_file: Option<PathBuf>,
    /// The namespace, in editions that have them.
    pub namespace: Option<String>,
    /// The version of the key-value engine.
    pub kv_version: KvVersion,
    /// How we log in.
    pub login: VaultLogin,
}

/// Reads `vault:` references.
pub struct VaultSecrets {
    server: Server,
    namespace: Option<HeaderValue>,
    kv_version: KvVersion,
    keeper: Keeper,
}

/// One fetch on its way: whom it asks, about what.
struct Asked<'a> {
    store: &'a VaultSecrets,
    client: Client,
    place: String,
}

/// A mount and what is left of the path.
struct Found<'a> {
    mount: Vec<&'a str>,
    rest: Vec<&'a str>,
    version: KvVersion,
}

impl VaultSecrets {
    /// Takes how to reach Vault; nothing is sent yet. The way to AWS is used by the log-in of that kind only.
    #[must_use]
    pub fn new(options: VaultOptions, aws: Arc<dyn AwsAccess>) -> Self {
        let namespace = options
            .namespace
            .and_then(|name| HeaderValue::from_str(&name).ok());
        Self {
            server: Server {
                url: options.url,
                ca_file: options.ca_file,
            },
            namespace,
            kv_version: options.kv_version,
            keeper: Keeper::new(options.login, aws),
        }
    }

    async fn read(&self, path: &str, place: String) -> Result<Credential, SecretError> {
        let asked = Asked {
            store: self,
            client: self.server.client(&place).await?,
            place,
        };
        let token = self.keeper.token(&asked).await?;
        match asked.secret(path, &token).await {
            // A token may be revoked before its time; a policy that forbids says the same.
            Err(error)
                if matches!(error.problem(), SecretProblem::Denied { .. })
                    && self.keeper.may_log_in_anew(&token).await =>
            {
                let token = self.keeper.token(&asked).await?;
                asked.secret(path, &token).await
            }
            done => done,
        }
    }
}

#[async_trait]
impl SecretStore for VaultSecrets {
    async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError> {
        let place = format!("secret `{}`", wanted.reference.as_str());
        let SecretPlace::Vault { path } = wanted.reference.place() else {
            let hint = "use a `vault:` reference";
            return Err(SecretError::new(place, SecretProblem::NotSetUp, hint));
        };
        let read = self.read(path, place.clone());
        match tokio::time::timeout(LIMIT, read).await {
            Ok(done) => done,
            Err(_) => {
                let hint = format!("check that `{}` answers", self.server.url);
                let problem = SecretProblem::TooSlow { limit: LIMIT };
                Err(SecretError::new(place, problem, hint))
            }
        }
    }
}

impl Asked<'_> {
    fn error(&self, problem: SecretProblem, hint: impl Into<String>) -> SecretError {
        SecretError::new(self.place.clone(), problem, hint)
    }

    async fn secret(&self, path: &str, token: &Secret) -> Result<Credential, SecretError> {
        let names: Vec<&str> = path.split('/').collect();
        let found = match self.store.kv_version {
            KvVersion::Asked => self.find(&names, token).await?,
            version @ (KvVersion::One | KvVersion::Two) => Found {
                mount: names.iter().take(1).copied().collect(),
                rest: names.iter().skip(1).copied().collect(),
                version,
            },
        };
        let mut way = vec!["v1"];
        way.extend(&found.mount);
        if found.version == KvVersion::Two {
            way.push("data");
        }
        way.extend(&found.rest);
        let answer = self.get(&way, token).await?;
        let action = format!(
            "read {}",
            way.split_first().map_or(String::new(), |w| w.1.join("/"))
        );
        let mut answer = self.judge(&answer, &action)?;
        let mut data = answer["data"].take();
        if found.version == KvVersion::Two {
            data = data["data"].take();
        }
        let hint = format!("vault kv put {path} username=… password=…");
        let spot = Spot {
            place: &self.place,
            hint: &hint,
        };
        let Value::Object(keys) = data else {
            let problem = "has no `data`";
            return Err(self.error(
                SecretProblem::Garbled { problem },
                format!("store {SHAPE} in a key-value engine, version 1 or 2"),
            ));
        };
        spot.pick(keys)
    }

    /// Asks where the mount ends and which version it has.
    async fn find<'a>(&self, names: &[&'a str], token: &Secret) -> Result<Found<'a>, SecretError> {
        let mut way = vec!["v1", "sys", "internal", "ui", "mounts"];
        way.extend(names);
        let answer = self.get(&way, token).await?;
        let answer = self.judge(&answer, &format!("read {}", names.join("/")))?;
        let data = &answer["data"];
        let mount = data["path"]
            .as_str()
            .unwrap_or_default()
            .trim_end_matches('/');
        let count = mount.split('/').count();
        let (start, rest) = names.split_at(count.min(names.len()));
        if start.join("/") != mount || rest.is_empty() || data["type"] != "kv" {
            return Err(self.error(
                SecretProblem::Garbled {
                    problem: "does not say that it is a key-value engine",
                },
                "point the reference at a secret in a key-value engine, or set `secrets.vault.kv_version`",
            ));
        }
        Ok(Found {
            mount: start.to_vec(),
            rest: rest.to_vec(),
            version: match data["options"]["version"].as_str() {
                Some("2") => KvVersion::Two,
                _ => KvVersion::One,
            },
        })
    }

    async fn get(&self, way: &[&str], token: &Secret) -> Result<Answer, SecretError> {
        self.send(Method::GET, way, Some(token), None).await
    }

    async fn send(
        &self,
        method: Method,
        way: &[&str],
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Result<Answer, SecretError> {
        let mut headers = HeaderMap::new();
        // Asked for by proxies of Vault, against requests forged in a browser.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.store.namespace {
            headers.insert("x-vault-namespace", namespace.clone());
        }
        if let Some(mut token) = token.and_then(|t| HeaderValue::from_str(t.expose()).ok()) {
            token.set_sensitive(true);
            headers.insert("x-vault-token", token);
        }
        let question = Question {
            method,
            url: self.store.server.path(way.iter().copied()),
            headers,
            body,
        };
        let store = &self.store.server;
        store.ask(&self.client, &self.place, question).await
    }

    /// Judges by the status alone.
    fn judge(&self, answer: &Answer, action: &str) -> Result<Value, SecretError> {
        let url = &self.store.server.url;
        Err(match answer.status {
            200 => return Ok(answer.json()),
            403 => self.error(
                SecretProblem::Denied {
                    action: action.to_owned(),
                },
                format!("give the connector's Vault role a policy that allows to {action}"),
            ),
            404 => {
                let gone = &answer.json()["data"]["metadata"];
                let deleted = gone["destroyed"] == true
                    || gone["deletion_time"].as_str().is_some_and(|at| !at.is_empty());
                if deleted {
                    self.error(SecretProblem::Deleted, "vault kv undelete, or store it anew")
                } else {
                    self.error(
                        SecretProblem::Missing,
                        "store the secret in Vault, and check mount, path and `secrets.vault.namespace`",
                    )
                }
            }
            429 => self.error(SecretProblem::Throttled, "raise `secrets.keep_s`"),
            301 | 302 | 307 | 308 | 472 | 473 => self.error(
                SecretProblem::Standby,
                format!("set `secrets.vault.url`, now `{url}`, to the address of the active server or of the cluster"),
            ),
            503 => self.error(
                SecretProblem::Sealed,
                format!("unseal Vault at `{url}`, or wait for the end of its maintenance"),
            ),
            status => self.error(
                SecretProblem::Refused {
                    code: status.to_string(),
                    // 412: a server that has not caught up yet.
                    passing: status >= 500 || status == 412,
                },
                format!("check that Vault is at `{url}`, and its log"),
            ),
        })
    }
}
