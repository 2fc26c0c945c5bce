//! Owns the wire form of an inventory upload. Never used beyond `control` and the reference control plane.

use super::Header;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One line of an inventory upload (NDJSON, gzip).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "reference-plane", derive(utoipa::ToSchema))]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum InventoryLine {
    /// First line of a part. Without a base the upload is full: what it does not name is gone once it is committed.
    Begin {
        /// Names the upload; the same in all its parts.
        upload: Uuid,
        /// Which part this is, from 0.
        #[serde(default)]
        part: u32,
        /// The inventory the changes are based on; nothing for a full upload. The same in all parts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<InventoryBase>,
    },
    /// A resource that exists.
    Upsert {
        /// The resource.
        resource: ResourceRecord,
    },
    /// Access that exists and was not given by a connector.
    Access {
        /// The access.
        access: AccessSpec,
    },
    /// A resource or an access that is gone; only with a base. Counts only if no other line of the upload brings it.
    Delete {
        /// Its stable id.
        id: String,
    },
    /// What is within this could not be looked at and stays as it was, whatever else the upload says. Access to an account of an
    /// organization counts as within the account, and a resource as within its `part`.
    Unseen {
        /// Names, outermost first.
        under: Vec<String>,
    },
    /// What is within this and not in the upload is gone; only with a base.
    Replace {
        /// Names, outermost first.
        under: Vec<String>,
    },
    /// Last line of a part; another part follows.
    More {
        /// How many lines there were between the first and this one.
        count: u64,
    },
    /// Last line of the last part; without it nothing changes.
    Commit {
        /// How many lines there were in all parts, without the first and last line of each.
        count: u64,
    },
}

wire! {
    /// Names an inventory changes can be based on.
    #[derive(Copy, Eq)]
    pub struct InventoryBase {
        /// The epoch it was committed in.
        pub epoch: Uuid,
        /// Its revision.
        pub revision: u64,
    }
}

wire! {
    /// One resource of an inventory.
    pub struct ResourceRecord {
        /// Stable id, at most 64 characters.
        pub id: String,
        /// The system's own id.
        pub native_id: String,
        /// What people call it; for most types the last name of the path.
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
        /// What people wrote on it in the form of tags: at most 50, keys at most 128 characters, values at most 256.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub tags: BTreeMap<String, String>,
        /// What else is known of it, by what it is, for example `session_duration`: values at most 4000 characters.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub context: BTreeMap<String, String>,
        /// What can be asked for by a fixed name. Empty for an account of an organization: the permission sets are resources of their own.
        pub permissions: Vec<String>,
        /// `active` or `error`.
        pub status: String,
        /// Why it cannot be granted and what to do; only with `error`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub problem: Option<String>,
        /// The part of the system it was found in, where parts are looked at on their own, for example `rds eu-west-1`. For `unseen` and
        /// `replace` it counts as the outermost name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub part: Option<String>,
        /// The integration it would be; only for what asks by itself to be managed. With status `error` it cannot be one yet, and `problem`
        /// says why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub discovered: Option<Box<DiscoveredSpec>>,
    }
}

wire! {
    /// An integration that was found, not configured. Whether it becomes one is decided at the control plane.
    pub struct DiscoveredSpec {
        /// What people call it.
        pub name: String,
        /// The kind of system, for example `aws-rds-postgresql`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Settings by name.
        #[serde(default)]
        pub settings: BTreeMap<String, String>,
        /// Where the credential is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub secret: Option<String>,
    }
}

wire! {
    /// Access of one holder to one resource that no connector gave.
    pub struct AccessSpec {
        /// Stable id, at most 64 characters, never that of a resource.
        pub id: String,
        /// Who has it; nothing means everybody, as PostgreSQL's `PUBLIC`. In an organization `user:NAME`, `group:NAME`, or the id of
        /// somebody who is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub holder: Option<String>,
        /// Type of the resource.
        #[serde(rename = "type")]
        pub kind: String,
        /// Names of the resource, outermost first.
        pub path: Vec<String>,
        /// What the holder may do, in the words of the system.
        pub privileges: Vec<String>,
        /// What of it the holder may give to others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub may_pass_on: Vec<String>,
    }
}

wire! {
    /// The answer to a part of an inventory upload.
    pub struct InventoryReply {
        /// Comes with every answer.
        pub header: Header,
        /// The part that is awaited next; all before it have arrived.
        #[serde(default)]
        pub next: u32,
        /// The inventory's new revision; only once the upload is committed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub revision: Option<u64>,
    }
}
