//! Owns what can go wrong with AWS: a class, a code, the service's message where it is safe, and the fix. Never holds a response.

use super::budget::Throttle;
use crate::domain::{ErrorClass, Failure};
use std::fmt;
use std::time::Duration;

/// Longest text taken over from a service: 600 characters, enough for every documented message.
const LONGEST_TEXT: usize = 600;

/// A call to AWS that did not do what it should. Safe to log and to report: it never holds a body, a header or a credential.
#[derive(Clone)]
pub struct AwsError(Box<Details>);

#[derive(Clone)]
struct Details {
    operation: String,
    class: ErrorClass,
    reason: &'static str,
    code: Option<String>,
    message: String,
    request_id: Option<String>,
    hint: Option<String>,
    retry_after: Option<Duration>,
    outcome_unknown: bool,
    throttle: Option<Throttle>,
}

impl AwsError {
    /// Makes an error of our own making. `operation` is the IAM action, for example `sso:CreateAccountAssignment`.
    pub fn new(
        operation: impl Into<String>,
        class: ErrorClass,
        reason: &'static str,
        message: impl AsRef<str>,
    ) -> Self {
        Self(Box::new(Details {
            operation: bounded(&operation.into()),
            class,
            reason,
            code: None,
            message: bounded(message.as_ref()),
            request_id: None,
            hint: None,
            retry_after: None,
            outcome_unknown: false,
            throttle: None,
        }))
    }

    /// Adds the exact fix.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(super) fn with_code(mut self, code: Option<&str>, request_id: Option<&str>) -> Self {
        self.0.code = code.map(bounded);
        self.0.request_id = request_id.map(bounded);
        self
    }

    pub(super) fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    pub(super) fn with_throttle(mut self, throttle: Throttle) -> Self {
        self.0.throttle = Some(throttle);
        self
    }

    pub(super) fn with_outcome_unknown(mut self, unknown: bool) -> Self {
        self.0.outcome_unknown = unknown;
        self
    }

    /// Puts words in front of the message, for example which role was tried.
    pub(super) fn in_context(mut self, context: &str) -> Self {
        self.0.message = bounded(&format!("{context}: {}", self.0.message));
        self
    }

    /// Returns the class, which alone decides what happens next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// Returns the stable snake_case reason, for example `access_denied`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// Returns the action that was tried, for example `sso:CreateAccountAssignment`.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// Returns the service's error code, where a service answered with one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Returns the id AWS support asks for, where a service answered.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Returns the fix, where a person can make one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns how long the service asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Says whether the request may have had its effect although it failed: look before doing it again, and before calling it undone.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// Returns what was throttled; nothing when this is no throttle. For [`super::budget::OperationTurn::throttled`].
    #[must_use]
    pub fn throttle(&self) -> Option<Throttle> {
        self.0.throttle
    }

    /// Returns what the control plane may be told.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure {
            class: self.0.class,
            reason: self.0.reason,
            message: self.to_string(),
            hint: self.0.hint.clone(),
            retry_after: self.0.retry_after,
        }
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.0.operation, self.0.message)?;
        match (&self.0.code, &self.0.request_id) {
            (Some(code), Some(id)) => write!(f, " (`{code}`, request {id})"),
            (Some(code), None) => write!(f, " (`{code}`)"),
            (None, Some(id)) => write!(f, " (request {id})"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsError({}, {}, {self})", self.0.class, self.0.reason)
    }
}

impl std::error::Error for AwsError {}

/// A text from outside: one line, without control characters, cut.
fn bounded(text: &str) -> String {
    let mut cut: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_TEXT)
        .collect();
    if text.chars().nth(LONGEST_TEXT).is_some() {
        cut.push('…');
    }
    cut
}
