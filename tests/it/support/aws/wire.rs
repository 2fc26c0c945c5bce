//! Owns HTTP/1.1 as the front and the proxy speak it: raw enough to break off wherever a test wants it to. Never knows what is said.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query, as sent.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What it is told.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How much of an answer gets through before the connection ends.
#[derive(Debug, Clone)]
pub(crate) enum Delivery {
    Whole(Response),
    /// The head promises the whole body, and half of it comes.
    Half(Response),
    Nothing,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

impl Response {
    /// Replaces a header, or adds it.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Starts a server on a free loopback port; it ends with the test's runtime.
pub(crate) async fn serve<H, A>(answer: H) -> u16
where
    H: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Delivery> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            // A client that goes away is its own affair.
            spawn(async move { drop(converse(stream, &*answer).await) });
        }
    });
    port
}

async fn converse<H, A>(stream: TcpStream, answer: &H) -> Result<()>
where
    H: Fn(Request) -> A,
    A: Future<Output = Delivery> + Send + 'static,
{
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(request) = read_request(&mut reader).await? {
        // In a task of its own: what was received takes effect, even when the client has gone.
        match detached(answer(request)).await {
            Delivery::Whole(response) => write_response(&mut writer, &response, usize::MAX).await?,
            Delivery::Half(response) => {
                let half = response.body.len() / 2;
                return write_response(&mut writer, &response, half).await;
            }
            Delivery::Nothing => return Ok(()),
        }
    }
    Ok(())
}

/// Passes a request to a server on this machine, on a connection of its own.
pub(crate) async fn pass_on(port: u16, request: &Request) -> Result<Response> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        if !is_about_the_connection(name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!(
        "content-length: {}\r\nconnection: close\r\n\r\n",
        request.body.len()
    ));
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&request.body).await?;
    stream.flush().await?;
    read_response(&mut stream).await
}

fn is_about_the_connection(name: &str) -> bool {
    [
        "connection",
        "content-length",
        "transfer-encoding",
        "keep-alive",
        "expect",
    ]
    .iter()
    .any(|known| name.eq_ignore_ascii_case(known))
}

async fn read_request(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Option<Request>> {
    let Some((first, headers)) = read_head(reader).await? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(ErrorKind::InvalidData.into());
    };
    let body = read_body(reader, &headers, false).await?;
    Ok(Some(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body,
    }))
}

async fn read_response(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Response> {
    let (first, headers) = read_head(reader).await?.ok_or(ErrorKind::UnexpectedEof)?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or(ErrorKind::InvalidData)?;
    let body = read_body(reader, &headers, true).await?;
    let headers = headers
        .into_iter()
        .filter(|(name, _)| !is_about_the_connection(name))
        .collect();
    Ok(Response {
        status,
        headers,
        body,
    })
}

type Head = (String, Vec<(String, String)>);

async fn read_head(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Option<Head>> {
    let Some(first) = read_line(reader).await? else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader).await?.ok_or(ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(Some((first, headers)));
        }
        let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn read_line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|_| Error::from(ErrorKind::InvalidData))?;
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn read_body(
    reader: &mut (impl AsyncBufReadExt + Unpin),
    headers: &[(String, String)],
    to_the_end: bool,
) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(headers, "transfer-encoding").is_some_and(|how| how.contains("chunked")) {
        loop {
            let line = read_line(reader).await?.ok_or(ErrorKind::UnexpectedEof)?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| Error::from(ErrorKind::InvalidData))?;
            let begin = body.len();
            body.resize(begin + size, 0);
            reader.read_exact(&mut body[begin..]).await?;
            let _end_of_chunk = read_line(reader).await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    if let Some(length) = header(headers, "content-length") {
        let length = length
            .parse()
            .map_err(|_| Error::from(ErrorKind::InvalidData))?;
        body.resize(length, 0);
        reader.read_exact(&mut body).await?;
    } else if to_the_end {
        reader.read_to_end(&mut body).await?;
    }
    Ok(body)
}

async fn write_response(
    writer: &mut (impl AsyncWriteExt + Unpin),
    response: &Response,
    most: usize,
) -> Result<()> {
    let mut head = format!("HTTP/1.1 {} said\r\n", response.status);
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", response.body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&response.body[..response.body.len().min(most)]);
    writer.write_all(&bytes).await?;
    writer.flush().await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tasks end with the test's runtime"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[expect(clippy::disallowed_methods, reason = "the caller waits for the task")]
async fn detached<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(task).await.unwrap()
}
