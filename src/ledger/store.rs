//! Owns the rows on disk: reads them all once, appends in transactions, rewrites them shorter. Never folds on its own.

use super::disk::Disk;
use super::error::LedgerError;
use super::event::Event;
use super::record::{self, Unreadable};
use super::state::State;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows by their place in time.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");

/// The store keeps this much of the file in memory: 1 MiB. Rows are read once, at start, and only appended afterwards.
const CACHE_BYTES: usize = 1 << 20;

/// What opening brought.
pub(super) struct Opened {
    /// The store, unless its disk cannot be written.
    pub(super) store: Result<Store, LedgerError>,
    /// What is true now.
    pub(super) state: State,
}

/// The rows of one ledger.
pub(super) struct Store {
    database: Database,
    disk: Disk,
    path: PathBuf,
    /// How many rows there are.
    rows: u64,
    /// Where the next row goes.
    next: u64,
}

impl Store {
    /// Opens what is on the disk and folds it. Changes nothing there unless every row is understood.
    ///
    /// A disk that can be read and not written gives the state without a store.
    pub(super) fn open(path: &Path, disk: Disk) -> Result<Opened, LedgerError> {
        // The store checks what it opens, but a file damaged with malice could still find an assertion of its own.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::read_all(path, disk.clone())));
        let opened = opened.map_err(|_| LedgerError::Damaged {
            path: path.to_owned(),
            problem: "the store does not hold together".to_owned(),
        })??;
        let (store, state) = opened;
        let promoted = disk.promote();
        Ok(Opened {
            store: promoted
                .map(|()| store)
                .map_err(|error| written(path, redb::Error::Io(error))),
            state,
        })
    }

    fn read_all(path: &Path, disk: Disk) -> Result<(Self, State), LedgerError> {
        let shared_disk = disk.clone();
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(disk)
            .map_err(|error| opened(path, error.into()))?;
        let mut store = Self {
            database,
            disk: shared_disk,
            path: path.to_owned(),
            rows: 0,
            next: 0,
        };
        let mut state = State::default();
        store.replay(&mut state)?;
        Ok((store, state))
    }

    fn replay(&mut self, state: &mut State) -> Result<(), LedgerError> {
        let transaction = self
            .database
            .begin_read()
            .map_err(|error| opened(&self.path, error.into()))?;
        let table = match transaction.open_table(EVENTS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(opened(&self.path, error.into())),
        };
        let rows = table
            .iter()
            .map_err(|error| opened(&self.path, error.into()))?;
        for row in rows {
            let (place, row) = row.map_err(|error| opened(&self.path, error.into()))?;
            let event = record::decode(row.value())
                .map_err(|unreadable| self.unreadable(place.value(), &unreadable))?;
            state.apply(event);
            self.rows += 1;
            self.next = place.value().saturating_add(1);
        }
        Ok(())
    }

    fn unreadable(&self, place: u64, unreadable: &Unreadable) -> LedgerError {
        let path = self.path.clone();
        match unreadable {
            Unreadable::Newer(found) => LedgerError::Newer {
                path,
                found: *found,
                known: record::VERSION,
            },
            Unreadable::Form(_) | Unreadable::Value(_) => LedgerError::Damaged {
                path,
                problem: format!("row {place} {unreadable}"),
            },
        }
    }

    /// Returns how many rows there are.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends rows in one transaction; they are on disk when this returns.
    pub(super) fn append<'r>(
        &mut self,
        rows: impl Iterator<Item = &'r Vec<u8>>,
    ) -> Result<(), LedgerError> {
        let added = self
            .write(rows, false)
            .map_err(|error| written(&self.path, error))?;
        self.rows += added;
        self.next = self.next.saturating_add(added);
        Ok(())
    }

    /// Replaces all rows in one transaction; they are on disk when this returns.
    pub(super) fn rewrite(&mut self, rows: &[Vec<u8>]) -> Result<(), LedgerError> {
        self.rows = self
            .write(rows.iter(), true)
            .map_err(|error| written(&self.path, error))?;
        self.next = self.next.saturating_add(self.rows);
        Ok(())
    }

    fn write<'r>(
        &self,
        rows: impl Iterator<Item = &'r Vec<u8>>,
        anew: bool,
    ) -> Result<u64, redb::Error> {
        self.disk.begin_commit();
        // The store's own default is the durable kind of transaction: synced before `commit` returns.
        let transaction = self.database.begin_write()?;
        if anew {
            transaction.delete_table(EVENTS)?;
        }
        let mut count = 0;
        {
            let mut table = transaction.open_table(EVENTS)?;
            for (place, row) in (self.next..).zip(rows) {
                table.insert(place, row.as_slice())?;
                count += 1;
            }
        }
        transaction.commit()?;
        Ok(count)
    }

    /// Gives free pages back to the file system.
    pub(super) fn shrink(&mut self) -> Result<(), LedgerError> {
        match self.database.compact() {
            Ok(_) => Ok(()),
            Err(error) => Err(written(&self.path, error.into())),
        }
    }
}

/// Writes events in the form of rows.
pub(super) fn rows(events: &[Event]) -> Result<Vec<Vec<u8>>, LedgerError> {
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let row = record::encode(event).map_err(|source| LedgerError::Encode {
            kind: event.kind(),
            source: Arc::new(source),
        })?;
        if row.len() > record::MAX_ROW_BYTES {
            return Err(LedgerError::TooLarge {
                kind: event.kind(),
                bytes: row.len(),
                limit: record::MAX_ROW_BYTES,
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Sorts out a failure to open: what shows damage, and what only shows that the file cannot be read.
fn opened(path: &Path, source: redb::Error) -> LedgerError {
    let path = path.to_owned();
    if matches!(source, redb::Error::DatabaseAlreadyOpen) {
        return LedgerError::Locked { path };
    }
    // A file too short for its own contents, or without the head of a store, is reported as one of these three.
    let outside = matches!(
        &source,
        redb::Error::Io(error) if !matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput
        )
    );
    if outside {
        let source = Arc::new(source);
        return LedgerError::Open { path, source };
    }
    LedgerError::Damaged {
        path,
        problem: source.to_string(),
    }
}

fn written(path: &Path, source: redb::Error) -> LedgerError {
    let full = matches!(
        &source,
        redb::Error::Io(error) if matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        )
    );
    let (path, source) = (path.to_owned(), Arc::new(source));
    if full {
        LedgerError::Full { path, source }
    } else {
        LedgerError::Write { path, source }
    }
}
