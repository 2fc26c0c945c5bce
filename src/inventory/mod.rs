//! Owns finding out what exists and could be granted, who has access already, and reporting what of it changed. Never changes anything,
//! never decides who may have what, never holds a whole picture in memory.
//!
//! | file | what it does |
//! |---|---|
//! | `source` | says what a walk must do |
//! | `postgres_catalog` | walks a PostgreSQL server |
//! | `tags` | reads tags from comments |
//! | `compare` | tells what changed since the last report |
//! | `digests` | keeps what was last reported, as digests |
//! | `deliver` | sends the changes in parts |
//! | `report` | puts the three together |

mod compare;
mod deliver;
mod digests;
mod error;
mod postgres_catalog;
mod report;
mod source;
mod tags;

pub use error::SourceError;
pub use postgres_catalog::PostgresCatalog;
pub use report::{ReportError, Reported, Reporter};
pub use source::{CHANNEL_ITEMS, InventoryItem, RecordSender, Source};
