//! Owns the proof that a disk that cannot be written stops starts only, and that nothing is lost when it is back.

use super::super::samples::{any_event, end_intended, grant, start_intended};
use super::super::*;
use super::{open, state_of};
use crate::domain::{ErrorClass, GrantId};
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::ErrorKind;

#[tokio::test]
async fn while_the_disk_is_full_starts_are_refused_and_ends_go_on() {
    let faults = Faults::default();
    let ledger = Ledger::in_memory(LedgerOptions::default(), faults.clone()).unwrap();
    ledger.append_one(start_intended(1)).await.unwrap();
    faults.fill_disk();

    let error = ledger.append_one(start_intended(2)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Full { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::NeedsOperator);
    assert!(error.hint().unwrap().contains("free some space"));
    assert!(!ledger.is_healthy());
    assert!(!ledger.is_damaged());
    assert!(ledger.read(|state| !state.grants.contains_key(&grant(2).id)));

    let kept = ledger.append_one(end_intended(1)).await.unwrap();
    assert_eq!(kept, Kept::InMemory);
    let phase = ledger.read(|state| state.grants[&grant(1).id].phase.clone());
    assert!(matches!(phase, GrantPhase::Ending(_)));
}

#[tokio::test]
async fn when_space_returns_what_was_only_in_memory_is_written_too() {
    let faults = Faults::default();
    let dir = tempfile::tempdir().unwrap();
    let open = || Ledger::open_with(dir.path(), LedgerOptions::default(), faults.clone()).unwrap();
    let ledger = open();
    ledger.append_one(start_intended(1)).await.unwrap();
    faults.fill_disk();
    ledger.append_one(end_intended(1)).await.unwrap();
    faults.heal();

    let kept = ledger.append_one(start_intended(2)).await.unwrap();
    assert_eq!(kept, Kept::OnDisk);
    assert!(ledger.is_healthy());
    let before = state_of(&ledger);
    drop(ledger);
    assert_eq!(state_of(&open()), before);
}

#[tokio::test]
async fn a_restart_on_a_full_disk_still_knows_what_to_end() {
    let faults = Faults::default();
    let dir = tempfile::tempdir().unwrap();
    let open = || Ledger::open_with(dir.path(), LedgerOptions::default(), faults.clone()).unwrap();
    let ledger = open();
    ledger.append_one(start_intended(1)).await.unwrap();
    drop(ledger);

    faults.fill_disk();
    let ledger = open();
    assert!(!ledger.is_healthy());
    assert_eq!(ledger.read(|state| state.grants.len()), 1);
    ledger.append_one(end_intended(1)).await.unwrap();
    let error = ledger.append_one(start_intended(2)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Full { .. }), "{error}");

    faults.heal();
    ledger.append_one(start_intended(2)).await.unwrap();
    assert!(ledger.is_healthy());
    let before = state_of(&ledger);
    drop(ledger);
    assert_eq!(state_of(&open()), before);
}

#[tokio::test]
async fn a_start_that_failed_to_reach_the_disk_is_not_there_after_a_restart() {
    let faults = Faults::default();
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open_with(dir.path(), LedgerOptions::default(), faults.clone()).unwrap();
    faults.fail_from_commit(2, ErrorKind::Other);
    ledger.append_one(start_intended(1)).await.unwrap();
    let error = ledger.append_one(start_intended(2)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Write { .. }), "{error}");
    drop(ledger);
    let grants: Vec<GrantId> = state_of(&self::open(dir.path()))
        .grants
        .into_keys()
        .collect();
    assert_eq!(grants, [grant(1).id]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn wherever_the_disk_fails_nothing_acknowledged_is_lost_once_it_is_back(
        before in vec(any_event(), 1..12),
        after in vec(any_event(), 1..6),
        nth in 1_u64..14,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let (expected, live) = runtime.block_on(async {
            let options = LedgerOptions { compact_above: 4 };
            let ledger = Ledger::open_with(dir.path(), options, faults.clone()).unwrap();
            let mut expected = State::default();
            faults.fail_from_commit(nth, ErrorKind::StorageFull);
            for event in before {
                if ledger.append_one(event.clone()).await.is_ok() {
                    expected.apply(event);
                }
            }
            faults.heal();
            for event in after.into_iter().chain([start_intended(77)]) {
                ledger.append_one(event.clone()).await.unwrap();
                expected.apply(event);
            }
            (expected, state_of(&ledger))
        });
        prop_assert_eq!(&live, &expected);
        prop_assert_eq!(state_of(&open(dir.path())), expected);
    }
}
