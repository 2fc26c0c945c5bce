//! Owns what is needed to open a session. Never opens one.

use super::addresses::{ByWayOf, Names, SystemNames};
use crate::domain::{InvalidValue, shown};
use crate::secret::Secret;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where to connect, as whom, and how to protect the connection.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Host name or address; the name the certificate must carry under [`SslMode::VerifyFull`]. Where it has several
    /// addresses, up to four of them are tried, 2 s each.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database to enter.
    pub database: String,
    /// Role to log in as.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// How the connection is protected.
    pub ssl_mode: SslMode,
    /// Certificates, in PEM, one of which must have signed the server's whenever TLS is spoken. When absent, the system's
    /// count under [`SslMode::VerifyFull`], and nobody's signature is looked at in the weaker modes.
    pub root_ca_pem: Option<Arc<str>>,
    /// What we show of ourselves where the server asks for a certificate.
    pub client: Option<ClientCertificate>,
    /// Shown in `pg_stat_activity` and in the server's log.
    pub application_name: String,
    /// Whether an address at which a replica answers is passed over while there are others to try.
    pub pass_over_replicas: bool,
    /// Where the host's addresses come from.
    pub names: Arc<dyn Names>,
}

impl ConnectOptions {
    /// Returns where the addresses of a host usually come from.
    #[must_use]
    pub fn system_names() -> Arc<dyn Names> {
        Arc::new(SystemNames)
    }

    /// Returns the addresses of another host, by which the one asked for is reached: a tunnel, a forwarded port. What the
    /// certificate must carry stays the name asked for.
    #[must_use]
    pub fn names_by_way_of(host: &str, port: u16) -> Arc<dyn Names> {
        Arc::new(ByWayOf(host.to_owned(), port))
    }
}

/// A certificate of our own, and the key that proves it to be ours.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate and those that lead to its CA, in PEM.
    pub chain_pem: Arc<str>,
    /// The private key, in PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key_pem: Secret,
}

/// How a connection is protected, in the words and with the meaning of libpq.
///
/// With a root CA, every mode that speaks TLS checks that this CA has signed the server's certificate: `require` then is
/// `verify-ca`, and an attempt that fails for it counts as refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// No TLS at all.
    Disable,
    /// In clear; encrypted if the server refuses that.
    Allow,
    /// Encrypted; in clear if the server offers no TLS, if TLS fails, or if the server refuses the encrypted attempt.
    Prefer,
    /// Encrypted, but without a root CA anyone may be at the other end.
    Require,
    /// Encrypted, and the server has a certificate of the root CA, for whatever host.
    VerifyCa,
    /// Encrypted, and the server proves by certificate that it is the host asked for.
    VerifyFull,
}

/// One way to speak to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Clear,
    Encrypted,
}

impl SslMode {
    /// Every mode, the weakest first.
    pub const ALL: [Self; 6] = [
        Self::Disable,
        Self::Allow,
        Self::Prefer,
        Self::Require,
        Self::VerifyCa,
        Self::VerifyFull,
    ];

    /// Returns the name libpq uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Returns what is tried first, and what is tried if that is refused.
    pub(super) fn ways(self) -> (Way, Option<Way>) {
        match self {
            Self::Disable => (Way::Clear, None),
            Self::Allow => (Way::Clear, Some(Way::Encrypted)),
            Self::Prefer => (Way::Encrypted, Some(Way::Clear)),
            Self::Require | Self::VerifyCa | Self::VerifyFull => (Way::Encrypted, None),
        }
    }

    /// Parses the name libpq uses.
    ///
    /// # Errors
    /// When the mode is unknown; the message lists the known ones.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| {
                InvalidValue::new(
                    "`sslmode`",
                    format!(
                        "is `{}`, must be one of `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`",
                        shown(text)
                    ),
                )
            })
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long a session's calls may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One statement, enforced by the server.
    pub statement: Duration,
    /// One wait for a lock, enforced by the server.
    pub lock: Duration,
    /// One call with all its statements, enforced here, because a half-open connection never answers. The session is closed then.
    pub call: Duration,
}

impl Default for Limits {
    /// 30 s a statement, which fills an access role over 100,000 tables; 5 s a lock; 40 s a call.
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(30),
            lock: Duration::from_secs(5),
            call: Duration::from_secs(40),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_reads_back_from_its_name() {
        for mode in SslMode::ALL {
            assert_eq!(SslMode::parse(mode.as_str()).unwrap(), mode);
        }
    }

    #[test]
    fn an_unknown_mode_names_the_known_ones() {
        for text in ["on", "", "VERIFY-FULL", "verify_full"] {
            assert_eq!(
                SslMode::parse(text).unwrap_err().to_string(),
                format!(
                    "`sslmode` is `{text}`, must be one of `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`"
                )
            );
        }
    }

    #[test]
    fn options_never_show_the_password_or_the_key() {
        let options = ConnectOptions {
            host: "db".to_owned(),
            port: 5432,
            database: "app".to_owned(),
            user: "u".to_owned(),
            password: Secret::new("hunter2".to_owned()),
            ssl_mode: SslMode::VerifyFull,
            root_ca_pem: None,
            client: Some(ClientCertificate {
                chain_pem: "a certificate".into(),
                key_pem: Secret::new("hunter3".to_owned()),
            }),
            application_name: "t".to_owned(),
            pass_over_replicas: false,
            names: ConnectOptions::system_names(),
        };
        let shown = format!("{options:?}");
        assert!(shown.contains("a certificate"));
        assert!(
            !shown.contains("hunter2") && !shown.contains("hunter3"),
            "{shown}"
        );
    }
}
