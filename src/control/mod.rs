//! Owns the one conversation with the control plane, outbound only. Never touches a target, never decides what is allowed.

mod convert;
mod error;
#[cfg(any(test, feature = "test-util"))]
pub mod fake;
mod fields;
mod http;
mod parcel;
pub mod protocol;
mod render;

pub use convert::{ParsedTask, parse_task};
pub use error::{ControlError, SetupError};
pub use http::{HttpControlPlane, HttpOptions, OutboundProxy, TimeLimits, TokenSource};
pub use parcel::{InventoryParcel, InventoryPart};
pub use protocol::InventoryBase;

use crate::domain::{
    AccessRecord, Checkpoint, EndReport, Grant, Integration, IntegrationId, InventoryId,
    InventoryRecord, Lease, SessionId, TaskId, TaskOutcome,
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// The control plane, in domain terms.
///
/// # Contract
/// - No call retries by itself: the caller decides from [`ControlError::class`].
/// - Every call is bounded in time and in the size of the answer.
/// - A task may be delivered more than once; a report may be sent more than once.
/// - Every answer brings a [`Header`]; the caller compares it with what it knows.
#[async_trait]
pub trait ControlPlane: Send + Sync {
    /// Registers this instance.
    async fn open_session(&self, hello: &Hello) -> Result<Session, ControlError>;
    /// Waits for work: answered at once when there is some or when a revision changes.
    async fn lease(&self, session: SessionId, ask: &LeaseAsk) -> Result<Leased, ControlError>;
    /// Keeps a lease alive, and leaves a checkpoint for the next holder.
    async fn renew(&self, session: SessionId, renewal: &Renewal) -> Result<Renewed, ControlError>;
    /// Hands back a task no outside effect of which has begun.
    async fn release(
        &self,
        session: SessionId,
        task: TaskId,
        attempt: u32,
    ) -> Result<(), ControlError>;
    /// Reports how a task ended. Idempotent per task and attempt.
    async fn report(&self, session: SessionId, report: &TaskReport) -> Result<(), ControlError>;
    /// Reports grants that ended without an order. Idempotent per grant.
    async fn report_ends(&self, session: SessionId, ends: &[EndReport])
    -> Result<(), ControlError>;
    /// Says how this instance is.
    async fn heartbeat(
        &self,
        session: SessionId,
        heartbeat: &Heartbeat,
    ) -> Result<Header, ControlError>;
    /// Reads the grants that changed since a revision; 0 reads all.
    async fn grants(&self, since: u64) -> Result<GrantsList, ControlError>;
    /// Reads the integrations that changed since a revision; 0 reads all.
    async fn integrations(&self, since: u64) -> Result<IntegrationsList, ControlError>;
    /// Sends one part of an inventory upload. Idempotent per upload and part; nothing is reported before the last part. A
    /// conflict means that the base is not known or the upload is lost.
    async fn send_inventory(
        &self,
        integration: IntegrationId,
        part: &InventoryPart,
    ) -> Result<InventoryReceipt, ControlError>;
}

/// One line of an inventory upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventoryChange {
    /// A resource that is new or changed.
    Resource(Box<InventoryRecord>),
    /// Access that is new or changed.
    Access(Box<AccessRecord>),
    /// What was reported and is gone.
    Gone(InventoryId),
    /// What is within this path could not be looked at.
    Unseen(Vec<String>),
    /// What is within this path and not in the upload is gone.
    Replace(Vec<String>),
}

/// The answer to a part of an inventory upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InventoryReceipt {
    /// What comes with every answer.
    pub header: Header,
    /// What later changes can be based on; only once the upload is committed.
    pub committed: Option<InventoryBase>,
}

/// What an instance says when it registers.
#[derive(Debug, Clone)]
pub struct Hello {
    /// Names the state folder; leases of an earlier session of the same instance move to the new one.
    pub instance: Uuid,
    /// The program's version.
    pub version: String,
    /// Where it runs, for people.
    pub host: String,
}

/// What comes with every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Names the store; a new one means that the control plane was restored.
    pub epoch: Uuid,
    /// The control plane's clock.
    pub server_time: Timestamp,
    /// Revision of the list of grants.
    pub grants_revision: u64,
    /// Revision of the list of integrations.
    pub integrations_revision: u64,
}

/// A registration, with the intervals the control plane wants.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What comes with every answer.
    pub header: Header,
    /// How long a lease call may wait.
    pub poll_wait: Duration,
    /// How often to send a heartbeat.
    pub heartbeat_every: Duration,
    /// How often to renew a lease.
    pub renew_every: Duration,
}

/// What an instance can take.
#[derive(Debug, Clone, Default)]
pub struct LeaseAsk {
    /// Free places for any task.
    pub free_any: u32,
    /// Free places kept for ends.
    pub free_end: u32,
    /// What this instance holds; anything else leased to this session is sent again.
    pub held: Vec<TaskId>,
    /// How long to wait for work.
    pub wait: Duration,
    /// The revision of the list of grants this instance has.
    pub grants_revision: u64,
    /// The revision of the list of integrations this instance has.
    pub integrations_revision: u64,
}

/// What came.
#[derive(Debug)]
pub struct Leased {
    /// What comes with every answer.
    pub header: Header,
    /// The orders, each parsed for itself: one bad order spoils no other.
    pub tasks: Vec<ParsedTask>,
}

/// A sign of life for one task.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// Which task.
    pub task: TaskId,
    /// Which delivery of it.
    pub attempt: u32,
    /// What is being done, for people.
    pub progress: String,
    /// Kept with the grant from the answer on.
    pub checkpoint: Option<Checkpoint>,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy)]
pub struct Renewed {
    /// What comes with every answer.
    pub header: Header,
    /// The new deadline.
    pub deadline: Timestamp,
    /// Whether the order was taken back: stop before the next outside effect.
    pub cancel: bool,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReport {
    /// Which task.
    pub task: TaskId,
    /// Which delivery of it.
    pub attempt: u32,
    /// How it ended.
    pub outcome: TaskOutcome,
}

/// How this instance is.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat {
    /// Whether starts are frozen.
    pub frozen: bool,
    /// Tasks being worked on.
    pub running: u32,
    /// Expiry of the oldest grant that should have ended and has not.
    pub oldest_overdue_end: Option<Timestamp>,
    /// Reports not yet acknowledged.
    pub outbox: u32,
    /// Whether the ledger can be written.
    pub ledger_ok: bool,
    /// Names the rules in force, so that a change is seen.
    pub guardrails_digest: String,
    /// How each integration is.
    pub integrations: Vec<IntegrationHealth>,
}

/// How one integration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationHealth {
    /// Which.
    pub integration: IntegrationId,
    /// The state people see.
    pub status: IntegrationStatus,
    /// What to do about it; empty when nothing.
    pub message: String,
}

/// The state of an integration that people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntegrationStatus {
    /// Not looked at yet, or the first inventory is not complete.
    Initializing,
    /// An inventory is being made.
    Refreshing,
    /// Works.
    Active,
    /// Works in part.
    Warning,
    /// Does not work.
    Error,
    /// Retiring or retired.
    Disabled,
}

impl IntegrationStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Initializing,
        Self::Refreshing,
        Self::Active,
        Self::Warning,
        Self::Error,
        Self::Disabled,
    ];

    /// Returns the stable name used on the wire and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Refreshing => "refreshing",
            Self::Active => "active",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Disabled => "disabled",
        }
    }
}

/// A part of the list of grants.
#[derive(Debug, Clone)]
pub struct GrantsList {
    /// What comes with every answer.
    pub header: Header,
    /// Up to which revision this answer goes; ask again from here until it is the header's.
    pub through: u64,
    /// The grants.
    pub grants: Vec<ListedGrant>,
}

/// One grant the control plane still counts as open, or has seen closed.
#[derive(Debug, Clone)]
pub struct ListedGrant {
    /// What it is.
    pub grant: Grant,
    /// Whether an end verified at the target was reported.
    pub ended: bool,
    /// What its target noted before the first effect.
    pub checkpoint: Option<Checkpoint>,
}

/// A part of the list of integrations.
#[derive(Debug, Clone)]
pub struct IntegrationsList {
    /// What comes with every answer.
    pub header: Header,
    /// Up to which revision this answer goes.
    pub through: u64,
    /// The integrations; one that cannot be understood is left out and logged.
    pub integrations: Vec<ListedIntegration>,
}

/// One integration, or the news that it is gone.
#[derive(Debug, Clone)]
pub struct ListedIntegration {
    /// What it is.
    pub integration: Integration,
    /// Whether it is gone for good: nothing of ours was left.
    pub retired: bool,
}

/// A lease together with the session it belongs to.
#[derive(Debug, Clone)]
pub struct HeldLease {
    /// The lease.
    pub lease: Lease,
    /// The session it was given to.
    pub session: SessionId,
}
