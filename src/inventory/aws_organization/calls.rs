//! Owns the clients of one session to an organization. Never decides when a request goes out.

use crate::aws::budget::{Budget, Budgets, Limits};
use crate::aws::{AwsError, organizations};
use crate::domain::ErrorClass;
use crate::inventory::aws_calls::{Pace, Turns};
use aws_types::SdkConfig;
use std::sync::Arc;

/// Clients of one session, and the turns their requests wait for.
pub(super) struct Calls {
    pub(super) sso: aws_sdk_ssoadmin::Client,
    pub(super) store: aws_sdk_identitystore::Client,
    pub(super) organizations: aws_sdk_organizations::Client,
    /// ARN of the Identity Center instance.
    pub(super) instance: String,
    /// Id of its identity store.
    pub(super) identity_store: String,
    pub(super) turns: Turns,
}

impl Calls {
    /// Finds the instance.
    pub(super) async fn open(
        config: &SdkConfig,
        region: &str,
        budgets: &Budgets,
        pace: Arc<Pace>,
    ) -> Result<Self, AwsError> {
        const OPERATION: &str = "sso:ListInstances";
        let sso = aws_sdk_ssoadmin::Client::new(config);
        // Whose budget this is on is not known before the answer.
        let anybodys = Budget::new(Limits::IDENTITY_CENTER);
        let mut calls = Self {
            sso,
            store: aws_sdk_identitystore::Client::new(config),
            organizations: organizations(config),
            instance: String::new(),
            identity_store: String::new(),
            turns: Turns::new(pace, Some(anybodys)),
        };
        let answer = calls
            .turns
            .ask(OPERATION, || calls.sso.list_instances().send())
            .await?;
        let found = answer
            .instances()
            .iter()
            .find_map(|found| Some((found.instance_arn()?, found.identity_store_id()?)));
        let Some((instance, store)) = found else {
            let message = format!("IAM Identity Center has no instance in region `{region}`");
            let class = ErrorClass::NeedsOperator;
            let error = AwsError::new(OPERATION, class, "no_identity_center", message);
            return Err(error.with_hint(
                "set `sso_region` to the primary region of IAM Identity Center, and `management_role_arn` to a role in the management account \
                 or the delegated administrator's",
            ));
        };
        calls.turns.set_budget(budgets.of(instance));
        instance.clone_into(&mut calls.instance);
        store.clone_into(&mut calls.identity_store);
        Ok(calls)
    }
}
