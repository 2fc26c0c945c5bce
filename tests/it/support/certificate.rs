//! Owns certificates for test servers.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use std::sync::Arc;

const CA_NAME: &str = "test certificate authority";

/// A CA and a server certificate it signed, in PEM.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) ca: Arc<str>,
    pub(crate) server: String,
    pub(crate) key: String,
    ca_key: String,
}

/// A certificate and its key, in PEM.
pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
}

impl Certificates {
    /// Makes a new CA and a certificate for the given names and addresses.
    pub(crate) fn for_names(names: &[&str]) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let ca_key_pem = ca_key.serialize_pem();
        let ca = authority(CA_NAME, &[]);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let server = signed(
            CertificateParams::new(owned(names)).unwrap(),
            KeyPair::generate().unwrap(),
            &Issuer::new(ca, ca_key),
        );
        Self {
            ca: ca_pem.into(),
            server: server.pem,
            key: server.key.serialize_pem(),
            ca_key: ca_key_pem,
        }
    }

    fn sign(&self, params: CertificateParams, key: KeyPair) -> Certificate {
        let ca_key = KeyPair::from_pem(&self.ca_key).unwrap();
        signed(params, key, &Issuer::new(authority(CA_NAME, &[]), ca_key))
    }

    /// Makes one more certificate of the CA, whose time is over.
    pub(crate) fn expired(&self, names: &[&str]) -> Certificate {
        let mut params = CertificateParams::new(owned(names)).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params, KeyPair::generate().unwrap())
    }

    /// Makes one more certificate of the CA, for other names and addresses.
    pub(crate) fn for_hosts(&self, names: &[&str]) -> Certificate {
        let params = CertificateParams::new(owned(names)).unwrap();
        self.sign(params, KeyPair::generate().unwrap())
    }

    /// Makes a certificate of the CA for a database user.
    pub(crate) fn for_user(&self, user: &str, key: KeyPair) -> Certificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, user);
        self.sign(params, key)
    }
}

/// Makes a certificate that is its own CA, as `openssl req -x509` does.
pub(crate) fn self_made(names: &[&str], years: std::ops::Range<i32>) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let mut params = authority("self-made", names);
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    let pem = params.self_signed(&key).unwrap().pem();
    Certificate { pem, key }
}

fn authority(name: &str, names: &[&str]) -> CertificateParams {
    let mut ca = CertificateParams::new(owned(names)).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, name);
    ca
}

fn signed(params: CertificateParams, key: KeyPair, issuer: &Issuer<'_, KeyPair>) -> Certificate {
    let pem = params.signed_by(&key, issuer).unwrap().pem();
    Certificate { pem, key }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
