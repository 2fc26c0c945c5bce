//! Owns what can go wrong at this target, one variant per failed intention. Never reads a message text: the SQLSTATE decides.

use super::tls_files::SSL_ROOT_CA;
use crate::domain::ErrorClass;
use crate::pg::PgError;
use crate::targets::TargetError;
use std::error::Error;

/// A failed intention.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Pg(#[from] PgError),
    #[error("`{host}` answers as a read-only replica, the primary was expected")]
    Replica { host: String },
    #[error("the answer to `{doing}` has an unexpected shape")]
    Answer { doing: &'static str },
    #[error("the database credential could not be read: {0}")]
    Credential(#[source] Box<dyn Error + Send + Sync>),
    #[error("`{setting}` `{path}` cannot be read")]
    TlsFile {
        setting: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`ssl_key` `{path}` may be read or changed by others (mode {mode:04o})")]
    OpenKey { path: String, mode: u32 },
    #[error("the system's random source failed")]
    Random(#[source] getrandom::Error),
    #[error("the password verifier made here is malformed, nothing was sent")]
    Verifier,
    #[error("the recipient cannot be sealed to: {problem}")]
    Recipient { problem: String },
    #[error("the credential could not be sealed, nothing was sent")]
    Seal(#[source] Box<dyn Error + Send + Sync>),
    #[error("the target is busy, no connection became free in time")]
    Busy,
    #[error("{message}")]
    Refused {
        class: ErrorClass,
        reason: &'static str,
        message: String,
        hint: Option<String>,
    },
}

impl Trouble {
    pub(super) fn refused(
        class: ErrorClass,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self::Refused {
            class,
            reason,
            message: message.into(),
            hint: None,
        }
    }

    /// What someone has to do before this can work.
    pub(super) fn operator(
        reason: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Refused {
            class: ErrorClass::NeedsOperator,
            reason,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The plan was made from a state that is no longer so.
    pub(super) fn changed() -> Self {
        Self::refused(
            ErrorClass::Conflict,
            "changed_since_planned",
            "the login or its grants changed since the plan was made, plan again",
        )
    }

    /// The SQLSTATE of the server's answer, where there was one.
    pub(super) fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Pg(source) => source.sqlstate(),
            Self::TlsFile { .. }
            | Self::OpenKey { .. }
            | Self::Replica { .. }
            | Self::Answer { .. }
            | Self::Credential(_)
            | Self::Random(_)
            | Self::Verifier
            | Self::Recipient { .. }
            | Self::Seal(_)
            | Self::Busy
            | Self::Refused { .. } => None,
        }
    }

    pub(super) fn class(&self) -> ErrorClass {
        match self {
            Self::Pg(source) => source.class(),
            Self::Replica { .. }
            | Self::Credential(_)
            | Self::TlsFile { .. }
            | Self::OpenKey { .. } => ErrorClass::NeedsOperator,
            Self::Random(_) | Self::Busy => ErrorClass::Transient,
            Self::Answer { .. } | Self::Verifier | Self::Recipient { .. } | Self::Seal(_) => {
                ErrorClass::Bug
            }
            Self::Refused { class, .. } => *class,
        }
    }

    /// The connection went, or no longer answers; whether the last statement had an effect is unknown.
    pub(super) fn is_lost_connection(&self) -> bool {
        matches!(
            self,
            Self::Pg(PgError::Timeout { .. } | PgError::Closed { .. })
        )
    }

    /// Someone else's change got in the way: trying the same again soon can help.
    pub(super) fn is_collision(&self) -> bool {
        matches!(self.class(), ErrorClass::Conflict)
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Pg(source) => match source.sqlstate() {
                Some("22012") => "lease_over",
                Some("25006" | "0A000") => "read_only_server",
                Some("42501") => "right_missing",
                Some("53200" | "53300") => "server_full",
                Some("55P03" | "40P01" | "XX000") => "busy_object",
                Some("57014") => "statement_timeout",
                Some("3D000") => "no_such_database",
                Some("28P01" | "28000") => "login_refused",
                Some(_) => "database_error",
                None => match source {
                    PgError::Unreachable { .. } => "unreachable",
                    PgError::Tls { .. } => "tls_failed",
                    PgError::RefusedMethod { .. } => "password_method_refused",
                    PgError::TransactionPooler { .. } => "transaction_pooler",
                    PgError::Timeout { .. } => "timeout",
                    PgError::Closed { .. } => "connection_lost",
                    PgError::Login { .. }
                    | PgError::Handshake { .. }
                    | PgError::Statement { .. }
                    | PgError::Mismatch { .. } => "database_error",
                },
            },
            Self::TlsFile { setting, .. } if *setting == SSL_ROOT_CA => "root_ca_unreadable",
            Self::TlsFile { .. } => "client_certificate_unreadable",
            Self::OpenKey { .. } => "client_key_open",
            Self::Replica { .. } => "read_only_server",
            Self::Answer { .. } => "unexpected_answer",
            Self::Credential(_) => "credential_unreadable",
            Self::Random(_) => "no_randomness",
            Self::Verifier => "malformed_verifier",
            Self::Recipient { .. } => "recipient_unusable",
            Self::Seal(_) => "sealing_failed",
            Self::Busy => "target_busy",
            Self::Refused { reason, .. } => reason,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Replica { .. } => {
                Some("set `hostname` to the writer endpoint of the server".to_owned())
            }
            Self::Credential(_) => Some(
                "put the database user and password where the integration's secret points"
                    .to_owned(),
            ),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Recipient { .. } => {
                Some("give an age public key (`age1…`) or an `ssh-ed25519` public key".to_owned())
            }
            Self::Pg(source) => source.hint(),
            Self::TlsFile { .. } => Some("give the path of a readable PEM file".to_owned()),
            Self::OpenKey { path, .. } => Some(format!(
                "chmod 600 {path} (640 is enough where root owns it)"
            )),
            Self::Answer { .. } | Self::Random(_) | Self::Verifier | Self::Seal(_) | Self::Busy => {
                None
            }
        }
    }
}

impl From<Trouble> for TargetError {
    fn from(trouble: Trouble) -> Self {
        let class = trouble.class();
        let mut error = Self::new(class, trouble.reason(), trouble.to_string());
        if let Some(hint) = trouble.hint() {
            error = error.hint(hint);
        }
        error.source(trouble)
    }
}
