//! The primary goes away in the middle of a start, as `kill -9` would have it.

use super::world::{World, apply, person};
use crate::support::cluster::{Halt, on_every_server};
use crate::support::replica::Pair;
use apono_connector::domain::{Change, CredentialChange, ErrorClass, Permission};
use apono_connector::targets::Target;

/// What a daemon does before it starts anything on a server it did not know.
async fn compared(world: &World) {
    assert_eq!(world.target.compare(&[]).await.unwrap(), []);
    let server = world.target.owes_comparison().unwrap();
    world.target.compared(&server).await.unwrap();
    assert_eq!(world.target.owes_comparison(), None);
}

on_every_server! {
    async fn a_start_whose_primary_is_lost_happens_once_when_it_is_back(cluster: &Cluster) {
        let pair = Pair::shared(cluster.version).await;
        let world = World::new(pair.primary).await;
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let mut order = world.order(&grant);
        let permit = world.permit(&order);

        // Between two messages: the shared role is there, the start is not.
        let plan = world.target.plan_start(&permit, &order).await.unwrap();
        let at = plan.steps.iter().position(|step| matches!(step.change, Change::StartGrant(_))).unwrap();
        for step in &plan.steps[..at] {
            world.target.apply(&permit, &order, step).await.unwrap();
        }
        pair.primary.halt(Halt::Killed);
        let error = world.target.apply(&permit, &order, &plan.steps[at]).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient, "{error}");
        let error = world.target.plan_start(&permit, &order).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient, "{error}");
        pair.primary.start_again();
        let error = world.target.plan_start(&permit, &order).await.unwrap_err();
        assert_eq!(error.failure().reason, "server_changed", "what came back may be a copy: {error}");
        compared(&world).await;
        let plan = world.target.plan_start(&permit, &order).await.unwrap();
        let applied = apply(&world.target, &permit, &order, &plan).await.unwrap();
        let her = world.opened(&applied);
        assert!(world.psql(&her, "SELECT * FROM shop.orders").ok);

        // After the commit: what was answered is there, and a second delivery makes nothing twice.
        pair.primary.halt(Halt::Killed);
        pair.primary.start_again();
        order.attempt = 2;
        let error = world.target.recorded().await.err();
        assert!(error.is_none_or(|error| error.class() == ErrorClass::Transient));
        compared(&world).await;
        let plan = world.target.plan_start(&permit, &order).await.unwrap();
        let applied = apply(&world.target, &permit, &order, &plan).await.unwrap();
        assert!(plan.steps.iter().all(|step| !matches!(step.change, Change::StartGrant(_))), "{plan:?}");
        let her = applied.iter().find_map(|a| match &a.credential {
            Some(CredentialChange::New(_)) => Some(world.opened(&applied)),
            _ => None,
        }).unwrap_or(her);
        assert!(world.psql(&her, "SELECT * FROM shop.orders").ok);
        assert_eq!(world.ask("SELECT count(*) FROM apono.\"grant\"").await, "1");
        let memberships = format!("SELECT count(*) FROM pg_auth_members WHERE member = '{}'::regrole", her.login);
        assert_eq!(world.ask(&memberships).await, "1");
        world.end(&grant).await;
        assert_eq!(world.ask(&memberships).await, "0");
    }
}
