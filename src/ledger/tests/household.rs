//! Owns the proof that instances that share a folder keep apart, and that nothing one left is lost or brought back to life.

use super::super::folder::Folder;
use super::super::samples::{any_event, end_intended, end_report, grant, start_intended};
use super::super::*;
use super::fold;
use crate::domain::{EndReason, GrantId, InstanceId, TaskId, TaskOutcome};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

fn shared(root: &Path) -> (Ledger, Household) {
    Ledger::open_shared(root, LedgerOptions::default()).unwrap()
}

fn named(root: &Path, number: u32) -> PathBuf {
    root.join(format!("instance-{number}"))
}

#[tokio::test]
async fn a_folder_with_a_ledger_nobody_holds_comes_first_and_a_new_one_is_made_only_when_all_are_held()
 {
    let root = tempfile::tempdir().unwrap();
    let (first, one) = shared(root.path());
    let (second, two) = shared(root.path());
    assert_eq!(one.own(), named(root.path(), 1));
    assert_eq!(two.own(), named(root.path(), 2));
    assert_eq!((one.others(), two.others()), (1, 1));
    second.append_one(start_intended(7)).await.unwrap();
    drop((second, two));
    let (again, two) = shared(root.path());
    assert_eq!(two.own(), named(root.path(), 2));
    assert!(again.read(|state| state.grants.contains_key(&grant(7).id)));
    let (_third, three) = shared(root.path());
    assert_eq!(three.own(), named(root.path(), 3));
    drop(first);
}

#[tokio::test]
async fn of_two_folders_that_were_left_the_one_written_last_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (shared(root.path()), shared(root.path()));
    drop((old, new));
    let age = |number: u32, seconds: u64| {
        let path = named(root.path(), number).join("ledger.redb");
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(at).unwrap();
    };
    age(1, 2_000_000_000);
    age(2, 2_000_000_001);
    assert_eq!(shared(root.path()).1.own(), named(root.path(), 2));
    age(1, 2_100_000_000);
    assert_eq!(shared(root.path()).1.own(), named(root.path(), 1));
}

#[tokio::test]
async fn more_instances_than_folders_are_refused_with_what_is_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let bad = named(root.path(), 3);
    std::fs::create_dir(&bad).unwrap();
    std::fs::write(bad.join("ledger.redb"), "no ledger").unwrap();
    let held = (1..=64).filter(|number| *number != 3);
    let _held: Vec<_> = held
        .map(|number| Folder::claim(&named(root.path(), number)).unwrap())
        .collect();
    let error = Ledger::open_shared(root.path(), LedgerOptions::default()).unwrap_err();
    assert!(
        matches!(
            error,
            LedgerError::NoneFree {
                held: 63,
                unusable: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("fewer instances"));
}

#[tokio::test]
async fn a_damaged_folder_is_passed_over_left_alone_and_counted_until_it_is_moved_away() {
    let root = tempfile::tempdir().unwrap();
    let bad = named(root.path(), 1);
    std::fs::create_dir(&bad).unwrap();
    std::fs::write(bad.join("ledger.redb"), "no ledger").unwrap();
    let (ledger, household) = shared(root.path());
    assert_eq!(household.own(), named(root.path(), 2));
    assert!(ledger.is_healthy());
    assert!(household.next_left().is_none());
    assert_eq!(household.unreadable_folders(), 1);
    assert_eq!(
        std::fs::read_to_string(bad.join("ledger.redb")).unwrap(),
        "no ledger"
    );
    std::fs::remove_dir_all(&bad).unwrap();
    assert_eq!(household.unreadable_folders(), 0);
}

#[tokio::test]
async fn what_is_left_is_taken_by_one_alone_and_stays_until_it_is_cleared() {
    let root = tempfile::tempdir().unwrap();
    let (_one, first) = shared(root.path());
    let (_two, second) = shared(root.path());
    let (gone, _) = shared(root.path());
    let named_once = Event::InstanceNamed(InstanceId::generate());
    let owed = vec![named_once, start_intended(7)];
    gone.append(owed).await.unwrap();
    let name = gone.read(|state| state.instance);
    assert!(first.next_left().is_none(), "it is held");
    gone.close().await;
    let left = first.next_left().unwrap();
    assert_eq!(left.path(), named(root.path(), 3));
    assert!(left.state().grants.contains_key(&grant(7).id));
    assert!(second.next_left().is_none(), "somebody has it");
    drop(left);
    let left = second.next_left().unwrap();
    assert!(left.state().grants.contains_key(&grant(7).id));
    left.clear().unwrap();
    assert!(first.next_left().is_none());
    let (next, third) = shared(root.path());
    assert_eq!(third.own(), named(root.path(), 3));
    assert!(next.read(State::owes_nothing));
    assert_eq!(next.read(|state| state.instance), name);
}

#[tokio::test]
async fn what_one_instance_left_that_was_alone_in_the_folder_is_found_too() {
    let root = tempfile::tempdir().unwrap();
    let alone = super::open(root.path());
    alone.append_one(start_intended(7)).await.unwrap();
    let (_one, household) = shared(root.path());
    assert!(household.next_left().is_none(), "it is held");
    drop(alone);
    let left = household.next_left().unwrap();
    assert!(left.state().grants.contains_key(&grant(7).id));
}

#[tokio::test]
async fn a_freeze_is_seen_by_all() {
    let root = tempfile::tempdir().unwrap();
    let (_one, first) = shared(root.path());
    let (_two, second) = shared(root.path());
    assert_eq!(second.frozen().unwrap(), None);
    first.set_frozen(true).unwrap();
    assert_eq!(second.frozen().unwrap(), Some(true));
    second.set_frozen(false).unwrap();
    assert_eq!(first.frozen().unwrap(), Some(false));
    std::fs::write(root.path().join("starts"), "perhaps").unwrap();
    first.frozen().unwrap_err();
}

#[tokio::test]
async fn a_folder_somebody_else_has_by_now_is_not_written_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let ledger = Ledger::open_failing(dir.path(), LedgerOptions::default(), faults.clone());
    let ledger = ledger.unwrap();
    ledger.append_one(start_intended(1)).await.unwrap();
    // What a network's file system does to who was away for too long: the lock is gone, and so is what was behind it.
    faults.fill_disk();
    assert_eq!(
        ledger.append_one(end_intended(1)).await.unwrap(),
        Kept::InMemory
    );
    let other = loop {
        // The first one looks every second whether it can write again, and may be at it.
        std::fs::remove_file(dir.path().join("ledger.lock")).unwrap();
        if let Ok(other) = Ledger::open(dir.path(), LedgerOptions::default()) {
            break other;
        }
    };
    other.append_one(start_intended(2)).await.unwrap();
    faults.heal();
    let error = ledger.append_one(start_intended(3)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    assert!(ledger.is_lost() && !ledger.is_healthy());
    assert_eq!(
        ledger.append_one(end_intended(2)).await.unwrap(),
        Kept::InMemory
    );
    let known = other.read(|state| state.grants.keys().copied().collect::<Vec<_>>());
    other.close().await;
    assert_eq!(known, [1, 2].map(|n| grant(n).id));
    // Its successor is gone: the folder is ours again, and memory knows more.
    ledger.append_one(start_intended(3)).await.unwrap();
    assert!(!ledger.is_lost() && ledger.is_healthy());
}

#[test]
fn ends_are_taken_over_and_results_only_for_the_ends_in_them() {
    let live = Event::GrantLearned {
        grant: grant(1),
        started_at: None,
    };
    let own = fold([live.clone()]);
    let result = |outcome| OutboxEntry::Result {
        task: TaskId::generate(),
        attempt: 1,
        outcome,
    };
    let (with_end, without) = (
        TaskOutcome::Closed { end: end_report(5) },
        TaskOutcome::Succeeded {
            start: None,
            end: None,
        },
    );
    let queue = |id, entry| Event::Queued { id, entry };
    let left = fold([
        live,
        Event::EndIntended {
            grant: grant(1),
            reason: EndReason::RevokeAll,
        },
        queue(0, OutboxEntry::End(end_report(4))),
        queue(1, result(with_end)),
        queue(2, result(without)),
    ]);
    let taken = own.inherit(&left);
    assert_eq!(taken.ends, [end_report(4), end_report(5)]);
    assert_eq!(
        taken.events,
        [Event::EndIntended {
            grant: grant(1),
            reason: EndReason::RevokeAll
        }]
    );
}

fn is_over(state: &State, grant: GrantId) -> bool {
    let closed = |record: &GrantRecord| matches!(record.phase, GrantPhase::Closed(_));
    state
        .grants
        .get(&grant)
        .map_or_else(|| state.ends.get(grant).is_some(), closed)
}

proptest! {
    #[test]
    fn nothing_left_is_lost_and_nothing_over_comes_back(
        ours in vec(any_event(), 0..40),
        theirs in vec(any_event(), 0..40),
    ) {
        let (own, left) = (fold(ours), fold(theirs));
        let mut both = own.clone();
        let taken = own.inherit(&left);
        taken.events.into_iter().for_each(|event| both.apply(event));
        for id in own.grants.keys().chain(own.ends.all().map(|ended| &ended.grant.id)) {
            prop_assert!(!is_over(&own, *id) || is_over(&both, *id));
        }
        for (id, record) in &left.grants {
            prop_assert!(both.grants.contains_key(id) || is_over(&own, *id));
            prop_assert!(both.integrations.contains_key(&record.grant.integration)
                || !left.integrations.contains_key(&record.grant.integration));
            let begun = matches!(record.phase, GrantPhase::Ending(_) | GrantPhase::Closed(_));
            let goes_on = both.grants.get(id).is_some_and(|record| matches!(record.phase, GrantPhase::Ending(_)));
            prop_assert!(!begun || goes_on || is_over(&both, *id));
        }
        prop_assert_eq!(own.frozen, both.frozen);
        prop_assert_eq!(own.instance, both.instance);
        let mut again = both.clone();
        both.inherit(&left).events.into_iter().for_each(|event| again.apply(event));
        prop_assert_eq!(again.grants, both.grants);
        prop_assert_eq!(again.integrations, both.integrations);
    }
}
