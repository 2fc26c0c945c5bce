//! Owns the calls to IAM Identity Center, its identity store and the organization: one request each, within the budget. Never decides.

use super::asking::{Asking, PAGE};
use super::note::Triple;
use crate::aws::budget::OperationTurn;
use crate::aws::operations::SsoAdminOperations;
use crate::aws::{AwsError, NotAfter, organizations, refused};
use crate::domain::ErrorClass;
use aws_sdk_identitystore::types::{AlternateIdentifier, UniqueAttribute, UserStatus};
use aws_sdk_ssoadmin::types::{
    AccountAssignment, AccountAssignmentOperationStatus, PrincipalType, TargetType,
};
use aws_smithy_types::Document;
use aws_types::SdkConfig;
use jiff::Timestamp;

/// Names an assignment in an order; the two orders differ in nothing but their names.
macro_rules! addressed {
    ($call:expr, $instance:expr, $triple:expr) => {
        $call
            .instance_arn(&$instance.arn)
            .target_id(&$triple.account)
            .target_type(TargetType::AwsAccount)
            .permission_set_arn(&$triple.set)
            .principal_type(PrincipalType::from($triple.principal_type.as_str()))
            .principal_id(&$triple.principal)
    };
}

/// Identity Center of one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) arn: String,
    pub(super) store: String,
    /// The account the instance lives in: the management account of an organization.
    pub(super) owner: Option<String>,
}

/// A permission set, as far as a grant needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PermissionSet {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) session: Option<String>,
}

/// An account, as far as a grant needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    /// `ACTIVE` and so on; nothing when AWS did not say.
    pub(super) state: Option<String>,
}

/// Somebody in the identity store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) is_disabled: bool,
}

/// Clients of one session.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) sso: aws_sdk_ssoadmin::Client,
    store: aws_sdk_identitystore::Client,
    organizations: aws_sdk_organizations::Client,
}

impl Service {
    pub(super) fn new(config: &SdkConfig) -> Self {
        Self {
            sso: aws_sdk_ssoadmin::Client::new(config),
            store: aws_sdk_identitystore::Client::new(config),
            organizations: organizations(config),
        }
    }

    /// Returns the calls that tell what became of operations.
    pub(super) fn operations(&self, instance: &Instance) -> SsoAdminOperations {
        SsoAdminOperations::new(self.sso.clone(), &instance.arn)
    }

    /// Lists the instances this region is the primary one of.
    pub(super) async fn instances(&self) -> Result<Vec<Instance>, AwsError> {
        let answer = self.sso.list_instances().send().await;
        let answer = answer.map_err(|error| refused("sso:ListInstances", error))?;
        let instance = |found: &aws_sdk_ssoadmin::types::InstanceMetadata| {
            Some(Instance {
                arn: found.instance_arn()?.to_owned(),
                store: found.identity_store_id()?.to_owned(),
                owner: found.owner_account_id().map(str::to_owned),
            })
        };
        Ok(answer.instances().iter().filter_map(instance).collect())
    }

    /// Tells the account that owns the organization.
    pub(super) async fn management_account(&self) -> Result<Option<String>, AwsError> {
        let answer = self.organizations.describe_organization().send().await;
        let answer =
            answer.map_err(|error| refused("organizations:DescribeOrganization", error))?;
        let organization = answer.organization();
        Ok(organization
            .and_then(|organization| organization.master_account_id())
            .map(str::to_owned))
    }

    pub(super) async fn account(&self, id: &str) -> Result<Account, AwsError> {
        let call = self.organizations.describe_account().account_id(id);
        let answer = call.send().await;
        let answer = answer.map_err(|error| refused("organizations:DescribeAccount", error))?;
        let account = answer.account();
        let state = account.and_then(|account| {
            let state = account.state().map(|state| state.as_str().to_owned());
            // The older of the two fields; one day it is not sent any more.
            let status = account.status().map(|status| status.as_str().to_owned());
            state.or(status)
        });
        let name = account.and_then(|account| account.name());
        Ok(Account {
            name: name.unwrap_or(id).to_owned(),
            state,
        })
    }

    /// Returns what an account or a unit is in: an `ou-…` or the root.
    pub(super) async fn parent(&self, child: &str) -> Result<Option<String>, AwsError> {
        let call = self.organizations.list_parents().child_id(child);
        let answer = call.send().await;
        let answer = answer.map_err(|error| refused("organizations:ListParents", error))?;
        let parent = answer.parents().first().and_then(|parent| parent.id());
        Ok(parent.map(str::to_owned))
    }

    /// Lists the ARNs of all permission sets.
    pub(super) async fn permission_sets(&self, by: Asking<'_>) -> Result<Vec<String>, AwsError> {
        let ask = |page| {
            let call = self.sso.list_permission_sets().max_results(PAGE);
            call.instance_arn(&by.instance.arn)
                .set_next_token(page)
                .send()
        };
        by.all("sso:ListPermissionSets", ask, |answer| {
            (
                answer.permission_sets.unwrap_or_default(),
                answer.next_token,
            )
        })
        .await
    }

    pub(super) async fn permission_set(
        &self,
        by: Asking<'_>,
        arn: &str,
    ) -> Result<PermissionSet, AwsError> {
        let call = self.sso.describe_permission_set();
        let call = call.instance_arn(&by.instance.arn).permission_set_arn(arn);
        let answer = by.one("sso:DescribePermissionSet", call.send()).await?;
        let set = answer.permission_set.as_ref();
        let told = |what: Option<&str>| what.map(str::to_owned);
        Ok(PermissionSet {
            arn: arn.to_owned(),
            name: told(set.and_then(|set| set.name())).unwrap_or_default(),
            description: told(set.and_then(|set| set.description())),
            session: told(set.and_then(|set| set.session_duration())),
        })
    }

    /// Finds a user by user name (`userName`) or e-mail address (`emails.value`).
    pub(super) async fn user_id(
        &self,
        instance: &Instance,
        attribute: &str,
        value: &str,
    ) -> Result<Option<String>, AwsError> {
        const OPERATION: &str = "identitystore:GetUserId";
        let call = self
            .store
            .get_user_id()
            .identity_store_id(&instance.store)
            .alternate_identifier(alternate(OPERATION, attribute, value)?);
        let answer = call.send().await.map_err(|error| refused(OPERATION, error));
        absent_is_none(answer.map(|answer| answer.user_id().to_owned()))
    }

    pub(super) async fn user(
        &self,
        instance: &Instance,
        id: &str,
    ) -> Result<Option<Identity>, AwsError> {
        let call = self
            .store
            .describe_user()
            .identity_store_id(&instance.store)
            .user_id(id);
        let answer = call.send().await;
        let answer = answer.map_err(|error| refused("identitystore:DescribeUser", error));
        absent_is_none(answer.map(|user| Identity {
            id: id.to_owned(),
            name: user.user_name().unwrap_or(id).to_owned(),
            is_disabled: user.user_status() == Some(&UserStatus::Disabled),
        }))
    }

    pub(super) async fn group(
        &self,
        instance: &Instance,
        name: &str,
    ) -> Result<Option<Identity>, AwsError> {
        const OPERATION: &str = "identitystore:GetGroupId";
        let call = self
            .store
            .get_group_id()
            .identity_store_id(&instance.store)
            .alternate_identifier(alternate(OPERATION, "displayName", name)?);
        let answer = call.send().await.map_err(|error| refused(OPERATION, error));
        absent_is_none(answer.map(|answer| Identity {
            id: answer.group_id().to_owned(),
            name: name.to_owned(),
            is_disabled: false,
        }))
    }

    /// Lists who has a permission set in an account: the truth about every assignment. Nothing when the set does not exist.
    pub(super) async fn holders(
        &self,
        by: Asking<'_>,
        (account, set): (&str, &str),
    ) -> Result<Vec<Triple>, AwsError> {
        let ask = |page| {
            let call = self.sso.list_account_assignments().max_results(PAGE);
            call.instance_arn(&by.instance.arn)
                .account_id(account)
                .permission_set_arn(set)
                .set_next_token(page)
                .send()
        };
        let listed = by.all("sso:ListAccountAssignments", ask, |answer| {
            (
                answer.account_assignments.unwrap_or_default(),
                answer.next_token,
            )
        });
        let rows = absent_is_none(listed.await)?.unwrap_or_default();
        let triple = |row: AccountAssignment| {
            Some(Triple {
                account: row.account_id?,
                set: row.permission_set_arn?,
                principal_type: row.principal_type?.as_str().to_owned(),
                principal: row.principal_id?,
            })
        };
        Ok(rows.into_iter().filter_map(triple).collect())
    }

    /// Orders an assignment; returns the id to follow. It is not sent when it would be signed after `not_after`.
    pub(super) async fn create(
        &self,
        instance: &Instance,
        triple: &Triple,
        not_after: Timestamp,
        turn: &mut OperationTurn,
    ) -> Result<String, AwsError> {
        turn.request().await;
        turn.sent();
        let call = addressed!(self.sso.create_account_assignment(), instance, triple);
        let late = NotAfter::new(not_after);
        let answer = call.customize().interceptor(late).send().await;
        let answer = answer.map_err(|error| refused("sso:CreateAccountAssignment", error))?;
        Ok(request_id(answer.account_assignment_creation_status()))
    }

    /// Orders the removal of an assignment; returns the id to follow.
    pub(super) async fn delete(
        &self,
        instance: &Instance,
        triple: &Triple,
        turn: &mut OperationTurn,
    ) -> Result<String, AwsError> {
        turn.request().await;
        turn.sent();
        let call = addressed!(self.sso.delete_account_assignment(), instance, triple);
        let answer = call.send().await;
        let answer = answer.map_err(|error| refused("sso:DeleteAccountAssignment", error))?;
        Ok(request_id(answer.account_assignment_deletion_status()))
    }

    /// Describes a creation of somebody's: which assignment it is about. Nothing when it is not known (any more).
    pub(super) async fn creation(
        &self,
        instance: &Instance,
        id: &str,
    ) -> Result<Option<Triple>, AwsError> {
        let call = self
            .sso
            .describe_account_assignment_creation_status()
            .instance_arn(&instance.arn)
            .account_assignment_creation_request_id(id);
        let answer = call.send().await;
        let answer =
            answer.map_err(|error| refused("sso:DescribeAccountAssignmentCreationStatus", error));
        let status = absent_is_none(answer)?;
        Ok(status.and_then(|answer| {
            let status = answer.account_assignment_creation_status()?;
            Some(Triple {
                account: status.target_id()?.to_owned(),
                set: status.permission_set_arn()?.to_owned(),
                principal_type: status.principal_type()?.as_str().to_owned(),
                principal: status.principal_id()?.to_owned(),
            })
        }))
    }
}

/// Returns the id to follow an order by. Without one nothing can be followed, and only the list tells.
fn request_id(status: Option<&AccountAssignmentOperationStatus>) -> String {
    let id = status.and_then(|status| status.request_id());
    id.unwrap_or_default().to_owned()
}

fn alternate(operation: &str, path: &str, value: &str) -> Result<AlternateIdentifier, AwsError> {
    let attribute = UniqueAttribute::builder()
        .attribute_path(path)
        .attribute_value(Document::String(value.to_owned()))
        .build();
    let attribute = attribute.map_err(|error| {
        AwsError::new(
            operation,
            ErrorClass::Bug,
            "request_invalid",
            error.to_string(),
        )
    })?;
    Ok(AlternateIdentifier::UniqueAttribute(attribute))
}

/// Takes "there is no such thing" for an answer.
pub(super) fn absent_is_none<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.class() == ErrorClass::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
