//! Owns the configuration of the stores that hold the credentials of managed systems.

use super::check::Check;
use super::error::Origin;
use crate::address::is_loopback;
use crate::domain::shown;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Longest time a credential is kept in memory, in seconds: an hour.
const MAX_KEEP_S: i64 = 3600;
const DEFAULT_KEEP_S: i64 = 60;
/// Where Kubernetes puts the service account's token and the cluster's authority.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Longest name of a role, a mount or a namespace.
const MAX_NAME_BYTES: usize = 200;

/// Where the credentials of managed systems are.
#[derive(Debug)]
pub struct SecretsConfig {
    /// How long a credential is kept in memory: 0 (never) to an hour. Default a minute.
    pub keep: Duration,
    /// The cluster the connector runs in; absent outside one.
    pub kubernetes: Option<KubernetesConfig>,
    /// HashiCorp Vault; absent unless `secrets.vault.url` is set.
    pub vault: Option<VaultConfig>,
}

/// The cluster's API.
#[derive(Debug)]
pub struct KubernetesConfig {
    /// `secrets.kubernetes.url`, else from `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
    pub url: Url,
    /// The service account's token.
    pub token_file: PathBuf,
    /// The cluster's authority.
    pub ca_file: PathBuf,
}

/// HashiCorp Vault.
#[derive(Debug)]
pub struct VaultConfig {
    /// Its address.
    pub url: Url,
    /// The only certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// The namespace, in editions that have them.
    pub namespace: Option<String>,
    /// The version of the key-value engine.
    pub kv_version: VaultKvConfig,
    /// How we log in.
    pub login: VaultLoginConfig,
}

/// The version of a key-value engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultKvConfig {
    /// Vault is asked.
    Asked,
    /// Version 1.
    One,
    /// Version 2.
    Two,
}

/// How we log in to Vault.
#[derive(Debug)]
pub enum VaultLoginConfig {
    /// `token`: a token somebody else looks after.
    Token {
        /// Its file.
        file: PathBuf,
    },
    /// `kubernetes`: by the service account's token.
    Kubernetes {
        /// Where the method is mounted. Default `kubernetes`.
        mount: String,
        /// The role in Vault.
        role: String,
        /// The service account's token.
        token_file: PathBuf,
    },
    /// `aws`: by the connector's AWS role.
    Aws {
        /// Where the method is mounted. Default `aws`.
        mount: String,
        /// The role in Vault.
        role: String,
        /// The region whose STS Vault asks; the global one when absent.
        region: Option<String>,
        /// What Vault wants in `X-Vault-AWS-IAM-Server-ID`.
        server_id: Option<String>,
    },
}

impl Check<'_> {
    pub(super) fn secrets(&mut self) -> SecretsConfig {
        SecretsConfig {
            keep: self.seconds("secrets.keep_s", 0..=MAX_KEEP_S, DEFAULT_KEEP_S),
            kubernetes: self.kubernetes(),
            vault: self.vault(),
        }
    }

    fn kubernetes(&mut self) -> Option<KubernetesConfig> {
        let from_file = self.url_of("secrets.kubernetes.url");
        let token_file = self.path("secrets.kubernetes.token_file");
        let ca_file = self.path("secrets.kubernetes.ca_file");
        let url = from_file.map(|(url, _)| url).or_else(|| self.cluster())?;
        let place = |name: &str| PathBuf::from(format!("{SERVICE_ACCOUNT}/{name}"));
        Some(KubernetesConfig {
            url,
            token_file: token_file.unwrap_or_else(|| place("token")),
            ca_file: ca_file.unwrap_or_else(|| place("ca.crt")),
        })
    }

    /// What Kubernetes tells every container in it.
    fn cluster(&mut self) -> Option<Url> {
        let (host, origin) = self.variable("KUBERNETES_SERVICE_HOST")?;
        let port = self.variable("KUBERNETES_SERVICE_PORT");
        let port = port.map_or_else(|| "443".to_owned(), |(port, _)| port);
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        let url = Url::parse(&format!("https://{host}:{port}/")).ok();
        if url.is_none() {
            let problem = "with `KUBERNETES_SERVICE_PORT` must be host and port of the cluster";
            self.problem(origin, problem.to_owned());
        }
        url
    }

    fn vault(&mut self) -> Option<VaultConfig> {
        // Each is looked at before any is missed, so that all problems are found.
        let url = self.url_of("secrets.vault.url");
        let ca_file = self.path("secrets.vault.ca_file");
        let namespace = self.word("secrets.vault.namespace");
        let kv_version = match self.number("secrets.vault.kv_version", 0..=2, 0) {
            1 => VaultKvConfig::One,
            2 => VaultKvConfig::Two,
            _ => VaultKvConfig::Asked,
        };
        let login = self.login(url.as_ref().map(|(_, origin)| origin));
        Some(VaultConfig {
            url: url?.0,
            ca_file,
            namespace,
            kv_version,
            login: login?,
        })
    }

    /// `set_up` is where Vault's address stands, which is where a log-in is missed.
    fn login(&mut self, set_up: Option<&Origin>) -> Option<VaultLoginConfig> {
        let method = self.text("secrets.vault.login");
        let mount = self.word("secrets.vault.login_mount");
        let role = self.word("secrets.vault.role");
        let token_file = self.path("secrets.vault.token_file");
        let region = self.text("secrets.vault.aws_region");
        let region = region.and_then(|found| self.region("secrets.vault.aws_region", found));
        let server_id = self.word("secrets.vault.aws_server_id");
        let (method, origin) = method.unwrap_or(("token".to_owned(), set_up?.clone()));
        let mut needed = |found: Option<String>, what: &str| {
            if found.is_none() {
                let message = format!("`{what}` is absent, which the log-in `{method}` needs");
                self.problem(origin.clone(), message);
            }
            found
        };
        match method.as_str() {
            "token" => {
                let file = token_file.map(|path| path.display().to_string());
                let file = needed(file, "secrets.vault.token_file")?;
                Some(VaultLoginConfig::Token { file: file.into() })
            }
            "kubernetes" => Some(VaultLoginConfig::Kubernetes {
                mount: mount.unwrap_or_else(|| "kubernetes".to_owned()),
                role: needed(role, "secrets.vault.role")?,
                token_file: token_file
                    .unwrap_or_else(|| PathBuf::from(format!("{SERVICE_ACCOUNT}/token"))),
            }),
            "aws" => Some(VaultLoginConfig::Aws {
                mount: mount.unwrap_or_else(|| "aws".to_owned()),
                role: needed(role, "secrets.vault.role")?,
                region,
                server_id,
            }),
            other => {
                let message = format!(
                    "`secrets.vault.login` is `{}`, must be `token`, `kubernetes` or `aws`",
                    shown(other)
                );
                self.problem(origin, message);
                None
            }
        }
    }

    /// A name that becomes part of an address or a header.
    pub(super) fn word(&mut self, key: &str) -> Option<String> {
        let (text, origin) = self.text(key)?;
        let fits = text.len() <= MAX_NAME_BYTES
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && !text.split('/').any(|part| matches!(part, "." | ".."));
        if fits {
            return Some(text);
        }
        let shown = shown(&text);
        self.problem(
            origin,
            format!(
                "`{key}` is `{shown}`, must be at most {MAX_NAME_BYTES} visible ASCII characters, none of its parts `..`"
            ),
        );
        None
    }

    /// An address of a server; plain http is for this machine only.
    fn url_of(&mut self, key: &str) -> Option<(Url, Origin)> {
        let (text, origin) = self.text(key)?;
        let url = Url::parse(&text).ok().filter(|url| {
            let safe = match url.scheme() {
                "https" => url.has_host(),
                "http" => url.host().is_some_and(|host| is_loopback(&host)),
                _ => false,
            };
            safe && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if url.is_none() {
            // Not shown: it may hold a password.
            self.problem(
                origin.clone(),
                format!(
                    "`{key}` must be a URL such as `https://store.example.com`, without user and query; plain http is for this machine only"
                ),
            );
        }
        Some((url?, origin))
    }
}
