//! Owns sealing: the last thing that happens to a credential before it leaves the code that made it. Never unseals.

use crate::domain::{InvalidValue, SealedCredential};
use crate::secret::Secret;
use age::armor::{ArmoredWriter, Format};
use std::fmt;
use std::io::Write;

/// Longest recipient text in bytes: an `ssh-ed25519` line takes about 80, the rest is room for its comment.
const MAX_RECIPIENT_BYTES: usize = 1024;

const SUPPORTED: &str = "must be an age public key (`age1…`) or an `ssh-ed25519` public key line";

/// Names people may hand us by mistake; anything else is not repeated, since it may be a secret.
const KNOWN_SSH_TYPES: [&str; 7] = [
    "ssh-rsa",
    "ssh-dss",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Someone to seal for.
#[derive(Clone)]
pub struct Recipient(Key);

#[derive(Clone)]
enum Key {
    Age(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
}

/// A credential could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The recipient's key cannot be used.
    #[error("the credential cannot be sealed to this recipient")]
    Recipient(#[source] age::EncryptError),
    /// The ciphertext could not be written out.
    #[error("the sealed credential cannot be written out")]
    Output(#[source] std::io::Error),
}

impl Recipient {
    /// Parses an age public key (`age1…`, X25519) or an `ssh-ed25519` public key line, of at most 1,024 bytes.
    ///
    /// # Errors
    /// When the text is neither. The message names what is supported and never repeats the text.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        if text.len() > MAX_RECIPIENT_BYTES {
            return Err(refused(format!(
                "is {} bytes long, the limit is {MAX_RECIPIENT_BYTES}; it {SUPPORTED}",
                text.len()
            )));
        }
        if text.chars().any(char::is_control) {
            return Err(refused(format!(
                "holds a line break or control character, {SUPPORTED}"
            )));
        }
        if text.starts_with("age1") {
            return text
                .parse()
                .map(|key| Self(Key::Age(key)))
                .map_err(|_| refused(format!("is not a whole age key, {SUPPORTED}")));
        }
        match text.split(' ').next() {
            Some("ssh-ed25519") => match text.parse() {
                Ok(key @ age::ssh::Recipient::SshEd25519(..)) => Ok(Self(Key::Ssh(key))),
                Ok(age::ssh::Recipient::SshRsa(..)) | Err(_) => Err(refused(format!(
                    "is not a whole `ssh-ed25519` key, {SUPPORTED}"
                ))),
            },
            Some(kind) if KNOWN_SSH_TYPES.contains(&kind) => Err(refused(format!(
                "is an SSH key of type `{kind}`, {SUPPORTED}"
            ))),
            _ => Err(refused(format!("is not a public key, {SUPPORTED}"))),
        }
    }

    /// Seals a credential as ASCII-armoured ciphertext.
    ///
    /// The clear text is read straight from the [`Secret`], which wipes itself; no copy of it is made here.
    ///
    /// # Errors
    /// When the key is unusable or the ciphertext cannot be written.
    pub fn seal(&self, credential: &Secret) -> Result<SealedCredential, SealError> {
        let recipient: &dyn age::Recipient = match &self.0 {
            Key::Age(key) => key,
            Key::Ssh(key) => key,
        };
        let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient))
            .map_err(SealError::Recipient)?;
        let mut armoured = Vec::new();
        let sealed = ArmoredWriter::wrap_output(&mut armoured, Format::AsciiArmor)
            .and_then(|armour| encryptor.wrap_output(armour))
            .and_then(|mut stream| {
                stream.write_all(credential.expose().as_bytes())?;
                stream.finish()?.finish()
            });
        sealed.map_err(SealError::Output)?;
        String::from_utf8(armoured)
            .map(SealedCredential::from_ciphertext)
            .map_err(|error| SealError::Output(std::io::Error::other(error)))
    }
}

fn refused(problem: String) -> InvalidValue {
    InvalidValue::new("`recipient`", problem)
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Key::Age(_) => "Recipient(age)",
            Key::Ssh(_) => "Recipient(ssh-ed25519)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Makes a throw-away key pair: the public key line and the private key file, both as `ssh-keygen` writes them.
    fn ssh_key() -> (String, String) {
        use base64::Engine;
        use base64::prelude::BASE64_STANDARD;
        fn field(bytes: &[u8]) -> Vec<u8> {
            let len = u32::try_from(bytes.len()).unwrap();
            [&len.to_be_bytes()[..], bytes].concat()
        }
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let public = pair.public_key_raw();
        // The seed stands behind the fixed 16-byte head of the PKCS #8 form.
        let seed = &pair.serialize_der()[16..48];
        let kind = field(b"ssh-ed25519");
        let public_blob = [kind.clone(), field(public)].concat();
        let private_fields = [
            vec![0; 8],
            kind,
            field(public),
            field(&[seed, public].concat()),
            field(b"test"),
        ];
        let mut private_blob = private_fields.concat();
        private_blob.extend((1..).take((8 - private_blob.len() % 8) % 8));
        let file = [
            b"openssh-key-v1\0".to_vec(),
            field(b"none"),
            field(b"none"),
            field(b""),
            1_u32.to_be_bytes().to_vec(),
            field(&public_blob),
            field(&private_blob),
        ]
        .concat();
        let lines: Vec<_> = BASE64_STANDARD
            .encode(file)
            .into_bytes()
            .chunks(70)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        (
            format!("ssh-ed25519 {} test", BASE64_STANDARD.encode(public_blob)),
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
                lines.join("\n")
            ),
        )
    }

    fn unseal(sealed: &SealedCredential, identity: &dyn age::Identity) -> String {
        let armour = age::armor::ArmoredReader::new(sealed.as_str().as_bytes());
        let decryptor = age::Decryptor::new(armour).unwrap();
        let mut clear = String::new();
        decryptor
            .decrypt(std::iter::once(identity))
            .unwrap()
            .read_to_string(&mut clear)
            .unwrap();
        clear
    }

    #[test]
    fn the_holder_of_the_age_key_reads_what_was_sealed() {
        let identity = age::x25519::Identity::generate();
        let recipient = Recipient::parse(&identity.to_public().to_string()).unwrap();
        let sealed = recipient.seal(&Secret::new("pässword\0".into())).unwrap();
        assert!(
            sealed
                .as_str()
                .starts_with("-----BEGIN AGE ENCRYPTED FILE-----")
        );
        assert!(!sealed.as_str().contains("ssword"));
        assert_eq!(unseal(&sealed, &identity), "pässword\0");
    }

    #[test]
    fn the_holder_of_the_ssh_key_reads_what_was_sealed() {
        let (public, private) = ssh_key();
        let identity = age::ssh::Identity::from_buffer(private.as_bytes(), None).unwrap();
        let recipient = Recipient::parse(&public).unwrap();
        let sealed = recipient.seal(&Secret::new("hunter2".into())).unwrap();
        assert_eq!(unseal(&sealed, &identity), "hunter2");
    }

    #[test]
    fn nobody_else_reads_it() {
        let recipient =
            Recipient::parse(&age::x25519::Identity::generate().to_public().to_string()).unwrap();
        let sealed = recipient.seal(&Secret::new("hunter2".into())).unwrap();
        let other = age::x25519::Identity::generate();
        let decryptor =
            age::Decryptor::new(age::armor::ArmoredReader::new(sealed.as_str().as_bytes()))
                .unwrap();
        assert!(
            decryptor
                .decrypt(std::iter::once(&other as &dyn age::Identity))
                .is_err()
        );
    }

    #[test]
    fn the_same_credential_never_seals_to_the_same_text() {
        let recipient = Recipient::parse(&ssh_key().0).unwrap();
        let secret = Secret::new("hunter2".into());
        assert_ne!(
            recipient.seal(&secret).unwrap(),
            recipient.seal(&secret).unwrap()
        );
    }

    #[track_caller]
    fn check_refused(text: &str, expect: &str) {
        let error = Recipient::parse(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
        assert!(error.contains(SUPPORTED), "{error}");
    }

    #[test]
    fn other_ssh_keys_are_refused_by_name() {
        check_refused("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB", "type `ssh-rsa`");
        check_refused(
            "ecdsa-sha2-nistp256 AAAAE2VjZHNh alice",
            "type `ecdsa-sha2-nistp256`",
        );
        check_refused(
            "sk-ssh-ed25519@openssh.com AAAAGnNr",
            "type `sk-ssh-ed25519@openssh.com`",
        );
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        check_refused("", "is not a public key");
        check_refused("age1", "is not a whole age key");
        check_refused("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq", "age key");
        check_refused("ssh-ed25519", "is not a whole `ssh-ed25519` key");
        check_refused("ssh-ed25519 AAAA", "is not a whole `ssh-ed25519` key");
        // The outer name and the inner one must agree.
        check_refused("ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAAB", "not a whole");
        check_refused("age1abc\nage1def", "line break");
        check_refused(&"a".repeat(2000), "2000 bytes");
    }

    #[test]
    fn a_secret_key_sent_by_mistake_is_not_repeated() {
        let text = "AGE-SECRET-KEY-1QQPQYNSVJ";
        let error = Recipient::parse(text).unwrap_err().to_string();
        assert!(!error.contains("QQPQYN"), "{error}");
    }
}
