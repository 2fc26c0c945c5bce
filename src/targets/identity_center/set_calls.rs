//! Owns the calls that make, change and remove permission sets: one request each, within the budget. Never decides.

use super::asking::{Asking, PAGE};
use super::definition::{Boundary, CustomerPolicy, Definition, Edit};
use super::marks::Tags;
use super::service::{PermissionSet, Service, absent_is_none};
use crate::aws::budget::OperationTurn;
use crate::aws::{AwsError, NotAfter, refused};
use crate::domain::ErrorClass;
use aws_sdk_ssoadmin::types::{
    CustomerManagedPolicyReference, PermissionsBoundary, ProvisionTargetType, ProvisioningStatus,
    Tag,
};
use jiff::Timestamp;

/// Names a permission set in a call on it.
macro_rules! on {
    ($service:expr, $call:ident, $by:expr, $arn:expr) => {
        $service
            .sso
            .$call()
            .instance_arn(&$by.instance.arn)
            .permission_set_arn($arn)
    };
}

impl Service {
    /// Makes a permission set with its marks, and returns its ARN. It is not sent when it would be signed after `not_after`.
    pub(super) async fn create_set(
        &self,
        by: Asking<'_>,
        (name, definition, marks): (&str, &Definition, &Tags),
        not_after: Timestamp,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "sso:CreatePermissionSet";
        let call = self
            .sso
            .create_permission_set()
            .instance_arn(&by.instance.arn)
            .name(name)
            .set_description(definition.description.clone())
            .set_session_duration(definition.session.clone())
            .set_tags(Some(tags(OPERATION, marks)?));
        let sending = call
            .customize()
            .interceptor(NotAfter::new(not_after))
            .send();
        let answer = by.one(OPERATION, sending).await?;
        let set = answer.permission_set.and_then(|set| set.permission_set_arn);
        set.ok_or_else(|| {
            let message = "the answer has no ARN";
            let class = ErrorClass::Transient;
            AwsError::new(OPERATION, class, "unreadable_answer", message)
        })
    }

    /// Changes one thing about a permission set. Accounts keep the old until it is provisioned.
    pub(super) async fn edit(
        &self,
        by: Asking<'_>,
        arn: &str,
        edit: &Edit,
    ) -> Result<(), AwsError> {
        // The calls differ in nothing but their names and members.
        macro_rules! send {
            ($operation:literal, $call:ident $(, $member:ident = $value:expr)*) => {{
                let call = on!(self, $call, by, arn)$(.$member($value))*;
                by.one($operation, call.send()).await.map(drop)
            }};
        }
        match edit {
            Edit::Update {
                description,
                session,
            } => send!(
                "sso:UpdatePermissionSet",
                update_permission_set,
                set_description = description.clone(),
                set_session_duration = session.clone()
            ),
            Edit::AttachManaged(policy) => send!(
                "sso:AttachManagedPolicyToPermissionSet",
                attach_managed_policy_to_permission_set,
                managed_policy_arn = policy
            ),
            Edit::DetachManaged(policy) => send!(
                "sso:DetachManagedPolicyFromPermissionSet",
                detach_managed_policy_from_permission_set,
                managed_policy_arn = policy
            ),
            Edit::AttachCustomer(policy) => send!(
                "sso:AttachCustomerManagedPolicyReferenceToPermissionSet",
                attach_customer_managed_policy_reference_to_permission_set,
                customer_managed_policy_reference = reference(policy)?
            ),
            Edit::DetachCustomer(policy) => send!(
                "sso:DetachCustomerManagedPolicyReferenceFromPermissionSet",
                detach_customer_managed_policy_reference_from_permission_set,
                customer_managed_policy_reference = reference(policy)?
            ),
            Edit::PutInline(policy) => send!(
                "sso:PutInlinePolicyToPermissionSet",
                put_inline_policy_to_permission_set,
                inline_policy = policy
            ),
            Edit::DeleteInline => send!(
                "sso:DeleteInlinePolicyFromPermissionSet",
                delete_inline_policy_from_permission_set
            ),
            Edit::PutBoundary(wanted) => send!(
                "sso:PutPermissionsBoundaryToPermissionSet",
                put_permissions_boundary_to_permission_set,
                permissions_boundary = boundary(wanted)?
            ),
            Edit::DeleteBoundary => send!(
                "sso:DeletePermissionsBoundaryFromPermissionSet",
                delete_permissions_boundary_from_permission_set
            ),
        }
    }

    /// Reads what a permission set holds.
    pub(super) async fn definition(
        &self,
        by: Asking<'_>,
        set: &PermissionSet,
    ) -> Result<Definition, AwsError> {
        let arn = &set.arn;
        let ask = |page| {
            let call = on!(self, list_managed_policies_in_permission_set, by, arn);
            call.max_results(PAGE).set_next_token(page).send()
        };
        let listed = by.all("sso:ListManagedPoliciesInPermissionSet", ask, |answer| {
            let policies = answer.attached_managed_policies.unwrap_or_default();
            (policies, answer.next_token)
        });
        let managed = listed.await?.into_iter().filter_map(|policy| policy.arn);
        let managed = managed.collect();
        let ask = |page| {
            let call = on!(
                self,
                list_customer_managed_policy_references_in_permission_set,
                by,
                arn
            );
            call.max_results(PAGE).set_next_token(page).send()
        };
        let operation = "sso:ListCustomerManagedPolicyReferencesInPermissionSet";
        let listed = by.all(operation, ask, |answer| {
            let policies = answer
                .customer_managed_policy_references
                .unwrap_or_default();
            (policies, answer.next_token)
        });
        let customer = listed.await?.into_iter().map(policy).collect();
        let call = on!(self, get_inline_policy_for_permission_set, by, arn);
        let answer = by.one("sso:GetInlinePolicyForPermissionSet", call.send());
        // A policy that is none is as good as a wrong one: it is written anew.
        let inline = answer.await?.inline_policy.filter(|text| !text.is_empty());
        let inline = inline.map(|text| serde_json::from_str(&text).unwrap_or_default());
        let call = on!(self, get_permissions_boundary_for_permission_set, by, arn);
        let answer = by.one("sso:GetPermissionsBoundaryForPermissionSet", call.send());
        let answer = absent_is_none(answer.await)?;
        let boundary = answer.and_then(|answer| answer.permissions_boundary);
        Ok(Definition {
            description: set.description.clone(),
            session: set.session.clone(),
            managed,
            customer,
            inline,
            boundary: boundary.and_then(read_boundary),
        })
    }

    /// Removes a permission set; a conflict while it is in use anywhere.
    pub(super) async fn delete_set(&self, by: Asking<'_>, arn: &str) -> Result<(), AwsError> {
        let call = on!(self, delete_permission_set, by, arn);
        by.one("sso:DeletePermissionSet", call.send())
            .await
            .map(drop)
    }

    /// Reads the tags of a permission set; nothing when it does not exist.
    pub(super) async fn tags(&self, by: Asking<'_>, arn: &str) -> Result<Option<Tags>, AwsError> {
        let ask = |page| {
            let call = self.sso.list_tags_for_resource();
            let call = call.instance_arn(&by.instance.arn).resource_arn(arn);
            call.set_next_token(page).send()
        };
        let listed = by.all("sso:ListTagsForResource", ask, |answer| {
            (answer.tags.unwrap_or_default(), answer.next_token)
        });
        let tags = absent_is_none(listed.await)?;
        let pair = |tag: Tag| (tag.key, tag.value);
        Ok(tags.map(|tags| tags.into_iter().map(pair).collect()))
    }

    /// Writes tags; those not named stay.
    pub(super) async fn tag(
        &self,
        by: Asking<'_>,
        arn: &str,
        marks: &Tags,
    ) -> Result<(), AwsError> {
        const OPERATION: &str = "sso:TagResource";
        let call = self.sso.tag_resource().instance_arn(&by.instance.arn);
        let call = call
            .resource_arn(arn)
            .set_tags(Some(tags(OPERATION, marks)?));
        by.one(OPERATION, call.send()).await.map(drop)
    }

    /// Lists the accounts a permission set is in; with `behind`, those that have an older definition of it. Nothing when it does not exist.
    pub(super) async fn accounts_of_set(
        &self,
        by: Asking<'_>,
        arn: &str,
        behind: bool,
    ) -> Result<Vec<String>, AwsError> {
        let status = behind.then_some(ProvisioningStatus::LatestPermissionSetNotProvisioned);
        let ask = |page| {
            let call = on!(self, list_accounts_for_provisioned_permission_set, by, arn);
            call.set_provisioning_status(status.clone())
                .max_results(PAGE)
                .set_next_token(page)
                .send()
        };
        let listed = by.all(
            "sso:ListAccountsForProvisionedPermissionSet",
            ask,
            |answer| (answer.account_ids.unwrap_or_default(), answer.next_token),
        );
        Ok(absent_is_none(listed.await)?.unwrap_or_default())
    }

    /// Orders that an account gets a set's definition; returns the id to follow.
    pub(super) async fn provision(
        &self,
        by: Asking<'_>,
        (account, arn): (&str, &str),
        turn: &mut OperationTurn,
    ) -> Result<String, AwsError> {
        turn.request().await;
        turn.sent();
        let call = on!(self, provision_permission_set, by, arn);
        let call = call
            .target_type(ProvisionTargetType::AwsAccount)
            .target_id(account);
        let answer = call.send().await;
        let answer = answer.map_err(|error| refused("sso:ProvisionPermissionSet", error))?;
        let status = answer.permission_set_provisioning_status;
        Ok(status
            .and_then(|status| status.request_id)
            .unwrap_or_default())
    }
}

fn tags(operation: &str, marks: &Tags) -> Result<Vec<Tag>, AwsError> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    let tags: Result<Vec<_>, _> = marks.iter().map(tag).collect();
    tags.map_err(|error| invalid(operation, &error))
}

fn reference(policy: &CustomerPolicy) -> Result<CustomerManagedPolicyReference, AwsError> {
    let reference = CustomerManagedPolicyReference::builder()
        .name(&policy.name)
        .path(&policy.path)
        .build();
    reference.map_err(|error| {
        invalid(
            "sso:AttachCustomerManagedPolicyReferenceToPermissionSet",
            &error,
        )
    })
}

fn boundary(wanted: &Boundary) -> Result<PermissionsBoundary, AwsError> {
    let boundary = PermissionsBoundary::builder();
    Ok(match wanted {
        Boundary::ManagedPolicy(arn) => boundary.managed_policy_arn(arn),
        Boundary::CustomerManagedPolicy(policy) => {
            boundary.customer_managed_policy_reference(reference(policy)?)
        }
    }
    .build())
}

fn policy(reference: CustomerManagedPolicyReference) -> CustomerPolicy {
    CustomerPolicy {
        path: reference.path.unwrap_or_else(|| "/".to_owned()),
        name: reference.name,
    }
}

fn read_boundary(found: PermissionsBoundary) -> Option<Boundary> {
    let customer = found.customer_managed_policy_reference;
    let customer = customer.map(|found| Boundary::CustomerManagedPolicy(policy(found)));
    customer.or(found.managed_policy_arn.map(Boundary::ManagedPolicy))
}

fn invalid(operation: &str, error: &dyn std::error::Error) -> AwsError {
    let class = ErrorClass::Bug;
    AwsError::new(operation, class, "request_invalid", error.to_string())
}
