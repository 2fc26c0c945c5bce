//! Owns the order in which Identity Center's administration refuses, and what each of its calls leads to.

use super::clock::{Moment, seconds};
use super::knobs::WrongRegion;
use super::operations::Kind;
use super::organization::{MANAGEMENT, REGION};
use super::pace::Rate;
use super::pages::SHORT;
use super::policies::Context;
use super::refusal::Refusal;
use super::shapes::{Model, not_played, text};
use super::signature::Signed;
use super::state::World;
use serde_json::{Value, json};

impl World {
    /// Answers a call to sso-admin whose signature is good.
    pub(super) fn sso(
        &mut self,
        signed: &Signed,
        operation: &str,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let model = Model::of("sso-admin");
        if !model.has(operation) {
            return Err(Refusal::new("UnknownOperationException", ""));
        }
        self.pace("sso", now)?;
        if signed.region != REGION {
            return self.elsewhere(signed, operation, input);
        }
        self.is_administrator(signed, operation)?;
        for (resource, context) in self.resources(operation, input) {
            signed
                .caller
                .may(&format!("sso:{operation}"), &resource, &context)?;
        }
        model.check(operation, input).map_err(Refusal::validation)?;
        self.exists(operation, input)?;
        self.is_open_to(signed, operation, input)?;
        self.led(signed, operation, input, now)
    }

    pub(super) fn pace(&mut self, bucket: &str, now: Moment) -> Result<(), Refusal> {
        let Some(most) = self.knobs.requests_per_second else {
            return Ok(());
        };
        let rate = Rate {
            fill: most.into(),
            size: most.into(),
            refused_count: self.knobs.refused_calls_count,
        };
        if self.paces.take(bucket, rate, now) {
            Ok(())
        } else {
            Err(Refusal::rate())
        }
    }

    /// Additional regions answer reads of the instance; any other knows nothing of it.
    fn elsewhere(&self, signed: &Signed, operation: &str, input: &Value) -> Result<Value, Refusal> {
        let replicated = self.instance.further_regions.contains(&signed.region);
        match operation {
            "ListInstances" if replicated || input["RegionScope"] == "ALL_REGIONS" => {
                self.list_instances(input)
            }
            "ListInstances" => Ok(json!({"Instances": []})),
            "DescribeInstance" if replicated => Ok(self.describe_instance()),
            _ => Err(match self.knobs.wrong_region {
                WrongRegion::Denied => Refusal::denied(
                    &signed.caller.arn,
                    &format!("sso:{operation}"),
                    &self.instance.arn,
                    false,
                ),
                WrongRegion::NotFound => {
                    Refusal::not_found("Could not find Instance in this region")
                }
            }),
        }
    }

    /// Lets in the management account and the delegated administrator.
    fn is_administrator(&self, signed: &Signed, operation: &str) -> Result<(), Refusal> {
        let account = &signed.caller.account;
        let delegated = self.tree.delegated.as_ref() == Some(account);
        let allowed =
            account == MANAGEMENT || delegated && operation != "ListAccountAssignmentsForPrincipal";
        if allowed {
            return Ok(());
        }
        Err(Refusal::denied(
            &signed.caller.arn,
            &format!("sso:{operation}"),
            &self.instance.arn,
            false,
        ))
    }

    /// Returns what IAM wants to see allowed for a call, each with its tags.
    fn resources(&self, operation: &str, input: &Value) -> Vec<(String, Context)> {
        let base: Context = [("sso:PrimaryRegion".to_owned(), vec![REGION.to_owned()])].into();
        if operation == "ListInstances" {
            return vec![("*".to_owned(), base)];
        }
        let mut request = base.clone();
        let mut keys = Vec::new();
        for tag in input["Tags"].as_array().into_iter().flatten() {
            keys.push(text(tag, "Key").to_owned());
            request.insert(
                format!("aws:RequestTag/{}", text(tag, "Key")),
                vec![text(tag, "Value").to_owned()],
            );
        }
        keys.extend(
            input["TagKeys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
        if !keys.is_empty() {
            request.insert("aws:TagKeys".to_owned(), keys);
        }
        let mut resources = Vec::new();
        if matches!(
            operation,
            "TagResource" | "UntagResource" | "ListTagsForResource"
        ) {
            let arn = text(input, "ResourceArn");
            resources.push((arn.to_owned(), self.with_tags(request, arn)));
            return resources;
        }
        resources.push((text(input, "InstanceArn").to_owned(), request.clone()));
        if operation == "CreatePermissionSet" {
            let any = format!("arn:aws:sso:::permissionSet/{}/ps-new", self.instance.id);
            resources.push((any, request));
        } else if let Some(arn) = input["PermissionSetArn"].as_str() {
            resources.push((arn.to_owned(), self.with_tags(request, arn)));
        }
        let has_account = !matches!(operation, "ListAccountAssignmentsForPrincipal");
        for name in ["TargetId", "AccountId"] {
            if let Some(account) = input[name].as_str().filter(|_| has_account) {
                resources.push((format!("arn:aws:sso:::account/{account}"), base.clone()));
            }
        }
        if input["TargetType"] == "ALL_PROVISIONED_ACCOUNTS" {
            resources.push(("arn:aws:sso:::account/*".to_owned(), base));
        }
        resources
    }

    fn with_tags(&self, mut context: Context, arn: &str) -> Context {
        for (key, value) in self
            .sets
            .get(arn)
            .into_iter()
            .flat_map(|set| &set.definition.tags)
        {
            context.insert(format!("aws:ResourceTag/{key}"), vec![value.clone()]);
        }
        context
    }

    /// The instance and the permission set have to exist; account and principal are not looked at.
    fn exists(&self, operation: &str, input: &Value) -> Result<(), Refusal> {
        if let Some(arn) = input["InstanceArn"]
            .as_str()
            .filter(|arn| *arn != self.instance.arn)
        {
            let id = arn.rsplit('/').next().unwrap_or_default();
            return Err(Refusal::not_found(format!(
                "Could not find Instance with id {id}"
            )));
        }
        if let Some(arn) = input["PermissionSetArn"]
            .as_str()
            .filter(|arn| !self.sets.contains_key(*arn))
        {
            let id = arn.rsplit('/').next().unwrap_or_default();
            return Err(Refusal::not_found(format!(
                "Could not find PermissionSet with id {id}"
            )));
        }
        let about_the_instance = matches!(operation, "ListInstances" | "DescribeInstance");
        if !self.instance.permission_sets_enabled && !about_the_instance {
            return Err(Refusal::new(
                "AccessDeniedException",
                "Permission sets are switched off for this instance",
            ));
        }
        Ok(())
    }

    /// The management account's permission sets are closed to the delegated administrator.
    fn is_open_to(&self, signed: &Signed, operation: &str, input: &Value) -> Result<(), Refusal> {
        let reads = ["List", "Describe", "Get"]
            .iter()
            .any(|verb| operation.starts_with(verb));
        if signed.caller.account == MANAGEMENT || reads {
            return Ok(());
        }
        let set = input["PermissionSetArn"]
            .as_str()
            .or(input["ResourceArn"].as_str())
            .unwrap_or_default();
        let touched = self.sets.get(set).is_some_and(|set| set.touched_management);
        if touched || text(input, "TargetId") == MANAGEMENT {
            return Err(Refusal::denied(
                &signed.caller.arn,
                &format!("sso:{operation}"),
                set,
                false,
            ));
        }
        Ok(())
    }

    fn led(
        &mut self,
        signed: &Signed,
        operation: &str,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        match operation {
            "CreateAccountAssignment" => {
                self.change_assignment(Kind::Create, &signed.caller, input, now)
            }
            "DeleteAccountAssignment" => {
                self.change_assignment(Kind::Delete, &signed.caller, input, now)
            }
            "ProvisionPermissionSet" => self.provision_permission_set(&signed.caller, input, now),
            "DescribeAccountAssignmentCreationStatus" => {
                self.describe_status(Kind::Create, input, now)
            }
            "DescribeAccountAssignmentDeletionStatus" => {
                self.describe_status(Kind::Delete, input, now)
            }
            "DescribePermissionSetProvisioningStatus" => {
                self.describe_status(Kind::Provision, input, now)
            }
            "ListAccountAssignmentCreationStatus" => self.list_status(Kind::Create, input, now),
            "ListAccountAssignmentDeletionStatus" => self.list_status(Kind::Delete, input, now),
            "ListPermissionSetProvisioningStatus" => self.list_status(Kind::Provision, input, now),
            "ListAccountAssignments" => self.list_account_assignments(input, now),
            "ListAccountAssignmentsForPrincipal" => self.list_assignments_for_principal(input, now),
            "ListPermissionSetsProvisionedToAccount" => self.list_sets_of_account(input),
            "ListAccountsForProvisionedPermissionSet" => self.list_accounts_of_set(input),
            "ListInstances" => self.list_instances(input),
            "DescribeInstance" => Ok(self.describe_instance()),
            "ListTagsForResource" => self.list_tags(input),
            "TagResource" => self.tag(input),
            "UntagResource" => self.untag(input),
            _ => self.led_to_set(operation, input, now),
        }
    }

    fn led_to_set(
        &mut self,
        operation: &str,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        match operation {
            "CreatePermissionSet" => self.create_set(input, now),
            "DescribePermissionSet" => self.describe_set(input),
            "UpdatePermissionSet" => self.update_set(input, now),
            "DeletePermissionSet" => self.delete_set(input, now),
            "ListPermissionSets" => self.list_sets(input),
            "AttachManagedPolicyToPermissionSet" => self.attach_managed(input, now),
            "DetachManagedPolicyFromPermissionSet" => self.detach_managed(input, now),
            "ListManagedPoliciesInPermissionSet" => self.list_managed(input),
            "AttachCustomerManagedPolicyReferenceToPermissionSet" => {
                self.attach_customer(input, now)
            }
            "DetachCustomerManagedPolicyReferenceFromPermissionSet" => {
                self.detach_customer(input, now)
            }
            "ListCustomerManagedPolicyReferencesInPermissionSet" => self.list_customer(input),
            "PutInlinePolicyToPermissionSet" => self.put_inline(input, now),
            "GetInlinePolicyForPermissionSet" => self.get_inline(input),
            "DeleteInlinePolicyFromPermissionSet" => self.delete_inline(input, now),
            "PutPermissionsBoundaryToPermissionSet" => self.put_boundary(input, now),
            "GetPermissionsBoundaryForPermissionSet" => self.get_boundary(input),
            "DeletePermissionsBoundaryFromPermissionSet" => self.delete_boundary(input, now),
            other => Err(not_played(other)),
        }
    }

    fn list_instances(&self, input: &Value) -> Result<Value, Refusal> {
        let mut row = self.describe_instance();
        let members = row.as_object_mut().unwrap();
        members.remove("EncryptionConfigurationDetails");
        members.remove("PermissionSetsEnabled");
        let (page, next) = self.page(
            "ListInstances",
            input,
            vec![(self.instance.arn.clone(), row)],
            SHORT,
        )?;
        Ok(json!({"Instances": page, "NextToken": next}))
    }

    fn describe_instance(&self) -> Value {
        let region = |name: &str, primary: bool| json!({"RegionName": name, "Status": "ACTIVE", "IsPrimaryRegion": primary, "AddedDate": seconds(self.instance.created)});
        let mut regions = vec![region(REGION, true)];
        regions.extend(
            self.instance
                .further_regions
                .iter()
                .map(|name| region(name, false)),
        );
        json!({
            "InstanceArn": self.instance.arn,
            "IdentityStoreId": self.instance.store,
            "IdentityStoreArn": format!("arn:aws:identitystore::{MANAGEMENT}:identitystore/{}", self.instance.store),
            "OwnerAccountId": MANAGEMENT,
            "Name": "tests",
            "CreatedDate": seconds(self.instance.created),
            "Status": "ACTIVE",
            "PrimaryRegion": REGION,
            "Regions": regions,
            "EncryptionConfigurationDetails": {"KeyType": "AWS_OWNED_KMS_KEY", "EncryptionStatus": "ENABLED"},
            "PermissionSetsEnabled": self.instance.permission_sets_enabled,
        })
    }
}
