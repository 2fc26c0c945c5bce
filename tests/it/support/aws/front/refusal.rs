//! Owns refusals and how each protocol says them.

use crate::support::aws::letter::Protocol;
use crate::support::aws::wire::Response;
use serde_json::{Map, Value, json};

/// A call that is not done.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    /// Further members of the error, such as `Reason`.
    pub(super) members: Map<String, Value>,
}

impl Refusal {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: code.to_owned(),
            message: message.into(),
            members: Map::new(),
        }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new("ConflictException", message)
    }

    pub(super) fn running() -> Self {
        Self::conflict("There is a conflicting operation in process.")
    }

    pub(super) fn quota(message: impl Into<String>) -> Self {
        Self::new("ServiceQuotaExceededException", message)
    }

    pub(crate) fn rate() -> Self {
        Self::new("ThrottlingException", "Rate exceeded")
    }

    pub(super) fn outstanding() -> Self {
        Self::new(
            "ThrottlingException",
            "There are too many requests processing. Please try again later.",
        )
    }

    pub(super) fn denied(caller: &str, action: &str, resource: &str, explicit: bool) -> Self {
        let ending = if explicit {
            " with an explicit deny"
        } else {
            ""
        };
        Self::new(
            "AccessDeniedException",
            format!(
                "User: {caller} is not authorized to perform: {action} on resource: {resource}{ending}"
            ),
        )
    }

    pub(in crate::support::aws) fn say(&self, protocol: Protocol) -> Response {
        match protocol {
            Protocol::Json => {
                let mut body = self.members.clone();
                body.insert("__type".to_owned(), json!(self.code));
                body.insert("Message".to_owned(), json!(self.message));
                answer(
                    self.status,
                    "application/x-amz-json-1.1",
                    Value::Object(body).to_string(),
                )
            }
            Protocol::Query => {
                let sender = if self.status < 500 {
                    "Sender"
                } else {
                    "Receiver"
                };
                let body = format!(
                    "<ErrorResponse><Error><Type>{sender}</Type><Code>{}</Code><Message>{}</Message></Error>\
                     <RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>",
                    self.code,
                    escaped(&self.message)
                );
                answer(self.status, "text/xml", body)
            }
        }
    }
}

pub(super) fn answer(status: u16, kind: &str, body: String) -> Response {
    Response {
        status,
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        body: body.into_bytes(),
    }
}

/// Writes text so that it can stand in XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
