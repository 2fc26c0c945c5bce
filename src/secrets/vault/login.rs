//! Owns how we prove to Vault who we are, and the token that comes of it. Never logs in while a token is good.

use super::Asked;
use crate::secret::Secret;
use crate::secrets::aws_secrets_manager::{AwsAccess, no_way};
use crate::secrets::error::{SecretError, SecretProblem};
use crate::secrets::http::read_token;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_types::SdkConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Time between two log-ins that were not due: a secret we may not read must not make a token per question.
const ANEW_EVERY: Duration = Duration::from_secs(1);
/// The whole of the question by which AWS tells who signed it.
const WHO_AM_I: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// How we log in to Vault.
#[derive(Debug, Clone)]
pub enum VaultLogin {
    /// By a token somebody else looks after, for example Vault Agent; read again for every fetch.
    Token {
        /// Its file.
        file: PathBuf,
    },
    /// By the service account's token.
    Kubernetes {
        /// Where the method is mounted, for example `kubernetes`.
        mount: String,
        /// The role in Vault.
        role: String,
        /// The service account's token.
        token_file: PathBuf,
    },
    /// By a signed question to AWS who we are.
    Aws {
        /// Where the method is mounted, for example `aws`.
        mount: String,
        /// The role in Vault.
        role: String,
        /// The region whose STS Vault asks; the global one when absent.
        region: Option<String>,
        /// What Vault wants in `X-Vault-AWS-IAM-Server-ID`, where it is set up so.
        server_id: Option<String>,
    },
}

/// Looks after the token.
pub(super) struct Keeper {
    login: VaultLogin,
    aws: Arc<dyn AwsAccess>,
    known: Mutex<Option<Known>>,
}

struct Known {
    token: Secret,
    since: Instant,
    /// How long it is good; for ever when absent.
    lease: Option<Duration>,
    renewable: bool,
    /// When it was made by a log-in.
    made: Instant,
}

/// What a log-in or a renewal gave.
struct Given {
    token: Secret,
    lease: Option<Duration>,
    renewable: bool,
}

impl Keeper {
    pub(super) fn new(login: VaultLogin, aws: Arc<dyn AwsAccess>) -> Self {
        Self {
            login,
            aws,
            known: Mutex::default(),
        }
    }

    /// Returns a token that is good for half its lease or more, renewed or made anew if need be.
    pub(super) async fn token(&self, asked: &Asked<'_>) -> Result<Secret, SecretError> {
        if let VaultLogin::Token { file } = &self.login {
            return read_token(&asked.place, file).await;
        }
        let mut known = self.known.lock().await;
        if let Some(held) = known.as_mut() {
            let age = held.since.elapsed();
            match held.lease {
                None => return Ok(held.token.clone()),
                Some(lease) if age < lease / 2 => return Ok(held.token.clone()),
                Some(lease) if age < lease && held.renewable => {
                    if let Some(given) = renew(asked, &held.token).await {
                        held.since = Instant::now();
                        held.lease = given.lease;
                        held.renewable = given.renewable;
                        return Ok(held.token.clone());
                    }
                }
                Some(_) => {}
            }
        }
        *known = None;
        let given = self.log_in(asked).await?;
        let token = given.token.clone();
        let now = Instant::now();
        *known = Some(Known {
            token: given.token,
            since: now,
            lease: given.lease,
            renewable: given.renewable,
            made: now,
        });
        Ok(token)
    }

    /// Forgets a token that was refused, unless it was made just now.
    pub(super) async fn may_log_in_anew(&self, refused: &Secret) -> bool {
        let mut known = self.known.lock().await;
        match known.as_ref() {
            None => false,
            Some(held) if held.token.expose() != refused.expose() => true,
            Some(held) if held.made.elapsed() < ANEW_EVERY => false,
            Some(_) => {
                *known = None;
                true
            }
        }
    }

    async fn log_in(&self, asked: &Asked<'_>) -> Result<Given, SecretError> {
        let (mount, body, method) = match &self.login {
            VaultLogin::Token { file } => {
                return Ok(Given {
                    token: read_token(&asked.place, file).await?,
                    lease: None,
                    renewable: false,
                });
            }
            VaultLogin::Kubernetes {
                mount,
                role,
                token_file,
            } => {
                let jwt = read_token(&asked.place, token_file).await?;
                let body = json!({ "role": role, "jwt": jwt.expose() });
                (mount, body, "Kubernetes")
            }
            VaultLogin::Aws {
                mount,
                role,
                region,
                server_id,
            } => {
                let config = self.aws.config(region.as_deref(), &[]).await;
                let config = config.map_err(|error| no_way(&asked.place, &error))?;
                let signed = signed(&config, region.as_deref(), server_id.as_deref()).await;
                let mut body = signed.map_err(|error| {
                    // The library's words may show credentials.
                    drop(error);
                    let what = "the question to AWS could not be signed".to_owned();
                    let problem = SecretProblem::LoginRefused { what };
                    asked.error(problem, "give the connector an AWS role")
                })?;
                body.insert("role".to_owned(), json!(role));
                (mount, Value::Object(body), "AWS")
            }
        };
        let mut way = vec!["v1", "auth"];
        way.extend(mount.split('/'));
        way.push("login");
        let answer = asked.send(Method::POST, &way, None, Some(&body)).await?;
        // 400 is what Vault says to a role it does not know or a proof it does not take.
        if matches!(answer.status, 400 | 401 | 403) {
            return Err(asked.error(
                SecretProblem::LoginRefused {
                    what: format!("Vault's {method} method at `{mount}`"),
                },
                format!("check `secrets.vault.role` and what the role in Vault is bound to, by `vault read auth/{mount}/role/…`"),
            ));
        }
        let answer = asked.judge(&answer, &format!("log in at auth/{mount}"))?;
        given(&answer).ok_or_else(|| {
            asked.error(
                SecretProblem::Garbled {
                    problem: "to the log-in has no token",
                },
                "check that `secrets.vault.login_mount` is a method of this kind",
            )
        })
    }
}

/// Signs the question who we are, for Vault to send.
async fn signed(
    config: &SdkConfig,
    region: Option<&str>,
    server_id: Option<&str>,
) -> Result<Map<String, Value>, Box<dyn Error + Send + Sync>> {
    let provider = config.credentials_provider().ok_or("no AWS credentials")?;
    let identity = provider.provide_credentials().await?.into();
    let clock = config.time_source().ok_or("no clock")?;
    let host = sts_host(region);
    let url = format!("https://{host}/");
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region.unwrap_or("us-east-1"))
        .name("sts")
        .time(clock.now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let mut headers = vec![("host", host.as_str()), ("content-type", FORM)];
    headers.extend(server_id.map(|id| ("x-vault-aws-iam-server-id", id)));
    let question = SignableRequest::new(
        "POST",
        &url,
        headers.iter().copied(),
        SignableBody::Bytes(WHO_AM_I.as_bytes()),
    )?;
    let (instructions, _) = sign(question, &params)?.into_parts();
    let mut all: Map<String, Value> = Map::new();
    for (name, value) in headers.into_iter().chain(instructions.headers()) {
        all.insert(name.to_owned(), json!([value]));
    }
    let mut body = Map::new();
    let encoded = |text: &str| json!(STANDARD.encode(text));
    body.insert("iam_http_request_method".to_owned(), json!("POST"));
    body.insert("iam_request_url".to_owned(), encoded(&url));
    body.insert("iam_request_body".to_owned(), encoded(WHO_AM_I));
    let headers = Value::Object(all).to_string();
    body.insert("iam_request_headers".to_owned(), encoded(&headers));
    Ok(body)
}

fn sts_host(region: Option<&str>) -> String {
    match region {
        None => "sts.amazonaws.com".to_owned(),
        Some(region) if region.starts_with("cn-") => format!("sts.{region}.amazonaws.com.cn"),
        Some(region) => format!("sts.{region}.amazonaws.com"),
    }
}

/// Asks for more time; a refusal means that a new log-in is due.
async fn renew(asked: &Asked<'_>, token: &Secret) -> Option<Given> {
    let way = ["v1", "auth", "token", "renew-self"];
    let body = json!({});
    let answer = asked
        .send(Method::POST, &way, Some(token), Some(&body))
        .await;
    let answer = answer.ok().filter(|answer| answer.status == 200)?;
    given(&answer.json())
}

fn given(answer: &Value) -> Option<Given> {
    let auth = answer.get("auth")?;
    let token = auth["client_token"].as_str()?;
    // A token becomes a header: what cannot be one is none.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let lease = auth["lease_duration"].as_u64().unwrap_or_default();
    Some(Given {
        token: Secret::new(token.to_owned()),
        lease: (lease > 0).then(|| Duration::from_secs(lease)),
        renewable: auth["renewable"] == true,
    })
}
