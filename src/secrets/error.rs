//! Owns what can go wrong with a credential, and its class.

use crate::domain::ErrorClass;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A credential that could not be fetched. Can be cloned, because several may wait for one fetch.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{place}{problem}")]
pub struct SecretError {
    place: String,
    problem: SecretProblem,
    hint: String,
    #[source]
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretProblem {
    /// No store is set up for this kind of reference.
    #[error(" is in a store that is not set up")]
    NotSetUp,
    /// There is nothing there.
    #[error(" does not exist")]
    Missing,
    /// It is there, but not for us.
    #[error(" cannot be read")]
    Unreadable,
    /// It is a directory, a pipe or the like.
    #[error(" is not a regular file")]
    NotAFile,
    /// It is larger than any credential.
    #[error(" is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It did not come in time.
    #[error(" could not be read within {limit:?}")]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// It is not a JSON object.
    #[error(" is not a JSON object, trouble at line {line} column {column}")]
    NotJson {
        /// Line of the trouble, from 1; 0 when the whole is of another type.
        line: usize,
        /// Column of the trouble, from 1; 0 when the whole is of another type.
        column: usize,
    },
    /// It is not a text.
    #[error(" is binary, must be a text")]
    Binary,
    /// A key is missing or of another type.
    #[error(": `{key}` {problem}")]
    BadKey {
        /// Which key.
        key: String,
        /// What was expected.
        problem: &'static str,
    },
    /// It does not carry the mark that says it is for the connector.
    #[error(
        " has no {what} `apono-connector-read=true`, without which the connector does not read it"
    )]
    NotMarked {
        /// `tag` or `label`.
        what: &'static str,
    },
    /// It is scheduled for deletion, or was deleted.
    #[error(" is deleted or scheduled for deletion")]
    Deleted,
    /// We may not do what is needed.
    #[error(" may not be read by the connector: `{action}` was refused")]
    Denied {
        /// The refused call.
        action: String,
    },
    /// The key it is encrypted with cannot be used.
    #[error(" cannot be decrypted: the store answers `{code}`")]
    KeyUnusable {
        /// The store's code.
        code: String,
    },
    /// We could not prove to the store who we are.
    #[error(" cannot be read: the log-in to its store was refused ({what})")]
    LoginRefused {
        /// By which means.
        what: String,
    },
    /// The store asks us to slow down.
    #[error(" was not read: the store asks to slow down")]
    Throttled,
    /// The store cannot be reached.
    #[error(" cannot be read: its store cannot be reached")]
    Unreachable,
    /// The store is sealed, or in maintenance.
    #[error(" cannot be read: the store is sealed or in maintenance")]
    Sealed,
    /// The server that answered is a standby.
    #[error(" cannot be read: a standby of the store answered")]
    Standby,
    /// The store answered something else.
    #[error(" cannot be read: the store answers `{code}`")]
    Refused {
        /// The status or the store's code.
        code: String,
        /// Whether it may pass by itself.
        passing: bool,
    },
    /// The answer is not what the store's interface says.
    #[error(" cannot be read: the answer of the store {problem}")]
    Garbled {
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl SecretError {
    pub(super) fn new(
        place: impl Into<String>,
        problem: SecretProblem,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            problem,
            hint: hint.into(),
            source: None,
        }
    }

    pub(super) fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn problem(&self) -> &SecretProblem {
        &self.problem
    }

    /// Returns the class, which alone decides what happens next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match &self.problem {
            SecretProblem::TooSlow { .. }
            | SecretProblem::Unreachable
            | SecretProblem::Sealed
            | SecretProblem::Standby
            | SecretProblem::Garbled { .. }
            | SecretProblem::Refused { passing: true, .. } => ErrorClass::Transient,
            SecretProblem::Throttled => ErrorClass::Throttled,
            SecretProblem::NotSetUp
            | SecretProblem::NotMarked { .. }
            | SecretProblem::Deleted
            | SecretProblem::Denied { .. }
            | SecretProblem::KeyUnusable { .. }
            | SecretProblem::LoginRefused { .. }
            | SecretProblem::Refused { passing: false, .. } => ErrorClass::NeedsOperator,
            SecretProblem::Missing
            | SecretProblem::Unreadable
            | SecretProblem::NotAFile
            | SecretProblem::TooLarge { .. }
            | SecretProblem::NotJson { .. }
            | SecretProblem::Binary
            | SecretProblem::BadKey { .. } => ErrorClass::Unauthorised,
        }
    }

    /// Returns the fix.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }
}
