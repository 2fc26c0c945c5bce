//! Owns the one SQLite file: opening it, one process at a time, one transaction per call. Never speaks HTTP.
//!
//! Everything here blocks, so it runs on the threads for blocking work. A call is durable when it returns
//! (`synchronous = FULL`). Ciphertext is all the store ever sees of a credential.

mod discovered;
mod ends;
mod grants;
mod integrations;
mod inventory;
mod leases;
mod orders;
mod results;
mod row;
mod sessions;
mod sweep;
mod upkeep;
mod uploads;
mod views;

pub(super) use integrations::Page;
pub(super) use leases::Work;
pub(super) use uploads::{Opened, PartEnd, Upload};

use super::PlaneError;
use crate::clock::SharedClock;
use crate::control::protocol::Header;
use jiff::{SignedDuration, Timestamp};
use row::{At, Id};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// The schema's version; a file with another one is refused.
const SCHEMA_VERSION: &str = "1";
/// Longest wait for a reader outside that holds the file, for example a backup.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements kept; more than the code has.
const STATEMENTS_KEPT: usize = 128;

/// The store.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    clock: SharedClock,
    lease: SignedDuration,
    epoch: Uuid,
    looked_at: Timestamp,
    _lock: File,
}

/// One transaction, with the time at which it began.
pub(super) struct Tx<'a> {
    tx: Transaction<'a>,
    now: Timestamp,
    lease: SignedDuration,
    epoch: Uuid,
}

impl Store {
    /// Opens or makes the file; its folder must exist.
    pub(super) fn open(
        path: &Path,
        clock: SharedClock,
        lease: SignedDuration,
    ) -> Result<Self, PlaneError> {
        let lock = lock(path)?;
        own_file(path)?;
        let mut db = Connection::open(path)?;
        db.busy_timeout(BUSY_WAIT)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", "full")?;
        db.pragma_update(None, "foreign_keys", true)?;
        let epoch = prepare(&mut db)?;
        let looked_at = clock.now();
        Ok(Self {
            db,
            clock,
            lease,
            epoch,
            looked_at,
            _lock: lock,
        })
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, PlaneError>,
    ) -> Result<T, PlaneError> {
        let tx = Tx {
            now: self.clock.now(),
            lease: self.lease,
            epoch: self.epoch,
            tx: self.db.transaction()?,
        };
        let done = work(&tx)?;
        tx.tx.commit()?;
        Ok(done)
    }

    /// Returns how long it is until then.
    pub(super) fn until(&self, then: Timestamp) -> Duration {
        Duration::try_from(then.duration_since(self.clock.now())).unwrap_or_default()
    }

    /// Makes a new epoch, as after a restore: sessions are forgotten and orders made before are not started.
    pub(super) fn renew_epoch(&mut self) -> Result<(), PlaneError> {
        let epoch = Uuid::now_v7();
        self.write(|tx| {
            tx.exec(
                "UPDATE meta SET value = ?1 WHERE key = 'epoch'",
                params![epoch.to_string()],
            )?;
            tx.forget_sessions()?;
            tx.drop_orders_of_old_epoch()
        })?;
        self.epoch = epoch;
        Ok(())
    }
}

impl Tx<'_> {
    fn exec(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, PlaneError> {
        Ok(self.tx.prepare_cached(sql)?.execute(values)?)
    }

    fn one<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, PlaneError> {
        let mut statement = self.tx.prepare_cached(sql)?;
        Ok(statement.query_row(values, read).optional()?)
    }

    fn all<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, PlaneError> {
        let mut statement = self.tx.prepare_cached(sql)?;
        let rows = statement.query_map(values, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn now(&self) -> At {
        At(self.now)
    }

    /// Makes sure the connector has a row; a connector is known from the first time it is named.
    fn know_connector(&self, connector: &str) -> Result<(), PlaneError> {
        self.exec(
            "INSERT INTO connectors (id) VALUES (?1) ON CONFLICT DO NOTHING",
            params![connector],
        )?;
        Ok(())
    }

    /// Takes the next number of the one counter behind both lists.
    fn next_revision(&self) -> Result<i64, PlaneError> {
        let number = self.one(
            "UPDATE meta SET value = value + 1 WHERE key = 'revision' RETURNING CAST(value AS INTEGER)",
            params![],
            |row| row.get(0),
        )?;
        number.ok_or_else(|| PlaneError::Damaged("`meta` has no revision".to_owned()))
    }

    /// Marks a grant as changed for its connector's list.
    fn touch_grant(&self, grant: Id, connector: &str) -> Result<(), PlaneError> {
        let revision = self.next_revision()?;
        self.exec(
            "UPDATE grants SET revision = ?2 WHERE id = ?1",
            params![grant, revision],
        )?;
        self.exec(
            "UPDATE connectors SET grants_revision = ?2 WHERE id = ?1",
            params![connector, revision],
        )?;
        Ok(())
    }

    /// Marks an integration as changed for its connector's list.
    fn touch_integration(&self, integration: Id, connector: &str) -> Result<(), PlaneError> {
        let revision = self.next_revision()?;
        self.exec(
            "UPDATE integrations SET revision = ?2 WHERE id = ?1",
            params![integration, revision],
        )?;
        self.exec(
            "UPDATE connectors SET integrations_revision = ?2 WHERE id = ?1",
            params![connector, revision],
        )?;
        Ok(())
    }

    /// Makes what comes with every answer.
    fn header(&self, connector: &str) -> Result<Header, PlaneError> {
        let revisions = self.one(
            "SELECT grants_revision, integrations_revision FROM connectors WHERE id = ?1",
            params![connector],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let (grants_revision, integrations_revision) = revisions.unwrap_or((0_u64, 0_u64));
        Ok(Header {
            epoch: self.epoch,
            server_time: self.now,
            grants_revision,
            integrations_revision,
        })
    }
}

/// Takes the lock that keeps a second process out; it goes with the process, however that dies.
fn lock(path: &Path) -> Result<File, PlaneError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(|source| PlaneError::File {
            path: name.into(),
            source,
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(PlaneError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(PlaneError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Makes the file readable by its owner alone before SQLite would make it with the usual mode.
fn own_file(path: &Path) -> Result<(), PlaneError> {
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map(drop).map_err(|source| PlaneError::File {
        path: path.to_owned(),
        source,
    })
}

/// Lays the tables out in a new file; returns the epoch.
fn prepare(db: &mut Connection) -> Result<Uuid, PlaneError> {
    let tx = db.transaction()?;
    let fresh: bool = tx.query_row(
        "SELECT count(*) = 0 FROM sqlite_master WHERE name = 'meta'",
        [],
        |row| row.get(0),
    )?;
    if fresh {
        tx.execute_batch(include_str!("schema.sql"))?;
        tx.execute(
            "INSERT INTO meta VALUES ('schema', ?1), ('epoch', ?2), ('revision', '0')",
            params![SCHEMA_VERSION, Uuid::now_v7().to_string()],
        )?;
    }
    let version: String =
        tx.query_row("SELECT value FROM meta WHERE key = 'schema'", [], |row| {
            row.get(0)
        })?;
    if version != SCHEMA_VERSION {
        return Err(PlaneError::Damaged(format!(
            "the schema is version {version}, this program knows {SCHEMA_VERSION}"
        )));
    }
    let epoch: Id = tx.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| {
        row.get(0)
    })?;
    tx.commit()?;
    Ok(epoch.0)
}
