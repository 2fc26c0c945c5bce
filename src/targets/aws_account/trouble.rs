//! Owns refusals of this room.

use crate::domain::ErrorClass;
use crate::targets::TargetError;
use crate::targets::refusal::refused;

/// What was seen just now is otherwise by now: plan again.
pub(super) fn changed(what: &str) -> TargetError {
    let message = format!("{what} changed meanwhile");
    refused(ErrorClass::Conflict, "changed_meanwhile", message, "")
}
