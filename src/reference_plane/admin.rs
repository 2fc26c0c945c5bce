//! Owns the wire types of the admin API. Never used by the connector.

use crate::control::protocol::{
    AccessSpec, DetailSpec, DiscoveredSpec, ErrorSpec, GrantSpec, HeartbeatRequest, PrincipalSpec,
    ResourceRecord, ResourceSpec, StartSpec,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Adds an integration.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewIntegration {
    /// Which connector manages it.
    pub connector: String,
    /// What people call it; unique among those not retired, 1 to 100 bytes.
    pub name: String,
    /// The kind of system, for example `postgresql`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Settings by name, at most 50 of at most 4 KiB.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Where the connector finds the credential, for example `file:/run/secrets/orders`, `aws-secretsmanager:orders`, `kubernetes:apono/orders` or
    /// `vault:kv/orders`; never the credential.
    #[serde(default)]
    pub secret: Option<String>,
}

/// An integration as people see it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IntegrationView {
    /// Its id.
    pub id: Uuid,
    /// Which connector manages it.
    pub connector: String,
    /// What people call it.
    pub name: String,
    /// The kind of system.
    #[serde(rename = "type")]
    pub kind: String,
    /// Settings by name.
    pub settings: BTreeMap<String, String>,
    /// Where the connector finds the credential.
    pub secret: Option<String>,
    /// `active`, `retiring` or `retired`.
    pub state: String,
    /// What the connector says of it: `initializing`, `refreshing`, `active`, `warning`, `error` or `disabled`.
    pub status: String,
    /// What to do about it; empty when nothing.
    pub message: String,
    /// The integration in whose inventory it was found; nothing for one that was configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_in: Option<String>,
    /// How many resources the last inventory has.
    pub resources: u64,
    /// When the walk of the last inventory began.
    pub inventory_at: Option<Timestamp>,
}

/// Integrations.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IntegrationViews {
    /// All of them, by name.
    pub integrations: Vec<IntegrationView>,
}

/// Something in an inventory that asks by itself to be managed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiscoveredView {
    /// Its id in the inventory.
    pub id: String,
    /// Its type, for example `aws-rds-instance`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What people call it.
    pub name: String,
    /// Names, outermost first.
    pub path: Vec<String>,
    /// `added`, `ready` (can be added) or `incomplete`.
    pub status: String,
    /// What is in the way; only with `incomplete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The integration it became last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<String>,
    /// What it asks for.
    pub asks: DiscoveredSpec,
}

/// A page of what asks by itself to be managed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiscoveredPage {
    /// At most 1,000, in the order of their paths.
    pub discovered: Vec<DiscoveredView>,
    /// Where to go on; nothing at the end.
    pub next: Option<u64>,
}

/// Makes an integration of something that was found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewDiscovered {
    /// Which: its id, its name, or the names of its path with `/` between them.
    pub resource: String,
    /// What people will call it; the name it asks for where missing.
    #[serde(default)]
    pub name: Option<String>,
    /// Settings beside and above those it asks for.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// The answer to an order: the task to watch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Ordered {
    /// The task; nothing when the order needed none.
    pub task: Option<Uuid>,
}

/// Asks for access.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewGrant {
    /// In which integration, by id or name.
    pub integration: String,
    /// Who.
    pub principal: PrincipalSpec,
    /// On what.
    pub resource: ResourceSpec,
    /// How much, as in the grant of a task.
    pub permission: String,
    /// When it ends; or say `duration_s`.
    #[serde(default)]
    pub expiry: Option<Timestamp>,
    /// How long it lasts from now; or say `expiry`.
    #[serde(default)]
    pub duration_s: Option<u64>,
    /// Whom to seal the credential to: an age public key (`age1…`) or an `ssh-ed25519` public key line.
    pub recipient: String,
    /// The same key with the same request gives the same grant; with another request it is refused.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}

/// The answer to a request for access.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Granted {
    /// The grant.
    pub grant: GrantView,
    /// The task that starts it.
    pub task: Uuid,
}

/// Moves the expiry of a grant. Exactly one of the two is needed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewExpiry {
    /// When it ends.
    #[serde(default)]
    pub expiry: Option<Timestamp>,
    /// How long it lasts from now.
    #[serde(default)]
    pub duration_s: Option<u64>,
}

/// Asks for a new password of a live grant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewCredential {
    /// Whom to seal it to.
    pub recipient: String,
}

/// A grant as people see it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantView {
    /// What it is.
    pub grant: GrantSpec,
    /// The name of its integration.
    pub integration_name: String,
    /// `requested`, `starting`, `active`, `ending`, `closed` (no access, clean-up goes on), `ended` or `failed` (never had access).
    pub state: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// An expiry that was ordered and not yet confirmed.
    pub wanted_expiry: Option<Timestamp>,
    /// When the access became usable.
    pub started_at: Option<Timestamp>,
    /// The database user.
    pub login: Option<String>,
    /// `new`, `unchanged` or `none`.
    pub credential: Option<String>,
    /// ASCII-armoured age ciphertext of the last credential, for the recipient alone.
    pub sealed_credential: Option<String>,
    /// When the access was taken away.
    pub ended_at: Option<Timestamp>,
    /// `expired`, `revoked`, `revoke_all`, `start_failed` or `drift`.
    pub end_reason: Option<String>,
    /// Sessions seen before they were ended.
    pub sessions_before: Option<u32>,
    /// Sessions left.
    pub sessions_after: Option<u32>,
    /// Whether clean-up is complete.
    pub clean: bool,
    /// What is left and who must do what about it.
    pub leftovers: Vec<String>,
    /// What the start gave besides a credential: links, commands, policies.
    pub details: Vec<DetailSpec>,
    /// What else was seen at the end.
    pub end_details: Vec<DetailSpec>,
    /// Why the start failed.
    pub failure: Option<ErrorSpec>,
}

/// Grants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantViews {
    /// The grants, newest last; at most 1,000 in one answer.
    pub grants: Vec<GrantView>,
    /// Where to go on; nothing at the end.
    pub next: Option<Uuid>,
}

/// A task as people see it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// Its id.
    pub id: Uuid,
    /// What to do.
    pub kind: String,
    /// The grant it is about.
    pub grant: Option<Uuid>,
    /// `queued`, `leased`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// How many times it was delivered.
    pub attempt: u32,
    /// What its holder last said.
    pub progress: String,
    /// The last failure; with `queued` it is tried again.
    pub failure: Option<ErrorSpec>,
    /// What a start, an extension or a reset gave.
    pub start: Option<StartSpec>,
}

/// An instance as people see it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// The connector it belongs to.
    pub connector: String,
    /// Names its state folder.
    pub instance: Uuid,
    /// Its session.
    pub session: Uuid,
    /// The program's version.
    pub version: String,
    /// Where it runs.
    pub host: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// When it registered.
    pub opened_at: Timestamp,
    /// When it was last heard of.
    pub seen_at: Timestamp,
    /// What it last said of itself.
    pub heartbeat: Option<HeartbeatRequest>,
}

/// Instances.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InstanceViews {
    /// The instances heard of in the last week.
    pub instances: Vec<InstanceView>,
}

/// How old a line of an inventory is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Age {
    /// When it was first reported.
    pub first_seen_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// When a walk last came by it: earlier than the last inventory where that could not look, 1970 where none ever could.
    pub seen_at: Timestamp,
    /// When a complete walk first missed it; such lines are kept for 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<Timestamp>,
}

/// A resource with its age.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InventoryEntry {
    /// The resource; its status may also be `deleted`.
    #[serde(flatten)]
    pub resource: ResourceRecord,
    /// How old that is.
    pub age: Age,
}

/// A page of an inventory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InventoryPage {
    /// The inventory's revision.
    pub revision: u64,
    /// At most 1,000 resources, in the order of their paths.
    pub resources: Vec<InventoryEntry>,
    /// Where to go on; nothing at the end.
    pub next: Option<u64>,
}

/// Access no connector gave, with its age.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StandingAccess {
    /// The access.
    #[serde(flatten)]
    pub access: AccessSpec,
    /// How old that is.
    pub age: Age,
}

/// A page of who has access already.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccessPage {
    /// The inventory's revision.
    pub revision: u64,
    /// At most 1,000, in the order of what it is access to.
    pub access: Vec<StandingAccess>,
    /// Where to go on; nothing at the end.
    pub next: Option<u64>,
}
