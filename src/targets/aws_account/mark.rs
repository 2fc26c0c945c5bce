//! Owns what we write on an IAM user: the tags that mark it as ours and those that record its grants. Pure.

use super::escape::unescaped;
use crate::domain::{
    ConnectorId, EndReason, ErrorClass, Grant, GrantId, IntegrationId, LoginName, Permission,
    Principal, ResourceKind, ResourceRef, shown,
};
use crate::targets::TargetError;
use crate::targets::refusal::refused;
use jiff::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The path of every user we make, so that what the connector may do can be narrowed to it.
pub(super) const PATH: &str = "/apono/";
/// The inline policy that ends everything a user of ours has, whatever it comes from.
pub(super) const UNTIL: &str = "apono-until";
/// Whose user it is.
const CONNECTOR: &str = "apono-connector";
/// Whom it was made for.
const PRINCIPAL: &str = "apono-principal";
/// For which grant the present credential was made.
pub(super) const CREDENTIAL: &str = "apono-credential";
const GRANT: &str = "apono-grant:";
const ENDED: &str = "apono-ended:";
const POLICY: &str = "apono-grant-";
/// Form of what a grant's tag holds.
const VERSION: &str = "1";
/// Longest value of a tag.
const LONGEST_VALUE: usize = 256;

/// Tags by key.
pub(super) type Tags = BTreeMap<String, String>;

/// Returns the tags a user of ours begins with.
pub(super) fn of_user(
    connector: &ConnectorId,
    principal: &Principal,
) -> Result<Vec<(String, String)>, TargetError> {
    Ok(vec![
        (CONNECTOR.to_owned(), connector.as_str().to_owned()),
        (PRINCIPAL.to_owned(), fitted(encoded(principal.as_str()))?),
    ])
}

/// Tells whether a user of this name, path and tags was made by this connector, for whomever.
pub(super) fn is_ours(connector: &ConnectorId, name: &str, path: &str, tags: &Tags) -> bool {
    was_made(name, path)
        && tags.get(CONNECTOR).map(String::as_str) == Some(connector.as_str())
        && tags.contains_key(PRINCIPAL)
}

/// Tells whether a name and a path are such as a connector gives a user.
pub(super) fn was_made(name: &str, path: &str) -> bool {
    path == PATH && LoginName::parse(name).is_ok()
}

/// Tells whether some connector made a user, or says so.
pub(super) fn is_marked(tags: &Tags) -> bool {
    tags.contains_key(CONNECTOR)
}

/// Returns whom a user was made for.
pub(super) fn principal(tags: &Tags) -> Option<Principal> {
    Principal::parse(&unescaped(tags.get(PRINCIPAL)?, '=')?).ok()
}

/// Returns the name of the inline policy of a grant.
pub(super) fn policy_name(grant: GrantId) -> String {
    format!("{POLICY}{grant}")
}

/// Returns which grant an inline policy is for; nothing when it is none of ours.
pub(super) fn grant_of_policy(name: &str) -> Option<GrantId> {
    GrantId::parse(name.strip_prefix(POLICY)?).ok()
}

pub(super) fn grant_key(grant: GrantId) -> String {
    format!("{GRANT}{grant}")
}

pub(super) fn ended_key(grant: GrantId) -> String {
    format!("{ENDED}{grant}")
}

/// What a user's tags say of one grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) integration: IntegrationId,
    pub(super) resource: ResourceRef,
    pub(super) permission: Permission,
    pub(super) expiry: Timestamp,
    /// When it was begun, to the second.
    pub(super) begun: Timestamp,
    /// Until when its orders may have been signed, to the second.
    pub(super) signed_by: Timestamp,
}

impl Entry {
    pub(super) fn of(grant: &Grant, begun: Timestamp, signed_by: Timestamp) -> Self {
        Self {
            integration: grant.integration,
            resource: grant.resource.clone(),
            permission: grant.permission,
            expiry: grant.expiry,
            begun: whole(begun),
            signed_by: whole(signed_by),
        }
    }

    /// Writes the tag's value.
    pub(super) fn write(&self) -> Result<String, TargetError> {
        let text = format!(
            "{VERSION} {} {} {} {} {} {} {}",
            self.integration.as_uuid().simple(),
            self.resource.kind(),
            self.permission,
            self.begun.as_second(),
            self.signed_by.as_second(),
            self.expiry,
            encoded(self.resource.name())
        );
        fitted(text)
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(8, ' ');
        let mut word = || words.next();
        if word()? != VERSION {
            return None;
        }
        let integration = IntegrationId::new(Uuid::parse_str(word()?).ok()?);
        let kind = ResourceKind::parse(word()?).ok()?;
        let permission = Permission::parse(word()?).ok()?;
        let begun = Timestamp::from_second(word()?.parse().ok()?).ok()?;
        let signed_by = Timestamp::from_second(word()?.parse().ok()?).ok()?;
        let expiry = word()?.parse().ok()?;
        let name = unescaped(word()?, '=')?;
        Some(Self {
            integration,
            resource: ResourceRef::new(kind, vec![name]).ok()?,
            permission,
            expiry,
            begun,
            signed_by,
        })
    }

    /// Returns the grant this is about.
    pub(super) fn grant(&self, id: GrantId, principal: &Principal) -> Grant {
        Grant {
            id,
            integration: self.integration,
            principal: principal.clone(),
            resource: self.resource.clone(),
            permission: self.permission,
            expiry: self.expiry,
        }
    }
}

/// Returns for which grant a user's credential was made.
pub(super) fn credential(tags: &Tags) -> Option<GrantId> {
    GrantId::parse(tags.get(CREDENTIAL)?).ok()
}

/// Returns what the tags say of a grant.
pub(super) fn entry(tags: &Tags, grant: GrantId) -> Option<Entry> {
    Entry::read(tags.get(&grant_key(grant))?)
}

/// Returns every grant the tags speak of, ended ones too.
pub(super) fn entries(tags: &Tags) -> impl Iterator<Item = (GrantId, Entry)> {
    tags.iter().filter_map(|(key, value)| {
        let grant = GrantId::parse(key.strip_prefix(GRANT)?).ok()?;
        Some((grant, Entry::read(value)?))
    })
}

/// Returns every grant the tags say is ended.
pub(super) fn tombstones(tags: &Tags) -> impl Iterator<Item = (GrantId, Timestamp, EndReason)> {
    tags.iter().filter_map(|(key, value)| {
        let grant = GrantId::parse(key.strip_prefix(ENDED)?).ok()?;
        let (at, reason) = read_ended(value)?;
        Some((grant, at, reason))
    })
}

/// Returns when and why a grant ended.
pub(super) fn ended(tags: &Tags, grant: GrantId) -> Option<(Timestamp, EndReason)> {
    read_ended(tags.get(&ended_key(grant))?)
}

pub(super) fn write_ended(at: Timestamp, reason: EndReason) -> String {
    format!("{} {}", at.as_second(), reason.as_str())
}

fn read_ended(text: &str) -> Option<(Timestamp, EndReason)> {
    let (at, reason) = text.split_once(' ')?;
    let at = Timestamp::from_second(at.parse().ok()?).ok()?;
    Some((at, EndReason::parse(reason)?))
}

/// Returns a time without the part below a second.
pub(super) fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Writes a text with the characters a tag may hold; any other as `=` and two hexadecimal digits.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"_.:/+@-".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("={b:02X}")
            }
        })
        .collect()
}

fn fitted(value: String) -> Result<String, TargetError> {
    if value.len() <= LONGEST_VALUE {
        return Ok(value);
    }
    let message = format!(
        "`{}` is too long to be recorded: a tag of an IAM user holds {LONGEST_VALUE} characters",
        shown(&value)
    );
    Err(refused(
        ErrorClass::NeedsOperator,
        "name_too_long",
        message,
        "use a resource with a shorter name or path",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(kind: ResourceKind, name: &str, permission: Permission) -> Grant {
        Grant {
            id: GrantId::generate(),
            integration: IntegrationId::generate(),
            principal: Principal::parse("o'hara+x@example.com").unwrap(),
            resource: ResourceRef::new(kind, vec![name.to_owned()]).unwrap(),
            permission,
            expiry: "2030-01-01T00:00:00.123456Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_grant_reads_back_from_a_users_tags_with_what_a_tag_may_not_hold() {
        let arn = "arn:aws:iam::123456789012:policy/team/a=b,c@d+e";
        for (kind, name, permission) in [
            (
                ResourceKind::AwsIamRole,
                "deploy+=,.@-_",
                Permission::Assume,
            ),
            (ResourceKind::AwsIamPolicy, arn, Permission::Attach),
            (
                ResourceKind::AwsS3Bucket,
                "logs.example",
                Permission::ReadWrite,
            ),
            (ResourceKind::AwsIamGroup, "ops", Permission::Member),
        ] {
            let grant = grant(kind, name, permission);
            let at = "2029-12-31T00:00:00.5Z".parse().unwrap();
            let entry = Entry::of(&grant, at, at);
            let value = entry.write().unwrap();
            assert!(
                value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b" _.:/=+-@".contains(&b)),
                "{value}"
            );
            let tags = Tags::from([(grant_key(grant.id), value)]);
            let (id, read) = entries(&tags).next().unwrap();
            assert_eq!(read.grant(id, &grant.principal), grant);
        }
    }

    #[test]
    fn what_does_not_fit_into_a_tag_is_refused_before_anything_is_made() {
        let arn = format!("arn:aws:iam::123456789012:policy/{}", "x/".repeat(100));
        let grant = grant(ResourceKind::AwsIamPolicy, &arn, Permission::Attach);
        let entry = Entry::of(&grant, grant.expiry, grant.expiry);
        assert_eq!(entry.write().unwrap_err().failure().reason, "name_too_long");
    }

    #[test]
    fn a_user_is_ours_by_path_name_and_tags_together() {
        let connector = ConnectorId::parse("c-1").unwrap();
        let other = ConnectorId::parse("c-2").unwrap();
        let alice = Principal::parse("alice!#@example.com").unwrap();
        let tags: Tags = of_user(&connector, &alice).unwrap().into_iter().collect();
        assert!(is_ours(&connector, "alice_apono", PATH, &tags));
        assert_eq!(principal(&tags), Some(alice));
        assert!(!is_ours(&other, "alice_apono", PATH, &tags));
        assert!(!is_ours(&connector, "alice", PATH, &tags));
        assert!(!is_ours(&connector, "alice_apono", "/", &tags));
        assert!(!is_ours(&connector, "alice_apono", PATH, &Tags::new()));
    }

    #[test]
    fn an_end_reads_back_and_a_strange_tag_is_none() {
        let at: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let grant = GrantId::generate();
        let mut tags = Tags::from([(ended_key(grant), write_ended(at, EndReason::Revoked))]);
        assert_eq!(ended(&tags, grant), Some((at, EndReason::Revoked)));
        assert_eq!(tombstones(&tags).count(), 1);
        tags.insert(ended_key(GrantId::generate()), "soon".to_owned());
        tags.insert(grant_key(GrantId::generate()), "2 x".to_owned());
        assert_eq!(tombstones(&tags).count(), 1);
        assert_eq!(entries(&tags).count(), 0);
        assert_eq!(grant_of_policy(&policy_name(grant)), Some(grant));
        assert_eq!(grant_of_policy(UNTIL), None);
    }
}
