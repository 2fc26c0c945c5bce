//! Owns what an integration is: a type, string settings, at most one secret reference.

use super::{IntegrationId, SecretRef};
use std::collections::BTreeMap;
use std::fmt;

/// One system under management.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// What people call it.
    pub name: String,
    /// The kind of system, for example `postgresql`.
    pub kind: String,
    /// Settings by name; which ones a kind needs is checked by its target.
    pub settings: BTreeMap<String, String>,
    /// Where its credential is.
    pub secret: Option<SecretRef>,
    /// Whether new access may start.
    pub state: IntegrationState,
}

impl Integration {
    /// Returns the digest of everything that decides *where* an order goes: kind, settings, secret reference.
    #[must_use]
    pub fn digest(&self) -> SettingsDigest {
        use sha2::{Digest, Sha256};
        let mut hasher = Sha256::new();
        let mut feed = |text: &str| {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        };
        feed(&self.kind);
        for (key, value) in &self.settings {
            feed(key);
            feed(value);
        }
        feed(self.secret.as_ref().map_or("", SecretRef::as_str));
        SettingsDigest(hasher.finalize().into())
    }
}

/// Whether an integration takes new access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegrationState {
    /// In use.
    Active,
    /// No starts; settings are kept until nothing of ours is left.
    Retiring,
}

/// Proof that settings are the ones that were judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SettingsDigest([u8; 32]);

impl fmt::Debug for SettingsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettingsDigest({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}
