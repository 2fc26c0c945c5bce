//! Owns one line of inventory: something that exists and could be granted, or access somebody has already.

use super::{InvalidValue, Permission, ResourceKind, SecretRef, shown};
use std::collections::BTreeMap;
use std::fmt;

/// Names a line of inventory for as long as what it is about keeps its place and name: 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InventoryId([u8; Self::BYTES]);

impl InventoryId {
    /// Length of an id in bytes.
    pub const BYTES: usize = 16;

    /// Wraps an id.
    #[must_use]
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Parses 32 hex digits.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || {
            let problem = format!("is `{}`, must be 32 hex digits", shown(text));
            InvalidValue::new("an id of inventory", problem)
        };
        let digits: Vec<u8> = text
            .chars()
            .map(|digit| {
                digit
                    .to_digit(16)
                    .and_then(|value| u8::try_from(value).ok())
            })
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        match <[u8; Self::BYTES]>::try_from(bytes) {
            Ok(bytes) if digits.len() == 2 * Self::BYTES => Ok(Self(bytes)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for InventoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One thing that exists in an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryRecord {
    /// Stable id: the same thing has the same id in every sync.
    pub id: InventoryId,
    /// The id the system itself uses, for example an oid.
    pub native_id: String,
    /// What people call it; for most kinds the last name of the path.
    pub name: String,
    /// Names, outermost first.
    pub path: Vec<String>,
    /// Kind of resource.
    pub kind: ResourceKind,
    /// `table`, `view`, `materialized view`, `foreign table`, `partitioned table` for tables; `login` or `group` for roles;
    /// otherwise empty.
    pub flavour: String,
    /// Who owns it, in the words of the system.
    pub owner: Option<String>,
    /// What people wrote on it.
    pub comment: Option<String>,
    /// What people wrote on it in the form of tags.
    pub tags: BTreeMap<String, String>,
    /// What else is known of it, by what it is: `session_duration`, `ou_path`. In the words of the system; long values are cut on the wire.
    pub context: BTreeMap<String, String>,
    /// What can be asked for by a fixed name. Empty where the names are things of their own: for an account, the permission sets.
    pub permissions: Vec<Permission>,
    /// Whether it can be granted now.
    pub status: RecordStatus,
    /// The part of the system it was found in, where parts are walked on their own and one may fail: `rds eu-west-1`.
    pub part: Option<String>,
    /// The integration it would be, where it asks by itself to be managed. With an error it cannot be one yet.
    pub discovered: Option<Box<Discovered>>,
}

/// An integration that was found, not configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// What people call it.
    pub name: String,
    /// The kind of integration.
    pub kind: String,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// Where its credential is.
    pub secret: Option<SecretRef>,
}

/// Whether a resource can be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordStatus {
    /// Can be granted.
    Active,
    /// Exists but cannot be granted; says why and what to do.
    Error(String),
}

/// Access that exists and was not given by a connector: one holder, one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRecord {
    /// Stable id, never that of a resource.
    pub id: InventoryId,
    /// The role that has it; nothing means every role, as `PUBLIC` does. In an organization `user:NAME` or `group:NAME`, or the bare id
    /// of somebody who is gone.
    pub holder: Option<String>,
    /// Kind of what it is access to.
    pub kind: ResourceKind,
    /// Path of what it is access to.
    pub path: Vec<String>,
    /// What the holder may do, in the words of the system, sorted.
    pub privileges: Vec<String>,
    /// What of it the holder may give to others, sorted.
    pub may_pass_on: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_is_one() {
        let id = InventoryId::new(*b"\x00\x01\xffabcdefghijklm");
        assert_eq!(InventoryId::parse(&id.to_string()).unwrap(), id);
        let long = format!("{id}00");
        for text in [
            "",
            "0",
            "zz",
            "0001ff6162636465666768696a6b6c6é",
            &long,
            &long[..31],
        ] {
            assert!(InventoryId::parse(text).is_err(), "{text}");
        }
    }
}
