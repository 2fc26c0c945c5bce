//! What each level lets a person do, and what not.

use super::world::{Opened, World, login_of, person};
use crate::support::cluster::{fresh, on_every_server};
use apono_connector::domain::{ErrorClass, Permission, ResourceKind, ResourceRef};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[track_caller]
fn may(world: &World, who: &Opened, statements: &[&str]) {
    for sql in statements {
        let answer = world.psql(who, sql);
        assert!(answer.ok, "`{sql}` should work: {}", answer.err);
    }
}

#[track_caller]
fn may_not(world: &World, who: &Opened, statements: &[&str]) {
    for sql in statements {
        let answer = world.psql(who, sql);
        assert!(!answer.ok, "`{sql}` should be refused");
        assert!(answer.err.contains(" 42501: "), "`{sql}`: {}", answer.err);
    }
}

const WRITES: [&str; 3] = [
    "INSERT INTO shop.orders (note) VALUES ('x')",
    "UPDATE shop.orders SET note = 'y'",
    "DELETE FROM shop.orders WHERE note = 'x'",
];

on_every_server! {
    async fn read_only_on_a_table_is_that_table_only(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let her = world.open(&world.grant(&person("alice"), world.table("shop", "orders"), Permission::ReadOnly)).await;
        may(&world, &her, &["SELECT * FROM shop.orders"]);
        may_not(&world, &her, &["SELECT * FROM shop.recent", "SELECT * FROM other.secrets"]);
        may_not(&world, &her, &WRITES);
    }
}

on_every_server! {
    async fn read_write_on_a_table_includes_its_serial_numbers(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let her = world.open(&world.grant(&person("alice"), world.table("shop", "orders"), Permission::ReadWrite)).await;
        may(&world, &her, &WRITES);
        may_not(&world, &her, &["TRUNCATE shop.orders", "CREATE TABLE shop.mine (id int)", "SELECT * FROM shop.recent"]);
    }
}

on_every_server! {
    async fn read_write_on_a_schema_covers_what_comes_later(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let her = world.open(&world.grant(&person("alice"), world.schema("shop"), Permission::ReadWrite)).await;
        world.as_owner("CREATE TABLE shop.later (id serial, note text)").await;
        may(&world, &her, &["INSERT INTO shop.later (note) VALUES ('x')", "UPDATE shop.later SET note = 'y'"]);
        may_not(&world, &her, &["TRUNCATE shop.later", "DROP TABLE shop.later", "CREATE TABLE shop.mine (id int)", "SELECT * FROM other.secrets"]);
    }
}

on_every_server! {
    async fn admin_on_a_schema_creates_and_empties_but_never_owns(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let her = world.open(&world.grant(&person("alice"), world.schema("shop"), Permission::Admin)).await;
        may(&world, &her, &["CREATE TABLE shop.mine (id int)", "TRUNCATE shop.orders", "SELECT setval('shop.orders_id_seq', 10)"]);
        may_not(&world, &her, &[
            "DROP TABLE shop.orders", "ALTER TABLE shop.orders ADD x int", "CREATE SCHEMA hers", "SELECT * FROM other.secrets",
            "CREATE FUNCTION shop.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.f()",
        ]);
        let granted = world.psql(&her, "GRANT SELECT ON shop.orders TO PUBLIC");
        assert_eq!(world.ask("SELECT has_table_privilege('public', 'shop.orders', 'SELECT')").await, "f", "{}", granted.err);
    }
}

on_every_server! {
    async fn a_whole_database_means_every_schema_of_today_and_tomorrow_but_ours(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let her = world.open(&world.grant(&person("alice"), world.whole(), Permission::ReadOnly)).await;
        world.as_owner("CREATE SCHEMA tomorrow; CREATE TABLE tomorrow.t AS SELECT 1 AS id; CREATE TABLE shop.later AS SELECT 1 AS id").await;
        may(&world, &her, &["SELECT * FROM shop.orders", "SELECT * FROM other.secrets", "SELECT * FROM tomorrow.t", "SELECT * FROM shop.later"]);
        may_not(&world, &her, &["SELECT * FROM apono.login", "CREATE SCHEMA hers", "INSERT INTO other.secrets VALUES (2)"]);
        may_not(&world, &her, &WRITES);
    }
}

on_every_server! {
    async fn admin_on_one_database_is_nothing_on_another(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let other = cluster.fresh_database(&world.owner).await;
        cluster.superuser(&other).await.batch("a table", &format!("SET ROLE {}; CREATE SCHEMA s; CREATE TABLE s.t (id int)", world.owner)).await.unwrap();
        let on = ResourceRef::new(ResourceKind::PostgresDatabase, vec![other.clone()]).unwrap();
        let her = world.open(&world.grant(&person("bob"), on, Permission::Admin)).await;
        let there = |sql: &str| cluster.psql(&her.login, &her.password, &other, sql);
        for sql in ["CREATE SCHEMA hers; CREATE TABLE hers.t (id int)", "INSERT INTO s.t VALUES (1)", "CREATE TEMP TABLE x (id int)", "TRUNCATE s.t"] {
            let answer = there(sql);
            assert!(answer.ok, "{sql}: {}", answer.err);
        }
        assert!(!there("DROP TABLE s.t").ok);
        assert!(!there(&format!("DROP DATABASE {other}")).ok);
        may_not(&world, &her, &["SELECT * FROM shop.orders", "CREATE SCHEMA hers"]);
    }
}

on_every_server! {
    async fn a_database_closed_to_the_public_is_opened_for_her_only(cluster: &Cluster) {
        let world = World::new(cluster).await;
        world.as_owner(&format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC; GRANT CONNECT ON DATABASE {0} TO {}", world.database, world.admin)).await;
        world.root().await.batch("let the connector in", &format!("GRANT CONNECT ON DATABASE {} TO {}", world.database, world.user)).await.unwrap();
        let alice = person("alice");
        let grant = world.grant(&alice, world.table("shop", "orders"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        may(&world, &her, &["SELECT * FROM shop.orders"]);
        world.end(&grant).await;
        assert_eq!(world.ask(&format!("SELECT has_database_privilege('{}', '{}', 'CONNECT')", login_of(&alice), world.database)).await, "f");
    }
}

on_every_server! {
    async fn membership_lends_an_existing_role_and_never_a_powerful_one(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let (reporting, powerful) = (fresh("reporting"), fresh("powerful"));
        let root = world.root().await;
        root.batch("make roles", &format!(
            "CREATE ROLE {reporting}; GRANT USAGE ON SCHEMA other TO {reporting}; GRANT SELECT ON other.secrets TO {reporting};
             CREATE ROLE {powerful}; GRANT pg_execute_server_program TO {powerful}")).await.unwrap();
        let role = |name: &str| ResourceRef::new(ResourceKind::PostgresRole, vec![name.to_owned()]).unwrap();
        let grant = world.grant(&person("alice"), role(&reporting), Permission::Member);
        let order = world.order(&grant);
        if root.server().major() >= 16 {
            let error = world.run(&world.target, &order).await.unwrap_err();
            assert_eq!((error.class(), error.failure().reason), (ErrorClass::NeedsOperator, "role_not_ours"));
            root.batch("do as told", &format!("GRANT {reporting} TO {} WITH ADMIN OPTION", world.admin)).await.unwrap();
        }
        let her = world.opened(&world.run(&world.target, &order).await.unwrap());
        may(&world, &her, &["SELECT * FROM other.secrets"]);
        if root.server().major() >= 16 {
            may_not(&world, &her, &[&format!("SET ROLE {reporting}")]);
        }
        world.end(&grant).await;
        // The wider one came with 14.
        let predefined = if root.server().major() >= 14 { "pg_read_all_data" } else { "pg_monitor" };
        for name in [predefined, "postgres", &powerful, &world.admin, &world.user] {
            let error = world.run(&world.target, &world.order(&world.grant(&person("alice"), role(name), Permission::Member))).await.unwrap_err();
            assert_eq!(error.failure().reason, "role_not_lendable", "{name}");
        }
    }
}

on_every_server! {
    async fn a_table_that_moves_out_of_the_schema_leaves_the_grant(cluster: &Cluster) {
        let world = World::new(cluster).await;
        world.as_owner("CREATE TABLE shop.moving (id int); CREATE TABLE shop.renamed (id int)").await;
        let alice = person("alice");
        let schema = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&schema).await;
        let bob = person("bob");
        let table = world.grant(&bob, world.table("shop", "renamed"), Permission::ReadOnly);
        let his = world.open(&table).await;
        world.as_owner("ALTER TABLE shop.moving SET SCHEMA other; ALTER TABLE shop.renamed RENAME TO before; CREATE TABLE shop.renamed (id int)").await;
        world.root().await.batch("a minute later", "UPDATE apono.access_role SET complete_at = complete_at - interval '2 minutes'").await.unwrap();
        apono_connector::targets::Target::mend(&world.target).await.unwrap();
        assert_eq!(world.ask(&format!("SELECT has_table_privilege('{}', 'other.moving', 'SELECT')", her.login)).await, "f");
        may(&world, &his, &["SELECT * FROM shop.renamed"]);
        may_not(&world, &his, &["SELECT * FROM shop.before"]);
    }
}

on_every_server! {
    async fn thousands_of_tables_are_filled_once_and_then_cost_nothing(cluster: &Cluster) {
        let world = World::new(cluster).await;
        world.as_owner("CREATE SCHEMA big; DO $$ BEGIN FOR i IN 1..2500 LOOP EXECUTE 'CREATE TABLE big.t' || i || ' (id int)'; END LOOP; END $$").await;
        let her = world.open(&world.grant(&person("alice"), world.schema("big"), Permission::ReadWrite)).await;
        may(&world, &her, &["SELECT * FROM big.t1", "INSERT INTO big.t2500 VALUES (1)"]);
        let before = world.ask("SELECT sum(cardinality(relacl)) FROM pg_class WHERE relnamespace = 'big'::regnamespace").await;
        world.open(&world.grant(&person("bob"), world.schema("big"), Permission::ReadWrite)).await;
        assert_eq!(world.ask("SELECT sum(cardinality(relacl)) FROM pg_class WHERE relnamespace = 'big'::regnamespace").await, before);
    }
}

on_every_server! {
    async fn a_start_does_not_wait_for_a_completion_that_is_at_work(cluster: &Cluster) {
        let world = World::new(cluster).await;
        world.open(&world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly)).await;
        // Tables of an owner who comes later are not covered beforehand.
        let late = fresh("late_owner");
        let root = world.root().await;
        let run = async |sql: &str| drop(root.batch("prepare", sql).await.unwrap());
        run(&format!("CREATE ROLE {late}; GRANT {late} TO {}; GRANT USAGE, CREATE ON SCHEMA shop TO {late}; SET ROLE {late}; CREATE TABLE shop.late (id int); RESET ROLE", world.admin)).await;
        run("UPDATE apono.access_role SET complete_at = complete_at - interval '2 minutes'").await;
        // Whoever grants on that table now has to wait.
        run(&format!("BEGIN; GRANT SELECT ON shop.late TO {}", world.stranger)).await;
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'GRANT %')";
        let over = AtomicBool::new(false);
        let completion = async {
            let mended = apono_connector::targets::Target::mend(&world.target).await.unwrap();
            over.store(true, Ordering::Relaxed);
            assert!(mended.is_empty(), "{mended:?}");
        };
        let watcher = world.root().await;
        let meanwhile = async {
            while watcher.batch("look", waits).await.unwrap().text() != Some("t") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let his = world.open(&world.grant(&person("bob"), world.schema("shop"), Permission::ReadOnly)).await;
            assert!(!over.load(Ordering::Relaxed), "the completion is at work still");
            may(&world, &his, &["SELECT * FROM shop.orders"]);
            may_not(&world, &his, &["SELECT * FROM shop.late"]);
            run("ROLLBACK").await;
            his
        };
        let ((), his) = tokio::join!(completion, meanwhile);
        may(&world, &his, &["SELECT * FROM shop.late"]);
    }
}
