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

/// What the watch saw, to be read after the client came back.
#[derive(Debug, Default)]
pub(super) struct Seen {
    refused_method: OnceLock<&'static str>,
    logged_in: OnceLock<()>,
    announced_pid: OnceLock<i32>,
}

pub(super) type Sighting = Arc<Seen>;

impl Seen {
    /// The method of authentication that was refused here.
    pub(super) fn refused_method(&self) -> Option<&'static str> {
        self.refused_method.get().copied()
    }

    pub(super) fn has_logged_in(&self) -> bool {
        self.logged_in.get().is_some()
    }

    /// The process the other side says it is, which a cancel request would name.
    pub(super) fn announced_pid(&self) -> Option<i32> {
        self.announced_pid.get().copied()
    }
}

/// A stream that fails before a bare password can be sent and before a server can be believed that did not prove itself.
pub(super) struct Wire {
    link: Link,
    watch: Option<(Watch, Sighting)>,
}

impl Wire {
    /// Watches a stream until the session begins; `trusted` when its certificate has proved already who the other side is.
    pub(super) fn watched(link: Link, sighting: Sighting, trusted: bool) -> Self {
        let watch = Watch {
            trusted,
            ..Watch::default()
        };
        Self {
            link,
            watch: Some((watch, sighting)),
        }
    }

    fn look_at(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((watch, sighting)) = &mut self.watch else {
            return Ok(());
        };
        let verdict = watch.feed(bytes);
        if watch.logged_in {
            sighting.logged_in.get_or_init(|| ());
        }
        if let Some(pid) = watch.announced_pid {
            sighting.announced_pid.get_or_init(|| pid);
        }
        match verdict {
            Verdict::Wait => Ok(()),
            Verdict::Begun => {
                self.watch = None;
                Ok(())
            }
            Verdict::Refuse(method) => {
                sighting.refused_method.get_or_init(|| method);
                Err(io::Error::other("refused authentication method"))
            }
            Verdict::Garbage => Err(io::Error::other("not the PostgreSQL protocol")),
        }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Begun,
    Refuse(&'static str),
    Garbage,
}

/// Reads message heads until the server is ready for the first statement.
///
/// A message is one byte of tag, four bytes of length that count themselves, and the body. The body of an authentication
/// message (`R`) begins with four bytes that name the method, that of `K` with the number of the server's process.
#[derive(Default)]
struct Watch {
    trusted: bool,
    head: Vec<u8>,
    skip: usize,
    proved: bool,
    logged_in: bool,
    announced_pid: Option<i32>,
}

impl Watch {
    fn feed(&mut self, bytes: &[u8]) -> Verdict {
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
            let verdict = self.judge();
            if verdict != Verdict::Wait {
                return verdict;
            }
        }
        Verdict::Wait
    }

    fn judge(&mut self) -> Verdict {
        let &[tag, a, b, c, d, ref body @ ..] = self.head.as_slice() else {
            return Verdict::Wait;
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let has_number = matches!(tag, b'R' | b'K');
        let needed = if has_number { 8 } else { 4 };
        if length < needed {
            return Verdict::Garbage;
        }
        let mut verdict = Verdict::Wait;
        if has_number {
            let &[a, b, c, d] = body else {
                return Verdict::Wait;
            };
            let number = [a, b, c, d];
            if tag == b'R' {
                verdict = self.authentication(u32::from_be_bytes(number));
            } else if self.logged_in {
                self.announced_pid = Some(i32::from_be_bytes(number));
            }
        } else if tag == b'Z' && self.logged_in {
            verdict = Verdict::Begun;
        }
        self.skip = length - needed;
        self.head.clear();
        verdict
    }

    fn authentication(&mut self, method: u32) -> Verdict {
        match method {
            // A server that asks for nothing has shown nothing either: it could tell us that ends were done.
            0 if !self.proved && !self.trusted => return Verdict::Refuse("trust"),
            0 => self.logged_in = true,
            3 if !self.trusted => return Verdict::Refuse("password"),
            5 if !self.trusted => return Verdict::Refuse("md5"),
            // The server's proof that it knows the password; the client checks it, and fails if it comes out of turn.
            12 => self.proved = true,
            // The other messages of SCRAM; methods the client does not know fail there.
            _ => {}
        }
        Verdict::Wait
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
    fn check(bytes: &[u8], trusted: bool, wanted: Verdict, logged_in: bool, pid: Option<i32>) {
        for size in 1..=bytes.len() {
            let mut watch = Watch {
                trusted,
                ..Watch::default()
            };
            let verdict = bytes
                .chunks(size)
                .map(|piece| watch.feed(piece))
                .find(|verdict| *verdict != Verdict::Wait)
                .unwrap_or(Verdict::Wait);
            assert_eq!(verdict, wanted, "in pieces of {size}");
            assert_eq!((watch.logged_in, watch.announced_pid), (logged_in, pid));
        }
    }

    #[track_caller]
    fn refuses(bytes: &[u8], method: &'static str) {
        check(bytes, false, Verdict::Refuse(method), false, None);
    }

    fn scram() -> Vec<u8> {
        [
            auth(10, b"SCRAM-SHA-256\0\0"),
            auth(11, b"r="),
            auth(12, b"v="),
        ]
        .concat()
    }

    #[test]
    fn bare_passwords_are_seen_wherever_they_are_asked_for() {
        refuses(&auth(3, b""), "password");
        refuses(&auth(5, b"salt"), "md5");
        let notice = message(b'N', b"SWARNING\0R\0\0\0\x08\0\0\0\0\0");
        refuses(&[notice, auth(3, b"")].concat(), "password");
        refuses(
            &[auth(10, b"SCRAM-SHA-256\0\0"), auth(3, b"")].concat(),
            "password",
        );
    }

    #[test]
    fn a_server_with_a_proven_certificate_may_ask_in_any_way() {
        for method in [3, 5] {
            let asked = [auth(method, b""), auth(0, b"")].concat();
            check(&asked, true, Verdict::Wait, true, None);
        }
    }

    #[test]
    fn scram_passes_and_the_watch_ends_when_the_session_begins() {
        check(&scram(), false, Verdict::Wait, false, None);
        let logged_in = [scram(), auth(0, b"")].concat();
        check(&logged_in, false, Verdict::Wait, true, None);
        let begun = [
            logged_in,
            message(b'S', b"a\0b\0"),
            message(b'K', &[0, 0, 1, 2, 9, 9, 9, 9]),
            message(b'Z', b"I"),
        ]
        .concat();
        check(&begun, false, Verdict::Begun, true, Some(258));
    }

    #[test]
    fn a_server_that_asks_for_nothing_is_seen() {
        refuses(&auth(0, b""), "trust");
        let unfinished = [
            auth(10, b"SCRAM-SHA-256\0\0"),
            auth(11, b"r="),
            auth(0, b""),
        ];
        refuses(&unfinished.concat(), "trust");
    }

    #[test]
    fn impossible_lengths_are_refused() {
        check(b"R\0\0\0\x04", false, Verdict::Garbage, false, None);
        check(b"N\0\0\0\0", false, Verdict::Garbage, false, None);
    }
}
