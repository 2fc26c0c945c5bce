use super::samples::{any_event, end_intended, end_report, grant, one_of_each, start_intended};
use super::*;
use crate::domain::{ErrorClass, GrantId};
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

fn fold(events: impl IntoIterator<Item = Event>) -> State {
    let mut state = State::default();
    events.into_iter().for_each(|event| state.apply(event));
    state
}

fn state_of(ledger: &Ledger) -> State {
    ledger.read(State::clone)
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(dir, LedgerOptions::default()).unwrap()
}

proptest! {
    #[test]
    fn a_state_is_the_fold_of_its_own_restatement(events in vec(any_event(), 0..40)) {
        let state = fold(events);
        prop_assert_eq!(fold(state.restate()), state);
    }
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    assert_eq!(ledger.append(one_of_each()).await.unwrap(), Kept::OnDisk);
    ledger.append_one(start_intended(50)).await.unwrap();
    let before = state_of(&ledger);
    assert!(before.grants.contains_key(&grant(50).id));
    drop(ledger);
    assert_eq!(state_of(&open(dir.path())), before);
}

#[tokio::test]
async fn folder_and_files_are_for_this_user_only() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("deep/state");
    let _ledger = open(&dir);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("ledger.redb")), 0o600);
    assert_eq!(mode(&dir.join("ledger.lock")), 0o600);
}

#[tokio::test]
async fn a_second_process_is_kept_out_and_told_which_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = Ledger::open(dir.path(), LedgerOptions::default()).unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&dir.path().display().to_string())
    );
    assert!(error.hint().unwrap().contains("APONO_STATE_DIR"));
    first.close().await;
    open(dir.path());
}

#[tokio::test]
async fn a_closed_ledger_takes_nothing() {
    let ledger = Ledger::in_memory(LedgerOptions::default(), Faults::default()).unwrap();
    ledger.close().await;
    let error = ledger.append_one(end_intended(1)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Closed), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_together_share_commits_and_none_is_lost() {
    let faults = Faults::default();
    let ledger = Ledger::in_memory(LedgerOptions::default(), faults.clone()).unwrap();
    let mut all = tokio::task::JoinSet::new();
    for n in 0..2000 {
        let ledger = ledger.clone();
        all.spawn(async move { ledger.append_one(start_intended(n)).await });
    }
    while let Some(kept) = all.join_next().await {
        assert_eq!(kept.unwrap().unwrap(), Kept::OnDisk);
    }
    assert_eq!(ledger.read(|state| state.grants.len()), 2000);
    assert!(faults.commits() < 2000, "{}", faults.commits());
}

#[tokio::test]
async fn numbers_of_reports_are_given_out_once_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    assert_eq!((ledger.reserve_report(), ledger.reserve_report()), (0, 1));
    ledger
        .append_one(Event::Queued {
            id: 1,
            entry: OutboxEntry::End(end_report(1)),
        })
        .await
        .unwrap();
    ledger.append_one(Event::Delivered(1)).await.unwrap();
    drop(ledger);
    assert_eq!(open(dir.path()).reserve_report(), 2);
}

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

#[tokio::test]
async fn the_log_is_rewritten_when_most_of_it_is_history() {
    let dir = tempfile::tempdir().unwrap();
    let options = LedgerOptions { compact_above: 100 };
    let ledger = Ledger::open(dir.path(), options).unwrap();
    ledger.append_one(start_intended(1)).await.unwrap();
    for n in 0..150 {
        ledger.append_one(Event::Frozen(n % 2 == 0)).await.unwrap();
    }
    let before = state_of(&ledger);
    ledger.close().await;
    let (opener, _folder) = Ledger::prepare(dir.path(), Faults::default()).unwrap();
    let opened = opener().unwrap();
    assert_eq!(opened.state, before);
    let store = opened.store.unwrap();
    assert!(store.rows() < 100, "{}", store.rows());
}

async fn damaged(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    for n in 0..50 {
        ledger.append_one(start_intended(n)).await.unwrap();
    }
    drop(ledger);
    let path = dir.path().join("ledger.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    (dir, bytes)
}

async fn check_degraded(dir: &Path, bytes: &[u8]) {
    let ledger = Ledger::open_or_degraded(dir, LedgerOptions::default()).unwrap();
    assert!(ledger.is_damaged());
    assert!(!ledger.is_healthy());
    let error = ledger.append_one(start_intended(1)).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::StartsRefused { .. }),
        "{error}"
    );
    assert!(error.hint().is_some());
    let learned = Event::GrantLearned {
        grant: grant(2),
        started_at: None,
    };
    let kept = ledger.append(vec![learned, end_intended(2)]).await.unwrap();
    assert_eq!(kept, Kept::InMemory);
    assert_eq!(ledger.read(|state| state.grants.len()), 1);
    drop(ledger);
    assert!(std::fs::read(dir.join("ledger.redb")).unwrap() == bytes);
}

#[tokio::test]
async fn a_damaged_file_is_refused_left_alone_and_ends_go_on_without_it() {
    let changes: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.fill(0xa5),
        |bytes| bytes[..64].fill(0),
        |bytes| {
            // Every page but the head.
            bytes[4096..].iter_mut().for_each(|byte| *byte ^= 0x5a);
        },
        |bytes| bytes.truncate(bytes.len() / 2),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (dir, bytes) = damaged(change).await;
        let error = Ledger::open(dir.path(), LedgerOptions::default()).unwrap_err();
        assert!(
            matches!(error, LedgerError::Damaged { .. }),
            "change {number}: {error}"
        );
        check_degraded(dir.path(), &bytes).await;
    }
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused_left_alone_and_ends_go_on_without_it() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (opener, _folder) = Ledger::prepare(dir.path(), Faults::default()).unwrap();
        let mut store = opener().unwrap().store.unwrap();
        let row = br#"{"v":2,"event":{"teleported":{}}}"#.to_vec();
        store.append([row].iter()).unwrap();
    }
    let bytes = std::fs::read(dir.path().join("ledger.redb")).unwrap();
    let error = Ledger::open(dir.path(), LedgerOptions::default()).unwrap_err();
    assert!(
        matches!(
            error,
            LedgerError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    check_degraded(dir.path(), &bytes).await;
}

#[tokio::test]
async fn an_event_beyond_the_limit_is_refused_by_name() {
    let ledger = Ledger::in_memory(LedgerOptions::default(), Faults::default()).unwrap();
    let event = Event::StepBegan {
        grant: grant(1).id,
        note: "x".repeat(2 << 20),
    };
    let error = ledger.append_one(event).await.unwrap_err();
    assert!(
        matches!(
            error,
            LedgerError::TooLarge {
                kind: "step_began",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "not a folder").unwrap();
    let error = Ledger::open(&path, LedgerOptions::default()).unwrap_err();
    assert!(matches!(error, LedgerError::Folder { .. }), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()));
}
