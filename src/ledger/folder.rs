//! Owns the state folder: its mode, the lock that lets one process in, the file in it. Never reads the ledger.

use super::error::LedgerError;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK_FILE: &str = "ledger.lock";
const LEDGER_FILE: &str = "ledger.redb";

/// A state folder this process has for itself, as long as the value lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The system frees the lock when this is closed, also when the process is killed.
    lock: File,
}

impl Folder {
    /// Makes the folder where needed (mode 0700; one that exists keeps its mode) and takes its lock.
    pub(super) fn claim(path: &Path) -> Result<Self, LedgerError> {
        if !path.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|source| failed(path, source))?;
        }
        Ok(Self {
            path: path.to_owned(),
            lock: locked(path, &path.join(LOCK_FILE))?,
        })
    }

    /// Makes sure that the lock still keeps others out, and takes it anew where it does not: a file system on the network forgets the locks of a
    /// machine it has not heard of for a while and then fails what is done with the file; a file that was removed is not the one others lock.
    pub(super) fn hold(&mut self) -> Result<(), LedgerError> {
        if self.is_held().unwrap_or(false) {
            return Ok(());
        }
        self.lock = locked(&self.path, &self.path.join(LOCK_FILE))?;
        Ok(())
    }

    fn is_held(&self) -> io::Result<bool> {
        self.lock.write_all_at(b"held\n", 0)?;
        self.lock.sync_all()?;
        let (ours, theirs) = (self.lock.metadata()?, self.path.join(LOCK_FILE).metadata()?);
        Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
    }
}

/// Returns where the ledger of a state folder is.
pub(super) fn ledger_path(folder: &Path) -> PathBuf {
    folder.join(LEDGER_FILE)
}

/// Opens the ledger's file in a claimed folder, made where needed and readable by this user only.
///
/// It has a lock of its own beside the folder's: where a network's file system forgot the locks of this machine, writing a file whose lock is gone
/// fails instead of spoiling the ledger of who has the folder now.
pub(super) fn ledger_file(folder: &Path) -> Result<File, LedgerError> {
    let file = locked(folder, &ledger_path(folder))?;
    // A new name in a folder survives a power cut only once the folder itself is on disk.
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| failed(folder, source))?;
    Ok(file)
}

/// Opens a file and locks it for this process alone.
fn locked(folder: &Path, path: &Path) -> Result<File, LedgerError> {
    let file = private_file(path).map_err(|source| failed(folder, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(folder, source)),
    }
}

fn failed(folder: &Path, source: io::Error) -> LedgerError {
    LedgerError::Folder {
        path: folder.to_owned(),
        source: Arc::new(source),
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
