//! Owns the byte stream under a session, and the watch over it until log-in: unless the certificate proved who the other side
//! is, a password leaves this machine only in a form that cannot be used elsewhere, and the other side must prove that it
//! knows it. Never parses anything else.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A protected stream.
pub(super) type Protected = <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::Stream;

/// A stream to a server, plain or protected.
pub(super) enum Link {
    Plain(TcpStream),
    Protected(Box<Protected>),
}

/// What the watch saw, to be read after the client gave up.
pub(super) type Sighting = Arc<OnceLock<&'static str>>;

/// A stream that, while the watch is on, fails before a bare password can be sent and before a server can be believed that
/// did not prove itself.
pub(super) struct Wire {
    link: Link,
    watch: Option<(AuthWatch, Sighting)>,
}

impl Wire {
    pub(super) fn watched(link: Link, sighting: Sighting) -> Self {
        Self {
            link,
            watch: Some((AuthWatch::default(), sighting)),
        }
    }

    pub(super) fn trusted(link: Link) -> Self {
        Self { link, watch: None }
    }

    fn look_at(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((watch, sighting)) = &mut self.watch else {
            return Ok(());
        };
        match watch.feed(bytes) {
            Seen::Nothing => {}
            Seen::LoggedIn => self.watch = None,
            Seen::Refuse(method) => {
                sighting.get_or_init(|| method);
                return Err(io::Error::other("refused authentication method"));
            }
            Seen::Garbage => return Err(io::Error::other("not the PostgreSQL protocol")),
        }
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = match &mut self.link {
            Link::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Link::Protected(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if !matches!(read, Poll::Ready(Ok(()))) {
            return read;
        }
        let news = buf.filled().get(before..).unwrap_or_default();
        let verdict = self.look_at(news);
        if verdict.is_err() {
            buf.set_filled(before);
        }
        Poll::Ready(verdict)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.link {
            Link::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Link::Protected(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.link {
            Link::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Link::Protected(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.link {
            Link::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Link::Protected(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.link {
            Link::Plain(_) => ChannelBinding::none(),
            Link::Protected(stream) => stream.channel_binding(),
        }
    }
}

/// Tells the client that the stream it is given is protected already.
pub(super) struct AlreadyProtected;

impl TlsConnect<Wire> for AlreadyProtected {
    type Stream = Wire;
    type Error = Infallible;
    type Future = Ready<Result<Wire, Infallible>>;

    fn connect(self, stream: Wire) -> Self::Future {
        ready(Ok(stream))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    LoggedIn,
    Refuse(&'static str),
    Garbage,
}

/// Reads message heads until the server says that we are logged in.
///
/// A message is one byte of tag, four bytes of length that count themselves, and the body; the body of an authentication
/// message (`R`) begins with four bytes that name the method.
#[derive(Default)]
struct AuthWatch {
    head: Vec<u8>,
    skip: usize,
    proved: bool,
}

impl AuthWatch {
    fn feed(&mut self, bytes: &[u8]) -> Seen {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.skip > 0 {
                let (_, after) = rest.split_at(self.skip.min(rest.len()));
                self.skip -= rest.len() - after.len();
                rest = after;
                continue;
            }
            let (next, after) = rest.split_at(1);
            self.head.extend_from_slice(next);
            rest = after;
            let seen = self.judge();
            if seen != Seen::Nothing {
                return seen;
            }
        }
        Seen::Nothing
    }

    fn judge(&mut self) -> Seen {
        let &[tag, a, b, c, d, ref method @ ..] = self.head.as_slice() else {
            return Seen::Nothing;
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let needed = if tag == b'R' { 8 } else { 4 };
        if length < needed {
            return Seen::Garbage;
        }
        if tag == b'R' {
            let &[a, b, c, d] = method else {
                return Seen::Nothing;
            };
            match u32::from_be_bytes([a, b, c, d]) {
                // A server that asks for nothing has shown nothing either: it could tell us that ends were done.
                0 if !self.proved => return Seen::Refuse("trust"),
                0 => return Seen::LoggedIn,
                3 => return Seen::Refuse("password"),
                5 => return Seen::Refuse("md5"),
                // The server's proof that it knows the password; the client checks it, and fails if it comes out of turn.
                12 => self.proved = true,
                // The other messages of SCRAM; methods the client does not know fail there.
                _ => {}
            }
        }
        self.skip = length - needed;
        self.head.clear();
        Seen::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn auth(method: u32, rest: &[u8]) -> Vec<u8> {
        let mut body = method.to_be_bytes().to_vec();
        body.extend(rest);
        message(b'R', &body)
    }

    /// Feeds the bytes in pieces of every size: how they were cut on the way must not matter.
    #[track_caller]
    fn check(bytes: &[u8], wanted: &Seen) {
        for size in 1..=bytes.len() {
            let mut watch = AuthWatch::default();
            let seen = bytes
                .chunks(size)
                .map(|piece| watch.feed(piece))
                .find(|seen| *seen != Seen::Nothing)
                .unwrap_or(Seen::Nothing);
            assert_eq!(seen, *wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn bare_passwords_are_seen_wherever_they_are_asked_for() {
        check(&auth(3, b""), &Seen::Refuse("password"));
        check(&auth(5, b"salt"), &Seen::Refuse("md5"));
        let notice = message(b'N', b"SWARNING\0R\0\0\0\x08\0\0\0\0\0");
        check(&[notice, auth(3, b"")].concat(), &Seen::Refuse("password"));
        check(
            &[auth(10, b"SCRAM-SHA-256\0\0"), auth(3, b"")].concat(),
            &Seen::Refuse("password"),
        );
    }

    #[test]
    fn scram_passes_and_the_watch_ends_at_log_in() {
        let scram = [
            auth(10, b"SCRAM-SHA-256\0\0"),
            auth(11, b"r="),
            auth(12, b"v="),
        ]
        .concat();
        check(&scram, &Seen::Nothing);
        check(&[scram, auth(0, b"")].concat(), &Seen::LoggedIn);
    }

    #[test]
    fn a_server_that_asks_for_nothing_is_seen() {
        check(&auth(0, b""), &Seen::Refuse("trust"));
        let unfinished = [
            auth(10, b"SCRAM-SHA-256\0\0"),
            auth(11, b"r="),
            auth(0, b""),
        ];
        check(&unfinished.concat(), &Seen::Refuse("trust"));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        check(b"R\0\0\0\x04", &Seen::Garbage);
        check(b"N\0\0\0\0", &Seen::Garbage);
    }
}
