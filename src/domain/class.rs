//! Owns the seven classes of error. Never decides timing: that is the executor's, and it looks at nothing else.

use std::fmt;
use std::time::Duration;

/// What kind of trouble an error is. The class alone decides whether and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// May pass by itself: network, fail-over, server full.
    Transient,
    /// The other side asked us to slow down.
    Throttled,
    /// Our own credential is missing, wrong or expired.
    Unauthorised,
    /// The object named does not exist.
    NotFound,
    /// Someone else changed the same object; look again and retry soon.
    Conflict,
    /// A person must act; the hint says how.
    NeedsOperator,
    /// The order is malformed or not allowed here, or our own code is wrong; trying again cannot help.
    Bug,
}

impl ErrorClass {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Transient,
        Self::Throttled,
        Self::Unauthorised,
        Self::NotFound,
        Self::Conflict,
        Self::NeedsOperator,
        Self::Bug,
    ];

    /// Returns the stable snake_case name used on the wire, in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Unauthorised => "unauthorised",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::NeedsOperator => "needs_operator",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the control plane is told of a failure: safe to leave the network, never the whole error chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Decides what happens next.
    pub class: ErrorClass,
    /// Stable snake_case code, for example `login_not_ours`.
    pub reason: &'static str,
    /// One sentence naming the object and what was expected.
    pub message: String,
    /// The exact fix, where a person can make one.
    pub hint: Option<String>,
    /// Earliest time at which another attempt makes sense, from now.
    pub retry_after: Option<Duration>,
}
