//! Measures reports of an inventory of many tables: time, memory of the connector, bytes sent; beside the same catalog queries by a plain
//! session that throws the answers away.

use crate::support::cluster::{Cluster, Version};
use crate::support::world::World;
use crate::{figure, machine};
use apono_connector::pg::Session;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Tables of one schema, and of one transaction.
const PER_SCHEMA: u32 = 1_000;
/// Sessions that make tables at the same time.
const MAKERS: u32 = 4;
/// One schema in so many has all its tables readable by a role.
const READABLE: u32 = 20;
/// Longest time for one report.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Rows of one page, as the connector reads them.
const PAGE: i64 = 1_000;

/// Making a million tables is not what is measured, so this server does not wait for the disk.
const CONFIGURATION: &str = "fsync = off\n\
     synchronous_commit = off\n\
     full_page_writes = off\n\
     shared_buffers = '256MB'\n\
     max_locks_per_transaction = 1024\n\
     max_wal_size = '4GB'\n\
     autovacuum = off\n\
     shared_preload_libraries = ''\n\
     log_statement = 'none'\n";

pub(crate) async fn measure(name: &str, tables: u32) {
    let cluster: &'static Cluster =
        Box::leak(Box::new(Cluster::private(Version::Pg15, CONFIGURATION)));
    let mut world = World::prepare(cluster, &[], &[]).await;
    let begun = Instant::now();
    make_tables(&world, tables).await;
    let made = begun.elapsed();
    let begun = Instant::now();
    world.start_connector();
    let first = reported(&world, 1).await;
    let first_took = begun.elapsed();
    let (_, first_most) = memory(&world);
    let begun = Instant::now();
    world
        .command(&["integration", "sync", "orders", "--wait", "0s"])
        .unwrap();
    let second = reported(&world, 2).await;
    let second_took = begun.elapsed();
    let (now, most) = memory(&world);
    let baseline = bare(&world).await.as_secs_f64();
    figure::beside(
        &format!("{name}-first"),
        first_took.as_secs_f64(),
        "s",
        baseline,
    );
    figure::beside(
        &format!("{name}-unchanged"),
        second_took.as_secs_f64(),
        "s",
        baseline,
    );
    let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
    figure::alone(
        &format!("{name}-memory"),
        &format!(
            "{} MiB at its most (VmHWM) over both reports, {} MiB after the first, {} MiB (VmRSS) at the end",
            figure::short(most),
            figure::short(first_most),
            figure::short(now)
        ),
    );
    figure::beside(
        &format!("{name}-bytes-unchanged"),
        number(&second, "bytes") as f64,
        "bytes",
        number(&first, "bytes") as f64,
    );
    figure::behind(
        name,
        &format!(
            "{tables} tables in {} schemas, made in {:.0} s; {} records in the first report ({} parts), {} in the second, of which {} \
             changed; baseline of times: one session, the connector's catalog queries in its pages, answers thrown away; baseline of bytes: \
             the first report; whole product, control plane with every batch on disk",
            tables / PER_SCHEMA,
            made.as_secs_f64(),
            number(&first, "records"),
            number(&first, "parts"),
            number(&second, "records"),
            number(&second, "changed"),
        ),
    );
    let shown = world.integration("orders");
    assert!(
        shown["resources"].as_u64().unwrap() >= u64::from(tables),
        "{shown}"
    );
}

fn memory(world: &World) -> (f64, f64) {
    machine::memory(world.connector.as_ref().unwrap().pid())
}

async fn make_tables(world: &World, tables: u32) {
    let superuser = world.cluster.superuser(&world.road.database).await;
    let owner = &world.road.owner;
    let run = async |session: &Session, sql: &str| session.batch("make tables", sql).await.unwrap();
    run(&superuser, "CREATE ROLE reader").await;
    let schemas = tables / PER_SCHEMA;
    let maker = |nth: u32| async move {
        let session = world.cluster.superuser(&world.road.database).await;
        for schema in (nth..schemas).step_by(MAKERS as usize) {
            let readable = if schema % READABLE == 0 {
                format!("GRANT SELECT ON ALL TABLES IN SCHEMA s{schema} TO reader;")
            } else {
                String::new()
            };
            let sql = format!(
                "BEGIN; SET LOCAL ROLE {owner}; CREATE SCHEMA s{schema}; GRANT USAGE ON SCHEMA s{schema} TO reader;\n\
                 DO $$ BEGIN FOR n IN 1..{PER_SCHEMA} LOOP\n\
                 EXECUTE format('CREATE TABLE s{schema}.table_%s ()', n); END LOOP; END $$; {readable} COMMIT"
            );
            session.batch("make tables", &sql).await.unwrap();
        }
    };
    futures_util::future::join_all((0..MAKERS).map(maker)).await;
    run(&superuser, "VACUUM ANALYZE pg_class").await;
}

/// Waits for the connector's line about its report of that number, and returns it.
async fn reported(world: &World, nth: usize) -> Value {
    let begun = Instant::now();
    loop {
        let log = std::fs::read_to_string(world.path("connector.err")).unwrap();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut reports = lines.filter(|line| line["parts"].is_u64());
        if let Some(line) = reports.nth(nth - 1) {
            return line;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "no report came: {}",
            world.logs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Reads what the connector reads of the database with the tables.
async fn bare(world: &World) -> Duration {
    let session = Session::connect(&world.road.connector).await.unwrap();
    let begun = Instant::now();
    for sql in [
        include_str!("../../src/inventory/postgres_catalog/sql/schemas.sql"),
        include_str!("../../src/inventory/postgres_catalog/sql/tables.sql"),
    ] {
        let mut after = 0_u32;
        loop {
            let rows = session.query("read", sql, &[&after, &PAGE]).await.unwrap();
            match rows.last() {
                Some(last) if rows.len() as i64 >= PAGE => after = last.get(0).unwrap(),
                _ => break,
            }
        }
    }
    for sql in [
        include_str!("../../src/inventory/postgres_catalog/sql/access_schemas.sql"),
        include_str!("../../src/inventory/postgres_catalog/sql/access_tables.sql"),
    ] {
        let mut after = (0_u32, 0_u32);
        loop {
            let rows = session
                .query("read", sql, &[&after.0, &PAGE, &after.1])
                .await
                .unwrap();
            match rows.last() {
                Some(last) if rows.len() as i64 >= PAGE => {
                    after = (last.get(0).unwrap(), last.get(1).unwrap());
                }
                _ => break,
            }
        }
    }
    begun.elapsed()
}
