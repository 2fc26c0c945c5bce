//! Owns the one thread that writes: group commit, then the fold, then the answers. Never decides what may happen.

use super::error::LedgerError;
use super::event::Event;
use super::folder::Folder;
use super::memory::{Health, Shared};
use super::store::{self, Opened, Store};
use crate::cut;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Most appends in one transaction: one sync pays for all of them, and none waits for more than that.
const MAX_GROUP: usize = 256;

/// The log is rewritten when it has this many times the rows it needs.
const SLACK: u64 = 4;

/// How long the thread waits for work before it does chores (try a failed disk again, give space back).
const CHORES_AFTER: Duration = Duration::from_secs(1);

/// A busy thread tries a failed disk again after this many groups.
const GROUPS_BETWEEN_TRIES: u32 = 256;

/// Opens the store anew, after its disk failed or at the start.
pub(super) type Opener = Box<dyn Fn() -> Result<Opened, LedgerError> + Send>;

/// Where events were kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// On disk, synced, and in memory.
    OnDisk,
    /// In memory only, because the disk fails or the ledger is damaged. Written as soon as the disk can be written.
    InMemory,
}

/// What is asked of the thread.
pub(super) enum Request {
    Append {
        events: Vec<Event>,
        /// The same events, in the form of rows.
        rows: Vec<Vec<u8>>,
        done: oneshot::Sender<Result<Kept, LedgerError>>,
        /// Given back when the append is answered: this bounds the queue.
        slot: OwnedSemaphorePermit,
    },
    Close(oneshot::Sender<()>),
}

/// What the thread works with.
pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Disk,
    opener: Opener,
    /// The log is never rewritten below this many rows.
    compact_above: u64,
    /// The log is looked at when it has more rows than this.
    look_at: u64,
    shrink_due: bool,
    groups_since_try: u32,
    /// Keeps other processes out for as long as the thread lives.
    folder: Option<Folder>,
}

/// What there is to write to.
pub(super) enum Disk {
    Good(Store),
    /// The last failure; memory knows all, and is written by the next success.
    Failing(LedgerError),
    /// For good: memory began empty, and the file stays as it was found.
    Damaged(LedgerError),
}

impl From<Result<Store, LedgerError>> for Disk {
    fn from(store: Result<Store, LedgerError>) -> Self {
        store.map_or_else(Self::Failing, Self::Good)
    }
}

impl Disk {
    fn health(&self) -> Health {
        match self {
            Self::Good(_) => Health::Healthy,
            Self::Failing(LedgerError::Locked { .. }) => Health::Lost,
            Self::Failing(_) => Health::Failing,
            Self::Damaged(_) => Health::Damaged,
        }
    }
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Disk,
        opener: Opener,
        compact_above: u64,
        folder: Option<Folder>,
    ) -> Self {
        shared.set(disk.health());
        Self {
            shared,
            disk,
            opener,
            compact_above,
            look_at: compact_above,
            shrink_due: false,
            groups_since_try: 0,
            folder,
        }
    }

    /// Works until the ledger is closed or its last handle is gone.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        self.tidy();
        let closed = loop {
            let first = if self.has_chores() {
                requests.recv_timeout(CHORES_AFTER)
            } else {
                requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let first = match first {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    self.do_chores();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break None,
            };
            let mut group = Vec::new();
            let mut closing = None;
            for request in std::iter::once(first).chain(requests.try_iter()) {
                match request {
                    Request::Append {
                        events,
                        rows,
                        done,
                        slot,
                    } => group.push(Append {
                        events,
                        rows,
                        done,
                        _slot: slot,
                    }),
                    Request::Close(done) => closing = Some(done),
                }
                if closing.is_some() || group.len() >= MAX_GROUP {
                    break;
                }
            }
            self.commit(group);
            if closing.is_some() {
                break closing;
            }
        };
        drop(self);
        if let Some(done) = closed {
            // Whoever asked may have stopped waiting.
            done.send(()).unwrap_or_default();
        }
    }

    fn commit(&mut self, group: Vec<Append>) {
        if group.is_empty() {
            return;
        }
        self.groups_since_try += 1;
        if group.iter().any(Append::opens_access) || self.groups_since_try >= GROUPS_BETWEEN_TRIES {
            self.try_again();
        }
        if let Disk::Good(store) = &mut self.disk {
            pass_points(&group, "before");
            let rows = group.iter().flat_map(|append| append.rows.iter());
            match store.append(rows) {
                Ok(()) => {
                    pass_points(&group, "after");
                    self.keep(group, Kept::OnDisk);
                    self.tidy();
                    return;
                }
                Err(error) => self.fail(error),
            }
        }
        self.keep_without_disk(group);
    }

    fn keep(&self, group: Vec<Append>, kept: Kept) {
        let mut answers = Vec::with_capacity(group.len());
        {
            let mut state = self.shared.state_mut();
            for append in group {
                append
                    .events
                    .into_iter()
                    .for_each(|event| state.apply(event));
                answers.push(append.done);
            }
        }
        for done in answers {
            // Whoever asked may have stopped waiting; the events are kept all the same.
            done.send(Ok(kept)).unwrap_or_default();
        }
    }

    fn keep_without_disk(&self, group: Vec<Append>) {
        let error = match &self.disk {
            Disk::Good(_) => return,
            Disk::Failing(error) => error.clone(),
            Disk::Damaged(damage) => damage.starts_refused(),
        };
        let (refused, rest): (Vec<_>, Vec<_>) = group.into_iter().partition(Append::opens_access);
        for append in refused {
            append.done.send(Err(error.clone())).unwrap_or_default();
        }
        self.keep(rest, Kept::InMemory);
    }

    fn fail(&mut self, error: LedgerError) {
        // Said once, not at every further try.
        let news = !matches!(self.disk, Disk::Failing(_));
        if news || matches!(error, LedgerError::Locked { .. }) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                hint = error.hint(),
                "the ledger cannot be written: starts are refused, ends go on in memory"
            );
        }
        self.set(Disk::Failing(error));
    }

    fn set(&mut self, disk: Disk) {
        self.shared.set(disk.health());
        self.disk = disk;
    }

    /// Opens a failed disk again and writes what is true now in place of what stands there: memory knows more.
    fn try_again(&mut self) {
        self.groups_since_try = 0;
        if !matches!(self.disk, Disk::Failing(_)) {
            return;
        }
        let rows = store::rows(&self.shared.state().restate());
        let reopened = rows.and_then(|rows| {
            self.folder.as_mut().map_or(Ok(()), Folder::hold)?;
            let mut store = (self.opener)()?.store?;
            store.rewrite(&rows)?;
            Ok(store)
        });
        match reopened {
            Ok(store) => {
                tracing::info!("the ledger can be written again: starts are taken again");
                self.shrink_due = true;
                self.set(Disk::Good(store));
            }
            Err(error) => self.fail(error),
        }
    }

    /// Rewrites the log when most of it is history.
    fn tidy(&mut self) {
        let Disk::Good(store) = &mut self.disk else {
            return;
        };
        if store.rows() <= self.look_at {
            return;
        }
        let needed = self.shared.state().restate();
        let rewritten = if store.rows() > SLACK.saturating_mul(needed.len() as u64) {
            self.shrink_due = true;
            store::rows(&needed).and_then(|rows| store.rewrite(&rows))
        } else {
            Ok(())
        };
        self.look_at = self
            .compact_above
            .max(SLACK.saturating_mul(needed.len() as u64));
        if let Err(error) = rewritten {
            self.fail(error);
        }
    }

    fn has_chores(&self) -> bool {
        match self.disk {
            Disk::Good(_) => self.shrink_due,
            Disk::Failing(_) => true,
            Disk::Damaged(_) => false,
        }
    }

    fn do_chores(&mut self) {
        self.try_again();
        if let Disk::Good(store) = &mut self.disk
            && self.shrink_due
        {
            self.shrink_due = false;
            if let Err(error) = store.shrink() {
                self.fail(error);
            }
        }
    }
}

struct Append {
    events: Vec<Event>,
    rows: Vec<Vec<u8>>,
    done: oneshot::Sender<Result<Kept, LedgerError>>,
    _slot: OwnedSemaphorePermit,
}

impl Append {
    fn opens_access(&self) -> bool {
        self.events.iter().any(Event::opens_access)
    }
}

fn pass_points(group: &[Append], side: &str) {
    for event in group.iter().flat_map(|append| &append.events) {
        cut::point(format_args!("journal.{}.{side}", event.kind()));
    }
}
