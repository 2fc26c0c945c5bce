//! Owns at which address of a host a session is opened. Never gives one address the time of all.

use super::{ConnectOptions, Limits, PgError, Place, Session};
use async_trait::async_trait;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest time from nothing to a session at one address when the host has several, so that a dead one leaves time for the next.
const ONE_ADDRESS: Duration = Duration::from_secs(2);
/// Most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 4;
/// `cannot_connect_now`: the server is starting, stopping or not consistent yet.
const NOT_SERVING: &str = "57P03";

/// Where the addresses of a host come from. Asked again for every connection, so that a change needs no restart.
#[async_trait]
pub trait Names: fmt::Debug + Send + Sync {
    /// Returns the addresses of a host, the preferred one first.
    ///
    /// # Errors
    /// When the name cannot be looked up.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the system.
#[derive(Debug)]
pub(super) struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Asks the system for another host, to which connections are led on their way.
#[derive(Debug)]
pub(super) struct ByWayOf(pub(super) String, pub(super) u16);

#[async_trait]
impl Names for ByWayOf {
    async fn addresses(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        let way = (self.0.as_str(), self.1);
        Ok(tokio::net::lookup_host(way).await?.collect())
    }
}

/// Opens a session at the first address that serves, all of them within `limit`. Where only replicas serve, it is at one of them.
pub(super) async fn first_that_serves(
    options: &ConnectOptions,
    limits: Limits,
    place: &Arc<Place>,
    limit: Duration,
) -> Result<Session, PgError> {
    let unreachable = |source| PgError::Unreachable {
        place: Arc::clone(place),
        source,
    };
    let mut addresses = options
        .names
        .addresses(&options.host, options.port)
        .await
        .map_err(unreachable)?;
    addresses.truncate(MAX_ADDRESSES);
    if let [only] = addresses.as_slice() {
        return Session::open(options, limits, place, *only).await;
    }
    let share = u32::try_from(addresses.len()).map_or(limit, |count| limit / count.max(1));
    let one = ONE_ADDRESS.min(share);
    let mut replica = None;
    let mut failure = unreachable(io::Error::new(
        io::ErrorKind::NotFound,
        "the host name has no address",
    ));
    for address in addresses {
        let open = Session::open(options, limits, place, address);
        let opened = tokio::time::timeout(one, open).await.unwrap_or_else(|_| {
            Err(PgError::Timeout {
                place: Arc::clone(place),
                note: "connect",
                limit: one,
            })
        });
        match opened {
            Ok(session) if session.server().in_recovery && options.pass_over_replicas => {
                tracing::debug!(%address, "a replica answers, trying the next address");
                replica = Some(session);
            }
            Err(error) if another_may_serve(&error) => {
                tracing::debug!(%address, error = %error, "trying the next address");
                failure = error;
            }
            done => return done,
        }
    }
    replica.ok_or(failure)
}

/// What a server refuses, it would refuse at its other addresses too.
fn another_may_serve(error: &PgError) -> bool {
    match error {
        PgError::Unreachable { .. } | PgError::Timeout { .. } | PgError::Closed { .. } => true,
        PgError::Login { code, .. } => code == NOT_SERVING,
        PgError::Tls { .. }
        | PgError::RefusedMethod { .. }
        | PgError::Handshake { .. }
        | PgError::TransactionPooler { .. }
        | PgError::Statement { .. }
        | PgError::Mismatch { .. } => false,
    }
}
