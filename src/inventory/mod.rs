//! Owns finding out what exists and could be granted, who has access already, and reporting what of it changed. Never changes anything,
//! never decides who may have what, never holds a whole picture in memory.
//!
//! | file | what it does |
//! |---|---|
//! | `source` | says what a walk must do |
//! | `postgres_catalog` | walks a PostgreSQL server |
//! | `aws_organization` | walks an AWS organization with its IAM Identity Center |
//! | `aws_account` | walks an AWS account |
//! | `aws_databases` | walks the databases of one account in one region, and finds those that ask to be managed |
//! | `aws_calls` | sends one request to AWS at a time in its turn, and again after a throttle |
//! | `ids` | names each line for as long as what it is about keeps its place |
//! | `tags` | reads tags from comments |
//! | `compare` | tells what changed since the last report |
//! | `digests` | keeps what was last reported, as digests |
//! | `deliver` | sends the changes in parts |
//! | `report` | puts the three together |

mod aws_account;
mod aws_calls;
mod aws_databases;
mod aws_organization;
mod compare;
mod deliver;
mod digests;
mod error;
mod ids;
mod postgres_catalog;
mod report;
mod source;
mod tags;

pub use aws_account::{AccountListing, AwsAccount};
pub use aws_databases::FoundDatabases;
pub use aws_organization::{
    Assignment, AwsOrganization, Given, MemberDatabases, OrganizationListing,
};
pub use error::SourceError;
pub use postgres_catalog::PostgresCatalog;
pub use report::{ReportError, Reported, Reporter};
pub use source::{CHANNEL_ITEMS, InventoryItem, RecordSender, Source};
