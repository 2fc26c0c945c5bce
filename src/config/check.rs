//! Owns the step from raw to checked: defaults, ranges, precedence. Never stops at the first problem.

use super::error::{ConfigError, Origin, Problem};
use super::file::{RawFile, RawValue};
use super::{
    AwsConfig, Config, ControlPlaneConfig, Environment, ExecutorConfig, GuardrailConfig, LogConfig,
    LogFormat, ProxyConfig, SweepConfig, TokenConfig,
};
use crate::address::ControlPlaneUrl;
use crate::domain::{ConnectorId, shown};
use crate::secret::Secret;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Largest `CONNECTOR_METADATA`: 4 KiB.
const MAX_METADATA_BYTES: usize = 4 << 10;
/// Largest token: 8 KiB, the header limit of common servers.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Longest log filter: 1 KiB.
const MAX_FILTER_BYTES: usize = 1 << 10;
/// How long after its signature a request may still be taken: AWS refuses it after 15 minutes, an imitation may do so sooner.
const LATEST_LANDING_S: RangeInclusive<i64> = 1..=3600;
const DEFAULT_LATEST_LANDING_S: i64 = 900;
/// Longest name of an AWS region.
const MAX_REGION_BYTES: usize = 32;
const DEFAULT_STATE_DIR: &str = "/var/lib/apono-connector";
/// Only this machine: opening it to the network is a decision.
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const DEFAULT_FILTER: &str = "info";
const DAY_S: i64 = 24 * 60 * 60;

pub(super) fn check(
    environment: &Environment,
    raw: RawFile,
    problems: Vec<Problem>,
) -> Result<Config, ConfigError> {
    let mut check = Check {
        environment,
        raw,
        problems,
    };
    let control_plane = check.control_plane();
    let state_dir = check
        .path_of("APONO_STATE_DIR", "state_dir")
        .unwrap_or_else(|| DEFAULT_STATE_DIR.into());
    let state_shared = check.state_shared();
    let listen = check.listen();
    let guardrails = check.guardrails();
    let executor = check.executor();
    let sweeps = check.sweeps();
    let aws = check.aws();
    let secrets = check.secrets();
    let log = check.log();
    match control_plane {
        Some(control_plane) if check.problems.is_empty() => Ok(Config {
            control_plane,
            state_dir,
            state_shared,
            listen,
            guardrails,
            executor,
            sweeps,
            aws,
            secrets,
            log,
        }),
        _ => {
            check.problems.sort_by(|a, b| a.origin.cmp(&b.origin));
            // What a line that cannot be read seems to hold is no second problem.
            check.problems.dedup_by(|b, a| a.origin == b.origin);
            Err(ConfigError {
                problems: check.problems,
            })
        }
    }
}

pub(super) struct Check<'a> {
    environment: &'a Environment,
    raw: RawFile,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn control_plane(&mut self) -> Option<ControlPlaneConfig> {
        // Each is looked at before any is missed, so that all problems are found.
        let url = self.url();
        let connector = self.connector();
        let token = self.token();
        let ca_file = self.path("control_plane.ca_file");
        let proxy = self.proxy();
        let host = self.host();
        Some(ControlPlaneConfig {
            url: url?,
            connector: connector?,
            token: token?,
            ca_file,
            proxy,
            host,
        })
    }

    fn url(&mut self) -> Option<ControlPlaneUrl> {
        let before = self.problems.len();
        let from_file = self.text("control_plane.url");
        let spoiled = self.problems.len() > before;
        let (text, origin) = match (self.variable("APONO_URL"), from_file) {
            (Some(variable), _) => variable,
            (None, Some(from_file)) => from_file,
            (None, None) if spoiled => return None,
            (None, None) => {
                self.missing(
                    "APONO_URL",
                    "is not set, must be the control plane's host or URL; or set `control_plane.url` in the file",
                );
                return None;
            }
        };
        ControlPlaneUrl::parse(&text)
            .map_err(|invalid| self.problem(origin, invalid.to_string()))
            .ok()
    }

    fn connector(&mut self) -> Option<ConnectorId> {
        let Some((text, origin)) = self.variable("APONO_CONNECTOR_ID") else {
            self.missing(
                "APONO_CONNECTOR_ID",
                "is not set, must name the connector as the control plane knows it",
            );
            return None;
        };
        ConnectorId::parse(&text)
            .map_err(|invalid| self.problem(origin, invalid.to_string()))
            .ok()
    }

    fn token(&mut self) -> Option<TokenConfig> {
        let before = self.problems.len();
        let file = self.path("control_plane.token_file");
        let spoiled = self.problems.len() > before;
        match (self.variable("APONO_TOKEN"), file) {
            (Some((token, origin)), None) => {
                let usable = token.len() <= MAX_TOKEN_BYTES
                    && token.bytes().all(|byte| byte.is_ascii_graphic());
                if !usable {
                    self.problem(
                        origin,
                        format!(
                            "must be one word of at most {MAX_TOKEN_BYTES} visible ASCII characters"
                        ),
                    );
                }
                Some(TokenConfig::Value(Secret::new(token)))
            }
            (None, Some(file)) => Some(TokenConfig::File(file)),
            (Some((_, origin)), Some(_)) => {
                self.problem(
                    origin,
                    "is set beside `control_plane.token_file`, must be only one of them".to_owned(),
                );
                None
            }
            (None, None) if spoiled => None,
            (None, None) => {
                self.missing(
                    "APONO_TOKEN",
                    "is not set, must be the connector's token; or better name a file with `control_plane.token_file`",
                );
                None
            }
        }
    }

    fn proxy(&mut self) -> Option<ProxyConfig> {
        let (text, origin) = self
            .variable("HTTPS_PROXY")
            .or_else(|| self.variable("https_proxy"))?;
        let url = if text.contains("://") {
            text
        } else {
            format!("http://{text}")
        };
        let fits = url::Url::parse(&url)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !fits {
            // Not shown: it may hold a password.
            self.problem(
                origin,
                "must be a URL such as `http://proxy.example.com:3128`".to_owned(),
            );
        }
        let bypass = self
            .variable("NO_PROXY")
            .or_else(|| self.variable("no_proxy"))
            .map(|(text, _)| text);
        Some(ProxyConfig {
            url: Secret::new(url),
            bypass: bypass.unwrap_or_default(),
        })
    }

    fn host(&mut self) -> String {
        let Some((text, origin)) = self.variable("CONNECTOR_METADATA") else {
            return String::new();
        };
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
        match parsed {
            Ok(value) if text.len() <= MAX_METADATA_BYTES => value.to_string(),
            Ok(_) => {
                self.problem(
                    origin,
                    format!(
                        "has {} bytes, must have at most {MAX_METADATA_BYTES}",
                        text.len()
                    ),
                );
                String::new()
            }
            Err(error) => {
                self.problem(
                    origin,
                    format!(
                        "must be JSON, it breaks off at line {} column {}",
                        error.line(),
                        error.column()
                    ),
                );
                String::new()
            }
        }
    }

    fn state_shared(&mut self) -> bool {
        let found = match self.variable("APONO_STATE_SHARED") {
            Some((text, origin)) => match text.as_str() {
                "true" => return true,
                "false" => return false,
                _ => (origin, format!("is `{}`", shown(&text))),
            },
            None => match self.raw.take("state_shared") {
                None => return false,
                Some((RawValue::Truth(shared), _)) => return shared,
                Some((_, origin)) => (origin, "`state_shared` is something else".to_owned()),
            },
        };
        self.problem(found.0, format!("{}, must be `true` or `false`", found.1));
        false
    }

    fn listen(&mut self) -> SocketAddr {
        let Some((text, origin)) = self.text("listen") else {
            return DEFAULT_LISTEN;
        };
        text.parse().unwrap_or_else(|_| {
            self.problem(
                origin,
                format!(
                    "`listen` is `{}`, must be an address and a port such as `127.0.0.1:8080`",
                    shown(&text)
                ),
            );
            DEFAULT_LISTEN
        })
    }

    fn guardrails(&mut self) -> GuardrailConfig {
        GuardrailConfig {
            longest_grant: self.seconds(
                "guardrails.longest_grant_s",
                60..=366 * DAY_S,
                12 * 60 * 60,
            ),
            largest_skew: self.seconds("guardrails.largest_skew_s", 1..=300, 30),
        }
    }

    fn executor(&mut self) -> ExecutorConfig {
        let slots = self.number("executor.slots", 4..=256, 32);
        let per_integration = self.number("executor.per_integration", 1..=slots, slots / 2);
        let small = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        ExecutorConfig {
            slots: small(slots),
            per_integration: small(per_integration),
        }
    }

    fn sweeps(&mut self) -> SweepConfig {
        SweepConfig {
            expiry_every: self.seconds("sweeps.expiry_every_s", 1..=300, 5),
            drift_every: self.seconds("sweeps.drift_every_s", 5..=3600, 60),
            clean_up_every: self.seconds("sweeps.clean_up_every_s", 5..=3600, 30),
            inherit_every: self.seconds("sweeps.inherit_every_s", 1..=3600, 60),
        }
    }

    fn aws(&mut self) -> AwsConfig {
        let from_file = self.text("aws.region");
        let found = self
            .variable("AWS_REGION")
            .or_else(|| self.variable("AWS_DEFAULT_REGION"))
            .or(from_file);
        let region = found.and_then(|found| self.region("aws.region", found));
        AwsConfig {
            region,
            profile: self.word("aws.profile"),
            rds_ca_file: self.path("aws.rds_ca_file"),
            latest_landing: self.seconds(
                "aws.latest_landing_s",
                LATEST_LANDING_S,
                DEFAULT_LATEST_LANDING_S,
            ),
        }
    }

    pub(super) fn region(&mut self, key: &str, (text, origin): (String, Origin)) -> Option<String> {
        let fits = text.len() <= MAX_REGION_BYTES
            && text
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if fits {
            return Some(text);
        }
        self.problem(
            origin,
            format!(
                "`{key}` is `{}`, must be an AWS region such as `eu-west-1`",
                shown(&text)
            ),
        );
        None
    }

    fn log(&mut self) -> LogConfig {
        let format = match self.text("log.format") {
            None => LogFormat::Auto,
            Some((text, origin)) => match text.as_str() {
                "auto" => LogFormat::Auto,
                "json" => LogFormat::Json,
                "human" => LogFormat::Human,
                _ => {
                    self.problem(
                        origin,
                        format!(
                            "`log.format` is `{}`, must be `auto`, `json` or `human`",
                            shown(&text)
                        ),
                    );
                    LogFormat::Auto
                }
            },
        };
        let from_file = self.text("log.filter");
        let filter = match self.variable("APONO_LOG").or(from_file) {
            None => DEFAULT_FILTER.to_owned(),
            Some((text, origin)) => {
                if text.len() > MAX_FILTER_BYTES {
                    self.problem(
                        origin,
                        format!("the log filter is longer than {MAX_FILTER_BYTES} bytes"),
                    );
                }
                text
            }
        };
        LogConfig { format, filter }
    }

    fn path_of(&mut self, variable: &'static str, key: &str) -> Option<PathBuf> {
        let from_file = self.text(key);
        let (text, origin) = self.variable(variable).or(from_file)?;
        self.absolute(key, text, origin)
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let (text, origin) = self.text(key)?;
        self.absolute(key, text, origin)
    }

    fn absolute(&mut self, key: &str, text: String, origin: Origin) -> Option<PathBuf> {
        let path = PathBuf::from(&text);
        if path.is_absolute() && !text.contains('\0') {
            return Some(path);
        }
        self.problem(
            origin,
            format!("`{key}` is `{}`, must be an absolute path", shown(&text)),
        );
        None
    }

    pub(super) fn seconds(
        &mut self,
        key: &str,
        range: RangeInclusive<i64>,
        default: i64,
    ) -> Duration {
        let seconds = self.number(key, range, default);
        Duration::from_secs(seconds.unsigned_abs())
    }

    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<i64>, default: i64) -> i64 {
        let Some((value, origin)) = self.raw.take(key) else {
            return default;
        };
        let found = match value {
            RawValue::Number(number) if range.contains(&number) => return number,
            RawValue::Number(number) => number.to_string(),
            RawValue::Text(_) => "a text".to_owned(),
            RawValue::Truth(_) => "a boolean".to_owned(),
            RawValue::Other(name) => name.to_owned(),
        };
        self.problem(
            origin,
            format!(
                "`{key}` is {found}, must be a whole number from {} to {}",
                range.start(),
                range.end()
            ),
        );
        default
    }

    /// Returns a text of the file; anything but a text is a problem.
    pub(super) fn text(&mut self, key: &str) -> Option<(String, Origin)> {
        let (value, origin) = self.raw.take(key)?;
        let found = match value {
            RawValue::Text(text) if !text.is_empty() => return Some((text, origin)),
            RawValue::Text(_) => "empty".to_owned(),
            RawValue::Number(_) => "a number".to_owned(),
            RawValue::Truth(_) => "a boolean".to_owned(),
            RawValue::Other(name) => name.to_owned(),
        };
        self.problem(origin, format!("`{key}` is {found}, must be a text"));
        None
    }

    pub(super) fn variable(&self, name: &'static str) -> Option<(String, Origin)> {
        self.environment
            .text(name)
            .map(|text| (text.to_owned(), Origin::Variable(name)))
    }

    fn missing(&mut self, name: &'static str, message: &str) {
        self.problem(Origin::Variable(name), message.to_owned());
    }

    pub(super) fn problem(&mut self, origin: Origin, message: String) {
        self.problems.push(Problem { origin, message });
    }
}
