//! Owns the calls about assignments: who has which permission set in which account.

use super::callers::Caller;
use super::clock::Moment;
use super::operations::{Draft, Kind};
use super::organization::MANAGEMENT;
use super::pages::SHORT;
use super::policies::Context;
use super::refusal::Refusal;
use super::rows::Principal;
use super::shapes::text;
use super::state::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// IAM rights a role in the management account takes; Identity Center has its own in member accounts only.
const ROLE_RIGHTS: [&str; 12] = [
    "iam:GetRole",
    "iam:ListRolePolicies",
    "iam:ListAttachedRolePolicies",
    "iam:CreateRole",
    "iam:AttachRolePolicy",
    "iam:PutRolePolicy",
    "iam:UpdateRole",
    "iam:DeleteRole",
    "iam:DetachRolePolicy",
    "iam:DeleteRolePolicy",
    "iam:GetSAMLProvider",
    "iam:CreateSAMLProvider",
];

impl World {
    pub(super) fn change_assignment(
        &mut self,
        kind: Kind,
        caller: &Caller,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let account = text(input, "TargetId");
        let set = text(input, "PermissionSetArn");
        if kind == Kind::Create {
            self.leaves_room(account, set)?;
        }
        let draft = Draft {
            kind,
            account: Some(account.into()),
            set: set.into(),
            principal: Some(principal(input)),
            rights: has_role_rights(caller),
        };
        self.accept(draft, now)
    }

    fn leaves_room(&self, account: &str, set: &str) -> Result<(), Refusal> {
        let provisioned = self.provisioned.get(account);
        let full = provisioned.map_or(0, BTreeSet::len) >= self.knobs.sets_per_account
            && !provisioned.is_some_and(|sets| sets.contains(set));
        if full {
            return Err(Refusal::quota(format!(
                "Account {account} has reached the limit of permission sets"
            )));
        }
        Ok(())
    }

    pub(super) fn provision_permission_set(
        &mut self,
        caller: &Caller,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let account = match (text(input, "TargetType"), input["TargetId"].as_str()) {
            ("AWS_ACCOUNT", None) => {
                return Err(Refusal::validation(
                    "TargetId is required for target type AWS_ACCOUNT",
                ));
            }
            ("AWS_ACCOUNT", Some(account)) => Some(account.into()),
            _ => None,
        };
        let draft = Draft {
            kind: Kind::Provision,
            account,
            set: text(input, "PermissionSetArn").into(),
            principal: None,
            rights: has_role_rights(caller),
        };
        self.accept(draft, now)
    }

    pub(super) fn list_account_assignments(
        &self,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let (account, set) = (text(input, "AccountId"), text(input, "PermissionSetArn"));
        let rows = self
            .rows
            .shown(account, set, now, self.lag())
            .into_iter()
            .map(|principal| {
                let row = json!({
                    "AccountId": account,
                    "PermissionSetArn": set,
                    "PrincipalType": &*principal.kind,
                    "PrincipalId": &*principal.id,
                });
                (format!("{}/{}", principal.kind, principal.id), row)
            })
            .collect();
        let (page, next) = self.page("ListAccountAssignments", input, rows, SHORT)?;
        Ok(json!({"AccountAssignments": page, "NextToken": next}))
    }

    /// Tells what is assigned to the principal itself; what comes through groups is not said.
    pub(super) fn list_assignments_for_principal(
        &self,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let principal = principal(input);
        let wanted = input["Filter"]["AccountId"].as_str();
        let rows = self
            .rows
            .shown_of_principal(&principal, now, self.lag())
            .into_iter()
            .filter(|(account, _)| wanted.is_none_or(|wanted| wanted == &**account))
            .map(|(account, set)| {
                let row = json!({
                    "AccountId": &*account,
                    "PermissionSetArn": &*set,
                    "PrincipalType": &*principal.kind,
                    "PrincipalId": &*principal.id,
                });
                (format!("{account}/{set}"), row)
            })
            .collect();
        let (page, next) = self.page("ListAccountAssignmentsForPrincipal", input, rows, SHORT)?;
        Ok(json!({"AccountAssignments": page, "NextToken": next}))
    }

    pub(super) fn list_sets_of_account(&self, input: &Value) -> Result<Value, Refusal> {
        let account = text(input, "AccountId");
        let rows = self
            .provisioned
            .get(account)
            .into_iter()
            .flatten()
            .filter(|set| self.fits(&self.sets[&***set], account, input))
            .map(|set| (set.to_string(), json!(&**set)))
            .collect();
        let (page, next) =
            self.page("ListPermissionSetsProvisionedToAccount", input, rows, SHORT)?;
        Ok(json!({"PermissionSets": page, "NextToken": next}))
    }

    pub(super) fn list_accounts_of_set(&self, input: &Value) -> Result<Value, Refusal> {
        let set = &self.sets[text(input, "PermissionSetArn")];
        let rows = set
            .accounts
            .keys()
            .filter(|account| self.fits(set, account, input))
            .map(|account| (account.to_string(), json!(&**account)))
            .collect();
        let (page, next) = self.page(
            "ListAccountsForProvisionedPermissionSet",
            input,
            rows,
            SHORT,
        )?;
        Ok(json!({"AccountIds": page, "NextToken": next}))
    }

    /// Tells whether the role of an account is as old or as new as the filter wants it.
    fn fits(&self, set: &super::state::Set, account: &str, input: &Value) -> bool {
        let latest = set
            .accounts
            .get(account)
            .is_some_and(|role| role.revision == set.revision);
        match input["ProvisioningStatus"].as_str() {
            Some("LATEST_PERMISSION_SET_PROVISIONED") => latest,
            Some(_) => !latest,
            None => true,
        }
    }
}

fn principal(input: &Value) -> Principal {
    Principal {
        kind: text(input, "PrincipalType").into(),
        id: text(input, "PrincipalId").into(),
    }
}

fn has_role_rights(caller: &Caller) -> bool {
    let roles =
        format!("arn:aws:iam::{MANAGEMENT}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_any");
    ROLE_RIGHTS
        .iter()
        .all(|right| caller.may(right, &roles, &Context::new()).is_ok())
}
