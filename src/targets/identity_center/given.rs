//! Owns what an inventory has to know of an organization's integration: how it is reached, what is left out, and which assignments are no
//! standing access because they were given. Never calls anything.

use super::OrganizationTargets;
use super::note::Note;
use super::settings::Settings;
use crate::aws::Chain;
use crate::domain::{Integration, IntegrationId, Permission};
use crate::targets::{Memory, TargetError};
use std::collections::BTreeSet;

/// How an organization is reached, and what of it is left out.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The way to the account that administers Identity Center, in its primary region.
    pub chain: Chain,
    /// Organizational units that are left out with all below them.
    pub excluded: BTreeSet<String>,
    /// Permissions the integration declares: each account can be entered by them.
    pub declared: Vec<Permission>,
}

/// An assignment that was made for a grant, by the ids AWS gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenAssignment {
    /// Twelve digits.
    pub account: String,
    /// ARN of the permission set.
    pub permission_set: String,
    /// Id of the user or group in the identity store.
    pub principal: String,
}

impl OrganizationTargets {
    /// Returns how the organization of an integration is reached.
    ///
    /// # Errors
    /// When the settings of the integration are wrong.
    pub fn reach(&self, integration: &Integration) -> Result<Reach, TargetError> {
        let settings = Settings::parse(integration, &self.connector)?;
        Ok(Reach {
            chain: settings.chain,
            excluded: settings.excluded,
            declared: settings
                .declared
                .keys()
                .filter_map(|name| Permission::parse(name).ok())
                .collect(),
        })
    }
}

/// Returns the assignments of all grants that are remembered, those being made or taken away included. One that stood before its grant is
/// none of ours.
pub fn given(memory: &dyn Memory, integration: IntegrationId) -> Vec<GivenAssignment> {
    let notes = memory
        .grants(integration)
        .into_iter()
        .filter_map(|known| known.checkpoint.as_ref().and_then(Note::read));
    notes
        .filter(|note| note.has_set() && !note.stood_before)
        .map(|note| GivenAssignment {
            account: note.triple.account,
            permission_set: note.triple.set,
            principal: note.triple.principal,
        })
        .collect()
}
