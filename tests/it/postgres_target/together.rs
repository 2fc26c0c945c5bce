//! Ending many grants at once: the same end as one by one, and nobody's trouble is anybody else's.

use super::world::{Opened, World, person, warrant};
use crate::support::cluster::on_every_server;
use apono_connector::domain::{EndReason, Grant, GrantId, Permission};
use apono_connector::policy::EndWarrant;
use apono_connector::targets::Target;
use std::collections::BTreeSet;
use std::time::Duration;

async fn readers(world: &World, count: usize) -> Vec<(Grant, Opened)> {
    let mut opened = Vec::new();
    for _ in 0..count {
        let who = person("crowd");
        let grant = world.grant(&who, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        opened.push((grant, her));
    }
    opened
}

fn revoked<'a>(grants: impl IntoIterator<Item = &'a Grant>) -> Vec<EndWarrant> {
    grants
        .into_iter()
        .map(|grant| warrant(grant, EndReason::Revoked))
        .collect()
}

async fn ended(world: &World, warrants: &[EndWarrant]) -> BTreeSet<GrantId> {
    let ended = world.target.end_together(warrants).await.unwrap();
    ended.iter().map(|end| end.grant).collect()
}

async fn closed(world: &World, grant: &Grant) -> bool {
    let sql = format!(
        "SELECT closed_at IS NOT NULL FROM apono.\"grant\" WHERE id = '{}'",
        grant.id
    );
    world.ask(&sql).await == "t"
}

on_every_server! {
    async fn many_grants_end_in_one_go_with_their_sessions(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let people = readers(&world, 5).await;
        let mut sessions = Vec::new();
        for (_, her) in &people {
            sessions.push(world.session(her).await);
        }
        let warrants = revoked(people.iter().map(|(grant, _)| grant));
        let ended = world.target.end_together(&warrants).await.unwrap();
        assert_eq!(ended.len(), 5);
        for end in &ended {
            assert_eq!((end.sessions, end.reason), (1, EndReason::Revoked));
        }
        for (session, (grant, her)) in sessions.iter().zip(&people) {
            assert!(session.batch("still there", "SELECT 1").await.is_err());
            assert!(!world.psql(her, "SELECT 1").ok);
            assert!(closed(&world, grant).await);
        }
        let left = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles l ON l.oid = m.member WHERE l.rolname LIKE 'crowd%apono' \
                    AND l.rolname IN (SELECT login FROM apono.\"grant\")";
        assert_eq!(world.ask(left).await, "0");
        // Once more changes nothing, and one by one neither.
        assert!(world.target.end_together(&warrants).await.unwrap().is_empty());
        world.end(&people[0].0).await;
    }
}

on_every_server! {
    async fn a_grant_that_lives_on_keeps_what_it_needs_when_others_end_together(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let people = readers(&world, 2).await;
        let who = &people[0].0.principal;
        let more = world.grant(who, world.schema("shop"), Permission::ReadOnly);
        world.open_more(&more).await;
        let writes = world.grant(who, world.schema("shop"), Permission::ReadWrite);
        world.open_more(&writes).await;
        let session = world.session(&people[0].1).await;
        let all = revoked([&people[0].0, &writes, &people[1].0]);
        assert_eq!(ended(&world, &all).await.len(), 3);
        // A session may hold what was taken away, so it goes also where another grant lives on.
        assert!(session.batch("still there", "SELECT 1").await.is_err());
        assert!(world.psql(&people[0].1, "SELECT note FROM shop.orders").ok);
        assert!(!world.psql(&people[0].1, "INSERT INTO shop.orders (note) VALUES ('x')").ok);
        assert_eq!(ended(&world, &revoked([&more, &people[1].0])).await, BTreeSet::from([more.id]));
        assert!(!world.psql(&people[0].1, "SELECT 1").ok);
    }
}

on_every_server! {
    async fn two_grants_of_one_person_that_end_together_leave_no_membership(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let people = readers(&world, 1).await;
        let more = world.grant(&people[0].0.principal, world.schema("shop"), Permission::ReadOnly);
        world.open_more(&more).await;
        assert_eq!(ended(&world, &revoked([&people[0].0, &more])).await.len(), 2);
        let sql = format!("SELECT count(*) FROM pg_auth_members WHERE member = '{}'::regrole", people[0].1.login);
        assert_eq!(world.ask(&sql).await, "0");
    }
}

on_every_server! {
    async fn what_is_in_the_way_of_one_end_holds_up_no_other(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let people = readers(&world, 4).await;
        let [extended, unmarked, locked, plain] = [0, 1, 2, 3].map(|n| &people[n]);
        let root = world.root().await;
        root.batch("take the mark", &format!("COMMENT ON ROLE {} IS NULL", unmarked.1.login)).await.unwrap();
        root.batch("hold a lock", &format!("BEGIN; SELECT FROM apono.login WHERE name = '{}' FOR UPDATE", locked.1.login)).await.unwrap();
        let unknown = world.grant(&person("nobody"), world.schema("shop"), Permission::ReadOnly);
        let mut all = revoked([&unmarked.0, &locked.0, &plain.0, &unknown]);
        // The time on record is not over, so an end by expiry leaves it alone.
        all.push(warrant(&extended.0, EndReason::Expired));
        assert_eq!(ended(&world, &all).await, BTreeSet::from([plain.0.id]));
        assert!(world.psql(&extended.1, "SELECT 1").ok);
        assert!(world.psql(&locked.1, "SELECT 1").ok);
        root.batch("let go", "COMMIT").await.unwrap();
        world.end(&locked.0).await;
        world.end(&unknown).await;
        assert!(!world.psql(&locked.1, "SELECT 1").ok);
    }
}

on_every_server! {
    async fn a_person_who_locks_her_own_role_holds_up_no_other_end(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let people = readers(&world, 3).await;
        let fighter = world.session(&people[0].1).await;
        let lock = format!("BEGIN; ALTER ROLE {} SET work_mem = '5MB'", people[0].1.login);
        fighter.batch("lock her own role", &lock).await.unwrap();
        let begun = std::time::Instant::now();
        let all = revoked(people.iter().map(|(grant, _)| grant));
        let together = world.target.end_together(&all).await;
        // Whatever could not be done together is done alone.
        let done: BTreeSet<_> = together.map(|ends| ends.iter().map(|end| end.grant).collect()).unwrap_or_default();
        for (grant, her) in &people {
            if !done.contains(&grant.id) {
                world.end(grant).await;
            }
            assert!(!world.psql(her, "SELECT 1").ok);
            assert!(closed(&world, grant).await);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
