//! Owns making and removing access to the accounts of an AWS organization, by assignments of IAM Identity Center. Never changes a permission
//! set, user or group it did not make.
//!
//! | file | what it does |
//! |---|---|
//! | `settings`, `declaration` | what an integration can say |
//! | `desk`, `sets` | looks up instance, account, permission set, principal |
//! | `declared`, `marks` | finds the set of a declared permission, and tells ours from others |
//! | `service`, `set_calls`, `asking` | the calls, one request each |
//! | `definition` | what a set holds, and the edits from one to another |
//! | `set_life`, `upkeep` | makes and completes sets of ours, and keeps them as declared |
//! | `set_clean_up`, `strays` | removes those of ended grants, and those nobody knows |
//! | `note` | what must be known to end an assignment |
//! | `landings` | until when orders may still take effect |
//! | `start`, `end` | making and removing |
//! | `observe` | compares with what AWS lists |
//! | `given` | what an inventory has to know |
//! | `trouble` | what an error means |

mod asking;
mod declaration;
mod declared;
mod definition;
mod desk;
mod end;
mod given;
mod landings;
mod marks;
mod note;
mod observe;
mod service;
mod set_calls;
mod set_clean_up;
mod set_life;
mod sets;
mod settings;
mod start;
mod strays;
mod trouble;
mod upkeep;

use super::refusal::refused;
use super::{
    Applied, CheckReport, CleanedUp, Ended, Memory, Mended, RecordedGrant, Target, TargetError,
    TargetFactory,
};
use crate::aws::Sessions;
use crate::aws::budget::Budgets;
use crate::clock::SharedClock;
use crate::domain::{
    Change, ConnectorId, ErrorClass, Evidence, Grant, Integration, IntegrationId, Plan,
    SettingsDigest, Start, Step,
};
use crate::policy::{EndWarrant, Permit};
use async_trait::async_trait;
use desk::Desk;
pub use given::{GivenAssignment, Reach, given};
use jiff::SignedDuration;
use landings::Landings;
pub use marks::CONNECTOR_TAG;
use observe::Seen;
use settings::Settings;
use std::collections::BTreeMap;
use std::sync::Arc;
use upkeep::Upkeep;

/// The type of integration this target is for.
pub const KIND: &str = "aws-organization";

/// Makes targets of organizations.
#[derive(Clone)]
pub struct OrganizationTargets {
    /// Who we are.
    pub connector: ConnectorId,
    /// The way to AWS.
    pub sessions: Sessions,
    /// One budget per Identity Center instance, shared with everything else that calls it.
    pub budgets: Budgets,
    /// What is known of grants.
    pub memory: Arc<dyn Memory>,
    /// Time.
    pub clock: SharedClock,
    /// How long after its signature AWS still takes a request: 15 minutes, for every service.
    pub late: SignedDuration,
}

impl TargetFactory for OrganizationTargets {
    fn make(&self, integration: &Integration) -> Result<Arc<dyn Target>, TargetError> {
        let settings = Settings::parse(integration, &self.connector)?;
        let desk = Desk::new(settings, self.sessions.clone(), self.budgets.clone());
        Ok(Arc::new(OrganizationTarget {
            desk,
            memory: Arc::clone(&self.memory),
            clock: Arc::clone(&self.clock),
            late: self.late,
            seen: Seen::default(),
            landings: Landings::default(),
            making: Landings::default(),
            upkeep: Upkeep::default(),
        }))
    }

    /// Declarations say what sets of ours hold, not which organization it is. Settings that cannot be used must not keep open grants from
    /// their end.
    fn is_same_system(&self, known: &Integration, ordered: &Integration) -> bool {
        let leading = |integration: &Integration| -> BTreeMap<String, String> {
            let settings = integration.settings.clone().into_iter();
            settings
                .filter(|(name, _)| !Settings::is_of_declarations(name))
                .collect()
        };
        leading(known) == leading(ordered) && Settings::parse(ordered, &self.connector).is_ok()
    }
}

/// One organization.
struct OrganizationTarget {
    desk: Desk,
    memory: Arc<dyn Memory>,
    clock: SharedClock,
    late: SignedDuration,
    seen: Seen,
    landings: Landings,
    /// The same for the making of permission sets.
    making: Landings,
    upkeep: Upkeep,
}

#[async_trait]
impl Target for OrganizationTarget {
    fn integration(&self) -> IntegrationId {
        self.desk.settings.integration
    }

    fn settings(&self) -> SettingsDigest {
        self.desk.settings.digest
    }

    /// The account: Identity Center changes one role of an account at a time.
    fn lane(&self, grant: &Grant) -> String {
        let integration = self.desk.settings.integration;
        format!("{integration}/{}", grant.resource.name())
    }

    fn keeps_record(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<CheckReport, TargetError> {
        let center = self.desk.center().await?;
        let evidence = Evidence::default()
            .with("instance", &center.instance.arn)
            .with("identity_store", &center.instance.store)
            .with(
                "management_account",
                center.management.as_deref().unwrap_or("unknown"),
            );
        Ok(CheckReport {
            evidence,
            warnings: self.desk.foreign_names().await?,
        })
    }

    async fn plan_start(&self, permit: &Permit, start: &Start) -> Result<Plan, TargetError> {
        self.same_order(permit, &start.grant)?;
        self.plan(start).await
    }

    async fn plan_extend(&self, permit: &Permit, grant: &Grant) -> Result<Plan, TargetError> {
        self.same_order(permit, grant)?;
        let step = Step {
            note: format!(
                "move the expiry of grant `{}` to {}",
                grant.id, grant.expiry
            ),
            change: Change::MoveExpiry {
                grant: grant.id,
                expiry: grant.expiry,
            },
        };
        Ok(Plan { steps: vec![step] })
    }

    async fn plan_reset(&self, _permit: &Permit, start: &Start) -> Result<Plan, TargetError> {
        Err(refused(
            ErrorClass::Bug,
            "no_credential",
            format!(
                "grant `{}` has no credential: people sign in at the portal",
                start.grant.id
            ),
            "sign in at the AWS access portal",
        ))
    }

    async fn apply(
        &self,
        permit: &Permit,
        start: &Start,
        step: &Step,
    ) -> Result<Applied, TargetError> {
        self.same_order(permit, &start.grant)?;
        match &step.change {
            Change::PreparePermissionSet { .. } => self.prepare(start).await,
            Change::Assign => self.assign(start).await,
            Change::Verify => self.verify(start).await,
            Change::MoveExpiry { .. } => self.extend(start).await,
            Change::Remember(_)
            | Change::PrepareAccessRole { .. }
            | Change::PrepareUser { .. }
            | Change::GiveRights
            | Change::StartGrant(_)
            | Change::SetCredential { .. }
            | Change::CloseDoor
            | Change::EndSessions
            | Change::BlockLogin
            | Change::CleanUp => Err(wrong_step("a start")),
        }
    }

    fn plan_end(&self, warrant: &EndWarrant) -> Plan {
        let step = Step {
            note: format!("remove the assignment of grant `{}`", warrant.grant.id),
            change: Change::CloseDoor,
        };
        Plan { steps: vec![step] }
    }

    async fn end(&self, warrant: &EndWarrant, step: &Step) -> Result<Ended, TargetError> {
        if step.change == Change::CloseDoor {
            self.close_door(warrant).await
        } else {
            Err(wrong_step("an end"))
        }
    }

    async fn clean_up(&self) -> Result<Vec<CleanedUp>, TargetError> {
        self.clean_sets().await
    }

    async fn recorded(&self) -> Result<Vec<RecordedGrant>, TargetError> {
        self.standing().await
    }

    async fn mend(&self) -> Result<Vec<Mended>, TargetError> {
        self.mend_sets().await
    }

    async fn hold(&self, _wanted: bool) {}
}

fn wrong_step(of: &str) -> TargetError {
    refused(
        ErrorClass::Bug,
        "step_unknown",
        format!("this is not a step of {of}"),
        "",
    )
}
