//! Connecting to a server: what works, and what each kind of trouble looks like.

use crate::support::certificate::Certificates;
use crate::support::cluster::{Cluster, UNNAMED_ADDRESS, Version, fresh, on_every_server};
use crate::support::fake_server;
use crate::support::relay;
use crate::support::road::{fresh_login, set_up_admin_road};
use apono_connector::domain::ErrorClass;
use apono_connector::pg::{ConnectOptions, PgError, Session, SslMode, TlsProblem};
use apono_connector::secret::Secret;
use std::error::Error;
use std::time::Instant;

/// Connects, expects to fail, and checks class, message and hint.
#[track_caller]
fn check(error: &PgError, class: ErrorClass, message: &str, hint: &str) {
    assert_eq!(
        (error.class(), error.to_string().as_str()),
        (class, message)
    );
    assert_eq!(error.hint().unwrap_or_default(), hint);
}

async fn refused(options: &ConnectOptions) -> PgError {
    Session::connect(options).await.unwrap_err()
}

on_every_server! {
    async fn the_admin_road_lets_the_connector_make_roles(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let made = fresh("made");
        let session = Session::connect(&road.connector).await.unwrap();
        assert_eq!(session.server().database, road.database);
        let outcome = session
            .batch("make a role", &format!("SET ROLE {}; CREATE ROLE {made}; SELECT current_user", road.admin))
            .await
            .unwrap();
        assert_eq!(outcome.text(), Some(road.admin.as_str()));
        assert_eq!(session.current_user().await.unwrap(), road.admin);
        let granted = session
            .batch("grant", &format!("CREATE SCHEMA apono; GRANT CONNECT ON DATABASE {} TO {made}", road.database))
            .await
            .unwrap();
        assert_eq!(granted.warnings, []);
        assert!(!road.owner.is_empty());
    }
}

on_every_server! {
    async fn a_session_knows_its_server(cluster: &Cluster) {
        let options = fresh_login(cluster, "LOGIN").await;
        let session = Session::connect(&options).await.unwrap();
        let server = session.server();
        assert!((13..=18).contains(&server.major()), "{server:?}");
        assert_eq!(server.session_user, options.user);
        assert!(!server.in_recovery);
        assert!(session.system_identifier().await.unwrap().is_some());
        let seen = cluster
            .superuser("postgres")
            .await
            .query_opt(
                "look at the session",
                "SELECT a.application_name, s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE pid = $1",
                &[&server.backend_pid],
            )
            .await
            .unwrap()
            .unwrap();
        assert_eq!(seen.get::<_, String>(0).unwrap(), options.application_name);
        assert!(seen.get::<_, bool>("ssl").unwrap());
    }
}

on_every_server! {
    async fn a_wrong_password_is_unauthorised(cluster: &Cluster) {
        let mut options = fresh_login(cluster, "LOGIN").await;
        options.password = Secret::new("wrong".to_owned());
        let (user, port) = (&options.user, options.port);
        let error = refused(&options).await;
        check(
            &error,
            ErrorClass::Unauthorised,
            &format!("cannot log in to database `postgres` on `localhost:{port}` as `{user}`: SQLSTATE 28P01"),
            &format!("check `username` and `password` in the secret of `{user}`, and whether the password has expired (`VALID UNTIL`)"),
        );
        assert!(!format!("{error:?}").contains("wrong"));
    }
}

on_every_server! {
    async fn a_login_that_is_not_let_in_is_told_apart(cluster: &Cluster) {
        let mut options = fresh_login(cluster, "NOLOGIN").await;
        let error = refused(&options).await;
        assert_eq!((error.class(), error.sqlstate()), (ErrorClass::Unauthorised, Some("28000")));

        options = fresh_login(cluster, "LOGIN").await;
        options.database = "no such database".to_owned();
        let error = refused(&options).await;
        assert_eq!((error.class(), error.sqlstate()), (ErrorClass::NotFound, Some("3D000")));
        assert_eq!(
            error.hint().unwrap(),
            format!("create database `no such database` on `localhost:{}`, or correct `dbname`", options.port)
        );

        options.database = cluster.fresh_database("postgres").await;
        let revoke = format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", options.database);
        cluster.superuser("postgres").await.batch("close the database", &revoke).await.unwrap();
        let error = refused(&options).await;
        assert_eq!((error.class(), error.sqlstate()), (ErrorClass::NeedsOperator, Some("42501")));
        assert_eq!(
            error.hint().unwrap(),
            format!("GRANT CONNECT ON DATABASE \"{}\" TO \"{}\"", options.database, options.user)
        );

        let full = fresh_login(cluster, "LOGIN CONNECTION LIMIT 0").await;
        let error = refused(&full).await;
        assert_eq!((error.class(), error.sqlstate()), (ErrorClass::Transient, Some("53300")));
    }
}

on_every_server! {
    async fn verify_full_demands_the_right_authority_and_host(cluster: &Cluster) {
        let mut options = fresh_login(cluster, "LOGIN").await;
        let port = options.port;
        options.root_ca_pem = Some(Certificates::for_names(&["localhost"]).ca);
        check(
            &refused(&options).await,
            ErrorClass::NeedsOperator,
            &format!("cannot connect securely to database `postgres` on `localhost:{port}` as `{}`: \
                the server's certificate is not signed by a trusted CA", options.user),
            "give the CA certificate that signed the one of `localhost` to the connector",
        );
        // The system's own roots do not know a test CA either.
        options.root_ca_pem = None;
        let error = refused(&options).await;
        assert!(matches!(error, PgError::Tls { problem: TlsProblem::UnknownCa | TlsProblem::NoRoots, .. }), "{error:?}");
        options.root_ca_pem = Some("no certificate at all".into());
        let error = refused(&options).await;
        assert!(matches!(error, PgError::Tls { problem: TlsProblem::NoRoots, .. }), "{error:?}");

        options.root_ca_pem = Some(std::sync::Arc::clone(&cluster.certificates.ca));
        Session::connect(&options).await.unwrap();
        options.host = "127.0.0.1".to_owned();
        Session::connect(&options).await.unwrap();
        options.host = UNNAMED_ADDRESS.to_owned();
        check(
            &refused(&options).await,
            ErrorClass::NeedsOperator,
            &format!("cannot connect securely to database `postgres` on `127.0.0.2:{port}` as `{}`: \
                the server's certificate is for another host name", options.user),
            "use a host name that the server's certificate carries, or issue one for `127.0.0.2`",
        );
        options.ssl_mode = SslMode::Require;
        Session::connect(&options).await.unwrap();
    }
}

on_every_server! {
    async fn a_bare_password_leaves_only_for_a_server_that_proved_itself(cluster: &Cluster) {
        let superuser = cluster.superuser("postgres").await;
        for (group, encryption, method) in [
            ("asked_in_clear", "scram-sha-256", "password"),
            ("asked_by_md5", "md5", "md5"),
        ] {
            superuser
                .batch("make a group", &format!("CREATE ROLE {group}; SET password_encryption = '{encryption}'"))
                .await
                .unwrap();
            let user = fresh("person");
            superuser
                .batch("make a login", &format!("CREATE ROLE {user} LOGIN PASSWORD 'good' IN ROLE {group}"))
                .await
                .unwrap();
            let mut options = cluster.options(&user, "good", "postgres");
            Session::connect(&options).await.unwrap();
            for mode in SslMode::ALL.into_iter().filter(|mode| *mode != SslMode::VerifyFull) {
                options.ssl_mode = mode;
                check(
                    &refused(&options).await,
                    ErrorClass::NeedsOperator,
                    &format!("database `postgres` on `localhost:{}` as `{user}` authenticates by method `{method}`, \
                        which is accepted only under `sslmode` `verify-full`", options.port),
                    &format!("set `sslmode` to `verify-full`, or store the password of `{user}` as SCRAM-SHA-256 and use \
                        `scram-sha-256` in `pg_hba.conf`"),
                );
            }
        }
    }
}

on_every_server! {
    async fn a_man_in_the_middle_is_found_out_under_require(cluster: &Cluster) {
        let mut options = fresh_login(cluster, "LOGIN").await;
        options.ssl_mode = SslMode::Require;
        options.root_ca_pem = None;
        Session::connect(&options).await.unwrap();
        // The relay shows a certificate of its own, so the proof of the password is bound to the wrong one.
        options.port = relay::start(cluster.port, &cluster.certificates.ca).await;
        let error = refused(&options).await;
        assert!(matches!(error, PgError::Login { .. }), "{error:?}");
        // A wrong password would be 28P01.
        assert_eq!(error.sqlstate(), Some("28000"), "{error:?}");
    }
}

#[tokio::test]
async fn an_impostor_gets_neither_password_nor_trust() {
    let clear = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 3];
    let md5 = vec![b'R', 0, 0, 0, 12, 0, 0, 0, 5, 1, 2, 3, 4];
    // Lets anybody in and says that it is ready.
    let trust = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 0, b'Z', 0, 0, 0, 5, b'I'];
    for (answer, wanted) in [(clear, "password"), (md5, "md5"), (trust, "trust")] {
        let (port, server) = fake_server::answering(answer).await;
        let error = refused(&plain(port)).await;
        assert!(
            matches!(error, PgError::RefusedMethod { method, .. } if method == wanted),
            "{error:?}"
        );
        assert_eq!(server.await.unwrap(), Vec::<u8>::new());
    }
}

#[tokio::test]
async fn a_peer_that_speaks_another_protocol_is_an_error() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "R", ""] {
        let (port, _server) = fake_server::answering(answer.into()).await;
        let error = refused(&plain(port)).await;
        assert_ne!(error.class(), ErrorClass::Bug, "{error:?}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_under_require() {
    let cluster = Cluster::private(Version::Pg18, "ssl = off");
    let mut options = cluster.options("postgres", "superuser-of-a-test-cluster", "postgres");
    for mode in [SslMode::Require, SslMode::VerifyFull] {
        options.ssl_mode = mode;
        let port = options.port;
        check(
            &refused(&options).await,
            ErrorClass::NeedsOperator,
            &format!(
                "cannot connect securely to database `postgres` on `localhost:{port}` as `postgres`: the server offers no TLS"
            ),
            &format!("turn TLS on at `localhost:{port}` (`ssl = on`)"),
        );
    }
    options.ssl_mode = SslMode::Disable;
    Session::connect(&options).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient() {
    let (port, listener) = fake_server::silent().await;
    drop(listener);
    check(
        &refused(&plain(port)).await,
        ErrorClass::Transient,
        &format!("cannot reach database `app` on `127.0.0.1:{port}` as `someone`"),
        &format!("check that `127.0.0.1` resolves and that port {port} is open from this machine"),
    );
    let mut options = plain(port);
    options.host = "no-such-host.invalid".to_owned();
    let error = refused(&options).await;
    assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_costs_five_seconds() {
    let (port, _listener) = fake_server::silent().await;
    let begun = Instant::now();
    for mode in [SslMode::Disable, SslMode::Require] {
        let mut options = plain(port);
        options.ssl_mode = mode;
        let error = refused(&options).await;
        assert!(matches!(error, PgError::Timeout { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Transient);
    }
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn names_the_server_would_cut_are_never_sent() {
    let (port, _listener) = fake_server::silent().await;
    for broken in [
        ConnectOptions {
            user: "x".repeat(64),
            ..plain(port)
        },
        ConnectOptions {
            database: String::new(),
            ..plain(port)
        },
        ConnectOptions {
            database: "a\0b".to_owned(),
            ..plain(port)
        },
        ConnectOptions {
            password: Secret::new("a\0hunter2".to_owned()),
            ..plain(port)
        },
    ] {
        let error = refused(&broken).await;
        assert_eq!(error.class(), ErrorClass::Bug);
        let cause = error.source().unwrap().to_string();
        assert!(
            !cause.contains("hunter2") && cause.contains("NUL"),
            "{cause}"
        );
    }
}

fn plain(port: u16) -> ConnectOptions {
    ConnectOptions {
        host: "127.0.0.1".to_owned(),
        port,
        database: "app".to_owned(),
        user: "someone".to_owned(),
        password: Secret::new("a password that must not leave".to_owned()),
        ssl_mode: SslMode::Disable,
        root_ca_pem: None,
        client: None,
        application_name: "apono-connector test".to_owned(),
        pass_over_replicas: false,
        names: ConnectOptions::system_names(),
    }
}
