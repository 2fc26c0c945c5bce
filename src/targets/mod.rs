//! Owns the contract of the systems in which access is made and taken away. Never knows the control plane, the ledger or the executor.

pub mod aws_account;
mod error;
#[cfg(any(test, feature = "test-util"))]
pub mod fake;
pub mod identity_center;
mod memory;
pub mod postgres;
pub mod rds;
mod refusal;
mod registry;

pub use error::TargetError;
pub use memory::{Memory, Phase, Remembered};
pub use registry::{Registry, TargetFactory};

use crate::domain::{
    Checkpoint, CredentialChange, Detail, EndReason, Evidence, Grant, GrantId, IntegrationId, Plan,
    SettingsDigest, Start, Step,
};
use crate::policy::{EndWarrant, Permit};
use async_trait::async_trait;
use jiff::Timestamp;

/// A system in which this agent can start and end access. One value per integration and settings.
///
/// # Contract
/// - Planning reads and never changes anything. A plan holds no secret and no SQL.
/// - `apply` and `end` may be called again for a step that already happened, also after a crash whose outcome is
///   unknown; the second call succeeds and changes nothing.
/// - A start's record and effect appear together or not at all, and never after the permit's deadline.
/// - An ended grant never starts again: `plan_start` refuses it with reason `grant_ended`.
/// - Ends need no permit and no lease, and must not wait for anything a user can hold.
/// - Only objects with our mark are ever altered or removed.
/// - A permit whose settings digest is not this target's is refused with class `Conflict`.
/// - On error, the class alone tells whether trying again can help. Every call is bounded in time.
#[async_trait]
pub trait Target: Send + Sync {
    /// Returns the integration this target was made for.
    fn integration(&self) -> IntegrationId;

    /// Returns the digest of the settings this target was made from.
    fn settings(&self) -> SettingsDigest;

    /// Tells whether the system itself keeps our record of grants, expiries included. Where it does not, the ledger and the control plane's
    /// list are all there is.
    fn keeps_record(&self) -> bool {
        true
    }

    /// Returns the unit of exclusion of a grant: starts, extensions and resets of one lane never overlap.
    fn lane(&self, grant: &Grant) -> String;

    /// Connects, makes or upgrades our own record, and says what is missing with the exact fix.
    async fn check(&self) -> Result<CheckReport, TargetError>;

    /// Plans a start; for a redelivered one the plan holds only what is still to do.
    async fn plan_start(&self, permit: &Permit, start: &Start) -> Result<Plan, TargetError>;

    /// Plans a move of the expiry; refuses a grant that is not live.
    async fn plan_extend(&self, permit: &Permit, grant: &Grant) -> Result<Plan, TargetError>;

    /// Plans a new password; refuses a login without a live grant.
    async fn plan_reset(&self, permit: &Permit, start: &Start) -> Result<Plan, TargetError>;

    /// Carries out one step of a start, extension or reset.
    async fn apply(
        &self,
        permit: &Permit,
        start: &Start,
        step: &Step,
    ) -> Result<Applied, TargetError>;

    /// Plans an end: door, sessions, login. Pure, because an end must not depend on a read.
    fn plan_end(&self, warrant: &EndWarrant) -> Plan;

    /// Carries out one step of an end. A grant that was never started is recorded as ended, so that a late start fails.
    async fn end(&self, warrant: &EndWarrant, step: &Step) -> Result<Ended, TargetError>;

    /// Ends several grants with fewer calls than one by one, as far as nothing is in the way. What the answer does not name is
    /// ended alone, also after an error; nothing is lost by trying.
    async fn end_together(
        &self,
        _warrants: &[EndWarrant],
    ) -> Result<Vec<EndedTogether>, TargetError> {
        Ok(Vec::new())
    }

    /// Removes what ended grants left behind: one bounded pass, to be called again while anything is pending.
    async fn clean_up(&self) -> Result<Vec<CleanedUp>, TargetError>;

    /// Reads our record inside the target: every grant of this integration that is live, or ended and not yet clean.
    async fn recorded(&self) -> Result<Vec<RecordedGrant>, TargetError>;

    /// Mends towards less access whatever of ours no live record backs, and completes the shared roles.
    async fn mend(&self) -> Result<Vec<Mended>, TargetError>;

    /// Names the server behind this target when it was not compared by this process: at first, and after a fail-over, a restore or a
    /// restart. A server that changed refuses starts with reason `server_changed` until [`Target::compared`].
    fn owes_comparison(&self) -> Option<String> {
        None
    }

    /// Closes whatever of ours is not live by the target's own record, and returns which of these ended grants it does not show as ended
    /// and closed.
    async fn compare(&self, _ended: &[GrantId]) -> Result<Vec<MissingEnd>, TargetError> {
        Ok(Vec::new())
    }

    /// Notes that the server of this name was compared and nothing is owed any more.
    async fn compared(&self, _server: &str) -> Result<(), TargetError> {
        Ok(())
    }

    /// Says whether a connection is held so that a user who takes all connections cannot lock the revoker out.
    async fn hold(&self, wanted: bool);
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// What was found, for people: server version, road, rights.
    pub evidence: Evidence,
    /// What is missing for some orders; an empty list means that everything works. The first line of each says what, the
    /// lines that follow are the statements to run.
    pub warnings: Vec<String>,
}

/// The effect of one step of a start.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// What was seen.
    pub evidence: Evidence,
    /// Set by the step that decides about the password.
    pub credential: Option<CredentialChange>,
    /// The login the step was about.
    pub login: Option<String>,
    /// When the access became usable, by the target's clock; set by the start itself and by a later look at it.
    pub started_at: Option<Timestamp>,
    /// What else the requester needs.
    pub details: Vec<Detail>,
    /// What the step found out and an end must find again: kept on disk and with the control plane before the next step.
    pub checkpoint: Option<Checkpoint>,
}

/// The effect of one step of an end.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// What was seen.
    pub evidence: Evidence,
    /// When the access was taken away, by the target's clock; set by [`crate::domain::Change::CloseDoor`].
    pub ended_at: Option<Timestamp>,
    /// The reason on record, which may be an earlier one; set by [`crate::domain::Change::CloseDoor`].
    pub reason: Option<EndReason>,
    /// Sessions seen before and after; set by [`crate::domain::Change::EndSessions`].
    pub sessions: Option<(u32, u32)>,
    /// The expiry was moved since the warrant was made: nothing was ended. Set by [`crate::domain::Change::CloseDoor`].
    pub extended_until: Option<Timestamp>,
    /// The access is gone, and until then an order that is still on its way could bring it back: look again at that time.
    pub provisional_until: Option<Timestamp>,
    /// What else was seen.
    pub details: Vec<Detail>,
}

/// A grant that was ended together with others: door shut, sessions gone, login blocked unless another grant is live.
#[derive(Debug, Clone)]
pub struct EndedTogether {
    /// Which grant.
    pub grant: crate::domain::GrantId,
    /// When the access was taken away, by the target's clock.
    pub ended_at: Timestamp,
    /// The reason on record.
    pub reason: EndReason,
    /// Sessions that were ended.
    pub sessions: u32,
    /// What was seen.
    pub evidence: Evidence,
}

/// A grant whose clean-up was looked at.
#[derive(Debug, Clone)]
pub struct CleanedUp {
    /// Which grant.
    pub grant: GrantId,
    /// What is left and who must do what about it; empty when clean.
    pub leftovers: Vec<String>,
}

/// One line of the record inside the target.
#[derive(Debug, Clone)]
pub struct RecordedGrant {
    /// The grant with the expiry in force: the record is the expiry.
    pub grant: Grant,
    /// The login it was given to.
    pub login: String,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended, and why.
    pub ended: Option<(Timestamp, EndReason)>,
    /// Whether the door was seen shut and the sessions gone.
    pub closed: bool,
    /// Neither started nor abandoned, because what cannot be seen may still appear; or ended, and what is left behind is not gone yet.
    pub undecided: bool,
}

/// An end that is not on record, although it was acknowledged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingEnd {
    /// Of which grant.
    pub grant: GrantId,
    /// Not even the door was shut by what the record shows; otherwise sessions may be left.
    pub is_open: bool,
}

/// One thing that was mended.
#[derive(Debug, Clone)]
pub struct Mended {
    /// What was done, for people.
    pub note: String,
}
