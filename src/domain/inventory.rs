//! Owns one line of inventory: something that exists and could be granted.

use super::{Permission, ResourceKind};

/// One thing that exists in an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryRecord {
    /// Stable id: the same thing has the same id in every sync.
    pub id: String,
    /// The id the system itself uses, for example an oid.
    pub native_id: String,
    /// Last name of the path.
    pub name: String,
    /// Names, outermost first.
    pub path: Vec<String>,
    /// Kind of resource.
    pub kind: ResourceKind,
    /// `table`, `view`, `materialized view`, `foreign table`, `partitioned table` for tables; otherwise empty.
    pub flavour: String,
    /// Who owns it, in the words of the system.
    pub owner: Option<String>,
    /// What people wrote on it.
    pub comment: Option<String>,
    /// What can be asked for.
    pub permissions: Vec<Permission>,
    /// Whether it can be granted now.
    pub status: RecordStatus,
}

/// Whether a resource can be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordStatus {
    /// Can be granted.
    Active,
    /// Exists but cannot be granted; says why and what to do.
    Error(String),
}
