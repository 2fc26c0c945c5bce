//! Owns the command line's side of the admin API.

use super::CommandError;
use crate::control::protocol::ErrorReply;
use crate::reference_plane::admin::TaskView;
use crate::reference_plane::token;
use crate::secret::Secret;
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// How long a call may take, the longest wait included.
const CALL_TIME: Duration = Duration::from_secs(60);
/// How long one call waits for a task.
const WAIT: Duration = Duration::from_secs(25);

/// Speaks with the control plane.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret,
}

impl Client {
    pub(super) fn new(url: &str, token_file: &Path) -> Result<Self, CommandError> {
        let refused = |message: String| CommandError::Refused {
            message,
            hint: None,
        };
        let base =
            Url::parse(url).map_err(|_| refused(format!("`--url` is `{url}`, not a URL")))?;
        let near = base
            .host_str()
            .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
        if base.scheme() != "https" && !near {
            return Err(refused(format!(
                "`--url` is `{url}`, the token travels by https or to this machine only"
            )));
        }
        let token = token::read(token_file)?;
        let mut builder = reqwest::Client::builder().timeout(CALL_TIME);
        if near {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| CommandError::Garbled(error.to_string()))?;
        Ok(Self { http, base, token })
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, CommandError> {
        self.call(Method::GET, path, query, None::<&()>).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, CommandError> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    /// Waits for a task; gives the last view of it when the time is over.
    pub(super) async fn wait_for(
        &self,
        task: Uuid,
        time: Duration,
    ) -> Result<TaskView, CommandError> {
        let end = tokio::time::Instant::now() + time;
        let id = task.to_string();
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let wait = left.min(WAIT).as_secs_f64().ceil();
            let query = [("wait_s", format!("{wait:.0}"))];
            let view: TaskView = self.get(&["tasks", &id], &query).await?;
            let open = matches!(view.state.as_str(), "queued" | "leased");
            if !open || tokio::time::Instant::now() >= end {
                return Ok(view);
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
    ) -> Result<T, CommandError> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["admin", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(self.token.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |_| CommandError::Unreachable {
            url: self.base.to_string(),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|error| CommandError::Garbled(error.to_string()));
        }
        let refusal: ErrorReply = serde_json::from_slice(&bytes)
            .map_err(|_| CommandError::Garbled(format!("status {status}")))?;
        Err(CommandError::Refused {
            message: refusal.error.message,
            hint: refusal.error.hint,
        })
    }
}
