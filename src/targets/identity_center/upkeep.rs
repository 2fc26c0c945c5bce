//! Owns what becomes of permission sets of ours once they are made: kept as declared while they are used, removed when unused for a while.
//! Never touches a set without our marks.

use super::OrganizationTarget;
use super::declaration::looks_made;
use super::marks::{Marks, Owner};
use super::note::Note;
use super::service::PermissionSet;
use super::set_life::{Bench, bring_to, complete};
use crate::aws::Purpose;
use crate::aws::budget::Turn;
use crate::domain::GrantId;
use crate::targets::{Mended, Phase, TargetError};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How old the list of sets may be that is looked through.
const LIST_AGE: Duration = Duration::from_secs(30);
/// Longest time of one look through them; the next one goes on.
const LONGEST_LOOK: Duration = Duration::from_secs(20);
/// How often sets are looked through where none is declared: some may be left of former declarations.
const UNDECLARED_EVERY: Duration = Duration::from_secs(3600);

/// Most grants kept of which this process made the set; beyond it all are forgotten, and go as others nobody knows.
const MOST_BEGUN: usize = 10_000;

/// What was seen of sets of ours.
#[derive(Debug, Default)]
pub(super) struct Upkeep(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    /// Marks as last read, by ARN; nothing for a set that is not ours. Read anew before anything is done.
    marks: HashMap<String, Option<Marks>>,
    /// When a set was first seen that nobody knows, by ARN.
    strays: HashMap<String, Timestamp>,
    /// Grants this process made sets for: where nobody knows one any more, its start was given up.
    begun: HashSet<GrantId>,
    /// ARN of the set looked at last: the next look begins after it, so that one that takes long does not keep others waiting for ever.
    last: String,
}

/// What was remembered when a look began. Before anything is taken away it is asked for anew.
struct Recalled {
    phases: HashMap<GrantId, Phase>,
    /// Names of the sets of grants that are not closed.
    used: HashSet<String>,
}

impl Upkeep {
    /// Notes that a set was made for a grant, by this process.
    pub(super) fn begin(&self, grant: GrantId) {
        self.with(|seen| {
            if seen.begun.len() >= MOST_BEGUN {
                seen.begun.clear();
            }
            seen.begun.insert(grant);
        });
    }

    fn is_due(&self, declared: bool) -> bool {
        self.with(|seen| {
            let looked = seen.looked.replace(Instant::now());
            declared || looked.is_none_or(|at| at.elapsed() >= UNDECLARED_EVERY)
        })
    }

    fn forget_all_but(&self, sets: &[PermissionSet]) {
        let exists = |arn: &String| sets.iter().any(|set| set.arn == *arn);
        self.with(|seen| {
            seen.marks.retain(|arn, _| exists(arn));
            seen.strays.retain(|arn, _| exists(arn));
        });
    }

    /// Returns when a set was first seen that nobody knows.
    pub(super) fn stray_since(&self, set: &PermissionSet, now: Timestamp) -> Timestamp {
        self.with(|seen| *seen.strays.entry(set.arn.clone()).or_insert(now))
    }

    /// Tells whether this process made a set for a grant.
    pub(super) fn has_begun(&self, grant: GrantId) -> bool {
        self.with(|seen| seen.begun.contains(&grant))
    }

    fn with<R>(&self, with: impl FnOnce(&mut Seen) -> R) -> R {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl OrganizationTarget {
    /// Looks through the sets of ours: those in use hold what is declared, the others go when their time has come.
    pub(super) async fn mend_sets(&self) -> Result<Vec<Mended>, TargetError> {
        if !self.upkeep.is_due(!self.desk.settings.declared.is_empty()) {
            return Ok(Vec::new());
        }
        let mut mended = Vec::new();
        let looking = self.look_through(&mut mended);
        match tokio::time::timeout(LONGEST_LOOK, looking).await {
            Ok(Err(error)) if mended.is_empty() => Err(error),
            _ => Ok(mended),
        }
    }

    async fn look_through(&self, mended: &mut Vec<Mended>) -> Result<(), TargetError> {
        let service = self.desk.service(Purpose::Connector).await?;
        let center = self.desk.center().await?;
        let bench = Bench {
            service: &service,
            center: &center,
            turn: Turn::CleanUp,
        };
        let by = bench.by();
        self.desk.sets.refresh(&service, by, LIST_AGE).await?;
        let mut sets = self.desk.sets.all(looks_made);
        self.upkeep.forget_all_but(&sets);
        let last = self.upkeep.with(|seen| seen.last.clone());
        sets.sort_by(|one, other| {
            (one.arn <= last, &one.arn).cmp(&(other.arn <= last, &other.arn))
        });
        let recalled = self.recall();
        let mut strays = 0;
        let mut trouble = None;
        for set in sets {
            self.upkeep.with(|seen| seen.last.clone_from(&set.arn));
            match self.look_after(&bench, &set, &recalled, &mut strays).await {
                Ok(Some(note)) => mended.push(Mended { note }),
                Ok(None) => {}
                // One set's trouble is not the others'.
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Looks after one set, and says what was mended.
    async fn look_after(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
        recalled: &Recalled,
        strays: &mut usize,
    ) -> Result<Option<String>, TargetError> {
        let Some(marks) = self.marks(bench, set).await? else {
            return Ok(None);
        };
        match &marks.owner {
            Owner::Grant(grant) => match recalled.phases.get(grant) {
                Some(Phase::Live) => self.keep_up(bench, set, &marks).await.map(|()| None),
                // Whoever has it in hand looks after it.
                Some(_) => Ok(None),
                None if self.phase(*grant).is_some() => Ok(None),
                None => self.end_stray(bench, set, &marks, strays).await,
            },
            Owner::Person(_) if recalled.used.contains(&set.name) => {
                self.keep_up(bench, set, &marks).await.map(|()| None)
            }
            Owner::Person(_) if self.recall().used.contains(&set.name) => Ok(None),
            Owner::Person(_) => {
                let by = bench.by();
                let accounts = bench.service.accounts_of_set(by, &set.arn, false).await?;
                if accounts.is_empty() {
                    self.remove_unused(bench, set, marks).await.map(|()| None)
                } else {
                    self.end_stray(bench, set, &marks, strays).await
                }
            }
        }
    }

    /// Returns the marks of a set as they were last read; nothing for one that is not ours.
    async fn marks(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
    ) -> Result<Option<Marks>, TargetError> {
        if let Some(known) = self.upkeep.with(|seen| seen.marks.get(&set.arn).cloned()) {
            return Ok(known);
        }
        self.marks_anew(bench, set).await
    }

    pub(super) async fn marks_anew(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
    ) -> Result<Option<Marks>, TargetError> {
        let tags = bench.service.tags(bench.by(), &set.arn).await?;
        if tags.is_none() {
            self.desk.sets.forget(&set.arn);
        }
        let marks = tags.as_ref().and_then(Marks::read);
        let marks = marks.filter(|marks| self.desk.is_ours(marks));
        self.note_marks(set, marks.clone());
        Ok(marks)
    }

    fn note_marks(&self, set: &PermissionSet, marks: Option<Marks>) {
        self.upkeep
            .with(|seen| seen.marks.insert(set.arn.clone(), marks));
    }

    pub(super) fn phase(&self, grant: GrantId) -> Option<Phase> {
        let known = self.memory.grants(self.desk.settings.integration);
        let known = known.into_iter().find(|known| known.grant.id == grant);
        known.map(|known| known.phase)
    }

    fn recall(&self) -> Recalled {
        let known = self.memory.grants(self.desk.settings.integration);
        let open = known.iter().filter(|known| known.phase != Phase::Closed);
        let names = open.filter_map(|known| {
            let note = known.checkpoint.as_ref().and_then(Note::read)?;
            Some(note.set_name)
        });
        Recalled {
            used: names.collect(),
            phases: known
                .iter()
                .map(|known| (known.grant.id, known.phase))
                .collect(),
        }
    }

    /// Makes a set that is in use hold what is declared by now, in every account that has it.
    async fn keep_up(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
        marks: &Marks,
    ) -> Result<(), TargetError> {
        let declared = &self.desk.settings.declared;
        let Some(declaration) = declared.get(&marks.permission) else {
            return Ok(());
        };
        let is_current = |marks: &Marks| marks.declaration == declaration.digest;
        if is_current(marks) {
            return Ok(());
        }
        let Some(mut marks) = self.marks_anew(bench, set).await? else {
            return Ok(());
        };
        if is_current(&marks) {
            return Ok(());
        }
        let edits = complete(bench, set, &declaration.definition, None).await?;
        let by = bench.by();
        for account in bench.service.accounts_of_set(by, &set.arn, true).await? {
            bring_to(bench, &account, &set.arn).await?;
        }
        marks.declaration.clone_from(&declaration.digest);
        bench.service.tag(by, &set.arn, &marks.write()).await?;
        self.note_marks(set, Some(marks));
        tracing::info!(
            integration.id = %self.desk.settings.integration,
            edits,
            "permission set `{}` holds what is declared by now", set.name
        );
        Ok(())
    }

    /// Removes a person's set that nobody was assigned for a while.
    async fn remove_unused(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
        marks: Marks,
    ) -> Result<(), TargetError> {
        let now = self.clock.now();
        let kept = self.desk.settings.keep_unused;
        let over = |since: Timestamp| now.duration_since(since) >= kept;
        if marks.unused_since.is_some_and(|since| !over(since)) {
            return Ok(());
        }
        let Some(mut marks) = self.marks_anew(bench, set).await? else {
            return Ok(());
        };
        // A start that came meanwhile took the mark away.
        match marks.unused_since {
            Some(since) if over(since) && !self.recall().used.contains(&set.name) => {
                if self.remove(bench, set).await? {
                    tracing::info!(
                        integration.id = %self.desk.settings.integration,
                        "permission set `{}` was not used for long and is removed", set.name
                    );
                }
            }
            Some(_) => {}
            None => {
                marks.unused_since = Some(now);
                bench
                    .service
                    .tag(bench.by(), &set.arn, &marks.write())
                    .await?;
                self.note_marks(set, Some(marks));
            }
        }
        Ok(())
    }
}
