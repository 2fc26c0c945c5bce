//! Hosts with several addresses, and with new ones.

use crate::support::cluster::{Cluster, SUPERUSER_PASSWORD, Version};
use crate::support::fake_server;
use apono_connector::domain::ErrorClass;
use apono_connector::pg::{ConnectOptions, Names, PgError, Session, SslMode};
use async_trait::async_trait;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

/// What a name server would say.
#[derive(Debug, Default)]
struct Book(Mutex<Vec<SocketAddr>>);

#[async_trait]
impl Names for Book {
    async fn addresses(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(self.0.lock().unwrap().clone())
    }
}

impl Book {
    fn says(&self, ports: &[u16]) {
        let addresses = ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into());
        *self.0.lock().unwrap() = addresses.collect();
    }
}

/// How the superuser of any test server connects to a host in the book.
fn by(book: &Arc<Book>) -> ConnectOptions {
    let names = Arc::clone(book) as Arc<dyn Names>;
    ConnectOptions {
        ssl_mode: SslMode::Require,
        root_ca_pem: None,
        names,
        ..Cluster::shared(Version::Pg15).options("postgres", SUPERUSER_PASSWORD, "postgres")
    }
}

async fn major(options: &ConnectOptions) -> Result<u32, PgError> {
    Ok(Session::connect(options).await?.server().major())
}

#[tokio::test]
async fn dead_addresses_are_passed_over() {
    let (silent, _listener) = fake_server::silent().await;
    let (closed, listener) = fake_server::silent().await;
    drop(listener);
    let live = Cluster::shared(Version::Pg15).port;
    let book = Arc::new(Book::default());
    for ports in [
        vec![closed, live],
        vec![silent, live],
        vec![closed, silent, live],
    ] {
        book.says(&ports);
        assert_eq!(major(&by(&book)).await.unwrap(), 15, "{ports:?}");
    }
    // Five are one too many.
    book.says(&[closed, closed, closed, closed, live]);
    let error = major(&by(&book)).await.unwrap_err();
    assert!(matches!(error, PgError::Unreachable { .. }), "{error:?}");
    book.says(&[]);
    let error = major(&by(&book)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[tokio::test]
async fn what_one_address_refuses_is_not_tried_at_the_next() {
    let book = Arc::new(Book::default());
    book.says(&[
        Cluster::shared(Version::Pg15).port,
        Cluster::shared(Version::Pg18).port,
    ]);
    let options = ConnectOptions {
        user: "nobody_of_this_name".to_owned(),
        ..by(&book)
    };
    let error = major(&options).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("28P01"));
    let strict = ConnectOptions {
        ssl_mode: SslMode::VerifyFull,
        root_ca_pem: Some(Arc::clone(&Cluster::shared(Version::Pg18).certificates.ca)),
        ..by(&book)
    };
    let error = major(&strict).await.unwrap_err();
    assert!(matches!(error, PgError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_change_of_address_counts_from_the_next_connection_on() {
    let book = Arc::new(Book::default());
    let options = by(&book);
    book.says(&[Cluster::shared(Version::Pg15).port]);
    let before = Session::connect(&options).await.unwrap();
    book.says(&[Cluster::shared(Version::Pg18).port]);
    assert_eq!(major(&options).await.unwrap(), 18);
    assert_eq!(before.server().major(), 15);
    before.batch("go on", "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn replicas_are_passed_over_where_the_primary_is_wanted() {
    let mut replica = Cluster::private(Version::Pg18, "");
    replica.turn_into_a_replica();
    let primary = Cluster::shared(Version::Pg15).port;
    let book = Arc::new(Book::default());
    for (ports, wanted, in_recovery) in [
        (vec![replica.port, primary], true, false),
        (vec![replica.port, primary], false, true),
        (vec![replica.port, replica.port], true, true),
    ] {
        book.says(&ports);
        let options = ConnectOptions {
            pass_over_replicas: wanted,
            ..by(&book)
        };
        let session = Session::connect(&options).await.unwrap();
        assert_eq!(session.server().in_recovery, in_recovery, "{ports:?}");
    }
}
