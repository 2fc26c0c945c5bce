//! What happens after an end: clean-up, mending, the record.

use super::world::{World, end, login_of, person, step, warrant};
use crate::support::cluster::on_every_server;
use apono_connector::domain::{Change, EndReason, Grant, Permission, ResourceKind, ResourceRef};
use apono_connector::targets::{CleanedUp, Target};
use std::time::{Duration, Instant};

/// Cleans up until the grant is spoken of.
async fn clean(world: &World, grant: &Grant) -> CleanedUp {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let cleaned = world.target.clean_up().await.unwrap();
        if let Some(one) = cleaned.into_iter().find(|one| one.grant == grant.id) {
            return one;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the grant is never spoken of");
}

on_every_server! {
    async fn after_the_wait_the_login_is_dropped_and_her_things_have_a_powerless_owner(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let other = cluster.fresh_database(&world.owner).await;
        let alice = person("alice");
        let here = world.grant(&alice, world.whole(), Permission::Admin);
        let there = world.grant(&alice, ResourceRef::new(ResourceKind::PostgresDatabase, vec![other.clone()]).unwrap(), Permission::Admin);
        let her = world.open(&here).await;
        world.open_more(&there).await;
        let made = "CREATE SCHEMA hers; CREATE TABLE hers.t AS SELECT 1 AS id; SELECT lo_create(0);
                    CREATE FUNCTION hers.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM hers.t';
                    ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; GRANT ALL ON hers.t TO PUBLIC";
        assert!(world.psql(&her, made).ok);
        assert!(cluster.psql(&her.login, &her.password, &other, made).ok);
        world.end(&here).await;
        let first = clean(&world, &here).await;
        assert!(first.leftovers.is_empty(), "nothing to do while another grant is live");
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", her.login)).await, "1");
        world.end(&there).await;
        let second = clean(&world, &there).await;
        assert!(second.leftovers.is_empty(), "{:?}", second.leftovers);
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", her.login)).await, "0");
        assert_eq!(world.ask("SELECT count(*) FROM hers.t").await, "1", "her table is not destroyed");
        let owner = world.ask("SELECT relowner::regrole FROM pg_class WHERE oid = 'hers.t'::regclass").await;
        assert!(owner.starts_with("leftovers_"), "{owner}");
        assert_eq!(world.ask(&format!("SELECT rolcanlogin OR rolsuper OR EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid) FROM pg_roles r WHERE rolname = '{owner}'")).await, "f");
        assert!(world.target.recorded().await.unwrap().is_empty());
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = '{}'::regrole AND r.rolname IN ('{owner}', '{}') AND m.grantor = m.member", world.admin, her.login)).await, "0");
        // A new grant later begins from nothing.
        let again = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&again).await;
        assert!(world.psql(&her, "SELECT * FROM shop.orders").ok);
        assert!(!world.psql(&her, "DROP TABLE hers.t").ok);
    }
}

on_every_server! {
    async fn what_a_person_made_or_left_behind_stops_nobody_else(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let first = world.grant(&person("alice"), world.whole(), Permission::Admin);
        let her = world.open(&first).await;
        assert!(world.psql(&her, "CREATE TABLE shop.of_alice(id serial); CREATE SCHEMA of_alice; CREATE TABLE of_alice.t(a int)").ok);
        let while_she_is_there = world.grant(&person("bob"), world.schema("shop"), Permission::ReadWrite);
        let him = world.open(&while_she_is_there).await;
        assert!(world.psql(&him, "SELECT * FROM shop.orders").ok);
        assert!(!world.psql(&him, "SELECT * FROM shop.of_alice").ok, "hers is not given on");
        world.end(&first).await;
        clean(&world, &first).await;
        for on in [world.schema("shop"), world.whole()] {
            let afterwards = world.grant(&person("carol"), on, Permission::ReadOnly);
            let other = world.open(&afterwards).await;
            assert!(world.psql(&other, "SELECT * FROM shop.orders").ok);
            world.end(&afterwards).await;
        }
    }
}

on_every_server! {
    async fn what_we_may_not_remove_is_named_with_its_statement(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let root = world.root().await;
        root.batch("a stranger's schema", &format!("CREATE SCHEMA strange AUTHORIZATION {}; CREATE TABLE strange.t (id int); ALTER TABLE strange.t OWNER TO {0}", world.stranger)).await.unwrap();
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        root.batch("a stranger gives her something", &format!("SET ROLE {}; GRANT SELECT ON strange.t TO {}", world.stranger, her.login)).await.unwrap();
        world.end(&grant).await;
        let cleaned = clean(&world, &grant).await;
        let line = cleaned.leftovers.first().expect("a line");
        assert!(line.starts_with(&format!("REVOKE ALL ON TABLE strange.t FROM \"{}\" CASCADE; -- in database \"{}\", ", her.login, world.database)), "{line}");
        assert_eq!(world.ask(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'", her.login)).await, "f", "the door stays shut");
        root.batch("do as told", &format!("RESET ROLE; {line}")).await.unwrap();
        assert!(clean(&world, &grant).await.leftovers.is_empty());
    }
}

on_every_server! {
    async fn a_new_grant_before_the_drop_keeps_the_login(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let first = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let old = world.open(&first).await;
        world.end(&first).await;
        let second = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let new = world.open(&second).await;
        assert_eq!(old.login, new.login);
        assert!(!world.psql(&old, "SELECT 1").ok, "the old password is dead");
        assert!(clean(&world, &first).await.leftovers.is_empty());
        assert!(world.psql(&new, "SELECT * FROM shop.orders").ok);
    }
}

on_every_server! {
    async fn mending_takes_what_no_live_grant_backs(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let read = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let write = world.grant(&alice, world.schema("shop"), Permission::ReadWrite);
        let her = world.open(&read).await;
        world.open_more(&write).await;
        // As after a restore of an older copy of the grant table.
        world.root().await.batch("lose a row", &format!("DELETE FROM apono.\"grant\" WHERE id = '{}'", write.id)).await.unwrap();
        let session = world.session(&her).await;
        let notes = world.target.mend().await.unwrap();
        assert!(notes.iter().any(|one| one.note.contains(&her.login)), "{notes:?}");
        assert!(session.batch("go on", "SELECT 1").await.is_err());
        assert!(world.psql(&her, "SELECT * FROM shop.orders").ok);
        assert!(!world.psql(&her, "DELETE FROM shop.orders").ok);

        world.target.end(&warrant(&read, EndReason::Revoked), &step(Change::CloseDoor)).await.unwrap();
        world.target.mend().await.unwrap();
        assert!(!world.psql(&her, "SELECT 1").ok, "an end that stopped after the door is completed");
    }
}

on_every_server! {
    async fn a_marked_login_that_is_not_on_record_is_blocked(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        world.root().await.batch("lose all rows", "DELETE FROM apono.\"grant\"; DELETE FROM apono.login").await.unwrap();
        world.target.mend().await.unwrap();
        assert!(!world.psql(&her, "SELECT 1").ok);
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_auth_members WHERE member = '{}'::regrole", her.login)).await, "0");
        let again = world.grant(&grant.principal, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&again).await;
        assert!(world.psql(&her, "SELECT * FROM shop.orders").ok, "our own mark is taken up again");
    }
}

#[cfg(test)]
mod a_definer_function_left_on_a_shared_role {
    use super::*;
    use crate::support::cluster::{Cluster, Version};

    /// Only servers before 16 let a member act as the shared role.
    #[tokio::test(flavor = "multi_thread")]
    async fn loses_the_power_of_that_role_when_mended() {
        let world = World::new(Cluster::shared(Version::Pg15)).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::Admin);
        let her = world.open(&grant).await;
        let role = world
            .ask(&format!(
                "SELECT access_role FROM apono.\"grant\" WHERE id = '{}'",
                grant.id
            ))
            .await;
        let planted = format!(
            "SET ROLE {role}; CREATE FUNCTION shop.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM shop.orders'"
        );
        assert!(world.psql(&her, &planted).ok);
        world.end(&grant).await;
        world.target.mend().await.unwrap();
        let owner = world
            .ask("SELECT proowner::regrole FROM pg_proc WHERE proname = 'peek'")
            .await;
        assert!(owner.starts_with("leftovers_"), "{owner}");
    }
}

on_every_server! {
    async fn fifty_ends_at_once_are_all_done_and_soon(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let mut opened = Vec::new();
        for _ in 0..50 {
            let grant = world.grant(&person("crowd"), world.schema("shop"), Permission::ReadOnly);
            let her = world.open(&grant).await;
            let session = world.session(&her).await;
            opened.push((grant, her, session));
        }
        world.target.hold(true).await;
        let begun = Instant::now();
        let target = &world.target;
        let ends = opened.iter().map(|(grant, _, _)| async move {
            end(target, &warrant(grant, EndReason::Revoked)).await.unwrap();
            begun.elapsed()
        });
        let took = futures_util::future::join_all(ends).await;
        let worst = took.iter().max().unwrap();
        assert_eq!(world.ask("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'crowd%apono' AND datname = current_database()").await, "0");
        assert_eq!(world.ask("SELECT count(*) FROM apono.\"grant\" WHERE closed_at IS NULL").await, "0");
        // The aim is 1 s; this machine may be busy with other tests.
        assert!(*worst < Duration::from_secs(4), "{worst:?}");
        eprintln!("worst of 50 ends: {worst:?}");
        world.target.hold(false).await;
    }
}

on_every_server! {
    async fn when_every_connection_is_taken_the_held_one_ends_access(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        world.target.hold(true).await;
        // The connector's user may not open another connection, as if the server were full.
        world.root().await.batch("close the way", &format!("ALTER ROLE {} CONNECTION LIMIT 0", world.user)).await.unwrap();
        world.root().await.batch("lose idle connections", &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}' AND pid <> (SELECT pid FROM pg_stat_activity WHERE usename = '{0}' ORDER BY backend_start DESC LIMIT 1)", world.user)).await.unwrap();
        world.end(&grant).await;
        assert!(!world.psql(&her, "SELECT 1").ok);
        assert_eq!(login_of(&grant.principal), her.login);
    }
}
