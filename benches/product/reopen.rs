//! Measures how long a start of the connector takes to read a large ledger.

use crate::figure;
use apono_connector::domain::{
    Grant, GrantId, IntegrationId, Permission, Principal, ResourceKind, ResourceRef, TaskId,
};
use apono_connector::ledger::{Event, Ledger, LedgerOptions};
use std::time::Instant;

const ROWS: usize = 50_000;
const ROWS_AT_ONCE: usize = 5_000;
const TIMES: usize = 5;

pub(crate) async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path(), LedgerOptions::default()).unwrap();
    for _ in 0..ROWS / ROWS_AT_ONCE {
        let rows = (0..ROWS_AT_ONCE).map(|_| row()).collect();
        ledger.append(rows).await.unwrap();
    }
    ledger.close().await;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        let ledger = Ledger::open(folder.path(), LedgerOptions::default()).unwrap();
        times.push(figure::ms(begun.elapsed()));
        assert_eq!(ledger.read(|state| state.grants.len()), ROWS);
        ledger.close().await;
    }
    figure::alone(
        "ledger-open-50k",
        &format!(
            "{:.0} ms, median of {TIMES}, 50,000 live grants",
            figure::median(times)
        ),
    );
}

fn row() -> Event {
    let path = vec!["shop".to_owned(), "public".to_owned(), "orders".to_owned()];
    Event::StartIntended {
        grant: Grant {
            id: GrantId::generate(),
            integration: IntegrationId::generate(),
            principal: Principal::parse("alice@example.com").unwrap(),
            resource: ResourceRef::new(ResourceKind::PostgresTable, path).unwrap(),
            permission: Permission::ReadWrite,
            expiry: "2099-01-01T00:00:00Z".parse().unwrap(),
        },
        task: TaskId::generate(),
        attempt: 1,
    }
}
