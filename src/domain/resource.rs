//! Owns what access is given to: a kind, a path of names, and the permissions each kind knows.

use super::{InvalidValue, shown};
use std::fmt;

/// A type of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A whole database. Path: `[database]`.
    PostgresDatabase,
    /// One schema. Path: `[database, schema]`.
    PostgresSchema,
    /// One table, view, materialised view or foreign table. Path: `[database, schema, table]`.
    PostgresTable,
    /// An existing role that is lent out by membership. Path: `[role]`.
    PostgresRole,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::PostgresDatabase,
        Self::PostgresSchema,
        Self::PostgresTable,
        Self::PostgresRole,
    ];

    /// Returns the name used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PostgresDatabase => "postgresql-database",
            Self::PostgresSchema => "postgresql-schema",
            Self::PostgresTable => "postgresql-table",
            Self::PostgresRole => "postgresql-role",
        }
    }

    /// Parses the wire name.
    ///
    /// # Errors
    /// When the kind is unknown; the message lists the known ones.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL
                    .iter()
                    .map(|k| format!("`{}`", k.as_str()))
                    .collect();
                InvalidValue::new(
                    "`resource.type`",
                    format!("is `{}`, must be one of {}", shown(text), known.join(", ")),
                )
            })
    }

    /// Returns the permissions this kind knows.
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        match self {
            Self::PostgresDatabase | Self::PostgresSchema | Self::PostgresTable => &[
                Permission::ReadOnly,
                Permission::ReadWrite,
                Permission::Admin,
            ],
            Self::PostgresRole => &[Permission::Member],
        }
    }

    fn segments(self) -> &'static [&'static str] {
        match self {
            Self::PostgresDatabase => &["database"],
            Self::PostgresSchema => &["database", "schema"],
            Self::PostgresTable => &["database", "schema", "table"],
            Self::PostgresRole => &["role"],
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A named level of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Read what is there and what will be there.
    ReadOnly,
    /// Read and change rows.
    ReadWrite,
    /// Read, change and create; never ownership, grant option or membership of an owner.
    Admin,
    /// Be a member of an existing role: its rights are whatever it has.
    Member,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 4] = [Self::ReadOnly, Self::ReadWrite, Self::Admin, Self::Member];

    /// Returns the name used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "READ_ONLY",
            Self::ReadWrite => "READ_WRITE",
            Self::Admin => "ADMIN",
            Self::Member => "MEMBER",
        }
    }

    /// Parses the wire name.
    ///
    /// # Errors
    /// When the level is unknown; the message lists the known ones.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| {
                InvalidValue::new(
                    "`permission`",
                    format!(
                        "is `{}`, must be one of `READ_ONLY`, `READ_WRITE`, `ADMIN`, `MEMBER`",
                        shown(text)
                    ),
                )
            })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One resource of an integration: a kind and as many names as that kind needs, each 1 to 63 bytes without NUL.
///
/// Names are data, not SQL: quotes, semicolons, newlines and emoji are allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceRef {
    kind: ResourceKind,
    path: Vec<String>,
}

impl ResourceRef {
    /// Checks the number and the form of the names.
    ///
    /// # Errors
    /// When a name is missing, surplus, empty, too long or holds a NUL.
    pub fn new(kind: ResourceKind, path: Vec<String>) -> Result<Self, InvalidValue> {
        let wanted = kind.segments();
        if path.len() != wanted.len() {
            return Err(InvalidValue::new(
                "`resource.path`",
                format!(
                    "has {} names, `{kind}` needs {}: {}",
                    path.len(),
                    wanted.len(),
                    wanted.join(", ")
                ),
            ));
        }
        for (name, segment) in path.iter().zip(wanted) {
            if name.is_empty() || name.len() > 63 || name.contains('\0') {
                return Err(InvalidValue::new(
                    format!("`resource.path`: {segment}"),
                    format!(
                        "is `{}` ({} bytes), must be 1 to 63 bytes without NUL",
                        shown(name),
                        name.len()
                    ),
                ));
            }
        }
        Ok(Self { kind, path })
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Returns the names, outermost first.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Returns the database the resource lives in, or nothing for a role, which belongs to the whole server.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        match self.kind {
            ResourceKind::PostgresRole => None,
            ResourceKind::PostgresDatabase
            | ResourceKind::PostgresSchema
            | ResourceKind::PostgresTable => self.path.first().map(String::as_str),
        }
    }

    /// Returns the schema, for schemas and tables.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.database().and(self.path.get(1)).map(String::as_str)
    }

    /// Returns the last name of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, shown(&self.path.join("/")))
    }
}
