//! Owns who is assigned what in one account, without what connectors gave. Never looks at another account.

use super::names::Names;
use super::sets::{PAGE, Sets};
use super::{Assignment, Walk};
use crate::aws::AwsError;
use crate::domain::{AccessRecord, ErrorClass, ResourceKind};
use crate::inventory::aws_calls::{Pages, is_absent};
use crate::inventory::ids::stable_id;
use aws_sdk_ssoadmin::operation::list_permission_sets_provisioned_to_account::ListPermissionSetsProvisionedToAccountOutput;
use aws_sdk_ssoadmin::types::PrincipalType;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Pairs of account and permission set that are asked about at the same time: enough to use up the pace although each answer takes a while.
const AT_ONCE: usize = 4;
/// Most assignments of one account that are listed: about 10 MB.
const MOST_ASSIGNMENTS: usize = 50_000;

/// A principal by id, and whether it is a group.
type Principal = (String, bool);

impl Walk<'_> {
    /// Returns who is assigned what in an account: one record for each user or group.
    pub(super) async fn access(
        &self,
        account: &str,
        sets: &mut Sets,
        names: &mut Names,
    ) -> Result<Vec<AccessRecord>, AwsError> {
        // Asked for before and after: what is being taken away is no standing access either, nor is what was just given.
        let mut given = (self.listing.given)();
        let provisioned = self.provisioned(account).await?;
        let assigned = self.assigned(account, provisioned).await?;
        if !assigned.is_empty() {
            given.extend((self.listing.given)());
        }
        let mut privileges: HashMap<Principal, BTreeSet<String>> = HashMap::new();
        for (set, principal) in without(assigned, account, &given) {
            let name = match sets.get(&set) {
                Some(name) => name.clone(),
                None => {
                    let name = self.name_of_set(&set).await?;
                    sets.insert(set, name.clone());
                    name
                }
            };
            privileges.entry(principal).or_default().insert(name);
        }
        let mut records = Vec::with_capacity(privileges.len());
        for ((id, is_group), privileges) in privileges {
            let holder = self.holder(&id, is_group, names).await?;
            let kind = ResourceKind::AwsOrganizationAccount;
            let parts = [kind.as_str(), account, &id];
            records.push(AccessRecord {
                id: stable_id(self.listing.integration, "access", &parts),
                holder: Some(holder),
                kind,
                path: vec![account.to_owned()],
                privileges: privileges.into_iter().collect(),
                may_pass_on: Vec::new(),
            });
        }
        Ok(records)
    }

    /// Returns the ARNs of the sets that are in an account.
    async fn provisioned(&self, account: &str) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "sso:ListPermissionSetsProvisionedToAccount";
        let mut found = Vec::new();
        let call = self.calls.sso.list_permission_sets_provisioned_to_account();
        let call = call
            .instance_arn(&self.calls.instance)
            .account_id(account)
            .max_results(PAGE);
        let ask = |token| call.clone().set_next_token(token).send();
        let keep = |page: ListPermissionSetsProvisionedToAccountOutput| {
            found.extend(page.permission_sets.unwrap_or_default());
            page.next_token
        };
        self.calls.turns.read(OPERATION, ask, keep).await?;
        Ok(found)
    }

    /// Returns permission set and principal of every assignment.
    async fn assigned(
        &self,
        account: &str,
        sets: Vec<String>,
    ) -> Result<Vec<(String, Principal)>, AwsError> {
        let looks = stream::iter(sets).map(|set: String| async move {
            let holders = self.holders(account, &set).await?;
            let rows = holders.into_iter().map(move |holder| (set.clone(), holder));
            Ok::<_, AwsError>(rows)
        });
        let mut looks = looks.buffer_unordered(AT_ONCE);
        let mut found = Vec::new();
        while let Some(some) = looks.try_next().await? {
            found.extend(some);
            if found.len() > MOST_ASSIGNMENTS {
                let message = format!("an account has more than {MOST_ASSIGNMENTS} assignments");
                let class = ErrorClass::NeedsOperator;
                let operation = "sso:ListAccountAssignments";
                let error = AwsError::new(operation, class, "too_many_assignments", message);
                return Err(error.with_hint("assign groups instead of users"));
            }
        }
        Ok(found)
    }

    async fn holders(&self, account: &str, set: &str) -> Result<Vec<Principal>, AwsError> {
        const OPERATION: &str = "sso:ListAccountAssignments";
        let mut holders = Vec::new();
        let mut pages = Pages::of(OPERATION);
        while pages.more() && holders.len() <= MOST_ASSIGNMENTS {
            let ask = || {
                let call = self.calls.sso.list_account_assignments();
                call.instance_arn(&self.calls.instance)
                    .account_id(account)
                    .permission_set_arn(set)
                    .max_results(PAGE)
                    .set_next_token(pages.token())
                    .send()
            };
            let answer = match self.calls.turns.ask(OPERATION, ask).await {
                // The set was deleted since the list was made.
                Err(error) if is_absent(&error) => return Ok(Vec::new()),
                other => other?,
            };
            holders.extend(answer.account_assignments().iter().filter_map(|row| {
                let is_group = row.principal_type() == Some(&PrincipalType::Group);
                Some((row.principal_id()?.to_owned(), is_group))
            }));
            pages.turn(answer.next_token())?;
        }
        Ok(holders)
    }
}

/// Leaves out what connectors gave.
fn without(
    assigned: Vec<(String, Principal)>,
    account: &str,
    given: &HashSet<Assignment>,
) -> Vec<(String, Principal)> {
    let here: HashSet<(&str, &str)> = given
        .iter()
        .filter(|given| given.account == account)
        .map(|given| (given.permission_set.as_str(), given.principal.as_str()))
        .collect();
    assigned
        .into_iter()
        .filter(|(set, (principal, _))| !here.contains(&(set.as_str(), principal.as_str())))
        .collect()
}
