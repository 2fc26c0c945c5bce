//! Owns the ground both sides of a comparison stand on: one server, one durability, the connector as it is by default.

use crate::support::cluster::{Cluster, Version};
use crate::support::world::World;
use apono_connector::clock::{Clock, SystemClock};
use apono_connector::pg::Session;
use jiff::{SignedDuration, Timestamp};
use std::fs;

/// Every commit waits for the disk, as on a production server. Logging of statements is off for both sides.
const CONFIGURATION: &str = "fsync = on\n\
     synchronous_commit = on\n\
     full_page_writes = on\n\
     shared_buffers = '128MB'\n\
     max_locks_per_transaction = 512\n\
     shared_preload_libraries = ''\n\
     log_statement = 'none'\n";

/// Starts a server that lives as long as this process.
pub(crate) fn server(version: Version) -> &'static Cluster {
    server_with(version, "")
}

/// The same with more lines for its configuration.
pub(crate) fn server_with(version: Version, more: &str) -> &'static Cluster {
    let configuration = format!("{CONFIGURATION}{more}");
    Box::leak(Box::new(Cluster::private(version, &configuration)))
}

/// Starts the product on a server, with every interval at its default, and says what both sides share.
pub(crate) async fn product(cluster: &'static Cluster) -> World {
    let mut world = World::start(cluster).await;
    let connector = world.connector.take().unwrap();
    assert!(connector.terminate(std::time::Duration::from_secs(30)));
    fs::write(world.path("connector.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    world.start_connector();
    world
}

/// Says on what both sides of a comparison run.
pub(crate) async fn state(name: &str, cluster: &Cluster) {
    let answer = cluster
        .superuser("postgres")
        .await
        .batch(
            "read the settings",
            "SELECT format('PostgreSQL %s, fsync %s, synchronous_commit %s, full_page_writes %s, TLS, both sides',\n\
             current_setting('server_version_num')::int / 10000, current_setting('fsync'),\n\
             current_setting('synchronous_commit'), current_setting('full_page_writes'))",
        )
        .await
        .unwrap();
    crate::figure::behind(name, answer.text().unwrap());
}

/// Opens a session of the superuser in the world's database.
pub(crate) async fn superuser(world: &World) -> Session {
    world.cluster.superuser(&world.road.database).await
}

pub(crate) fn in_an_hour() -> Timestamp {
    SystemClock.now() + SignedDuration::from_hours(1)
}
