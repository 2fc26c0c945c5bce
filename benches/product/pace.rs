//! Measures what one start and one end cost as logins, tables and versions change, beside bare SQL. Runs only when asked for by name.
//!
//! Through the connector's target alone, without HTTP, ledger and control plane: what those cost does not change with the server, and
//! would hide what does.

mod background;
mod crowd;
mod logins;
mod person;
mod tables;

use crate::ground;
use crate::support::cluster::{Cluster, Halt, Version};

/// What every name here starts with.
pub(crate) const NAME: &str = "pace";

/// All there are; without feature `every-server` only those of `make test`.
const VERSIONS: &[Version] = &[
    #[cfg(feature = "every-server")]
    Version::Pg13,
    #[cfg(feature = "every-server")]
    Version::Pg14,
    Version::Pg15,
    #[cfg(feature = "every-server")]
    Version::Pg16,
    #[cfg(feature = "every-server")]
    Version::Pg17,
    Version::Pg18,
];
/// A statement on 100,000 tables takes a lock for each of them on 18.
const LOCKS: &str = "max_locks_per_transaction = 2048\n";

/// Takes the measures whose names are wanted: first all of logins, then all of tables, then those in the background.
pub(crate) async fn measure(wanted: impl Fn(&str) -> bool) {
    let servers: Vec<(&Version, &'static Cluster)> = VERSIONS
        .iter()
        .filter(|version| {
            let label = label(**version);
            let mut names = logins::names(&label)
                .into_iter()
                .chain(tables::names(&label))
                .chain([background::name(&label)]);
            names.any(|name| wanted(&name))
        })
        .map(|version| (version, ground::server_with(*version, LOCKS)))
        .collect();
    for (version, cluster) in &servers {
        logins::measure(cluster, &label(**version), &wanted).await;
    }
    for (version, cluster) in &servers {
        tables::measure(cluster, &label(**version), &wanted).await;
    }
    for (version, cluster) in &servers {
        background::measure(cluster, &label(**version), &wanted).await;
        cluster.halt(Halt::Well);
    }
}

/// How a version is called in a name, for example `pg18`.
fn label(version: Version) -> String {
    format!("{version:?}").to_lowercase()
}
