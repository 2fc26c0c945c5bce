//! Owns how a server proves who it is. Never connects.

use super::options::SslMode;
use super::{PgError, Place, TlsProblem};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Most configurations kept ready: one per private CA in use, and a few more.
const MAX_READY: usize = 64;

type Key = (SslMode, Option<Arc<str>>);

/// Returns the client side of TLS for a mode, built once per mode and CA.
pub(super) fn connector(
    mode: SslMode,
    root_ca_pem: Option<&Arc<str>>,
    place: &Arc<Place>,
) -> Result<MakeRustlsConnect, PgError> {
    // Building reads and parses every root certificate of the system; the result depends on nothing but the key.
    static READY: OnceLock<Mutex<HashMap<Key, MakeRustlsConnect>>> = OnceLock::new();
    let ready = READY.get_or_init(Mutex::default);
    let key = (mode, root_ca_pem.cloned());
    if let Some(known) = ready
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
    {
        return Ok(known.clone());
    }
    let built = MakeRustlsConnect::new(client_config(mode, root_ca_pem, place)?);
    let mut ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
    if ready.len() >= MAX_READY {
        ready.clear();
    }
    ready.insert(key, built.clone());
    Ok(built)
}

fn client_config(
    mode: SslMode,
    root_ca_pem: Option<&Arc<str>>,
    place: &Arc<Place>,
) -> Result<ClientConfig, PgError> {
    let problem = |problem, source: Option<Box<dyn Error + Send + Sync>>| PgError::Tls {
        place: Arc::clone(place),
        problem,
        source,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| problem(TlsProblem::Handshake, Some(Box::new(e))))?;
    match mode {
        SslMode::Disable | SslMode::Require => Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyChain(provider)))
            .with_no_client_auth()),
        SslMode::VerifyFull => {
            let roots = match root_ca_pem {
                Some(pem) => private_roots(pem),
                None => system_roots(),
            };
            if roots.is_empty() {
                return Err(problem(TlsProblem::NoRoots, None));
            }
            Ok(builder.with_root_certificates(roots).with_no_client_auth())
        }
    }
}

fn private_roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok),
    );
    roots
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Names what is wrong with a failed handshake.
pub(super) fn problem_of(error: &std::io::Error) -> TlsProblem {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(certificate)) = cause else {
        return TlsProblem::Handshake;
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is open; every other flaw of a certificate means that it cannot be trusted"
    )]
    match certificate {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsProblem::WrongHost
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsProblem::OutOfTime,
        _ => TlsProblem::UnknownCa,
    }
}

/// Takes any chain, as `require` means, but still checks that the other side holds the key of the certificate it shows.
#[derive(Debug)]
struct AnyChain(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyChain {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
