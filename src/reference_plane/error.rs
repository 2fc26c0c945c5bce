//! Owns what can go wrong in the reference control plane, and the status each trouble is answered with. Never shows a secret.

use crate::control::protocol::ErrorSpec;
use crate::domain::InvalidValue;
use std::path::PathBuf;

/// A call or a start-up that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// The call is refused, and the caller is told why.
    #[error("{}", .0.error.message)]
    Refused(Refusal),
    /// The store could not be read or written.
    #[error("the store cannot be used")]
    Store(#[from] rusqlite::Error),
    /// The store holds a value that this version did not write.
    #[error("the store holds a value that cannot be read: {0}")]
    Damaged(String),
    /// Another process has the store.
    #[error("the store `{}` is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A file could not be read or written.
    #[error("the file `{}` cannot be used", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A token is too short to protect anything.
    #[error("the file `{}` holds a token of {bytes} characters, at least 16 are needed", path.display())]
    WeakToken {
        /// Which file.
        path: PathBuf,
        /// How many characters it holds.
        bytes: usize,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// Which address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address can be reached from other machines, and the server speaks no TLS.
    #[error("`{0}` is not a loopback address, and this server speaks no TLS")]
    Exposed(std::net::SocketAddr),
    /// The system's random source failed.
    #[error("the system gave no random bytes")]
    Random,
    /// The server is going down.
    #[error("the control plane is going down")]
    Stopping,
}

/// A refusal, ready to be sent.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub error: ErrorSpec,
    /// Seconds to wait, for the `Retry-After` header.
    pub retry_after_s: Option<u64>,
}

impl PlaneError {
    pub(super) fn refuse(status: u16, reason: &str, message: impl Into<String>) -> Self {
        Self::Refused(Refusal {
            status,
            error: ErrorSpec {
                reason: reason.to_owned(),
                message: message.into(),
                hint: None,
            },
            retry_after_s: None,
        })
    }

    pub(super) fn not_found(reason: &str, message: impl Into<String>) -> Self {
        Self::refuse(404, reason, message)
    }

    pub(super) fn conflict(reason: &str, message: impl Into<String>) -> Self {
        Self::refuse(409, reason, message)
    }

    pub(super) fn invalid(reason: &str, message: impl Into<String>) -> Self {
        Self::refuse(422, reason, message)
    }

    pub(super) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.error.hint = Some(text.into());
        }
        self
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.retry_after_s = Some(seconds);
        }
        self
    }
}

impl From<InvalidValue> for PlaneError {
    fn from(problem: InvalidValue) -> Self {
        Self::invalid("invalid_value", problem.to_string())
    }
}
