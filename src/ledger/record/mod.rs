//! Owns the form on disk of one event: a line of JSON with its version. Never used beyond the ledger.
//!
//! Version 1 is frozen by a golden test. A change of form is a new version beside it, and old rows stay readable.

mod form;
mod report;

use super::event::Event;
use crate::domain::InvalidValue;
use form::EventV1;
use serde::{Deserialize, Serialize};

/// The newest version this program writes and reads.
pub(super) const VERSION: u32 = 1;

/// Largest row in bytes: 1 MiB, far above the largest list of leftovers a target makes.
pub(super) const MAX_ROW_BYTES: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    v: u32,
    event: EventV1,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// A row that could not be turned into an event.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// A newer program wrote it.
    #[error("is of version {0}")]
    Newer(u32),
    /// It is not of the form its version says.
    #[error("does not have the form of a record")]
    Form(#[source] serde_json::Error),
    /// A value in it is not one this program could have written.
    #[error("holds a value that does not fit: {0}")]
    Value(#[from] InvalidValue),
}

/// Writes an event in the newest form.
pub(super) fn encode(event: &Event) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Row {
        v: VERSION,
        event: EventV1::from(event),
    })
}

/// Reads an event of any known form.
pub(super) fn decode(row: &[u8]) -> Result<Event, Unreadable> {
    match serde_json::from_slice::<Row>(row) {
        Ok(row) if row.v == VERSION => Ok(Event::try_from(row.event)?),
        Ok(row) => Err(Unreadable::Newer(row.v)),
        Err(error) => match serde_json::from_slice::<Version>(row) {
            Ok(version) if version.v > VERSION => Err(Unreadable::Newer(version.v)),
            Ok(_) | Err(_) => Err(Unreadable::Form(error)),
        },
    }
}

#[cfg(test)]
mod tests;
