//! Owns what becomes of permission sets of ours once they are made: kept as declared while they are used, removed with their grant or when
//! unused for a while, and removed where nobody knows them. Never touches a set without our marks, and never many unknown ones at once.

use super::OrganizationTarget;
use super::declaration::looks_made;
use super::marks::{Marks, Owner};
use super::note::Note;
use super::service::PermissionSet;
use super::set_life::{Bench, bring_to, complete};
use super::start::account_id;
use crate::aws::Purpose;
use crate::aws::budget::Turn;
use crate::domain::{ErrorClass, Grant, GrantId};
use crate::targets::{CleanedUp, Mended, Phase, TargetError};
use jiff::{SignedDuration, Timestamp};
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
/// How many sets of ended grants are removed in one go: each takes three requests.
const MOST_AT_ONCE: usize = 20;
/// How long a set that nobody knows is left before it is removed: a list of grants may be on its way.
const STRAY_GRACE: SignedDuration = SignedDuration::from_mins(10);
/// Most sets of unknown grants, not over yet by their marks, that are removed in one go.
const MOST_STRAYS: usize = 5;

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

    fn with<R>(&self, with: impl FnOnce(&mut Seen) -> R) -> R {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a set nobody knows may go.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Leave,
    /// It may, together with few others.
    Stray,
    /// By its own marks it is over.
    Over,
}

/// Judges a set of ours whose grant nobody here knows. `listed` is when the control plane's list was last complete.
fn judge(
    expiry: Option<Timestamp>,
    since: Timestamp,
    listed: Option<Timestamp>,
    (now, late): (Timestamp, SignedDuration),
) -> Verdict {
    if expiry.is_some_and(|expiry| now.duration_since(expiry) > late) {
        return Verdict::Over;
    }
    let old = now.duration_since(since) >= STRAY_GRACE;
    // Without the list nobody can tell whose it is.
    let listed = listed.is_some_and(|at| at.duration_since(since) >= STRAY_GRACE);
    if old && listed {
        Verdict::Stray
    } else {
        Verdict::Leave
    }
}

impl OrganizationTarget {
    /// Removes the sets of grants that are closed, as far as AWS lets go of them.
    pub(super) async fn clean_sets(&self) -> Result<Vec<CleanedUp>, TargetError> {
        let ended = self.memory.grants(self.desk.settings.integration);
        let ended = ended
            .into_iter()
            .filter(|known| known.phase == Phase::Closed);
        let ended = ended.filter_map(|known| {
            let note = known.checkpoint.as_ref().and_then(Note::read)?;
            note.is_own().then_some((known.grant, note))
        });
        let ended: Vec<(Grant, Note)> = ended.take(MOST_AT_ONCE).collect();
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let service = self.desk.service(Purpose::Connector).await?;
        let center = self.desk.center().await?;
        let bench = Bench {
            service: &service,
            center: &center,
            turn: Turn::CleanUp,
        };
        let (mut cleaned, mut trouble) = (Vec::new(), None);
        for (grant, note) in ended {
            let leftovers = match self.clean_set(&bench, &grant, &note).await {
                Ok(Some(leftovers)) => leftovers,
                Ok(None) => continue,
                Err(error) if error.class() == ErrorClass::NeedsOperator => {
                    let hint = error.failure().hint.as_deref().unwrap_or_default();
                    vec![format!("{error}; {hint}")]
                }
                Err(error) => {
                    trouble = Some(error);
                    continue;
                }
            };
            let grant = grant.id;
            cleaned.push(CleanedUp { grant, leftovers });
        }
        match trouble {
            Some(error) if cleaned.is_empty() => Err(error),
            _ => Ok(cleaned),
        }
    }

    /// Removes the set of one grant; returns what is left, or nothing while AWS has not let go of it.
    async fn clean_set(
        &self,
        bench: &Bench<'_>,
        grant: &Grant,
        note: &Note,
    ) -> Result<Option<Vec<String>>, TargetError> {
        let (service, by) = (bench.service, bench.by());
        let mut set = PermissionSet {
            arn: note.triple.set.clone(),
            name: note.set_name.clone(),
            description: None,
            session: None,
        };
        if !note.has_set() {
            self.desk.sets.look(service, by, Some(&set.name)).await?;
            let Some(found) = self.desk.sets.named(&set.name) else {
                // The order to make it may still be on its way.
                let until = self.making.of(grant.id, note.lands_until);
                let over = until.is_none_or(|until| until <= self.clock.now());
                return Ok(over.then(Vec::new));
            };
            set = found;
        }
        let own = Owner::Grant(grant.id);
        if self
            .desk
            .own_marks(service, by, &set, &own)
            .await?
            .is_none()
        {
            return Ok(Some(Vec::new()));
        }
        if self.remove(bench, &set).await? {
            return Ok(Some(Vec::new()));
        }
        let accounts = service.accounts_of_set(by, &set.arn, false).await?;
        let left = format!(
            "permission set `{}` is still assigned to somebody in {}; take that assignment away, then it is removed",
            set.name,
            accounts.join(", ")
        );
        Ok((!accounts.is_empty()).then(|| vec![left]))
    }

    /// Removes a set, and says whether it is gone: not while it is assigned anywhere, and for a while afterwards.
    async fn remove(&self, bench: &Bench<'_>, set: &PermissionSet) -> Result<bool, TargetError> {
        match bench.service.delete_set(bench.by(), &set.arn).await {
            Err(error) if error.class() == ErrorClass::Conflict => return Ok(false),
            Err(error) if error.class() != ErrorClass::NotFound => return Err(error.into()),
            _ => {}
        }
        self.desk.sets.forget(&set.arn);
        Ok(true)
    }

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

    async fn marks_anew(
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

    fn phase(&self, grant: GrantId) -> Option<Phase> {
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

    /// Takes away what a set gives that no grant we know of asked for, and the set that was made for such a grant.
    async fn end_stray(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
        marks: &Marks,
        strays: &mut usize,
    ) -> Result<Option<String>, TargetError> {
        let now = self.clock.now();
        let since = self.upkeep.with(|seen| {
            let since = seen.strays.entry(set.arn.clone());
            *since.or_insert(now)
        });
        let verdict = |marks: &Marks| {
            let listed = self.memory.listed_at();
            if self.was_given_up(&marks.owner) && listed.is_some() {
                return Verdict::Over;
            }
            judge(marks.expiry, since, listed, (now, self.late))
        };
        match verdict(marks) {
            Verdict::Leave => return Ok(None),
            Verdict::Stray if *strays >= MOST_STRAYS => return Ok(None),
            Verdict::Stray | Verdict::Over => {}
        }
        let anew = self.marks_anew(bench, set).await?;
        let Some(marks) = anew.filter(|marks| verdict(marks) != Verdict::Leave) else {
            return Ok(None);
        };
        *strays += usize::from(verdict(&marks) == Verdict::Stray);
        let taken = self.take_all_away(bench, set).await?;
        let owner = marks.owner.text();
        if matches!(marks.owner, Owner::Person(_)) {
            let name = &set.name;
            let note = format!(
                "took away {taken} assignments of permission set `{name}` of `{owner}` that no grant asked for"
            );
            return Ok(Some(note));
        }
        if !self.remove(bench, set).await? {
            return Ok(None);
        }
        let name = &set.name;
        Ok(Some(format!(
            "removed permission set `{name}` of grant `{owner}`, which nobody knows, with {taken} assignments"
        )))
    }

    /// Tells whether this process began a grant that nobody knows any more.
    fn was_given_up(&self, owner: &Owner) -> bool {
        let Owner::Grant(grant) = owner else {
            return false;
        };
        self.upkeep.with(|seen| seen.begun.contains(grant)) && self.phase(*grant).is_none()
    }

    async fn take_all_away(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
    ) -> Result<usize, TargetError> {
        let mut taken = 0;
        let (service, center) = (bench.service, bench.center);
        for account in service.accounts_of_set(bench.by(), &set.arn, false).await? {
            let id = account_id(&account)?;
            let place = (account.as_str(), set.arn.as_str());
            for triple in service.holders(bench.by(), place).await? {
                let turn = center.budget.assignment(Turn::End, &id).await;
                self.take_away(service, center, &triple, turn).await?;
                taken += 1;
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_nobody_knows_goes_when_it_is_over_or_when_the_list_does_not_name_it_for_a_while() {
        let at = |minute: i64| Timestamp::from_second(1_900_000_000 + minute * 60).unwrap();
        let late = SignedDuration::from_mins(15);
        let verdict = |expiry: Option<i64>, listed: Option<i64>, now: i64| {
            judge(expiry.map(at), at(0), listed.map(at), (at(now), late))
        };
        // Its own marks say that it is over, whoever can be asked; an order may land for a while.
        assert_eq!(verdict(Some(0), None, 15), Verdict::Leave);
        assert_eq!(verdict(Some(0), None, 16), Verdict::Over);
        // Not over: nothing without the list, and nothing at once.
        for expiry in [None, Some(1000)] {
            assert_eq!(verdict(expiry, None, 500), Verdict::Leave);
            assert_eq!(verdict(expiry, Some(0), 500), Verdict::Leave);
            assert_eq!(verdict(expiry, Some(9), 9), Verdict::Leave);
            assert_eq!(verdict(expiry, Some(10), 10), Verdict::Stray);
        }
    }
}
