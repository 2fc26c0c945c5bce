//! Owns how the two sides of a protected connection prove who they are. Never connects.

use super::options::{ClientCertificate, SslMode};
use super::{ConnectOptions, PgError, Place, TlsProblem};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Most sets of roots kept ready: the system's and one per private CA in use.
const MAX_READY: usize = 64;

type Cause = Box<dyn Error + Send + Sync>;

/// Returns our side of TLS.
pub(super) fn connector(
    options: &ConnectOptions,
    place: &Arc<Place>,
) -> Result<MakeRustlsConnect, PgError> {
    client_config(options)
        .map(MakeRustlsConnect::new)
        .map_err(|(problem, source)| PgError::Tls {
            place: Arc::clone(place),
            problem,
            source,
        })
}

fn client_config(options: &ConnectOptions) -> Result<ClientConfig, (TlsProblem, Option<Cause>)> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let proof = Proof {
        demand: demand(options)?,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| (TlsProblem::Handshake, Some(e.into())))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(proof));
    let Some(client) = &options.client else {
        return Ok(builder.with_no_client_auth());
    };
    let unusable = |cause: Cause| (TlsProblem::ClientCertificate, Some(cause));
    let (chain, key) = parse(client).map_err(|e| unusable(e.into()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|e| unusable(e.into()))
}

fn parse(
    client: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), rustls::pki_types::pem::Error> {
    let chain =
        CertificateDer::pem_slice_iter(client.chain_pem.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose().as_bytes())?;
    Ok((chain, key))
}

/// What the server has to show.
#[derive(Debug)]
enum Demand {
    /// That it holds the key of the certificate it shows, whichever that is.
    Nothing,
    /// A certificate one of these has signed.
    Chain(Arc<Roots>),
    /// A certificate one of these has signed, for the host asked for.
    ChainAndName(Arc<Roots>),
}

fn demand(options: &ConnectOptions) -> Result<Demand, (TlsProblem, Option<Cause>)> {
    let roots = match (options.ssl_mode, &options.root_ca_pem) {
        (_, Some(pem)) => Roots::ready(Some(pem)),
        (SslMode::VerifyFull, None) => Roots::ready(None),
        // Whoever may get any certificate of a public CA could then be at the other end.
        (SslMode::VerifyCa, None) => return Err((TlsProblem::NoRoots, None)),
        (SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require, None) => {
            return Ok(Demand::Nothing);
        }
    };
    if roots.store.is_empty() {
        return Err((TlsProblem::NoRoots, None));
    }
    Ok(if options.ssl_mode == SslMode::VerifyFull {
        Demand::ChainAndName(roots)
    } else {
        Demand::Chain(roots)
    })
}

/// Certificates that count as roots.
#[derive(Debug)]
struct Roots {
    store: RootCertStore,
    /// Those of a private CA file, as they are there.
    given: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Returns the roots of a private CA file, or those of the system.
    fn ready(pem: Option<&Arc<str>>) -> Arc<Self> {
        // Reads and parses every root certificate of the system; the result depends on nothing but the key.
        type Ready = HashMap<Option<Arc<str>>, Arc<Roots>>;
        static READY: OnceLock<Mutex<Ready>> = OnceLock::new();
        let ready = READY.get_or_init(Mutex::default);
        let key = pem.cloned();
        if let Some(known) = ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Arc::clone(known);
        }
        let roots = Arc::new(Self::read(pem.map(|pem| &**pem)));
        let mut ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= MAX_READY {
            ready.clear();
        }
        ready.insert(key, Arc::clone(&roots));
        roots
    }

    fn read(pem: Option<&str>) -> Self {
        let given: Vec<_> = pem
            .map(|pem| {
                CertificateDer::pem_slice_iter(pem.as_bytes())
                    .filter_map(Result::ok)
                    .collect()
            })
            .unwrap_or_default();
        let mut store = RootCertStore::empty();
        if pem.is_some() {
            store.add_parsable_certificates(given.iter().cloned());
        } else {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Self { store, given }
    }
}

/// Names what is wrong with a failed handshake.
pub(super) fn problem_of(error: &std::io::Error) -> TlsProblem {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enums are open; every other flaw of a certificate means that it cannot be trusted"
    )]
    match cause {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsProblem::WrongHost
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsProblem::OutOfTime,
            _ => TlsProblem::UnknownCa,
        },
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // A CA that was made anew under its old name.
            | AlertDescription::DecryptError,
        )) => TlsProblem::ClientRefused,
        _ => TlsProblem::Handshake,
    }
}

/// Checks what the server shows.
#[derive(Debug)]
struct Proof {
    demand: Demand,
    provider: Arc<CryptoProvider>,
}

impl Proof {
    fn chain(
        &self,
        roots: &Roots,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(shown)?,
            &roots.store,
            intermediates,
            now,
            algorithms,
        )
        .or_else(|error| {
            // A server's self-made certificate is often a CA too. Where it is itself the root given to us, it is the one we
            // are to trust; its dates were looked at before.
            if is_ca_as_server(&error) && roots.given.contains(shown) {
                Ok(())
            } else {
                Err(error)
            }
        })
    }
}

fn is_ca_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    other.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Proof {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (roots, name) = match &self.demand {
            Demand::Nothing => return Ok(ServerCertVerified::assertion()),
            Demand::Chain(roots) => (roots, None),
            Demand::ChainAndName(roots) => (roots, Some(server_name)),
        };
        self.chain(roots, end_entity, intermediates, now)?;
        if let Some(name) = name {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        }
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
            &self.provider.signature_verification_algorithms,
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
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
