//! Owns what can go wrong with a server. Never shows a server's message outside the local error chain.

use super::{sqlstate, tls};
use crate::domain::ErrorClass;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

type Cause = Box<dyn Error + Send + Sync>;

/// Which server, database and user an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role logged in as.
    pub user: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "database `{}` on `{}:{}` as `{}`",
            self.database, self.host, self.port, self.user
        )
    }
}

/// What is wrong with the protection of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsProblem {
    /// The server speaks no TLS.
    NotOffered,
    /// No certificate we trust has signed the server's.
    UnknownCa,
    /// The certificate is for another host.
    WrongHost,
    /// The certificate is not valid at this time.
    OutOfTime,
    /// The private CA we were given holds no certificate, or the system has none.
    NoRoots,
    /// Our own certificate or its key cannot be used.
    ClientCertificate,
    /// The server does not take our own certificate, or wants one and got none.
    ClientRefused,
    /// The two sides did not agree.
    Handshake,
}

impl TlsProblem {
    /// Returns a few words for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotOffered => "the server offers no TLS",
            Self::UnknownCa => "the server's certificate is not signed by a trusted CA",
            Self::WrongHost => "the server's certificate is for another host name",
            Self::OutOfTime => "the server's certificate is expired or not yet valid",
            Self::NoRoots => "there is no CA certificate to check the server with",
            Self::ClientCertificate => "the client certificate or its key cannot be used",
            Self::ClientRefused => "the server does not accept the client certificate",
            Self::Handshake => "the TLS handshake failed",
        }
    }

    /// Whether it came from the other side; what is wrong on our own is no reason to try another way.
    pub(super) fn is_of_the_server(self) -> bool {
        match self {
            Self::NotOffered
            | Self::UnknownCa
            | Self::WrongHost
            | Self::OutOfTime
            | Self::ClientRefused
            | Self::Handshake => true,
            Self::NoRoots | Self::ClientCertificate => false,
        }
    }
}

/// Something we asked of a server that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// No connection could be made.
    #[error("cannot reach {place}")]
    Unreachable {
        /// Where.
        place: Arc<Place>,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection cannot be protected as asked.
    #[error("cannot connect securely to {place}: {}", problem.as_str())]
    Tls {
        /// Where.
        place: Arc<Place>,
        /// What is wrong.
        problem: TlsProblem,
        /// What the TLS library says.
        #[source]
        source: Option<Cause>,
    },
    /// The server asked for the password in a form that anyone at the other end could use, or did not ask at all.
    #[error(
        "{place} authenticates by method `{method}`, which is accepted only under `sslmode` `verify-full`"
    )]
    RefusedMethod {
        /// Where.
        place: Arc<Place>,
        /// `password`, `md5` or `trust`, as in `pg_hba.conf`.
        method: &'static str,
    },
    /// The server did not let us in.
    #[error("cannot log in to {place}: SQLSTATE {code}")]
    Login {
        /// Where.
        place: Arc<Place>,
        /// The SQLSTATE.
        code: String,
        /// The server's words, for the local log only.
        #[source]
        source: Cause,
    },
    /// The server speaks, but the log-in cannot be completed.
    #[error("cannot agree with {place} on how to log in")]
    Handshake {
        /// Where.
        place: Arc<Place>,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Another process of the server answers from one transaction to the next, so nothing that is set for a session holds.
    #[error("{place} is reached through a connection pooler in transaction mode")]
    TransactionPooler {
        /// Where.
        place: Arc<Place>,
    },
    /// A statement failed.
    #[error("failed to {note} in {place}: SQLSTATE {code}")]
    Statement {
        /// Where.
        place: Arc<Place>,
        /// What was being done.
        note: &'static str,
        /// The SQLSTATE.
        code: String,
        /// The constraint that was hit, where there is one.
        constraint: Option<String>,
        /// The server's words, for the local log only.
        #[source]
        source: Cause,
    },
    /// No answer in time; whether the statement had an effect is unknown. The session is closed.
    #[error("no answer from {place} within {limit:?} to {note}")]
    Timeout {
        /// Where.
        place: Arc<Place>,
        /// What was being done.
        note: &'static str,
        /// How long we waited.
        limit: Duration,
    },
    /// The connection is gone; whether the statement had an effect is unknown.
    #[error("the connection to {place} was lost, failed to {note}")]
    Closed {
        /// Where.
        place: Arc<Place>,
        /// What was being done.
        note: &'static str,
        /// The SQLSTATE the server closed it with, where it said.
        code: Option<String>,
        /// Why.
        #[source]
        source: Option<Cause>,
    },
    /// Parameters or rows are not what our own code expects.
    #[error("unexpected parameters or rows while trying to {note} in {place}")]
    Mismatch {
        /// Where.
        place: Arc<Place>,
        /// What was being done.
        note: &'static str,
        /// What does not fit.
        #[source]
        source: Cause,
    },
}

impl PgError {
    /// Returns the class, which alone decides whether and when to try again.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => ErrorClass::Transient,
            Self::Tls { problem, .. } => match problem {
                TlsProblem::NotOffered
                | TlsProblem::UnknownCa
                | TlsProblem::WrongHost
                | TlsProblem::OutOfTime
                | TlsProblem::NoRoots
                | TlsProblem::ClientCertificate
                | TlsProblem::ClientRefused => ErrorClass::NeedsOperator,
                TlsProblem::Handshake => ErrorClass::Transient,
            },
            Self::RefusedMethod { .. }
            | Self::Handshake { .. }
            | Self::TransactionPooler { .. } => ErrorClass::NeedsOperator,
            Self::Login { code, .. } | Self::Statement { code, .. } => sqlstate::class(code),
            Self::Closed { .. } => ErrorClass::Transient,
            Self::Mismatch { .. } => ErrorClass::Bug,
        }
    }

    /// Returns the SQLSTATE, where the server gave one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Login { code, .. } | Self::Statement { code, .. } => Some(code),
            Self::Closed { code, .. } => code.as_deref(),
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::RefusedMethod { .. }
            | Self::Handshake { .. }
            | Self::TransactionPooler { .. }
            | Self::Timeout { .. }
            | Self::Mismatch { .. } => None,
        }
    }

    /// Returns which server, database and user it is about.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Unreachable { place, .. }
            | Self::Tls { place, .. }
            | Self::RefusedMethod { place, .. }
            | Self::Login { place, .. }
            | Self::Handshake { place, .. }
            | Self::TransactionPooler { place }
            | Self::Statement { place, .. }
            | Self::Timeout { place, .. }
            | Self::Closed { place, .. }
            | Self::Mismatch { place, .. } => place,
        }
    }

    /// Returns the usual fix, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { place, .. } => Some(format!(
                "check that `{}` resolves and that port {} is open from this machine",
                place.host, place.port
            )),
            Self::Tls { place, problem, .. } => tls_hint(place, *problem),
            Self::RefusedMethod { place, .. } => Some(format!(
                "set `sslmode` to `verify-full`, or store the password of `{}` as SCRAM-SHA-256 and use `scram-sha-256` in `pg_hba.conf`",
                place.user
            )),
            Self::Login { place, code, .. } => sqlstate::login_hint(code, place),
            Self::Handshake { place, .. } => Some(format!(
                "use `scram-sha-256` in `pg_hba.conf` for `{}`, and check that a PostgreSQL server listens on `{}:{}`",
                place.user, place.host, place.port
            )),
            Self::TransactionPooler { .. } => Some(
                "give host and port of the server itself, or of a pooler database in session mode"
                    .to_owned(),
            ),
            Self::Statement { place, code, .. } => sqlstate::statement_hint(code, place),
            Self::Timeout { .. } | Self::Closed { .. } | Self::Mismatch { .. } => None,
        }
    }
}

fn tls_hint(place: &Place, problem: TlsProblem) -> Option<String> {
    Some(match problem {
        TlsProblem::NotOffered => {
            format!(
                "turn TLS on at `{}:{}` (`ssl = on`)",
                place.host, place.port
            )
        }
        TlsProblem::UnknownCa => format!(
            "give the CA certificate that signed the one of `{}` to the connector",
            place.host
        ),
        TlsProblem::WrongHost => format!(
            "use a host name that the server's certificate carries, or issue one for `{}`",
            place.host
        ),
        TlsProblem::OutOfTime => {
            "renew the server's certificate, or correct this machine's clock".to_owned()
        }
        TlsProblem::NoRoots => {
            "give a file with at least one certificate in PEM form as the CA".to_owned()
        }
        TlsProblem::ClientCertificate => {
            "give a certificate and its own private key in PEM form, the key not encrypted"
                .to_owned()
        }
        TlsProblem::ClientRefused => format!(
            "give the connector a certificate that a CA `{}` trusts has signed (its `ssl_ca_file`)",
            place.host
        ),
        TlsProblem::Handshake => return None,
    })
}

/// Tells the kinds of trouble of a running session apart.
pub(super) fn of_call(
    place: &Arc<Place>,
    note: &'static str,
    error: tokio_postgres::Error,
) -> PgError {
    let place = Arc::clone(place);
    if let Some(db) = error.as_db_error() {
        return PgError::Statement {
            code: db.code().code().to_owned(),
            constraint: db.constraint().map(str::to_owned),
            place,
            note,
            source: Box::new(error),
        };
    }
    let lost = error.is_closed()
        || error
            .source()
            .is_some_and(<dyn Error>::is::<std::io::Error>);
    if lost {
        PgError::Closed {
            place,
            note,
            code: None,
            source: Some(Box::new(error)),
        }
    } else {
        PgError::Mismatch {
            place,
            note,
            source: Box::new(error),
        }
    }
}

/// Tells the kinds of trouble of a log-in apart.
pub(super) fn of_login(place: &Arc<Place>, error: tokio_postgres::Error) -> PgError {
    let place = Arc::clone(place);
    if let Some(code) = error.code().map(|code| code.code().to_owned()) {
        return PgError::Login {
            place,
            code,
            source: Box::new(error),
        };
    }
    let cause = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    // Under TLS 1.3 the server looks at our certificate when the handshake is over for us.
    if cause.is_some_and(|cause| tls::problem_of(cause) == TlsProblem::ClientRefused) {
        return PgError::Tls {
            place,
            problem: TlsProblem::ClientRefused,
            source: Some(Box::new(error)),
        };
    }
    if error.is_closed() || cause.is_some() {
        PgError::Closed {
            place,
            note: "log in",
            code: None,
            source: Some(Box::new(error)),
        }
    } else {
        PgError::Handshake {
            place,
            source: Box::new(error),
        }
    }
}
