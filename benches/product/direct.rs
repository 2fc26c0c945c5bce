//! Measures starts on a schema with 10,000 tables, beside a `GRANT` on all its tables to a role of each person's own.

use crate::support::admin::Admin;
use crate::support::cluster::Version;
use crate::support::world::World;
use crate::{figure, ground};
use apono_connector::pg::Session;
use std::time::Instant;

const NAME: &str = "grants-10k-tables";
const TABLES: u32 = 10_000;
const TABLES_AT_ONCE: u32 = 1_000;
/// Persons by our road, after the first.
const PEOPLE: u32 = 200;
/// Persons by the direct road, each of whom costs a new entry in 10,000 access lists.
const DIRECT_PEOPLE: u32 = 20;

pub(crate) async fn measure() {
    let world = ground::product(ground::server(Version::Pg15)).await;
    let superuser = ground::superuser(&world).await;
    make_tables(&world, &superuser).await;
    let admin = Admin::of(&world, "big");
    let until = ground::in_an_hour();
    let begun = Instant::now();
    admin.start("first@example.com", until).await;
    let first = figure::ms(begun.elapsed());
    let begun = Instant::now();
    for n in 0..PEOPLE {
        admin.start(&format!("further{n}@example.com"), until).await;
    }
    let ours = f64::from(PEOPLE) / begun.elapsed().as_secs_f64();
    let direct = direct(&superuser).await;
    figure::beside(NAME, ours, "starts/s", direct);
    ground::state(NAME, world.cluster).await;
    figure::behind(
        NAME,
        &format!(
            "whole product, one person after another, access role filled once by the first person in {} ms; \
             baseline: one session, new role, GRANT SELECT ON ALL TABLES IN SCHEMA",
            figure::short(first)
        ),
    );
}

async fn make_tables(world: &World, superuser: &Session) {
    let owner = &world.road.owner;
    let run = async |sql: &str| superuser.batch("make tables", sql).await.unwrap();
    run(&format!("CREATE SCHEMA big AUTHORIZATION {owner}")).await;
    for from in (0..TABLES).step_by(TABLES_AT_ONCE as usize) {
        let to = from + TABLES_AT_ONCE - 1;
        run(&format!(
            "SET ROLE {owner}; DO $$ BEGIN FOR n IN {from}..{to} LOOP\n\
             EXECUTE format('CREATE TABLE big.t%s (a int)', n); END LOOP; END $$; RESET ROLE"
        ))
        .await;
    }
    run("VACUUM ANALYZE pg_class").await;
}

async fn direct(superuser: &Session) -> f64 {
    let begun = Instant::now();
    for n in 0..DIRECT_PEOPLE {
        let sql = format!(
            "BEGIN; CREATE ROLE direct_{n} LOGIN; GRANT USAGE ON SCHEMA big TO direct_{n};\n\
             GRANT SELECT ON ALL TABLES IN SCHEMA big TO direct_{n}; COMMIT"
        );
        superuser.batch("grant directly", &sql).await.unwrap();
    }
    f64::from(DIRECT_PEOPLE) / begun.elapsed().as_secs_f64()
}
