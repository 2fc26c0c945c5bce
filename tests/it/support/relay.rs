//! Owns a man in the middle: reads everything between a client and a server, each of which speaks TLS to it.

use super::certificate::Certificates;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_util::io::InspectReader;

/// Relays one connection to the server on `upstream`, and returns the port it waits on.
pub(crate) async fn start(upstream: u16, upstream_ca: &str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let own = Certificates::for_names(&["localhost"]);
    let (acceptor, connector) = (acceptor(&own), connector(upstream_ca));
    #[expect(
        clippy::disallowed_methods,
        reason = "the task ends with the test's runtime"
    )]
    tokio::spawn(async move {
        let (mut client, mut server) = meet(&listener, &acceptor, &connector, upstream).await;
        // Either side may end it without a farewell.
        let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    port
}

/// Relays one connection with the server's own certificate, and returns besides the port a task that ends with all the client said.
pub(crate) async fn listening_in(
    upstream: u16,
    certificates: &Certificates,
) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (acceptor, connector) = (acceptor(certificates), connector(&certificates.ca));
    #[expect(clippy::disallowed_methods, reason = "the test waits for the task")]
    let task = tokio::spawn(async move {
        let mut said = Vec::new();
        let (client, mut server) = meet(&listener, &acceptor, &connector, upstream).await;
        let mut client = InspectReader::new(client, |bytes: &[u8]| said.extend_from_slice(bytes));
        let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        drop(client);
        said
    });
    (port, task)
}

async fn meet(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    upstream: u16,
) -> (server::TlsStream<TcpStream>, client::TlsStream<TcpStream>) {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut request = [0; 8];
    client.read_exact(&mut request).await.unwrap();
    client.write_all(b"S").await.unwrap();
    let client = acceptor.accept(client).await.unwrap();

    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await.unwrap();
    server.write_all(&request).await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'S');
    let name = ServerName::try_from("localhost").unwrap();
    let server = connector.connect(name, server).await.unwrap();
    (client, server)
}

fn acceptor(own: &Certificates) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(own.server.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn connector(ca: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
