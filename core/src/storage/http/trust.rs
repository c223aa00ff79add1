//! Which servers are taken for the vault: those that the given authorities vouch for, those that the app trusts, or those that the operating system
//! does.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use url::Url;

use crate::{
    error::{Error, Kind, Result},
    storage::{ServerTrust, StorageOptions},
};

pub(super) fn tls(url: &Url, options: &StorageOptions) -> Result<ClientConfig> {
    let failed = |error| Error::with_source(Kind::Io, "preparing for TLS", error);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = if let Some(pem) = &options.ca_certificates {
        builder.with_root_certificates(roots(pem)?)
    } else if url.scheme() == "https" {
        let verifier = match &options.trust {
            Some(trust) => Arc::new(Asking {
                trust: trust.clone(),
                provider,
            }),
            None => of_the_platform(provider)?,
        };
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        // Never used: redirects are not followed.
        builder.with_root_certificates(RootCertStore::empty())
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(pem: &[u8]) -> Result<RootCertStore> {
    let broken = |why: String| {
        let text = format!("the certificates of the vault's authorities cannot be used: {why}");
        Error::new(Kind::InvalidInput, text)
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| broken(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| broken(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(broken("no certificate in PEM is among them".into()));
    }
    Ok(roots)
}

#[cfg(not(target_os = "android"))]
fn of_the_platform(provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
    let verifier = rustls_platform_verifier::Verifier::new(provider)
        .map_err(|error| Error::with_source(Kind::Io, "preparing for TLS", error))?;
    Ok(Arc::new(verifier))
}

/// Android's authorities are known to its Java classes alone, and native code reaches those through the app.
#[cfg(target_os = "android")]
fn of_the_platform(_: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
    let text = "on Android, the app says which servers are to be trusted: give `StorageOptions::trust`, or the \
                certificates of the vault's authorities";
    Err(Error::new(Kind::InvalidInput, text))
}

/// Asks the app about the certificates, and nothing else: that they are for the vault's name, and that the server has their key, is seen here.
#[derive(Debug)]
struct Asking {
    trust: Arc<dyn ServerTrust>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Asking {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        let mut chain: Vec<&[u8]> = vec![end_entity.as_ref()];
        chain.extend(intermediates.iter().map(AsRef::as_ref));
        match self.trust.check(&chain, &server_name.to_str()) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(reason) => {
                let refused = OtherError(Arc::new(Refused(reason)));
                Err(CertificateError::Other(refused).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Why the app does not trust a server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);
