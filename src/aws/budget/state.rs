//! Owns who goes next: the waiting, in their order, and what they wait for. Pure: time is an argument, and whoever may go is only woken.

use super::rate::Rate;
use super::window::Window;
use super::{Limits, Turn, Usage};
use crate::aws::AccountId;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A place in the order: the turn first, then who holds a place in a window already, then who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) turn: Turn,
    behind: bool,
    number: u64,
}

/// Which window an operation counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Assignment,
    Provisioning,
}

/// What somebody waits for.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Request,
    /// A request for an operation that has its turn: a place in a window does not stand idle behind reads.
    RequestOfOperation,
    Operation(Kind, AccountId),
}

#[derive(Debug)]
struct Operation {
    kind: Kind,
    account: AccountId,
    woken: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct State {
    rate: Rate,
    assignments: Window,
    provisionings: Window,
    /// Accounts with a writer.
    busy: HashSet<AccountId>,
    requests: BTreeMap<Place, Arc<Notify>>,
    operations: BTreeMap<Place, Operation>,
    /// Let through, not yet noticed by the one who waited.
    granted: HashSet<Place>,
    /// Whether an operation may go that could not before.
    changed: bool,
    next: u64,
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            rate: Rate::new(limits.requests_per_second.max(1)),
            assignments: Window::new(limits.assignments.max(1)),
            provisionings: Window::new(limits.provisionings.max(1)),
            busy: HashSet::new(),
            requests: BTreeMap::new(),
            operations: BTreeMap::new(),
            granted: HashSet::new(),
            changed: false,
            next: 0,
        }
    }

    /// Puts somebody in line.
    pub(super) fn queue(&mut self, turn: Turn, wanted: Wanted, woken: Arc<Notify>) -> Place {
        let place = Place {
            turn,
            behind: !matches!(wanted, Wanted::RequestOfOperation),
            number: self.next,
        };
        self.next += 1;
        self.changed = true;
        match wanted {
            Wanted::Request | Wanted::RequestOfOperation => {
                drop(self.requests.insert(place, woken))
            }
            Wanted::Operation(kind, account) => drop(self.operations.insert(
                place,
                Operation {
                    kind,
                    account,
                    woken,
                },
            )),
        }
        place
    }

    /// Says whether the one at this place was let through, and forgets that.
    pub(super) fn collect(&mut self, place: Place) -> bool {
        self.granted.remove(&place)
    }

    /// Takes somebody out of the line who no longer waits. What was given in the meantime is given back.
    pub(super) fn withdraw(&mut self, place: Place, wanted: &Wanted) {
        self.requests.remove(&place);
        self.operations.remove(&place);
        self.changed = true;
        if self.granted.remove(&place)
            && let Wanted::Operation(kind, account) = wanted
        {
            self.release(*kind, place.turn, account);
        }
    }

    /// Frees the place of an operation, and its account.
    pub(super) fn release(&mut self, kind: Kind, turn: Turn, account: &AccountId) {
        self.window(kind).release(turn);
        self.busy.remove(account);
        self.changed = true;
    }

    /// Frees the account of an operation that may still be running, and counts it until a time.
    pub(super) fn leave_running(
        &mut self,
        kind: Kind,
        turn: Turn,
        account: &AccountId,
        until: Instant,
    ) {
        self.window(kind).leave_running(turn, until);
        self.busy.remove(account);
        self.changed = true;
    }

    pub(super) fn slow_down(&mut self, now: Instant) {
        self.rate.throttled(now);
    }

    pub(super) fn shrink(&mut self, kind: Kind, now: Instant) {
        self.window(kind).throttled(now);
    }

    /// Lets through whoever may go, and wakes those who are first in line now: they keep the time for the others.
    pub(super) fn advance(&mut self, now: Instant) {
        let heads = self.heads();
        self.rate.tick(now);
        self.changed |= self.assignments.tick(now) | self.provisionings.tick(now);
        self.let_requests_go(now);
        if std::mem::take(&mut self.changed) {
            self.let_operations_go();
        }
        if self.heads() != heads {
            self.wake_heads();
        }
    }

    /// Wakes those who keep the time: when they have to look again may have changed.
    pub(super) fn wake_heads(&self) {
        if let Some((_, woken)) = self.requests.first_key_value() {
            woken.notify_one();
        }
        if let Some((_, operation)) = self.operations.first_key_value() {
            operation.woken.notify_one();
        }
    }

    fn heads(&self) -> (Option<Place>, Option<Place>) {
        (
            self.requests.keys().next().copied(),
            self.operations.keys().next().copied(),
        )
    }

    /// Whoever is first decides: what holds up the first holds up everybody behind too.
    fn let_requests_go(&mut self, now: Instant) {
        while let Some(first) = self.requests.first_entry() {
            let place = *first.key();
            if self.rate.opens(place.turn, now) > now {
                return;
            }
            first.remove().notify_one();
            self.granted.insert(place);
            self.rate.leave(place.turn, now);
        }
    }

    /// Everybody whose window has room and whose account is free goes, in order; a busy account holds up nobody but those who want it.
    fn let_operations_go(&mut self) {
        let mut go = Vec::new();
        // An account somebody further ahead waits for is not given to those behind.
        let mut spoken_for: HashSet<&AccountId> = HashSet::new();
        for (place, operation) in &self.operations {
            if self.busy.contains(&operation.account) || !spoken_for.insert(&operation.account) {
                continue;
            }
            let window = match operation.kind {
                Kind::Assignment => &mut self.assignments,
                Kind::Provisioning => &mut self.provisionings,
            };
            if window.admits(place.turn) {
                window.take(place.turn);
                go.push(*place);
            }
        }
        for place in go {
            if let Some(operation) = self.operations.remove(&place) {
                operation.woken.notify_one();
                self.busy.insert(operation.account);
                self.granted.insert(place);
            }
        }
    }

    /// Returns when the one at this place has to look again, if it is first in its line.
    pub(super) fn look_again(&self, place: Place, now: Instant) -> Option<Instant> {
        let (request, operation) = self.heads();
        if request == Some(place) {
            Some(self.rate.opens(place.turn, now))
        } else if operation == Some(place) {
            let windows = [&self.assignments, &self.provisionings];
            windows.into_iter().filter_map(Window::next_change).min()
        } else {
            None
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let waiting = |turn: Turn| {
            self.requests
                .keys()
                .filter(|place| place.turn == turn)
                .count()
                + self
                    .operations
                    .keys()
                    .filter(|place| place.turn == turn)
                    .count()
        };
        Usage {
            requests_per_second: self.rate.current(),
            assignments: self.assignments.used(),
            assignments_at_most: self.assignments.current(),
            provisionings: self.provisionings.used(),
            provisionings_at_most: self.provisionings.current(),
            busy_accounts: self.busy.len(),
            waiting: Turn::ALL.map(waiting),
        }
    }

    fn window(&mut self, kind: Kind) -> &mut Window {
        match kind {
            Kind::Assignment => &mut self.assignments,
            Kind::Provisioning => &mut self.provisionings,
        }
    }
}
