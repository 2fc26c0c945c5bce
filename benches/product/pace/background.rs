//! Measures starts on an access role while it is completed over 10,000 new tables, beside starts when nothing is to be completed.

use super::person;
use crate::company::World;
use crate::figure;
use crate::support::cluster::Cluster;
use apono_connector::targets::Target;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TABLES: u32 = 10_000;
/// Starts when nothing is to be completed.
const PEOPLE: u32 = 30;
/// Between two looks whether the completion is at work.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// New tables the access role has already.
const COMPLETED: &str = "SELECT count(*) FROM pg_class c WHERE relname LIKE 'late_' || '%' AND has_table_privilege((SELECT name FROM apono.access_role)::name, c.oid, 'SELECT')";

pub(super) fn name(label: &str) -> String {
    format!("pace-background-{label}")
}

pub(super) async fn measure(
    cluster: &'static Cluster,
    label: &str,
    wanted: &impl Fn(&str) -> bool,
) {
    let name = name(label);
    if !wanted(&name) {
        return;
    }
    let world = World::new(cluster).await;
    let on = world.schema("shop");
    person::start(&world, "first", &on).await;
    make_tables(&world).await;
    let mut quiet = Vec::new();
    for n in 0..PEOPLE {
        quiet.push(person::start(&world, &format!("quiet{n}"), &on).await.1);
    }
    let sql = "UPDATE apono.access_role SET complete_at = complete_at - interval '2 minutes'";
    world.root().await.batch("age", sql).await.unwrap();

    let over = AtomicBool::new(false);
    let completion = async {
        let begun = Instant::now();
        let mended = world.target.mend().await.unwrap();
        over.store(true, Ordering::Relaxed);
        assert!(mended.is_empty(), "{mended:?}");
        figure::ms(begun.elapsed())
    };
    let watcher = world.root().await;
    let begun = async || watcher.batch("look", COMPLETED).await.unwrap().text() != Some("0");
    let starts = async {
        let mut times = Vec::new();
        // A start that comes first is the completion.
        while !over.load(Ordering::Relaxed) && !begun().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        while !over.load(Ordering::Relaxed) {
            let who = format!("meanwhile{}", times.len());
            times.push(person::start(&world, &who, &on).await.1);
        }
        times
    };
    let (took, meanwhile) = tokio::join!(completion, starts);
    assert_eq!(world.ask(COMPLETED).await, TABLES.to_string());
    let count = meanwhile.len();
    let worst = meanwhile.iter().copied().fold(0.0, f64::max);
    figure::beside(
        &name,
        figure::median(meanwhile),
        "ms a start",
        figure::median(quiet),
    );
    figure::behind(
        &name,
        &format!(
            "{count} starts while the access role was completed on {TABLES} new tables, which took {} ms; the slowest start took {} ms",
            figure::short(took),
            figure::short(worst)
        ),
    );
}

/// By an owner whose tables are not covered beforehand.
async fn make_tables(world: &World) {
    let root = world.root().await;
    let owner = crate::support::cluster::fresh("late_owner");
    let options = match root.server().major() {
        ..16 => "",
        16.. => " WITH INHERIT TRUE, SET FALSE",
    };
    let sql = format!(
        "CREATE ROLE {owner}; GRANT {owner} TO {}{options}; GRANT USAGE, CREATE ON SCHEMA shop TO {owner}; SET ROLE {owner};\n\
         DO $$ BEGIN FOR n IN 1..{TABLES} LOOP EXECUTE format('CREATE TABLE shop.late_%s ()', n); END LOOP; END $$;\n\
         RESET ROLE",
        world.admin
    );
    root.batch("make tables", &sql).await.unwrap();
}
