//! Owns what people sign in with: an access key made by AWS, a console password made here, sealed for the requester. Never logs either.

use super::AccountTarget;
use super::desk::Carrier;
use super::mark;
use super::service::Service;
use super::start::console;
use super::trouble::changed;
use crate::aws::Purpose;
use crate::domain::{CredentialChange, ErrorClass, Evidence, GrantId, Plan, Start};
use crate::policy::Permit;
use crate::seal::Recipient;
use crate::secret::Secret;
use crate::targets::refusal::refused;
use crate::targets::{Applied, TargetError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroize;

/// Random bytes in a password: 24 bytes are 192 bits and exactly 32 URL-safe characters.
const RANDOM_BYTES: usize = 24;
/// What every policy of passwords asks for, whatever was drawn: one character of each class.
const EVERY_CLASS: &str = "-aA0";

impl AccountTarget {
    /// Tells whether a start must bring a new credential: there is none, this grant's own may have been lost, or it is too old.
    pub(super) async fn owes_credential(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: GrantId,
    ) -> Result<bool, TargetError> {
        let made_for = mark::credential(&carrier.tags);
        if !carrier.exists || made_for.is_none() || made_for == Some(grant) {
            return Ok(true);
        }
        let settings = &self.desk.settings;
        if settings.credentials.has_password() && !service.has_password(&carrier.name).await? {
            return Ok(true);
        }
        if !settings.credentials.has_keys() {
            return Ok(false);
        }
        let now = self.clock.now();
        let keys = service.keys(&carrier.name).await?;
        let is_good = |made: jiff::Timestamp| now.duration_since(made) < settings.rotation;
        let mut active = keys.iter().filter(|key| key.is_active);
        Ok(!active.any(|key| key.made.is_none_or(is_good)))
    }

    pub(super) async fn plan_credential(&self, start: &Start) -> Result<Plan, TargetError> {
        let grant = &start.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let carrier = self.live_carrier(&service, grant).await?;
        if carrier.is_ours {
            return Ok(Plan {
                steps: vec![super::start::credential_step(&carrier.name)],
            });
        }
        let message = format!(
            "IAM user `{}` is the person's own, and so are its credentials",
            carrier.name
        );
        Err(refused(ErrorClass::Bug, "no_credential", message, ""))
    }

    /// Makes a new credential in the place of any there was. The note comes first: what is lost on the way is made anew.
    pub(super) async fn set_credential(
        &self,
        permit: &Permit,
        start: &Start,
        user: &str,
    ) -> Result<Applied, TargetError> {
        let grant = &start.grant;
        let recipient = Recipient::parse(&start.recipient).map_err(|problem| {
            let message = problem.to_string();
            refused(ErrorClass::Bug, "invalid_recipient", message, "")
        })?;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let carrier = self.live_carrier(&service, grant).await?;
        if carrier.name != user || !carrier.is_ours {
            return Err(changed("the user of the person"));
        }
        let noted = vec![(mark::CREDENTIAL.to_owned(), grant.id.to_string())];
        service.tag(user, noted).await?;
        let clear = self.make(&service, permit, start, user).await?;
        let sealed = recipient.seal(&clear).map_err(|error| {
            let message = "the credential cannot be sealed to its recipient";
            refused(ErrorClass::Bug, "not_sealed", message, "").source(error)
        })?;
        Ok(Applied {
            evidence: Evidence::default().with("user", user),
            credential: Some(CredentialChange::New(sealed)),
            login: Some(user.to_owned()),
            ..Applied::default()
        })
    }

    async fn make(
        &self,
        service: &Service,
        permit: &Permit,
        start: &Start,
        user: &str,
    ) -> Result<Secret, TargetError> {
        let settings = &self.desk.settings;
        let account = self.desk.account().await?;
        let mut body = serde_json::json!({
            "kind": "aws",
            "login": user,
            "account": account,
            "region": settings.chain.region,
            "profile": settings.profile,
            "expiry": start.grant.expiry.to_string(),
        });
        let mut put = |key: &str, value: &str| {
            if let Some(body) = body.as_object_mut() {
                body.insert(key.to_owned(), value.into());
            }
        };
        // A user takes two keys; all of them are of earlier credentials.
        for key in service.keys(user).await? {
            service.delete_key(user, &key.id).await?;
        }
        if settings.credentials.has_keys() {
            let key = service.create_key(user, self.signed_by(permit)).await?;
            put("access_key_id", &key.id);
            put("secret_access_key", key.secret.expose());
        }
        if settings.credentials.has_password() {
            let password = draw()?;
            let signed_by = self.signed_by(permit);
            service.set_password(user, &password, signed_by).await?;
            put("password", password.expose());
            put(
                "console_url",
                &console(self.desk.partition().await?, account),
            );
        }
        Ok(Secret::new(body.to_string()))
    }

    /// Takes away what a user of ours signs in with.
    pub(super) async fn remove_credential(
        &self,
        service: &Service,
        user: &str,
    ) -> Result<(), TargetError> {
        for key in service.keys(user).await? {
            service.delete_key(user, &key.id).await?;
        }
        if service.has_password(user).await? {
            service.delete_password(user).await?;
        }
        service
            .untag(user, vec![mark::CREDENTIAL.to_owned()])
            .await?;
        Ok(())
    }
}

/// Draws a password; fails when the system's random source does.
fn draw() -> Result<Secret, TargetError> {
    let mut bytes = [0u8; RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| {
        let message = "the system gives no random numbers";
        refused(ErrorClass::Transient, "no_random", message, "")
    })?;
    let mut text = URL_SAFE_NO_PAD.encode(bytes);
    bytes.zeroize();
    let password = Secret::new(format!("{text}{EVERY_CLASS}"));
    text.zeroize();
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_the_same_twice_and_fits_every_policy() {
        let (one, other) = (draw().unwrap(), draw().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 36);
        for class in [
            char::is_lowercase as fn(char) -> bool,
            char::is_uppercase,
            char::is_numeric,
            |c| !c.is_alphanumeric(),
        ] {
            assert!(one.expose().chars().any(class));
        }
    }
}
