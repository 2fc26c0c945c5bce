//! Owns the settings of a `postgresql` integration. Never connects.

use super::tls_files::{SSL_CERT, SSL_KEY, SSL_ROOT_CA, TlsFiles};
use crate::domain::{ConnectorId, Integration, IntegrationId, InvalidValue, SettingsDigest, shown};
use crate::pg::SslMode;
use std::path::PathBuf;
use std::time::Duration;

/// The port a server listens on when nobody says otherwise.
const DEFAULT_PORT: u16 = 5432;
/// A session can hide for a while between login and its first appearance; once the role is gone nobody but a superuser can end it.
const DEFAULT_CLEAN_UP_DELAY: Duration = Duration::from_secs(120);
/// Longest clean-up wait, in seconds: a day.
const MAX_CLEAN_UP_DELAY_S: u64 = 86_400;
/// The role we act as when it exists and we are a member of it.
pub(super) const DEFAULT_ADMIN_ROLE: &str = "apono_admin";

/// Every setting a `postgresql` integration knows.
pub const SETTINGS: [&str; 9] = [
    "hostname",
    "port",
    "dbname",
    "sslmode",
    SSL_ROOT_CA,
    SSL_CERT,
    SSL_KEY,
    "admin_role",
    "clean_up_delay_s",
];

/// Where our own record is, and whose it is. Two homes never share a login or an access role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) connector: ConnectorId,
    pub(super) integration: IntegrationId,
    pub(super) database: String,
}

impl Home {
    /// Tells our logins from those of another home on the same server, where the plain name is taken.
    pub(super) fn salt(&self) -> String {
        format!("{}\0{}", self.connector, self.database)
    }

    #[cfg(test)]
    pub(super) fn for_tests(connector: &str, database: &str) -> Self {
        Self {
            connector: ConnectorId::parse(connector).unwrap(),
            integration: IntegrationId::new(uuid::Uuid::nil()),
            database: database.to_owned(),
        }
    }
}

/// The checked settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) home: Home,
    pub(super) digest: SettingsDigest,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: SslMode,
    pub(super) tls_files: TlsFiles,
    pub(super) admin_role: Option<String>,
    pub(super) clean_up_delay: Duration,
}

impl Settings {
    /// Checks every setting; the error lists all that is wrong.
    pub(super) fn parse(
        connector: ConnectorId,
        integration: &Integration,
    ) -> Result<Self, Vec<InvalidValue>> {
        let mut reader = Reader {
            integration,
            problems: Vec::new(),
        };
        reader.refuse_unknown();
        let host = reader.host();
        let port = reader.number("port", u64::from(DEFAULT_PORT), 1, u64::from(u16::MAX));
        let database = reader.name("dbname");
        if database.is_none() {
            reader.missing("dbname", "the home database, which holds our record");
        }
        let tls = reader.tls();
        let tls_files = reader.tls_files(tls);
        let admin_role = reader.name("admin_role");
        let delay = reader.number(
            "clean_up_delay_s",
            DEFAULT_CLEAN_UP_DELAY.as_secs(),
            1,
            MAX_CLEAN_UP_DELAY_S,
        );
        if integration.secret.is_none() {
            reader.problems.push(InvalidValue::new(
                "`secret`",
                "is absent, must say where the database password is, for example `file:/run/secrets/db`",
            ));
        }
        match (host, database, tls, &integration.secret) {
            (Some(host), Some(database), Some(tls), Some(_)) if reader.problems.is_empty() => {
                Ok(Self {
                    home: Home {
                        connector,
                        integration: integration.id,
                        database,
                    },
                    digest: integration.digest(),
                    host,
                    port: u16::try_from(port).unwrap_or(DEFAULT_PORT),
                    tls,
                    tls_files,
                    admin_role,
                    clean_up_delay: Duration::from_secs(delay),
                })
            }
            _ => Err(reader.problems),
        }
    }
}

struct Reader<'a> {
    integration: &'a Integration,
    problems: Vec<InvalidValue>,
}

impl<'a> Reader<'a> {
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
        let known: Vec<_> = SETTINGS.iter().map(|key| format!("`{key}`")).collect();
        for key in self.integration.settings.keys() {
            if !SETTINGS.contains(&key.as_str()) {
                self.problems.push(InvalidValue::new(
                    format!("`settings.{}`", shown(key)),
                    format!("is not known, `postgresql` knows {}", known.join(", ")),
                ));
            }
        }
    }

    fn tls(&mut self) -> Option<SslMode> {
        let Some(text) = self.value("sslmode") else {
            return Some(SslMode::VerifyFull);
        };
        SslMode::parse(text)
            .map_err(|problem| {
                self.problems
                    .push(InvalidValue::new("`settings.sslmode`", problem.problem));
            })
            .ok()
    }

    fn host(&mut self) -> Option<String> {
        let Some(host) = self.value("hostname") else {
            self.missing("hostname", "the name or address of the server");
            return None;
        };
        let fits = (1..=253).contains(&host.len())
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
        if !fits {
            self.wrong("hostname", host, "one host name or IP address");
            return None;
        }
        Some(host.to_owned())
    }

    fn name(&mut self, key: &str) -> Option<String> {
        let name = self.value(key)?;
        if name.is_empty() || name.len() > 63 || name.contains('\0') {
            self.wrong(key, name, "1 to 63 bytes without NUL");
            return None;
        }
        Some(name.to_owned())
    }

    fn number(&mut self, key: &str, default: u64, low: u64, high: u64) -> u64 {
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

    fn tls_files(&mut self, mode: Option<SslMode>) -> TlsFiles {
        let files = TlsFiles {
            root_ca: self.file(SSL_ROOT_CA),
            cert: self.file(SSL_CERT),
            key: self.file(SSL_KEY),
        };
        if mode == Some(SslMode::VerifyCa) && self.value(SSL_ROOT_CA).is_none() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{IntegrationState, SecretRef};

    fn integration(settings: &[(&str, &str)]) -> Integration {
        Integration {
            id: IntegrationId::new(uuid::Uuid::nil()),
            name: "app".to_owned(),
            kind: "postgresql".to_owned(),
            settings: settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            secret: Some(SecretRef::parse("file:/run/secrets/db").unwrap()),
            state: IntegrationState::Active,
        }
    }

    fn parse(settings: &[(&str, &str)]) -> Result<Settings, Vec<InvalidValue>> {
        Settings::parse(ConnectorId::parse("c-1").unwrap(), &integration(settings))
    }

    #[test]
    fn only_host_and_home_database_are_needed_and_the_rest_is_strict() {
        let settings = parse(&[("hostname", "db.example"), ("dbname", "app")]).unwrap();
        assert_eq!(settings.port, 5432);
        assert_eq!(settings.tls, SslMode::VerifyFull);
        assert_eq!(settings.clean_up_delay, Duration::from_secs(120));
        assert_eq!(settings.admin_role, None);
    }

    #[test]
    fn every_problem_is_reported_at_once_and_by_key() {
        let problems = parse(&[
            ("hostname", "db.example/path"),
            ("port", "70000"),
            ("sslmode", "on"),
            ("ssl_root_ca", "ca.pem"),
            ("ssl_key", "/run/secrets/key.pem"),
            ("clean_up_delay_s", "0"),
            ("admin_role", ""),
            ("colour", "red"),
        ])
        .unwrap_err();
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        `settings.colour` is not known, `postgresql` knows `hostname`, `port`, `dbname`, `sslmode`, `ssl_root_ca`, `ssl_cert`, `ssl_key`, `admin_role`, `clean_up_delay_s`
        `settings.hostname` is `db.example/path`, must be one host name or IP address
        `settings.port` is `70000`, must be a whole number, 1..=65535
        `settings.dbname` is absent, must be the home database, which holds our record
        `settings.sslmode` is `on`, must be one of `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`
        `settings.ssl_root_ca` is `ca.pem`, must be the absolute path of a PEM file
        `settings.ssl_cert` is absent, must be the absolute path of a PEM file, as for `ssl_key`
        `settings.admin_role` is ``, must be 1 to 63 bytes without NUL
        `settings.clean_up_delay_s` is `0`, must be a whole number, 1..=86400
        ");
    }

    #[test]
    fn every_mode_of_libpq_is_taken_and_verify_ca_asks_for_its_ca() {
        let base = [("hostname", "db.example"), ("dbname", "app")];
        for mode in SslMode::ALL {
            let parsed = parse(&[base[0], base[1], ("sslmode", mode.as_str())]);
            match mode {
                SslMode::VerifyCa => assert_eq!(
                    parsed.unwrap_err()[0].to_string(),
                    "`settings.ssl_root_ca` is absent, must be the absolute path of a PEM file under `verify-ca`, \
                     since anyone may get a certificate of a public CA"
                ),
                SslMode::Disable
                | SslMode::Allow
                | SslMode::Prefer
                | SslMode::Require
                | SslMode::VerifyFull => assert_eq!(parsed.unwrap().tls, mode),
            }
        }
    }
}
