//! Code a person plants in the database never runs with more power than she had.

use super::world::{World, person};
use crate::support::cluster::{fresh, on_every_server};
use apono_connector::domain::Permission;
use apono_connector::targets::Target;
use std::time::{Duration, Instant};

/// Whatever runs `hers.note` leaves the name of the role it ran as. Each thing below runs it when it is used.
const PLANTED: &str = "
    CREATE SCHEMA hers; CREATE TABLE hers.witness (who text, way text); GRANT USAGE ON SCHEMA hers TO PUBLIC; GRANT INSERT ON hers.witness TO PUBLIC;
    CREATE FUNCTION hers.note(way text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO hers.witness VALUES (current_user, way); RETURN 1; END $$;
    CREATE FUNCTION hers.quiet(way text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN hers.note(way); END $$;
    CREATE FUNCTION hers.fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM hers.note('trigger'); RETURN NEW; END $$;
    CREATE FUNCTION hers.definer() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN hers.note('definer'); END $$;
    CREATE FUNCTION hers.steal() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM shop.orders';
    CREATE TABLE hers.t (id int DEFAULT hers.note('default'), note text);
    INSERT INTO hers.t (note) VALUES ('x'), ('y');
    CREATE INDEX ON hers.t (hers.quiet('index ' || note)); CREATE STATISTICS hers.s ON note, id FROM hers.t;
    CREATE TRIGGER fire AFTER INSERT OR UPDATE OR DELETE ON hers.t FOR EACH ROW EXECUTE FUNCTION hers.fired();
    CREATE POLICY seen ON hers.t USING (hers.note('policy') = 1); ALTER TABLE hers.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE MATERIALIZED VIEW hers.kept AS SELECT hers.note('view') AS n;
    CREATE FUNCTION shop.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT hers.note('lower')::text $$;
    CREATE FUNCTION shop.same(name, text) RETURNS boolean LANGUAGE sql AS $$ SELECT hers.note('operator') = 1 $$;
    CREATE OPERATOR shop.= (LEFTARG = name, RIGHTARG = text, FUNCTION = shop.same);
    CREATE FUNCTION shop.count(text) RETURNS bigint LANGUAGE sql AS $$ SELECT hers.note('count')::bigint $$;
    ALTER ROLE CURRENT_USER SET search_path = shop, hers, pg_catalog;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; GRANT ALL ON hers.t TO PUBLIC";

on_every_server! {
    async fn planted_code_runs_as_nobody_but_her_and_the_powerless_owner(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("mallory"), world.whole(), Permission::Admin);
        let her = world.open(&grant).await;
        let bob = world.open(&world.grant(&person("bob"), world.schema("shop"), Permission::ReadOnly)).await;
        world.session(&her).await.batch("plant", PLANTED).await.unwrap();
        let by_her = world.ask("SELECT string_agg(DISTINCT who, ' ') FROM hers.witness").await;
        assert_eq!(by_her, her.login, "what she plants runs");
        // All that the connector does: mending, another start over the same things, the end, clean-up.
        world.target.mend().await.unwrap();
        let carol = world.grant(&person("carol"), world.whole(), Permission::Admin);
        world.open(&carol).await;
        world.end(&grant).await;
        let begun = Instant::now();
        while world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", her.login)).await != "0" {
            assert!(begun.elapsed() < Duration::from_secs(20), "she is never cleaned up");
            world.target.clean_up().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.target.mend().await.unwrap();
        world.end(&carol).await;
        assert_eq!(world.ask("SELECT string_agg(DISTINCT who, ' ') FROM hers.witness").await, her.login, "nothing of ours ran it");

        // Afterwards: the maintenance of an administrator, and another person who falls for it.
        let root = world.root().await;
        for sql in ["ANALYZE hers.t", "REINDEX TABLE hers.t", "VACUUM FULL hers.t", "CLUSTER hers.t USING t_quiet_idx", "REFRESH MATERIALIZED VIEW hers.kept"] {
            // Some of it fails, because the owner has no power; what matters is as whom it ran.
            let _may_fail = root.batch("maintain", sql).await;
        }
        assert!(world.psql(&bob, "SELECT hers.definer()").ok);
        let stolen = world.psql(&bob, "SELECT hers.steal()");
        assert!(!stolen.ok && stolen.err.contains(" 42501: "), "her definer function lost her rights: {stolen:?}");
        let who = world.ask("SELECT string_agg(DISTINCT who, ' ' ORDER BY who) FROM hers.witness").await;
        let strangers: Vec<_> = who.split(' ').filter(|who| *who != her.login && !who.starts_with("leftovers_")).collect();
        assert!(strangers.is_empty(), "{strangers:?}");
        let ways = "SELECT string_agg(DISTINCT way, ' ' ORDER BY way) FROM hers.witness WHERE who LIKE 'leftovers%'";
        let ways = world.ask(ways).await;
        assert!(ways.contains("definer") && ways.contains("index"), "what she planted still runs, powerless: {ways}");
        let power = "SELECT bool_or(rolsuper OR rolcanlogin OR rolcreaterole OR EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid)
            OR has_table_privilege(r.oid, 'shop.orders', 'SELECT') OR has_schema_privilege(r.oid, 'shop', 'CREATE')
            OR has_database_privilege(r.oid, current_database(), 'CREATE')) FROM pg_roles r WHERE rolname LIKE 'leftovers%apono'";
        assert_eq!(world.ask(power).await, "f");
    }
}

on_every_server! {
    async fn a_role_of_ours_that_somebody_lent_is_taken_back_when_mended(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        let (thief, maker) = (fresh("thief"), fresh("maker"));
        let root = world.root().await;
        let shared = world.ask(&format!("SELECT access_role FROM apono.\"grant\" WHERE id = '{}'", grant.id)).await;
        root.batch("make a thief", &format!("CREATE ROLE {thief} LOGIN PASSWORD 'x'; CREATE ROLE {maker} CREATEROLE; SET ROLE {maker}")).await.unwrap();
        let lent = root.batch("lend", &format!("GRANT {}, {shared} TO {thief}", her.login)).await;
        if root.server().major() >= 16 {
            assert_eq!(lent.unwrap_err().sqlstate(), Some("42501"));
            return;
        }
        lent.unwrap();
        let steal = || cluster.psql(&thief, "x", &world.database, "SELECT * FROM shop.orders").ok;
        assert!(steal());
        let notes = world.target.mend().await.unwrap();
        assert_eq!(notes.iter().filter(|one| one.note.contains(&thief)).count(), 2, "{notes:?}");
        assert!(!steal());
        assert!(world.psql(&her, "SELECT * FROM shop.orders").ok, "hers is not taken");
        assert!(world.target.mend().await.unwrap().iter().all(|one| !one.note.contains("took")));
    }
}
