//! Owns what can go wrong with the ledger, and what an operator can do about it.

use crate::domain::ErrorClass;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The ledger could not do what it was asked for.
///
/// Sources are shared because one failed commit answers every append that was part of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The state folder cannot be made or used.
    #[error("the state folder `{}` cannot be used", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process works with the state folder.
    #[error("the state folder `{}` is in use by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// No state folder within a shared one can be had.
    #[error(
        "no state folder in `{}` is free: {held} are held by other instances, {unusable} cannot be used",
        path.display()
    )]
    NoneFree {
        /// The shared folder.
        path: PathBuf,
        /// How many are held.
        held: usize,
        /// How many are damaged, of a newer version, or not this user's.
        unusable: usize,
    },
    /// The file cannot be read, though nothing shows that it is damaged. It was not touched.
    #[error("the ledger `{}` cannot be read", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The file is damaged. It was not touched.
    #[error("the ledger `{}` is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The file holds records of a newer version of this program. It was not touched.
    #[error(
        "the ledger `{}` holds records of version {found}, this program knows up to version {known}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// There is no space left for the ledger. It recovers by itself when there is.
    #[error("no space is left for the ledger `{}`", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The ledger could not be written. It tries again by itself.
    #[error("the ledger `{}` cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<redb::Error>,
    },
    /// A start was refused because the ledger could not be read when it was opened; ends go on in memory.
    #[error("starts are refused: the ledger `{}` could not be read", path.display())]
    StartsRefused {
        /// The file.
        path: PathBuf,
    },
    /// An event is larger than the ledger takes.
    #[error("the event `{kind}` takes {bytes} bytes, the ledger takes {limit} at most")]
    TooLarge {
        /// The kind of event.
        kind: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An event cannot be written in the form on disk.
    #[error("the event `{kind}` cannot be written in the form on disk")]
    Encode {
        /// The kind of event.
        kind: &'static str,
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// The thread that writes cannot be started.
    #[error("the thread of the ledger cannot be started")]
    Thread(#[source] Arc<io::Error>),
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// Returns the class, which alone decides what happens next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Folder { .. }
            | Self::Locked { .. }
            | Self::NoneFree { .. }
            | Self::Open { .. }
            | Self::Damaged { .. }
            | Self::Newer { .. }
            | Self::StartsRefused { .. }
            | Self::Full { .. } => ErrorClass::NeedsOperator,
            Self::Write { .. } | Self::Thread(_) | Self::Closed => ErrorClass::Transient,
            Self::TooLarge { .. } | Self::Encode { .. } => ErrorClass::Bug,
        }
    }

    /// Returns the fix, where a person can make one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Folder { path, .. } => Some(format!(
                "set `APONO_STATE_DIR` to a folder this user may write, or run `chown` on `{}`",
                path.display()
            )),
            Self::Locked { path } => Some(format!(
                "stop the other connector, or give each its own `APONO_STATE_DIR` instead of `{}`",
                path.display()
            )),
            Self::NoneFree { path, .. } => Some(format!(
                "run fewer instances on `{0}`, or move the folders away that cannot be used; the log names each of them",
                path.display()
            )),
            Self::Open { path, .. } => Some(format!(
                "check the volume of `{}`, then restart",
                path.display()
            )),
            Self::Damaged { path, .. } | Self::StartsRefused { path } => Some(format!(
                "ends go on without it; keep `{0}` for study, move it away and restart: \
                 live grants are learned again from the control plane and the targets",
                path.display()
            )),
            Self::Newer { .. } => Some(
                "run the version that wrote it, or a later one; nothing was changed".to_owned(),
            ),
            Self::Full { path, .. } => Some(format!(
                "free some space on the volume of `{}`; nothing needs a restart",
                path.display()
            )),
            Self::Write { .. }
            | Self::TooLarge { .. }
            | Self::Encode { .. }
            | Self::Thread(_)
            | Self::Closed => None,
        }
    }

    /// Says to a start what this damage means for it.
    pub(super) fn starts_refused(&self) -> Self {
        match self {
            Self::Damaged { path, .. } | Self::Newer { path, .. } | Self::Open { path, .. } => {
                Self::StartsRefused { path: path.clone() }
            }
            Self::Folder { .. }
            | Self::Locked { .. }
            | Self::NoneFree { .. }
            | Self::Full { .. }
            | Self::Write { .. }
            | Self::StartsRefused { .. }
            | Self::TooLarge { .. }
            | Self::Encode { .. }
            | Self::Thread(_)
            | Self::Closed => self.clone(),
        }
    }

    /// Tells whether the contents of the file are out of reach.
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Newer { .. } | Self::Open { .. }
        )
    }
}
