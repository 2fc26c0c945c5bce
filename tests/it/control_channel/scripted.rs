//! Owns an HTTP server that answers by script, badly if asked to, and keeps what it was sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What to do with one request.
pub(crate) enum Reply {
    /// Send these bytes and close.
    Bytes(Vec<u8>),
    /// Send these bytes, then nothing more, and keep the connection open.
    Stall(Vec<u8>),
    /// Send the first bytes, then the second for ever.
    Endless(Vec<u8>, Vec<u8>),
}

impl Reply {
    /// An answer in order.
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::with(status, "", body.to_string().as_bytes())
    }

    /// An answer with header lines, each ended by CR LF.
    pub(crate) fn with(status: u16, headers: &str, body: &[u8]) -> Self {
        let mut bytes = format!(
            "HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }
}

/// One request as it came.
#[derive(Clone)]
pub(crate) struct Received {
    /// Method, path and header lines; header names in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its announced end.
    pub(crate) complete: bool,
}

impl Received {
    pub(crate) fn request_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&start))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server that answers the requests in the order of its script, one per connection.
pub(crate) struct Scripted {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Scripted {
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let script: VecDeque<Reply> = script.into_iter().collect();
        let serving = serve(listener, script, Arc::clone(&received));
        #[expect(clippy::disallowed_methods, reason = "aborted when dropped")]
        let serving = tokio::spawn(serving);
        Self {
            port,
            received,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    mut script: VecDeque<Reply>,
    received: Arc<Mutex<Vec<Received>>>,
) {
    let mut stalled = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let Some(request) = read_request(&mut stream).await else {
            continue;
        };
        received.lock().unwrap().push(request);
        match script.pop_front() {
            Some(Reply::Bytes(bytes)) => {
                // The client may have gone, which is what some tests are about.
                let _sent = stream.write_all(&bytes).await;
                let _closed = stream.shutdown().await;
            }
            Some(Reply::Stall(bytes)) => {
                stream.write_all(&bytes).await.unwrap();
                stalled.push(stream);
            }
            Some(Reply::Endless(first, again)) => {
                stream.write_all(&first).await.unwrap();
                while stream.write_all(&again).await.is_ok() {}
            }
            None => {}
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).unwrap().trim_end().to_owned();
    let mut request = Received {
        head,
        body: Vec::new(),
        complete: true,
    };
    if request.header("transfer-encoding") == Some("chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            if !matches!(stream.read_buf(&mut body).await, Ok(1..)) {
                request.complete = false;
                break;
            }
        }
        body = unchunked(&body);
    } else {
        let length = request
            .header("content-length")
            .map_or(0, |text| text.parse().unwrap());
        while body.len() < length {
            stream.read_buf(&mut body).await.unwrap();
        }
    }
    request.body = body;
    Some(request)
}

/// Joins the chunks that are whole.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(chunk) = bytes.get(end + 2..end + 2 + size) else {
            break;
        };
        joined.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
    joined
}
