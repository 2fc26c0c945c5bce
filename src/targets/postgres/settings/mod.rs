//! Owns the settings of a `postgresql` integration. Never connects.

mod reader;

use super::server::ServerAddress;
use super::tls_files::{SSL_CERT, SSL_KEY, SSL_ROOT_CA, TlsFiles};
use crate::domain::{ConnectorId, Integration, IntegrationId, InvalidValue, SettingsDigest};
use crate::pg::SslMode;
use reader::Reader;
use std::path::PathBuf;
use std::time::Duration;

/// The port a server listens on when nobody says otherwise.
const DEFAULT_PORT: u16 = 5432;
/// The role we act as when it exists and we are a member of it.
pub(super) const DEFAULT_ADMIN_ROLE: &str = "apono_admin";

/// Every setting a `postgresql` integration knows.
pub const SETTINGS: [&str; 11] = [
    "hostname",
    "port",
    "dbname",
    "sslmode",
    SSL_ROOT_CA,
    SSL_CERT,
    SSL_KEY,
    "admin_role",
    "access_roles",
    "clean_up_delay_s",
    "replicas",
];

/// What an integration calls its settings, and what is not up to them.
#[derive(Debug)]
pub struct Words {
    /// The kind of integration.
    pub kind: &'static str,
    /// Every setting it knows.
    pub known: &'static [&'static str],
    /// What it calls the home database.
    pub database: &'static str,
    /// What it calls the protection of connections.
    pub ssl_mode: &'static str,
}

/// The words of `postgresql`.
pub(super) const WORDS: Words = Words {
    kind: super::KIND,
    known: &SETTINGS,
    database: "dbname",
    ssl_mode: "sslmode",
};

/// How the people log in whose logins we make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndUsers {
    /// By a password.
    Password,
    /// By a password, on a server where a way to `rds_iam` would take that password's force.
    PasswordOnRds,
    /// By a token of AWS IAM; the login has no password.
    RdsIam,
}

/// Who makes the shared roles that hold privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessRoles {
    /// We do, and fill them: needs membership in the owners.
    Made,
    /// An administrator does. We look whether they are as they should be, lend them, and never change them.
    Given,
}

/// Where our own record is, and whose it is. Two homes never share a login or an access role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) connector: ConnectorId,
    pub(super) integration: IntegrationId,
    pub(super) database: String,
    pub(super) end_users: EndUsers,
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
            end_users: EndUsers::Password,
        }
    }
}

/// Where a server is that replays what the primary writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is decided elsewhere about a server that is looked up.
pub(super) struct Managed {
    pub(super) words: &'static Words,
    pub(super) label: String,
    pub(super) end_users: EndUsers,
    /// The certificate authorities where the settings name none.
    pub(super) root_ca: Option<PathBuf>,
}

const PLAIN: Managed = Managed {
    words: &WORDS,
    label: String::new(),
    end_users: EndUsers::Password,
    root_ca: None,
};

/// The checked settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) home: Home,
    pub(super) digest: SettingsDigest,
    /// How the server is called before it was found, and in whose name orders wait for each other.
    pub(super) label: String,
    pub(super) tls: SslMode,
    pub(super) tls_files: TlsFiles,
    pub(super) admin_role: Option<String>,
    pub(super) access_roles: AccessRoles,
    pub(super) clean_up_delay: Duration,
    pub(super) replicas: Vec<Place>,
}

impl Settings {
    /// Checks every setting of a server that is looked up; the error lists all that is wrong.
    pub(super) fn parse(
        connector: ConnectorId,
        integration: &Integration,
        managed: &Managed,
    ) -> Result<Self, Vec<InvalidValue>> {
        let mut reader = Reader::new(integration, managed.words);
        reader.read(connector, managed.label.clone(), managed)
    }

    /// Checks every setting of a server that is named; the error lists all that is wrong.
    pub(super) fn parse_named(
        connector: ConnectorId,
        integration: &Integration,
    ) -> Result<(Self, ServerAddress), Vec<InvalidValue>> {
        let mut reader = Reader::new(integration, &WORDS);
        let host = reader.host();
        let port = reader.number("port", u64::from(DEFAULT_PORT), 1, u64::from(u16::MAX));
        let port = u16::try_from(port).unwrap_or(DEFAULT_PORT);
        if integration.secret.is_none() {
            reader.problems.push(InvalidValue::new(
                "`secret`",
                "is absent, must say where the database password is, for example `file:/run/secrets/db`",
            ));
        }
        let server = ServerAddress::new(host.unwrap_or_default(), port);
        let label = format!("{}:{port}", server.host);
        let settings = reader.read(connector, label, &PLAIN)?;
        Ok((settings, server))
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
        let connector = ConnectorId::parse("c-1").unwrap();
        Settings::parse_named(connector, &integration(settings)).map(|(settings, _)| settings)
    }

    #[test]
    fn only_host_and_home_database_are_needed_and_the_rest_is_strict() {
        let settings = parse(&[("hostname", "db.example"), ("dbname", "app")]).unwrap();
        assert_eq!(settings.label, "db.example:5432");
        assert_eq!(settings.tls, SslMode::VerifyFull);
        assert_eq!(settings.clean_up_delay, Duration::from_secs(120));
        assert_eq!(settings.admin_role, None);
        assert_eq!(settings.access_roles, AccessRoles::Made);
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
            ("access_roles", "mine"),
            ("replicas", "one.example:5432,two.example"),
            ("colour", "red"),
        ])
        .unwrap_err();
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        `settings.colour` is not known, `postgresql` knows `hostname`, `port`, `dbname`, `sslmode`, `ssl_root_ca`, `ssl_cert`, `ssl_key`, `admin_role`, `access_roles`, `clean_up_delay_s`, `replicas`
        `settings.hostname` is `db.example/path`, must be one host name or IP address
        `settings.port` is `70000`, must be a whole number, 1..=65535
        `settings.dbname` is absent, must be the home database, which holds our record
        `settings.sslmode` is `on`, must be one of `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`
        `settings.ssl_root_ca` is `ca.pem`, must be the absolute path of a PEM file
        `settings.ssl_cert` is absent, must be the absolute path of a PEM file, as for `ssl_key`
        `settings.admin_role` is ``, must be 1 to 63 bytes without NUL
        `settings.access_roles` is `mine`, must be `made` or `given`
        `settings.clean_up_delay_s` is `0`, must be a whole number, 1..=86400
        `settings.replicas` is `one.example:5432,two.example`, must be 1 to 16 of `host:port`, separated by commas, an IPv6 address in brackets
        ");
    }

    #[test]
    fn replicas_are_named_with_their_ports() {
        let settings = parse(&[
            ("hostname", "db.example"),
            ("dbname", "app"),
            ("replicas", "one.example:5432, [::1]:5433"),
        ])
        .unwrap();
        let named: Vec<_> = settings.replicas.iter().map(Place::to_string).collect();
        assert_eq!(named, ["one.example:5432", "[::1]:5433"]);
        for wrong in [
            "",
            "one.example:0",
            "::1:5432",
            "one.example:5432,",
            "a b:5432",
        ] {
            let problems = parse(&[("hostname", "h"), ("dbname", "d"), ("replicas", wrong)]);
            assert_eq!(problems.unwrap_err().len(), 1, "{wrong}");
        }
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
