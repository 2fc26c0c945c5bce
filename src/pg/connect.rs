//! Owns the way from options to a logged-in connection. Never retries.

use super::error::of_login;
use super::options::Way;
use super::tls;
use super::wire::{AlreadyProtected, Link, Sighting, Wire};
use super::{ConnectOptions, PgError, Place, SslMode, TlsProblem};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::config::{ChannelBinding, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Connection};

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

/// A logged-in connection, and what was seen on the way to it.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) connection: Connection<Wire, Wire>,
    /// The process the other side says it is, before anything was asked of it.
    pub(super) announced_pid: Option<i32>,
    pub(super) encrypted: bool,
}

/// Connects to one address and logs in, in the other way of the mode if the server refuses the first. The caller bounds the time.
pub(super) async fn open(
    options: &ConnectOptions,
    address: SocketAddr,
    place: &Arc<Place>,
) -> Result<Opened, PgError> {
    let (first, other) = options.ssl_mode.ways();
    let sighting = Sighting::default();
    let refused = match go(options, address, first, place, &sighting).await {
        Err(error) if is_refusal(&error, &sighting) => error,
        done => return done,
    };
    let Some(other) = other else {
        return Err(refused);
    };
    tracing::info!(sslmode = %options.ssl_mode, error = %refused, trying = ?other, "the server refused one way to connect");
    go(options, address, other, place, &Sighting::default()).await
}

/// Whether the server refused the way we came, as opposed to what we wanted there.
fn is_refusal(error: &PgError, sighting: &Sighting) -> bool {
    match error {
        PgError::Tls { problem, .. } => problem.is_of_the_server(),
        PgError::Login { .. } => !sighting.has_logged_in(),
        PgError::Unreachable { .. }
        | PgError::RefusedMethod { .. }
        | PgError::Handshake { .. }
        | PgError::TransactionPooler { .. }
        | PgError::Statement { .. }
        | PgError::Timeout { .. }
        | PgError::Closed { .. }
        | PgError::Mismatch { .. } => false,
    }
}

async fn go(
    options: &ConnectOptions,
    address: SocketAddr,
    way: Way,
    place: &Arc<Place>,
    sighting: &Sighting,
) -> Result<Opened, PgError> {
    let stream = reach(address)
        .await
        .map_err(|source| PgError::Unreachable {
            place: Arc::clone(place),
            source,
        })?;
    let link = match way {
        Way::Clear => Link::Plain(stream),
        Way::Encrypted => protect(stream, options, place).await?,
    };
    let trusted = options.ssl_mode == SslMode::VerifyFull;
    let wire = Wire::watched(link, Arc::clone(sighting), trusted);
    let (client, connection) = config(options, way)
        .connect_raw(wire, AlreadyProtected)
        .await
        .map_err(|error| match sighting.refused_method() {
            Some(method) => PgError::RefusedMethod {
                place: Arc::clone(place),
                method,
            },
            None => of_login(place, error),
        })?;
    Ok(Opened {
        client,
        connection,
        announced_pid: sighting.announced_pid(),
        encrypted: way == Way::Encrypted,
    })
}

fn config(options: &ConnectOptions, way: Way) -> Config {
    let mut config = Config::new();
    config
        .user(&options.user)
        .password(options.password.expose())
        .dbname(&options.database)
        .application_name(&options.application_name)
        .channel_binding(ChannelBinding::Prefer);
    match way {
        Way::Clear => config.ssl_mode(tokio_postgres::config::SslMode::Disable),
        // The stream is protected before the client sees it, which is what "direct" means to the client.
        Way::Encrypted => config
            .ssl_mode(tokio_postgres::config::SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct),
    };
    config
}

async fn reach(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    watch_for_death(&stream)?;
    Ok(stream)
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
    let mut connector = tls::connector(options, place)?;
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
