//! Owns the reading of settings, one by one, with a word for each that is wrong. Never decides what they mean together.

use super::{AccessRoles, Home, Managed, Place, Settings, Words};
use crate::domain::{ConnectorId, Integration, InvalidValue, shown};
use crate::pg::SslMode;
use crate::targets::postgres::tls_files::{SSL_CERT, SSL_KEY, SSL_ROOT_CA, TlsFiles};
use std::path::PathBuf;
use std::time::Duration;

/// A session can hide for a while between login and its first appearance; once the role is gone nobody but a superuser can end it.
const DEFAULT_CLEAN_UP_DELAY: Duration = Duration::from_secs(120);
/// Longest clean-up wait, in seconds: a day.
const MAX_CLEAN_UP_DELAY_S: u64 = 86_400;
/// Most replicas of one server; each end visits all of them.
const MAX_REPLICAS: usize = 16;

/// Reads the settings of one integration and notes all that is wrong.
pub(super) struct Reader<'a> {
    integration: &'a Integration,
    words: &'static Words,
    pub(super) problems: Vec<InvalidValue>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(integration: &'a Integration, words: &'static Words) -> Self {
        let mut reader = Self {
            integration,
            words,
            problems: Vec::new(),
        };
        reader.refuse_unknown();
        reader
    }

    pub(super) fn read(
        &mut self,
        connector: ConnectorId,
        label: String,
        managed: &Managed,
    ) -> Result<Settings, Vec<InvalidValue>> {
        let database = self.name(self.words.database);
        if database.is_none() {
            self.missing(
                self.words.database,
                "the home database, which holds our record",
            );
        }
        let tls = self.tls();
        let mut tls_files = self.tls_files(tls, managed.root_ca.is_some());
        tls_files.root_ca = tls_files.root_ca.or_else(|| managed.root_ca.clone());
        let admin_role = self.name("admin_role");
        let access_roles = self.access_roles();
        let delay = self.number(
            "clean_up_delay_s",
            DEFAULT_CLEAN_UP_DELAY.as_secs(),
            1,
            MAX_CLEAN_UP_DELAY_S,
        );
        let replicas = self.replicas();
        match (database, tls) {
            (Some(database), Some(tls)) if self.problems.is_empty() => Ok(Settings {
                home: Home {
                    connector,
                    integration: self.integration.id,
                    database,
                    end_users: managed.end_users,
                },
                digest: self.integration.digest(),
                label,
                tls,
                tls_files,
                admin_role,
                access_roles,
                clean_up_delay: Duration::from_secs(delay),
                replicas,
            }),
            _ => Err(std::mem::take(&mut self.problems)),
        }
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.integration.settings.get(key).map(String::as_str)
    }

    fn wrong(&mut self, key: &str, value: &str, expected: &str) {
        self.problems.push(InvalidValue::new(
            format!("`settings.{key}`"),
            format!("is `{}`, must be {expected}", shown(value)),
        ));
    }

    fn missing(&mut self, key: &str, what: &str) {
        self.problems.push(InvalidValue::new(
            format!("`settings.{key}`"),
            format!("is absent, must be {what}"),
        ));
    }

    fn refuse_unknown(&mut self) {
        let known: Vec<_> = self
            .words
            .known
            .iter()
            .map(|key| format!("`{key}`"))
            .collect();
        for key in self.integration.settings.keys() {
            if !self.words.known.contains(&key.as_str()) {
                self.problems.push(InvalidValue::new(
                    format!("`settings.{}`", shown(key)),
                    format!(
                        "is not known, `{}` knows {}",
                        self.words.kind,
                        known.join(", ")
                    ),
                ));
            }
        }
    }

    fn tls(&mut self) -> Option<SslMode> {
        let key = self.words.ssl_mode;
        let Some(text) = self.value(key) else {
            return Some(SslMode::VerifyFull);
        };
        SslMode::parse(text)
            .map_err(|problem| {
                let what = format!("`settings.{key}`");
                self.problems.push(InvalidValue::new(what, problem.problem));
            })
            .ok()
    }

    pub(super) fn host(&mut self) -> Option<String> {
        let Some(host) = self.value("hostname") else {
            self.missing("hostname", "the name or address of the server");
            return None;
        };
        if !is_host(host) {
            self.wrong("hostname", host, "one host name or IP address");
            return None;
        }
        Some(host.to_owned())
    }

    fn replicas(&mut self) -> Vec<Place> {
        let Some(text) = self.value("replicas") else {
            return Vec::new();
        };
        let found: Option<Vec<_>> = text.split(',').map(|one| place(one.trim())).collect();
        match found {
            Some(found) if found.len() <= MAX_REPLICAS => found,
            _ => {
                self.wrong(
                    "replicas",
                    text,
                    &format!(
                        "1 to {MAX_REPLICAS} of `host:port`, separated by commas, an IPv6 address in brackets"
                    ),
                );
                Vec::new()
            }
        }
    }

    fn name(&mut self, key: &str) -> Option<String> {
        let name = self.value(key)?;
        if name.is_empty() || name.len() > 63 || name.contains('\0') {
            self.wrong(key, name, "1 to 63 bytes without NUL");
            return None;
        }
        Some(name.to_owned())
    }

    fn access_roles(&mut self) -> AccessRoles {
        match self.value("access_roles") {
            None | Some("made") => AccessRoles::Made,
            Some("given") => AccessRoles::Given,
            Some(other) => {
                self.wrong("access_roles", other, "`made` or `given`");
                AccessRoles::Given
            }
        }
    }

    pub(super) fn number(&mut self, key: &str, default: u64, low: u64, high: u64) -> u64 {
        let Some(text) = self.value(key) else {
            return default;
        };
        match text.parse::<u64>() {
            Ok(number) if (low..=high).contains(&number) => number,
            _ => {
                self.wrong(key, text, &format!("a whole number, {low}..={high}"));
                default
            }
        }
    }

    fn tls_files(&mut self, mode: Option<SslMode>, has_default: bool) -> TlsFiles {
        let files = TlsFiles {
            root_ca: self.file(SSL_ROOT_CA),
            cert: self.file(SSL_CERT),
            key: self.file(SSL_KEY),
        };
        if mode == Some(SslMode::VerifyCa) && self.value(SSL_ROOT_CA).is_none() && !has_default {
            self.missing(
                SSL_ROOT_CA,
                "the absolute path of a PEM file under `verify-ca`, since anyone may get a certificate of a public CA",
            );
        }
        for (one, other) in [(SSL_CERT, SSL_KEY), (SSL_KEY, SSL_CERT)] {
            if self.value(one).is_none() && self.value(other).is_some() {
                self.missing(
                    one,
                    &format!("the absolute path of a PEM file, as for `{other}`"),
                );
            }
        }
        files
    }

    fn file(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.value(key)?;
        let path = PathBuf::from(text);
        if !path.is_absolute() || text.contains('\0') {
            self.wrong(key, text, "the absolute path of a PEM file");
            return None;
        }
        Some(path)
    }
}

fn is_host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))
}

fn place(text: &str) -> Option<Place> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    is_host(host).then(|| Place {
        host: host.to_owned(),
        port,
    })
}
