//! Owns orders: a task as understood, after parsing at the door.

use super::{Checkpoint, Grant, GrantId, IntegrationId, TaskId};
use jiff::Timestamp;

/// One order of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id; the same through all deliveries.
    pub id: TaskId,
    /// Which delivery this is, counting from 1.
    pub attempt: u32,
    /// When the control plane made the order.
    pub issued_at: Timestamp,
    /// In which integration.
    pub integration: IntegrationId,
    /// What to do.
    pub order: Order,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Look whether the integration works and what rights we have.
    CheckIntegration,
    /// Report what exists.
    SyncIntegration,
    /// Make a grant's access.
    Start {
        /// What to make.
        grant: Grant,
        /// Whom to seal the credential to.
        recipient: String,
    },
    /// Move the expiry of a live grant; the grant carries the new one.
    Extend {
        /// The grant with its new expiry.
        grant: Grant,
    },
    /// Remove a grant's access; the grant carries all that is needed to do so.
    Revoke {
        /// What to end.
        grant: Grant,
    },
    /// Set a new password on the login of a live grant.
    ResetCredentials {
        /// A live grant of the login.
        grant: Grant,
        /// Whom to seal the credential to.
        recipient: String,
    },
}

impl Order {
    /// Returns the kind, for names in logs and metrics.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::CheckIntegration => TaskKind::CheckIntegration,
            Self::SyncIntegration => TaskKind::SyncIntegration,
            Self::Start { .. } => TaskKind::GrantAccess,
            Self::Extend { .. } => TaskKind::ExtendAccess,
            Self::Revoke { .. } => TaskKind::RevokeAccess,
            Self::ResetCredentials { .. } => TaskKind::ResetCredentials,
        }
    }

    /// Returns the grant the order is about, where there is one.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Self::CheckIntegration | Self::SyncIntegration => None,
            Self::Start { grant, .. }
            | Self::Extend { grant }
            | Self::Revoke { grant }
            | Self::ResetCredentials { grant, .. } => Some(grant),
        }
    }

    /// Returns the id of the grant the order is about.
    #[must_use]
    pub fn grant_id(&self) -> Option<GrantId> {
        self.grant().map(|grant| grant.id)
    }
}

/// The kinds of task this version carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// `check-integration`
    CheckIntegration,
    /// `sync-integration`
    SyncIntegration,
    /// `grant-access`
    GrantAccess,
    /// `extend-access`
    ExtendAccess,
    /// `revoke-access`
    RevokeAccess,
    /// `reset-credentials`
    ResetCredentials,
}

impl TaskKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::CheckIntegration,
        Self::SyncIntegration,
        Self::GrantAccess,
        Self::ExtendAccess,
        Self::RevokeAccess,
        Self::ResetCredentials,
    ];

    /// Returns the name used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CheckIntegration => "check-integration",
            Self::SyncIntegration => "sync-integration",
            Self::GrantAccess => "grant-access",
            Self::ExtendAccess => "extend-access",
            Self::RevokeAccess => "revoke-access",
            Self::ResetCredentials => "reset-credentials",
        }
    }

    /// Parses the wire name; nothing for a kind this version does not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The right of this instance to run a task until a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What to do.
    pub task: Task,
    /// Until when, by the control plane's clock.
    pub deadline: Timestamp,
    /// What an earlier holder of any task about the same grant left for the next.
    pub checkpoint: Option<Checkpoint>,
}
