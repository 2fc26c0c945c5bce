//! Owns the state folder: its mode, the lock that lets one process in, the file in it. Never reads the ledger.

use super::error::LedgerError;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK_FILE: &str = "ledger.lock";
const LEDGER_FILE: &str = "ledger.redb";

/// A state folder this process has for itself, as long as the value lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The system frees the lock when this is closed, also when the process is killed.
    _lock: File,
}

impl Folder {
    /// Makes the folder where needed (mode 0700; one that exists keeps its mode) and takes its lock.
    pub(super) fn claim(path: &Path) -> Result<Self, LedgerError> {
        let failed = |source: io::Error| LedgerError::Folder {
            path: path.to_owned(),
            source: Arc::new(source),
        };
        if !path.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(failed)?;
        }
        let lock = private_file(&path.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(LedgerError::Locked {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Returns where the ledger is.
    pub(super) fn ledger_path(&self) -> PathBuf {
        self.path.join(LEDGER_FILE)
    }
}

/// Opens the ledger's file in a claimed folder, made where needed and readable by this user only.
pub(super) fn ledger_file(folder: &Path) -> Result<File, LedgerError> {
    let opened = private_file(&folder.join(LEDGER_FILE)).and_then(|file| {
        // A new name in a folder survives a power cut only once the folder itself is on disk.
        File::open(folder)?.sync_all()?;
        Ok(file)
    });
    opened.map_err(|source| LedgerError::Folder {
        path: folder.to_owned(),
        source: Arc::new(source),
    })
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
