//! Owns the removal of sets of ours that nobody knows, with all that was assigned by them. Never removes one that may only not be known yet,
//! and never many at once.

use super::OrganizationTarget;
use super::marks::{Marks, Owner};
use super::service::PermissionSet;
use super::set_life::Bench;
use super::start::account_id;
use crate::aws::budget::Turn;
use crate::targets::TargetError;
use jiff::{SignedDuration, Timestamp};

/// How long a set that nobody knows is left before it is removed: a list of grants may be on its way.
const STRAY_GRACE: SignedDuration = SignedDuration::from_mins(10);
/// Most sets of unknown grants, not over yet by their marks, that are removed in one go.
const MOST_STRAYS: usize = 5;

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
    /// Takes away what a set gives that no grant we know of asked for, and the set that was made for such a grant.
    pub(super) async fn end_stray(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
        marks: &Marks,
        strays: &mut usize,
    ) -> Result<Option<String>, TargetError> {
        let now = self.clock.now();
        let since = self.upkeep.stray_since(set, now);
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
        self.upkeep.has_begun(*grant) && self.phase(*grant).is_none()
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
