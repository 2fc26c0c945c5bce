//! Owns what this instance did and owes, durably. Never knows the control plane, the executor or any target.
//!
//! The ledger is an event log. What is true now is a fold over it, see [`State::apply`]; recovery and live code use the
//! same fold. An append returns only after the event is on disk, and memory changes only then.
//!
//! Two troubles are survived, because a disk must not keep access open: while the disk cannot be written, and for good
//! when the file is damaged, a start is refused and everything else is kept in memory.

mod disk;
mod ends;
mod error;
mod event;
mod faults;
mod folder;
mod household;
mod inheritance;
mod memory;
mod record;
mod state;
mod store;
mod writer;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use ends::{EndedGrant, Ends};
pub use error::LedgerError;
pub use event::{Event, OutboxEntry};
#[cfg(not(feature = "test-util"))]
use faults::Faults;
#[cfg(feature = "test-util")]
pub use faults::Faults;
pub use household::{Household, Left};
pub use inheritance::Inheritance;
pub use state::{GrantPhase, GrantRecord, State};
pub use writer::Kept;

use disk::{Disk, Medium};
use folder::Folder;
use memory::Shared;
use redb::backends::FileBackend;
use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use store::Store;
use tokio::sync::{Semaphore, oneshot};
use writer::{Opener, Request, Writer};

/// Most appends that wait at once; more wait for a place.
const MAX_WAITING: usize = 1024;

/// Most notes that wait at once, in about 32 MiB; a disk that hangs for so long needs a restart anyway.
const MAX_NOTED: usize = 65_536;

/// How a ledger is kept.
#[derive(Debug, Clone, Copy)]
pub struct LedgerOptions {
    /// The log is rewritten when it has more rows than this and more than four times the rows it needs.
    pub compact_above: u64,
}

impl Default for LedgerOptions {
    /// Rewrites above 10,000 rows.
    fn default() -> Self {
        Self {
            compact_above: 10_000,
        }
    }
}

/// The ledger of one state folder. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    notes: Arc<Semaphore>,
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the ledger in a state folder; makes both where needed. Blocks while it reads the whole log.
    ///
    /// # Errors
    /// When the folder cannot be used or another process uses it, when the file is damaged or of a newer version. A file
    /// that cannot be understood is not touched.
    pub fn open(dir: &Path, options: LedgerOptions) -> Result<Self, LedgerError> {
        Self::open_with(dir, options, Faults::default())
    }

    /// Opens the ledger on a disk that fails when told to.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(feature = "test-util")]
    pub fn open_failing(
        dir: &Path,
        options: LedgerOptions,
        faults: Faults,
    ) -> Result<Self, LedgerError> {
        Self::open_with(dir, options, faults)
    }

    fn open_with(dir: &Path, options: LedgerOptions, faults: Faults) -> Result<Self, LedgerError> {
        let (opener, folder) = Self::prepare(dir, faults)?;
        let opened = opener()?;
        Self::start(
            opened.store.into(),
            opened.state,
            opener,
            options,
            Some(folder),
        )
    }

    /// Opens the ledger; a file that cannot be understood is left alone, and the ledger goes on empty, in memory,
    /// refusing starts.
    ///
    /// # Errors
    /// When the folder cannot be used, another process uses it, or the file cannot be had.
    pub fn open_or_degraded(dir: &Path, options: LedgerOptions) -> Result<Self, LedgerError> {
        let (opener, folder) = Self::prepare(dir, Faults::default())?;
        let (disk, state) = match opener() {
            Ok(opened) => (opened.store.into(), opened.state),
            Err(damage) if damage.is_unreadable() => {
                tracing::error!(
                    error = &damage as &dyn std::error::Error,
                    hint = damage.hint(),
                    "the ledger cannot be read: starts are refused, ends go on"
                );
                (writer::Disk::Damaged(damage), State::default())
            }
            Err(error) => return Err(error),
        };
        Self::start(disk, state, opener, options, Some(folder))
    }

    /// Makes a ledger in memory, whose disk fails when told to. Only for tests.
    ///
    /// # Errors
    /// When the faults are armed already.
    #[cfg(feature = "test-util")]
    pub fn in_memory(options: LedgerOptions, faults: Faults) -> Result<Self, LedgerError> {
        let memory = Arc::new(redb::backends::InMemoryBackend::new());
        let opener: Opener = Box::new(move || {
            let disk = Disk::new(Medium::Memory(Arc::clone(&memory)), faults.clone());
            Store::open(Path::new("memory"), disk)
        });
        let opened = opener()?;
        Self::start(opened.store.into(), opened.state, opener, options, None)
    }

    fn prepare(dir: &Path, faults: Faults) -> Result<(Opener, Folder), LedgerError> {
        let folder = Folder::claim(dir)?;
        let path = folder::ledger_path(dir);
        let dir = dir.to_owned();
        let opener: Opener = Box::new(move || {
            let file = folder::ledger_file(&dir)?;
            let backend = FileBackend::new(file).map_err(|error| LedgerError::Open {
                path: path.clone(),
                source: Arc::new(error.into()),
            })?;
            let disk = Disk::new(Medium::File(backend), faults.clone());
            Store::open(&path, disk)
        });
        Ok((opener, folder))
    }

    fn start(
        disk: writer::Disk,
        state: State,
        opener: Opener,
        options: LedgerOptions,
        folder: Option<Folder>,
    ) -> Result<Self, LedgerError> {
        let shared = Arc::new(Shared::new(state));
        let writer = Writer::new(
            Arc::clone(&shared),
            disk,
            opener,
            options.compact_above,
            folder,
        );
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| LedgerError::Thread(Arc::new(source)))?;
        Ok(Self(Arc::new(Inner {
            shared,
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            notes: Arc::new(Semaphore::new(MAX_NOTED)),
            requests: Some(sender),
            thread: Some(thread),
        })))
    }

    /// Appends events as one: all of them are kept or none. Returns once they are on disk and in [`Self::read`].
    ///
    /// While the disk fails, what opens no access is kept in memory instead. A caller that stops waiting does not take
    /// the events back.
    ///
    /// # Errors
    /// When the events open access and the disk cannot be written; when one is too large; when the ledger is closed.
    pub async fn append(&self, events: Vec<Event>) -> Result<Kept, LedgerError> {
        let rows = store::rows(&events)?;
        let slot = Arc::clone(&self.0.places)
            .acquire_owned()
            .await
            .map_err(|_| LedgerError::Closed)?;
        let (done, answer) = oneshot::channel();
        self.send(Request::Append {
            events,
            rows,
            done,
            slot,
        })?;
        answer.await.map_err(|_| LedgerError::Closed)?
    }

    /// Appends one event.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn append_one(&self, event: Event) -> Result<Kept, LedgerError> {
        self.append(vec![event]).await
    }

    /// Appends events without waiting for the disk, in the order of the calls: for what may be lost because it may be done
    /// again, so that a disk that hangs cannot keep access open. Beyond 65,536 that wait, the newest are dropped and logged.
    pub fn note(&self, events: Vec<Event>) {
        let rows = match store::rows(&events) {
            Ok(rows) => rows,
            Err(error) => {
                let source: &dyn std::error::Error = &error;
                tracing::error!(error = source, "an event could not be noted");
                return;
            }
        };
        let Ok(slot) = Arc::clone(&self.0.notes).try_acquire_owned() else {
            tracing::error!("an event could not be noted: {MAX_NOTED} wait for the disk already");
            return;
        };
        let (done, _nobody_waits) = oneshot::channel();
        let sent = self.send(Request::Append {
            events,
            rows,
            done,
            slot,
        });
        if sent.is_err() {
            tracing::error!("an event could not be noted: the ledger is closed");
        }
    }

    /// Looks at what is true now. Keep the look short, since appends wait for it, and never look from inside a look.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.shared.state())
    }

    /// Gives out the number of the next report, each number once.
    #[must_use]
    pub fn reserve_report(&self) -> u64 {
        self.0.shared.next_report.fetch_add(1, Ordering::SeqCst)
    }

    /// Tells whether starts can be taken: the file is sound and the last write succeeded.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.shared.is_healthy()
    }

    /// Tells whether the file could not be understood: this ledger began empty and is in memory only.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.0.shared.is_damaged()
    }

    /// Tells whether another process has the state folder now: this one was out of reach for so long that its lock was forgotten.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.shared.is_lost()
    }

    /// Writes what waits, closes the file and lets go of the folder. Later appends are refused.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.send(Request::Close(done)).is_ok() {
            // An error means that the thread is gone, which is what was wanted.
            closed.await.unwrap_or_default();
        }
    }

    fn send(&self, request: Request) -> Result<(), LedgerError> {
        self.0
            .requests
            .as_ref()
            .and_then(|requests| requests.send(request).ok())
            .ok_or(LedgerError::Closed)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("healthy", &self.is_healthy())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread ends when nobody can ask it any more; at most one group is still to be written.
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's thread ended in a panic");
        }
    }
}
