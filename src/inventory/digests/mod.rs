//! Owns the files that say what was last reported of an integration: for each record its id and a digest, sorted by id. Disposable:
//! without them the next upload is a full one. Never holds a record, never more in memory than an index of the file.
//!
//! | file | what it does |
//! |---|---|
//! | `entry` | one line: id, digest, and what it lies within |
//! | `kept` | the file of the last upload: written, checked, looked into |
//! | `runs` | what a walk came by, sorted piece by piece and merged |

mod entry;
mod kept;
mod runs;

pub(super) use entry::{Entry, Scope};
pub(super) use kept::{Kept, Writing};
pub(super) use runs::{Runs, Seen};

use crate::domain::IntegrationId;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// The folder of the digest files, one per integration, within the state folder.
#[derive(Debug, Clone)]
pub(super) struct DigestFolder {
    path: PathBuf,
}

impl DigestFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Opens what was kept, if there is any and it can be used.
    pub(super) fn open(&self, integration: IntegrationId) -> Result<Option<Kept>, DigestError> {
        match File::open(self.place(integration, "digests")) {
            Ok(file) => Kept::open(file, integration).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets what was kept.
    pub(super) fn forget(&self, integration: IntegrationId) {
        // What is not there needs no removing, and what cannot be removed names a base that is gone.
        std::fs::remove_file(self.place(integration, "digests")).unwrap_or_default();
    }

    pub(super) fn runs(&self, integration: IntegrationId) -> io::Result<Runs> {
        let path = self.place(integration, "runs");
        Ok(Runs::new(self.make(&path)?, path))
    }

    pub(super) fn write(&self, integration: IntegrationId) -> io::Result<Writing> {
        let path = self.place(integration, "new");
        let into = self.place(integration, "digests");
        Writing::new(self.make(&path)?, integration, path, into)
    }

    fn place(&self, integration: IntegrationId, ending: &str) -> PathBuf {
        self.path
            .join(format!("{}.{ending}", integration.as_uuid()))
    }

    fn make(&self, path: &PathBuf) -> io::Result<File> {
        if !self.path.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.path)?;
        }
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
    }
}

/// What was kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DigestError {
    /// The file is not what was written.
    #[error("the file of digests is damaged: {0}")]
    Damaged(&'static str),
    /// The disk does not do its work.
    #[error("the file of digests cannot be read or written")]
    Disk(#[from] io::Error),
}
