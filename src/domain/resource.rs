//! Owns what access is given to: a kind, a path of names, and the permissions each kind knows.

use super::{InvalidValue, shown};
use std::fmt;

/// A type of resource. What can only be seen in the inventory has no permissions.
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
    /// An account of an AWS organization, entered by a permission set. Path: `[account id]`.
    AwsOrganizationAccount,
    /// An organizational unit, seen only. Path: `[id]`.
    AwsOrganizationalUnit,
    /// A permission set of IAM Identity Center, seen only. Path: `[name]`.
    AwsPermissionSet,
    /// A user of IAM Identity Center, seen only. Path: `[user name]`.
    AwsIdentityUser,
    /// A group of IAM Identity Center, seen only. Path: `[display name]`.
    AwsIdentityGroup,
    /// An IAM role. Path: `[name]`.
    AwsIamRole,
    /// An IAM group. Path: `[name]`.
    AwsIamGroup,
    /// A managed IAM policy. Path: `[ARN]`.
    AwsIamPolicy,
    /// An S3 bucket. Path: `[name]`.
    AwsS3Bucket,
    /// An EC2 instance, seen only. Path: `[instance id]`.
    AwsEc2Instance,
    /// An RDS instance, seen only: access to it is that of a PostgreSQL server. Path: `[instance id]`.
    AwsRdsInstance,
    /// An RDS cluster, seen only. Path: `[cluster id]`.
    AwsRdsCluster,
}

/// What makes one kind of resource.
struct Traits {
    name: &'static str,
    /// What its path is made of, outermost first.
    segments: &'static [&'static str],
    /// Longest name of its path in bytes.
    longest: usize,
    permissions: &'static [Permission],
}

/// PostgreSQL cuts longer names.
const POSTGRES_NAME: usize = 63;
/// IAM takes names of 128 characters at most, ARNs of 2,048.
const AWS_NAME: usize = 2048;
const LEVELS: &[Permission] = &[
    Permission::ReadOnly,
    Permission::ReadWrite,
    Permission::Admin,
];

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::PostgresDatabase,
        Self::PostgresSchema,
        Self::PostgresTable,
        Self::PostgresRole,
        Self::AwsOrganizationAccount,
        Self::AwsOrganizationalUnit,
        Self::AwsPermissionSet,
        Self::AwsIdentityUser,
        Self::AwsIdentityGroup,
        Self::AwsIamRole,
        Self::AwsIamGroup,
        Self::AwsIamPolicy,
        Self::AwsS3Bucket,
        Self::AwsEc2Instance,
        Self::AwsRdsInstance,
        Self::AwsRdsCluster,
    ];

    const fn traits(self) -> Traits {
        let (name, segments, longest, permissions): (_, &'static [&'static str], _, &'static [_]) =
            match self {
                Self::PostgresDatabase => {
                    ("postgresql-database", &["database"], POSTGRES_NAME, LEVELS)
                }
                Self::PostgresSchema => {
                    let segments = &["database", "schema"];
                    ("postgresql-schema", segments, POSTGRES_NAME, LEVELS)
                }
                Self::PostgresTable => {
                    let segments = &["database", "schema", "table"];
                    ("postgresql-table", segments, POSTGRES_NAME, LEVELS)
                }
                Self::PostgresRole => {
                    let permissions = &[Permission::Member];
                    ("postgresql-role", &["role"], POSTGRES_NAME, permissions)
                }
                Self::AwsOrganizationAccount => {
                    ("aws-organization-account", &["account"], AWS_NAME, &[])
                }
                Self::AwsOrganizationalUnit => ("aws-organizational-unit", &["id"], AWS_NAME, &[]),
                Self::AwsPermissionSet => ("aws-permission-set", &["name"], AWS_NAME, &[]),
                Self::AwsIdentityUser => ("aws-identity-user", &["user name"], AWS_NAME, &[]),
                Self::AwsIdentityGroup => ("aws-identity-group", &["display name"], AWS_NAME, &[]),
                Self::AwsIamRole => ("aws-iam-role", &["role"], AWS_NAME, &[Permission::Assume]),
                Self::AwsIamGroup => ("aws-iam-group", &["group"], AWS_NAME, &[Permission::Member]),
                Self::AwsIamPolicy => (
                    "aws-iam-policy",
                    &["policy"],
                    AWS_NAME,
                    &[Permission::Attach],
                ),
                Self::AwsS3Bucket => ("aws-s3-bucket", &["bucket"], AWS_NAME, LEVELS),
                Self::AwsEc2Instance => ("aws-ec2-instance", &["instance"], AWS_NAME, &[]),
                Self::AwsRdsInstance => ("aws-rds-instance", &["instance"], AWS_NAME, &[]),
                Self::AwsRdsCluster => ("aws-rds-cluster", &["cluster"], AWS_NAME, &[]),
            };
        Traits {
            name,
            segments,
            longest,
            permissions,
        }
    }

    /// Returns the name used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.traits().name
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

    /// Returns the permissions every resource of this kind knows.
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        self.traits().permissions
    }

    /// Tells whether access to it can be given at all.
    #[must_use]
    pub fn is_grantable(self) -> bool {
        self.takes_named_permissions() || !self.permissions().is_empty()
    }

    /// Tells whether it is something in a PostgreSQL server.
    #[must_use]
    pub fn is_postgresql(self) -> bool {
        matches!(
            self,
            Self::PostgresDatabase
                | Self::PostgresSchema
                | Self::PostgresTable
                | Self::PostgresRole
        )
    }

    /// Tells whether its permissions are names of things in the system itself, which only its target can look up.
    #[must_use]
    pub fn takes_named_permissions(self) -> bool {
        self == Self::AwsOrganizationAccount
    }

    /// Tells whether those who have access to it are found by looking into it. What could not be looked into has unknown access then.
    /// Who has access to a database is found without entering it.
    #[must_use]
    pub fn has_access_within(self) -> bool {
        self == Self::AwsOrganizationAccount
    }

    /// Tells whether access to it can be given to a group of people.
    #[must_use]
    pub fn takes_groups(self) -> bool {
        self == Self::AwsOrganizationAccount
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
    /// Read and change rows or objects.
    ReadWrite,
    /// Read, change and create; never ownership, grant option or membership of an owner.
    Admin,
    /// Be a member of an existing role or group: its rights are whatever it has.
    Member,
    /// Take on an existing IAM role.
    Assume,
    /// Have an existing managed policy.
    Attach,
    /// A permission set of that name.
    Named(PermissionName),
}

/// The name of a permission set: 1 to 32 letters, digits and `_+=,.@-`; never one of the fixed levels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermissionName {
    /// ASCII; what is beyond the name is zero.
    bytes: [u8; Self::MAX_BYTES],
    length: usize,
}

impl PermissionName {
    /// The service takes no longer name.
    pub const MAX_BYTES: usize = 32;

    fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
        let mut name = Self {
            bytes: [0; Self::MAX_BYTES],
            length: text.len(),
        };
        if fits {
            name.bytes
                .get_mut(..text.len())?
                .copy_from_slice(text.as_bytes());
        }
        fits.then_some(name)
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let name = self.bytes.get(..self.length).unwrap_or_default();
        str::from_utf8(name).unwrap_or_default()
    }
}

impl fmt::Debug for PermissionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Permission {
    /// Every fixed level.
    pub const LEVELS: [Self; 6] = [
        Self::ReadOnly,
        Self::ReadWrite,
        Self::Admin,
        Self::Member,
        Self::Assume,
        Self::Attach,
    ];

    /// Returns the name used on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::ReadOnly => "READ_ONLY",
            Self::ReadWrite => "READ_WRITE",
            Self::Admin => "ADMIN",
            Self::Member => "MEMBER",
            Self::Assume => "ASSUME",
            Self::Attach => "ATTACH",
            Self::Named(name) => name.as_str(),
        }
    }

    /// Parses the wire name: a fixed level, or the name of a permission set.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if let Some(level) = Self::LEVELS
            .into_iter()
            .find(|level| level.as_str() == text)
        {
            return Ok(level);
        }
        if let Some(name) = PermissionName::parse(text) {
            return Ok(Self::Named(name));
        }
        let levels: Vec<_> = Self::LEVELS
            .iter()
            .map(|level| format!("`{level}`"))
            .collect();
        Err(InvalidValue::new(
            "`permission`",
            format!(
                "is `{}`, must be one of {}, or the name of a permission set: 1 to 32 letters, digits and `_+=,.@-`",
                shown(text),
                levels.join(", ")
            ),
        ))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One resource of an integration: a kind and as many names as that kind needs, each without NUL and 1 to 63 bytes long, for AWS 1 to
/// 2,048; an account id is 12 digits.
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
        let Traits {
            segments: wanted,
            longest,
            ..
        } = kind.traits();
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
            if name.is_empty() || name.len() > longest || name.contains('\0') {
                return Err(InvalidValue::new(
                    format!("`resource.path`: {segment}"),
                    format!(
                        "is `{}` ({} bytes), must be 1 to {longest} bytes without NUL",
                        shown(name),
                        name.len()
                    ),
                ));
            }
            if kind == ResourceKind::AwsOrganizationAccount && !is_account_id(name) {
                return Err(InvalidValue::new(
                    format!("`resource.path`: {segment}"),
                    format!("is `{}`, must be 12 digits", shown(name)),
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

    /// Returns the database the resource lives in, or nothing for what is not in a database.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        match self.kind {
            ResourceKind::PostgresDatabase
            | ResourceKind::PostgresSchema
            | ResourceKind::PostgresTable => self.path.first().map(String::as_str),
            ResourceKind::PostgresRole
            | ResourceKind::AwsOrganizationAccount
            | ResourceKind::AwsOrganizationalUnit
            | ResourceKind::AwsPermissionSet
            | ResourceKind::AwsIdentityUser
            | ResourceKind::AwsIdentityGroup
            | ResourceKind::AwsIamRole
            | ResourceKind::AwsIamGroup
            | ResourceKind::AwsIamPolicy
            | ResourceKind::AwsS3Bucket
            | ResourceKind::AwsEc2Instance
            | ResourceKind::AwsRdsInstance
            | ResourceKind::AwsRdsCluster => None,
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

fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}
