//! Owns the HTTPS client of the control channel: identity, limits, classes of failure. Never retries and never follows a redirect.

mod answer;
mod token;

pub use token::TokenSource;

use super::convert::{parse_grants, parse_integrations, parse_task};
use super::error::SetupError;
use super::protocol as wire;
use super::{
    ControlError, ControlPlane, GrantsList, Header, Heartbeat, Hello, IntegrationsList,
    InventoryPart, InventoryReceipt, LeaseAsk, Leased, Renewal, Renewed, Session, TaskReport,
    render,
};
use crate::address::ControlPlaneUrl;
use crate::clock::SharedClock;
use crate::domain::{
    ConnectorId, EndReport, IntegrationId, ResourceKind, SessionId, TaskId, TaskKind,
};
use crate::secret::Secret;
use answer::Answered;
use async_trait::async_trait;
use reqwest::{Client, Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use token::TokenKeeper;
use url::Url;

/// What a lease call may take beyond its wait: 10 s.
const LEASE_EXTRA: Duration = Duration::from_secs(10);
/// What a part of an inventory upload may take beyond a usual call, as the control plane stores thousands of lines: 45 s.
const PART_EXTRA: Duration = Duration::from_secs(45);
/// Longest note of progress: 200 characters.
const MAX_PROGRESS_CHARS: usize = 200;
/// Largest file of certificate authorities: 1 MiB.
const MAX_CA_BYTES: u64 = 1 << 20;
/// How long an idle connection is kept: 90 s, so that a poll loop of 25 s reuses it.
const IDLE_CONNECTION: Duration = Duration::from_secs(90);
/// How often a connection in use is asked whether it lives: 15 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where the control plane is and how to get there.
#[derive(Debug)]
pub struct HttpOptions {
    /// Its address.
    pub url: ControlPlaneUrl,
    /// Who we are.
    pub connector: ConnectorId,
    /// How we prove it.
    pub token: TokenSource,
    /// Certificate authorities in PEM form. When set, they are the only ones that are trusted; else the system's are.
    pub ca_file: Option<PathBuf>,
    /// The way out; without one, calls go straight out whatever the environment says.
    pub proxy: Option<OutboundProxy>,
    /// How long calls may take.
    pub limits: TimeLimits,
}

/// An outbound proxy for https.
#[derive(Debug)]
pub struct OutboundProxy {
    /// Its URL, which may hold a user and a password.
    pub url: Secret,
    /// Hosts that are reached without it, in the form of `NO_PROXY`.
    pub bypass: String,
}

/// How long calls may take.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// From the first byte sent to the last byte read; a lease call has its wait on top.
    pub call: Duration,
}

impl Default for TimeLimits {
    /// 5 s to connect, 15 s for a call.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(15),
        }
    }
}

/// The control plane over HTTPS and JSON.
#[derive(Debug)]
pub struct HttpControlPlane {
    client: Client,
    url: ControlPlaneUrl,
    connector: ConnectorId,
    token: TokenKeeper,
    limits: TimeLimits,
    clock: SharedClock,
}

impl HttpControlPlane {
    /// Builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// When the file of certificate authorities or the proxy's address cannot be used.
    pub fn new(options: HttpOptions, clock: SharedClock) -> Result<Self, SetupError> {
        Ok(Self {
            client: build_client(&options)?,
            url: options.url,
            connector: options.connector,
            token: TokenKeeper::new(options.token),
            limits: options.limits,
            clock,
        })
    }

    fn path(&self, rest: &[&str]) -> Url {
        let mut segments = vec!["v1", "connectors", self.connector.as_str()];
        segments.extend(rest);
        self.url.join(&segments)
    }

    fn task_path(&self, task: TaskId, verb: &str) -> Url {
        self.path(&["tasks", &task.as_uuid().to_string(), verb])
    }

    async fn post<T: DeserializeOwned>(
        &self,
        call: &'static str,
        url: Url,
        body: &(impl Serialize + Sync),
        limit: Duration,
    ) -> Result<T, ControlError> {
        let request = self.client.post(url).json(body).timeout(limit);
        self.send(call, request).await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        call: &'static str,
        since: u64,
    ) -> Result<T, ControlError> {
        let mut url = self.path(&[call]);
        url.query_pairs_mut()
            .append_pair("since", &since.to_string());
        let request = self.client.request(Method::GET, url);
        self.send(call, request.timeout(self.limits.call)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<T, ControlError> {
        let token = self.token.current().await?;
        let unreachable = |source: reqwest::Error| ControlError::Unreachable {
            url: self.url.to_string(),
            call,
            source: Box::new(source.without_url()),
        };
        let response = request
            .bearer_auth(token.expose())
            .send()
            .await
            .map_err(unreachable)?;
        match answer::read(response, &token, self.clock.now())
            .await
            .map_err(unreachable)?
        {
            Answered::Body(body) => answer::parse(call, &body, &token),
            Answered::TooLarge(limit) => Err(ControlError::TooLarge { call, limit }),
            Answered::Refused {
                status,
                message,
                retry_after,
            } => {
                if status == 401 {
                    self.token.refused();
                }
                Err(ControlError::Refused {
                    call,
                    status,
                    message,
                    retry_after,
                })
            }
        }
    }
}

fn build_client(options: &HttpOptions) -> Result<Client, SetupError> {
    let mut builder = Client::builder()
        .user_agent(concat!("apono-connector/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        // The library would read the environment by itself otherwise.
        .no_proxy()
        .connect_timeout(options.limits.connect)
        .pool_idle_timeout(IDLE_CONNECTION)
        .tcp_keepalive(KEEP_ALIVE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE);
    if let Some(path) = &options.ca_file {
        builder = builder.tls_certs_only(read_authorities(path)?);
    } else if !options.url.is_https() {
        // Nothing is encrypted, so a machine without system certificates will do.
        builder = builder.tls_certs_only([]);
    }
    if let Some(proxy) = &options.proxy {
        // The library's error may show the address, which may hold a password.
        let built = reqwest::Proxy::https(proxy.url.expose()).map_err(|_| SetupError::Proxy)?;
        builder = builder.proxy(built.no_proxy(reqwest::NoProxy::from_string(&proxy.bypass)));
    }
    builder.build().map_err(|source| match &options.ca_file {
        Some(path) => SetupError::CaContent { path: path.clone() },
        None => SetupError::Client {
            source: Box::new(source),
        },
    })
}

fn read_authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, SetupError> {
    let unreadable = |source| SetupError::CaFile {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    let content = || SetupError::CaContent {
        path: path.to_owned(),
    };
    if size > MAX_CA_BYTES {
        return Err(content());
    }
    let pem = std::fs::read(path).map_err(unreadable)?;
    let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| content())?;
    if authorities.is_empty() {
        return Err(content());
    }
    Ok(authorities)
}

impl From<wire::Header> for Header {
    fn from(header: wire::Header) -> Self {
        Self {
            epoch: header.epoch,
            server_time: header.server_time,
            grants_revision: header.grants_revision,
            integrations_revision: header.integrations_revision,
        }
    }
}

#[async_trait]
impl ControlPlane for HttpControlPlane {
    async fn open_session(&self, hello: &Hello) -> Result<Session, ControlError> {
        let kinds = TaskKind::ALL.map(TaskKind::as_str);
        let resources = ResourceKind::ALL
            .into_iter()
            .filter(|kind| kind.is_grantable())
            .map(ResourceKind::as_str);
        let request = wire::SessionRequest {
            instance: hello.instance,
            version: hello.version.clone(),
            protocol_min: wire::VERSION,
            protocol_max: wire::VERSION,
            capabilities: kinds.into_iter().chain(resources).map(Into::into).collect(),
            host: hello.host.clone(),
        };
        let url = self.path(&["sessions"]);
        let reply = self
            .post("sessions", url, &request, self.limits.call)
            .await?;
        answer::session(reply)
    }

    async fn lease(&self, session: SessionId, ask: &LeaseAsk) -> Result<Leased, ControlError> {
        let longest = Duration::from_secs(wire::MAX_WAIT_S.into());
        let wait = ask.wait.min(longest);
        let request = wire::LeaseRequest {
            session: session.as_uuid(),
            free_any: ask.free_any,
            free_end: ask.free_end,
            held: ask.held.iter().map(TaskId::as_uuid).collect(),
            wait_s: u32::try_from(wait.as_secs()).unwrap_or(wire::MAX_WAIT_S),
            grants_revision: ask.grants_revision,
            integrations_revision: ask.integrations_revision,
        };
        let url = self.path(&["tasks", "lease"]);
        let limit = wait + LEASE_EXTRA.min(self.limits.call);
        let reply: wire::LeaseReply = self.post("lease", url, &request, limit).await?;
        answer::check_page("lease", reply.tasks.len())?;
        Ok(Leased {
            header: reply.header.into(),
            tasks: reply.tasks.iter().map(parse_task).collect(),
        })
    }

    async fn renew(&self, session: SessionId, renewal: &Renewal) -> Result<Renewed, ControlError> {
        let request = wire::RenewRequest {
            session: session.as_uuid(),
            attempt: renewal.attempt,
            progress: renewal.progress.chars().take(MAX_PROGRESS_CHARS).collect(),
            checkpoint: renewal
                .checkpoint
                .as_ref()
                .map(|kept| kept.as_str().to_owned()),
        };
        let url = self.task_path(renewal.task, "renew");
        let reply: wire::RenewReply = self.post("renew", url, &request, self.limits.call).await?;
        Ok(Renewed {
            header: reply.header.into(),
            deadline: reply.lease_deadline,
            cancel: reply.cancel,
        })
    }

    async fn release(
        &self,
        session: SessionId,
        task: TaskId,
        attempt: u32,
    ) -> Result<(), ControlError> {
        let request = wire::ReleaseRequest {
            session: session.as_uuid(),
            attempt,
        };
        let url = self.task_path(task, "release");
        self.post::<wire::Acknowledged>("release", url, &request, self.limits.call)
            .await
            .map(|_| ())
    }

    async fn report(&self, session: SessionId, report: &TaskReport) -> Result<(), ControlError> {
        let request = wire::ResultRequest {
            session: session.as_uuid(),
            attempt: report.attempt,
            outcome: render::outcome(&report.outcome),
        };
        let url = self.task_path(report.task, "result");
        self.post::<wire::Acknowledged>("result", url, &request, self.limits.call)
            .await
            .map(|_| ())
    }

    async fn report_ends(
        &self,
        session: SessionId,
        ends: &[EndReport],
    ) -> Result<(), ControlError> {
        for some in ends.chunks(wire::MAX_ENDS) {
            let request = wire::EndsRequest {
                session: session.as_uuid(),
                ends: some.iter().map(render::end_spec).collect(),
            };
            let url = self.path(&["ends"]);
            self.post::<wire::Acknowledged>("ends", url, &request, self.limits.call)
                .await?;
        }
        Ok(())
    }

    async fn heartbeat(
        &self,
        session: SessionId,
        heartbeat: &Heartbeat,
    ) -> Result<Header, ControlError> {
        let request = render::heartbeat(session.as_uuid(), heartbeat);
        let url = self.path(&["heartbeat"]);
        let reply: wire::Acknowledged = self
            .post("heartbeat", url, &request, self.limits.call)
            .await?;
        Ok(reply.header.into())
    }

    async fn grants(&self, since: u64) -> Result<GrantsList, ControlError> {
        let reply: wire::GrantsReply = self.list("grants", since).await?;
        answer::check_page("grants", reply.grants.len())?;
        Ok(GrantsList {
            header: reply.header.into(),
            through: reply.through,
            grants: parse_grants(&reply.grants),
        })
    }

    async fn integrations(&self, since: u64) -> Result<IntegrationsList, ControlError> {
        let reply: wire::IntegrationsReply = self.list("integrations", since).await?;
        answer::check_page("integrations", reply.integrations.len())?;
        Ok(IntegrationsList {
            header: reply.header.into(),
            through: reply.through,
            integrations: parse_integrations(&reply.integrations),
        })
    }

    async fn send_inventory(
        &self,
        integration: IntegrationId,
        part: &InventoryPart,
    ) -> Result<InventoryReceipt, ControlError> {
        let id = integration.as_uuid().to_string();
        let request = self
            .client
            .post(self.path(&["integrations", &id, "inventory"]))
            .header("content-type", "application/x-ndjson")
            .header("content-encoding", "gzip")
            .timeout(self.limits.call + PART_EXTRA)
            .body(part.body());
        let reply: wire::InventoryReply = self.send("inventory", request).await?;
        answer::receipt(reply, part.last)
    }
}
