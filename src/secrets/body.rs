//! Owns the form of a credential: a JSON object. Never shows what it holds.

use super::Credential;
use super::error::{SecretError, SecretProblem};
use crate::secret::Secret;
use serde_json::{Map, Value};

/// Largest credential, in any store.
pub(super) const MAX_BYTES: usize = 64 << 10;
/// The form, for hints.
pub(super) const SHAPE: &str = r#"{"username": "…", "password": "…"}"#;

/// A credential's place, and what helps when it is not as it should be.
pub(super) struct Spot<'a> {
    /// How errors call it, for example "secret file `/run/secrets/db`".
    pub(super) place: &'a str,
    /// How the form is put right.
    pub(super) hint: &'a str,
}

impl Spot<'_> {
    pub(super) fn error(&self, problem: SecretProblem) -> SecretError {
        SecretError::new(self.place, problem, self.hint)
    }

    /// Reads `username`, `password` and, to bind it to one host, `host` out of a JSON text. Other keys are ignored.
    pub(super) fn parse(&self, body: &[u8]) -> Result<Credential, SecretError> {
        if body.len() > MAX_BYTES {
            return Err(self.error(SecretProblem::TooLarge { limit: MAX_BYTES }));
        }
        // The parser's own messages quote what they found, so only the position is kept.
        let keys = serde_json::from_slice(body).map_err(|error| {
            self.error(SecretProblem::NotJson {
                line: error.line(),
                column: error.column(),
            })
        })?;
        self.pick(keys)
    }

    /// The same out of an object that is parsed already.
    pub(super) fn pick(&self, mut keys: Map<String, Value>) -> Result<Credential, SecretError> {
        Ok(Credential {
            username: self.required(&mut keys, "username")?,
            password: Secret::new(self.required(&mut keys, "password")?),
            host: self.optional(&mut keys, "host")?,
        })
    }

    fn required(
        &self,
        keys: &mut Map<String, Value>,
        key: &'static str,
    ) -> Result<String, SecretError> {
        self.optional(keys, key)?
            .ok_or_else(|| self.bad_key(key, "is missing"))
    }

    fn optional(
        &self,
        keys: &mut Map<String, Value>,
        key: &'static str,
    ) -> Result<Option<String>, SecretError> {
        let problem = match keys.remove(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => "is empty",
            Some(Value::String(text)) if text.contains('\0') => "holds a NUL",
            Some(Value::String(text)) if text.len() > MAX_BYTES => "is larger than 65536 bytes",
            Some(Value::String(text)) => return Ok(Some(text)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                "is not a text"
            }
        };
        Err(self.bad_key(key, problem))
    }

    pub(super) fn bad_key(&self, key: &str, problem: &'static str) -> SecretError {
        self.error(SecretProblem::BadKey {
            key: key.to_owned(),
            problem,
        })
    }
}
