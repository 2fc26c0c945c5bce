//! Owns the putting together of the way to AWS from the configuration. Sends nothing.

use crate::aws::budget::Budgets;
use crate::aws::{Sessions, SessionsOptions};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::executor::Recall;
use crate::targets::aws_account::AccountTargets;
use crate::targets::identity_center::OrganizationTargets;
use std::sync::Arc;

/// Everything that speaks to AWS shares these.
#[derive(Clone)]
pub(super) struct Aws {
    pub(super) sessions: Sessions,
    pub(super) budgets: Budgets,
}

impl Aws {
    pub(super) fn new(config: &Config, clock: &SharedClock) -> Self {
        Self {
            sessions: Sessions::new(SessionsOptions {
                connector: config.control_plane.connector.clone(),
                profile: config.aws.profile.clone(),
                clock: Arc::clone(clock),
                base: None,
                endpoint_url: None,
            }),
            budgets: Budgets::default(),
        }
    }

    /// Makes the targets of accounts.
    pub(super) fn accounts(
        &self,
        config: &Config,
        clock: &SharedClock,
        recall: &Arc<Recall>,
    ) -> AccountTargets {
        AccountTargets {
            connector: config.control_plane.connector.clone(),
            sessions: self.sessions.clone(),
            memory: Arc::<Recall>::clone(recall),
            clock: Arc::clone(clock),
            late: super::seconds(config.aws.latest_landing),
        }
    }

    /// Makes the targets of organizations.
    pub(super) fn organizations(
        &self,
        config: &Config,
        clock: &SharedClock,
        recall: &Arc<Recall>,
    ) -> OrganizationTargets {
        OrganizationTargets {
            connector: config.control_plane.connector.clone(),
            sessions: self.sessions.clone(),
            budgets: self.budgets.clone(),
            memory: Arc::<Recall>::clone(recall),
            clock: Arc::clone(clock),
            late: super::seconds(config.aws.latest_landing),
        }
    }
}
