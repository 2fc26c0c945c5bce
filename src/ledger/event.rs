//! Owns the events: what can happen, in domain terms. Never the form on disk.

use crate::domain::{
    Checkpoint, EndReason, EndReport, Evidence, Grant, GrantId, InstanceId, Integration,
    IntegrationId, TaskId, TaskOutcome,
};
use jiff::Timestamp;
use uuid::Uuid;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The state folder was made.
    InstanceNamed(InstanceId),
    /// The control plane's store is this one.
    EpochSeen(Uuid),
    /// An integration is assigned to this connector, with these settings.
    IntegrationKnown(Integration),
    /// Nothing of ours is left in an integration, and the control plane retired it.
    IntegrationGone(IntegrationId),
    /// A start was permitted: from here on the grant must be ended or proven never to have begun.
    StartIntended {
        /// What is to be made.
        grant: Grant,
        /// The order.
        task: TaskId,
        /// Which delivery of it.
        attempt: u32,
    },
    /// The list or the target's own record shows a live grant this ledger did not know.
    GrantLearned {
        /// What it is.
        grant: Grant,
        /// When it started, where known.
        started_at: Option<Timestamp>,
    },
    /// What must be known to end the grant, or to go on with it, wherever that happens.
    CheckpointKept {
        /// For which grant.
        grant: GrantId,
        /// The target's note.
        checkpoint: Checkpoint,
    },
    /// A step is about to be done.
    StepBegan {
        /// For which grant.
        grant: GrantId,
        /// What a person reads.
        note: String,
    },
    /// A step was done, or was not.
    StepDone {
        /// For which grant.
        grant: GrantId,
        /// What a person reads.
        note: String,
        /// What was seen, or the reason code of the failure.
        outcome: Result<Evidence, String>,
    },
    /// The access was verified.
    Started {
        /// Which grant.
        grant: GrantId,
        /// When it became usable.
        at: Timestamp,
    },
    /// The start is proven never to have had an effect.
    StartAbandoned(GrantId),
    /// The expiry in force changed.
    ExpiryMoved {
        /// Which grant.
        grant: GrantId,
        /// The new expiry.
        expiry: Timestamp,
    },
    /// The grant is being ended; from here on it is ended until it is closed.
    EndIntended {
        /// What is to be ended.
        grant: Grant,
        /// Why.
        reason: EndReason,
    },
    /// The end at expiry found that the grant was extended: it lives on until then.
    EndCalledOff {
        /// Which grant.
        grant: GrantId,
        /// The expiry in force.
        expiry: Timestamp,
    },
    /// The access is gone, verified. The report may still miss the clean-up.
    Closed(EndReport),
    /// Clean-up is complete.
    Clean(GrantId),
    /// A report must reach the control plane.
    Queued {
        /// Order of delivery.
        id: u64,
        /// What.
        entry: OutboxEntry,
    },
    /// A report was acknowledged, or refused for good.
    Delivered(u64),
    /// Starts were frozen or freed by an operator.
    Frozen(bool),
    /// Reports are numbered from here on. Written by compaction, so that a number is never given out twice.
    ReportsFrom(u64),
}

impl Event {
    /// Returns the stable snake_case name of the kind, for logs and cut points.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InstanceNamed(_) => "instance_named",
            Self::EpochSeen(_) => "epoch_seen",
            Self::IntegrationKnown(_) => "integration_known",
            Self::IntegrationGone(_) => "integration_gone",
            Self::StartIntended { .. } => "start_intended",
            Self::GrantLearned { .. } => "grant_learned",
            Self::CheckpointKept { .. } => "checkpoint_kept",
            Self::StepBegan { .. } => "step_began",
            Self::StepDone { .. } => "step_done",
            Self::Started { .. } => "started",
            Self::StartAbandoned(_) => "start_abandoned",
            Self::ExpiryMoved { .. } => "expiry_moved",
            Self::EndIntended { .. } => "end_intended",
            Self::EndCalledOff { .. } => "end_called_off",
            Self::Closed(_) => "closed",
            Self::Clean(_) => "clean",
            Self::Queued { .. } => "queued",
            Self::Delivered(_) => "delivered",
            Self::Frozen(_) => "frozen",
            Self::ReportsFrom(_) => "reports_from",
        }
    }

    /// Tells whether this must be on disk before anything happens: only what opens access does. All else is about
    /// access that exists already, and a disk that cannot be written must not keep access open.
    #[must_use]
    pub fn opens_access(&self) -> bool {
        matches!(
            self,
            Self::StartIntended { .. } | Self::CheckpointKept { .. }
        )
    }
}

/// A report on its way. Credentials in it are ciphertext: there is no way to put anything else here.
///
/// ```
/// use apono_connector::domain::{CredentialChange, SealedCredential};
/// CredentialChange::New(SealedCredential::from_ciphertext("armour".to_owned()));
/// ```
/// ```compile_fail,E0308
/// use apono_connector::{domain::CredentialChange, secret::Secret};
/// CredentialChange::New(Secret::new("hunter2".to_owned()));
/// ```
/// ```compile_fail,E0308
/// use apono_connector::domain::CredentialChange;
/// CredentialChange::New("hunter2".to_owned());
/// ```
/// Nor can a secret be written in any form on disk or on the wire:
/// ```compile_fail,E0277
/// use apono_connector::secret::Secret;
/// serde_json::to_string(&Secret::new("hunter2".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum OutboxEntry {
    /// How a task ended.
    Result {
        /// Which task.
        task: TaskId,
        /// Which delivery of it.
        attempt: u32,
        /// How it ended.
        outcome: TaskOutcome,
    },
    /// A grant that ended without an order, or became clean.
    End(EndReport),
}
