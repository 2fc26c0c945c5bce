//! Owns checkpoints: what a target must find again when it ends or goes on with a grant, wherever that happens.

use super::InvalidValue;

/// A note of a target's own about one grant, opaque to everybody else: at most 4 KiB, never a secret. It is on disk and with the control
/// plane before the effect it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint(String);

impl Checkpoint {
    /// Largest checkpoint in bytes; the protocol takes no larger one.
    pub const MAX_BYTES: usize = 4 << 10;

    /// Checks the size.
    ///
    /// # Errors
    /// When the text is larger than 4 KiB.
    pub fn new(text: String) -> Result<Self, InvalidValue> {
        if text.len() <= Self::MAX_BYTES {
            return Ok(Self(text));
        }
        let problem = format!(
            "has {} bytes, must have at most {}",
            text.len(),
            Self::MAX_BYTES
        );
        Err(InvalidValue::new("`checkpoint`", problem))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
