//! How a vault on the network is reached, beside its address.

use std::{fmt, sync::Arc, time::Duration};

use super::credentials::CredentialSource;
use crate::limits;

/// What a host may choose. The default suits vaults that need no credentials, or have them in their address.
#[derive(Clone)]
pub struct StorageOptions {
    /// Whom the vault knows. Those in the address come first.
    pub credentials: Option<Arc<dyn CredentialSource>>,
    /// The only authorities that may vouch for the vault, as PEM.
    pub ca_certificates: Option<Vec<u8>>,
    /// Who is asked about the vault's certificates where no authorities are given. Without anybody, the operating system; but Android answers only an
    /// app's Java classes, so that there it is needed.
    pub trust: Option<Arc<dyn ServerTrust>>,
    /// A request ends when no byte has moved for so long.
    pub stall_timeout: Duration,
    pub s3: S3Options,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            credentials: None,
            ca_certificates: None,
            trust: None,
            stall_timeout: Duration::from_millis(limits::STALL_TIMEOUT_MS),
            s3: S3Options::default(),
        }
    }
}

impl fmt::Debug for StorageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageOptions")
            .field("credentials", &self.credentials.is_some())
            .field("ca_certificates", &self.ca_certificates.is_some())
            .field("trust", &self.trust.is_some())
            .field("stall_timeout", &self.stall_timeout)
            .field("s3", &self.s3)
            .finish()
    }
}

/// Decides whether a server's certificates are good, as the other connections of an app have it decided.
pub trait ServerTrust: fmt::Debug + Send + Sync {
    /// `chain` holds certificates as DER, the server's own first, as the server sent them: unordered and superfluous ones may be among them. That
    /// the first one is for `host` is seen elsewhere. An error says why the server is not trusted.
    ///
    /// Called while a connection is made, on the thread where the engine does everything else: it stands still until then. An implementation that asks
    /// others sets a limit.
    ///
    /// # Errors
    ///
    /// The reason, for a log.
    fn check(&self, chain: &[&[u8]], host: &str) -> Result<(), String>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Options {
    /// Without one: that of the address, if it is one of Amazon's, or `us-east-1`.
    pub region: Option<String>,
    pub style: BucketStyle,
    pub encryption: Option<ServerEncryption>,
    /// Have the server compare what it received with the hash that is its name. Some old servers refuse that.
    pub checksum: bool,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            region: None,
            style: BucketStyle::Auto,
            encryption: None,
            checksum: true,
        }
    }
}

/// Where the bucket's name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketStyle {
    /// Before the host for Amazon, else in the path.
    Auto,
    /// `https://host/bucket/…`
    Path,
    /// `https://bucket.host/…`
    VirtualHost,
}

/// With which key the server encrypts what it stores. What it is given is encrypted already; some organisations demand it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEncryption {
    /// A key of the server's: `AES256`.
    ServerKey,
    /// A key of its key service: `aws:kms`. Without an id, the account's own.
    KeyService { key_id: Option<String> },
}
