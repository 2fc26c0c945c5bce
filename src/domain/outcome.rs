//! Owns what is reported: how a task ended, and how a grant ended.

use super::{Failure, GrantId, IntegrationId};
use jiff::Timestamp;

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome {
    /// Done as ordered. For an end: closed and clean.
    Succeeded {
        /// Set for starts, extensions and credential resets.
        start: Option<StartReport>,
        /// Set for ends.
        end: Option<EndReport>,
    },
    /// The access is gone; clean-up is still going on.
    Closed {
        /// How it ended.
        end: EndReport,
    },
    /// Not done.
    Failed(Failure),
}

/// What the requester needs to use the access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartReport {
    /// The database user.
    pub login: String,
    /// When the access became usable, by the target's clock where it has one.
    pub started_at: Timestamp,
    /// The expiry now in force.
    pub expiry: Timestamp,
    /// What happened to the password.
    pub credential: CredentialChange,
    /// What else the requester needs: a link, a command, a policy. Never a secret.
    pub details: Vec<Detail>,
}

/// One line of a report, by a stable name: at most 4,000 characters, never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// Stable snake_case name, for example `sign_in_url`.
    pub name: String,
    /// The value, for people to copy.
    pub value: String,
}

impl Detail {
    /// Makes a line.
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: value.into(),
        }
    }
}

/// What a start did to the login's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialChange {
    /// A new one was set; here it is, sealed.
    New(SealedCredential),
    /// The one in use stays.
    Unchanged,
    /// The access needs none.
    None,
}

/// A credential sealed to the requester's own key: ASCII-armoured `age` ciphertext. The only form that leaves the code that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential(String);

impl SealedCredential {
    /// Wraps ciphertext. Only [`crate::seal`] and the readers of stored ciphertext call this.
    #[must_use]
    pub fn from_ciphertext(text: String) -> Self {
        Self(text)
    }

    /// Returns the armoured ciphertext.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its time was over.
    Expired,
    /// The control plane ordered it.
    Revoked,
    /// An operator ended everything on this instance.
    RevokeAll,
    /// The start failed half-way and was rolled back.
    StartFailed,
    /// Something of ours stood without a live record.
    Drift,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Expired,
        Self::Revoked,
        Self::RevokeAll,
        Self::StartFailed,
        Self::Drift,
    ];

    /// Returns the stable snake_case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::RevokeAll => "revoke_all",
            Self::StartFailed => "start_failed",
            Self::Drift => "drift",
        }
    }

    /// Parses the stable name; nothing for an unknown one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// How a grant ended, with the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndReport {
    /// Which grant.
    pub grant: GrantId,
    /// In which integration.
    pub integration: IntegrationId,
    /// When the access was taken away, by the target's clock where it has one.
    pub ended_at: Timestamp,
    /// Why.
    pub reason: EndReason,
    /// Sessions of the login seen before they were ended.
    pub sessions_before: u32,
    /// Sessions left afterwards; an end with more than 0 is not reported as closed.
    pub sessions_after: u32,
    /// Whether clean-up is complete too.
    pub clean: bool,
    /// What is left and who must do what about it; empty when clean.
    pub leftovers: Vec<String>,
    /// What else was seen, for example how long sessions that are open already go on.
    pub details: Vec<Detail>,
}
