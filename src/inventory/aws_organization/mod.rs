//! Owns the list of what an AWS organization holds: organizational units, accounts, permission sets, users, groups, and who is assigned what
//! where. Never changes anything, and never asks faster than it may: grants go first.
//!
//! There is no call that lists all assignments: each account is asked for its permission sets, and each pair of the two for who has it. So
//! the walk goes account by account, and what is kept meanwhile is the tree of units, the names of permission sets, users and groups, and
//! the assignments of one account.
//!
//! | file | what it does |
//! |---|---|
//! | `calls` | the clients of one session |
//! | `units` | the tree of organizational units |
//! | `sets` | permission sets |
//! | `people`, `names` | users and groups, and their names by id |
//! | `accounts`, `access` | accounts, and who is assigned what there |
//! | `databases` | databases of member accounts |

mod access;
mod accounts;
mod calls;
mod databases;
mod names;
mod people;
mod sets;
mod units;

use super::aws_calls::Pace;
use super::ids::stable_id;
use super::{RecordSender, Source, SourceError};
use crate::aws::budget::Budgets;
use crate::aws::{Chain, Purpose, Sessions};
use crate::domain::{IntegrationId, InventoryRecord, RecordStatus, ResourceKind};
use async_trait::async_trait;
use calls::Calls;
pub use databases::MemberDatabases;
use names::Names;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// One assignment, by the ids AWS gave.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// Twelve digits.
    pub account: String,
    /// ARN of the permission set.
    pub permission_set: String,
    /// Id of the user or group in the identity store.
    pub principal: String,
}

/// Returns the assignments connectors gave, those being made and being taken away included.
pub type Given = Arc<dyn Fn() -> HashSet<Assignment> + Send + Sync>;

/// What is listed, and how it is reached.
#[derive(Clone)]
pub struct OrganizationListing {
    /// Which integration this is.
    pub integration: IntegrationId,
    /// The way to the account that administers Identity Center, in its primary region.
    pub chain: Chain,
    /// Organizational units left out with all below them.
    pub excluded: BTreeSet<String>,
    /// The way to AWS.
    pub sessions: Sessions,
    /// One budget per Identity Center instance, shared with whoever gives and takes access.
    pub budgets: Budgets,
    /// What is no standing access, because a connector gave it.
    pub given: Given,
    /// How member accounts are looked into for databases; nothing where they are not.
    pub members: Option<MemberDatabases>,
}

/// Lists one organization.
pub struct AwsOrganization {
    listing: OrganizationListing,
    pace: Arc<Pace>,
    troubles: Mutex<Vec<String>>,
}

impl fmt::Debug for AwsOrganization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsOrganization").finish_non_exhaustive()
    }
}

impl AwsOrganization {
    /// Takes what is listed.
    #[must_use]
    pub fn new(listing: OrganizationListing) -> Self {
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

    async fn walk_organization(&self, records: &mut RecordSender) -> Result<(), SourceError> {
        let listing = &self.listing;
        let session = listing
            .sessions
            .config(&listing.chain, &Purpose::Connector)
            .await?;
        let calls = Calls::open(
            &session,
            &listing.chain.region,
            &listing.budgets,
            Arc::clone(&self.pace),
        )
        .await?;
        let walk = Walk {
            listing,
            calls: &calls,
            troubles: &self.troubles,
        };
        let units = walk.list_units(records).await?;
        let mut sets = walk.list_sets(records).await?;
        let mut names = Names::default();
        walk.list_users(&mut names, records).await?;
        walk.list_groups(&mut names, records).await?;
        walk.list_accounts(&units, &mut sets, &mut names, records)
            .await
    }
}

#[async_trait]
impl Source for AwsOrganization {
    fn integration(&self) -> IntegrationId {
        self.listing.integration
    }

    async fn walk(&self, mut records: RecordSender) -> Result<u64, SourceError> {
        let troubles = self.troubles.lock();
        troubles.unwrap_or_else(PoisonError::into_inner).clear();
        let walk = self.walk_organization(&mut records).await;
        records.finish(walk).await
    }

    fn troubles(&self) -> Vec<String> {
        let troubles = self.troubles.lock();
        troubles.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One walk under way.
struct Walk<'a> {
    listing: &'a OrganizationListing,
    calls: &'a Calls,
    troubles: &'a Mutex<Vec<String>>,
}

impl Walk<'_> {
    /// Begins the record of a thing that is found by one name or id.
    fn record(&self, kind: ResourceKind, place: &str, name: &str) -> InventoryRecord {
        InventoryRecord {
            id: stable_id(self.listing.integration, kind.as_str(), &[place]),
            native_id: place.to_owned(),
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
            part: None,
            discovered: None,
        }
    }
}
