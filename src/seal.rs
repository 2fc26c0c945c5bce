//! Owns sealing: the last thing that happens to a credential before it leaves the code that made it. Never unseals.

use crate::domain::{InvalidValue, SealedCredential};
use crate::secret::Secret;

/// Someone to seal for.
pub struct Recipient;

impl Recipient {
    /// Parses an age public key (`age1…`) or an `ssh-ed25519` public key line.
    ///
    /// # Errors
    /// When the text is neither; other SSH key types are named in the message.
    pub fn parse(_text: &str) -> Result<Self, InvalidValue> {
        Err(InvalidValue::new("`recipient`", "is not supported yet"))
    }

    /// Seals a credential as ASCII-armoured ciphertext.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn seal(&self, _credential: &Secret) -> Result<SealedCredential, InvalidValue> {
        Err(InvalidValue::new("`recipient`", "is not supported yet"))
    }
}
