//! Owns the proof that a file that cannot be understood is left alone, and that ends go on without it.

use super::super::samples::{end_intended, grant, start_intended};
use super::super::*;
use super::{open, state_of};

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
async fn a_flipped_byte_is_harmless_or_noticed_and_never_believed() {
    let (dir, bytes) = damaged(|_| {}).await;
    let sound = state_of(&open(dir.path()));
    let path = dir.path().join("ledger.redb");
    let mut noticed = 0;
    // A prime step meets every place inside a page sooner or later.
    for place in (0..bytes.len()).step_by(4099) {
        let mut bytes = bytes.clone();
        bytes[place] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let ledger = Ledger::open_or_degraded(dir.path(), LedgerOptions::default()).unwrap();
        if ledger.is_damaged() {
            noticed += 1;
        } else {
            assert_eq!(state_of(&ledger), sound, "byte {place}");
        }
    }
    assert!(noticed > 0);
}
