//! People and servers that do not behave.

use super::world::{
    Opened, World, apply, end, integration, login_of, now, permit, person, step, target, unseal,
    warrant,
};
use crate::support::cluster::{fresh, on_every_server};
use apono_connector::domain::{
    Change, CredentialChange, EndReason, ErrorClass, GrantId, Permission, ResourceKind, ResourceRef,
};
use apono_connector::pg::Session;
use apono_connector::targets::Target;
use std::time::{Duration, Instant};

on_every_server! {
    async fn a_person_who_locks_her_own_role_cannot_delay_her_end(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        let fight = world.session(&her).await;
        fight.batch("hold on", "BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'; CREATE TEMP TABLE t (id int); SELECT lo_create(0)").await.unwrap();
        let other = world.session(&her).await;
        other.batch("hold on", "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; SELECT pg_advisory_lock(1)").await.unwrap();
        let begun = Instant::now();
        let ended = world.end(&grant).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(ended[1].sessions, Some((2, 0)));
        assert!(fight.batch("go on", "COMMIT").await.is_err());
        assert!(!world.psql(&her, "SELECT 1").ok);
        let open = world.ask(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'", her.login)).await;
        assert_eq!(open, "f");
    }
}

on_every_server! {
    async fn a_person_who_takes_all_her_connections_and_reconnects_is_ended(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        let mut taken = Vec::new();
        while let Ok(session) = Session::connect(&cluster.options(&her.login, &her.password, &world.database)).await {
            taken.push(session);
        }
        assert_eq!(taken.len(), 10, "a login has a limit");
        let options = cluster.options(&her.login, &her.password, &world.database);
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let reconnecting = async {
            let mut last = 0;
            while !*stopped.borrow_and_update() {
                if let Ok(session) = Session::connect(&options).await {
                    last += usize::from(session.batch("read", "SELECT count(*) FROM shop.orders").await.is_ok());
                }
            }
            last
        };
        let ending = async {
            let ended = world.end(&grant).await;
            stop.send(true).unwrap();
            ended
        };
        let (_, ended) = tokio::join!(reconnecting, ending);
        assert_eq!(ended[2].sessions.map(|seen| seen.1), Some(0));
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", her.login)).await, "0");
        assert!(!world.psql(&her, "SELECT 1").ok);
    }
}

on_every_server! {
    async fn past_its_deadline_a_start_has_no_effect(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let mut order = world.order(&grant);
        order.lease_deadline = now() + Duration::from_secs(2);
        let permit = world.permit(&order);
        let plan = world.target.plan_start(&permit, &order).await.unwrap();
        world.target.apply(&permit, &order, &plan.steps[0]).await.unwrap();
        let past = order.lease_deadline;
        while now() <= past {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let error = world.target.apply(&permit, &order, &plan.steps[1]).await.unwrap_err();
        assert_eq!(error.failure().reason, "lease_over");
        assert_eq!(error.class(), ErrorClass::Bug);
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", login_of(&alice))).await, "0");
        assert!(world.target.recorded().await.unwrap().is_empty());
    }
}

on_every_server! {
    async fn a_login_that_is_not_ours_is_refused_and_left_as_it_was(cluster: &Cluster) {
        let world = World::new(cluster).await;
        for comment in [None, Some("made by hand"), Some("apono v1 connector=c-other kind=login key=0123456789abcdef")] {
            let alice = person("alice");
            let login = login_of(&alice);
            let root = world.root().await;
            root.batch("make a login", &format!("CREATE ROLE {login} LOGIN PASSWORD 'hers'")).await.unwrap();
            if let Some(comment) = comment {
                root.batch("mark it", &format!("COMMENT ON ROLE {login} IS '{comment}'")).await.unwrap();
            }
            let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
            let error = world.run(&world.target, &world.order(&grant)).await.unwrap_err();
            assert_eq!(error.failure().reason, "login_not_ours");
            assert!(error.failure().hint.is_some());
            // Its end must not touch it either.
            let session = Session::connect(&cluster.options(&login, "hers", &world.database)).await.unwrap();
            world.end(&grant).await;
            session.batch("go on", "SELECT 1").await.unwrap();
            assert_eq!(world.ask(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{login}'")).await, "t");
        }
    }
}

on_every_server! {
    async fn a_mark_on_a_role_with_power_does_not_count(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        world.end(&grant).await;
        world.root().await.batch("give it power", &format!("ALTER ROLE {} CREATEDB", her.login)).await.unwrap();
        let again = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let error = world.run(&world.target, &world.order(&again)).await.unwrap_err();
        assert_eq!(error.failure().reason, "login_not_ours");
    }
}

on_every_server! {
    async fn two_people_and_two_connectors_with_one_local_part_get_logins_of_their_own(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let local = alice.as_str().split('@').next().unwrap();
        let namesake = apono_connector::domain::Principal::parse(&format!("{local}@other.example")).unwrap();
        let first = world.open(&world.grant(&alice, world.schema("shop"), Permission::ReadOnly)).await;
        let second = world.open(&world.grant(&namesake, world.schema("shop"), Permission::ReadOnly)).await;
        assert_ne!(first.login, second.login);
        let neighbour = world.another("c-2");
        let order = world.order(&world.grant(&alice, world.schema("shop"), Permission::ReadOnly));
        let third = world.opened(&world.run(&neighbour, &order).await.unwrap());
        assert!(![&first.login, &second.login].contains(&&third.login));
        for one in [&first, &second, &third] {
            assert!(world.psql(one, "SELECT * FROM shop.orders").ok);
        }
        let error = end(&world.target, &warrant(&order.grant, EndReason::Revoked)).await.unwrap_err();
        assert_eq!(error.failure().reason, "grant_not_ours");
    }
}

on_every_server! {
    async fn what_a_stranger_owns_is_named_with_the_statement_to_run(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let root = world.root().await;
        root.batch("a stranger's table", &format!("CREATE TABLE shop.theirs (id int); ALTER TABLE shop.theirs OWNER TO {0}; GRANT USAGE ON SCHEMA shop TO {0}", world.stranger)).await.unwrap();
        let alice = person("alice");
        let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&grant);
        let error = world.run(&world.target, &order).await.unwrap_err();
        assert_eq!(error.failure().reason, "object_owner_not_ours");
        assert_eq!(error.class(), ErrorClass::NeedsOperator);
        assert!(error.failure().message.contains(&world.stranger));
        let hint = error.failure().hint.clone().unwrap();
        let statement = hint.lines().next().unwrap();
        assert!(statement.starts_with("GRANT SELECT ON TABLE \"shop\".\"theirs\" TO \"a_"), "{statement}");
        root.batch("do as told", &format!("SET ROLE {}; {statement}", world.stranger)).await.unwrap();
        let her = world.opened(&world.run(&world.target, &order).await.unwrap());
        assert!(world.psql(&her, "SELECT * FROM shop.theirs").ok);
    }
}

on_every_server! {
    async fn hostile_names_are_data(cluster: &Cluster) {
        let world = World::new(cluster).await;
        for name in ["a\"b;--", "it's", "back\\slash", "$$; DROP TABLE shop.orders; $$", "new\nline", "😀", "select", "Upper", "-c x", "%I", &"x".repeat(63)] {
            let quoted = name.replace('"', "\"\"");
            world.as_owner(&format!("CREATE SCHEMA \"{quoted}\"; CREATE TABLE \"{quoted}\".\"{quoted}\" (id serial); CREATE VIEW \"{quoted}\".v AS SELECT 1")).await;
            let alice = person("alice");
            let grant = world.grant(&alice, world.table(name, name), Permission::ReadWrite);
            let her = world.open(&grant).await;
            let session = world.session(&her).await;
            session.batch("write", &format!("INSERT INTO \"{quoted}\".\"{quoted}\" DEFAULT VALUES")).await.unwrap();
            assert_eq!(session.batch("read", &format!("SELECT * FROM \"{quoted}\".v")).await.unwrap_err().sqlstate(), Some("42501"));
            world.end(&grant).await;
            let grant = world.grant(&alice, world.schema(name), Permission::Admin);
            world.open(&grant).await;
            world.end(&grant).await;
        }
        assert_eq!(world.ask("SELECT count(*) FROM shop.orders").await, "1");
    }
}

on_every_server! {
    async fn what_does_not_exist_is_not_found_and_leaves_no_login(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let gone = ResourceRef::new(ResourceKind::PostgresDatabase, vec![fresh("nodb")]).unwrap();
        let role = ResourceRef::new(ResourceKind::PostgresRole, vec![fresh("norole")]).unwrap();
        for (on, level, reason) in [
            (world.schema("missing"), Permission::ReadOnly, "resource_not_found"),
            (world.table("shop", "missing"), Permission::ReadOnly, "resource_not_found"),
            (gone, Permission::ReadOnly, "no_such_database"),
            (role, Permission::Member, "resource_not_found"),
        ] {
            let alice = person("alice");
            let error = world.run(&world.target, &world.order(&world.grant(&alice, on, level))).await.unwrap_err();
            assert_eq!((error.class(), error.failure().reason), (ErrorClass::NotFound, reason));
            assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", login_of(&alice))).await, "0");
        }
        for on in [world.schema("apono"), world.schema("pg_catalog"), world.table("apono", "login"), world.schema("information_schema")] {
            let error = world.run(&world.target, &world.order(&world.grant(&person("alice"), on, Permission::ReadOnly))).await.unwrap_err();
            assert_eq!(error.failure().reason, "resource_not_grantable");
        }
    }
}

on_every_server! {
    async fn a_database_dropped_between_plan_and_act_is_not_found(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let database = cluster.fresh_database(&world.owner).await;
        let on = ResourceRef::new(ResourceKind::PostgresDatabase, vec![database.clone()]).unwrap();
        let order = world.order(&world.grant(&person("alice"), on, Permission::ReadOnly));
        let permit = world.permit(&order);
        let plan = world.target.plan_start(&permit, &order).await.unwrap();
        cluster.superuser("postgres").await.batch("drop it", &format!("DROP DATABASE {database} WITH (FORCE)")).await.unwrap();
        let error = apply(&world.target, &permit, &order, &plan).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::NotFound);
        end(&world.target, &warrant(&order.grant, EndReason::StartFailed)).await.unwrap();
    }
}

on_every_server! {
    async fn two_starts_of_one_login_at_once_both_happen_once(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let second = world.another("c-1");
        let alice = person("alice");
        let orders = [Permission::ReadOnly, Permission::ReadWrite].map(|level| world.order(&world.grant(&alice, world.schema("shop"), level)));
        let run = async |target: &_, order| {
            for _ in 0..10 {
                match world.run(target, order).await {
                    Err(error) if error.class() == ErrorClass::Conflict => {}
                    result => return result.unwrap(),
                }
            }
            panic!("ten conflicts in a row");
        };
        let (a, b) = tokio::join!(run(&world.target, &orders[0]), run(&second, &orders[1]));
        let news = a.iter().chain(&b).filter(|one| matches!(one.credential, Some(CredentialChange::New(_)))).count();
        assert_eq!(news, 1, "exactly one of them sets the password");
        assert_eq!(world.target.recorded().await.unwrap().len(), 2);
        assert_eq!(world.ask(&format!("SELECT count(DISTINCT roleid) FROM pg_auth_members m JOIN pg_roles l ON l.oid = m.member WHERE l.rolname = '{}'", login_of(&alice))).await, "2");
    }
}

on_every_server! {
    async fn a_later_delivery_gets_a_new_password_and_an_earlier_one_is_refused(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let mut order = world.order(&grant);
        let first = world.open(&grant).await;
        order.attempt = 2;
        let second = world.opened(&world.run(&world.target, &order).await.unwrap());
        assert_ne!(first.password, second.password);
        assert!(!world.psql(&first, "SELECT 1").ok);
        assert!(world.psql(&second, "SELECT 1").ok);
        order.attempt = 1;
        let error = world.run(&world.target, &order).await.unwrap_err();
        assert_eq!(error.failure().reason, "stale_attempt");
    }
}

on_every_server! {
    async fn no_password_is_in_the_servers_log_or_statistics(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&grant);
        let applied = world.run(&world.target, &order).await.unwrap();
        let her = world.opened(&applied);
        let permit = world.permit(&order);
        let plan = world.target.plan_reset(&permit, &order).await.unwrap();
        let reset = world.opened(&apply(&world.target, &permit, &order, &plan).await.unwrap());
        let root = world.root().await;
        root.batch("count statements", "CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public").await.unwrap();
        let statements = root.batch("read statements", "SELECT query FROM public.pg_stat_statements").await.unwrap();
        let seen = format!("{}{:?}{applied:?}", cluster.log(), statements.rows);
        assert!(seen.contains(&her.login), "the log is read");
        for password in [her.password, reset.password] {
            assert_eq!(password.len(), 32);
            assert!(!seen.contains(&password));
        }
    }
}

on_every_server! {
    async fn a_recipient_that_cannot_be_sealed_to_stops_everything_before_it_begins(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let mut order = world.order(&world.grant(&alice, world.schema("shop"), Permission::ReadOnly));
        order.recipient = "ssh-rsa AAAA".to_owned();
        let error = world.run(&world.target, &order).await.unwrap_err();
        assert_eq!(error.failure().reason, "recipient_unusable");
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", login_of(&alice))).await, "0");
    }
}

on_every_server! {
    async fn a_reset_without_a_live_grant_is_refused(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&grant);
        let permit = world.permit(&order);
        let error = world.target.plan_reset(&permit, &order).await.unwrap_err();
        assert_eq!(error.failure().reason, "grant_unknown");
        world.open(&grant).await;
        let plan = world.target.plan_reset(&permit, &order).await.unwrap();
        world.end(&grant).await;
        let error = apply(&world.target, &permit, &order, &plan).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Conflict);
        assert_eq!(world.target.plan_reset(&permit, &order).await.unwrap_err().failure().reason, "grant_ended");
    }
}

on_every_server! {
    async fn a_permit_for_other_settings_is_refused(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let order = world.order(&world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly));
        let mut elsewhere = world.integration.clone();
        elsewhere.settings.insert("hostname".to_owned(), "127.0.0.1".to_owned());
        let permit = permit(&elsewhere, &order.grant, Some(order.lease_deadline));
        let error = world.target.plan_start(&permit, &order).await.unwrap_err();
        assert_eq!((error.class(), error.failure().reason), (ErrorClass::Conflict, "settings_changed"));
    }
}

on_every_server! {
    async fn the_credential_says_where_to_connect(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let order = world.order(&world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly));
        let applied = world.run(&world.target, &order).await.unwrap();
        let Some(CredentialChange::New(sealed)) = applied.iter().find_map(|a| a.credential.clone()) else { panic!("no password") };
        let body = unseal(&world.identity, &sealed);
        assert_eq!(body["host"], "localhost");
        assert_eq!(body["port"], cluster.port);
        assert_eq!(body["database"], world.database.as_str());
        assert_eq!(body["sslmode"], "verify-full");
        assert_eq!(body["expiry"], order.grant.expiry.to_string());
    }
}

on_every_server! {
    async fn a_wrong_step_is_refused(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let order = world.order(&grant);
        let permit = world.permit(&order);
        assert_eq!(world.target.apply(&permit, &order, &step(Change::CloseDoor)).await.unwrap_err().failure().reason, "step_unknown");
        assert_eq!(world.target.end(&warrant(&grant, EndReason::Revoked), &step(Change::Verify)).await.unwrap_err().failure().reason, "step_unknown");
        assert_eq!(GrantId::parse(&grant.id.to_string()), Ok(grant.id));
    }
}

on_every_server! {
    async fn a_membership_someone_else_gave_is_named_and_the_door_is_shut_all_the_same(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let alice = person("alice");
        let read = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        let write = world.grant(&alice, world.schema("shop"), Permission::ReadWrite);
        let her = world.open(&read).await;
        world.open_more(&write).await;
        let root = world.root().await;
        let role = world.ask(&format!("SELECT access_role FROM apono.\"grant\" WHERE id = '{}'", write.id)).await;
        root.batch("give it again", &format!("GRANT {role} TO {}", her.login)).await.unwrap();
        let ended = end(&world.target, &warrant(&write, EndReason::Revoked)).await;
        if root.server().major() >= 16 {
            let error = ended.unwrap_err();
            assert_eq!(error.failure().reason, "membership_not_ours");
            let hint = error.failure().hint.clone().unwrap();
            assert!(hint.contains("GRANTED BY \"postgres\";"), "{hint}");
            let row = world.target.recorded().await.unwrap().into_iter().find(|row| row.grant.id == write.id).unwrap();
            assert!(row.ended.is_some() && !row.closed);
        } else {
            ended.unwrap();
        }
        world.end(&read).await;
        world.end(&write).await;
        assert!(!world.psql(&her, "SELECT 1").ok);
    }
}

on_every_server! {
    async fn a_reset_counts_its_own_deliveries(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let mut order = world.order(&grant);
        order.attempt = 3;
        world.run(&world.target, &order).await.unwrap();
        order.attempt = 1;
        let permit = world.permit(&order);
        let plan = world.target.plan_reset(&permit, &order).await.unwrap();
        let her = world.opened(&apply(&world.target, &permit, &order, &plan).await.unwrap());
        assert!(world.psql(&her, "SELECT * FROM shop.orders").ok);
    }
}

on_every_server! {
    async fn what_the_connector_lacks_is_said_with_the_statement(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let closed = cluster.fresh_database("postgres").await;
        let there = integration(cluster, &closed, &world.admin);
        let closed_target = target("c-1", &there, &world.user);
        let error = closed_target.check().await.unwrap_err();
        assert_eq!(error.failure().reason, "schema_right_missing", "{error}");
        let hint = error.failure().hint.clone().unwrap();
        cluster.superuser(&closed).await.batch("do as told", &hint).await.unwrap();
        let report = closed_target.check().await.unwrap();
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        let stranger = integration(cluster, &closed, &world.stranger);
        let error = target("c-1", &stranger, &world.user).check().await.unwrap_err();
        assert_eq!(error.failure().reason, "admin_role_unusable");
        assert_eq!(error.failure().hint.as_deref(), Some(format!("GRANT \"{}\" TO \"{}\";", world.stranger, world.user).as_str()));
        let missing = integration(cluster, &closed, &fresh("nobody"));
        let target = target("c-1", &missing, &world.user);
        let error = target.check().await.unwrap_err();
        assert_eq!(error.failure().reason, "admin_role_missing");
        world.root().await.batch("do as told", error.failure().hint.as_deref().unwrap()).await.unwrap();
        assert_ne!(target.check().await.unwrap_err().failure().reason, "admin_role_missing", "the next hint follows");
    }
}

on_every_server! {
    async fn a_session_that_hides_behind_its_log_in_is_found_and_ended(cluster: &Cluster) {
        let world = World::new(cluster).await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let her = world.open(&grant).await;
        let role = world.ask(&format!("SELECT access_role FROM apono.\"grant\" WHERE id = '{}'", grant.id)).await;
        // Before 16 she can act as the shared role from the first moment on, before anybody sees her.
        let acting = if world.root().await.server().major() >= 16 { String::new() } else { format!(" -c role={role}") };
        let mut hidden = cluster
            .psql_command(&her.login, &her.password, &world.database)
            .env("PGOPTIONS", format!("-c post_auth_delay=60{acting}"))
            .env("PGCONNECT_TIMEOUT", "100")
            .args(["-c", "SELECT note FROM shop.orders"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        until_hidden(&world, "1").await;
        world.end(&grant).await;
        let status = tokio::task::spawn_blocking(move || hidden.wait()).await.unwrap().unwrap();
        assert!(!status.success());
        assert!(begun.elapsed() < Duration::from_secs(40), "it ended by itself");
    }
}

on_every_server! {
    async fn who_may_end_anybody_s_session_ends_no_hidden_one_of_somebody_else(cluster: &Cluster) {
        let world = World::new(cluster).await;
        world.root().await.batch("give the right", &format!("GRANT pg_signal_backend TO {}", world.admin)).await.unwrap();
        let [hers, his] = ["alice", "bob"].map(|who| world.grant(&person(who), world.schema("shop"), Permission::ReadOnly));
        let alice = world.open(&hers).await;
        let bob = world.open(&his).await;
        let hide = |who: &Opened, seconds: u32| {
            cluster
                .psql_command(&who.login, &who.password, &world.database)
                .env("PGOPTIONS", format!("-c post_auth_delay={seconds}"))
                .env("PGCONNECT_TIMEOUT", "100")
                .args(["-c", "SELECT note FROM shop.orders"])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut hidden = [hide(&alice, 60), hide(&bob, 6)];
        let begun = Instant::now();
        until_hidden(&world, "2").await;
        world.end(&hers).await;
        let ended = tokio::task::spawn_blocking(move || hidden.each_mut().map(|session| session.wait().unwrap().success()));
        assert_eq!(ended.await.unwrap(), [false, true]);
        assert!(begun.elapsed() < Duration::from_secs(40), "it ended by itself");
    }
}

/// Waits until so many are between log-in and first appearance.
async fn until_hidden(world: &World, many: &str) {
    let waiting = "SELECT count(*) FROM pg_locks l WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass
        AND l.objid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND a.usesysid IS NOT NULL)";
    let begun = Instant::now();
    while world.ask(waiting).await != many {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody ever hid");
    }
}
