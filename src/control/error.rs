//! Owns what can go wrong in the conversation, and its class.

use crate::domain::ErrorClass;
use std::path::PathBuf;
use std::time::Duration;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The control plane could not be reached, or the connection broke.
    #[error("the control plane at `{url}` cannot be reached for `{call}`")]
    Unreachable {
        /// The base address.
        url: String,
        /// Which call.
        call: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The control plane answered with an error status.
    #[error("the control plane answered `{call}` with status {status}: {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it said, cut to 200 characters.
        message: String,
        /// How long it asked us to wait, at most 5 minutes.
        retry_after: Option<Duration>,
    },
    /// The answer could not be understood.
    #[error("the control plane's answer to `{call}` cannot be understood: {problem}")]
    Garbled {
        /// Which call.
        call: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The answer is larger than the limit.
    #[error("the control plane's answer to `{call}` is larger than {limit} bytes")]
    TooLarge {
        /// Which call.
        call: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The inventory source stopped before the end, so the upload was aborted.
    #[error("the inventory upload was aborted by its source")]
    Aborted,
    /// There is no token to show.
    #[error("the token file `{}` cannot be used", path.display())]
    NoToken {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ControlError {
    /// Returns the class, which alone decides what happens next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. }
            | Self::Garbled { .. }
            | Self::TooLarge { .. }
            | Self::Aborted => ErrorClass::Transient,
            Self::NoToken { .. } => ErrorClass::Unauthorised,
            Self::Refused { status, .. } => match status {
                401 | 403 => ErrorClass::Unauthorised,
                404 | 410 => ErrorClass::NotFound,
                409 => ErrorClass::Conflict,
                429 => ErrorClass::Throttled,
                400 | 413 | 422 => ErrorClass::Bug,
                _ => ErrorClass::Transient,
            },
        }
    }

    /// Returns how long the control plane asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable { .. }
            | Self::Garbled { .. }
            | Self::TooLarge { .. }
            | Self::Aborted
            | Self::NoToken { .. } => None,
        }
    }
}

/// The client of the control channel could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file of certificate authorities cannot be read.
    #[error("the file of certificate authorities `{}` cannot be read", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file of certificate authorities holds none that can be used.
    #[error("`{}` must hold certificate authorities in PEM form, at most 1 MiB", path.display())]
    CaContent {
        /// Which file.
        path: PathBuf,
    },
    /// The proxy's address cannot be used; not shown, as it may hold a password.
    #[error("the proxy's address must be a URL such as `http://proxy.example.com:3128`")]
    Proxy,
    /// TLS cannot be set up, for example because the system has no certificate authorities.
    #[error("the https client cannot be set up")]
    Client {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
