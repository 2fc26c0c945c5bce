//! Owns the identifiers. Never lets one kind stand in for another.

use super::{InvalidValue, shown};
use std::fmt;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an id that came from a trusted parser.
            #[must_use]
            pub fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// Makes a new, time-ordered id (UUIDv7).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// Parses the hyphenated text form.
            ///
            /// # Errors
            /// When the text is not a UUID.
            pub fn parse(text: &str) -> Result<Self, InvalidValue> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    InvalidValue::new(
                        concat!("`", stringify!($name), "`"),
                        format!("is `{}`, must be a UUID", shown(text)),
                    )
                })
            }

            /// Returns the bare UUID.
            #[must_use]
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

uuid_id! {
    /// Names one grant for its whole life.
    ///
    /// ```compile_fail
    /// use apono_connector::domain::{GrantId, TaskId};
    /// let task: TaskId = GrantId::generate();
    /// ```
    GrantId
}
uuid_id! {
    /// Names one order of the control plane.
    TaskId
}
uuid_id! {
    /// Names one system under management.
    IntegrationId
}
uuid_id! {
    /// Names one registration of an instance with the control plane.
    SessionId
}
uuid_id! {
    /// Names one state folder, and so one process at a time: it outlives restarts.
    InstanceId
}

/// Names the logical agent: 1 to 64 characters out of `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectorId(String);

impl ConnectorId {
    /// Parses a connector id.
    ///
    /// # Errors
    /// When the text is empty, too long or holds another character.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let fits = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue::new(
                "`connector_id`",
                format!(
                    "is `{}`, must be 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit",
                    shown(text)
                ),
            ))
        }
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
