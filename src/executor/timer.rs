//! Owns ends by the local clock. Needs neither the control plane nor a healthy disk, and has no ceiling.

use super::Executor;
use crate::domain::{EndReason, Grant, GrantId};
use crate::ledger::{GrantPhase, OutboxEntry, State};
use crate::policy::{EndWarrant, WarrantSource};
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often both clocks are looked at, at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long after its expiry a grant that only the control plane's list names is ended: its own record comes first.
const LISTED_GRACE: Duration = Duration::from_secs(5);
/// How long to wait before a grant is looked at again whose time was not over by its target's clock.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When each grant's time is over by the boot-time clock, which no wrong time server can turn back.
#[derive(Debug, Default)]
struct BootDeadlines(HashMap<GrantId, (Timestamp, Duration)>);

impl BootDeadlines {
    /// Tells whether a grant's time is over by either clock.
    fn is_over(&mut self, grant: &Grant, now: Timestamp, since_boot: Duration) -> bool {
        let left = Duration::try_from(grant.expiry.duration_since(now)).unwrap_or_default();
        let (expiry, deadline) = self
            .0
            .entry(grant.id)
            .or_insert((grant.expiry, since_boot + left));
        if *expiry != grant.expiry {
            (*expiry, *deadline) = (grant.expiry, since_boot + left);
        }
        grant.is_over(now) || since_boot >= *deadline
    }

    fn forget_all_but(&mut self, keep: impl Fn(&GrantId) -> bool) {
        self.0.retain(|id, _| keep(id));
    }
}

impl Executor {
    /// Ends grants as their time comes, until `stop`; ends that have begun go on beyond it.
    pub(super) async fn watch_expiries(&self, stop: &CancellationToken) {
        let mut deadlines = BootDeadlines::default();
        let mut called_off: HashMap<GrantId, Duration> = HashMap::new();
        loop {
            let wait = self.end_what_is_over(&mut deadlines, &mut called_off);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.shared.timer_changed.notified() => {}
            }
        }
    }

    /// Ends what is over by the wall clock now, from the ledger alone.
    pub(super) fn end_overdue(&self) {
        self.end_what_is_over(&mut BootDeadlines::default(), &mut HashMap::new());
    }

    fn end_what_is_over(
        &self,
        deadlines: &mut BootDeadlines,
        called_off: &mut HashMap<GrantId, Duration>,
    ) -> Duration {
        let now = self.now();
        let since_boot = self.parts.clock.since_boot();
        called_off.retain(|_, until| *until > since_boot);
        let open = self.open_in_ledger();
        let next = open.iter().map(|grant| grant.expiry).min();
        deadlines.forget_all_but(|id| open.iter().any(|grant| grant.id == *id));
        let mut over: Vec<(Grant, WarrantSource)> = open
            .into_iter()
            .filter(|grant| deadlines.is_over(grant, now, since_boot))
            .map(|grant| (grant, WarrantSource::Ledger))
            .collect();
        over.extend(
            self.over_by_list(now)
                .into_iter()
                .map(|grant| (grant, WarrantSource::List)),
        );
        over.retain(|(grant, _)| {
            !self.shared.ends.drives(grant.id) && !called_off.contains_key(&grant.id)
        });
        called_off.extend(
            over.iter()
                .map(|(grant, _)| (grant.id, since_boot + LOOK_AGAIN)),
        );
        let warrants = over.into_iter().map(|(grant, source)| EndWarrant {
            grant,
            reason: EndReason::Expired,
            source,
        });
        self.ensure_ends(warrants.collect());
        let until_next = next
            .and_then(|next| Duration::try_from(next.duration_since(now)).ok())
            .filter(|wait| !wait.is_zero());
        until_next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)
    }

    fn open_in_ledger(&self) -> Vec<Grant> {
        self.parts.ledger.read(|state| {
            state
                .grants
                .values()
                .filter(|record| {
                    matches!(record.phase, GrantPhase::Starting { .. } | GrantPhase::Live)
                })
                .map(|record| record.grant.clone())
                .collect()
        })
    }

    fn over_by_list(&self, now: Timestamp) -> Vec<Grant> {
        let grace = jiff::SignedDuration::try_from(LISTED_GRACE).unwrap_or_default();
        let over = |grant: &Grant| now.duration_since(grant.expiry) > grace;
        let listed = self.parts.recall.listed_over(over);
        self.parts.ledger.read(|state| {
            listed
                .into_iter()
                .filter(|grant| {
                    !state.grants.contains_key(&grant.id) && !on_its_way(state, grant.id)
                })
                .filter(|grant| state.integrations.contains_key(&grant.integration))
                .collect()
        })
    }
}

/// Tells whether the report of a grant's end has not been acknowledged yet.
fn on_its_way(state: &State, grant: GrantId) -> bool {
    state
        .outbox
        .values()
        .any(|entry| matches!(entry, OutboxEntry::End(report) if report.grant == grant))
}
