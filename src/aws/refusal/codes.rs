//! Owns what the error codes of all services stand for. Pure: a code, a reason and a status in, a kind out.

use crate::domain::ErrorClass;

/// What an error code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Throttled,
    /// The credentials are expired or unknown.
    Expired,
    Signature,
    /// The service itself says that the time is wrong.
    Clock,
    Denied,
    /// A customer managed KMS key cannot be used.
    Key,
    NotFound,
    Conflict,
    /// A quota.
    Full,
    /// Something in AWS or in the settings is not as it must be.
    Setting,
    /// The request itself.
    Request,
    /// The service failed. What was asked for may have happened.
    Internal,
}

/// The table.
const CODES: &[(Kind, &[&str])] = &[
    (
        Kind::Throttled,
        &[
            "ThrottlingException",
            "Throttling",
            "ThrottledException",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "EC2ThrottledException",
            "ProvisionedThroughputExceededException",
            "PriorRequestNotComplete",
            "SlowDown",
        ],
    ),
    (
        Kind::Expired,
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "InvalidIdentityToken",
            "InvalidIdentityTokenException",
            "TokenRefreshRequired",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "AuthFailure",
        ],
    ),
    (
        Kind::Signature,
        &[
            "InvalidSignatureException",
            "InvalidSignature",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
            "IncompleteSignatureException",
        ],
    ),
    (
        Kind::Clock,
        &[
            "RequestTimeTooSkewed",
            "RequestExpired",
            "RequestInTheFuture",
        ],
    ),
    (
        Kind::Denied,
        &[
            "AccessDenied",
            "AccessDeniedException",
            "AccessDeniedFault",
            "AccessDeniedForDependencyException",
            "UnauthorizedOperation",
            "UnauthorizedException",
            "NotAuthorized",
            "IDPRejectedClaim",
        ],
    ),
    (
        Kind::Key,
        &["DecryptionFailure", "KMSKeyNotAccessibleFault"],
    ),
    (
        Kind::Conflict,
        &[
            "ConflictException",
            "ConcurrentModification",
            "ConcurrentModificationException",
            "EntityAlreadyExists",
            "EntityAlreadyExistsException",
            "EntityTemporarilyUnmodifiable",
            "EntityTemporarilyUnmodifiableException",
            "DeleteConflict",
            "DeleteConflictException",
            "InvalidDBInstanceState",
            "InvalidDBClusterStateFault",
        ],
    ),
    (
        Kind::Full,
        &[
            "ServiceQuotaExceededException",
            "LimitExceeded",
            "LimitExceededException",
            "PackedPolicyTooLarge",
            "PackedPolicyTooLargeException",
        ],
    ),
    (
        Kind::Setting,
        &[
            "AWSOrganizationsNotInUseException",
            "UnsupportedAPIEndpointException",
            "RegionDisabledException",
            "OptInRequired",
            "MalformedPolicyDocument",
            "MalformedPolicyDocumentException",
            "PolicyNotAttachable",
            "PolicyNotAttachableException",
            "PasswordPolicyViolation",
            "PasswordPolicyViolationException",
            "UnmodifiableEntity",
            "UnmodifiableEntityException",
            "InvalidRequestException",
        ],
    ),
    (
        Kind::Internal,
        &[
            "InternalServerException",
            "InternalServiceError",
            "InternalServiceException",
            "InternalServerError",
            "InternalFailure",
            "InternalError",
            "ServiceFailure",
            "ServiceFailureException",
            "ServiceException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "IDPCommunicationError",
            "RequestTimeout",
            "RequestTimeoutException",
        ],
    ),
];

impl Kind {
    /// Looks a code up: the table first, then the way services build their names, then the status.
    pub(super) fn of(code: Option<&str>, reason: Option<&str>, status: u16) -> Self {
        let Some(code) = code else {
            return Self::by_status(status);
        };
        let listed = CODES.iter().find(|(_, codes)| codes.contains(&code));
        let starts = |with: &[&str]| with.iter().any(|start| code.starts_with(start));
        match listed {
            Some((Self::Throttled, _)) => Self::Throttled,
            // A key of the customer's stands in the way, whatever the error is called.
            _ if reason.is_some_and(|reason| reason.starts_with("KMS_")) => Self::Key,
            Some((kind, _)) => *kind,
            None if starts(&["NoSuch"]) || code.contains("NotFound") => Self::NotFound,
            None if status >= 500 => Self::Internal,
            None if starts(&["Validation", "Invalid", "Malformed", "Missing"]) => Self::Request,
            None => Self::by_status(status),
        }
    }

    fn by_status(status: u16) -> Self {
        match status {
            401 => Self::Expired,
            403 => Self::Denied,
            404 => Self::NotFound,
            409 => Self::Conflict,
            429 => Self::Throttled,
            408 | 500.. => Self::Internal,
            _ => Self::Request,
        }
    }

    pub(super) fn class(self) -> ErrorClass {
        match self {
            Self::Throttled => ErrorClass::Throttled,
            Self::Expired | Self::Signature => ErrorClass::Unauthorised,
            Self::Clock | Self::Denied | Self::Key | Self::Full | Self::Setting => {
                ErrorClass::NeedsOperator
            }
            Self::NotFound => ErrorClass::NotFound,
            Self::Conflict => ErrorClass::Conflict,
            Self::Request => ErrorClass::Bug,
            Self::Internal => ErrorClass::Transient,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Expired => "credentials_expired",
            Self::Signature => "signature_refused",
            Self::Clock => "clock_skew",
            Self::Denied => "access_denied",
            Self::Key => "key_refused",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Full => "quota_full",
            Self::Setting => "setting_refused",
            Self::Request => "request_invalid",
            Self::Internal => "service_failed",
        }
    }

    /// The service's own words, but where they may hold what was signed, headers and session token included.
    pub(super) fn message(self, message: Option<&str>, reason: Option<&str>) -> String {
        let said = message.unwrap_or("the service gave no reason");
        match (self, reason) {
            (Self::Signature, _) => "the service does not accept the signature".to_owned(),
            (Self::Clock, _) => "the service takes the time of the request for wrong".to_owned(),
            (Self::Expired, _) => "the service does not accept the credentials".to_owned(),
            (Self::Key, Some(reason)) => format!("{said} (`{reason}`)"),
            _ => said.to_owned(),
        }
    }

    pub(super) fn hint(self, operation: &str, reason: Option<&str>) -> Option<String> {
        Some(match self {
            Self::Denied => super::denied(operation),
            Self::Key => {
                let what = match reason {
                    Some("KMS_DisabledException" | "KMS_InvalidStateException") => "enable the key",
                    Some("KMS_NotFoundException") => "restore the key, or set another",
                    _ => "allow `kms:Decrypt` on the key, in the key's policy and for the role",
                };
                format!("a customer managed KMS key protects this: {what}")
            }
            Self::Clock | Self::Signature => {
                "set the clock of this machine with NTP; AWS takes a difference of 5 minutes at most. If the clock is right, the secret key is wrong"
                    .to_owned()
            }
            Self::Expired => {
                "renew the connector's own AWS credentials; roles are assumed anew by themselves"
                    .to_owned()
            }
            Self::Full => "raise the quota, or remove what is no longer used".to_owned(),
            Self::Throttled
            | Self::NotFound
            | Self::Conflict
            | Self::Setting
            | Self::Request
            | Self::Internal => return None,
        })
    }
}
