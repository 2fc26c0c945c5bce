//! Owns the list of accounts, each with who has access to it. Never lets the trouble of one account stop the walk over the others.

use super::Walk;
use super::names::Names;
use super::sets::Sets;
use super::units::{PAGE, Place, Units};
use crate::aws::AwsError;
use crate::domain::{AccessRecord, ErrorClass, InventoryRecord, RecordStatus, ResourceKind};
use crate::inventory::aws_calls::{Pages, is_absent, is_everybodys, tell};
use crate::inventory::{RecordSender, SourceError};
use aws_sdk_organizations::operation::list_tags_for_resource::ListTagsForResourceOutput;
use aws_sdk_organizations::types::Account;
use std::collections::BTreeMap;

/// Accounts in a row that fail by a passing trouble before it is no longer theirs but everybody's.
const MOST_IN_A_ROW: u32 = 3;

impl Walk<'_> {
    /// Lists all accounts that are not excluded.
    pub(super) async fn list_accounts(
        &self,
        units: &Units,
        sets: &mut Sets,
        names: &mut Names,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        const OPERATION: &str = "organizations:ListAccounts";
        let mut pages = Pages::of(OPERATION);
        let mut streak = Streak::default();
        while pages.more() {
            let ask = || {
                let call = self.calls.organizations.list_accounts();
                call.max_results(PAGE).set_next_token(pages.token()).send()
            };
            let answer = self.calls.turns.ask(OPERATION, ask).await?;
            for account in answer.accounts() {
                let Some(mut record) = self.account(account, units).await? else {
                    continue;
                };
                let looked = self.look_into(&mut record, sets, names).await;
                match looked {
                    Ok(Some(access)) => {
                        streak = Streak::default();
                        let (id, active) = (
                            record.native_id.clone(),
                            record.status == RecordStatus::Active,
                        );
                        records.send(record).await?;
                        for access in access {
                            records.send_access(access).await?;
                        }
                        self.list_databases(&id, active, records).await?;
                    }
                    Ok(None) => streak = Streak::default(),
                    Err(error) => {
                        if streak.goes_on(&error) {
                            return Err(error.into());
                        }
                        self.out_of_reach(record, &error, records).await?;
                    }
                }
            }
            pages.turn(answer.next_token())?;
        }
        Ok(())
    }

    /// Begins the record of an account; nothing for one that is excluded.
    async fn account(
        &self,
        account: &Account,
        units: &Units,
    ) -> Result<Option<InventoryRecord>, AwsError> {
        let Some(id) = account.id() else {
            return Ok(None);
        };
        let place = match account.paths().first() {
            Some(path) => units.place(path),
            None => match self.look_up(units, id).await {
                // It left the organization since the list was made.
                Err(error) if is_absent(&error) => return Ok(None),
                other => other?,
            },
        };
        let Place::Within(chain) = place else {
            return Ok(None);
        };
        let name = account.name().unwrap_or(id);
        let mut record = self.record(ResourceKind::AwsOrganizationAccount, id, name);
        tell(&mut record, "ou_path", Some(&units.names(&chain)));
        tell(&mut record, "ou_ids", Some(&chain.join("/")));
        let state = account.state().map(|state| state.as_str());
        // The older of the two fields; one day it is not sent any more.
        let status = account.status().map(|status| status.as_str());
        let state = state.or(status);
        tell(&mut record, "state", state);
        if state != Some("ACTIVE") {
            let state = state.unwrap_or("in a state AWS does not tell");
            record.status = RecordStatus::Error(format!(
                "the account is {state}, access is given only in active accounts: reactivate it"
            ));
        }
        Ok(Some(record))
    }

    /// Adds the tags, and returns who has access; nothing when the account is gone.
    async fn look_into(
        &self,
        record: &mut InventoryRecord,
        sets: &mut Sets,
        names: &mut Names,
    ) -> Result<Option<Vec<AccessRecord>>, AwsError> {
        let account = record.native_id.clone();
        match self.tags_of_account(&account).await {
            // It left the organization since the list was made.
            Err(error) if is_absent(&error) => return Ok(None),
            tags => record.tags = tags?,
        }
        match self.access(&account, sets, names).await {
            Err(error) if is_absent(&error) => Ok(None),
            access => access.map(Some),
        }
    }

    async fn tags_of_account(&self, account: &str) -> Result<BTreeMap<String, String>, AwsError> {
        let mut tags = BTreeMap::new();
        let call = self.calls.organizations.list_tags_for_resource();
        let call = call.resource_id(account);
        let ask = |token| call.clone().set_next_token(token).send();
        let keep = |page: ListTagsForResourceOutput| {
            let pairs = page.tags().iter();
            tags.extend(pairs.map(|tag| (tag.key().to_owned(), tag.value().to_owned())));
            page.next_token
        };
        let turns = &self.calls.turns;
        turns
            .read("organizations:ListTagsForResource", ask, keep)
            .await?;
        Ok(tags)
    }

    /// Reports an account that could not be looked into: what is known of its access stays as it was.
    async fn out_of_reach(
        &self,
        mut record: InventoryRecord,
        error: &AwsError,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        tracing::warn!(
            integration.id = %self.listing.integration,
            account = record.native_id,
            %error,
            "an account could not be looked into; the others are reported"
        );
        let hint = error.hint().map(|hint| format!(": {hint}"));
        // An account that is not active says so instead: that explains the rest.
        if record.status == RecordStatus::Active {
            record.status = RecordStatus::Error(format!(
                "could not be looked into, so who has access is not known: {error}{}",
                hint.unwrap_or_default()
            ));
        }
        records.unseen(record.path.clone()).await?;
        self.list_databases(&record.native_id, false, records)
            .await?;
        records.send(record).await
    }
}

/// Accounts in a row that failed for something that may pass.
#[derive(Debug, Default, Clone, Copy)]
struct Streak(u32);

impl Streak {
    /// Takes one more account's trouble, and tells whether it is everybody's: then the walk is over.
    fn goes_on(&mut self, error: &AwsError) -> bool {
        let may_pass = matches!(error.class(), ErrorClass::Transient | ErrorClass::Throttled);
        self.0 = if may_pass { self.0 + 1 } else { 0 };
        let everybodys = is_everybodys(error) || error.operation().starts_with("identitystore:");
        everybodys || self.0 >= MOST_IN_A_ROW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass, reason: &'static str, operation: &str) -> AwsError {
        AwsError::new(operation, class, reason, "message")
    }

    #[test]
    fn denials_are_each_accounts_own_and_three_silences_in_a_row_are_everybodys() {
        let list = "sso:ListAccountAssignments";
        let denied = error(ErrorClass::NeedsOperator, "access_denied", list);
        let silent = error(ErrorClass::Transient, "timeout", list);
        let mut streak = Streak::default();
        for _ in 0..10 {
            assert!(!streak.goes_on(&denied));
        }
        assert!(!streak.goes_on(&silent) && !streak.goes_on(&silent));
        assert!(
            !streak.goes_on(&denied),
            "another kind of trouble breaks the row"
        );
        assert!(!streak.goes_on(&silent) && !streak.goes_on(&silent));
        assert!(streak.goes_on(&silent));
    }

    #[test]
    fn what_no_other_account_would_fare_better_with_ends_the_walk() {
        let list = "sso:ListAccountAssignments";
        for error in [
            error(ErrorClass::Unauthorised, "credentials_expired", list),
            error(ErrorClass::NeedsOperator, "clock_skew", list),
            error(ErrorClass::NeedsOperator, "key_refused", list),
            error(
                ErrorClass::NeedsOperator,
                "access_denied",
                "identitystore:DescribeUser",
            ),
        ] {
            assert!(Streak::default().goes_on(&error), "{error}");
        }
    }
}
