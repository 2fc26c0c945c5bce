//! Measures a start and an end with few and with many tables in the schema that is given.

use super::person::{self, Bare, Gives};
use crate::company::World;
use crate::figure;
use crate::support::cluster::Cluster;
use apono_connector::pg::Session;
use std::time::Instant;

/// Tables, and persons by each road: by hand every one of them is a new entry in every access list.
const LEVELS: [(u32, u32); 4] = [(10, 15), (1_000, 9), (10_000, 5), (100_000, 3)];
/// Tables of one transaction.
const AT_ONCE: u32 = 1_000;
/// Sessions that make tables at the same time.
const MAKERS: u32 = 2;
const SCHEMA: &str = "big";

pub(super) fn names(label: &str) -> Vec<String> {
    LEVELS
        .iter()
        .map(|(level, _)| format!("pace-tables-{level}-{label}"))
        .collect()
}

pub(super) async fn measure(
    cluster: &'static Cluster,
    label: &str,
    wanted: &impl Fn(&str) -> bool,
) {
    let names = names(label);
    if !names.iter().any(|name| wanted(name)) {
        return;
    }
    let world = World::new(cluster).await;
    let root = world.root().await;
    let run = async |sql: &str| root.batch("prepare", sql).await.unwrap();
    run(&format!(
        "CREATE SCHEMA {SCHEMA} AUTHORIZATION {}",
        world.owner
    ))
    .await;
    let on = world.schema(SCHEMA);
    // The first person pays for the record, the access role and the connections.
    person::start(&world, "first", &on).await;
    let bare = Bare::open(&world, Gives::Tables(SCHEMA.to_owned())).await;
    let mut made = 0;
    let mut looks = Vec::new();
    for ((level, people), name) in LEVELS.into_iter().zip(&names) {
        if !wanted(name) {
            continue;
        }
        make(&world, &root, made, level).await;
        made = level;
        // The first start after a minute looks whether the access role is complete.
        run("UPDATE apono.access_role SET complete_at = complete_at - interval '2 minutes'").await;
        let begun = Instant::now();
        person::start(&world, &format!("first{level}"), &on).await;
        looks.push(format!(
            "{} at {level}",
            figure::short(figure::ms(begun.elapsed()))
        ));
        let (ours, by_hand) = person::alternate(&world, &bare, &on, people).await;
        figure::parts(
            name,
            &[
                ("start", figure::ratio(ours.start(), "ms", by_hand.start())),
                ("end", figure::ratio(ours.end(), "ms", by_hand.end())),
            ],
        );
    }
    figure::behind(
        &format!("pace-tables-{label}"),
        &format!(
            "a start that looks at all tables for missing privileges, in ms: {}",
            looks.join(", ")
        ),
    );
    drop((bare, root));
    forget(&world).await;
}

/// Makes tables without waiting for the disk, which is not what is measured.
async fn make(world: &World, root: &Session, from: u32, to: u32) {
    durable(root, false).await;
    let maker = |nth: u32| async move {
        let session = world.root().await;
        let step = (AT_ONCE * MAKERS) as usize;
        for first in (from + nth * AT_ONCE..to).step_by(step) {
            let last = to.min(first + AT_ONCE) - 1;
            let sql = format!(
                "SET ROLE {}; DO $$ BEGIN FOR n IN {first}..{last} LOOP\n\
                 EXECUTE format('CREATE TABLE {SCHEMA}.t%s ()', n); END LOOP; END $$; RESET ROLE",
                world.owner
            );
            session.batch("make tables", &sql).await.unwrap();
        }
    };
    futures_util::future::join_all((0..MAKERS).map(maker)).await;
    for sql in ["VACUUM ANALYZE pg_class", "CHECKPOINT"] {
        root.batch("tidy up", sql).await.unwrap();
    }
    durable(root, true).await;
}

async fn durable(root: &Session, on: bool) {
    for sql in [
        &format!("ALTER SYSTEM SET fsync = {on}"),
        "SELECT pg_reload_conf()",
    ] {
        root.batch("set the durability", sql).await.unwrap();
    }
    while root
        .batch("look at the durability", "SHOW fsync")
        .await
        .unwrap()
        .text()
        != Some(if on { "on" } else { "off" })
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Gives the disk back.
async fn forget(world: &World) {
    let root = world.cluster.superuser("postgres").await;
    let database = &world.database;
    let sql = [
        format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        ),
        format!("DROP DATABASE {database} WITH (FORCE)"),
    ];
    for sql in sql {
        root.batch("tidy up", &sql).await.unwrap();
    }
}
