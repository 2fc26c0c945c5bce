//! Owns the look into member accounts for databases. Never lets the trouble of one account stop the walk over the others.

use super::Walk;
use crate::aws::{AwsError, Chain, Hop, Purpose};
use crate::inventory::aws_calls::{is_everybodys, unseen_because};
use crate::inventory::aws_databases::{Databases, FoundDatabases, databases_in};
use crate::inventory::{RecordSender, SourceError};
use std::sync::PoisonError;

/// Most troubles that are told one by one.
const MOST_TOLD: usize = 20;

/// How member accounts are looked into for databases.
#[derive(Debug, Clone)]
pub struct MemberDatabases {
    /// Name of the role each account has, with its path; assumed from the management account's, with the same external id.
    pub role: String,
    /// The regions that are looked at.
    pub regions: Vec<String>,
    /// What integrations of databases that are found have in common; the roles are added for each account.
    pub found: FoundDatabases,
}

impl Walk<'_> {
    /// Lists the databases of an account, where that is wanted. Of one that cannot be entered nothing is taken to be gone.
    pub(super) async fn list_databases(
        &self,
        account: &str,
        enter: bool,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        let Some(members) = &self.listing.members else {
            return Ok(());
        };
        let part = format!("rds {account}");
        if !enter {
            return records.unseen(vec![part]).await;
        }
        let chain = self.way_into(account, members);
        let session = self.listing.sessions.config(&chain, &Purpose::Connector);
        let session = match session.await {
            Err(error) => return self.pass_over(account, None, error, records).await,
            Ok(session) => session,
        };
        let found = found(members, &chain);
        for region in &members.regions {
            let databases = Databases {
                integration: self.listing.integration,
                client: databases_in(&session, region),
                turns: &self.calls.turns,
                account,
                region,
                part: &part,
                found: &found,
            };
            match databases.list(records).await {
                Ok(()) => {}
                Err(SourceError::Aws(error)) => {
                    self.pass_over(account, Some(region), error, records)
                        .await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// From the management account's role to the member's; in the account of the former that one is enough.
    fn way_into(&self, account: &str, members: &MemberDatabases) -> Chain {
        let mut chain = self.listing.chain.clone();
        let last = chain.hops.last();
        let there = last.and_then(Hop::account);
        if there.is_none_or(|there| there.as_str() != account) {
            let partition = last.and_then(|hop| hop.role_arn.split(':').nth(1));
            let partition = partition.unwrap_or("aws");
            let external_id = last.and_then(|hop| hop.external_id.clone());
            chain.hops.push(Hop {
                role_arn: format!("arn:{partition}:iam::{account}:role/{}", members.role),
                external_id,
            });
        }
        chain
    }

    async fn pass_over(
        &self,
        account: &str,
        region: Option<&str>,
        error: AwsError,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        if is_everybodys(&error) && region.is_none_or(|region| region == self.listing.chain.region)
        {
            return Err(error.into());
        }
        let place = region.map(|region| format!(" in {region}"));
        let what = format!(
            "databases of account {account}{}",
            place.unwrap_or_default()
        );
        let told = unseen_because(&what, &error);
        tracing::warn!(integration.id = %self.listing.integration, account, "{told}; the rest is reported");
        self.tell_trouble(told);
        records.unseen(vec![format!("rds {account}")]).await
    }

    fn tell_trouble(&self, told: String) {
        let troubles = self.troubles.lock();
        let mut troubles = troubles.unwrap_or_else(PoisonError::into_inner);
        match troubles.len() {
            few if few < MOST_TOLD => troubles.push(told),
            MOST_TOLD => {
                troubles.push("and more of this kind, as the connector's log has them".to_owned());
            }
            _ => {}
        }
    }
}

/// The way into the account goes with what is found there.
fn found(members: &MemberDatabases, chain: &Chain) -> FoundDatabases {
    let mut found = members.found.clone();
    let mut set = |key: &str, value: &str| {
        found.settings.insert(key.to_owned(), value.to_owned());
    };
    let keys = ["management_role_arn", "role_arn"];
    for (key, hop) in keys.into_iter().zip(&chain.hops) {
        set(key, &hop.role_arn);
        if let Some(id) = &hop.external_id {
            set("external_id", id);
        }
    }
    found
}
