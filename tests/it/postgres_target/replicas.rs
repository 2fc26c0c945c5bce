//! Ends on replicas: sessions go there too, and an end is open until every replica has it.

use super::world::{Opened, World, end, login_of, person, target, warrant};
use crate::support::cluster::{Cluster, Halt, on_every_server};
use crate::support::replica::Pair;
use apono_connector::domain::{EndReason, Grant, Permission};
use apono_connector::pg::Session;
use apono_connector::targets::{Target, TargetError};
use std::time::{Duration, Instant};

/// A company on the primary whose integration names the replica.
async fn world(pair: &Pair) -> World {
    let mut world = World::new(pair.primary).await;
    world.integration.settings.insert(
        "replicas".to_owned(),
        format!("localhost:{}", pair.replica.port),
    );
    world.target = target("c-1", &world.integration, &world.user);
    world
}

/// Opens a session of hers on the replica, once it has heard of her.
async fn on_replica(world: &World, pair: &Pair, her: &Opened) -> Session {
    pair.replica.caught_up_with(pair.primary).await;
    let options = pair
        .replica
        .options(&her.login, &her.password, &world.database);
    Session::connect(&options).await.unwrap()
}

/// The right to end sessions on a server that takes no change, as the documentation asks for.
async fn with_signal_right(world: &World, pair: &Pair) {
    let sql = format!("GRANT pg_signal_backend TO {}", world.admin);
    world.root().await.batch("grant", &sql).await.unwrap();
    pair.replica.caught_up_with(pair.primary).await;
}

async fn reads(session: &Session) -> bool {
    session
        .batch("read", "SELECT * FROM shop.orders")
        .await
        .is_ok()
}

/// Why nobody gets in with this credential.
async fn refused(world: &World, server: &Cluster, her: &Opened) -> Option<String> {
    let options = server.options(&her.login, &her.password, &world.database);
    let error = Session::connect(&options).await.err()?;
    error.sqlstate().map(str::to_owned)
}

async fn try_end(world: &World, grant: &Grant) -> Result<(), TargetError> {
    end(&world.target, &warrant(grant, EndReason::Revoked))
        .await
        .map(drop)
}

/// Memberships of the connector's own role in a login: beside the one the server itself gave it.
async fn own_memberships(world: &World, login: &str) -> String {
    let own = if world.root().await.server().major() < 16 {
        "true"
    } else {
        "m.grantor = m.member"
    };
    world
        .ask(&format!(
            "SELECT count(*) FROM pg_auth_members m WHERE m.roleid = '{login}'::regrole AND {own}"
        ))
        .await
}

async fn is_closed(world: &World, grant: &Grant) -> bool {
    world
        .ask(&format!(
            "SELECT closed_at IS NOT NULL FROM apono.\"grant\" WHERE id = '{}'",
            grant.id.as_uuid()
        ))
        .await
        == "t"
}

on_every_server! {
    /// A role that may `SET ROLE` or an open cursor keeps reading on a replica that has replayed the end.
    async fn an_end_ends_sessions_on_replicas_too(cluster: &Cluster) {
        let pair = Pair::shared(cluster.version).await;
        let world = world(&pair).await;
        let alice = person("alice");
        let first = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let second = world.grant(&alice, world.table("other", "secrets"), Permission::ReadOnly);
        let her = world.open(&first).await;
        world.open_more(&second).await;
        with_signal_right(&world, &pair).await;
        let session = on_replica(&world, &pair, &her).await;
        session.batch("open a cursor", "BEGIN; DECLARE c CURSOR FOR SELECT * FROM shop.orders").await.unwrap();

        let ended = world.end(&first).await;
        assert_eq!(ended.iter().filter_map(|e| e.sessions).map(|(before, _)| before).sum::<u32>(), 1);
        assert!(session.batch("read on", "FETCH ALL FROM c").await.is_err());
        let session = on_replica(&world, &pair, &her).await;
        assert!(!reads(&session).await);
        assert!(session.batch("read the rest", "SELECT * FROM other.secrets").await.is_ok());

        world.end(&second).await;
        assert!(session.batch("read the rest", "SELECT * FROM other.secrets").await.is_err());
        assert_eq!(refused(&world, pair.replica, &her).await.as_deref(), Some("28P01"));
        assert!(is_closed(&world, &second).await);
    }
}

on_every_server! {
    async fn what_mending_takes_is_not_kept_by_a_session_on_a_replica(cluster: &Cluster) {
        let pair = Pair::shared(cluster.version).await;
        let world = world(&pair).await;
        let alice = person("alice");
        let [read, write] = [Permission::ReadOnly, Permission::ReadWrite].map(|level| world.grant(&alice, world.schema("shop"), level));
        let her = world.open(&read).await;
        world.open_more(&write).await;
        with_signal_right(&world, &pair).await;
        let session = on_replica(&world, &pair, &her).await;
        world.root().await.batch("lose a row", &format!("DELETE FROM apono.\"grant\" WHERE id = '{}'", write.id)).await.unwrap();
        world.target.mend().await.unwrap();
        assert!(!reads(&session).await, "the session is ended");
        let session = on_replica(&world, &pair, &her).await;
        assert!(reads(&session).await, "the other grant lives on");

        world.root().await.batch("lose all rows", "DELETE FROM apono.\"grant\"; DELETE FROM apono.login").await.unwrap();
        world.target.mend().await.unwrap();
        assert!(!reads(&session).await, "so is one of a login that is not on record");
        assert_eq!(refused(&world, pair.replica, &her).await.as_deref(), Some("28P01"));
    }
}

on_every_server! {
    async fn an_end_stays_open_until_every_replica_has_replayed_it(cluster: &Cluster) {
        let pair = Pair::shared(cluster.version).await;
        let world = world(&pair).await;
        let grant = world.grant(&person("bob"), world.schema("shop"), Permission::ReadOnly);
        let his = world.open(&grant).await;
        let session = on_replica(&world, &pair, &his).await;
        pair.replica.pause_replay(true).await;

        let error = try_end(&world, &grant).await.unwrap_err();
        assert_eq!(error.failure().reason, "replica_behind", "{error}");
        assert!(error.to_string().contains(&format!("localhost:{}", pair.replica.port)), "{error}");
        assert_eq!(refused(&world, pair.primary, &his).await.as_deref(), Some("28P01"));
        assert!(!is_closed(&world, &grant).await);
        assert!(reads(&session).await, "the replica does not know better, which is why the end is open");

        // The right to end sessions travels with what is replayed; with a right of its own, nobody reads while the replica is behind.
        pair.replica.pause_replay(false).await;
        pair.replica.caught_up_with(pair.primary).await;
        try_end(&world, &grant).await.unwrap();
        assert!(!reads(&session).await);
        assert!(is_closed(&world, &grant).await);
        assert_eq!(own_memberships(&world, &his.login).await, "0");
        with_signal_right(&world, &pair).await;

        let grant = world.grant(&person("bob"), world.schema("shop"), Permission::ReadOnly);
        let his = world.open(&grant).await;
        let session = on_replica(&world, &pair, &his).await;
        pair.replica.pause_replay(true).await;
        let error = try_end(&world, &grant).await.unwrap_err();
        assert_eq!(error.failure().reason, "replica_behind", "{error}");
        assert!(!reads(&session).await);
        pair.replica.pause_replay(false).await;
        pair.replica.caught_up_with(pair.primary).await;
        try_end(&world, &grant).await.unwrap();
    }
}

on_every_server! {
    async fn a_replica_that_cannot_be_reached_keeps_the_end_open_and_the_login_alive(cluster: &Cluster) {
        let pair = Pair::shared(cluster.version).await;
        let world = world(&pair).await;
        let grant = world.grant(&person("carol"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        pair.replica.halt(Halt::Well);

        let error = try_end(&world, &grant).await.unwrap_err();
        assert_eq!(error.failure().reason, "replica_unreachable", "{error}");
        assert!(error.to_string().contains(&format!("localhost:{}", pair.replica.port)), "{error}");
        assert!(error.failure().hint.as_deref().unwrap().contains("`replicas`"));
        assert_ne!(error.class(), apono_connector::domain::ErrorClass::Transient, "the primary is not out of reach");
        assert_eq!(refused(&world, pair.primary, &her).await.as_deref(), Some("28P01"));
        assert!(!is_closed(&world, &grant).await);
        let warnings = world.target.check().await.unwrap().warnings;
        assert!(warnings.iter().any(|w| w.contains("cannot be reached")), "{warnings:?}");

        // Closed by hand, so that only the clean-up is in question.
        world.ask(&format!("UPDATE apono.\"grant\" SET closed_at = now() WHERE id = '{}'", grant.id.as_uuid())).await;
        let drops = || async {
            tokio::time::sleep(Duration::from_millis(1100)).await;
            world.target.clean_up().await.unwrap();
            world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", her.login)).await == "0"
        };
        assert!(!drops().await, "a session on the replica could not be ended any more");
        pair.replica.start_again();
        let begun = Instant::now();
        // Its absence is remembered for a moment, so that many ends do not wait for it.
        while try_end(&world, &grant).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the end is never closed");
        }
        while !drops().await {
            assert!(begun.elapsed() < Duration::from_secs(30), "the login is never dropped");
        }
    }
}

on_every_server! {
    async fn a_replica_that_is_not_in_the_settings_is_a_warning(cluster: &Cluster) {
        let pair = Pair::shared(cluster.version).await;
        let listed = world(&pair).await;
        pair.replica.caught_up_with(pair.primary).await;
        let warnings = listed.target.check().await.unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("GRANT pg_signal_backend TO"), "{warnings:?}");
        with_signal_right(&listed, &pair).await;
        assert_eq!(listed.target.check().await.unwrap().warnings, Vec::<String>::new());

        let unlisted = World::new(pair.primary).await;
        let warnings = unlisted.target.check().await.unwrap().warnings;
        assert!(warnings[0].contains("not in the setting `replicas`: 1;"), "{warnings:?}");
        // Who may see where it is, says so.
        unlisted.root().await.batch("grant", &format!("GRANT pg_read_all_stats TO {}", unlisted.admin)).await.unwrap();
        let warnings = unlisted.target.check().await.unwrap().warnings;
        assert!(warnings[0].contains("replica at `127.0.0.1` is not in the settings"), "{warnings:?}");
    }
}

on_every_server! {
    async fn a_server_in_recovery_is_no_place_to_end_access(cluster: &Cluster) {
        let pair = Pair::shared(cluster.version).await;
        let world = world(&pair).await;
        let dave = person("dave");
        let grant = world.grant(&dave, world.schema("shop"), Permission::ReadOnly);
        let his = world.open(&grant).await;
        pair.replica.caught_up_with(pair.primary).await;
        let mut astray = world.integration.clone();
        astray.settings.insert("port".to_owned(), pair.replica.port.to_string());
        astray.settings.remove("replicas");
        let astray = target("c-1", &astray, &world.user);
        let error = end(&astray, &warrant(&grant, EndReason::Revoked)).await.unwrap_err();
        assert_eq!(error.failure().reason, "read_only_server", "{error}");
        assert!(world.psql(&his, "SELECT * FROM shop.orders").ok);
        assert_eq!(login_of(&dave), his.login);
        assert!(!is_closed(&world, &grant).await);
        try_end(&world, &grant).await.unwrap();
    }
}
