//! Owns the tests of the way to the control plane: private certificate authorities, HTTP/2, an outbound proxy.

use super::{TOKEN, header, options, plane, session};
use crate::support::certificate::Certificates;
use apono_connector::clock::SystemClock;
use apono_connector::control::{
    ControlError, ControlPlane, Heartbeat, HttpControlPlane, HttpOptions, OutboundProxy,
};
use apono_connector::secret::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// An https server for one connection; the thread returns the request's head and the protocol that was agreed.
struct HttpsServer {
    port: u16,
    ca_file: PathBuf,
    _folder: tempfile::TempDir,
    answering: JoinHandle<std::io::Result<(String, Option<Vec<u8>>)>>,
}

fn https_server(name: &str, protocols: &[&str]) -> HttpsServer {
    let certificates = Certificates::for_names(&[name]);
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &*certificates.ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificates.server.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(certificates.key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let head = read_head(&mut stream)?;
        let body = json!({ "header": header() }).to_string();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 x\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
        stream.flush()?;
        let agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        Ok((head, agreed))
    });
    HttpsServer {
        port,
        ca_file,
        _folder: folder,
        answering,
    }
}

fn read_head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn beat(options: HttpOptions) -> Result<(), ControlError> {
    plane(options)
        .heartbeat(session(), &Heartbeat::default())
        .await
        .map(|_| ())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_private_certificate_authority_is_trusted() {
    let server = https_server("127.0.0.1", &["http/1.1"]);
    let options = HttpOptions {
        ca_file: Some(server.ca_file.clone()),
        ..options(&format!("https://127.0.0.1:{}", server.port))
    };
    beat(options).await.unwrap();
    let (head, _) = server.answering.join().unwrap().unwrap();
    assert!(
        head.contains(&format!("authorization: Bearer {TOKEN}")),
        "{head}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_for_another_name_is_refused() {
    let other = https_server("127.0.0.1", &[]);
    let server = https_server("127.0.0.1", &[]);
    let wrong_name = https_server("plane.example.com", &[]);
    let cases = [
        (server.port, other.ca_file.clone()),
        (wrong_name.port, wrong_name.ca_file.clone()),
    ];
    for (port, ca_file) in cases {
        let options = HttpOptions {
            ca_file: Some(ca_file),
            ..options(&format!("https://127.0.0.1:{port}"))
        };
        let error = beat(options).await.unwrap_err();
        assert!(matches!(error, ControlError::Unreachable { .. }), "{error}");
        assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    }
    // Nobody was shown the token.
    assert!(server.answering.join().unwrap().is_err());
    assert!(wrong_name.answering.join().unwrap().is_err());
}

#[tokio::test]
async fn http_2_is_offered() {
    let server = https_server("127.0.0.1", &["h2", "http/1.1"]);
    let options = HttpOptions {
        ca_file: Some(server.ca_file.clone()),
        ..options(&format!("https://127.0.0.1:{}", server.port))
    };
    // The server agrees to HTTP/2 and cannot speak it.
    beat(options).await.unwrap_err();
    let (head, agreed) = server.answering.join().unwrap().unwrap();
    assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
    assert!(head.starts_with("PRI * HTTP/2.0"), "{head}");
}

#[test]
fn a_file_without_certificate_authorities_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for content in [None, Some(""), Some("hello"), Some(broken)] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let options = HttpOptions {
            ca_file: Some(path.clone()),
            ..options("https://api.example.com")
        };
        let error = HttpControlPlane::new(options, Arc::new(SystemClock)).unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{content:?}: {error}");
    }
}

/// A proxy for one connection: answers `CONNECT` with the given status line and, when that is 200, passes everything on.
fn proxy(status: &'static str) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, received) = channel();
    std::thread::spawn(move || pass_on(&listener, status, &heads));
    (port, received)
}

fn pass_on(listener: &TcpListener, status: &str, heads: &Sender<String>) -> std::io::Result<()> {
    let (mut client, _) = listener.accept()?;
    let head = read_head(&mut client)?;
    let target = head.split(' ').nth(1).unwrap().to_owned();
    heads.send(head).unwrap();
    write!(client, "HTTP/1.1 {status}\r\n\r\n")?;
    if !status.starts_with("200") {
        return Ok(());
    }
    // The name is one that only the proxy can resolve.
    let port: u16 = target.rsplit(':').next().unwrap().parse().unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
    std::io::copy(&mut client, &mut server)?;
    Ok(())
}

fn through(port: u16, bypass: &str) -> Option<OutboundProxy> {
    Some(OutboundProxy {
        url: Secret::new(format!("http://me:canary-of-the-proxy@127.0.0.1:{port}")),
        bypass: bypass.to_owned(),
    })
}

#[tokio::test]
async fn https_goes_through_the_proxy_and_the_proxy_sees_no_token() {
    let server = https_server("plane.invalid", &["http/1.1"]);
    let (port, heads) = proxy("200 OK");
    let options = HttpOptions {
        ca_file: Some(server.ca_file.clone()),
        proxy: through(port, "other.invalid"),
        ..options(&format!("https://plane.invalid:{}", server.port))
    };
    beat(options).await.unwrap();
    let head = heads.recv().unwrap();
    let target = format!("CONNECT plane.invalid:{} ", server.port);
    assert!(head.starts_with(&target), "{head}");
    assert!(
        head.to_lowercase().contains("proxy-authorization: basic "),
        "{head}"
    );
    assert!(!head.contains(TOKEN), "{head}");
}

#[tokio::test]
async fn a_host_on_the_bypass_list_is_reached_directly() {
    let server = https_server("127.0.0.1", &["http/1.1"]);
    let (port, heads) = proxy("200 OK");
    let options = HttpOptions {
        ca_file: Some(server.ca_file.clone()),
        proxy: through(port, "example.com, 127.0.0.0/8"),
        ..options(&format!("https://127.0.0.1:{}", server.port))
    };
    beat(options).await.unwrap();
    assert!(heads.try_recv().is_err());
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_error_without_its_password() {
    let (port, _heads) = proxy("407 Proxy Authentication Required");
    let unused = https_server("x", &[]);
    let options = HttpOptions {
        proxy: through(port, ""),
        ca_file: Some(unused.ca_file.clone()),
        ..options("https://plane.invalid")
    };
    let error = beat(options).await.unwrap_err();
    assert!(matches!(error, ControlError::Unreachable { .. }), "{error}");
    let text = format!("{} {error:?}", chain(&error));
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn a_proxy_address_that_cannot_be_used_is_refused_without_showing_it() {
    let options = HttpOptions {
        proxy: Some(OutboundProxy {
            url: Secret::new("http://me:canary@".to_owned()),
            bypass: String::new(),
        }),
        ..options("https://api.example.com")
    };
    let error = HttpControlPlane::new(options, Arc::new(SystemClock)).unwrap_err();
    let text = format!("{error} {error:?} {}", chain(&error));
    assert!(!text.contains("canary"), "{text}");
}
