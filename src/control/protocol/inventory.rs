//! Owns the wire form of an inventory upload. Never used beyond `control` and the reference control plane.

use super::Header;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One line of an inventory upload (NDJSON, gzip).
#[expect(clippy::large_enum_variant, reason = "short-lived, one at a time")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "reference-plane", derive(utoipa::ToSchema))]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum InventoryLine {
    /// First line. Without a base the upload is full: what it does not name is gone once it is committed.
    Begin {
        /// Names the upload.
        upload: Uuid,
        /// The revision the changes are based on; nothing for a full upload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<u64>,
    },
    /// A resource that exists.
    Upsert {
        /// The resource.
        resource: ResourceRecord,
    },
    /// A resource that is gone; only with a base.
    Delete {
        /// Its stable id.
        id: String,
    },
    /// Last line; without it nothing changes.
    Commit {
        /// How many `upsert` and `delete` lines there were.
        count: u64,
    },
}

wire! {
    /// One resource of an inventory.
    pub struct ResourceRecord {
        /// Stable id.
        pub id: String,
        /// The system's own id.
        pub native_id: String,
        /// Last name of the path.
        pub name: String,
        /// Names, outermost first.
        pub path: Vec<String>,
        /// Its type, for example `postgresql-table`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Finer kind, for example `view`; may be empty.
        #[serde(default)]
        pub flavour: String,
        /// Who owns it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub owner: Option<String>,
        /// What people wrote on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub comment: Option<String>,
        /// What can be asked for.
        pub permissions: Vec<String>,
        /// `active` or `error`.
        pub status: String,
        /// Why it cannot be granted and what to do; only with `error`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub problem: Option<String>,
    }
}

wire! {
    /// The answer to an inventory upload.
    pub struct InventoryReply {
        /// Comes with every answer.
        pub header: Header,
        /// The inventory's new revision.
        pub revision: u64,
    }
}
