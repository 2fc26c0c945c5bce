//! Owns refusals of this room: nothing was done, and this is why.

use crate::domain::ErrorClass;
use crate::targets::TargetError;

pub(super) fn refused(
    class: ErrorClass,
    reason: &'static str,
    message: impl Into<String>,
    hint: &str,
) -> TargetError {
    let error = TargetError::new(class, reason, message).undone();
    if hint.is_empty() {
        error
    } else {
        error.hint(hint)
    }
}

/// What was seen just now is otherwise by now: plan again.
pub(super) fn changed(what: &str) -> TargetError {
    let message = format!("{what} changed meanwhile");
    refused(ErrorClass::Conflict, "changed_meanwhile", message, "")
}
