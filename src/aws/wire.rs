//! Owns the last step before the network: the one HTTP client of all calls. Never sends what is not in the list of actions, nor what was signed too late.

use super::{AwsError, actions};
use crate::domain::ErrorClass;
use aws_smithy_async::rt::sleep::SharedAsyncSleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};
use jiff::Timestamp;
use jiff::civil;
use std::fmt;
use std::time::Duration;

/// Longest time to make a connection, name resolution and TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for the first byte of an answer.
const FIRST_BYTE: Duration = Duration::from_secs(15);
/// Difference of the two clocks from which on the clock is named as the cause of a refused signature. AWS takes 5 minutes; what is close to
/// that fails now and then.
const FAR_OFF: i64 = 4 * 60;

/// The one HTTP client: the SDK's own, behind the check of the list.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    connector: SharedHttpConnector,
}

impl Wire {
    /// Makes the client. It uses `HTTPS_PROXY`, `NO_PROXY` and the system's root certificates.
    pub(super) fn new(sleep: Option<SharedAsyncSleep>) -> Self {
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(CONNECT)
            .read_timeout(FIRST_BYTE)
            .build();
        let mut connector = Connector::builder()
            .connector_settings(settings)
            .proxy_config(ProxyConfig::from_env());
        connector.set_sleep_impl(sleep);
        let connector = connector
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .build();
        Self {
            connector: SharedHttpConnector::new(Checked { inner: connector }),
        }
    }
}

impl HttpClient for Wire {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.connector.clone()
    }
}

#[derive(Debug)]
struct Checked {
    inner: Connector,
}

impl HttpConnector for Checked {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let action = action(&request);
        if !action.as_deref().is_some_and(actions::may_call) {
            let withheld = Withheld::Unlisted {
                action: action.unwrap_or_else(|| "unknown".to_owned()),
            };
            return HttpConnectorFuture::ready(Err(ConnectorError::user(withheld.into())));
        }
        let signed = SignedAt::of(&request);
        let call = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let mut response = call.await?;
            if let Some(signed) = signed {
                response.add_extension(signed);
            }
            Ok(response)
        })
    }
}

/// The IAM action of a request: the service it is signed for, and the operation in the target header or in the form.
fn action(request: &HttpRequest) -> Option<String> {
    let headers = request.headers();
    let scope = headers.get("authorization")?.split("Credential=").nth(1)?;
    let service = scope.split(',').next()?.split('/').nth(3)?;
    let prefix = match service {
        "tagging" => "tag",
        other => other,
    };
    let operation = match headers.get("x-amz-target") {
        Some(target) => target.rsplit('.').next()?.to_owned(),
        None => {
            let form = request.body().bytes()?;
            let (_, action) = url::form_urlencoded::parse(form).find(|(key, _)| key == "Action")?;
            action.into_owned()
        }
    };
    Some(format!("{prefix}:{operation}"))
}

/// Why a request was not sent. It had no effect.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Withheld {
    #[error("`{action}` is not in the list of actions, it was not sent")]
    Unlisted { action: String },
    #[error("signed at {signed}, must be signed by {not_after}, it was not sent")]
    TooLate {
        signed: Timestamp,
        not_after: Timestamp,
    },
}

impl Withheld {
    pub(super) fn error(&self, operation: &str) -> AwsError {
        let (class, reason) = match self {
            Self::Unlisted { .. } => (ErrorClass::Bug, "action_not_listed"),
            Self::TooLate { .. } => (ErrorClass::Conflict, "signed_too_late"),
        };
        AwsError::new(operation, class, reason, self.to_string())
    }
}

/// Refuses to send a request that is signed after a time: a start whose lease is over. Add it to one call:
/// `call.customize().interceptor(NotAfter::new(deadline)).send()`. It fails with reason `signed_too_late` and has had no effect.
#[derive(Debug, Clone, Copy)]
pub struct NotAfter(Timestamp);

impl NotAfter {
    /// Makes the bound from the deadline.
    #[must_use]
    pub fn new(deadline: Timestamp) -> Self {
        Self(deadline)
    }
}

#[dyn_dispatch_hint]
impl Intercept for NotAfter {
    fn name(&self) -> &'static str {
        "NotAfter"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A request without a time cannot be judged, and is not sent either.
        let signed = SignedAt::of(context.request()).map_or(Timestamp::MAX, |signed| signed.0);
        if signed <= self.0 {
            return Ok(());
        }
        Err(Withheld::TooLate {
            signed,
            not_after: self.0,
        }
        .into())
    }
}

/// When a request was signed, by our clock; it travels with the response.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedAt(Timestamp);

impl SignedAt {
    fn of(request: &HttpRequest) -> Option<Self> {
        let text = request.headers().get("x-amz-date")?;
        let time = civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
        Some(Self(
            time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
        ))
    }

    /// Returns how far the clocks are apart, when they are far apart.
    pub(super) fn skew(response: &HttpResponse) -> Option<Skew> {
        let ours = response.extension::<Self>()?.0;
        let date = response.headers().get("date")?;
        let date = DateTime::from_str(date, Format::HttpDate).ok()?;
        let theirs = Timestamp::from_second(date.secs()).ok()?;
        let skew = Skew { ours, theirs };
        (skew.seconds().abs() >= FAR_OFF).then_some(skew)
    }
}

/// Two clocks that are far apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skew {
    ours: Timestamp,
    theirs: Timestamp,
}

impl Skew {
    fn seconds(&self) -> i64 {
        self.ours.as_second() - self.theirs.as_second()
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        let which = if seconds > 0 { "ahead of" } else { "behind" };
        write!(
            f,
            "the clock of this machine is {} s {which} that of AWS: here it was {}, there {}",
            seconds.abs(),
            self.ours,
            self.theirs
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::body::SdkBody;

    fn request(service: &str, target: Option<&str>, body: &'static str) -> HttpRequest {
        let mut request = HttpRequest::new(SdkBody::from(body));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20300101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
        );
        request.headers_mut().insert("authorization", authorization);
        request
            .headers_mut()
            .insert("x-amz-date", "20300101T120000Z");
        if let Some(target) = target {
            request
                .headers_mut()
                .insert("x-amz-target", target.to_owned());
        }
        request
    }

    #[test]
    fn the_action_of_a_request_is_read_from_what_is_signed() {
        let target = "SWBExternalService.CreateAccountAssignment";
        assert_eq!(
            action(&request("sso", Some(target), "{}")).as_deref(),
            Some("sso:CreateAccountAssignment")
        );
        assert_eq!(
            action(&request(
                "sts",
                None,
                "Action=AssumeRole&Version=2011-06-15"
            ))
            .as_deref(),
            Some("sts:AssumeRole")
        );
        assert_eq!(
            action(&request(
                "tagging",
                Some("ResourceGroupsTaggingAPI_20170126.GetResources"),
                ""
            ))
            .as_deref(),
            Some("tag:GetResources")
        );
        assert_eq!(action(&request("sts", None, "Version=2011-06-15")), None);
        assert_eq!(action(&HttpRequest::new(SdkBody::empty())), None);
    }

    #[tokio::test]
    async fn a_call_that_is_not_in_the_list_is_not_sent() {
        let checked = Checked {
            inner: Connector::builder().build_http(),
        };
        for (body, named) in [
            ("Action=CreateRole&Version=2010-05-08", "`iam:CreateRole`"),
            ("Version=2010-05-08", "`unknown`"),
        ] {
            let error = checked.call(request("iam", None, body)).await.unwrap_err();
            assert!(error.is_user());
            let error = super::super::refused::<aws_sdk_iam::operation::create_role::CreateRoleError>(
                "iam:CreateRole",
                aws_smithy_runtime_api::client::result::SdkError::dispatch_failure(error),
            );
            assert_eq!(error.reason(), "action_not_listed");
            assert!(error.to_string().contains(named), "{error}");
            assert!(!error.outcome_unknown());
        }
    }

    #[test]
    fn the_clocks_are_far_apart_from_four_minutes_on() {
        let skew = |date: &str| {
            let mut response = HttpResponse::new(
                aws_smithy_runtime_api::http::StatusCode::try_from(403).unwrap(),
                SdkBody::empty(),
            );
            response.headers_mut().insert("date", date.to_owned());
            response.add_extension(SignedAt("2030-01-01T12:00:00Z".parse().unwrap()));
            SignedAt::skew(&response).map(|skew| skew.to_string())
        };
        assert_eq!(skew("Tue, 01 Jan 2030 12:03:59 GMT"), None);
        assert_eq!(
            skew("Tue, 01 Jan 2030 12:20:00 GMT").unwrap(),
            "the clock of this machine is 1200 s behind that of AWS: here it was 2030-01-01T12:00:00Z, there 2030-01-01T12:20:00Z"
        );
        assert!(
            skew("Tue, 01 Jan 2030 11:40:00 GMT")
                .unwrap()
                .contains("1200 s ahead of")
        );
        assert_eq!(skew("yesterday"), None);
    }
}
