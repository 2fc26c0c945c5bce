//! Owns making and removing access within one AWS account, for IAM users. Never changes a user, role, group or policy it did not make, but for
//! policies and notes of its own on a person's user.
//!
//! | file | what it does |
//! |---|---|
//! | `settings` | what an integration can say |
//! | `desk` | finds the account and the user that carries a person's grants |
//! | `service`, `catalog`, `keys` | the calls, one request each |
//! | `mark`, `escape` | the tags that mark a user and record its grants |
//! | `document` | the text of policies |
//! | `wanted`, `effect` | what a grant is turned into, whether it fits, ordered and read back |
//! | `landings`, `recent`, `strangers` | what this process knows better than a list |
//! | `start`, `extend`, `credential`, `end` | making and removing |
//! | `record`, `clean_up` | reading the record, and what is left after ends |
//! | `trouble` | refusals |

mod catalog;
mod clean_up;
mod credential;
mod desk;
mod document;
mod effect;
mod end;
mod escape;
mod extend;
mod keys;
mod landings;
mod mark;
mod recent;
mod record;
mod service;
mod settings;
mod start;
mod strangers;
mod trouble;
mod wanted;

use super::refusal::{check_permit, refused};
use super::{
    Applied, CheckReport, CleanedUp, Ended, Memory, Mended, RecordedGrant, Target, TargetError,
    TargetFactory,
};
use crate::aws::{Purpose, Sessions};
use crate::clock::SharedClock;
use crate::domain::{
    Change, ConnectorId, ErrorClass, Evidence, Grant, Integration, IntegrationId, Plan,
    SettingsDigest, Start, Step,
};
use crate::policy::{EndWarrant, Permit};
use async_trait::async_trait;
use desk::Desk;
use jiff::SignedDuration;
use landings::Landings;
use recent::Recent;
use settings::Settings;
use std::sync::Arc;
use strangers::Strangers;

/// The type of integration this target is for.
pub const KIND: &str = "aws-account";

/// Makes targets of accounts.
#[derive(Clone)]
pub struct AccountTargets {
    /// Who we are.
    pub connector: ConnectorId,
    /// The way to AWS.
    pub sessions: Sessions,
    /// What is known of grants.
    pub memory: Arc<dyn Memory>,
    /// Time.
    pub clock: SharedClock,
    /// How long after its signature AWS still takes a request: 15 minutes, for every service.
    pub late: SignedDuration,
}

impl TargetFactory for AccountTargets {
    fn make(&self, integration: &Integration) -> Result<Arc<dyn Target>, TargetError> {
        let settings = Settings::parse(integration, &self.connector)?;
        Ok(Arc::new(AccountTarget {
            desk: Desk::new(settings, self.sessions.clone()),
            memory: Arc::clone(&self.memory),
            clock: Arc::clone(&self.clock),
            late: self.late,
            landings: Landings::default(),
            recent: Recent::default(),
            strangers: Strangers::default(),
        }))
    }
}

/// One account.
struct AccountTarget {
    desk: Desk,
    memory: Arc<dyn Memory>,
    clock: SharedClock,
    late: SignedDuration,
    landings: Landings,
    recent: Recent,
    strangers: Strangers,
}

#[async_trait]
impl Target for AccountTarget {
    fn integration(&self) -> IntegrationId {
        self.desk.settings.integration
    }

    fn settings(&self) -> SettingsDigest {
        self.desk.settings.digest
    }

    /// The person: their grants share a user, its quotas and its credential.
    fn lane(&self, grant: &Grant) -> String {
        format!("{}/{}", self.desk.settings.integration, grant.principal)
    }

    async fn check(&self) -> Result<CheckReport, TargetError> {
        let caller = self.desk.caller().await?;
        let service = self.desk.service(Purpose::Connector).await?;
        let book = self.desk.book(&service, Desk::book_age()).await?;
        let ours = book.iter().filter(|holder| self.desk.is_our(holder));
        let evidence = Evidence::default()
            .with("account", &caller.account)
            .with("caller", &caller.arn)
            .with("users", ours.count());
        Ok(CheckReport {
            evidence,
            warnings: Vec::new(),
        })
    }

    async fn plan_start(&self, permit: &Permit, start: &Start) -> Result<Plan, TargetError> {
        check_permit(self, permit, &start.grant)?;
        self.plan(start).await
    }

    async fn plan_extend(&self, permit: &Permit, grant: &Grant) -> Result<Plan, TargetError> {
        check_permit(self, permit, grant)?;
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

    async fn plan_reset(&self, permit: &Permit, start: &Start) -> Result<Plan, TargetError> {
        check_permit(self, permit, &start.grant)?;
        self.plan_credential(start).await
    }

    async fn apply(
        &self,
        permit: &Permit,
        start: &Start,
        step: &Step,
    ) -> Result<Applied, TargetError> {
        check_permit(self, permit, &start.grant)?;
        match &step.change {
            Change::PrepareUser { user } => self.prepare_user(permit, start, user).await,
            Change::GiveRights => self.give(permit, start).await,
            Change::SetCredential { login } => self.set_credential(permit, start, login).await,
            Change::Verify => self.verify(start).await,
            Change::MoveExpiry { .. } => self.extend(permit, start).await,
            Change::Remember(_)
            | Change::PrepareAccessRole { .. }
            | Change::PreparePermissionSet { .. }
            | Change::Assign
            | Change::StartGrant(_)
            | Change::CloseDoor
            | Change::EndSessions
            | Change::BlockLogin
            | Change::CleanUp => Err(wrong_step("a start")),
        }
    }

    fn plan_end(&self, warrant: &EndWarrant) -> Plan {
        let grant = warrant.grant.id;
        let step = |note: String, change| Step { note, change };
        Plan {
            steps: vec![
                step(
                    format!("take away what grant `{grant}` gave"),
                    Change::CloseDoor,
                ),
                step(
                    "take the credential away, unless another grant needs it".to_owned(),
                    Change::BlockLogin,
                ),
            ],
        }
    }

    async fn end(&self, warrant: &EndWarrant, step: &Step) -> Result<Ended, TargetError> {
        if step.change == Change::CloseDoor {
            self.close_door(warrant).await
        } else if step.change == Change::BlockLogin {
            self.block_login(warrant).await
        } else {
            Err(wrong_step("an end"))
        }
    }

    async fn clean_up(&self) -> Result<Vec<CleanedUp>, TargetError> {
        self.sweep_up().await
    }

    async fn recorded(&self) -> Result<Vec<RecordedGrant>, TargetError> {
        self.standing().await
    }

    async fn mend(&self) -> Result<Vec<Mended>, TargetError> {
        self.mend_users().await
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
