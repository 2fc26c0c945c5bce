//! Owns what changed: compares what a walk comes by with what was last reported. Never waits for a server, never sends.
//!
//! Runs on a thread for blocking work: it reads and writes files.

use super::InventoryItem;
use super::digests::{DigestError, DigestFolder, Entry, Kept, Runs, Scope, Seen, Writing};
use crate::control::{InventoryBase, InventoryChange};
use crate::domain::IntegrationId;
use std::collections::HashSet;
use std::io;
use tokio::sync::mpsc::{Receiver, Sender};

/// Why a comparison did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareError {
    /// The source or the upload stopped; they say why.
    #[error("the walk or the upload stopped")]
    Stopped,
    /// Without the disk it cannot be said what is gone.
    #[error("the digests cannot be read or written")]
    Digests(#[from] DigestError),
}

impl From<io::Error> for CompareError {
    fn from(error: io::Error) -> Self {
        Self::Digests(error.into())
    }
}

/// How a comparison ended.
#[derive(Debug)]
pub(super) struct Compared {
    /// What came out, by kind.
    pub(super) counts: Counts,
    writing: Option<Writing>,
    unseen: Vec<Vec<String>>,
}

/// How many lines of which kind there were.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    /// Records the walk came by.
    pub(super) records: u64,
    /// Records that were sent, as new or changed.
    pub(super) changed: u64,
    /// Records that are gone. Unknown, so 0, after a full upload.
    pub(super) gone: u64,
}

impl Compared {
    /// Keeps the digests for the next upload, now that this one was committed.
    pub(super) fn keep(self, base: InventoryBase) -> io::Result<()> {
        match self.writing {
            Some(writing) => writing.keep(base, &self.unseen),
            None => Err(io::Error::other("there was no place for the digests")),
        }
    }
}

/// Compares one walk with what was last reported; with nothing, everything is sent.
pub(super) struct Comparison {
    folder: DigestFolder,
    integration: IntegrationId,
    kept: Option<Kept>,
    /// What lies within these is not known to be at the control plane as the digests say.
    unsure: HashSet<Scope>,
    /// Nothing once the disk failed during a full upload, which can do without.
    runs: Option<Runs>,
    unseen: Vec<Vec<String>>,
    counts: Counts,
    changes: Sender<InventoryChange>,
}

impl Comparison {
    pub(super) fn new(
        folder: DigestFolder,
        integration: IntegrationId,
        kept: Option<Kept>,
        changes: Sender<InventoryChange>,
    ) -> Self {
        let unsure = kept.iter().flat_map(Kept::unseen);
        Self {
            unsure: unsure.filter_map(|path| scope_of(path)).collect(),
            folder,
            integration,
            kept,
            runs: None,
            unseen: Vec::new(),
            counts: Counts::default(),
            changes,
        }
    }

    /// Compares until the walk is complete; the channel of changes is closed only after its last one.
    pub(super) fn run(
        mut self,
        mut items: Receiver<InventoryItem>,
    ) -> Result<Compared, CompareError> {
        let runs = self
            .folder
            .runs(self.integration)
            .map_err(DigestError::from);
        self.runs = self.or_without(runs.map(Some))?.flatten();
        loop {
            match items.blocking_recv() {
                Some(InventoryItem::Resource(record)) => {
                    let entry = Entry::of_resource(&record);
                    self.meet(entry, InventoryChange::Resource(record))?;
                }
                Some(InventoryItem::Access(record)) => {
                    let entry = Entry::of_access(&record);
                    self.meet(entry, InventoryChange::Access(record))?;
                }
                Some(InventoryItem::Unseen(path)) => {
                    self.unseen.push(path.clone());
                    self.send(InventoryChange::Unseen(path))?;
                }
                Some(InventoryItem::Complete) => return self.complete(),
                None => return Err(CompareError::Stopped),
            }
        }
    }

    fn meet(&mut self, entry: Entry, change: InventoryChange) -> Result<(), CompareError> {
        self.counts.records += 1;
        if let Some(runs) = &mut self.runs {
            let added = runs.add(entry).map_err(DigestError::from);
            if self.or_without(added)?.is_none() {
                self.runs = None;
            }
        }
        if self.is_known(entry)? {
            return Ok(());
        }
        self.counts.changed += 1;
        self.send(change)
    }

    fn is_known(&self, entry: Entry) -> io::Result<bool> {
        match &self.kept {
            Some(kept) if !self.unsure.contains(&entry.scope) => {
                Ok(kept.find(entry.id)? == Some(entry))
            }
            _ => Ok(false),
        }
    }

    /// Says what is gone, now that everything was seen.
    fn complete(mut self) -> Result<Compared, CompareError> {
        let merged = match self.runs.take() {
            Some(runs) => self.merge(runs),
            None => Ok(None),
        };
        let merged = match merged {
            Err(CompareError::Digests(error)) => self.or_without(Err(error))?,
            other => Some(other?),
        };
        let writing = merged.flatten();
        let hidden: HashSet<Scope> = self.unseen.iter().filter_map(|p| scope_of(p)).collect();
        let mut unseen = Vec::new();
        match &self.kept {
            None => unseen.clone_from(&self.unseen),
            Some(kept) => {
                for path in kept.unseen() {
                    if scope_of(path).is_some_and(|scope| hidden.contains(&scope)) {
                        unseen.push(path.clone());
                    } else {
                        self.send(InventoryChange::Replace(path.clone()))?;
                    }
                }
            }
        }
        Ok(Compared {
            counts: self.counts,
            writing,
            unseen,
        })
    }

    fn merge(&mut self, runs: Runs) -> Result<Option<Writing>, CompareError> {
        let mut seen = runs.merge()?;
        let mut writing = self.folder.write(self.integration)?;
        match self.kept.take() {
            None => {
                while let Some(entry) = seen.next()? {
                    writing.add(entry)?;
                }
            }
            Some(kept) => {
                let compared = self.merge_with(&kept, &mut seen, &mut writing);
                self.kept = Some(kept);
                compared?;
            }
        }
        Ok(Some(writing))
    }

    fn merge_with(
        &mut self,
        kept: &Kept,
        seen: &mut Seen,
        writing: &mut Writing,
    ) -> Result<(), CompareError> {
        let hidden: HashSet<Scope> = self.unseen.iter().filter_map(|p| scope_of(p)).collect();
        let mut before = kept.entries();
        let (mut old, mut new) = (before.next()?, seen.next()?);
        loop {
            match (old, new) {
                (None, None) => return Ok(()),
                (Some(was), is) if is.is_none_or(|is| was.id < is.id) => {
                    if hidden.contains(&was.scope) {
                        writing.add(was)?;
                    } else {
                        self.counts.gone += 1;
                        self.send(InventoryChange::Gone(was.id))?;
                    }
                    old = before.next()?;
                }
                (was, Some(is)) => {
                    writing.add(is)?;
                    if was.is_some_and(|was| was.id == is.id) {
                        old = before.next()?;
                    }
                    new = seen.next()?;
                }
                (Some(_), None) => return Ok(()),
            }
        }
    }

    /// A full upload needs no digests, so it goes on without them.
    fn or_without<T>(&self, done: Result<T, DigestError>) -> Result<Option<T>, CompareError> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.kept.is_none() => {
                tracing::warn!(
                    integration.id = %self.integration,
                    error = &error as &dyn std::error::Error,
                    hint = "look at the disk of the state folder",
                    "the digests of an inventory cannot be kept, so the next upload will be a full one"
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn send(&self, change: InventoryChange) -> Result<(), CompareError> {
        let sent = self.changes.blocking_send(change);
        sent.map_err(|_| CompareError::Stopped)
    }
}

/// Only what is outermost can be unseen as a whole.
fn scope_of(path: &[String]) -> Option<Scope> {
    path.first().map(|outermost| Scope::within(outermost))
}
