//! Owns the wire types of protocol v1. Never used beyond `control` and the reference control plane.
//!
//! Unknown fields are ignored and missing optional ones have defaults, so that old and new versions mix.
//! Ids are UUIDs, times RFC 3339 in UTC, durations whole seconds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The version of the protocol this code speaks.
pub const VERSION: u32 = 1;
/// Largest body of an answer the connector reads: 4 MiB.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Largest checkpoint: 4 KiB.
pub const MAX_CHECKPOINT_BYTES: usize = 4 << 10;
/// Longest wait of a lease call: 50 s, under the idle limit of common proxies.
pub const MAX_WAIT_S: u32 = 50;
/// Most entries in one page of a list.
pub const MAX_PAGE: usize = 1000;
/// Most ends in one report.
pub const MAX_ENDS: usize = 100;

macro_rules! wire {
    ($(#[$doc:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "reference-plane", derive(utoipa::ToSchema))]
        pub struct $name { $($body)* }
    };
}

mod inventory;

pub use inventory::{
    AccessSpec, DiscoveredSpec, InventoryBase, InventoryLine, InventoryReply, ResourceRecord,
};

wire! {
    /// Comes with every answer.
    pub struct Header {
        /// Names the store; a new one means that it was restored or replaced.
        pub epoch: Uuid,
        /// The control plane's clock.
        pub server_time: Timestamp,
        /// Grows with every change of the list of grants.
        pub grants_revision: u64,
        /// Grows with every change of the list of integrations.
        pub integrations_revision: u64,
    }
}

wire! {
    /// An instance registers.
    pub struct SessionRequest {
        /// Names the instance's state folder; leases of its earlier sessions move to the new one.
        pub instance: Uuid,
        /// The program's version.
        pub version: String,
        /// Lowest protocol version understood.
        pub protocol_min: u32,
        /// Highest protocol version understood.
        pub protocol_max: u32,
        /// Task kinds and target types this instance can do.
        #[serde(default)]
        pub capabilities: Vec<String>,
        /// Where it runs, for people.
        #[serde(default)]
        pub host: String,
    }
}

wire! {
    /// The answer to a registration.
    pub struct SessionReply {
        /// Comes with every answer.
        pub header: Header,
        /// The session's id.
        pub session: Uuid,
        /// The protocol version both sides will speak.
        pub protocol: u32,
        /// How long a lease call may wait, 1 to 50.
        pub poll_wait_s: u32,
        /// How often to send a heartbeat.
        pub heartbeat_s: u32,
        /// How often to renew a lease.
        pub renew_s: u32,
        /// How long a lease lasts.
        pub lease_s: u32,
    }
}

wire! {
    /// Asks for work.
    pub struct LeaseRequest {
        /// The session.
        pub session: Uuid,
        /// Free places for any task.
        pub free_any: u32,
        /// Free places kept for ends.
        pub free_end: u32,
        /// Tasks in hand; what is leased to this session and not among them is sent again.
        #[serde(default)]
        pub held: Vec<Uuid>,
        /// How long to wait for work, at most 50.
        pub wait_s: u32,
        /// The revision of the list of grants the instance has; a newer one ends the wait.
        #[serde(default)]
        pub grants_revision: u64,
        /// The revision of the list of integrations the instance has; a newer one ends the wait.
        #[serde(default)]
        pub integrations_revision: u64,
    }
}

wire! {
    /// Work, or none.
    pub struct LeaseReply {
        /// Comes with every answer.
        pub header: Header,
        /// The tasks; each is understood for itself.
        #[cfg_attr(feature = "reference-plane", schema(value_type = Vec<LeasedTask>))]
        pub tasks: Vec<serde_json::Value>,
    }
}

wire! {
    /// One order.
    pub struct LeasedTask {
        /// The task's id; the same through all deliveries.
        pub id: Uuid,
        /// Which delivery this is, counting from 1.
        pub attempt: u32,
        /// What to do: `check-integration`, `sync-integration`, `grant-access`, `extend-access`, `revoke-access`, `reset-credentials`, `delete-credentials`, `collect-audit`. A connector answers a kind it does not know with `failed`, reason `unsupported`.
        pub kind: String,
        /// In which integration.
        pub integration: Uuid,
        /// When the order was made; a start is valid 10 minutes from here.
        pub issued_at: Timestamp,
        /// Until when the holder may act.
        pub lease_deadline: Timestamp,
        /// The last checkpoint a holder of any task about the same grant left, at most 4 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub checkpoint: Option<String>,
        /// The grant the order is about; missing only for `check-integration` and `sync-integration`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub grant: Option<GrantSpec>,
        /// Whom to seal a credential to: an age public key (`age1…`) or an `ssh-ed25519` public key line. For `grant-access` and `reset-credentials`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub recipient: Option<String>,
    }
}

wire! {
    /// One grant, with all that is needed to make it and to end it.
    pub struct GrantSpec {
        /// The grant's id; one for its whole life.
        pub id: Uuid,
        /// In which integration.
        pub integration: Uuid,
        /// Who.
        pub principal: PrincipalSpec,
        /// On what.
        pub resource: ResourceSpec,
        /// How much: `READ_ONLY`, `READ_WRITE` or `ADMIN`; `MEMBER` for an existing role or group, `ASSUME` for an IAM role, `ATTACH` for a
        /// managed policy; for an account of an organization the name of a permission set.
        pub permission: String,
        /// When it ends, always.
        pub expiry: Timestamp,
    }
}

wire! {
    /// A person or a group; exactly one of the three.
    #[derive(Default)]
    pub struct PrincipalSpec {
        /// A person's e-mail address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub email: Option<String>,
        /// A person's name in the identity store of an organization.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub user_name: Option<String>,
        /// The display name of a group in the identity store of an organization.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub group: Option<String>,
    }
}

wire! {
    /// A resource.
    pub struct ResourceSpec {
        /// Its type, for example `postgresql-schema`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Names, outermost first, for example `["app", "public"]`.
        pub path: Vec<String>,
    }
}

wire! {
    /// A sign of life for one task.
    pub struct RenewRequest {
        /// The session.
        pub session: Uuid,
        /// Which delivery.
        pub attempt: u32,
        /// What is being done, for people.
        #[serde(default)]
        pub progress: String,
        /// What must be known to end the grant or to go on with it, at most 4 KiB. Kept with the grant from this answer on; where the
        /// grant is being ended already, the answer cancels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub checkpoint: Option<String>,
    }
}

wire! {
    /// The answer to a renewal.
    pub struct RenewReply {
        /// Comes with every answer.
        pub header: Header,
        /// The new deadline.
        pub lease_deadline: Timestamp,
        /// Whether the order was taken back.
        #[serde(default)]
        pub cancel: bool,
    }
}

wire! {
    /// Hands a task back.
    pub struct ReleaseRequest {
        /// The session.
        pub session: Uuid,
        /// Which delivery.
        pub attempt: u32,
    }
}

wire! {
    /// Reports how a task ended.
    pub struct ResultRequest {
        /// The session.
        pub session: Uuid,
        /// Which delivery.
        pub attempt: u32,
        /// How it ended.
        pub outcome: Outcome,
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "reference-plane", derive(utoipa::ToSchema))]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// Done as ordered. For an end: closed and clean.
    Succeeded {
        /// For `grant-access`, `extend-access`, `reset-credentials`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<StartSpec>,
        /// For `revoke-access`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<EndSpec>,
    },
    /// The access is gone; clean-up is still going on. Final for the task: the clean end follows through `ends`.
    Closed {
        /// How it ended.
        end: EndSpec,
    },
    /// Not done.
    Failed {
        /// `transient`, `throttled`, `unauthorised`, `not_found`, `conflict`, `needs_operator` or `bug`.
        class: String,
        /// Stable snake_case code.
        reason: String,
        /// One sentence naming the object.
        message: String,
        /// The exact fix, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        /// Earliest useful time of another delivery, from now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u64>,
    },
}

wire! {
    /// What the requester needs to use the access.
    pub struct StartSpec {
        /// The database user, or the user the access was given to.
        pub login: String,
        /// When the access became usable.
        pub started_at: Timestamp,
        /// The expiry now in force.
        pub expiry: Timestamp,
        /// `new`, `unchanged` or `none`.
        pub credential: String,
        /// ASCII-armoured age ciphertext; only with `new`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sealed_credential: Option<String>,
        /// What else the requester needs, at most 20 lines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub details: Vec<DetailSpec>,
    }
}

wire! {
    /// One line of a report; never a secret.
    pub struct DetailSpec {
        /// Stable snake_case name, for example `sign_in_url`.
        pub name: String,
        /// The value, at most 4,000 characters.
        pub value: String,
    }
}

wire! {
    /// How a grant ended, with the proof.
    pub struct EndSpec {
        /// Which grant.
        pub grant: Uuid,
        /// In which integration.
        pub integration: Uuid,
        /// When the access was taken away.
        pub ended_at: Timestamp,
        /// `expired`, `revoked`, `revoke_all`, `start_failed` or `drift`.
        pub reason: String,
        /// Sessions seen before they were ended.
        pub sessions_before: u32,
        /// Sessions left.
        pub sessions_after: u32,
        /// Whether clean-up is complete.
        pub clean: bool,
        /// What is left and who must do what about it.
        #[serde(default)]
        pub leftovers: Vec<String>,
        /// What else was seen, at most 20 lines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub details: Vec<DetailSpec>,
    }
}

wire! {
    /// Reports grants that ended without an order, or became clean.
    pub struct EndsRequest {
        /// The session.
        pub session: Uuid,
        /// At most 100.
        pub ends: Vec<EndSpec>,
    }
}

wire! {
    /// Acknowledges a call that has nothing else to say.
    pub struct Acknowledged {
        /// Comes with every answer.
        pub header: Header,
    }
}

wire! {
    /// How an instance is.
    pub struct HeartbeatRequest {
        /// The session.
        pub session: Uuid,
        /// Whether starts are frozen.
        pub frozen: bool,
        /// Tasks being worked on.
        pub running: u32,
        /// Expiry of the oldest grant that should have ended and has not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub oldest_overdue_end: Option<Timestamp>,
        /// Reports not yet acknowledged.
        #[serde(default)]
        pub outbox: u32,
        /// Whether the ledger can be written.
        pub ledger_ok: bool,
        /// Names the local rules in force.
        #[serde(default)]
        pub guardrails_digest: String,
        /// How each integration is.
        #[serde(default)]
        pub integrations: Vec<IntegrationHealthSpec>,
    }
}

wire! {
    /// How one integration is.
    pub struct IntegrationHealthSpec {
        /// Which.
        pub integration: Uuid,
        /// `initializing`, `refreshing`, `active`, `warning`, `error` or `disabled`.
        pub status: String,
        /// What to do about it; empty when nothing.
        #[serde(default)]
        pub message: String,
    }
}

wire! {
    /// A page of the list of grants.
    pub struct GrantsReply {
        /// Comes with every answer.
        pub header: Header,
        /// Up to which revision this page goes.
        pub through: u64,
        /// The grants.
        #[cfg_attr(feature = "reference-plane", schema(value_type = Vec<GrantEntry>))]
        pub grants: Vec<serde_json::Value>,
    }
}

wire! {
    /// One grant of the list.
    pub struct GrantEntry {
        /// What it is.
        pub grant: GrantSpec,
        /// Whether an end verified at the target was reported.
        #[serde(default)]
        pub ended: bool,
        /// The last checkpoint a holder of a task about it left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub checkpoint: Option<String>,
    }
}

wire! {
    /// A page of the list of integrations.
    pub struct IntegrationsReply {
        /// Comes with every answer.
        pub header: Header,
        /// Up to which revision this page goes.
        pub through: u64,
        /// The integrations.
        #[cfg_attr(feature = "reference-plane", schema(value_type = Vec<IntegrationSpec>))]
        pub integrations: Vec<serde_json::Value>,
    }
}

wire! {
    /// One integration.
    pub struct IntegrationSpec {
        /// Its id.
        pub id: Uuid,
        /// What people call it.
        pub name: String,
        /// The kind of system, for example `postgresql`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Settings by name.
        #[serde(default)]
        pub settings: BTreeMap<String, String>,
        /// Where the credential is, for example `file:/run/secrets/orders`, `aws-secretsmanager:orders`, `kubernetes:apono/orders` or `vault:kv/orders`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub secret: Option<String>,
        /// `active`, `retiring` (no starts, settings kept) or `retired` (nothing of ours is left).
        pub state: String,
    }
}

wire! {
    /// The body of every answer with an error status.
    pub struct ErrorReply {
        /// What went wrong.
        pub error: ErrorSpec,
    }
}

wire! {
    /// What went wrong.
    pub struct ErrorSpec {
        /// Stable snake_case code.
        pub reason: String,
        /// One sentence naming the object.
        pub message: String,
        /// The exact fix, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hint: Option<String>,
    }
}
