//! Owns the refusals targets word alike: nothing was done, and this is why. Never judges an order: a permit is looked at, not given.

use super::{Target, TargetError};
use crate::domain::{ErrorClass, Grant};
use crate::policy::Permit;

/// Refuses before anything was done; an empty hint is none.
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

/// Refuses a permit that was given for another grant, or for settings the target was not made from.
pub(super) fn check_permit(
    target: &dyn Target,
    permit: &Permit,
    grant: &Grant,
) -> Result<(), TargetError> {
    if permit.covers(grant.id, target.integration(), target.settings()) {
        return Ok(());
    }
    Err(refused(
        ErrorClass::Conflict,
        "settings_changed",
        "the permit was given for other settings or another grant, judge again",
        "",
    ))
}
