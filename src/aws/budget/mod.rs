//! Owns the one budget of an Identity Center instance: requests per second, operations at once, one writer per account. Never sends anything.
//!
//! Everything that speaks to one instance goes through one [`Budget`], so that an inventory cannot hold up an end. The order is that of
//! [`Turn`]; a quarter of the pace and of each window is for ends alone.

mod rate;
#[cfg(test)]
mod simulation_tests;
mod state;
#[cfg(test)]
mod tests;
mod window;

use super::AccountId;
use state::{Kind, Place, State, Wanted};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long an operation nobody watches any more still counts, when it was sent and not seen to end: 2 min. Longer than nearly every
/// operation takes; after it the service itself says when there is no room.
const COUNTED_UNWATCHED: Duration = Duration::from_secs(120);
/// Most budgets kept; those nobody uses are forgotten first.
const MOST_BUDGETS: usize = 64;

/// What a request or an operation is for, in the order in which they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Turn {
    /// Takes access away.
    End,
    /// Gives access.
    Start,
    /// Removes what an ended access left behind.
    CleanUp,
    /// Reads for the inventory, and for checks.
    Read,
}

impl Turn {
    /// Every turn, first to last.
    pub const ALL: [Self; 4] = [Self::End, Self::Start, Self::CleanUp, Self::Read];
}

/// What the service refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// Too many requests per second.
    Rate,
    /// Too many operations at once, ours and those of others together.
    Outstanding,
    /// It did not say which.
    Unclear,
}

/// What the service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests of all kinds in any second, at least 1.
    pub requests_per_second: u32,
    /// Creations and deletions of assignments at once, at least 1.
    pub assignments: u32,
    /// Provisionings of permission sets at once, at least 1.
    pub provisionings: u32,
}

impl Limits {
    /// The documented quotas of Identity Center, per instance. Deletions of assignments are counted with the creations, to be on the safe side.
    pub const IDENTITY_CENTER: Self = Self {
        requests_per_second: 20,
        assignments: 15,
        provisionings: 3,
    };
}

/// How many of a number are for ends alone: a quarter, rounded up, but something is left for the rest where there is more than one.
fn kept_for_ends(of: u32) -> u32 {
    of.div_ceil(4).min(of.saturating_sub(1))
}

/// How much of a budget is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The pace at the moment.
    pub requests_per_second: u32,
    /// Creations and deletions counted as running.
    pub assignments: u32,
    /// The window at the moment.
    pub assignments_at_most: u32,
    /// Provisionings counted as running.
    pub provisionings: u32,
    /// The window at the moment.
    pub provisionings_at_most: u32,
    /// Accounts with a writer.
    pub busy_accounts: usize,
    /// How many wait, in the order of [`Turn::ALL`].
    pub waiting: [usize; 4],
}

/// All budgets of the process, one per Identity Center instance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budgets {
    limits: Limits,
    known: Arc<Mutex<HashMap<String, Budget>>>,
}

impl Budgets {
    /// Makes budgets with the same limits for every instance.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            known: Arc::default(),
        }
    }

    /// Returns the budget of an instance, by its ARN: always the same one while anybody uses it.
    #[must_use]
    pub fn of(&self, instance: &str) -> Budget {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_BUDGETS {
            known.retain(|_, budget| Arc::strong_count(&budget.state) > 1);
        }
        known
            .entry(instance.to_owned())
            .or_insert_with(|| Budget::new(self.limits))
            .clone()
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self::new(Limits::IDENTITY_CENTER)
    }
}

/// The budget of one instance. A clone is another handle on the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    state: Arc<Mutex<State>>,
}

impl Budget {
    /// Makes a budget that is shared with nobody yet; see [`Budgets::of`].
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(limits))),
        }
    }

    /// Waits until one request may leave. Call it before every request; where an operation has its turn, [`OperationTurn::request`].
    pub async fn request(&self, turn: Turn) {
        self.wait(turn, Wanted::Request).await;
    }

    /// Waits until a request about an operation that runs may leave: ahead of others of the same turn.
    pub(super) async fn request_for_running(&self, turn: Turn) {
        self.wait(turn, Wanted::RequestOfOperation).await;
    }

    /// Waits until one creation or deletion of an assignment may start in an account.
    pub async fn assignment(&self, turn: Turn, account: &AccountId) -> OperationTurn {
        self.operation(Kind::Assignment, turn, account).await
    }

    /// Waits until one provisioning of a permission set may start in an account.
    pub async fn provisioning(&self, turn: Turn, account: &AccountId) -> OperationTurn {
        self.operation(Kind::Provisioning, turn, account).await
    }

    /// Slows down after a refusal of a request that started no operation; see [`OperationTurn::throttled`] for the others. The pace
    /// recovers by itself.
    pub fn throttled(&self, why: Throttle) {
        if why == Throttle::Outstanding {
            self.change(|state, now| state.shrink(Kind::Assignment, now));
        } else {
            self.change(State::slow_down);
        }
    }

    /// Returns how much is in use now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut state = self.lock();
        state.advance(Instant::now());
        state.usage()
    }

    async fn operation(&self, kind: Kind, turn: Turn, account: &AccountId) -> OperationTurn {
        self.wait(turn, Wanted::Operation(kind, account.clone()))
            .await;
        OperationTurn {
            budget: self.clone(),
            kind,
            turn,
            account: account.clone(),
            running: false,
        }
    }

    async fn wait(&self, turn: Turn, wanted: Wanted) {
        let woken = Arc::new(Notify::new());
        let place = self.lock().queue(turn, wanted.clone(), Arc::clone(&woken));
        let mut waiting = Waiting {
            budget: self,
            place,
            wanted,
            done: false,
        };
        loop {
            let again = {
                let mut state = self.lock();
                let now = Instant::now();
                state.advance(now);
                if state.collect(place) {
                    waiting.done = true;
                    return;
                }
                state.look_again(place, now)
            };
            match again {
                Some(at) => tokio::select! {
                    () = woken.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => woken.notified().await,
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        let mut state = self.lock();
        let now = Instant::now();
        change(&mut state, now);
        state.advance(now);
        state.wake_heads();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody in line, who may stop waiting at any time.
struct Waiting<'a> {
    budget: &'a Budget,
    place: Place,
    wanted: Wanted,
    done: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.budget
                .change(|state, _| state.withdraw(self.place, &self.wanted));
        }
    }
}

/// The right to run one operation in one account: a place in the window, and the account's only writer. Dropping it frees both.
///
/// Say [`Self::sent`] right before the request leaves, and [`Self::finished`] when the operation is known to have ended or to have been refused.
/// An operation that was sent and is dropped unfinished, because its task was cancelled or ran out of time, may still be running at the service:
/// its account is free at once, so that an end is not held up, but its place in the window counts for two more minutes.
#[derive(Debug)]
#[must_use]
pub struct OperationTurn {
    budget: Budget,
    kind: Kind,
    turn: Turn,
    account: AccountId,
    running: bool,
}

impl OperationTurn {
    /// Waits until a request of this operation may leave: ahead of all other requests of the same turn, so that its place in the window does
    /// not stand idle behind them.
    pub async fn request(&self) {
        self.budget.request_for_running(self.turn).await;
    }

    /// Notes that from now on the operation may be running at the service.
    pub fn sent(&mut self) {
        self.running = true;
    }

    /// Notes that the operation runs no more, or never began; frees its place and the account.
    pub fn finished(mut self) {
        self.running = false;
    }

    /// Slows down after a refusal, and gives the turn back: the operation did not begin. The window and the pace recover by themselves.
    pub fn throttled(self, why: Throttle) {
        let kind = self.kind;
        self.budget.change(|state, now| {
            if why != Throttle::Outstanding {
                state.slow_down(now);
            }
            if why != Throttle::Rate {
                state.shrink(kind, now);
            }
        });
        self.finished();
    }
}

impl Drop for OperationTurn {
    fn drop(&mut self) {
        let (kind, turn, running) = (self.kind, self.turn, self.running);
        let account = &self.account;
        self.budget.change(|state, now| {
            if running {
                state.leave_running(kind, turn, account, now + COUNTED_UNWATCHED);
            } else {
                state.release(kind, turn, account);
            }
        });
    }
}
