//! Owns HTTP servers that know exactly what they will be asked: whatever else is asked is refused, and remembered as a surprise.

use super::certificate::Certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest wait for a client's next byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) method: String,
    /// Path and query, as they came.
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A status and a body. Nothing means that the question was not expected.
pub(crate) type Answer = Option<(u16, String)>;

pub(crate) struct StrictServer {
    pub(crate) port: u16,
    scheme: &'static str,
    heard: Arc<Mutex<Vec<Heard>>>,
    surprises: Arc<Mutex<Vec<String>>>,
}

impl StrictServer {
    /// Starts a server, with TLS if certificates are given.
    pub(crate) fn start(
        certificates: Option<&Certificates>,
        answer: impl Fn(&Heard) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            scheme: if certificates.is_some() {
                "https"
            } else {
                "http"
            },
            heard: Arc::default(),
            surprises: Arc::default(),
        };
        let tls = certificates.map(tls);
        let (heard, surprises) = (Arc::clone(&server.heard), Arc::clone(&server.surprises));
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (tls, answer) = (tls.clone(), Arc::clone(&answer));
                let (heard, surprises) = (Arc::clone(&heard), Arc::clone(&surprises));
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let reply = |question: Heard| {
                        let found = answer(&question);
                        let (status, body) = found.unwrap_or_else(|| {
                            let what =
                                format!("{} {}: {question:?}", question.method, question.path);
                            surprises.lock().unwrap().push(what);
                            (418, "not expected".to_owned())
                        });
                        heard.lock().unwrap().push(question);
                        format!(
                            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                            body.len()
                        )
                    };
                    match tls {
                        None => serve(stream, reply),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).unwrap();
                            serve(rustls::StreamOwned::new(session, stream), reply);
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.port)
    }

    /// Returns every question so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Fails if anything was asked that was not expected.
    #[track_caller]
    pub(crate) fn no_surprises(&self) {
        let surprises = self.surprises.lock().unwrap();
        assert!(surprises.is_empty(), "{surprises:#?}");
    }
}

fn tls(certificates: &Certificates) -> Arc<rustls::ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(certificates.server.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificates.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// Answers one question. A client that goes away, or does not trust us, is its own business.
fn serve<S: Read + Write>(mut stream: S, reply: impl FnOnce(Heard) -> String) {
    let Some(question) = read(&mut stream) else {
        return;
    };
    let answer = reply(question);
    let _gone = stream.write_all(answer.as_bytes());
    let _gone = stream.flush();
}

fn read(stream: &mut impl Read) -> Option<Heard> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Heard {
        method,
        path,
        headers,
        body,
    })
}
