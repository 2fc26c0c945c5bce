//! Owns the two proofs every change needs: a permit to start, a warrant to end. Never makes a permit without a judgement.

use super::Judged;
use crate::domain::{EndReason, Grant, GrantId, Integration, IntegrationId, SettingsDigest};
use jiff::Timestamp;

/// Proof of judgement: this grant may be started, extended or given a new credential. Only [`super::judge`] makes one.
#[derive(Debug)]
pub struct Permit {
    grant: GrantId,
    integration: IntegrationId,
    settings: SettingsDigest,
    deadline: Timestamp,
}

pub(super) fn issue(judged: Judged<'_>, integration: &Integration) -> Permit {
    Permit {
        grant: judged.grant.id,
        integration: integration.id,
        settings: integration.digest(),
        deadline: judged
            .lease_deadline
            .map_or(judged.grant.expiry, |deadline| {
                deadline.min(judged.grant.expiry)
            }),
    }
}

impl Permit {
    /// Tells whether this grant was judged, in this integration and for these settings; a target made from others must refuse.
    #[must_use]
    pub fn covers(
        &self,
        grant: GrantId,
        integration: IntegrationId,
        settings: SettingsDigest,
    ) -> bool {
        self.grant == grant && self.integration == integration && self.settings == settings
    }

    /// Returns the last moment at which an effect may appear.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }
}

/// Where the knowledge comes from that a grant is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarrantSource {
    /// An order of the control plane.
    Task,
    /// Our own ledger.
    Ledger,
    /// The control plane's list of grants.
    List,
    /// The record inside the target.
    GrantTable,
    /// A mark on an object of ours.
    Mark,
    /// An operator at this machine.
    Operator,
}

/// Proof that a grant is to end. Anyone who knows of the grant can make one: nothing can refuse an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndWarrant {
    /// What is to end, with all that is needed to do so.
    pub grant: Grant,
    /// Why.
    pub reason: EndReason,
    /// Where the knowledge comes from.
    pub source: WarrantSource,
}
