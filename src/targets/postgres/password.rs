//! Owns passwords: made here from the system's random source, handed to the server as a verifier only, sealed for the requester. Never logs one.

use super::error::Trouble;
use super::server::ServerAddress;
use super::settings::Settings;
use crate::domain::{SealedCredential, shown};
use crate::seal::Recipient;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use zeroize::Zeroize;

/// Random bytes in a password: 24 bytes are 192 bits and exactly 32 URL-safe characters.
const RANDOM_BYTES: usize = 24;

/// A new password and the verifier the server stores for it.
pub(super) struct NewPassword {
    clear: Secret,
    verifier: Secret,
}

impl NewPassword {
    /// Draws a password; fails when the system's random source does.
    pub(super) fn draw() -> Result<Self, Trouble> {
        let mut bytes = [0u8; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(Trouble::Random)?;
        let clear = Secret::new(URL_SAFE_NO_PAD.encode(bytes));
        bytes.zeroize();
        let verifier = Secret::new(postgres_protocol::password::scram_sha_256(
            clear.expose().as_bytes(),
        ));
        // The server hashes a malformed verifier as if it were the password itself, without a word.
        if !is_verifier(verifier.expose()) {
            return Err(Trouble::Verifier);
        }
        Ok(Self { clear, verifier })
    }

    /// The text for `PASSWORD '…'`.
    pub(super) fn verifier(&self) -> &Secret {
        &self.verifier
    }

    /// Seals everything the requester needs to log in.
    pub(super) fn seal(
        &self,
        recipient: &Recipient,
        settings: &Settings,
        server: &ServerAddress,
        access: &Access<'_>,
    ) -> Result<SealedCredential, Trouble> {
        let body = serde_json::json!({
            "login": access.login,
            "password": self.clear.expose(),
            "host": server.host,
            "port": server.port,
            "database": access.database,
            "sslmode": settings.tls.as_str(),
            "expiry": access.expiry.to_string(),
        });
        let body = Secret::new(body.to_string());
        recipient
            .seal(&body)
            .map_err(|error| Trouble::Seal(Box::new(error)))
    }
}

/// What a credential opens.
pub(super) struct Access<'a> {
    pub(super) login: &'a str,
    pub(super) database: &'a str,
    pub(super) expiry: Timestamp,
}

/// Parses the recipient of a start before anything else happens.
pub(super) fn recipient(text: &str) -> Result<Recipient, Trouble> {
    Recipient::parse(text).map_err(|error| Trouble::Recipient {
        problem: shown(&error.to_string()),
    })
}

/// Tells whether the text is exactly the form the server stores: `SCRAM-SHA-256$<iterations>:<salt>$<stored>:<server>`.
fn is_verifier(text: &str) -> bool {
    let decoded = |part: &str, len: usize| STANDARD.decode(part).is_ok_and(|b| b.len() == len);
    let Some(rest) = text.strip_prefix("SCRAM-SHA-256$") else {
        return false;
    };
    let Some((head, keys)) = rest.split_once('$') else {
        return false;
    };
    let (Some((iterations, salt)), Some((stored, server))) =
        (head.split_once(':'), keys.split_once(':'))
    else {
        return false;
    };
    iterations.parse::<u32>().is_ok_and(|count| count >= 4096)
        && decoded(salt, 16)
        && decoded(stored, 32)
        && decoded(server, 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_32_url_safe_characters_and_never_the_same_twice() {
        let a = NewPassword::draw().unwrap();
        let b = NewPassword::draw().unwrap();
        assert_eq!(a.clear.expose().len(), 32);
        assert!(
            a.clear
                .expose()
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        );
        assert_ne!(a.clear.expose(), b.clear.expose());
        assert!(is_verifier(a.verifier.expose()));
    }

    #[test]
    fn what_the_server_would_take_for_a_clear_password_is_recognised() {
        let good = NewPassword::draw().unwrap().verifier.expose().to_owned();
        for bad in [
            "hunter2".to_owned(),
            "SCRAM-SHA-256$4096:".to_owned(),
            good.replace("SCRAM-SHA-256", "SCRAM-SHA-1"),
            good.replace("4096", "x"),
            good[..good.len() - 4].to_owned(),
            format!("{good}="),
        ] {
            assert!(!is_verifier(&bad), "{bad}");
        }
    }
}
