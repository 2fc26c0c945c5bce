//! Owns credentials in secrets of Kubernetes. Never lists, and never takes in a secret before it has seen the label that allows it.

use super::body::{SHAPE, Spot};
use super::http::{Answer, Question, Server, read_token};
use super::{Credential, MARK, SecretError, SecretProblem, SecretStore, Wanted};
use crate::domain::SecretPlace;
use crate::secret::Secret;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method};
use serde_json::{Map, Value};
use std::path::PathBuf;
use url::Url;
use zeroize::Zeroizing;

/// Only labels and names, no values.
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const WHOLE: &str = "application/json";
/// Keys of a secret that holds a credential without JSON.
const KEYS: [&str; 3] = ["username", "password", "host"];

/// Where the cluster's API is and how we prove who we are.
#[derive(Debug, Clone)]
pub struct KubernetesOptions {
    /// The API's address.
    pub url: Url,
    /// The service account's token; read again for every fetch, as the cluster replaces it every hour.
    pub token_file: PathBuf,
    /// The cluster's certificate authority.
    pub ca_file: PathBuf,
}

/// Reads `kubernetes:` references. The secret must carry the label `apono-connector-read=true`.
#[derive(Debug)]
pub struct KubernetesSecrets {
    server: Server,
    token_file: PathBuf,
}

/// One secret on the way.
struct Asked<'a> {
    namespace: &'a str,
    name: &'a str,
    place: String,
}

impl KubernetesSecrets {
    /// Takes how to reach the cluster; nothing is sent yet.
    #[must_use]
    pub fn new(options: KubernetesOptions) -> Self {
        Self {
            server: Server {
                url: options.url,
                ca_file: Some(options.ca_file),
            },
            token_file: options.token_file,
        }
    }

    async fn ask(
        &self,
        client: &Client,
        asked: &Asked<'_>,
        accept: &'static str,
    ) -> Result<Value, SecretError> {
        let token = read_token(&asked.place, &self.token_file).await?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some(bearer) = bearer(&token) {
            headers.insert(AUTHORIZATION, bearer);
        }
        let names = [
            "api",
            "v1",
            "namespaces",
            asked.namespace,
            "secrets",
            asked.name,
        ];
        let question = Question {
            method: Method::GET,
            url: self.server.path(names),
            headers,
            body: None,
        };
        let answer = self.server.ask(client, &asked.place, question).await?;
        let object = asked.judge(&answer)?;
        asked.check_label(&object)?;
        Ok(object)
    }
}

#[async_trait]
impl SecretStore for KubernetesSecrets {
    async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError> {
        let place = format!("secret `{}`", wanted.reference.as_str());
        let SecretPlace::Kubernetes {
            namespace,
            name,
            key,
        } = wanted.reference.place()
        else {
            let hint = "use a `kubernetes:` reference";
            return Err(SecretError::new(place, SecretProblem::NotSetUp, hint));
        };
        let asked = Asked {
            namespace,
            name,
            place,
        };
        let client = self.server.client(&asked.place).await?;
        self.ask(&client, &asked, METADATA).await?;
        let object = self.ask(&client, &asked, WHOLE).await?;
        asked.credential(&object, key.as_deref())
    }
}

/// `Bearer` and the token, never shown by the client.
pub(super) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Asked<'_> {
    fn error(&self, problem: SecretProblem, hint: impl Into<String>) -> SecretError {
        SecretError::new(self.place.clone(), problem, hint)
    }

    fn judge(&self, answer: &Answer) -> Result<Value, SecretError> {
        let (namespace, name) = (self.namespace, self.name);
        match answer.status {
            200 => {
                let object = answer.json();
                if object.get("metadata").is_some_and(Value::is_object) {
                    return Ok(object);
                }
                let problem = "has no metadata";
                Err(self.error(
                    SecretProblem::Garbled { problem },
                    "check that `secrets.kubernetes.url` is the API server of the cluster",
                ))
            }
            401 => Err(self.error(
                SecretProblem::LoginRefused {
                    what: "the service account's token".to_owned(),
                },
                "give the connector's pod a service account of this cluster, and mount its token",
            )),
            403 => Err(self.error(
                SecretProblem::Denied {
                    action: "get secrets".to_owned(),
                },
                format!(
                    "kubectl create role {MARK} -n {namespace} --verb=get --resource=secrets --resource-name={name}, and bind it to the connector's service account"
                ),
            )),
            404 => Err(self.error(
                SecretProblem::Missing,
                format!("create the secret `{name}` in the namespace `{namespace}`"),
            )),
            429 => Err(self.error(SecretProblem::Throttled, "raise `secrets.keep_s`")),
            status => Err(self.error(
                SecretProblem::Refused {
                    code: status.to_string(),
                    passing: status >= 500,
                },
                "check that `secrets.kubernetes.url` is the API server of the cluster",
            )),
        }
    }

    fn check_label(&self, object: &Value) -> Result<(), SecretError> {
        if object["metadata"]["labels"][MARK] == "true" {
            return Ok(());
        }
        let command = format!(
            "kubectl label secret -n {} {} {MARK}=true",
            self.namespace, self.name
        );
        Err(self.error(SecretProblem::NotMarked { what: "label" }, command))
    }

    fn credential(&self, object: &Value, key: Option<&str>) -> Result<Credential, SecretError> {
        let hint = match key {
            Some(key) => format!("store {SHAPE} under the key `{key}`"),
            None => "give the secret the keys `username` and `password`, or name the key that holds all as JSON: `kubernetes:namespace/name/key`".to_owned(),
        };
        let spot = Spot {
            place: &self.place,
            hint: &hint,
        };
        match key {
            Some(key) => {
                let body = self.decoded(&spot, object, key)?;
                spot.parse(&body.ok_or_else(|| spot.bad_key(key, "is missing"))?)
            }
            None => {
                let mut keys = Map::new();
                for key in KEYS {
                    if let Some(bytes) = self.decoded(&spot, object, key)? {
                        let text = std::str::from_utf8(&bytes)
                            .map_err(|_| spot.bad_key(key, "is not a text"))?;
                        keys.insert(key.to_owned(), Value::String(text.to_owned()));
                    }
                }
                spot.pick(keys)
            }
        }
    }

    fn decoded(
        &self,
        spot: &Spot<'_>,
        object: &Value,
        key: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
        let Some(value) = object.get("data").and_then(|data| data.get(key)) else {
            return Ok(None);
        };
        let text = value.as_str();
        let bytes = text.and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.ok_or_else(|| spot.bad_key(key, "is not base64"))?;
        Ok(Some(Zeroizing::new(bytes)))
    }
}
