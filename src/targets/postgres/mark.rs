//! Owns marks: the comment on a role that says it is ours. Never holds personal data, because every database user can read role comments.

use super::settings::Home;
use crate::domain::ConnectorId;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What every mark starts with; the number is the version of the form.
const PREFIX: &str = "apono v1 ";

/// What a role of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoleKind {
    /// A person's database user.
    Login,
    /// A shared role that holds privileges.
    Access,
    /// A shared role that an administrator made and filled for us: ours to lend, never to change or to drop.
    Given,
    /// The powerless owner of what people left behind.
    Leftovers,
}

impl RoleKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Access => "access",
            Self::Given => "given",
            Self::Leftovers => "leftovers",
        }
    }
}

/// Whose role it is, judged by its comment alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkedBy {
    /// This connector, through the grant table of this home database.
    Us,
    /// This connector, through the grant table of another database of the server.
    OurOtherHome,
    /// Another connector.
    Another,
    /// Nobody: no comment, or not one of ours.
    Nobody,
}

/// Returns the comment for a role of ours: ASCII only, because shared catalogs have no encoding.
pub(super) fn mark(home: &Home, role: &str, kind: RoleKind) -> String {
    format!("{}{}", of(&home.connector, kind), key(home, role, kind))
}

/// Returns what the comment of every login of a connector starts with.
pub(super) fn logins_of(connector: &ConnectorId) -> String {
    of(connector, RoleKind::Login)
}

fn of(connector: &ConnectorId, kind: RoleKind) -> String {
    format!("{PREFIX}connector={connector} kind={} key=", kind.as_str())
}

/// Reads a comment.
pub(super) fn read(comment: Option<&str>, home: &Home, role: &str, kind: RoleKind) -> MarkedBy {
    let Some(rest) = comment.and_then(|text| text.strip_prefix(PREFIX)) else {
        return MarkedBy::Nobody;
    };
    if rest == &mark(home, role, kind)[PREFIX.len()..] {
        return MarkedBy::Us;
    }
    let ours = rest
        .strip_prefix("connector=")
        .and_then(|rest| rest.split_once(' '))
        .is_some_and(|(connector, rest)| {
            connector == home.connector.as_str()
                && rest.starts_with(&format!("kind={} key=", kind.as_str()))
        });
    if ours {
        MarkedBy::OurOtherHome
    } else {
        MarkedBy::Another
    }
}

fn key(home: &Home, role: &str, kind: RoleKind) -> String {
    hex16(&[
        "mark",
        home.connector.as_str(),
        &home.database,
        kind.as_str(),
        role,
    ])
}

/// Hashes texts, each with its length, and returns the first 16 hexadecimal digits.
pub(super) fn hex16(texts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hasher
        .finalize()
        .iter()
        .take(8)
        .fold(String::with_capacity(16), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _done = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(connector: &str, database: &str) -> Home {
        Home::for_tests(connector, database)
    }

    #[test]
    fn a_mark_is_plain_ascii_without_the_person() {
        let text = mark(&home("c-1", "app"), "alice_apono", RoleKind::Login);
        assert!(text.is_ascii());
        assert!(!text.contains("alice"));
        assert!(text.starts_with("apono v1 connector=c-1 kind=login key="));
    }

    #[track_caller]
    fn check(comment: &str, expect: MarkedBy) {
        let home = home("c-1", "app");
        assert_eq!(
            read(Some(comment), &home, "alice_apono", RoleKind::Login),
            expect,
            "{comment}"
        );
    }

    #[test]
    fn only_our_own_mark_for_this_very_role_counts() {
        let ours = home("c-1", "app");
        check(&mark(&ours, "alice_apono", RoleKind::Login), MarkedBy::Us);
        // A mark copied from another role of ours does not count as this role's.
        check(
            &mark(&ours, "bob_apono", RoleKind::Login),
            MarkedBy::OurOtherHome,
        );
        check(
            &mark(&home("c-1", "app2"), "alice_apono", RoleKind::Login),
            MarkedBy::OurOtherHome,
        );
        check(
            &mark(&home("c-2", "app"), "alice_apono", RoleKind::Login),
            MarkedBy::Another,
        );
        check(
            &mark(&ours, "alice_apono", RoleKind::Access),
            MarkedBy::Another,
        );
        check("made by hand", MarkedBy::Nobody);
        check("apono v1", MarkedBy::Nobody);
        assert_eq!(
            read(None, &ours, "alice_apono", RoleKind::Login),
            MarkedBy::Nobody
        );
    }
}
