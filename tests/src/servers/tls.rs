//! An authority that only the tests know, and a server's certificate from it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Its files, in a folder of the test's.
pub struct Authority {
    /// What a client is given.
    pub certificate: PathBuf,
    pub server_certificate: PathBuf,
    pub server_key: PathBuf,
    /// The server's certificate as it is sent.
    pub server_der: Vec<u8>,
}

impl Authority {
    /// For a server on this machine.
    pub fn new(dir: &Path) -> Self {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).expect("write a certificate");
            path
        };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(params, key);
        let server_key = KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let server = params.signed_by(&server_key, &issuer).expect("a certificate");
        Self {
            certificate: write("authority.pem", certificate.pem()),
            server_certificate: write("server.pem", server.pem()),
            server_key: write("server.key", server_key.serialize_pem()),
            server_der: server.der().to_vec(),
        }
    }
}
