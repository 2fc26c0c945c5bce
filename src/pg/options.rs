//! Owns what is needed to open a session. Never opens one.

use crate::domain::{InvalidValue, shown};
use crate::secret::Secret;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where to connect, as whom, and how to protect the connection.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Host name or address; the name the certificate must carry under [`SslMode::VerifyFull`].
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
    /// Certificates, in PEM, one of which must have signed the server's under [`SslMode::VerifyFull`]; the system's when absent.
    pub root_ca_pem: Option<Arc<str>>,
    /// Shown in `pg_stat_activity` and in the server's log.
    pub application_name: String,
}

/// How a connection is protected, in the words of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// No TLS at all.
    Disable,
    /// Encrypted, but anyone may be at the other end.
    Require,
    /// Encrypted, and the server proves by certificate that it is the host asked for.
    VerifyFull,
}

impl SslMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Disable, Self::Require, Self::VerifyFull];

    /// Returns the name libpq uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Parses the name libpq uses.
    ///
    /// # Errors
    /// When the mode is unknown or not supported; the message lists the supported ones.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| {
                InvalidValue::new(
                    "`sslmode`",
                    format!(
                        "is `{}`, must be one of `disable`, `require`, `verify-full`",
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
        for text in ["prefer", "", "VERIFY-FULL", "verify_full"] {
            assert_eq!(
                SslMode::parse(text).unwrap_err().to_string(),
                format!(
                    "`sslmode` is `{text}`, must be one of `disable`, `require`, `verify-full`"
                )
            );
        }
    }

    #[test]
    fn options_never_show_the_password() {
        let options = ConnectOptions {
            host: "db".to_owned(),
            port: 5432,
            database: "app".to_owned(),
            user: "u".to_owned(),
            password: Secret::new("hunter2".to_owned()),
            ssl_mode: SslMode::VerifyFull,
            root_ca_pem: None,
            application_name: "t".to_owned(),
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
