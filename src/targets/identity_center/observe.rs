//! Owns the comparison of what is remembered with what AWS lists. Never changes anything.

use super::OrganizationTarget;
use super::note::{Note, Triple};
use crate::aws::Purpose;
use crate::aws::budget::Turn;
use crate::domain::{Grant, GrantId};
use crate::targets::{Phase, RecordedGrant, Remembered, TargetError};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How old a look may be. Somebody else may take an assignment away; nobody needs to know within seconds.
const LOOK_AGE: Duration = Duration::from_secs(300);
/// How many pairs of account and permission set are looked at in one go: each is one request of the budget of 20 a second.
const LOOKS_AT_ONCE: usize = 10;
/// Longest time of one go.
const LONGEST_LOOK: Duration = Duration::from_secs(20);

type Pair = (String, String);

/// What was seen, by account and permission set.
#[derive(Debug, Default)]
pub(super) struct Seen {
    looks: Mutex<HashMap<Pair, Look>>,
    /// When grants were made here; an older look says nothing about them.
    begun: Mutex<HashMap<GrantId, Instant>>,
}

#[derive(Debug, Clone)]
struct Look {
    at: Instant,
    holders: Vec<Triple>,
}

impl Seen {
    /// Notes that a grant was just seen to stand.
    pub(super) fn begin(&self, grant: GrantId) {
        self.begun(|begun| begun.insert(grant, Instant::now()));
    }

    /// Tells whether a grant stands by the last look since it was made; nothing when there was none.
    fn stands(&self, grant: GrantId, triple: &Triple) -> Option<bool> {
        let look = self.of(triple)?;
        let begun = self.begun(|begun| begun.get(&grant).copied());
        let counts = begun.is_none_or(|begun| look.at > begun);
        counts.then(|| look.holders.contains(triple))
    }

    fn begun<R>(&self, with: impl FnOnce(&mut HashMap<GrantId, Instant>) -> R) -> R {
        with(&mut self.begun.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of(&self, triple: &Triple) -> Option<Look> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.get(&pair(triple)).cloned()
    }

    /// Keeps a look; `at` is when it was begun.
    fn note(&self, pair: Pair, at: Instant, holders: Vec<Triple>) {
        let look = Look { at, holders };
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.insert(pair, look);
    }

    fn forget_all_but(&self, needed: impl Fn(&Pair) -> bool) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|pair, _| needed(pair));
    }
}

fn pair(triple: &Triple) -> Pair {
    (triple.account.clone(), triple.set.clone())
}

impl OrganizationTarget {
    /// Returns what stands of what is remembered. A grant nobody looked at yet counts as standing.
    pub(super) async fn standing(&self) -> Result<Vec<RecordedGrant>, TargetError> {
        let mut noted: Vec<(Remembered, Note)> = Vec::new();
        let mut left = Vec::new();
        for known in self.memory.grants(self.desk.settings.integration) {
            if !matches!(known.phase, Phase::Starting | Phase::Live | Phase::Closed) {
                continue;
            }
            match Note::demand(known.grant.id, known.checkpoint.as_ref())? {
                // Clean when the clean-up says so, and not before.
                Some(note) if known.phase == Phase::Closed => {
                    left.extend(note.is_own().then(|| entry(&known, &note, true)));
                }
                Some(note) => noted.push((known, note)),
                None => {}
            }
        }
        let pairs: Vec<Pair> = noted.iter().map(|(_, note)| pair(&note.triple)).collect();
        self.seen.forget_all_but(|pair| pairs.contains(pair));
        let is_noted = |id: &GrantId| noted.iter().any(|(known, _)| known.grant.id == *id);
        self.seen.begun(|begun| begun.retain(|id, _| is_noted(id)));
        let looking = self.look(&noted);
        if let Ok(looked) = tokio::time::timeout(LONGEST_LOOK, looking).await {
            looked?;
        }
        let recorded = noted.iter().filter_map(|(known, note)| {
            let stands = self.seen.stands(known.grant.id, &note.triple);
            self.recorded_grant(known, note, stands)
        });
        Ok(recorded.chain(left).collect())
    }

    async fn look(&self, noted: &[(Remembered, Note)]) -> Result<(), TargetError> {
        let mut stale: Vec<(Option<Instant>, Pair)> = noted
            .iter()
            .map(|(_, note)| {
                (
                    self.seen.of(&note.triple).map(|look| look.at),
                    pair(&note.triple),
                )
            })
            .filter(|(at, (_, set))| {
                !set.is_empty() && at.is_none_or(|at| at.elapsed() >= LOOK_AGE)
            })
            .collect();
        stale.sort();
        stale.dedup();
        if stale.is_empty() {
            return Ok(());
        }
        let service = self.desk.service(Purpose::Connector).await?;
        let center = self.desk.center().await?;
        for (_, (account, set)) in stale.into_iter().take(LOOKS_AT_ONCE) {
            let at = Instant::now();
            let by = center.asking(Turn::Read);
            let holders = service.holders(by, (&account, &set)).await?;
            self.seen.note((account, set), at, holders);
        }
        Ok(())
    }

    /// Decides what a look means for one grant; nothing when the grant has no access any more.
    fn recorded_grant(
        &self,
        known: &Remembered,
        note: &Note,
        stands: Option<bool>,
    ) -> Option<RecordedGrant> {
        let may_land =
            known.phase == Phase::Starting && self.lands_until(&known.grant, note).is_some();
        match stands {
            // Nothing was ordered yet; a set may be on its way.
            _ if !note.has_set() => may_land.then(|| entry(known, note, true)),
            None => Some(entry(known, note, known.phase == Phase::Starting)),
            Some(true) => Some(entry(known, note, false)),
            Some(false) => may_land.then(|| entry(known, note, true)),
        }
    }
}

fn entry(known: &Remembered, note: &Note, undecided: bool) -> RecordedGrant {
    RecordedGrant {
        grant: Grant::clone(&known.grant),
        login: note.principal_name.clone(),
        started_at: None,
        ended: None,
        closed: known.phase == Phase::Closed,
        undecided,
    }
}
