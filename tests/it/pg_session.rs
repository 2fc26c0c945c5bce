//! A running session: what it pins, what it reports, and how it ends.

use crate::support::cluster::{Cluster, SUPERUSER_PASSWORD, Version, fresh, on_every_server};
use crate::support::logs;
use apono_connector::domain::ErrorClass;
use apono_connector::pg::{Ident, Limits, Literal, PgError, Session};
use std::time::{Duration, Instant};

const HOSTILE: [&str; 12] = [
    "a\"b",
    "a'b",
    "a\\b",
    "\\';",
    "; DROP ROLE postgres; --",
    "$$x$$",
    "two\nlines",
    "🦀 é",
    "select",
    "%s %I %L",
    " ",
    "sixty-three-bytes-of-name-sixty-three-bytes-of-name-sixty-three",
];

/// Waits until the superuser sees no server process `pid`.
async fn gone(cluster: &Cluster, pid: i32) -> bool {
    let superuser = cluster.superuser("postgres").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let left = superuser
            .query(
                "look for the process",
                "SELECT 1 FROM pg_stat_activity WHERE pid = $1",
                &[&pid],
            )
            .await
            .unwrap();
        if left.is_empty() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

on_every_server! {
    async fn settings_of_the_role_do_not_reach_a_session(cluster: &Cluster) {
        let user = fresh("person");
        cluster
            .superuser("postgres")
            .await
            .batch(
                "make a login with settings",
                &format!(
                    "CREATE ROLE {user} LOGIN PASSWORD 'good'; \
                     ALTER ROLE {user} SET search_path = evil; ALTER ROLE {user} SET statement_timeout = 0; \
                     ALTER ROLE {user} SET standard_conforming_strings = off; ALTER ROLE {user} SET DateStyle = 'German'; \
                     ALTER ROLE {user} SET default_transaction_isolation = 'serializable'"
                ),
            )
            .await
            .unwrap();
        let session = Session::connect(&cluster.options(&user, "good", "postgres")).await.unwrap();
        let answer = session
            .batch(
                "read settings",
                "SELECT name, setting FROM pg_settings WHERE name IN ('search_path', 'statement_timeout', 'lock_timeout', \
                 'idle_in_transaction_session_timeout', 'standard_conforming_strings', 'DateStyle', 'TimeZone', \
                 'default_transaction_isolation') ORDER BY name COLLATE \"C\"",
            )
            .await
            .unwrap();
        let settings: Vec<_> = answer
            .rows
            .iter()
            .map(|row| format!("{}={}", row[0].as_deref().unwrap(), row[1].as_deref().unwrap()))
            .collect();
        assert_eq!(
            settings,
            [
                "DateStyle=ISO, YMD",
                "TimeZone=UTC",
                "default_transaction_isolation=read committed",
                "idle_in_transaction_session_timeout=5000",
                "lock_timeout=5000",
                "search_path=pg_catalog, pg_temp",
                "standard_conforming_strings=on",
                "statement_timeout=30000",
            ]
        );
    }
}

on_every_server! {
    async fn hostile_names_mean_themselves(cluster: &Cluster) {
        let database = cluster.fresh_database("postgres").await;
        let session = cluster.superuser(&database).await;
        for strings in ["on", "off"] {
            session
                .batch("choose strings", &format!("SET standard_conforming_strings = {strings}; SET escape_string_warning = off"))
                .await
                .unwrap();
            for name in HOSTILE {
                let (ident, literal) = (Ident::new(name).unwrap(), Literal::new(name).unwrap());
                session
                    .batch(
                        "make a schema",
                        &format!("CREATE SCHEMA {ident}; COMMENT ON SCHEMA {ident} IS {literal}; SELECT{literal}::text"),
                    )
                    .await
                    .unwrap();
                let row = session
                    .query_opt(
                        "find the schema",
                        "SELECT nspname::text, obj_description(oid) FROM pg_namespace WHERE nspname = $1",
                        &[&name],
                    )
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(row.get::<_, &str>(0).unwrap(), name);
                assert_eq!(row.get::<_, Option<&str>>(1).unwrap(), Some(name));
                session.batch("drop the schema", &format!("DROP SCHEMA {ident}")).await.unwrap();
            }
        }
    }
}

on_every_server! {
    async fn a_row_that_is_not_as_expected_is_our_bug(cluster: &Cluster) {
        let session = cluster.superuser("postgres").await;
        let row = session
            .query_opt("read a number", "SELECT 1::int4 AS one, NULL::text AS nothing", &[])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.get::<_, i32>("one").unwrap(), 1);
        for error in [
            row.get::<_, String>("one").unwrap_err(),
            row.get::<_, String>("nothing").unwrap_err(),
            row.get::<_, i32>(7).unwrap_err(),
            session.query("count parameters", "SELECT $1::int4", &[]).await.unwrap_err(),
        ] {
            assert_eq!(error.class(), ErrorClass::Bug, "{error:?}");
        }
        assert!(!session.is_closed());
    }
}

on_every_server! {
    async fn a_failed_message_leaves_no_transaction_behind(cluster: &Cluster) {
        let session = cluster.superuser("postgres").await;
        let role = fresh("role");
        let error = session
            .batch("pass the fence", &format!("BEGIN; CREATE ROLE {role}; SELECT 1/(clock_timestamp() < '2001-01-01Z')::int; COMMIT"))
            .await
            .unwrap_err();
        assert_eq!((error.class(), error.sqlstate()), (ErrorClass::Bug, Some("22012")));
        assert_eq!(
            error.to_string(),
            format!("failed to pass the fence in database `postgres` on `localhost:{}` as `postgres`: SQLSTATE 22012", cluster.port)
        );
        let left = session.query("look for the role", "SELECT 1 FROM pg_roles WHERE rolname = $1", &[&role]).await.unwrap();
        assert!(left.is_empty());
    }
}

on_every_server! {
    async fn what_did_nothing_is_reported_as_a_warning(cluster: &Cluster) {
        let user = fresh("person");
        let database = cluster.fresh_database("postgres").await;
        cluster
            .superuser("postgres")
            .await
            .batch("make a login", &format!("CREATE ROLE {user} LOGIN PASSWORD 'good'"))
            .await
            .unwrap();
        let session = Session::connect(&cluster.options(&user, "good", &database)).await.unwrap();
        let outcome = session
            .batch("grant without the right", &format!("GRANT CONNECT ON DATABASE {database} TO {user}; SELECT 1"))
            .await
            .unwrap();
        let codes: Vec<_> = outcome.warnings.iter().map(|w| (w.code.as_str(), w.warning)).collect();
        assert_eq!(codes, [("01007", true)]);
        let quiet = session.batch("do nothing", "SELECT 1").await.unwrap();
        assert_eq!(quiet.warnings, []);
        let notice = session.batch("drop what is not there", "DROP TABLE IF EXISTS pg_temp.nothing").await.unwrap();
        assert!(notice.warnings.iter().all(|w| !w.warning) && !notice.warnings.is_empty());
    }
}

on_every_server! {
    async fn waits_end_on_the_server_first(cluster: &Cluster) {
        let limits = Limits {
            statement: Duration::from_millis(300),
            lock: Duration::from_millis(100),
            call: Duration::from_secs(20),
        };
        let options = cluster.options("postgres", SUPERUSER_PASSWORD, "postgres");
        let session = Session::connect_within(&options, limits).await.unwrap();
        let error = session.batch("sleep", "SELECT pg_sleep(10)").await.unwrap_err();
        assert_eq!((error.class(), error.sqlstate()), (ErrorClass::Transient, Some("57014")));

        let holder = cluster.superuser("postgres").await;
        holder.batch("hold a lock", "BEGIN; SELECT pg_advisory_xact_lock(4711)").await.unwrap();
        let error = session.execute("wait for the lock", "SELECT pg_advisory_xact_lock(4711)", &[]).await.unwrap_err();
        assert_eq!((error.class(), error.sqlstate()), (ErrorClass::Conflict, Some("55P03")));
        holder.roll_back().await;
        session.execute("take the lock", "SELECT pg_advisory_xact_lock(4711)", &[]).await.unwrap();
    }
}

on_every_server! {
    async fn a_session_ended_by_the_server_says_so(cluster: &Cluster) {
        let session = cluster.superuser("postgres").await;
        let pid = session.server().backend_pid;
        let other = cluster.superuser("postgres").await;
        let (during, _) = tokio::join!(session.batch("sleep", "SELECT pg_sleep(10)"), async {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%pg_sleep%'";
            while other.query("end the session", kill, &[&pid]).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let during = during.unwrap_err();
        assert_eq!((during.class(), during.sqlstate()), (ErrorClass::Transient, Some("57P01")));

        let idle = cluster.superuser("postgres").await;
        let pid = idle.server().backend_pid;
        other.execute("end the session", "SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
        assert!(gone(cluster, pid).await);
        let after = idle.batch("try again", "SELECT 1").await.unwrap_err();
        assert_eq!(after.class(), ErrorClass::Transient, "{after:?}");
        assert!(idle.is_closed());
        let again = idle.batch("try again", "SELECT 1").await.unwrap_err();
        assert!(matches!(again, PgError::Closed { .. }), "{again:?}");
        assert_eq!(again.sqlstate(), Some("57P01"));
    }
}

on_every_server! {
    async fn a_call_without_an_answer_or_a_listener_closes_the_session(cluster: &Cluster) {
        let options = cluster.options("postgres", SUPERUSER_PASSWORD, "postgres");
        let limits = Limits { call: Duration::from_millis(200), ..Limits::default() };
        let session = Session::connect_within(&options, limits).await.unwrap();
        let error = session.batch("sleep", "SELECT pg_sleep(3)").await.unwrap_err();
        assert!(matches!(error, PgError::Timeout { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Transient);
        assert!(session.is_closed());

        let session = cluster.superuser("postgres").await;
        let abandoned = tokio::time::timeout(Duration::from_millis(50), session.batch("sleep", "BEGIN; SELECT pg_sleep(1)")).await;
        assert!(abandoned.is_err());
        assert!(session.is_closed());
        assert!(gone(cluster, session.server().backend_pid).await);
    }
}

on_every_server! {
    async fn a_dropped_session_leaves_the_server(cluster: &Cluster) {
        let session = cluster.superuser("postgres").await;
        let pid = session.server().backend_pid;
        drop(session);
        assert!(gone(cluster, pid).await);
    }
}

on_every_server! {
    async fn a_person_with_psql_comes_in_the_same_way(cluster: &Cluster) {
        let user = fresh("person");
        cluster
            .superuser("postgres")
            .await
            .batch("make a login", &format!("CREATE ROLE {user} LOGIN PASSWORD 'good'"))
            .await
            .unwrap();
        let good = cluster.psql(&user, "good", "postgres", "SELECT current_user");
        assert!(good.ok, "{}", good.err);
        assert_eq!(good.out, user);
        assert!(!cluster.psql(&user, "bad", "postgres", "SELECT 1").ok);
        let bad = Session::connect(&cluster.options(&user, "bad", "postgres")).await.unwrap_err();
        assert_eq!(bad.sqlstate(), Some("28P01"), "{bad}");
        assert!(cluster.log().contains(&format!("{user}@postgres")));
    }
}

#[tokio::test]
async fn logs_name_the_note_and_never_the_statement() {
    logs::start();
    let session = Cluster::shared(Version::Pg18).superuser("postgres").await;
    session
        .batch("look around", "SELECT 'canary-good'")
        .await
        .unwrap();
    let failed = session
        .batch("look badly", "SELECT 'canary-bad' FROM nowhere")
        .await;
    assert_eq!(failed.unwrap_err().class(), ErrorClass::NotFound);
    let text = logs::so_far();
    assert!(text.contains("look around") && text.contains("look badly"));
    assert!(!text.contains("canary-"), "{text}");
    assert!(!text.contains(SUPERUSER_PASSWORD), "{text}");
}
