//! Owns the one classifier from errors of the SDK. Never passes on the SDK's own text: that holds whole responses, secrets included.

mod codes;
#[cfg(test)]
mod tests;

use super::AwsError;
use super::actions;
use super::budget::Throttle;
use super::wire::{SignedAt, Withheld};
use crate::domain::ErrorClass;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;
use codes::Kind;
use std::error::Error;
use std::io;
use std::time::Duration;

/// Largest body of an error that is looked into for `RetryAfterSeconds` and `Reason`: 16 KiB.
const LARGEST_BODY: usize = 16 * 1024;
/// Longest time to be left alone that is believed: 10 min.
const LONGEST_ASKED: Duration = Duration::from_secs(600);
/// Status of a refusal that says enough without a code.
const TOO_MANY: u16 = 429;
/// Deepest chain of causes that is followed.
const DEEPEST: usize = 16;

/// Turns an error of the SDK into ours: the only way there is. `operation` is the IAM action, for example `sso:CreateAccountAssignment`.
pub fn refused<E>(operation: &str, error: SdkError<E, HttpResponse>) -> AwsError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(context) => answered(operation, context.err().meta(), context.raw()),
        SdkError::ResponseError(context) => unreadable(operation, context.raw()),
        SdkError::TimeoutError(_) => AwsError::new(
            operation,
            ErrorClass::Transient,
            "timeout",
            "no answer in time",
        )
        .with_outcome_unknown(true),
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error();
            not_sent(
                operation,
                cause.map(|error| error as &(dyn Error + 'static)),
            )
        }
        // What could not even be made.
        SdkError::ConstructionFailure(_) | _ => ours_or(operation, Some(&error), || {
            AwsError::new(
                operation,
                ErrorClass::Bug,
                "request_invalid",
                "the request could not be made",
            )
        }),
    }
}

/// No answer came: our own refusal, no credentials, or a road that is broken.
fn not_sent(operation: &str, error: Option<&(dyn Error + 'static)>) -> AwsError {
    ours_or(operation, error, || {
        let never_reached = cause::<io::Error>(error).is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            )
        });
        let message = if never_reached {
            "the service cannot be reached"
        } else {
            "the connection broke or could not be made"
        };
        AwsError::new(operation, ErrorClass::Transient, "unreachable", message)
            .with_hint("check name resolution, the network, `HTTPS_PROXY` and `AWS_ENDPOINT_URL`")
            .with_outcome_unknown(!never_reached)
    })
}

/// What was refused by ourselves, or never had credentials, says so itself, however deep it is wrapped.
fn ours_or(
    operation: &str,
    error: Option<&(dyn Error + 'static)>,
    otherwise: impl FnOnce() -> AwsError,
) -> AwsError {
    if let Some(withheld) = cause::<Withheld>(error) {
        return withheld.error(operation);
    }
    if let Some(ours) = cause::<AwsError>(error) {
        return ours.clone();
    }
    if let Some(credentials) = cause::<CredentialsError>(error) {
        return no_credentials(operation, credentials);
    }
    otherwise()
}

/// The variant tells what is wrong; its text may hold what a provider answered.
pub(super) fn no_credentials(operation: &str, error: &CredentialsError) -> AwsError {
    let (class, message) = match error {
        CredentialsError::CredentialsNotLoaded(_) => (
            ErrorClass::NeedsOperator,
            "no AWS credentials were found for the connector",
        ),
        CredentialsError::InvalidConfiguration(_) => (
            ErrorClass::NeedsOperator,
            "the configuration of the connector's AWS credentials is invalid",
        ),
        CredentialsError::ProviderTimedOut(_) => (
            ErrorClass::Transient,
            "the source of the connector's AWS credentials did not answer in time",
        ),
        CredentialsError::ProviderError(_) | CredentialsError::Unhandled(_) | _ => (
            ErrorClass::Unauthorised,
            "the source of the connector's AWS credentials failed",
        ),
    };
    AwsError::new(operation, class, "no_credentials", message).with_hint(
        "give the connector a task role, pod identity, web identity, instance profile or profile; `AWS_PROFILE` names a profile",
    )
}

/// A response that is no answer of the service: cut in the middle, or somebody else's.
fn unreadable(operation: &str, raw: &HttpResponse) -> AwsError {
    let status = raw.status();
    // Whoever refuses without a code stands in between.
    let class = if status.is_client_error() {
        ErrorClass::NeedsOperator
    } else {
        ErrorClass::Transient
    };
    let message = format!(
        "the answer with status {} is none of the service's",
        status.as_u16()
    );
    AwsError::new(operation, class, "unreadable_answer", message)
        .with_hint("check whether a proxy stands in between, and `AWS_ENDPOINT_URL`")
        .with_code(None, raw.request_id())
        .with_outcome_unknown(true)
}

fn answered(
    operation: &str,
    meta: &aws_smithy_types::error::ErrorMetadata,
    raw: &HttpResponse,
) -> AwsError {
    let status = raw.status().as_u16();
    let code = meta.code().map(bare);
    let body = body_fields(raw);
    let reason = body.reason.as_deref();
    if code.is_none() && status != TOO_MANY {
        return unreadable(operation, raw);
    }
    let kind = Kind::of(code, reason, status);
    let skew = SignedAt::skew(raw).filter(|_| kind == Kind::Signature || kind == Kind::Clock);
    let error = match (kind, &skew) {
        (Kind::Signature | Kind::Clock, Some(skew)) => {
            let error = AwsError::new(
                operation,
                ErrorClass::NeedsOperator,
                "clock_skew",
                skew.to_string(),
            );
            tracing::error!(operation, %error, "the clock of this machine is wrong");
            error
        }
        _ => AwsError::new(
            operation,
            kind.class(),
            kind.reason(),
            kind.message(meta.message(), reason),
        ),
    };
    let error = match kind.hint(operation, reason) {
        Some(hint) => error.with_hint(hint),
        None => error,
    };
    let error = if kind == Kind::Throttled {
        error.with_throttle(throttle(meta.message(), reason))
    } else {
        error
    };
    error
        .with_code(code, raw.request_id().or(meta.request_id()))
        .with_retry_after(retry_after(raw).or(body.retry_after))
        .with_outcome_unknown(kind == Kind::Internal)
}

/// `namespace#Code:http://…` is `Code`.
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code)
}

fn denied(operation: &str) -> String {
    match actions::find(operation) {
        Some(action) => format!(
            "allow `{}` on {}; a service control policy or a boundary may forbid it too; without it: {}",
            action.name,
            action.resource(),
            action.without
        ),
        None => {
            format!("allow `{operation}`; a service control policy or a boundary may forbid it too")
        }
    }
}

/// Two texts, one name. Whatever is not clear counts as both.
fn throttle(message: Option<&str>, reason: Option<&str>) -> Throttle {
    let said = message.unwrap_or_default();
    if said.contains("too many requests processing") {
        Throttle::Outstanding
    } else if said.starts_with("Rate exceeded") || reason.is_some() {
        Throttle::Rate
    } else {
        Throttle::Unclear
    }
}

/// What the SDK's types do not hand out alike for all services.
#[derive(Debug, Default)]
struct BodyFields {
    reason: Option<String>,
    retry_after: Option<Duration>,
}

fn body_fields(raw: &HttpResponse) -> BodyFields {
    let body = raw.body().bytes().filter(|body| body.len() <= LARGEST_BODY);
    let Some(serde_json::Value::Object(fields)) =
        body.and_then(|body| serde_json::from_slice(body).ok())
    else {
        return BodyFields::default();
    };
    let text = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
    BodyFields {
        // Spelt `KMS_ACCESS_DENIED` by one service and `KMS_AccessDeniedException` by another.
        reason: text("Reason")
            .filter(|reason| reason.len() <= 64)
            .map(str::to_owned),
        retry_after: fields
            .get("RetryAfterSeconds")
            .and_then(serde_json::Value::as_u64)
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_ASKED)),
    }
}

fn retry_after(raw: &HttpResponse) -> Option<Duration> {
    let seconds: u64 = raw.headers().get("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_ASKED))
}

/// Finds a cause of a type in a chain of causes.
fn cause<'a, T: Error + 'static>(error: Option<&'a (dyn Error + 'static)>) -> Option<&'a T> {
    let mut next = error;
    for _ in 0..DEEPEST {
        let error = next?;
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
