//! Owns the comparison of the ledger with the record inside each target, clean-up and mending. Never starts access.

use super::Executor;
use super::task::{log_failure, with_hint};
use crate::control::IntegrationStatus;
use crate::cut;
use crate::domain::{EndReason, ErrorClass, GrantId, Integration, IntegrationId};
use crate::ledger::{Event, GrantPhase, GrantRecord, OutboxEntry};
use crate::policy::{EndWarrant, WarrantSource};
use crate::targets::{CleanedUp, RecordedGrant, Target, TargetError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long an end seen in a target's record may be open before this instance takes it up: another one may be at it.
const OTHERS_GRACE: jiff::SignedDuration = jiff::SignedDuration::from_secs(3);
/// Longest time one integration may hold up the sweep of the others.
const SWEEP_LIMIT: Duration = Duration::from_secs(60);

/// How long a call for a sweep waits for others like it: ends come in bursts, and each sweep reads a whole record.
const GATHER: Duration = Duration::from_millis(250);

/// What one sweep does besides reading the records.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    mend: bool,
    clean: bool,
}

/// What the ledger knows of one integration, but for what is being worked on.
#[derive(Debug, Default)]
struct Known {
    live: BTreeSet<GrantId>,
    starting: BTreeSet<GrantId>,
    /// Closed, and something may be left behind.
    unclean: BTreeSet<GrantId>,
}

/// Something that is done every so often, and at the first look.
#[derive(Debug)]
pub(super) struct Due {
    every: Duration,
    last: Option<Instant>,
}

impl Due {
    pub(super) fn every(every: Duration) -> Self {
        Self { every, last: None }
    }

    pub(super) fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= self.every);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}

impl Executor {
    /// Sweeps every integration again and again until `stop`.
    pub(super) async fn sweep_targets(&self, stop: &CancellationToken) {
        let mut mending = Due::every(self.shared.options.mend_every);
        let mut cleaning = Due::every(self.shared.options.clean_up_every);
        loop {
            let sweep = Sweep {
                mend: mending.is_due(),
                clean: cleaning.is_due(),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.sweep_once(sweep) => {}
            }
            let every = self.shared.options.sweep_every;
            let called = async {
                self.shared.sweep_now.notified().await;
                tokio::time::sleep(GATHER.min(every)).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
                () = called => {}
            }
        }
    }

    /// Reads every target's record and takes what it shows into the ledger.
    pub(super) async fn learn_records(&self) {
        let integrations = self.integrations();
        let reading = integrations.iter().map(|integration| async move {
            if let Ok(target) = self.target(integration) {
                self.learn_record(integration, target.as_ref()).await;
            }
        });
        futures_util::future::join_all(reading).await;
    }

    async fn sweep_once(&self, sweep: Sweep) {
        let integrations = self.integrations();
        let sweeping = integrations.iter().map(|integration| async move {
            let sweeping = self.sweep_integration(integration, sweep);
            if tokio::time::timeout(SWEEP_LIMIT, sweeping).await.is_err() {
                tracing::warn!(integration.id = %integration.id, "the sweep of `{}` took too long", integration.name);
            }
        });
        futures_util::future::join_all(sweeping).await;
        self.show_numbers();
    }

    async fn sweep_integration(&self, integration: &Integration, sweep: Sweep) {
        let target = match self.target(integration) {
            Ok(target) => target,
            Err(error) => {
                let message = with_hint(error.failure());
                self.set_health(integration.id, IntegrationStatus::Error, message);
                return;
            }
        };
        if !self.learn_record(integration, target.as_ref()).await {
            return;
        }
        target.hold(self.open_grants(integration) > 0).await;
        if sweep.clean {
            cut::point("clean_up.before");
            let cleaned = target.clean_up().await;
            cut::point("clean_up.after");
            self.take_clean_up(cleaned).await;
        }
        if sweep.mend {
            self.mend(integration, target.as_ref()).await;
        }
        self.forget_if_retired(integration).await;
    }

    /// Takes a target's record into the ledger; returns whether it could be read.
    async fn learn_record(&self, integration: &Integration, target: &dyn Target) -> bool {
        // Taken before reading: what starts while we read is not missed below.
        let Known {
            live: mut absent,
            starting: mut never_begun,
            unclean: mut cleaned,
        } = self.known(integration);
        let recorded = match target.recorded().await {
            Ok(recorded) => recorded,
            Err(error) => {
                self.note_unread(integration, &error);
                return false;
            }
        };
        self.note_read(integration).await;
        for entry in &recorded {
            let id = entry.grant.id;
            absent.remove(&id);
            never_begun.remove(&id);
            let was_closed = cleaned.remove(&id);
            if !entry.undecided && !self.end_forgotten(entry, was_closed) {
                self.learn_entry(entry).await;
            }
        }
        for grant in never_begun {
            self.journal(vec![Event::StartAbandoned(grant)]).await;
        }
        self.end_absent(absent);
        self.compare(integration, target).await;
        // Somebody cleaned up and did not live to tell, or another instance did.
        for grant in cleaned {
            self.note_cleaned(grant, Vec::new()).await;
        }
        true
    }

    async fn learn_entry(&self, entry: &RecordedGrant) {
        let grant = &entry.grant;
        let known = self
            .parts
            .ledger
            .read(|state| state.grants.get(&grant.id).cloned());
        match (&entry.ended, known) {
            (None, None) => {
                let learned = Event::GrantLearned {
                    grant: grant.clone(),
                    started_at: entry.started_at,
                };
                self.journal(vec![learned]).await;
                self.shared.timer_changed.notify_one();
            }
            (None, Some(known))
                if known.grant.expiry != grant.expiry && !self.works_on(grant.id) =>
            {
                self.journal(vec![Event::ExpiryMoved {
                    grant: grant.id,
                    expiry: grant.expiry,
                }])
                .await;
                self.shared.timer_changed.notify_one();
            }
            (None, Some(known)) => self.learn_start(entry, &known.phase).await,
            (Some((at, reason)), known) => {
                let closed_here =
                    known.is_some_and(|known| matches!(known.phase, GrantPhase::Closed(_)));
                let others_turn = self.now().duration_since(*at) < OTHERS_GRACE;
                if !entry.closed && !closed_here && !others_turn {
                    self.end_again(entry, *reason);
                }
            }
        }
    }

    /// The target shows a grant as live that was ended and acknowledged before the record was read: an older copy, or a replica that had
    /// not heard of the end. Tells whether it is so.
    fn end_forgotten(&self, entry: &RecordedGrant, was_closed: bool) -> bool {
        let id = entry.grant.id;
        let in_hand = self
            .parts
            .ledger
            .read(|state| state.grants.contains_key(&id));
        let over = self.over_since(id).filter(|_| was_closed || !in_hand);
        let Some(reason) = over.filter(|_| entry.ended.is_none() && !self.works_on(id)) else {
            return false;
        };
        tracing::warn!(grant.id = %id, "a grant that was ended is live in its target's record, it is ended once more");
        let _watch = self.end_anew(&entry.grant, reason);
        true
    }

    /// A start whose outcome was unknown turns out to have happened.
    async fn learn_start(&self, entry: &RecordedGrant, phase: &GrantPhase) {
        if matches!(phase, GrantPhase::Starting { .. }) && !self.works_on(entry.grant.id) {
            let at = entry.started_at.unwrap_or_else(|| self.now());
            self.journal(vec![Event::Started {
                grant: entry.grant.id,
                at,
            }])
            .await;
        }
    }

    fn end_again(&self, entry: &RecordedGrant, reason: EndReason) {
        let _watch = self.ensure_end(EndWarrant {
            grant: entry.grant.clone(),
            reason,
            source: WarrantSource::GrantTable,
        });
    }

    /// The ledger counts a grant as live and the target's record does not have it: whatever happened, it must not have access.
    fn end_absent(&self, absent: BTreeSet<GrantId>) {
        let grants: Vec<_> = self.parts.ledger.read(|state| {
            let live = absent.iter().filter_map(|id| state.grants.get(id));
            live.filter(|record| record.phase == GrantPhase::Live)
                .map(|record| record.grant.clone())
                .collect()
        });
        for grant in grants {
            // Most often another instance ended it; if not, the end says so.
            tracing::info!(grant.id = %grant.id, "a grant counted as live is not so in its target's record");
            let _watch = self.ensure_end(EndWarrant {
                grant,
                reason: EndReason::Drift,
                source: WarrantSource::Ledger,
            });
        }
    }

    async fn take_clean_up(&self, cleaned: Result<Vec<CleanedUp>, TargetError>) {
        let cleaned = match cleaned {
            Ok(cleaned) => cleaned,
            Err(error) => {
                return log_failure(
                    "what ended grants left behind could not be removed yet",
                    &error,
                );
            }
        };
        for CleanedUp { grant, leftovers } in cleaned {
            self.note_cleaned(grant, leftovers).await;
        }
    }

    /// Reports what is left of a grant, when that is news.
    async fn note_cleaned(&self, grant: GrantId, leftovers: Vec<String>) {
        let closed = self.parts.ledger.read(|state| {
            match state.grants.get(&grant).map(|record| &record.phase) {
                Some(GrantPhase::Closed(report)) => Some(report.clone()),
                _ => None,
            }
        });
        let Some(mut report) = closed else { return };
        let clean = leftovers.is_empty();
        if !clean && report.leftovers == leftovers {
            return;
        }
        report.leftovers = leftovers;
        report.clean = clean;
        let event = if clean {
            Event::Clean(grant)
        } else {
            Event::Closed(report.clone())
        };
        self.journal_and_report(vec![event], vec![OutboxEntry::End(report)])
            .await;
    }

    async fn mend(&self, integration: &Integration, target: &dyn Target) {
        cut::point("mend.before");
        let mended = target.mend().await;
        cut::point("mend.after");
        match mended {
            Ok(mended) => {
                self.parts.metrics.mended(mended.len());
                for mended in mended {
                    tracing::warn!(integration.id = %integration.id, "mended in `{}`: {}", integration.name, mended.note);
                }
            }
            Err(error) => log_failure("an integration could not be mended", &error),
        }
    }

    fn note_unread(&self, integration: &Integration, error: &TargetError) {
        self.shared
            .slots
            .note(integration.id, error.class() != ErrorClass::Transient);
        let message = with_hint(error.failure());
        self.set_health(integration.id, IntegrationStatus::Error, message);
        // Said once: the status says it for as long as it lasts.
        if self.unread(|unread| unread.insert(integration.id)) {
            log_failure("the record inside a target could not be read", error);
        }
    }

    /// An integration that can be read again is looked at as a whole, so that its status is right again.
    async fn note_read(&self, integration: &Integration) {
        self.shared.slots.note(integration.id, true);
        if self.unread(|unread| unread.remove(&integration.id)) {
            tracing::info!(integration.id = %integration.id, "`{}` can be read again", integration.name);
            // The check notes the status itself.
            let _outcome = self.check(integration.id).await;
        } else if self.parts.household.is_some() && !self.has_looked(integration.id) {
            // What instances that are gone said of it may not be so any more, and nobody orders a check because of that.
            let _outcome = self.check(integration.id).await;
        }
    }

    /// Tells whether this instance knows how an integration is.
    fn has_looked(&self, integration: IntegrationId) -> bool {
        let health = self.shared.health.lock();
        let health = health.unwrap_or_else(PoisonError::into_inner);
        let known = health.get(&integration);
        known.is_some_and(|known| known.status != IntegrationStatus::Initializing)
    }

    fn unread<R>(&self, change: impl FnOnce(&mut BTreeSet<IntegrationId>) -> R) -> R {
        change(
            &mut self
                .shared
                .unread
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn known(&self, integration: &Integration) -> Known {
        self.parts.ledger.read(|state| {
            let mut known = Known::default();
            for (id, record) in &state.grants {
                if record.grant.integration != integration.id || self.works_on(*id) {
                    continue;
                }
                match &record.phase {
                    GrantPhase::Live => known.live.insert(*id),
                    GrantPhase::Starting { .. } => known.starting.insert(*id),
                    GrantPhase::Closed(report) if !report.clean => known.unclean.insert(*id),
                    GrantPhase::Ending(_) | GrantPhase::Closed(_) => false,
                };
            }
            known
        })
    }

    fn works_on(&self, grant: GrantId) -> bool {
        self.shared.ends.drives(grant)
            || self.running(|running| running.values().any(|task| task.grant == Some(grant)))
    }

    fn show_numbers(&self) {
        let now = self.now();
        let (live, leftover, overdue, frozen) = self.parts.ledger.read(|state| {
            let records = state.grants.values();
            let closed = |record: &GrantRecord| matches!(record.phase, GrantPhase::Closed(_));
            let live = records
                .clone()
                .filter(|record| record.phase == GrantPhase::Live)
                .count();
            let leftover = records.clone().filter(|record| closed(record)).count();
            let overdue = records
                .filter(|record| !closed(record) && record.grant.is_over(now))
                .count();
            (live, leftover, overdue, state.frozen)
        });
        let oldest = self
            .oldest_overdue()
            .map(|expiry| now.duration_since(expiry));
        let oldest = oldest
            .and_then(|late| Duration::try_from(late).ok())
            .unwrap_or_default();
        self.parts.metrics.set_grants(live, leftover);
        self.parts.metrics.set_overdue(overdue, oldest);
        self.parts.metrics.set_frozen(frozen);
        self.parts.health.ledger(self.parts.ledger.is_healthy());
    }

    pub(super) fn oldest_overdue(&self) -> Option<jiff::Timestamp> {
        let now = self.now();
        self.parts.ledger.read(|state| {
            let open = state
                .grants
                .values()
                .filter(|record| !matches!(record.phase, GrantPhase::Closed(_)));
            open.map(|record| record.grant.expiry)
                .filter(|expiry| *expiry <= now)
                .min()
        })
    }

    fn integrations(&self) -> Vec<Integration> {
        let known: BTreeMap<_, _> = self.parts.ledger.read(|state| state.integrations.clone());
        known.into_values().collect()
    }
}
