//! Owns what can go wrong with a credential, and its class.

use crate::domain::ErrorClass;

/// A credential that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No store knows this kind of reference.
    #[error("secret `{reference}` is of a kind this version does not know")]
    Unsupported {
        /// The reference.
        reference: String,
    },
    /// There is nothing there.
    #[error("secret file `{path}` does not exist")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// It is there, but not for us.
    #[error("secret file `{path}` cannot be read")]
    Unreadable {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is a directory, a pipe or the like.
    #[error("secret `{path}` is not a regular file")]
    NotAFile {
        /// Where.
        path: String,
    },
    /// It is larger than any credential.
    #[error("secret file `{path}` is larger than {limit} bytes")]
    TooLarge {
        /// Where.
        path: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// It did not come in time.
    #[error("secret file `{path}` could not be read within {limit:?}")]
    TooSlow {
        /// Where.
        path: String,
        /// The limit.
        limit: std::time::Duration,
    },
    /// It is not a JSON object.
    #[error("secret file `{path}` is not a JSON object, trouble at line {line} column {column}")]
    NotJson {
        /// Where.
        path: String,
        /// Line of the trouble, from 1; 0 when the whole is of another type.
        line: usize,
        /// Column of the trouble, from 1; 0 when the whole is of another type.
        column: usize,
    },
    /// A key is missing or of another type.
    #[error("secret file `{path}`: `{key}` {problem}")]
    BadKey {
        /// Where.
        path: String,
        /// Which key.
        key: &'static str,
        /// What was expected.
        problem: &'static str,
    },
}

impl SecretError {
    /// Returns the class, which alone decides what happens next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unsupported { .. } => ErrorClass::NeedsOperator,
            Self::TooSlow { .. } => ErrorClass::Transient,
            Self::Missing { .. }
            | Self::Unreadable { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::NotJson { .. }
            | Self::BadKey { .. } => ErrorClass::Unauthorised,
        }
    }

    /// Returns the fix.
    #[must_use]
    pub fn hint(&self) -> String {
        const SHAPE: &str = r#"{"username": "…", "password": "…"}"#;
        match self {
            Self::Unsupported { .. } => "use a `file:` reference".to_owned(),
            Self::Missing { path } => {
                format!("mount the secret at `{path}`, as a file with {SHAPE}")
            }
            Self::Unreadable { path, .. } => {
                format!("let the connector's user read `{path}` and enter the folders above it")
            }
            Self::NotAFile { path } => format!("put a file with {SHAPE} at `{path}`"),
            Self::TooSlow { path, .. } => {
                format!("check the file system that `{path}` is on")
            }
            Self::TooLarge { path, .. }
            | Self::NotJson { path, .. }
            | Self::BadKey { path, .. } => {
                format!("write {SHAPE} to `{path}`")
            }
        }
    }
}
