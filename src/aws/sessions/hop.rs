//! Owns one hop: assuming a role, and saying which one did not work. Never says why AWS refused: AWS does not tell.

use super::cache::{Key, Session};
use super::{Sessions, refused};
use crate::aws::AwsError;
use crate::aws::chain::{Hop, Purpose};
use crate::domain::ErrorClass;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::types::Tag;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};

/// Length of a session: 1 h, the most AWS gives where credentials of a role assume a further role. Ours always are such.
const LENGTH_SECONDS: i32 = 3600;
/// Longest session name and source identity, in characters.
const LONGEST_NAME: usize = 64;
/// Session tag with the connector's id.
const CONNECTOR_TAG: &str = "apono-connector";
/// Session tag with the grant's id.
const GRANT_TAG: &str = "apono-grant";
const OPERATION: &str = "sts:AssumeRole";

impl Sessions {
    /// Assumes the last role of a chain, from the session of the chain before it.
    pub(super) async fn assume(&self, key: &Key) -> Result<Session, AwsError> {
        let Some((before, hop)) = key.chain.before_last() else {
            return Err(AwsError::new(
                OPERATION,
                ErrorClass::Bug,
                "chain_invalid",
                "there is no role to assume",
            ));
        };
        // Only the last role is entered for a grant; those before serve all grants.
        let before = Key {
            chain: before,
            purpose: Purpose::Connector,
        };
        let from = self.credentials(&before).await?;
        let first = match self.assume_from(key, hop, from).await {
            Err(error) if error.class() == ErrorClass::Unauthorised => {
                // The session before may have been rotated or revoked since; a new one is tried once.
                self.inner.cache.forget(&before);
                let from = self.credentials(&before).await?;
                self.assume_from(key, hop, from).await
            }
            first => first,
        };
        first.map_err(|error| told(error, key, hop))
    }

    async fn assume_from(
        &self,
        key: &Key,
        hop: &Hop,
        from: Credentials,
    ) -> Result<Session, AwsError> {
        let options = &self.inner.options;
        let base = self.load(&key.chain.region).await;
        let from = SharedCredentialsProvider::new(from);
        let config = self.shaped(base, &key.chain.region, from);
        let connector = fitted(options.connector.as_str());
        let mut call = aws_sdk_sts::Client::new(&config)
            .assume_role()
            .role_arn(&hop.role_arn)
            .duration_seconds(LENGTH_SECONDS)
            .role_session_name(session_name(&connector, &key.purpose))
            .set_external_id(hop.external_id.clone())
            .tags(tag(CONNECTOR_TAG, connector.clone())?);
        if let Purpose::Grant(grant) = &key.purpose {
            call = call.tags(tag(GRANT_TAG, grant.to_string())?);
        }
        // It is carried down the chain from here, and may not be set again.
        if key.chain.hops.len() == 1 {
            call = call.source_identity(connector);
        }
        let asked = options.clock.now();
        let answer = call
            .send()
            .await
            .map_err(|error| refused(OPERATION, error))?;
        let given = answer.credentials().ok_or_else(|| {
            AwsError::new(
                OPERATION,
                ErrorClass::Transient,
                "unreadable_answer",
                "the answer holds no credentials",
            )
        })?;
        let end = Timestamp::from_second(given.expiration().secs())
            .map(SystemTime::from)
            .ok();
        let credentials = Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            end,
            "apono-connector",
        );
        let without_end = u64::try_from(LENGTH_SECONDS).ok().map(Duration::from_secs);
        Ok(Session::new(credentials, asked, without_end))
    }
}

fn tag(key: &str, value: String) -> Result<Tag, AwsError> {
    let built = Tag::builder().key(key).value(value).build();
    built.map_err(|_| {
        AwsError::new(
            OPERATION,
            ErrorClass::Bug,
            "request_invalid",
            format!("the session tag `{key}` could not be made"),
        )
    })
}

/// Says which role of which chain did not work, from where, and what can be checked.
fn told(error: AwsError, key: &Key, hop: &Hop) -> AwsError {
    let number = key.chain.hops.len();
    let from = match number
        .checked_sub(2)
        .and_then(|before| key.chain.hops.get(before))
    {
        Some(before) => format!("role `{}`", before.role_arn),
        None => "the connector's own credentials".to_owned(),
    };
    let denied = error.reason() == "access_denied";
    let error = error.in_context(&format!("hop {number}, {hop}, from {from}"));
    if !denied {
        return error;
    }
    let external_id = match &hop.external_id {
        Some(id) => format!("the condition `sts:ExternalId` = `{id}`"),
        None => "no condition on `sts:ExternalId`".to_owned(),
    };
    error.with_hint(format!(
        "AWS does not tell why. Check that `{role}` exists; that its trust policy names {from} as principal and allows `sts:AssumeRole`, `sts:TagSession` and `sts:SetSourceIdentity`, with {external_id}; that {from} may do the same three on it; that no service control policy forbids it",
        role = hop.role_arn,
    ))
}

fn session_name(connector: &str, purpose: &Purpose) -> String {
    match purpose {
        Purpose::Connector => connector.to_owned(),
        Purpose::Grant(grant) => format!("grant-{grant}"),
    }
}

/// A text as session name and source identity: kept where it fits, else its start and a hash of the whole.
fn fitted(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if (2..=LONGEST_NAME).contains(&text.len()) && text.chars().all(allowed) {
        return text.to_owned();
    }
    let hash: String = Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let start: String = text
        .chars()
        .filter(|c| allowed(*c))
        .take(LONGEST_NAME - hash.len() - 1)
        .collect();
    format!("{start}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_name_that_fits_is_kept_and_any_other_is_made_to_fit() {
        let longest = "a".repeat(64);
        for kept in ["ab", "team-1.prod", "a_b+c=d,e.f@g-h", &longest] {
            assert_eq!(fitted(kept), kept);
        }
        let too_long = "a".repeat(65);
        let others = [
            "",
            "a",
            "two words",
            "grüße",
            "aws:x",
            &too_long,
            "a/b",
            "a:b",
        ];
        let made: HashSet<_> = others.iter().map(|text| fitted(text)).collect();
        assert_eq!(made.len(), others.len());
        for name in made {
            assert!((2..=64).contains(&name.len()), "{name}");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b)),
                "{name}"
            );
        }
    }
}
