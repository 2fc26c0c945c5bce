//! Owns certificates for test servers.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::sync::Arc;

/// A CA and a server certificate it signed, in PEM.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) ca: Arc<str>,
    pub(crate) server: String,
    pub(crate) key: String,
}

impl Certificates {
    /// Makes a new CA and a certificate for the given names and addresses.
    pub(crate) fn for_names(names: &[&str]) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name
            .push(DnType::CommonName, "test certificate authority");
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let server = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        Self {
            ca: ca_pem.into(),
            server: server.pem(),
            key: key.serialize_pem(),
        }
    }
}
