//! Owns finding out what exists and could be granted, who has access already, and reporting what of it changed. Never changes anything,
//! never decides who may have what, never holds a whole picture in memory.
//!
//! | file | what it does |
//! |---|---|
//! | `source` | says what a walk must do |
//! | `postgres_catalog` | walks a PostgreSQL server |
//! | `aws_organization` | walks an AWS organization with its IAM Identity Center |
//! | `ids` | names each line for as long as what it is about keeps its place |
//! | `tags` | reads tags from comments |
//! | `compare` | tells what changed since the last report |
//! | `digests` | keeps what was last reported, as digests |
//! | `deliver` | sends the changes in parts |
//! | `report` | puts the three together |

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

pub use aws_organization::{Assignment, AwsOrganization, Given, OrganizationListing};
pub use error::SourceError;
pub use postgres_catalog::PostgresCatalog;
pub use report::{ReportError, Reported, Reporter};
pub use source::{CHANNEL_ITEMS, InventoryItem, RecordSender, Source};
