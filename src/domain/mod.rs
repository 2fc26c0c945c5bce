//! Owns the dictionary: the nouns of the product as pure types. Never does I/O, never waits, never knows a wire or disk format.
//!
//! | word | meaning |
//! |---|---|
//! | *connector* | the logical agent, one [`ConnectorId`] |
//! | *instance* | one running process of a connector; several may run |
//! | *integration* | one system under management, see [`Integration`] |
//! | *resource* | something in an integration that access can be given to, see [`ResourceRef`] |
//! | *permission* | a named level on a resource type, see [`Permission`] |
//! | *grant* | one principal, one resource, one permission, one expiry; one id for its whole life |
//! | *start*, *end* | making and removing a grant's access |
//! | *login* | a database user we made, see [`LoginName`] |
//! | *checkpoint* | what a target must find again when it ends or goes on with a grant, see [`Checkpoint`] |
//! | *task* | one order from the control plane, see [`Task`] |
//! | *lease* | the right of one instance to run a start until a deadline |
//! | *mark* | what we write on an object we made, so that we touch nothing else |

mod checkpoint;
mod class;
mod grant;
mod ids;
mod integration;
mod inventory;
mod outcome;
mod plan;
mod principal;
mod resource;
mod secret_ref;
mod task;

pub use checkpoint::Checkpoint;
pub use class::{ErrorClass, Failure};
pub use grant::{Grant, Start};
pub use ids::{ConnectorId, GrantId, InstanceId, IntegrationId, SessionId, TaskId};
pub use integration::{Integration, IntegrationState, SettingsDigest};
pub use inventory::{AccessRecord, Discovered, InventoryId, InventoryRecord, RecordStatus};
pub use outcome::{
    CredentialChange, Detail, EndReason, EndReport, SealedCredential, StartReport, TaskOutcome,
};
pub use plan::{Change, Evidence, Plan, StartGrant, Step};
pub use principal::{LoginName, Principal, PrincipalKind};
pub use resource::{Permission, PermissionName, ResourceKind, ResourceRef};
pub use secret_ref::{SecretPlace, SecretRef};
pub use task::{Lease, Order, Task, TaskKind};

/// A value from outside that does not fit a domain type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidValue {
    /// Which value, in the words of the sender, for example "`principal.email`".
    pub what: String,
    /// What is wrong with it and what was expected.
    pub problem: String,
}

impl InvalidValue {
    /// Names the value and what is wrong with it.
    pub fn new(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            problem: problem.into(),
        }
    }
}

/// Shows a hostile value in a message: escaped, and cut after 80 characters.
#[must_use]
pub fn shown(value: &str) -> String {
    let mut text: String = value.escape_debug().take(80).collect();
    if value.escape_debug().count() > 80 {
        text.push('…');
    }
    text
}
