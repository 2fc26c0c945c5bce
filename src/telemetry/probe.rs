//! Owns asking a listener like ours how it is, so that a container needs no other program for its health check. Never retries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest time for an answer: 3 s, under the time-out of common health checks.
const LIMIT: Duration = Duration::from_secs(3);
/// Most bytes read of an answer: 64 KiB.
const MAX_BYTES: u64 = 64 << 10;

/// A listener that did not say that all is well.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not be reached, or broke off.
    #[error("the listener at `{address}` cannot be reached")]
    Unreachable {
        /// Its address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It answered that something is missing, or something else altogether.
    #[error("the listener at `{address}` answered: {answer}")]
    Unwell {
        /// Its address.
        address: SocketAddr,
        /// What it said, cut to 200 characters.
        answer: String,
    },
}

/// Asks for a path such as `/healthz` and returns the body of a `200`. An address for all interfaces is asked on this machine.
///
/// # Errors
/// When there is no answer within 3 s, or one with another status.
pub async fn probe(address: SocketAddr, path: &str) -> Result<String, ProbeError> {
    let address = reachable(address);
    let unreachable = |source| ProbeError::Unreachable { address, source };
    let answer = tokio::time::timeout(LIMIT, ask(address, path))
        .await
        .map_err(|elapsed| unreachable(elapsed.into()))?
        .map_err(unreachable)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        return Ok(body.to_owned());
    }
    let said = if body.is_empty() { head } else { body };
    Err(ProbeError::Unwell {
        address,
        answer: said.escape_debug().take(200).collect(),
    })
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}
