//! Start, use, overlap, extend, end.

use super::world::{World, apply, end, login_of, now, permit, person, step, warrant};
use crate::support::cluster::on_every_server;
use apono_connector::domain::{Change, CredentialChange, EndReason, Permission};
use apono_connector::pg::Session;
use apono_connector::targets::Target;
use std::time::Duration;

on_every_server! {
    async fn a_grant_lets_her_read_and_nothing_else_until_it_ends(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        assert_eq!(her.login, login_of(&alice));

        assert_eq!(world.psql(&her, "SELECT note FROM shop.orders").out, "first");
        assert_eq!(world.psql(&her, "SELECT note FROM shop.recent").out, "first");
        assert!(!world.psql(&her, "INSERT INTO shop.orders (note) VALUES ('x')").ok);
        assert!(!world.psql(&her, "SELECT * FROM other.secrets").ok);
        assert!(!world.psql(&her, "SELECT * FROM apono.login").ok);

        world.as_owner("CREATE TABLE shop.later AS SELECT 'new' AS note").await;
        assert_eq!(world.psql(&her, "SELECT note FROM shop.later").out, "new");

        let session = world.session(&her).await;
        let ended = world.end(&grant).await;
        assert_eq!(ended[1].sessions, Some((1, 0)));
        assert!(ended[0].ended_at.is_some());
        assert!(session.query("read on", "SELECT 1", &[]).await.is_err());
        let refused = Session::connect(&cluster.options(&her.login, &her.password, &world.database)).await.unwrap_err();
        assert!(matches!(refused.sqlstate(), Some("28P01" | "28000")), "{refused}");
        let recorded = world.target.recorded().await.unwrap();
        let row = recorded.iter().find(|row| row.grant.id == grant.id).unwrap();
        assert_eq!(row.ended.unwrap().1, EndReason::Revoked);
        assert!(row.closed);
        assert_eq!(row.grant.resource, grant.resource);
    }
}

on_every_server! {
    async fn the_first_of_two_overlapping_ends_keeps_the_second(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let read = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let read_again = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let write = world.grant(&alice, world.schema("shop"), Permission::ReadWrite);
        let her = world.open(&read).await;
        world.open_more(&read_again).await;
        world.open_more(&write).await;
        assert!(world.psql(&her, "INSERT INTO shop.orders (note) VALUES ('second')").ok);

        let session = world.session(&her).await;
        let acting = if session.server().major() >= 16 { "SELECT 1".to_owned() } else {
            let role = world.ask(&format!("SELECT access_role FROM apono.\"grant\" WHERE id = '{}'", write.id)).await;
            format!("SET ROLE {role}")
        };
        session.batch("keep a cursor", &format!("BEGIN; DECLARE c CURSOR FOR SELECT * FROM shop.orders; {acting}")).await.unwrap();
        world.end(&write).await;
        assert!(session.batch("read on", "FETCH ALL FROM c").await.is_err(), "the session is gone");
        assert!(!world.psql(&her, "INSERT INTO shop.orders (note) VALUES ('third')").ok);
        assert_eq!(world.psql(&her, "SELECT count(*) FROM shop.orders").out, "2");

        world.end(&read).await;
        assert!(world.psql(&her, "SELECT count(*) FROM shop.orders").ok, "one reading grant is still live");
        world.end(&read_again).await;
        assert!(!world.psql(&her, "SELECT 1").ok);
    }
}

on_every_server! {
    async fn an_extension_moves_the_end_and_an_early_expiry_ends_nothing(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let mut grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        let before = grant.clone();
        grant.expiry = now() + Duration::from_secs(7200);
        let order = world.order(&grant);
        let permit = permit(&world.integration, &grant, None);
        let plan = world.target.plan_extend(&permit, &grant).await.unwrap();
        for step in &plan.steps {
            let twice = (world.target.apply(&permit, &order, step).await.unwrap(), world.target.apply(&permit, &order, step).await.unwrap());
            assert_eq!(twice.0.login, twice.1.login);
        }
        let ended = world.target.end(&warrant(&before, EndReason::Expired), &step(Change::CloseDoor)).await.unwrap();
        assert_eq!(ended.ended_at, None);
        let until = ended.extended_until.unwrap();
        assert!(until.duration_since(grant.expiry).abs() < jiff::SignedDuration::from_millis(1));
        assert!(world.psql(&her, "SELECT note FROM shop.orders").ok);
    }
}

on_every_server! {
    async fn every_step_may_be_repeated(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&grant);
        let permit = world.permit(&order);
        let plan = world.target.plan_start(&permit, &order).await.unwrap();
        let mut applied = Vec::new();
        for step in &plan.steps {
            applied.push(world.target.apply(&permit, &order, step).await.unwrap());
            applied.push(world.target.apply(&permit, &order, step).await.unwrap());
        }
        let first = applied[2].credential.clone();
        assert!(matches!(first, Some(CredentialChange::New(_))));
        // The outcome of the first was not lost, but the target cannot know: the last password is the one that works.
        let her = world.opened(&applied[3..]);
        assert!(world.psql(&her, "SELECT 1").ok);
        let warrant = warrant(&grant, EndReason::Revoked);
        for step in &world.target.plan_end(&warrant).steps {
            let once = world.target.end(&warrant, step).await.unwrap();
            let twice = world.target.end(&warrant, step).await.unwrap();
            assert_eq!(once.ended_at, twice.ended_at);
        }
        assert!(!world.psql(&her, "SELECT 1").ok);
        let again = world.target.plan_start(&permit, &order).await.unwrap_err();
        assert_eq!(again.failure().reason, "grant_ended");
    }
}

on_every_server! {
    async fn an_end_that_comes_first_makes_the_late_start_fail(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&grant);
        let permit = world.permit(&order);
        let plan = world.target.plan_start(&permit, &order).await.unwrap();
        end(&world.target, &warrant(&grant, EndReason::Revoked)).await.unwrap();
        let error = apply(&world.target, &permit, &order, &plan).await.unwrap_err();
        assert_eq!(error.failure().reason, "grant_ended");
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", login_of(&alice))).await, "0");
    }
}
