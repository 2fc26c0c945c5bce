//! Owns reading an answer within limits. Never trusts a length, a status or a text the other side chose.

use crate::control::protocol::{self as wire, MAX_ANSWER_BYTES, MAX_PAGE};
use crate::control::{ControlError, InventoryBase, InventoryReceipt, Session};
use crate::domain::{SessionId, shown};
use crate::secret::Secret;
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest sentence kept of an error answer: 200 characters.
const MAX_MESSAGE_CHARS: usize = 200;
/// Most bytes read of an error answer: 16 KiB.
const MAX_ERROR_BYTES: usize = 16 << 10;
/// Longest wait the other side may ask for: 5 minutes.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// An answer that was read.
pub(super) enum Answered {
    /// A success, with its body.
    Body(Vec<u8>),
    /// A success with a body above the limit.
    TooLarge(usize),
    /// Anything else.
    Refused {
        status: u16,
        message: String,
        retry_after: Option<Duration>,
    },
}

/// Reads an answer to its end or to the limit.
pub(super) async fn read(
    mut response: Response,
    token: &Secret,
    now: Timestamp,
) -> reqwest::Result<Answered> {
    let status = response.status();
    if status.is_success() {
        return Ok(match read_body(&mut response, MAX_ANSWER_BYTES).await? {
            (body, false) => Answered::Body(body),
            (_, true) => Answered::TooLarge(MAX_ANSWER_BYTES),
        });
    }
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| parse_retry_after(text, now));
    // The status says all that is needed, so a broken body does not matter.
    let (body, _) = read_body(&mut response, MAX_ERROR_BYTES)
        .await
        .unwrap_or_default();
    Ok(Answered::Refused {
        status: status.as_u16(),
        message: error_message(&body, token),
        retry_after,
    })
}

/// Returns what was read, and whether there was more than the limit.
async fn read_body(response: &mut Response, limit: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let announced = response.content_length().unwrap_or_default();
    if usize::try_from(announced).map_or(true, |length| length > limit) {
        return Ok((Vec::new(), true));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

/// Takes the sentence out of an error answer; what is no error answer is not repeated.
fn error_message(body: &[u8], token: &Secret) -> String {
    let Ok(reply) = serde_json::from_slice::<wire::ErrorReply>(body) else {
        return "the answer gives no reason".to_owned();
    };
    let error = reply.error;
    let hint = error.hint.map(|hint| format!(" (hint: {hint})"));
    let text = format!(
        "{}: {}{}",
        error.reason,
        error.message,
        hint.unwrap_or_default()
    );
    // Before cutting, or half a token could be left.
    without(token, &text)
        .escape_debug()
        .take(MAX_MESSAGE_CHARS)
        .collect()
}

/// Takes our own token out of what the other side said.
fn without(token: &Secret, text: &str) -> String {
    match token.expose() {
        "" => text.to_owned(),
        token => text.replace(token, "(hidden)"),
    }
}

/// Understands whole seconds and HTTP dates; longer waits are cut to 5 minutes, a date that is over means no wait.
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) if text.is_empty() => return None,
            Err(_) => LONGEST_RETRY_AFTER,
        }
    } else {
        let at = rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// Understands the body of a success.
pub(super) fn parse<T: DeserializeOwned>(
    call: &'static str,
    body: &[u8],
    token: &Secret,
) -> Result<T, ControlError> {
    serde_json::from_slice(body)
        .map_err(|error| garbled(call, shown(&without(token, &error.to_string()))))
}

/// Refuses a page with more entries than the protocol allows.
pub(super) fn check_page(call: &'static str, entries: usize) -> Result<(), ControlError> {
    if entries > MAX_PAGE {
        return Err(garbled(
            call,
            format!("it has {entries} entries, must have at most {MAX_PAGE}"),
        ));
    }
    Ok(())
}

/// Checks a registration and keeps the intervals within reason.
pub(super) fn session(reply: wire::SessionReply) -> Result<Session, ControlError> {
    if reply.protocol != wire::VERSION {
        return Err(garbled(
            "sessions",
            format!(
                "it speaks protocol version {}, this connector speaks {}",
                reply.protocol,
                wire::VERSION
            ),
        ));
    }
    let seconds =
        |value: u32, low: u32, high: u32| Duration::from_secs(value.clamp(low, high).into());
    Ok(Session {
        id: SessionId::new(reply.session),
        header: reply.header.into(),
        poll_wait: seconds(reply.poll_wait_s, 1, wire::MAX_WAIT_S),
        heartbeat_every: seconds(reply.heartbeat_s, 1, 300),
        renew_every: seconds(reply.renew_s, 1, 60),
    })
}

/// Checks the answer to a part of an inventory upload; the last part must have committed it.
pub(super) fn receipt(
    reply: wire::InventoryReply,
    last: bool,
) -> Result<InventoryReceipt, ControlError> {
    if last && reply.revision.is_none() {
        let problem = "it has no `revision`, must have one after the last part";
        return Err(garbled("inventory", problem.to_owned()));
    }
    Ok(InventoryReceipt {
        committed: reply.revision.map(|revision| InventoryBase {
            epoch: reply.header.epoch,
            revision,
        }),
        header: reply.header.into(),
    })
}

fn garbled(call: &'static str, problem: String) -> ControlError {
    ControlError::Garbled { call, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wait(text: &str, expect: Option<u64>) {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            parse_retry_after(text, now),
            expect.map(Duration::from_secs),
            "{text}"
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_five_minutes() {
        check_wait("7", Some(7));
        check_wait(" 0 ", Some(0));
        check_wait("100000", Some(300));
        check_wait("99999999999999999999999", Some(300));
        check_wait("Tue, 01 Jan 2030 00:01:00 GMT", Some(60));
        check_wait("Wed, 02 Jan 2030 00:00:00 GMT", Some(300));
        check_wait("Mon, 31 Dec 2029 00:00:00 GMT", Some(0));
        check_wait("", None);
        check_wait("-3", None);
        check_wait("soon", None);
    }

    #[test]
    fn an_error_answer_is_cut_and_escaped() {
        let body = format!(
            r#"{{"error":{{"reason":"x","message":"a\nb{}"}}}}"#,
            "y".repeat(5000)
        );
        let token = Secret::new("t".repeat(40));
        let message = error_message(body.as_bytes(), &token);
        assert!(message.starts_with(r"x: a\nb"), "{message}");
        assert_eq!(message.chars().count(), MAX_MESSAGE_CHARS);
        assert_eq!(
            error_message(br#"{"error":{"reason":"x","message":"no tttttttttttttttttttttttttttttttttttttttt"}}"#, &token),
            "x: no (hidden)"
        );
        assert_eq!(
            error_message(b"<html>hello", &token),
            "the answer gives no reason"
        );
    }
}
