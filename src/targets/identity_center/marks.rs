//! Owns the marks on permission sets of ours: tags that say whose they are and what they hold. Never reads or writes them.

use crate::domain::GrantId;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Set on every set a connector made: its id. Policies of IAM may lean on it.
pub const CONNECTOR_TAG: &str = "apono-connector";
const INTEGRATION: &str = "apono-integration";
/// Name of the declared permission.
const PERMISSION: &str = "apono-permission";
/// Digest of the declaration the set holds; not there while it does not hold it whole.
const DECLARATION: &str = "apono-declaration";
const GRANT: &str = "apono-grant";
const PERSON: &str = "apono-person";
const EXPIRY: &str = "apono-expiry";
const UNUSED_SINCE: &str = "apono-unused-since";

/// Tags, by key.
pub(super) type Tags = BTreeMap<String, String>;

/// Whose a set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    Grant(GrantId),
    /// Type and id of a user or group, such as `USER/1234`.
    Person(String),
}

/// What the tags of a set of ours say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) connector: String,
    pub(super) integration: String,
    pub(super) permission: String,
    pub(super) owner: Owner,
    /// Empty while the set does not hold its declaration whole.
    pub(super) declaration: String,
    /// When the grant it was made for is over.
    pub(super) expiry: Option<Timestamp>,
    /// Since when nobody is assigned it, for a person's.
    pub(super) unused_since: Option<Timestamp>,
}

impl Owner {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Grant(grant) => grant.to_string(),
            Self::Person(person) => person.clone(),
        }
    }
}

impl Marks {
    /// Reads tags; nothing where they are not ours, or not as we write them.
    pub(super) fn read(tags: &Tags) -> Option<Self> {
        let get = |key: &str| tags.get(key).cloned();
        let time = |key: &str| tags.get(key).and_then(|text| text.parse().ok());
        let owner = match (get(GRANT), get(PERSON)) {
            (Some(grant), None) => Owner::Grant(GrantId::parse(&grant).ok()?),
            (None, Some(person)) => Owner::Person(person),
            _ => return None,
        };
        Some(Self {
            connector: get(CONNECTOR_TAG)?,
            integration: get(INTEGRATION)?,
            // Tags take no commas, and names no colons.
            permission: get(PERMISSION)?.replace(':', ","),
            owner,
            declaration: get(DECLARATION).unwrap_or_default(),
            expiry: time(EXPIRY),
            unused_since: time(UNUSED_SINCE),
        })
    }

    /// Returns all tags; every change sends all, so that a policy of IAM can ask for our own.
    pub(super) fn write(&self) -> Tags {
        let time = |time: &Option<Timestamp>| time.map_or_else(String::new, |at| at.to_string());
        let owner = match &self.owner {
            Owner::Grant(_) => GRANT,
            Owner::Person(_) => PERSON,
        };
        let mut tags = Tags::from([
            (CONNECTOR_TAG.to_owned(), self.connector.clone()),
            (INTEGRATION.to_owned(), self.integration.clone()),
            (PERMISSION.to_owned(), self.permission.replace(',', ":")),
            (owner.to_owned(), self.owner.text()),
            (DECLARATION.to_owned(), self.declaration.clone()),
        ]);
        match self.owner {
            Owner::Grant(_) => tags.insert(EXPIRY.to_owned(), time(&self.expiry)),
            Owner::Person(_) => tags.insert(UNUSED_SINCE.to_owned(), time(&self.unused_since)),
        };
        tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_read_back_and_half_of_them_are_none() {
        let grant = Marks {
            connector: "c".into(),
            integration: "i".into(),
            permission: "A+B=,.@-_".into(),
            owner: Owner::Grant(GrantId::generate()),
            declaration: "d".into(),
            expiry: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            unused_since: None,
        };
        let person = Marks {
            owner: Owner::Person("USER/1".into()),
            declaration: String::new(),
            expiry: None,
            ..grant.clone()
        };
        for marks in [grant, person] {
            let tags = marks.write();
            assert_eq!(Marks::read(&tags), Some(marks));
            assert!(tags.values().all(|value| !value.contains(',')), "{tags:?}");
            for needed in [CONNECTOR_TAG, INTEGRATION, PERMISSION, GRANT, PERSON] {
                let mut fewer = tags.clone();
                if fewer.remove(needed).is_some() {
                    assert_eq!(Marks::read(&fewer), None, "{needed}");
                }
            }
        }
    }
}
