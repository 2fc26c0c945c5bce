//! Connection poolers between us and the server.

use crate::support::cluster::on_every_server;
use crate::support::pooler::Pooler;
use crate::support::road::fresh_login;
use apono_connector::domain::ErrorClass;
use apono_connector::pg::{ConnectOptions, PgError, Session};

/// What a session of ours sets.
const OURS: &str = "SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('statement_timeout')";

on_every_server! {
    async fn a_pooler_in_transaction_mode_is_recognised_and_nothing_of_ours_stays_with_it(cluster: &Cluster) {
        let direct = fresh_login(cluster, "LOGIN").await;
        for conf in ["pool_mode = transaction", "pool_mode = transaction\nserver_round_robin = 1\nmin_pool_size = 3", "pool_mode = statement"] {
            let pooler = Pooler::start(cluster, &direct.user, "good", conf);
            let options = ConnectOptions { port: pooler.port, ..direct.clone() };
            // Also while the pooler is still opening the processes it is to have.
            for _ in 0..8 {
                let error = Session::connect(&options).await.unwrap_err();
                assert!(matches!(error, PgError::TransactionPooler { .. }), "{conf}: {error:?}");
                assert_eq!(error.class(), ErrorClass::NeedsOperator);
                assert!(error.hint().unwrap().contains("server itself"));
            }
            // What a neighbour gets from the same pool is as it was.
            for _ in 0..4 {
                let mut psql = cluster.psql_command(&direct.user, "good", "postgres");
                let psql = psql.env("PGPORT", pooler.port.to_string()).args(["-c", OURS]).output().unwrap();
                let said = String::from_utf8_lossy(&psql.stdout).into_owned();
                assert_eq!(said.trim(), "\"$user\", public|0", "{conf}: {}", String::from_utf8_lossy(&psql.stderr));
            }
        }
    }
}

on_every_server! {
    async fn a_pooler_that_keeps_the_process_for_the_session_is_used(cluster: &Cluster) {
        let direct = fresh_login(cluster, "LOGIN").await;
        let pooler = Pooler::start(cluster, &direct.user, "good", "pool_mode = session");
        let options = ConnectOptions { port: pooler.port, ..direct.clone() };
        let session = Session::connect(&options).await.unwrap();
        assert!(session.server().pooled);
        let ours = session.batch("look", OURS).await.unwrap();
        assert_eq!(ours.rows, [[Some("pg_catalog, pg_temp".to_owned()), Some("30s".to_owned())]]);
        assert!(!Session::connect(&direct).await.unwrap().server().pooled);
    }
}
