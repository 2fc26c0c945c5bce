//! Owns the requester's side of a credential: a throw-away key, opening what was sealed to it, and the forms people use.

use super::aws_credential::AwsCredential;
use super::{CommandError, Form};
use crate::control::protocol::DetailSpec;
use crate::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A key that lives as long as the command.
pub(super) struct ThrowAwayKey(age::x25519::Identity);

impl ThrowAwayKey {
    pub(super) fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    pub(super) fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// Opens an armoured ciphertext.
    pub(super) fn open(&self, sealed: &str) -> Result<Opened, CommandError> {
        let clear = age::decrypt(&self.0, sealed.as_bytes()).map_err(|_| CommandError::Unseal)?;
        let clear = Zeroizing::new(clear);
        if let Ok(aws) = serde_json::from_slice(&clear) {
            return Ok(Opened::Aws(aws));
        }
        let raw: Raw = serde_json::from_slice(&clear).map_err(|_| CommandError::Unseal)?;
        Ok(Opened::Database(Credential {
            login: raw.login,
            password: Secret::new(raw.password),
            host: raw.host,
            port: raw
                .port
                .as_str()
                .map_or_else(|| raw.port.to_string(), str::to_owned),
            database: raw.database,
            sslmode: raw.sslmode,
            expiry: raw.expiry,
        }))
    }
}

/// What was sealed.
#[derive(Debug)]
pub(super) enum Opened {
    Database(Credential),
    Aws(AwsCredential),
}

impl Opened {
    /// Writes the credential in one form, ready to be printed.
    pub(super) fn show(&self, form: Form, grant: Uuid, details: &[DetailSpec]) -> String {
        match self {
            Self::Database(credential) => credential.show(form, grant),
            Self::Aws(credential) => credential.show(form, grant, details),
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    login: String,
    password: String,
    host: String,
    port: Value,
    database: String,
    sslmode: String,
    expiry: String,
}

/// What a person needs to log in.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) login: String,
    password: Secret,
    host: String,
    port: String,
    database: String,
    sslmode: String,
    expiry: String,
}

impl Credential {
    /// Writes the credential in one form, ready to be printed.
    fn show(&self, form: Form, grant: Uuid) -> String {
        match form {
            Form::Text => format!(
                "grant    {grant}\nlogin    {}\nexpires  {}\nuri      {}\npgpass   {}\nenv      {}\n",
                self.login,
                self.expiry,
                self.uri(),
                self.pgpass(),
                self.env(grant).trim_end().replace('\n', " ")
            ),
            Form::Uri => self.uri() + "\n",
            Form::Pgpass => self.pgpass() + "\n",
            Form::Env => self.env(grant),
            Form::Json => {
                let value = json!({
                    "grant": grant, "login": self.login, "password": self.password.expose(),
                    "host": self.host, "port": self.port, "database": self.database,
                    "sslmode": self.sslmode, "expiry": self.expiry, "uri": self.uri(),
                });
                format!("{value:#}\n")
            }
        }
    }

    fn uri(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            encoded(&self.host)
        };
        format!(
            "postgresql://{}:{}@{host}:{}/{}?sslmode={}",
            encoded(&self.login),
            encoded(self.password.expose()),
            self.port,
            encoded(&self.database),
            encoded(&self.sslmode)
        )
    }

    fn pgpass(&self) -> String {
        let fields = [
            &self.host,
            &self.port,
            &self.database,
            &self.login,
            self.password.expose(),
        ];
        fields
            .map(|field| field.replace('\\', "\\\\").replace(':', "\\:"))
            .join(":")
    }

    fn env(&self, grant: Uuid) -> String {
        let pairs = [
            ("PGHOST", self.host.as_str()),
            ("PGPORT", &self.port),
            ("PGUSER", &self.login),
            ("PGPASSWORD", self.password.expose()),
            ("PGDATABASE", &self.database),
            ("PGSSLMODE", &self.sslmode),
            ("APONO_GRANT", &grant.to_string()),
        ];
        variables(&pairs)
    }
}

/// Writes variables so that a POSIX shell reads exactly these values.
pub(super) fn variables(pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(String::new(), |mut text, (name, value)| {
        let quoted = value.replace('\'', r"'\''");
        // Writing to a string cannot fail.
        writeln!(text, "{name}='{quoted}'").unwrap_or_default();
        text
    })
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        Credential {
            login: "alice_apono".to_owned(),
            password: Secret::new("pa:s's\\w".to_owned()),
            host: "db.example.com".to_owned(),
            port: "5432".to_owned(),
            database: "my app".to_owned(),
            sslmode: "require".to_owned(),
            expiry: "2026-12-01T18:00:00Z".to_owned(),
        }
    }

    #[test]
    fn uri_encodes_what_an_address_cannot_hold() {
        assert_eq!(
            credential().show(Form::Uri, Uuid::nil()),
            "postgresql://alice_apono:pa%3As%27s%5Cw@db.example.com:5432/my%20app?sslmode=require\n"
        );
    }

    #[test]
    fn pgpass_escapes_colons_and_backslashes() {
        assert_eq!(
            credential().show(Form::Pgpass, Uuid::nil()),
            "db.example.com:5432:my app:alice_apono:pa\\:s's\\\\w\n"
        );
    }

    #[test]
    fn a_shell_reads_exactly_the_values() {
        let text = credential().show(Form::Env, Uuid::nil());
        assert!(text.contains("PGPASSWORD='pa:s'\\''s\\w'\n"), "{text}");
        assert!(text.contains("PGDATABASE='my app'\n"), "{text}");
        assert!(
            text.contains("APONO_GRANT='00000000-0000-0000-0000-000000000000'\n"),
            "{text}"
        );
    }

    #[test]
    fn what_was_sealed_to_the_key_is_opened_with_it_alone() {
        let key = ThrowAwayKey::generate();
        let clear = r#"{"login":"a_apono","password":"p","host":"h","port":5432,"database":"d",
            "sslmode":"disable","expiry":"2026-12-01T18:00:00Z"}"#;
        let sealed = age::encrypt_and_armor(&key.0.to_public(), clear.as_bytes()).unwrap();
        let Ok(Opened::Database(opened)) = key.open(&sealed) else {
            panic!("it is a database's");
        };
        assert_eq!(opened.port, "5432");
        assert!(ThrowAwayKey::generate().open(&sealed).is_err());
        assert!(key.open("nonsense").is_err());
    }
}
