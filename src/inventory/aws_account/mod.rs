//! Owns the list of what one AWS account holds: IAM roles, groups and policies, and in each region buckets, instances and databases. Never
//! changes anything, and never lets the trouble of one part stop the walk over the others.
//!
//! | file | what it does |
//! |---|---|
//! | `iam` | roles, groups and policies |
//! | `tagged` | what has tags: buckets and instances |

mod iam;
mod tagged;

use super::aws_calls::{Pace, Turns, is_everybodys, unseen_because};
use super::aws_databases::{Databases, FoundDatabases, databases_in};
use super::ids::stable_id;
use super::{RecordSender, Source, SourceError};
use crate::aws::{AwsError, Chain, Purpose, Sessions};
use crate::domain::{IntegrationId, InventoryRecord, RecordStatus, ResourceKind};
use async_trait::async_trait;
use aws_types::SdkConfig;
use aws_types::region::Region;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What is listed, and how it is reached.
#[derive(Clone)]
pub struct AccountListing {
    /// Which integration this is.
    pub integration: IntegrationId,
    /// The way into the account; its region is where the account's own calls are made.
    pub chain: Chain,
    /// The regions whose buckets, instances and databases are listed.
    pub regions: Vec<String>,
    /// The way to AWS.
    pub sessions: Sessions,
    /// What integrations of databases that are found have in common.
    pub found: FoundDatabases,
}

/// Lists one account.
pub struct AwsAccount {
    listing: AccountListing,
    pace: Arc<Pace>,
    troubles: Mutex<Vec<String>>,
}

impl fmt::Debug for AwsAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsAccount").finish_non_exhaustive()
    }
}

/// What is walked on its own.
enum Part {
    Roles,
    Groups,
    Policies,
    Tagged(String),
    Databases(String),
}

impl Part {
    fn all(regions: &[String]) -> Vec<Self> {
        let mut parts = vec![Self::Roles, Self::Groups, Self::Policies];
        for region in regions {
            parts.push(Self::Tagged(region.clone()));
            parts.push(Self::Databases(region.clone()));
        }
        parts
    }

    fn name(&self) -> String {
        match self {
            Self::Roles => "iam roles".to_owned(),
            Self::Groups => "iam groups".to_owned(),
            Self::Policies => "iam policies".to_owned(),
            Self::Tagged(region) => format!("tagged {region}"),
            Self::Databases(region) => format!("rds {region}"),
        }
    }

    /// What it is about, for people.
    fn about(&self) -> String {
        match self {
            Self::Roles => "IAM roles".to_owned(),
            Self::Groups => "IAM groups".to_owned(),
            Self::Policies => "IAM policies".to_owned(),
            Self::Tagged(region) => format!("buckets and instances in {region}"),
            Self::Databases(region) => format!("databases in {region}"),
        }
    }

    fn region(&self) -> Option<&str> {
        match self {
            Self::Tagged(region) | Self::Databases(region) => Some(region),
            Self::Roles | Self::Groups | Self::Policies => None,
        }
    }
}

impl AwsAccount {
    /// Takes what is listed.
    #[must_use]
    pub fn new(listing: AccountListing) -> Self {
        Self {
            listing,
            pace: Arc::new(Pace::new()),
            troubles: Mutex::default(),
        }
    }

    /// Asks as fast as it can; for tests against something that counts nothing.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn unpaced(mut self) -> Self {
        self.pace = Arc::new(Pace::unlimited());
        self
    }

    fn note(&self, change: impl FnOnce(&mut Vec<String>)) {
        let troubles = self.troubles.lock();
        change(&mut troubles.unwrap_or_else(PoisonError::into_inner));
    }

    async fn walk_account(&self, records: &mut RecordSender) -> Result<(), SourceError> {
        let listing = &self.listing;
        let (sessions, chain) = (&listing.sessions, &listing.chain);
        let caller = sessions.caller(chain).await?;
        let walk = Walk {
            listing,
            session: sessions.config(chain, &Purpose::Connector).await?,
            account: caller.account.as_str(),
            turns: Turns::new(Arc::clone(&self.pace), None),
        };
        let parts = Part::all(&listing.regions);
        let mut failed = Vec::new();
        for part in &parts {
            match walk.list(part, records).await {
                Ok(()) => {}
                Err(SourceError::Aws(error)) if !self.is_all(part, &error) => {
                    let told = unseen_because(&part.about(), &error);
                    tracing::warn!(integration.id = %listing.integration, "{told}; the rest is reported");
                    records.unseen(vec![part.name()]).await?;
                    self.note(|troubles| troubles.push(told));
                    failed.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        match failed.into_iter().next() {
            Some(first) if self.troubles().len() == parts.len() => Err(first.into()),
            _ => Ok(()),
        }
    }

    /// Tells whether the trouble of a part is everybody's. A region that was not turned on for the account knows no credentials.
    fn is_all(&self, part: &Part, error: &AwsError) -> bool {
        let elsewhere = part
            .region()
            .is_some_and(|region| region != self.listing.chain.region);
        is_everybodys(error) && !elsewhere
    }
}

#[async_trait]
impl Source for AwsAccount {
    fn integration(&self) -> IntegrationId {
        self.listing.integration
    }

    async fn walk(&self, mut records: RecordSender) -> Result<u64, SourceError> {
        self.note(Vec::clear);
        let walk = self.walk_account(&mut records).await;
        records.finish(walk).await
    }

    fn troubles(&self) -> Vec<String> {
        let troubles = self.troubles.lock();
        troubles.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One walk under way.
struct Walk<'a> {
    listing: &'a AccountListing,
    /// In the chain's region; other regions are asked with the same credentials.
    session: SdkConfig,
    account: &'a str,
    turns: Turns,
}

impl Walk<'_> {
    async fn list(&self, part: &Part, records: &mut RecordSender) -> Result<(), SourceError> {
        let config = &self.session;
        match part {
            Part::Roles => {
                self.list_roles(&aws_sdk_iam::Client::new(config), records)
                    .await
            }
            Part::Groups => {
                self.list_groups(&aws_sdk_iam::Client::new(config), records)
                    .await
            }
            Part::Policies => {
                self.list_policies(&aws_sdk_iam::Client::new(config), records)
                    .await
            }
            Part::Tagged(region) => {
                let there = aws_sdk_resourcegroupstagging::config::Builder::from(config);
                let there = there.region(Region::new(region.clone())).build();
                let client = aws_sdk_resourcegroupstagging::Client::from_conf(there);
                self.list_tagged(&client, (region, &part.name()), records)
                    .await
            }
            Part::Databases(region) => {
                let databases = Databases {
                    integration: self.listing.integration,
                    client: databases_in(config, region),
                    turns: &self.turns,
                    account: self.account,
                    region,
                    part: &part.name(),
                    found: &self.listing.found,
                };
                databases.list(records).await
            }
        }
    }

    /// Begins the record of a thing that is found by one name or ARN.
    fn record(
        &self,
        kind: ResourceKind,
        part: &str,
        (place, name, arn): (&str, &str, &str),
    ) -> InventoryRecord {
        InventoryRecord {
            id: stable_id(self.listing.integration, kind.as_str(), &[place]),
            native_id: arn.to_owned(),
            name: name.to_owned(),
            path: vec![place.to_owned()],
            kind,
            flavour: String::new(),
            owner: None,
            comment: None,
            tags: BTreeMap::new(),
            context: BTreeMap::new(),
            permissions: kind.permissions().to_vec(),
            status: RecordStatus::Active,
            part: Some(part.to_owned()),
            discovered: None,
        }
    }
}
