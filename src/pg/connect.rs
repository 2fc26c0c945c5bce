//! Owns the way from options to a logged-in connection. Never retries.

use super::error::of_login;
use super::tls;
use super::wire::{AlreadyProtected, Link, Sighting, Wire};
use super::{ConnectOptions, PgError, Place, SslMode, TlsProblem};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::config::{ChannelBinding, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Connection};

/// Longest wait for one address when the host has several, so that one dead address leaves time for the next.
const ONE_ADDRESS: Duration = Duration::from_secs(2);
/// Most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 4;
/// Silence after which the kernel asks whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Time between two such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// Unanswered questions after which the connection counts as dead.
const KEEPALIVE_TRIES: u32 = 3;
/// Longest time sent bytes may stay unacknowledged, in milliseconds.
const UNACKNOWLEDGED_MS: u32 = 30_000;
/// Asks a server whether it speaks TLS: length 8, code 80877103.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Connects and logs in. The caller bounds the time.
pub(super) async fn open(
    options: &ConnectOptions,
    place: &Arc<Place>,
) -> Result<(Client, Connection<Wire, Wire>), PgError> {
    let stream = reach(options)
        .await
        .map_err(|source| PgError::Unreachable {
            place: Arc::clone(place),
            source,
        })?;
    let link = match options.ssl_mode {
        SslMode::Disable => Link::Plain(stream),
        SslMode::Require | SslMode::VerifyFull => protect(stream, options, place).await?,
    };
    let sighting = Sighting::default();
    let wire = match options.ssl_mode {
        SslMode::Disable | SslMode::Require => Wire::watched(link, Arc::clone(&sighting)),
        SslMode::VerifyFull => Wire::trusted(link),
    };
    config(options)
        .connect_raw(wire, AlreadyProtected)
        .await
        .map_err(|error| match sighting.get() {
            Some(method) => PgError::RefusedMethod {
                place: Arc::clone(place),
                method,
            },
            None => of_login(place, error),
        })
}

fn config(options: &ConnectOptions) -> Config {
    let mut config = Config::new();
    config
        .user(&options.user)
        .password(options.password.expose())
        .dbname(&options.database)
        .application_name(&options.application_name)
        .channel_binding(ChannelBinding::Prefer);
    match options.ssl_mode {
        SslMode::Disable => config.ssl_mode(tokio_postgres::config::SslMode::Disable),
        // The stream is protected before the client sees it, which is what "direct" means to the client.
        SslMode::Require | SslMode::VerifyFull => config
            .ssl_mode(tokio_postgres::config::SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct),
    };
    config
}

async fn reach(options: &ConnectOptions) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    let addresses: Vec<_> = tokio::net::lookup_host((options.host.as_str(), options.port))
        .await?
        .take(MAX_ADDRESSES)
        .collect();
    for address in &addresses {
        let attempt = TcpStream::connect(address);
        let result = if addresses.len() == 1 {
            attempt.await
        } else {
            tokio::time::timeout(ONE_ADDRESS, attempt)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match result {
            Ok(stream) => {
                watch_for_death(&stream)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn watch_for_death(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TRIES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?;
    Ok(())
}

async fn protect(
    mut stream: TcpStream,
    options: &ConnectOptions,
    place: &Arc<Place>,
) -> Result<Link, PgError> {
    let mut connector = tls::connector(options.ssl_mode, options.root_ca_pem.as_ref(), place)?;
    let lost = |source: io::Error| PgError::Closed {
        place: Arc::clone(place),
        note: "agree on TLS",
        code: None,
        source: Some(Box::new(source)),
    };
    stream.write_all(&TLS_REQUEST).await.map_err(lost)?;
    // Exactly one byte: whatever an attacker put behind it must fail as TLS.
    if stream.read_u8().await.map_err(lost)? != b'S' {
        return Err(PgError::Tls {
            place: Arc::clone(place),
            problem: TlsProblem::NotOffered,
            source: None,
        });
    }
    let Ok(connect) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, &options.host);
    let protected = connect
        .connect(stream)
        .await
        .map_err(|error| PgError::Tls {
            place: Arc::clone(place),
            problem: tls::problem_of(&error),
            source: Some(Box::new(error)),
        })?;
    Ok(Link::Protected(Box::new(protected)))
}
