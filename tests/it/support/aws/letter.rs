//! Owns what can be told of a request before anybody is known to have sent it: service, operation, protocol.

use super::wire::Request;
use serde_json::{Map, Value};

/// How a service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// AWS JSON 1.1.
    Json,
    /// A form in, XML out.
    Query,
}

/// A request, read.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// As signed: `sso`, `identitystore`, `organizations`, `sts`, `rds`…
    pub(super) service: String,
    /// The operation, or method and path where a service has no other name for it.
    pub(super) operation: String,
    pub(super) region: String,
    pub(super) protocol: Protocol,
    pub(super) input: Value,
}

/// Reads what is asked of whom.
pub(super) fn read(request: &Request) -> Letter {
    let (region, signed_for) = scope(request).unwrap_or_default();
    if let Some(target) = request.header("x-amz-target") {
        let (prefix, operation) = target.split_once('.').unwrap_or_default();
        let service = match prefix {
            "SWBExternalService" => "sso",
            "AWSIdentityStore" => "identitystore",
            "AWSOrganizationsV20161128" => "organizations",
            _ => &signed_for,
        };
        return Letter {
            service: service.to_owned(),
            operation: operation.to_owned(),
            region,
            protocol: Protocol::Json,
            input: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
        };
    }
    let form: Map<String, Value> = url::form_urlencoded::parse(&request.body)
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    let text = |name: &str| form.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_sts = text("Version").as_deref() == Some("2011-06-15");
    Letter {
        service: if is_sts { "sts".to_owned() } else { signed_for },
        operation: text("Action")
            .unwrap_or_else(|| format!("{} {}", request.method, request.path())),
        region,
        protocol: Protocol::Query,
        input: form.into(),
    }
}

/// Returns the region and the service a request was signed for, unchecked.
fn scope(request: &Request) -> Option<(String, String)> {
    let (_, credential) = request.header("authorization")?.split_once("Credential=")?;
    let mut parts = credential.split(',').next()?.split('/');
    Some((parts.nth(2)?.to_owned(), parts.next()?.to_owned()))
}
