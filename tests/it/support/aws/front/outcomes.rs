//! Owns what becomes of operations at their time: an effect, or the reason why not.

use super::clock::Moment;
use super::faults::Fault;
use super::operations::{Kind, Operation};
use super::organization::MANAGEMENT;
use super::rows::{Assignment, Principal};
use super::shapes::text;
use super::state::World;
use std::collections::BTreeSet;
use std::sync::Arc;

const UNEXPECTED: &str = "An unexpected internal service exception was encountered";

impl World {
    /// An account that cannot be used keeps operations waiting for minutes before they fail.
    pub(super) fn waits_for_account(&self, operation: &Operation) -> bool {
        !operation.prolonged
            && operation.kind != Kind::Delete
            && operation
                .account
                .as_ref()
                .and_then(|account| self.tree.accounts.get(&**account))
                .is_some_and(|account| !account.state.is_usable())
    }

    pub(super) fn run(&mut self, operation: &Operation, now: Moment) -> Result<(), String> {
        if matches!(operation.fault, Some(Fault::FailsUnexpectedly)) {
            return Err(UNEXPECTED.to_owned());
        }
        let outcome = match (operation.kind, &operation.account, &operation.principal) {
            (Kind::Create, Some(account), Some(principal)) => {
                let assignment = assignment(account, operation, principal);
                self.may_create(&assignment, operation.rights)
                    .map(|()| self.assign(&assignment, now))
            }
            (Kind::Delete, Some(account), Some(principal)) => {
                let assignment = assignment(account, operation, principal);
                if self.unassign(&assignment, now) {
                    Ok(())
                } else {
                    Err(format!(
                        "Received a 404 status error: EntitlementItem doesn't exist with the given entitlement key \
                         EntitlementKey{{AccountId={account}, PrincipalId={}}}",
                        principal.id
                    ))
                }
            }
            (_, Some(account), _) => self.provision(account, operation),
            (_, None, _) => self.provision_all(operation),
        };
        match operation.fault {
            Some(Fault::FailsWithEffect) => Err(UNEXPECTED.to_owned()),
            _ => outcome,
        }
    }

    fn may_create(&self, assignment: &Assignment, rights: bool) -> Result<(), String> {
        let account_id = &*assignment.account;
        let Some(account) = self.tree.accounts.get(account_id) else {
            return Err(format!(
                "Received a 404 status error: account {account_id} was not found"
            ));
        };
        if !account.state.is_usable() {
            return Err(format!(
                "AWS SSO is unable to complete your request at this time. Obtaining permissions to manage your AWS account \
                 '{account_id}' is taking longer than usual. Please try again later."
            ));
        }
        if !self.has_principal(&assignment.principal) {
            return Err(format!(
                "Received a 404 status error: the {} assignee {} was not found in directory {}",
                assignment.principal.kind, assignment.principal.id, self.instance.store
            ));
        }
        self.has_policies(account_id, &assignment.set)?;
        self.may_manage(account_id, rights)?;
        let is_new = !self.sets[&assignment.set]
            .accounts
            .contains_key(&assignment.account);
        let roles = self
            .provisioned
            .get(&assignment.account)
            .map_or(0, BTreeSet::len);
        if is_new && roles >= account.roles_left {
            return Err(
                "Received a 409 status error: Cannot exceed quota for RolesPerAccount".to_owned(),
            );
        }
        Ok(())
    }

    fn has_principal(&self, principal: &Principal) -> bool {
        match &*principal.kind {
            "USER" => self
                .store
                .users
                .get(&*principal.id)
                .is_some_and(|user| self.knobs.disabled_users_exist || !user.disabled),
            _ => self.store.groups.contains_key(&*principal.id),
        }
    }

    fn has_policies(&self, account: &str, set: &str) -> Result<(), String> {
        let here = &self.tree.accounts[account].policies;
        let definition = &self.sets[set].definition;
        let boundary = definition.boundary.as_ref().and_then(|boundary| {
            let reference = boundary.get("CustomerManagedPolicyReference")?;
            let path = reference["Path"].as_str().unwrap_or("/");
            Some((path.to_owned(), text(reference, "Name").to_owned()))
        });
        match definition
            .customer
            .iter()
            .cloned()
            .chain(boundary)
            .map(|(path, name)| format!("{path}{name}"))
            .find(|policy| !here.contains(&policy.to_ascii_lowercase()))
        {
            Some(policy) => Err(format!(
                "Received a 404 status error: Not supported policy arn:aws:iam::{account}:policy{policy}."
            )),
            None => Ok(()),
        }
    }

    fn may_manage(&self, account: &str, rights: bool) -> Result<(), String> {
        if account != MANAGEMENT || rights {
            return Ok(());
        }
        Err("Received a 403 status error: Access denied by IAM. Please check your policy, or wait for role propagation to \
             complete."
            .to_owned())
    }

    fn provision(&mut self, account: &Arc<str>, operation: &Operation) -> Result<(), String> {
        if !self
            .sets
            .get(&operation.set)
            .is_some_and(|set| set.accounts.contains_key(account))
        {
            return Err("Received a 404 status error: Assignment not found.".to_owned());
        }
        if !self
            .tree
            .accounts
            .get(&**account)
            .is_some_and(|account| account.state.is_usable())
        {
            return Err("AWS SSO is unable to complete your request at this time.".to_owned());
        }
        self.has_policies(account, &operation.set)?;
        self.may_manage(account, operation.rights)?;
        let as_accepted = self.knobs.provision_as_accepted;
        let set = self.sets.get_mut(&operation.set).unwrap();
        let revision = if as_accepted {
            operation.revision
        } else {
            set.revision
        };
        set.accounts.get_mut(account).unwrap().revision = revision;
        Ok(())
    }

    /// One account that cannot be done fails the whole, and the others are done.
    fn provision_all(&mut self, operation: &Operation) -> Result<(), String> {
        let accounts: Vec<_> = self
            .sets
            .get(&operation.set)
            .into_iter()
            .flat_map(|set| set.accounts.keys().cloned())
            .collect();
        let mut outcome = Ok(());
        for account in &accounts {
            let one = self.provision(account, operation);
            outcome = outcome.and(one);
        }
        outcome
    }
}

fn assignment(account: &Arc<str>, operation: &Operation, principal: &Principal) -> Assignment {
    Assignment {
        account: Arc::clone(account),
        set: Arc::clone(&operation.set),
        principal: principal.clone(),
    }
}
