//! Owns the configuration: environment and one file in, checked values out, every problem at once. Never reads a secret's file, never decides what a value is for.
//!
//! Each room owns its options; the composition root fills them from here. `docs/configuration.md` is the same list for people.

mod check;
mod env;
mod error;
mod file;
mod secrets;

pub use env::Environment;
pub use error::{ConfigError, Origin, Problem};
pub use secrets::{KubernetesConfig, SecretsConfig, VaultConfig, VaultKvConfig, VaultLoginConfig};

use crate::address::ControlPlaneUrl;
use crate::domain::ConnectorId;
use crate::secret::Secret;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that holds the text of the file, where no file can be put.
const TEXT: &str = "APONO_CONFIG_TEXT";

/// The checked configuration. An `Option` here is really optional.
#[derive(Debug)]
pub struct Config {
    /// How to reach the control plane.
    pub control_plane: ControlPlaneConfig,
    /// Where the ledger and the local socket are; an absolute path. Default `/var/lib/apono-connector`.
    pub state_dir: PathBuf,
    /// Whether several instances share the state folder, each with one of its own in it. Default no.
    pub state_shared: bool,
    /// Where health and metrics are served. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Local limits.
    pub guardrails: GuardrailConfig,
    /// How much is done at once.
    pub executor: ExecutorConfig,
    /// How often is looked.
    pub sweeps: SweepConfig,
    /// How AWS is spoken to.
    pub aws: AwsConfig,
    /// Where the credentials of managed systems are.
    pub secrets: SecretsConfig,
    /// What is logged and how.
    pub log: LogConfig,
}

/// How AWS is spoken to. Credentials come from where the AWS SDK looks for them.
#[derive(Debug)]
pub struct AwsConfig {
    /// The region where a reference or a setting names none: `AWS_REGION`, else `AWS_DEFAULT_REGION`, else `aws.region`.
    pub region: Option<String>,
    /// A named profile of the shared AWS configuration: `aws.profile`; the SDK's standard chain when absent.
    pub profile: Option<String>,
    /// The certificate authorities of RDS: `aws.rds_ca_file`.
    pub rds_ca_file: Option<PathBuf>,
    /// How long after its signature AWS may still take a request of ours.
    pub latest_landing: Duration,
}

/// How to reach the control plane.
#[derive(Debug)]
pub struct ControlPlaneConfig {
    /// Its address: `APONO_URL`, else `control_plane.url`.
    pub url: ControlPlaneUrl,
    /// Who we are: `APONO_CONNECTOR_ID`.
    pub connector: ConnectorId,
    /// How we prove it.
    pub token: TokenConfig,
    /// The only certificate authorities to trust: `control_plane.ca_file`.
    pub ca_file: Option<PathBuf>,
    /// The way out: `HTTPS_PROXY`, `NO_PROXY`.
    pub proxy: Option<ProxyConfig>,
    /// Where this instance runs, for people: `CONNECTOR_METADATA` as compact JSON; may be empty, at most 4 KiB.
    pub host: String,
}

/// Where the token comes from. Exactly one of the two is given.
#[derive(Debug)]
pub enum TokenConfig {
    /// `APONO_TOKEN`.
    Value(Secret),
    /// `control_plane.token_file`, an absolute path.
    File(PathBuf),
}

/// An outbound proxy.
#[derive(Debug)]
pub struct ProxyConfig {
    /// Its URL, which may hold a user and a password.
    pub url: Secret,
    /// Hosts that are reached without it, as `NO_PROXY` lists them; may be empty.
    pub bypass: String,
}

/// Local limits that outrank the control plane.
#[derive(Debug)]
pub struct GuardrailConfig {
    /// Longest time from the first start of a grant to its expiry: 60 s to 366 days. Default 12 hours.
    pub longest_grant: Duration,
    /// Largest difference to the control plane's clock at which access starts: 1 s to 5 minutes. Default 30 s.
    pub largest_skew: Duration,
}

/// How much is done at once.
#[derive(Debug)]
pub struct ExecutorConfig {
    /// Tasks at once, a quarter of them kept for ends: 4 to 256. Default 32, so that one integration can have all 15 orders under way
    /// that Identity Center carries out at a time.
    pub slots: u32,
    /// Tasks at once in one integration: 1 to `slots`. Default half of `slots`.
    pub per_integration: u32,
}

/// How often is looked for what no order says.
#[derive(Debug)]
pub struct SweepConfig {
    /// For grants past their time in the record inside the target: 1 s to 5 minutes. Default 5 s.
    pub expiry_every: Duration,
    /// For access no live record backs: 5 s to 1 hour. Default 60 s.
    pub drift_every: Duration,
    /// For what ended grants left behind: 5 s to 1 hour. Default 30 s.
    pub clean_up_every: Duration,
    /// For what instances that are gone left in a shared state folder: 1 s to 1 hour. Default 60 s.
    pub inherit_every: Duration,
}

/// What is logged and how.
#[derive(Debug)]
pub struct LogConfig {
    /// Default `auto`.
    pub format: LogFormat,
    /// `APONO_LOG`, else `log.filter`, for example `info,apono_connector::executor=debug`. Default `info`.
    pub filter: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Human,
}

impl Config {
    /// Reads the environment and the file, and checks both. The file is `file`, else the one `APONO_CONFIG` names, else the text in
    /// `APONO_CONFIG_TEXT`, else none. A file and a text are one too many.
    ///
    /// # Errors
    /// Names every problem, with its key and where it stands.
    pub fn load(environment: &Environment, file: Option<&Path>) -> Result<Self, ConfigError> {
        let named = environment.text("APONO_CONFIG").map(Path::new);
        let text = environment.whole_text(TEXT);
        let mut one_too_many = None;
        let place = match (file.or(named), text) {
            (Some(path), text) => {
                let beside = if file.is_some() {
                    "--config"
                } else {
                    "APONO_CONFIG"
                };
                one_too_many = text.map(|_| Problem {
                    origin: Origin::Variable(TEXT),
                    message: format!("is set beside `{beside}`, must be only one of them"),
                });
                Some(file::Place::File(path))
            }
            (None, Some(text)) => Some(file::Place::Variable(TEXT, text)),
            (None, None) => None,
        };
        let (raw, mut problems) = place.as_ref().map(file::read).unwrap_or_default();
        problems.extend(one_too_many);
        check::check(environment, raw, problems)
    }
}
