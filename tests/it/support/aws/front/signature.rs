//! Owns the check of signatures (AWS Signature Version 4), written from the specification, not from the SDK's own code.

use super::callers::{Caller, Callers};
use super::chance::hex;
use super::clock::{Moment, timestamp};
use super::knobs::Knobs;
use super::refusal::Refusal;
use crate::support::aws::letter::Protocol;
use crate::support::aws::wire::Request;
use sha2::{Digest, Sha256};

/// What a signature says beside who made it.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) caller: Caller,
    pub(super) region: String,
    pub(super) service: String,
}

/// The parts of an `Authorization` header.
struct Claim<'a> {
    key: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

/// Tells who asks, or refuses.
pub(super) fn verify(
    request: &Request,
    callers: &Callers,
    knobs: &Knobs,
    now: Moment,
    protocol: Protocol,
) -> Result<Signed, Refusal> {
    let say = |json: &str, query: &str, message: String| match protocol {
        Protocol::Json => Refusal::new(json, message),
        Protocol::Query => Refusal::new(query, message).status(403),
    };
    let Some(authorization) = request.header("authorization") else {
        let message = "Missing Authentication Token".to_owned();
        return Err(say(
            "MissingAuthenticationTokenException",
            "MissingAuthenticationToken",
            message,
        ));
    };
    let claim = claim(authorization).ok_or_else(|| {
        let message = format!("'{authorization}' not a valid key=value pair (missing equal-sign) in Authorization header");
        say("IncompleteSignatureException", "IncompleteSignature", message)
    })?;
    let unknown = || {
        let message = "The security token included in the request is invalid.".to_owned();
        say(
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            message,
        )
    };
    let caller = callers.of_key(claim.key).ok_or_else(unknown)?;
    let bad = |message: String| {
        say(
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            message,
        )
    };
    let date = request.header("x-amz-date").unwrap_or_default();
    let signed_at =
        moment(date).ok_or_else(|| bad("Date must be in ISO-8601 'basic format'.".to_owned()))?;
    age(date, signed_at, now, knobs).map_err(bad)?;
    let mismatch = || {
        bad("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
             and signing method. Consult the service documentation for details."
            .to_owned())
    };
    if !date.starts_with(claim.day)
        || computed(request, &claim, date, &caller.secret) != claim.signature
    {
        return Err(mismatch());
    }
    if caller.token.as_deref() != request.header("x-amz-security-token") {
        return Err(unknown());
    }
    if caller.expires.is_some_and(|expires| expires <= now) {
        let message = "The security token included in the request is expired".to_owned();
        return Err(say("ExpiredTokenException", "ExpiredToken", message));
    }
    Ok(Signed {
        caller,
        region: claim.region.to_owned(),
        service: claim.service.to_owned(),
    })
}

fn claim(header: &str) -> Option<Claim<'_>> {
    let fields = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let field = |name: &str| {
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let mut scope = field("Credential")?.split('/');
    let (key, day, region, service) = (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
    (scope.next()? == "aws4_request").then_some(())?;
    Some(Claim {
        key,
        day,
        region,
        service,
        signed_headers: field("SignedHeaders")?,
        signature: field("Signature")?,
    })
}

fn age(date: &str, signed_at: Moment, now: Moment, knobs: &Knobs) -> Result<(), String> {
    let most = super::clock::milliseconds(knobs.signature_age);
    let minutes = most / 60_000;
    let here = basic(now);
    if now - signed_at > most {
        let limit = basic(now - most);
        return Err(format!(
            "Signature expired: {date} is now earlier than {limit} ({here} - {minutes} min.)"
        ));
    }
    if signed_at - now > most {
        let limit = basic(now + most);
        return Err(format!(
            "Signature not yet current: {date} is still later than {limit} ({here} + {minutes} min.)"
        ));
    }
    Ok(())
}

fn basic(moment: Moment) -> String {
    timestamp(moment).strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn moment(date: &str) -> Option<Moment> {
    let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    Some(
        date.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_millisecond(),
    )
}

fn computed(request: &Request, claim: &Claim<'_>, date: &str, secret: &str) -> String {
    let payload = hex(&Sha256::digest(&request.body));
    // A client may say what it hashed, but not something else than it sent.
    let payload = match request.header("x-amz-content-sha256") {
        Some("UNSIGNED-PAYLOAD") if claim.service == "s3" => "UNSIGNED-PAYLOAD".to_owned(),
        _ => payload,
    };
    let headers: String = claim
        .signed_headers
        .split(';')
        .map(|name| {
            format!(
                "{name}:{}\n",
                collapsed(request.header(name).unwrap_or_default())
            )
        })
        .collect();
    let canonical = [
        request.method.as_str(),
        &canonical_path(request.path(), claim.service),
        &canonical_query(request.query()),
        &headers,
        claim.signed_headers,
        &payload,
    ]
    .join("\n");
    let scope = format!(
        "{}/{}/{}/aws4_request",
        claim.day, claim.region, claim.service
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [claim.day, claim.region, claim.service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    hex(&hmac(&key, to_sign.as_bytes()))
}

fn collapsed(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All services but one encode a path that is encoded already a second time.
fn canonical_path(path: &str, service: &str) -> String {
    if service == "s3" {
        return path.to_owned();
    }
    path.bytes().fold(String::new(), |mut done, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            done.push(char::from(byte));
        } else {
            done.push_str(&format!("%{byte:02X}"));
        }
        done
    })
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            if pair.contains('=') {
                pair.to_owned()
            } else {
                format!("{pair}=")
            }
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}
