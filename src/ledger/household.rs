//! Owns the folder several instances share: which state folder in it is free, what instances that are gone left there, and the freeze of all.
//! Never decides what becomes of what was left.

use super::error::LedgerError;
use super::event::Event;
use super::folder::{self, Folder};
use super::store::{self, Opened};
use super::{Faults, Ledger, LedgerOptions, State};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Most state folders in one shared folder, those that cannot be used among them: far more than there are instances of one connector.
const MOST_FOLDERS: u32 = 64;
/// The file that says for all instances whether starts are frozen.
const STARTS_FILE: &str = "starts";
/// What it holds. Both of one length, so that a reader meets one or the other whole.
const FROZEN: &[u8; 8] = b"frozen \n";
const ALLOWED: &[u8; 8] = b"allowed\n";

/// A folder several instances share, seen by one of them.
#[derive(Debug)]
pub struct Household {
    root: PathBuf,
    own: PathBuf,
    /// Ledgers that need no second look for as long as they are as they were.
    seen: Mutex<BTreeMap<PathBuf, (Look, Verdict)>>,
}

/// Why a ledger nobody holds is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing is owed by it.
    Empty,
    /// It cannot be read, which was said.
    Unreadable,
}

/// What an instance that is gone left. Its folder is held as long as this lives.
pub struct Left {
    path: PathBuf,
    opened: Opened,
    _folder: Folder,
}

/// A ledger's file from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    modified: (i64, i64),
    bytes: u64,
}

impl Ledger {
    /// Opens the ledger of a state folder within a shared folder that no other instance holds: the one written last among those with a ledger,
    /// else an empty or a new one. A folder that cannot be used is said and passed over.
    ///
    /// # Errors
    /// When there is none, or the shared folder cannot be used.
    pub fn open_shared(
        root: &Path,
        options: LedgerOptions,
    ) -> Result<(Self, Household), LedgerError> {
        let (mut held, mut unusable) = (0, 0);
        for path in by_preference(root) {
            let is_new = !path.exists();
            match Self::open(&path, options) {
                Ok(ledger) => return Ok((ledger, Household::new(root, path))),
                Err(LedgerError::Locked { .. }) => held += 1,
                // The next new one would fail in the same way.
                Err(error) if is_new => return Err(error),
                Err(error) => {
                    say_unusable(&error);
                    unusable += 1;
                }
            }
        }
        Err(LedgerError::NoneFree {
            path: root.to_owned(),
            held,
            unusable,
        })
    }
}

impl Household {
    fn new(root: &Path, own: PathBuf) -> Self {
        Self {
            root: root.to_owned(),
            own,
            seen: Mutex::default(),
        }
    }

    /// Returns this instance's own state folder.
    #[must_use]
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// Returns the state folders there are within a shared folder.
    #[must_use]
    pub fn folders(root: &Path) -> Vec<PathBuf> {
        let all = (1..=MOST_FOLDERS).map(|number| numbered(root, number));
        all.filter(|path| path.is_dir()).collect()
    }

    /// Counts the other folders that are held by somebody.
    #[must_use]
    pub fn others(&self) -> usize {
        let others = Self::folders(&self.root).into_iter();
        let held = |path: &PathBuf| {
            *path != self.own && matches!(Folder::claim(path), Err(LedgerError::Locked { .. }))
        };
        others.filter(held).count()
    }

    /// Takes what an instance that is gone left, one after the other; nothing when nobody left anything. The shared folder itself counts: an
    /// instance may have been alone in it before. Blocks while it reads.
    #[must_use]
    pub fn next_left(&self) -> Option<Left> {
        let others = Self::folders(&self.root).into_iter();
        let others = others.filter(|path| *path != self.own);
        others
            .chain([self.root.clone()])
            .find_map(|path| self.left_in(path))
    }

    fn left_in(&self, path: PathBuf) -> Option<Left> {
        let look = Look::at(&path)?;
        if self.seen(|seen| seen.get(&path).is_some_and(|(then, _)| *then == look)) {
            return None;
        }
        let verdict = match Left::open(path.clone()) {
            Ok(left) if left.state().owes_nothing() => Verdict::Empty,
            Ok(left) => return Some(left),
            Err(LedgerError::Locked { .. }) => return None,
            Err(error) => {
                say_unusable(&error);
                Verdict::Unreadable
            }
        };
        // Anew: opening and closing leave their traces in the file.
        if let Some(look) = Look::at(&path) {
            self.seen(|seen| seen.insert(path, (look, verdict)));
        }
        None
    }

    /// Counts the ledgers of others that could not be read and are still there.
    #[must_use]
    pub fn unreadable_folders(&self) -> usize {
        self.seen(|seen| {
            seen.retain(|path, _| Look::at(path).is_some());
            let unreadable = |(_, verdict): &&(Look, Verdict)| *verdict == Verdict::Unreadable;
            seen.values().filter(unreadable).count()
        })
    }

    /// Tells whether starts are frozen for all; nothing when nobody ever said.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn frozen(&self) -> io::Result<Option<bool>> {
        let mut file = match File::open(self.root.join(STARTS_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut said = [0; FROZEN.len()];
        file.read_exact(&mut said)?;
        match &said {
            FROZEN => Ok(Some(true)),
            ALLOWED => Ok(Some(false)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it must hold `frozen` or `allowed`",
            )),
        }
    }

    /// Says for all instances whether starts are frozen; the others see it at their next look.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_frozen(&self, frozen: bool) -> Result<(), LedgerError> {
        let path = self.root.join(STARTS_FILE);
        let write = || {
            let mut open = OpenOptions::new();
            open.write(true).create(true).truncate(false).mode(0o600);
            let mut file = open.open(&path)?;
            file.write_all(if frozen { FROZEN } else { ALLOWED })?;
            file.sync_all()
        };
        write().map_err(|source| LedgerError::Folder {
            path: path.clone(),
            source: Arc::new(source),
        })
    }

    fn seen<R>(&self, with: impl FnOnce(&mut BTreeMap<PathBuf, (Look, Verdict)>) -> R) -> R {
        with(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Left {
    fn open(path: PathBuf) -> Result<Self, LedgerError> {
        let (opener, folder) = Ledger::prepare(&path, Faults::default())?;
        let opened = opener()?;
        Ok(Self {
            path,
            opened,
            _folder: folder,
        })
    }

    /// Returns where it was left.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what was true for who left it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.opened.state
    }

    /// Empties the ledger, since what it owed is somebody else's by now, and lets go of the folder, which keeps its name.
    ///
    /// # Errors
    /// When it cannot be written; then it is found again as it was.
    pub fn clear(self) -> Result<(), LedgerError> {
        let name: Vec<Event> = self
            .opened
            .state
            .instance
            .into_iter()
            .map(Event::InstanceNamed)
            .collect();
        self.opened.store?.rewrite(&store::rows(&name)?)
    }
}

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Left")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Look {
    /// Looks at the ledger in a folder; nothing when there is none.
    fn at(folder: &Path) -> Option<Self> {
        let found = folder::ledger_path(folder).metadata().ok()?;
        Some(Self {
            modified: (found.mtime(), found.mtime_nsec()),
            bytes: found.len(),
        })
    }
}

fn numbered(root: &Path, number: u32) -> PathBuf {
    root.join(format!("instance-{number}"))
}

/// Returns every state folder there may be: those with a ledger first, the one written last at their head.
fn by_preference(root: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = (1..=MOST_FOLDERS)
        .map(|number| {
            let path = numbered(root, number);
            (Look::at(&path).map(|look| look.modified), path)
        })
        .collect();
    // Stable, so that the rest stays in the order of its numbers.
    all.sort_by_key(|(modified, _)| Reverse(*modified));
    all.into_iter().map(|(_, path)| path).collect()
}

fn say_unusable(error: &LedgerError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        hint = error.hint(),
        "a state folder of the shared folder cannot be used and is passed over"
    );
}
