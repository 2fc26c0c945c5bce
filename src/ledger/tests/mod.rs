//! Owns the proof that what was appended is kept.

mod damage;
mod failing_disk;
mod household;

use super::samples::{any_event, end_intended, end_report, grant, one_of_each, start_intended};
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

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

#[tokio::test]
async fn a_note_keeps_its_place_among_the_appends() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.append_one(start_intended(1)).await.unwrap();
    ledger.note(vec![end_intended(1)]);
    ledger
        .append_one(Event::Closed(end_report(1)))
        .await
        .unwrap();
    ledger.note(vec![Event::Clean(grant(1).id)]);
    drop(ledger);
    let state = state_of(&open(dir.path()));
    assert!(state.grants.is_empty());
    assert_eq!(
        state.ends.get(grant(1).id).unwrap().reason,
        end_report(1).reason
    );
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

#[tokio::test]
async fn space_that_history_took_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = LedgerOptions { compact_above: 100 };
    let ledger = Ledger::open(dir.path(), options).unwrap();
    let length = || {
        std::fs::metadata(dir.path().join("ledger.redb"))
            .unwrap()
            .len()
    };
    let note = "x".repeat(500_000);
    let step = Event::StepBegan {
        grant: grant(1).id,
        note,
    };
    for _ in 0..11 {
        ledger.append(vec![step.clone(); 10]).await.unwrap();
    }
    let high = length();
    let deadline = Instant::now() + Duration::from_secs(20);
    while length() > high / 4 {
        assert!(
            Instant::now() < deadline,
            "{high} bytes are still {}",
            length()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
