//! Owns what can go wrong at this target, one variant per failed intention. Never reads a message text: the SQLSTATE decides.

use super::render::id;
use super::server::LookupError;
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
    Credential(#[source] LookupError),
    #[error("the server could not be found: {0}")]
    Server(#[source] LookupError),
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
    /// The server took it back, or it was never begun there.
    #[error(transparent)]
    Undone(Box<Self>),
    /// Somebody holds what was waited for.
    #[error("{source}; in the way may be {who}")]
    InTheWay {
        source: Box<Self>,
        who: String,
        fix: String,
    },
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

    pub(super) fn admin_role_refused(role: &str, user: &str) -> Self {
        Self::operator(
            "admin_role_unusable",
            format!("`{user}` cannot act as the admin role `{role}`"),
            format!("GRANT {} TO {};", id(role), id(user)),
        )
    }

    pub(super) fn admin_role_missing(role: &str, user: &str) -> Self {
        Self::operator(
            "admin_role_missing",
            format!("the admin role `{role}` does not exist on the server"),
            format!(
                "CREATE ROLE {role} NOLOGIN CREATEROLE; GRANT {role} TO {};",
                id(user),
                role = id(role)
            ),
        )
    }

    /// Says that it had no effect, if the server's own words prove that: an error it answered with, or a refused log-in. The last
    /// words of a connection prove nothing.
    pub(super) fn undone(self) -> Self {
        let refused = matches!(
            self,
            Self::Pg(PgError::Login { .. } | PgError::Unreachable { .. })
                | Self::Credential(_)
                | Self::Server(_)
        );
        let answered = matches!(self, Self::Pg(PgError::Statement { goes_on: true, .. }));
        if refused || answered {
            Self::Undone(Box::new(self))
        } else {
            self
        }
    }

    /// The server did not take user and password.
    pub(super) fn is_refused_login(&self) -> bool {
        let Self::Pg(PgError::Login { code, .. }) = self else {
            return false;
        };
        matches!(code.as_str(), "28P01" | "28000")
    }

    /// A lock did not come.
    pub(super) fn is_lock(&self) -> bool {
        self.sqlstate() == Some("55P03")
    }

    /// The server has no room left for what a statement writes.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.sqlstate(), Some("53100" | "53200"))
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
            Self::Undone(source) | Self::InTheWay { source, .. } => source.sqlstate(),
            Self::TlsFile { .. }
            | Self::OpenKey { .. }
            | Self::Replica { .. }
            | Self::Answer { .. }
            | Self::Credential(_)
            | Self::Server(_)
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
            Self::Undone(source) | Self::InTheWay { source, .. } => source.class(),
            Self::Credential(source) | Self::Server(source) => source.class(),
            Self::Replica { .. } | Self::TlsFile { .. } | Self::OpenKey { .. } => {
                ErrorClass::NeedsOperator
            }
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
            Self::Pg(
                PgError::Timeout { .. }
                    | PgError::Closed { .. }
                    | PgError::Statement { goes_on: false, .. }
            )
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
                Some("53100") => "disk_full",
                Some("53200") => "out_of_memory",
                Some("53300") => "server_full",
                Some("57P01" | "57P02" | "57P03" | "57P05") => "server_unavailable",
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
            Self::Undone(source) | Self::InTheWay { source, .. } => source.reason(),
            Self::TlsFile { setting, .. } if *setting == SSL_ROOT_CA => "root_ca_unreadable",
            Self::TlsFile { .. } => "client_certificate_unreadable",
            Self::OpenKey { .. } => "client_key_open",
            Self::Replica { .. } => "read_only_server",
            Self::Answer { .. } => "unexpected_answer",
            Self::Credential(_) => "credential_unreadable",
            Self::Server(_) => "server_not_found",
            Self::Random(_) => "no_randomness",
            Self::Verifier => "malformed_verifier",
            Self::Recipient { .. } => "recipient_unusable",
            Self::Seal(_) => "sealing_failed",
            Self::Busy => "target_busy",
            Self::Refused { reason, .. } => reason,
        }
    }

    fn is_undone(&self) -> bool {
        if let Self::InTheWay { source, .. } = self {
            return source.is_undone();
        }
        matches!(self, Self::Undone(_))
    }

    /// The error with what helps, for a list of several.
    pub(super) fn with_hint(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}\n{hint}"),
            None => self.to_string(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Replica { .. } => {
                Some("point the integration at the writer endpoint of the server".to_owned())
            }
            Self::Credential(source) => Some(
                source
                    .hint()
                    .unwrap_or(
                        "put the database user and password where the integration's secret points",
                    )
                    .to_owned(),
            ),
            Self::Server(source) => source.hint().map(str::to_owned),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Recipient { .. } => {
                Some("give an age public key (`age1…`) or an `ssh-ed25519` public key".to_owned())
            }
            Self::Pg(source) => source.hint(),
            Self::Undone(source) => source.hint(),
            Self::InTheWay { fix, .. } => Some(fix.clone()),
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
        if trouble.is_undone() {
            error = error.undone();
        }
        error.source(trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Place;
    use std::sync::Arc;

    fn answer(code: &str, goes_on: bool) -> Trouble {
        Trouble::Pg(PgError::Statement {
            place: Arc::new(Place {
                host: "db.example".to_owned(),
                port: 5432,
                database: "app".to_owned(),
                user: "apono_connector".to_owned(),
            }),
            note: "start the grant",
            code: code.to_owned(),
            constraint: None,
            goes_on,
            source: "the server's words".into(),
        })
    }

    #[test]
    fn what_a_server_under_pressure_answers_has_a_class_and_a_name() {
        let mut table = String::new();
        for code in [
            "53000", "53100", "53200", "53300", "53400", "55000", "55006", "55P02", "55P03",
            "57014", "57P01", "57P02", "57P03", "57P04", "57P05", "58000", "58030", "58P01",
        ] {
            let trouble = answer(code, true);
            table += &format!("{code} {} {}\n", trouble.class(), trouble.reason());
        }
        insta::assert_snapshot!(table, @r"
        53000 transient database_error
        53100 transient disk_full
        53200 transient out_of_memory
        53300 transient server_full
        53400 transient database_error
        55000 conflict database_error
        55006 conflict database_error
        55P02 needs_operator database_error
        55P03 conflict busy_object
        57014 transient statement_timeout
        57P01 transient server_unavailable
        57P02 transient server_unavailable
        57P03 transient server_unavailable
        57P04 not_found database_error
        57P05 transient server_unavailable
        58000 transient database_error
        58030 transient database_error
        58P01 needs_operator database_error
        ");
    }

    #[test]
    fn only_what_the_server_itself_took_back_counts_as_undone() {
        let undone = |trouble: Trouble| TargetError::from(trouble.undone()).is_undone();
        assert!(undone(answer("53100", true)));
        assert!(undone(answer("55P03", true)));
        // The last words of a connection: the commit before them may stand.
        assert!(!undone(answer("57P01", false)));
        assert!(
            !undone(answer("53100", false)),
            "a PANIC while the commit was written"
        );
        assert!(!undone(Trouble::Busy));
        assert_eq!(answer("XX000", false).class(), ErrorClass::Transient);
        assert!(!TargetError::from(answer("53100", true)).is_undone());
        let full = TargetError::from(answer("53100", true).undone());
        assert_eq!(full.failure().reason, "disk_full");
        assert_eq!(
            full.failure().hint.as_deref(),
            Some("free space on the disks of the server at `db.example:5432`")
        );
    }
}
