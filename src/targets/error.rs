//! Owns what a target may answer when it cannot do a step: a safe failure for the control plane, the whole chain for the log.

use crate::domain::{ErrorClass, Failure};
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// A step that did not succeed.
pub struct TargetError {
    failure: Failure,
    undone: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl TargetError {
    /// Makes an error from its class, its stable reason and a sentence that names the object.
    pub fn new(class: ErrorClass, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            failure: Failure {
                class,
                reason,
                message: message.into(),
                hint: None,
                retry_after: None,
            },
            undone: false,
            source: None,
        }
    }

    /// Adds the exact fix.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.failure.hint = Some(hint.into());
        self
    }

    /// Adds the earliest useful time of another try.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.failure.retry_after = Some(wait);
        self
    }

    /// Says that the target itself took back, or never began, what was asked of it. Without this only the class tells.
    #[must_use]
    pub fn undone(mut self) -> Self {
        self.undone = true;
        self
    }

    /// Adds the cause, which is only ever logged.
    #[must_use]
    pub fn source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Returns the class.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.failure.class
    }

    /// Tells whether the step is known to have had no effect.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        self.undone
    }

    /// Returns what the control plane may be told.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.message)
    }
}

impl fmt::Debug for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TargetError({}, {})",
            self.failure.class, self.failure.reason
        )
    }
}

impl Error for TargetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}
