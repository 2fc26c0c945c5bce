//! Owns what can stop a walk, and its class.

use crate::aws::AwsError;
use crate::domain::ErrorClass;
use crate::pg::PgError;
use std::time::Duration;

/// A walk that did not come to its end; nothing of it is reported.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The server could not be read.
    #[error("failed to read the inventory of `{database}`")]
    Read {
        /// Which database was being read.
        database: String,
        /// Why.
        #[source]
        source: PgError,
    },
    /// AWS could not be read; the error names the action.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Nobody takes the records any more.
    #[error("the receiver of the inventory stopped taking records")]
    Stopped,
}

impl SourceError {
    /// Returns the class, which alone decides what happens next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => source.class(),
            Self::Aws(error) => error.class(),
            Self::Stopped => ErrorClass::Transient,
        }
    }

    /// Returns the usual fix, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } => source.hint(),
            Self::Aws(error) => error.hint().map(str::to_owned),
            Self::Stopped => None,
        }
    }

    /// Returns how long the other side asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Aws(error) => error.retry_after(),
            Self::Read { .. } | Self::Stopped => None,
        }
    }
}
