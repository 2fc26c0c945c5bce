//! Owns the list of permission sets: what is in them, and their names by ARN. Never says where they are used.

use super::Walk;
use crate::aws::AwsError;
use crate::domain::{InventoryRecord, ResourceKind};
use crate::inventory::aws_calls::{Pages, is_absent, tell};
use crate::inventory::{RecordSender, SourceError};
use aws_sdk_ssoadmin::operation::list_customer_managed_policy_references_in_permission_set::ListCustomerManagedPolicyReferencesInPermissionSetOutput;
use aws_sdk_ssoadmin::operation::list_managed_policies_in_permission_set::ListManagedPoliciesInPermissionSetOutput;
use aws_sdk_ssoadmin::operation::list_tags_for_resource::ListTagsForResourceOutput;
use aws_sdk_ssoadmin::types::CustomerManagedPolicyReference;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Most entries of a page of Identity Center.
pub(super) const PAGE: i32 = 100;

/// Names of permission sets by ARN: 3,500 at most, as AWS has it.
pub(super) type Sets = HashMap<String, String>;

impl Walk<'_> {
    /// Lists all permission sets.
    pub(super) async fn list_sets(&self, records: &mut RecordSender) -> Result<Sets, SourceError> {
        const OPERATION: &str = "sso:ListPermissionSets";
        let mut sets = Sets::new();
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || {
                let call = self.calls.sso.list_permission_sets();
                call.instance_arn(&self.calls.instance)
                    .max_results(PAGE)
                    .set_next_token(pages.token())
                    .send()
            };
            let answer = self.calls.turns.ask(OPERATION, ask).await?;
            for arn in answer.permission_sets() {
                match self.set(arn).await {
                    // Deleted since the list was made.
                    Err(error) if is_absent(&error) => {}
                    set => {
                        let record = set?;
                        sets.insert(arn.clone(), record.name.clone());
                        records.send(record).await?;
                    }
                }
            }
            pages.turn(answer.next_token())?;
        }
        Ok(sets)
    }

    async fn set(&self, arn: &str) -> Result<InventoryRecord, AwsError> {
        const OPERATION: &str = "sso:DescribePermissionSet";
        let ask = || {
            let call = self.calls.sso.describe_permission_set();
            call.instance_arn(&self.calls.instance)
                .permission_set_arn(arn)
                .send()
        };
        let answer = self.calls.turns.ask(OPERATION, ask).await?;
        let set = answer.permission_set();
        let name = set.and_then(|set| set.name()).unwrap_or(arn);
        let mut record = self.record(ResourceKind::AwsPermissionSet, name, name);
        arn.clone_into(&mut record.native_id);
        record.comment = set.and_then(|set| set.description()).map(str::to_owned);
        let duration = set.and_then(|set| set.session_duration());
        tell(&mut record, "session_duration", duration);
        record.tags = self.tags_of_set(arn).await?;
        let managed = self.managed_policies(arn).await?.join(" ");
        tell(&mut record, "managed_policies", Some(&managed));
        let customer = self.customer_policies(arn).await?.join(" ");
        tell(&mut record, "customer_managed_policies", Some(&customer));
        if let Some(policy) = self.inline_policy(arn).await? {
            // The policy may be longer than what is reported of it; the digest tells any change.
            tell(&mut record, "inline_policy_sha256", Some(&sha256(&policy)));
            tell(&mut record, "inline_policy", Some(&policy));
        }
        let boundary = self.boundary(arn).await?;
        tell(&mut record, "permissions_boundary", boundary.as_deref());
        Ok(record)
    }

    /// Returns the name of a set that is assigned; one made after the list was read is asked for.
    pub(super) async fn name_of_set(&self, arn: &str) -> Result<String, AwsError> {
        const OPERATION: &str = "sso:DescribePermissionSet";
        let ask = || {
            let call = self.calls.sso.describe_permission_set();
            call.instance_arn(&self.calls.instance)
                .permission_set_arn(arn)
                .send()
        };
        match self.calls.turns.ask(OPERATION, ask).await {
            Err(error) if is_absent(&error) => Ok(arn.to_owned()),
            answer => {
                let answer = answer?;
                let name = answer.permission_set().and_then(|set| set.name());
                Ok(name.unwrap_or(arn).to_owned())
            }
        }
    }

    async fn tags_of_set(&self, arn: &str) -> Result<BTreeMap<String, String>, AwsError> {
        let mut tags = BTreeMap::new();
        let call = self.calls.sso.list_tags_for_resource();
        let call = call.instance_arn(&self.calls.instance).resource_arn(arn);
        let ask = |token| call.clone().set_next_token(token).send();
        let keep = |page: ListTagsForResourceOutput| {
            let pairs = page.tags().iter();
            tags.extend(pairs.map(|tag| (tag.key().to_owned(), tag.value().to_owned())));
            page.next_token
        };
        let turns = &self.calls.turns;
        turns.read("sso:ListTagsForResource", ask, keep).await?;
        Ok(tags)
    }

    async fn managed_policies(&self, arn: &str) -> Result<Vec<String>, AwsError> {
        let mut policies = Vec::new();
        let call = self.calls.sso.list_managed_policies_in_permission_set();
        let call = call
            .instance_arn(&self.calls.instance)
            .permission_set_arn(arn);
        let ask = |token| call.clone().set_next_token(token).send();
        let keep = |page: ListManagedPoliciesInPermissionSetOutput| {
            let attached = page.attached_managed_policies().iter();
            policies.extend(attached.filter_map(|policy| policy.arn().map(str::to_owned)));
            page.next_token
        };
        let turns = &self.calls.turns;
        turns
            .read("sso:ListManagedPoliciesInPermissionSet", ask, keep)
            .await?;
        policies.sort();
        Ok(policies)
    }

    async fn customer_policies(&self, arn: &str) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "sso:ListCustomerManagedPolicyReferencesInPermissionSet";
        let mut policies = Vec::new();
        let sso = &self.calls.sso;
        let call = sso.list_customer_managed_policy_references_in_permission_set();
        let call = call
            .instance_arn(&self.calls.instance)
            .permission_set_arn(arn);
        let ask = |token| call.clone().set_next_token(token).send();
        let keep = |page: ListCustomerManagedPolicyReferencesInPermissionSetOutput| {
            policies.extend(
                page.customer_managed_policy_references()
                    .iter()
                    .map(reference),
            );
            page.next_token
        };
        self.calls.turns.read(OPERATION, ask, keep).await?;
        policies.sort();
        Ok(policies)
    }

    /// Returns the inline policy without white space between its parts; nothing where there is none.
    async fn inline_policy(&self, arn: &str) -> Result<Option<String>, AwsError> {
        const OPERATION: &str = "sso:GetInlinePolicyForPermissionSet";
        let ask = || {
            let call = self.calls.sso.get_inline_policy_for_permission_set();
            call.instance_arn(&self.calls.instance)
                .permission_set_arn(arn)
                .send()
        };
        let answer = self.calls.turns.ask(OPERATION, ask).await?;
        let policy = answer.inline_policy().filter(|policy| !policy.is_empty());
        Ok(policy.map(|policy| {
            let read = serde_json::from_str::<serde_json::Value>(policy);
            read.map_or_else(|_| policy.to_owned(), |read| read.to_string())
        }))
    }

    async fn boundary(&self, arn: &str) -> Result<Option<String>, AwsError> {
        const OPERATION: &str = "sso:GetPermissionsBoundaryForPermissionSet";
        let ask = || {
            let call = self.calls.sso.get_permissions_boundary_for_permission_set();
            call.instance_arn(&self.calls.instance)
                .permission_set_arn(arn)
                .send()
        };
        let answer = match self.calls.turns.ask(OPERATION, ask).await {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other?,
        };
        let boundary = answer.permissions_boundary();
        Ok(boundary.and_then(|boundary| {
            let customer = boundary.customer_managed_policy_reference().map(reference);
            boundary
                .managed_policy_arn()
                .map(str::to_owned)
                .or(customer)
        }))
    }
}

/// Path and name, as a permission set refers to a policy of the account: `/team/limits`.
fn reference(policy: &CustomerManagedPolicyReference) -> String {
    format!("{}{}", policy.path().unwrap_or("/"), policy.name())
}

fn sha256(text: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        // Writing to a string does not fail.
        write!(hex, "{byte:02x}").unwrap_or_default();
    }
    hex
}
