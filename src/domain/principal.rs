//! Owns who gets access, and how the database user made for them is called.

use super::{InvalidValue, shown};
use std::fmt;

/// Who gets access: a person by e-mail address, a user by the name an identity store knows, or a group by its display name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    kind: PrincipalKind,
    name: String,
}

/// By what a principal is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKind {
    /// An e-mail address: 3 to 254 bytes, one `@` with text on both sides, no white space or control characters; lower case.
    Email,
    /// A user name of an identity store: 1 to 128 characters, none of them a control character.
    UserName,
    /// The display name of a group of an identity store: 1 to 1,024 characters, none of them a control character.
    Group,
}

/// What the text form of a user name begins with; no e-mail address begins so.
const USER_PREFIX: &str = "user:";
/// What the text form of a group begins with.
const GROUP_PREFIX: &str = "group:";

impl Principal {
    /// Parses an e-mail address; letters are folded to lower case.
    ///
    /// # Errors
    /// When the text cannot be an e-mail address.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let fits = (3..=254).contains(&text.len())
            && !text.starts_with(USER_PREFIX)
            && !text.starts_with(GROUP_PREFIX)
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && text.split_once('@').is_some_and(|(local, host)| {
                !local.is_empty() && !host.is_empty() && !host.contains('@')
            });
        if fits {
            Ok(Self {
                kind: PrincipalKind::Email,
                name: text.to_lowercase(),
            })
        } else {
            Err(InvalidValue::new(
                "`principal.email`",
                format!(
                    "is `{}`, must be an e-mail address of at most 254 bytes",
                    shown(text)
                ),
            ))
        }
    }

    /// Parses a user name of an identity store; case is kept.
    ///
    /// # Errors
    /// When it is empty, longer than 128 characters, or holds a control character.
    pub fn user_name(text: &str) -> Result<Self, InvalidValue> {
        Self::named(PrincipalKind::UserName, "`principal.user_name`", 128, text)
    }

    /// Parses the display name of a group; case is kept.
    ///
    /// # Errors
    /// When it is empty, longer than 1,024 characters, or holds a control character.
    pub fn group(text: &str) -> Result<Self, InvalidValue> {
        Self::named(PrincipalKind::Group, "`principal.group`", 1024, text)
    }

    fn named(
        kind: PrincipalKind,
        field: &'static str,
        most: usize,
        text: &str,
    ) -> Result<Self, InvalidValue> {
        let count = text.chars().count();
        if count == 0 || count > most || text.chars().any(char::is_control) {
            let problem = format!(
                "is `{}`, must be 1 to {most} characters, none of them a control character",
                shown(text)
            );
            return Err(InvalidValue::new(field, problem));
        }
        Ok(Self {
            kind,
            name: text.to_owned(),
        })
    }

    /// Parses the text form, as [`fmt::Display`] gives it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_text(text: &str) -> Result<Self, InvalidValue> {
        if let Some(name) = text.strip_prefix(USER_PREFIX) {
            Self::user_name(name)
        } else if let Some(name) = text.strip_prefix(GROUP_PREFIX) {
            Self::group(name)
        } else {
            Self::parse(text)
        }
    }

    /// Returns by what the principal is known.
    #[must_use]
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// Returns the address or name alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            PrincipalKind::Email => "",
            PrincipalKind::UserName => USER_PREFIX,
            PrincipalKind::Group => GROUP_PREFIX,
        })?;
        f.write_str(&self.name)
    }
}

/// The name of a database user we make: ASCII `a-z`, `0-9`, `_` only, at most 63 bytes, ending in `_apono`, never starting with `pg_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginName(String);

impl LoginName {
    /// What every name of ours ends in.
    pub const SUFFIX: &'static str = "_apono";
    /// The server cuts longer names silently, in every statement and at login.
    pub const MAX_BYTES: usize = 63;
    const HASH_CHARS: usize = 8;

    /// Derives the plain name: local part, lower case, other characters to `_`, cut to fit.
    #[must_use]
    pub fn derive(principal: &Principal) -> Self {
        let room = Self::MAX_BYTES - Self::SUFFIX.len();
        Self(format!("{}{}", Self::stem(principal, room), Self::SUFFIX))
    }

    /// Derives the name used when the plain one is taken by another principal or another connector.
    ///
    /// `salt` keeps two connectors on one server apart; the same principal and salt give the same name.
    #[must_use]
    pub fn derive_distinct(principal: &Principal, salt: &str) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(format!("{salt}\0{principal}"));
        let hash: String = digest
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 0xf])
            .take(Self::HASH_CHARS)
            .map(|nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0'))
            .collect();
        let room = Self::MAX_BYTES - Self::SUFFIX.len() - 1 - Self::HASH_CHARS;
        Self(format!(
            "{}_{hash}{}",
            Self::stem(principal, room),
            Self::SUFFIX
        ))
    }

    /// Accepts a name read back from a record of ours.
    ///
    /// # Errors
    /// When the name could not have been derived by us.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let fits = text.len() <= Self::MAX_BYTES
            && text.len() > Self::SUFFIX.len()
            && text.ends_with(Self::SUFFIX)
            && !text.starts_with("pg_")
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue::new(
                "`login`",
                format!(
                    "is `{}`, must be a name ending in `_apono` of at most 63 bytes",
                    shown(text)
                ),
            ))
        }
    }

    /// Returns the name, unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn stem(principal: &Principal, room: usize) -> String {
        let local = principal.as_str().split('@').next().unwrap_or_default();
        let stem: String = local
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .collect();
        // `pg_` is reserved by the server.
        let stem = if stem.starts_with("pg_") {
            format!("u_{stem}")
        } else {
            stem
        };
        stem.chars().take(room).collect()
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(email: &str, expect: &str) {
        let principal = Principal::parse(email).unwrap();
        let login = LoginName::derive(&principal);
        assert_eq!(login.as_str(), expect);
        assert_eq!(LoginName::parse(login.as_str()), Ok(login));
    }

    #[test]
    fn login_is_the_local_part_in_lower_case_with_our_suffix() {
        check("alice@example.com", "alice_apono");
        check("Bob.Smith+ops@example.com", "bob_smith_ops_apono");
        check("zoë@example.com", "zo__apono");
        check("a\"b;drop@example.com", "a_b_drop_apono");
        check("😀@example.com", "__apono");
    }

    #[test]
    fn login_never_starts_with_the_reserved_prefix() {
        check("pg_read@example.com", "u_pg_read_apono");
    }

    #[test]
    fn login_is_cut_to_63_bytes_and_keeps_the_suffix() {
        let long = format!("{}@example.com", "x".repeat(100));
        let principal = Principal::parse(&long).unwrap();
        assert_eq!(LoginName::derive(&principal).as_str().len(), 63);
        let distinct = LoginName::derive_distinct(&principal, "c1");
        assert_eq!(distinct.as_str().len(), 63);
        assert!(LoginName::parse(distinct.as_str()).is_ok());
    }

    #[test]
    fn distinct_names_differ_by_principal_and_by_salt() {
        let a = Principal::parse("alice@one.example").unwrap();
        let b = Principal::parse("alice@two.example").unwrap();
        assert_eq!(LoginName::derive(&a), LoginName::derive(&b));
        assert_ne!(
            LoginName::derive_distinct(&a, "c1"),
            LoginName::derive_distinct(&b, "c1")
        );
        assert_ne!(
            LoginName::derive_distinct(&a, "c1"),
            LoginName::derive_distinct(&a, "c2")
        );
    }

    #[test]
    fn a_principal_reads_back_from_its_text_form() {
        for principal in [
            Principal::parse("Alice@example.com"),
            Principal::user_name("Alice Smith@corp"),
            Principal::group("group:Admins, EMEA"),
        ] {
            let principal = principal.unwrap();
            assert_eq!(
                Principal::parse_text(&principal.to_string()).unwrap(),
                principal
            );
        }
        assert!(Principal::parse("group:x@y").is_err());
        assert!(Principal::user_name(&"x".repeat(129)).is_err());
        assert!(Principal::group("").is_err());
        assert!(Principal::group("a\nb").is_err());
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b@c",
            "a\n@b",
            "a\0@b",
            &"x".repeat(300),
        ] {
            assert!(Principal::parse(text).is_err(), "{text:?}");
        }
    }
}
