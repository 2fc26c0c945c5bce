//! Owns finding out what exists and could be granted. Never changes anything, never decides who may have what, never holds a
//! whole picture in memory.

mod error;
mod postgres_catalog;
mod source;

pub use error::SourceError;
pub use postgres_catalog::PostgresCatalog;
pub use source::{CHANNEL_RECORDS, RecordSender, Source};
