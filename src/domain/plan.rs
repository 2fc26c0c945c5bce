//! Owns plans: what will change, as data that can be printed, judged and journaled. Never SQL, never a secret.

use super::{Checkpoint, GrantId};
use jiff::Timestamp;

/// What will be done, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The steps; an empty plan means that everything is already as ordered.
    pub steps: Vec<Step>,
}

/// One step of a plan: one journal entry before it, one after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What a person reads, for example "grant `a_12ab_apono` to `alice_apono` until 2030-01-01T00:00:00Z".
    pub note: String,
    /// What the target will do.
    pub change: Change,
}

/// A change a target can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make or complete the shared role that holds the privileges. Gives nobody anything by itself.
    PrepareAccessRole {
        /// Name of the role.
        access_role: String,
    },
    /// The start itself: record and effect in one transaction.
    StartGrant(StartGrant),
    /// Move the expiry of a live grant.
    MoveExpiry {
        /// Which grant.
        grant: GrantId,
        /// The new expiry.
        expiry: Timestamp,
    },
    /// Give the login a new password.
    SetCredential {
        /// The login.
        login: String,
    },
    /// Keep this checkpoint on disk and with the control plane; the executor's own step, before what it speaks of.
    Remember(Checkpoint),
    /// Make or complete a permission set of ours. Gives nobody anything by itself.
    PreparePermissionSet {
        /// Its name.
        name: String,
    },
    /// The start itself, at an identity service: order the assignment, follow it to its end, read it back.
    Assign,
    /// Make the IAM user that carries the grant. Gives nobody anything by itself.
    PrepareUser {
        /// Its name.
        user: String,
    },
    /// The start itself, in an account: write the policy or membership, read it back.
    GiveRights,
    /// Read back and compare with the order.
    Verify,
    /// End, part 1: record the end and take the membership away.
    CloseDoor,
    /// End, part 2: end every session of the login, on every server that shares it.
    EndSessions,
    /// End, part 3: no live grant left, so nobody may log in.
    BlockLogin,
    /// After the end: remove what is left, then the login.
    CleanUp,
}

/// What the start transaction was planned against; the transaction itself refuses when it is no longer so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartGrant {
    /// The login.
    pub login: String,
    /// The shared role the login becomes a member of.
    pub access_role: String,
    /// Whether the login must be made.
    pub make_login: bool,
    /// Whether this start sets a password.
    pub set_password: bool,
    /// Latest expiry over all live grants of the login, this one included.
    pub valid_until: Timestamp,
    /// Version of the login's record as read when planning; 0 when there was none.
    pub login_version: i64,
    /// Shared roles the login is a member of although no live grant needs it; it loses them before it gets a password.
    pub strays: Vec<String>,
}

/// What was seen, for the record: counts and names, never secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Facts by name, for example `sessions_before` = `2`.
    pub facts: Vec<(&'static str, String)>,
}

impl Evidence {
    /// Adds one fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.push((name, value.to_string()));
        self
    }
}
