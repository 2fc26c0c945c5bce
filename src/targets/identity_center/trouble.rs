//! Owns what an executor is told of trouble with AWS. Never branches on a text but where only a text tells two cases apart.

use crate::aws::AwsError;
use crate::domain::{ErrorClass, shown};
use crate::targets::TargetError;

/// A stable part of AWS's words for a principal that is not in the store (any more).
const NO_ASSIGNEE: &str = "was not found in directory";
/// For a customer managed policy that is missing in the account.
const NO_POLICY: &str = "Not supported policy";
/// For the caller's own missing rights in the management account.
const NO_RIGHTS: &str = "Access denied by IAM";
/// For an account that is suspended, closed or very new.
const NOT_NOW: &str = "unable to complete your request at this time";

impl From<AwsError> for TargetError {
    fn from(error: AwsError) -> Self {
        let is_undone = !error.outcome_unknown();
        let told = half_done(error);
        if is_undone { told.undone() } else { told }
    }
}

/// Tells an error of a call others went before: what those did stands.
pub(super) fn half_done(error: AwsError) -> TargetError {
    let failure = error.failure();
    let mut told = TargetError::new(failure.class, failure.reason, failure.message);
    if let Some(hint) = failure.hint {
        told = told.hint(hint);
    }
    if let Some(wait) = failure.retry_after {
        told = told.retry_after(wait);
    }
    told.source(error)
}

/// Explains why AWS did not do what it took on. Unknown words are trouble that may pass, never success.
pub(super) fn failed(what: &str, reason: &str) -> TargetError {
    let message = format!("AWS did not {what}: {}", shown(reason));
    let (class, code, hint) = if reason.contains(NO_ASSIGNEE) {
        (
            ErrorClass::NotFound,
            "principal_unknown",
            "make the user or group in IAM Identity Center, or wait until it is synchronised there",
        )
    } else if reason.contains(NO_POLICY) {
        (
            ErrorClass::NeedsOperator,
            "policy_missing_in_account",
            "make the customer managed policy in the account, with the name and path the permission set asks for",
        )
    } else if reason.contains(NO_RIGHTS) {
        (
            ErrorClass::NeedsOperator,
            "management_account_rights_missing",
            "give the management role the `iam` actions `docs/permissions.md` lists for targets in the management account",
        )
    } else if reason.contains(NOT_NOW) {
        (
            ErrorClass::NeedsOperator,
            "account_not_ready",
            "check that the account is neither suspended nor closed; one just made takes some minutes",
        )
    } else {
        return TargetError::new(ErrorClass::Transient, "operation_failed", message);
    };
    TargetError::new(class, code, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_aws_are_understood_and_unknown_ones_are_tried_again() {
        for (words, class, reason) in [
            (
                "Received a 404 status error: the USER assignee x was not found in directory d-1.",
                ErrorClass::NotFound,
                "principal_unknown",
            ),
            (
                "Received a 404 status error: Not supported policy arn:aws:iam::1:policy/x.",
                ErrorClass::NeedsOperator,
                "policy_missing_in_account",
            ),
            (
                "Received a 403 status error: Access denied by IAM. Please check your policy",
                ErrorClass::NeedsOperator,
                "management_account_rights_missing",
            ),
            (
                "AWS SSO is unable to complete your request at this time. Obtaining permissions",
                ErrorClass::NeedsOperator,
                "account_not_ready",
            ),
            (
                "An unexpected internal service exception was encountered",
                ErrorClass::Transient,
                "operation_failed",
            ),
            ("", ErrorClass::Transient, "operation_failed"),
        ] {
            let error = failed("create the assignment", words);
            assert_eq!(
                (error.class(), error.failure().reason),
                (class, reason),
                "{words}"
            );
        }
    }
}
