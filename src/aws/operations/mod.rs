//! Owns the wait for asynchronous operations of Identity Center. Never decides what an end of one means: the truth about an assignment is
//! what the lists of assignments show.
//!
//! While anybody waits, one list per second and kind names all operations that run. Whoever waits for an operation that is not in it asks for
//! that one alone: the list has no reason, and an operation that is too young is not in it either.

mod sso_admin;
#[cfg(test)]
mod tests;

pub use sso_admin::SsoAdminOperations;

use super::AwsError;
use super::budget::{Budget, Throttle, Turn};
use crate::domain::ErrorClass;
use async_trait::async_trait;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// Time between two lists of one kind, and the first wait for an operation that cannot be seen yet.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// Longest time between two lists that fail, and between two looks at an operation that cannot be seen.
const LOOK_EVERY: Duration = Duration::from_secs(8);
/// Most pages of one list, 100 operations each. The service runs 15 and 3 at once.
const MOST_PAGES: usize = 20;

/// Which kind of operation; each has its own lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// The creation of an assignment.
    Creation,
    /// The deletion of an assignment.
    Deletion,
    /// The provisioning of a permission set.
    Provisioning,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Creation, Self::Deletion, Self::Provisioning];
}

/// What the service says of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationStatus {
    /// It runs.
    InProgress,
    /// It did what it should.
    Succeeded,
    /// It ended otherwise. Its effect may be there all the same.
    Failed {
        /// The service's words, bounded.
        reason: String,
    },
    /// No operation of this id: too young to be seen, or so old that it is forgotten.
    Unknown,
}

/// One page of the list of operations that run.
#[derive(Debug, Clone, Default)]
pub struct RunningPage {
    /// Ids of operations in progress, of everybody and not only ours.
    pub ids: Vec<String>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// The calls that tell what became of operations. Each is one request; nothing here waits for the budget.
#[async_trait]
pub trait OperationReader: Send + Sync {
    /// Lists operations in progress, one page of up to 100.
    async fn running(
        &self,
        kind: OperationKind,
        page: Option<String>,
    ) -> Result<RunningPage, AwsError>;

    /// Asks for one operation. One that cannot be found is [`OperationStatus::Unknown`], no error.
    async fn describe(&self, kind: OperationKind, id: &str) -> Result<OperationStatus, AwsError>;
}

/// How the wait for an operation ended.
#[derive(Debug)]
pub enum Finished {
    /// The operation ended well. Read the assignment back all the same.
    Succeeded,
    /// It failed, in the service's words. Its effect may be there all the same.
    Failed {
        /// The service's words, bounded.
        reason: String,
    },
    /// What became of it cannot be told: it did not end before the deadline, was never found, or may not be read. Neither success nor
    /// failure; only reading the assignment back decides.
    Lost {
        /// The last trouble, where there was any.
        trouble: Option<AwsError>,
    },
}

/// An operation to wait for.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    /// Which kind.
    pub kind: OperationKind,
    /// The request id the service gave it.
    pub id: &'a str,
    /// In whose order the questions about it are asked.
    pub turn: Turn,
}

/// Waits for operations of one instance. Cheap to clone; all clones share one list per second and kind.
#[derive(Clone)]
pub struct Operations {
    reader: Arc<dyn OperationReader>,
    budget: Budget,
    lists: Arc<HashMap<OperationKind, List>>,
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

/// The list of one kind: whoever holds the baton makes the next one, everybody sees it.
struct List {
    baton: Mutex<Pace>,
    latest: watch::Sender<Arc<Latest>>,
}

/// When the next list may be made.
#[derive(Debug, Default)]
struct Pace {
    next: Option<Instant>,
    failures: u32,
}

/// The latest list.
#[derive(Debug, Default)]
struct Latest {
    /// When its first page was asked for; what was sent later cannot be in it.
    asked: Option<Instant>,
    running: HashSet<String>,
    trouble: Option<AwsError>,
}

/// What one who waits remembers.
struct Patience {
    began: Instant,
    look_again: Instant,
    looks: u32,
    trouble: Option<AwsError>,
}

impl Operations {
    /// Makes the wait for the operations of one instance.
    #[must_use]
    pub fn new(reader: Arc<dyn OperationReader>, budget: Budget) -> Self {
        let list = |kind| {
            let list = List {
                baton: Mutex::default(),
                latest: watch::Sender::default(),
            };
            (kind, list)
        };
        Self {
            reader,
            budget,
            lists: Arc::new(OperationKind::ALL.into_iter().map(list).collect()),
        }
    }

    /// Waits until an operation has ended, at most until the deadline. Dropping the future stops the wait, not the operation.
    pub async fn watch(&self, what: Watched<'_>, deadline: Instant) -> Finished {
        let began = Instant::now();
        let mut patience = Patience {
            began,
            look_again: began,
            looks: 0,
            trouble: None,
        };
        let finished = self.until_finished(what, &mut patience);
        match tokio::time::timeout_at(deadline, finished).await {
            Ok(finished) => finished,
            Err(_) => Finished::Lost {
                trouble: patience.trouble,
            },
        }
    }

    async fn until_finished(&self, what: Watched<'_>, patience: &mut Patience) -> Finished {
        let Some(list) = self.lists.get(&what.kind) else {
            return Finished::Lost { trouble: None };
        };
        let mut latest = list.latest.subscribe();
        loop {
            tokio::select! {
                biased;
                changed = latest.changed() => if changed.is_err() {
                    return Finished::Lost { trouble: None };
                },
                () = self.next_list(list, what, patience.began) => {}
            }
            let seen = Arc::clone(&latest.borrow_and_update());
            if let Some(trouble) = &seen.trouble {
                patience.trouble = Some(trouble.clone());
                if hopeless(trouble) {
                    return Finished::Lost {
                        trouble: patience.trouble.take(),
                    };
                }
                continue;
            }
            let young = seen.asked.is_none_or(|asked| asked <= patience.began);
            if young || seen.running.contains(what.id) || Instant::now() < patience.look_again {
                continue;
            }
            if let Some(finished) = self.look(what, patience).await {
                return finished;
            }
        }
    }

    /// Asks for the one operation. Nothing when it runs on, or nothing can be told yet.
    async fn look(&self, what: Watched<'_>, patience: &mut Patience) -> Option<Finished> {
        self.budget.request_for_running(what.turn).await;
        let trouble = match self.reader.describe(what.kind, what.id).await {
            Ok(OperationStatus::Succeeded) => return Some(Finished::Succeeded),
            Ok(OperationStatus::Failed { reason }) => return Some(Finished::Failed { reason }),
            Ok(OperationStatus::InProgress | OperationStatus::Unknown) => None,
            Err(error) => {
                self.slow_down(&error);
                Some(error)
            }
        };
        if trouble.as_ref().is_some_and(hopeless) {
            return Some(Finished::Lost { trouble });
        }
        patience.trouble = trouble.or(patience.trouble.take());
        patience.look_again = Instant::now() + growing(patience.looks);
        patience.looks = patience.looks.saturating_add(1);
        None
    }

    /// Makes the next list, as soon as nobody else does and its time has come.
    async fn next_list(&self, list: &List, what: Watched<'_>, began: Instant) {
        let mut pace = list.baton.lock().await;
        let alone = list.latest.receiver_count() <= 1;
        // Nothing ends at once; who waits alone does not ask at once.
        let first = began + if alone { LIST_EVERY } else { Duration::ZERO };
        tokio::time::sleep_until(pace.next.map_or(first, |next| next.max(first))).await;
        self.budget.request_for_running(what.turn).await;
        let asked = Instant::now();
        // Also holds when this one stops waiting in the middle.
        pace.next = Some(asked + LIST_EVERY);
        let latest = match self.running(what).await {
            Ok(running) => {
                pace.failures = 0;
                Latest {
                    asked: Some(asked),
                    running,
                    trouble: None,
                }
            }
            Err(error) => {
                self.slow_down(&error);
                let wait = growing(pace.failures).max(error.retry_after().unwrap_or_default());
                pace.next = Some(Instant::now() + wait);
                pace.failures = pace.failures.saturating_add(1);
                Latest {
                    trouble: Some(error),
                    ..Latest::default()
                }
            }
        };
        list.latest.send_replace(Arc::new(latest));
    }

    /// All pages of one list; the first page's request is already paid for.
    async fn running(&self, what: Watched<'_>) -> Result<HashSet<String>, AwsError> {
        let mut running = HashSet::new();
        let mut page = None;
        for number in 0..MOST_PAGES {
            if number > 0 {
                self.budget.request_for_running(what.turn).await;
            }
            let read = self.reader.running(what.kind, page).await?;
            running.extend(read.ids);
            page = read.next;
            if page.is_none() {
                break;
            }
        }
        // What stands on pages that are left out is asked for one by one.
        Ok(running)
    }

    fn slow_down(&self, error: &AwsError) {
        if error.class() == ErrorClass::Throttled {
            self.budget.throttled(Throttle::Rate);
        }
    }
}

/// Trouble that waiting does not help against: the caller decides by reading back.
fn hopeless(trouble: &AwsError) -> bool {
    matches!(
        trouble.class(),
        ErrorClass::NeedsOperator | ErrorClass::Bug | ErrorClass::NotFound
    )
}

/// 1 s, doubling up to the longest.
fn growing(times: u32) -> Duration {
    LIST_EVERY.saturating_mul(1 << times.min(3)).min(LOOK_EVERY)
}
