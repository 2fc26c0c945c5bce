//! Owns which measures there are and that the program ends in time.

use crate::{
    direct, idle, instances, inventory, lanes, latency, offline, organization, pace, reopen,
};
use std::time::Duration;

/// Longest time for everything; more means that something hangs.
const LIMIT: Duration = Duration::from_secs(900);
/// The same for a million tables, most of it for making them.
const LIMIT_OF_A_MILLION: Duration = Duration::from_secs(5400);
/// The same for the pace on every version, most of it for making tables.
const LIMIT_OF_PACE: Duration = Duration::from_secs(1800);
/// Taken only when asked for by its whole name.
const MILLION: &str = "inventory-1m-tables";

/// Takes the measures that were asked for.
pub(crate) fn run() {
    // Cargo itself adds `--bench`.
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let organizations = organization::SIZES
        .iter()
        .filter(|(name, _)| asked.iter().any(|asked| asked == name));
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|start| name.starts_with(start));
    let million = asked.iter().any(|name| name == MILLION);
    // Only when asked for by name, too.
    let of_pace = |name: &str| {
        let mut asked = asked.iter().filter(|start| start.starts_with(pace::NAME));
        asked.any(|start| name.starts_with(start.as_str()))
    };
    let limit = match asked.iter().any(|start| start.starts_with(pace::NAME)) {
        true => LIMIT_OF_PACE,
        false if million || organizations.clone().count() > 0 => LIMIT_OF_A_MILLION,
        false => LIMIT,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if runtime.block_on(organization::walk_if_asked()) {
        return;
    }
    runtime.block_on(async {
        let all = async {
            if wanted("ledger-open-50k") {
                reopen::measure().await;
            }
            if wanted("grants-10k-tables") {
                direct::measure().await;
            }
            if wanted("grant-latency-p50") {
                latency::measure().await;
            }
            if wanted("grants-8-lanes") {
                lanes::measure().await;
            }
            if wanted("offline-ends-50") {
                offline::measure().await;
            }
            if wanted("inventory-100k-tables") {
                inventory::measure("inventory-100k-tables", 100_000).await;
            }
            if million {
                inventory::measure(MILLION, 1_000_000).await;
            }
            // Only when asked for by its whole name.
            for (name, accounts) in organizations {
                organization::measure(name, *accounts).await;
            }
            if wanted("two-instances-500-grants") {
                instances::measure().await;
            }
            pace::measure(of_pace).await;
            if wanted("idle") {
                idle::measure().await;
            }
        };
        tokio::time::timeout(limit, all)
            .await
            .expect("the measures end in time");
    });
}
