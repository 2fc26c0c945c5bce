//! Owns the HTTP client of the stores that are not AWS: limits, one authority, no detours. Never retries and never follows a redirect.

use super::error::{SecretError, SecretProblem};
use crate::secret::Secret;
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, Method};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use url::Url;
use zeroize::Zeroizing;

/// Until a connection stands, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// From the first byte sent to the last byte read.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Largest answer: a Kubernetes secret of 1 MiB in base64, with what the server says of it.
const MAX_ANSWER_BYTES: usize = 2 << 20;
/// Largest file of certificate authorities or with a token: 1 MiB.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// How long an idle connection is kept; stores are asked rarely.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// A server and the authorities that vouch for it.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) url: Url,
    /// Certificate authorities in PEM form, the only ones that are trusted; without a file, the system's are. Read again for
    /// every fetch, so that a renewal needs no restart.
    pub(super) ca_file: Option<PathBuf>,
}

/// One question.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<&'a serde_json::Value>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// Takes the answer apart; what is not JSON counts as nothing at all.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Server {
    /// Returns the address of a call; each name is one percent-encoded segment.
    pub(super) fn path<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(names);
        }
        url
    }

    /// Makes a client for one fetch.
    pub(super) async fn client(&self, place: &str) -> Result<Client, SecretError> {
        let mut builder = Client::builder()
            .user_agent(concat!("apono-connector/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A store of secrets is never reached through a proxy nobody named.
            .no_proxy()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(CALL_LIMIT)
            .pool_idle_timeout(IDLE_CONNECTION);
        if let Some(path) = &self.ca_file {
            builder = builder.tls_certs_only(authorities(place, path).await?);
        } else if self.url.scheme() == "http" {
            // Nothing is encrypted, so a machine without system certificates will do.
            builder = builder.tls_certs_only([]);
        }
        builder.build().map_err(|error| {
            let hint = "check the certificate authorities of this machine";
            SecretError::new(place, SecretProblem::Unreachable, hint).caused_by(error)
        })
    }

    /// Asks, and reads the answer to its end or to the limit.
    pub(super) async fn ask(
        &self,
        client: &Client,
        place: &str,
        question: Question<'_>,
    ) -> Result<Answer, SecretError> {
        let unreachable = |error: reqwest::Error| {
            let hint = format!(
                "check that `{}` is right and can be reached from this machine, and that its certificate is signed by the authorities given",
                self.url
            );
            SecretError::new(place, SecretProblem::Unreachable, hint).caused_by(error.without_url())
        };
        let mut request = client
            .request(question.method, question.url)
            .headers(question.headers);
        if let Some(body) = question.body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let limit = MAX_ANSWER_BYTES;
                let problem = SecretProblem::TooLarge { limit };
                return Err(SecretError::new(place, problem, "make the secret smaller"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

async fn authorities(place: &str, path: &Path) -> Result<Vec<Certificate>, SecretError> {
    let what = format!("the authorities in `{}`", path.display());
    let unusable = || {
        SecretError::new(
            place,
            SecretProblem::LoginRefused { what: what.clone() },
            format!("put certificates in PEM form at `{}`", path.display()),
        )
    };
    let pem = read_file(path)
        .await
        .map_err(|error| unusable().caused_by(error))?;
    match Certificate::from_pem_bundle(pem.expose().as_bytes()) {
        Ok(authorities) if !authorities.is_empty() => Ok(authorities),
        _ => Err(unusable()),
    }
}

/// Reads a file that proves who someone is; read again each time, so that a renewal needs no restart.
pub(super) async fn read_file(path: &Path) -> std::io::Result<Secret> {
    let file = tokio::fs::File::open(path).await?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .await?;
    let text = Secret::new(text);
    if text.expose().len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("longer than a mebibyte"));
    }
    Ok(text)
}

/// Reads a token of one line.
pub(super) async fn read_token(place: &str, path: &Path) -> Result<Secret, SecretError> {
    let what = format!("the token in `{}`", path.display());
    let unusable = || {
        SecretError::new(
            place,
            SecretProblem::LoginRefused { what: what.clone() },
            format!("put a token of one line at `{}`", path.display()),
        )
    };
    let text = read_file(path)
        .await
        .map_err(|error| unusable().caused_by(error))?;
    let token = text.expose().trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable());
    }
    Ok(Secret::new(token.to_owned()))
}
