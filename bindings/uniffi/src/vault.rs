//! Vaults on the network: how they are reached beside their address, and whom they know the app as.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use lifeboat::storage::{
    self, Address, BucketStyle, CredentialSource, Credentials, CredentialsError, CredentialsWanted as Wanted,
    S3Options, ServerEncryption, StorageOptions,
};
use zeroize::Zeroizing;

use crate::{
    error::EngineError,
    host::{CredentialProvider, HostError, ServerTrust},
    threads,
    trust::Judged,
};

/// How a vault on the network is reached, beside its address. What is not said is chosen as suits most.
#[derive(Debug, Clone, PartialEq, Eq, Default, uniffi::Record)]
pub struct NetworkOptions {
    /// The only authorities that may vouch for the vault, as PEM. Without them [`ServerTrust`] is asked, or else the operating system.
    #[uniffi(default = None)]
    pub ca_certificates: Option<Vec<u8>>,
    /// A request ends when no byte has moved for so long; 30 seconds if it is not said.
    #[uniffi(default = None)]
    pub stall_timeout_ms: Option<u64>,
    /// For buckets: without one, that of the address, or `us-east-1`.
    #[uniffi(default = None)]
    pub s3_region: Option<String>,
    /// Where the bucket's name stands: before the host for Amazon and in the path elsewhere, if it is not said.
    #[uniffi(default = None)]
    pub s3_bucket_style: Option<S3BucketStyle>,
    /// For organisations that demand it: what the server is given is encrypted already.
    #[uniffi(default = None)]
    pub s3_encryption: Option<S3Encryption>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum S3BucketStyle {
    /// `https://host/bucket/…`
    Path,
    /// `https://bucket.host/…`
    VirtualHost,
}

/// With which key an S3 server encrypts what it stores.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum S3Encryption {
    /// One of the server's.
    ServerKey,
    /// One of its key service's; without an id, the account's own.
    KeyService { key_id: Option<String> },
}

/// A name and what proves it.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct VaultCredentials {
    /// The user; for buckets the id of the access key.
    pub user: String,
    /// The password; for buckets the secret access key.
    pub secret: String,
    /// For buckets: what comes with keys that are good for a while only.
    #[uniffi(default = None)]
    pub session_token: Option<String>,
    /// When they end, in milliseconds since 1970. The engine asks for others a minute before.
    #[uniffi(default = None)]
    pub expires_at_ms: Option<u64>,
}

/// Why credentials are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum CredentialsWanted {
    /// None are known yet.
    First,
    /// Those that were given end now.
    Expired,
    /// The vault refused those that were given.
    Refused,
}

/// The vault of an address, and how to reach it.
pub(crate) fn reach(
    vault: &str,
    network: Option<NetworkOptions>,
    credentials: Option<Arc<dyn CredentialProvider>>,
    trust: Option<Arc<dyn ServerTrust>>,
) -> Result<(Address, StorageOptions), EngineError> {
    let address = vault
        .parse()
        .map_err(|error| EngineError::invalid(format!("{vault}: {error}")))?;
    let network = network.unwrap_or_default();
    let mut options = StorageOptions {
        credentials: credentials.map(|host| Arc::new(Asked(host)) as Arc<dyn CredentialSource>),
        ca_certificates: network.ca_certificates,
        trust: trust.map(|host| Arc::new(Judged::new(host)) as Arc<dyn storage::ServerTrust>),
        s3: S3Options {
            region: network.s3_region,
            style: match network.s3_bucket_style {
                None => BucketStyle::Auto,
                Some(S3BucketStyle::Path) => BucketStyle::Path,
                Some(S3BucketStyle::VirtualHost) => BucketStyle::VirtualHost,
            },
            encryption: network.s3_encryption.map(|encryption| match encryption {
                S3Encryption::ServerKey => ServerEncryption::ServerKey,
                S3Encryption::KeyService { key_id } => ServerEncryption::KeyService { key_id },
            }),
            ..S3Options::default()
        },
        ..StorageOptions::default()
    };
    if let Some(timeout_ms) = network.stall_timeout_ms {
        options.stall_timeout = Duration::from_millis(timeout_ms.max(1));
    }
    Ok((address, options))
}

/// The engine's view of a host that knows credentials. Each question has a thread of its own: a host that never answers holds no thread of the
/// engine's, and a request that waits for it ends with its job.
struct Asked(Arc<dyn CredentialProvider>);

#[async_trait]
impl CredentialSource for Asked {
    async fn credentials(&self, why: Wanted) -> Result<Credentials, CredentialsError> {
        let host = self.0.clone();
        let why = match why {
            Wanted::First => CredentialsWanted::First,
            Wanted::Expired => CredentialsWanted::Expired,
            Wanted::Refused => CredentialsWanted::Refused,
        };
        let asked = threads::on_thread("credentials", move || Ok(host.credentials(why))).await;
        match asked {
            Ok(Ok(given)) => Ok(given.into()),
            Ok(Err(HostError::NotNow { reason })) => Err(CredentialsError::Unavailable(reason)),
            Ok(Err(HostError::Failed { reason })) => Err(CredentialsError::Denied(reason)),
            Err(error) => Err(CredentialsError::Unavailable(error.to_string())),
        }
    }

    fn version(&self) -> u64 {
        // A host that throws here does not know.
        self.0.version().unwrap_or(0)
    }
}

impl From<VaultCredentials> for Credentials {
    fn from(given: VaultCredentials) -> Self {
        let expires_at = given
            .expires_at_ms
            .and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        Self {
            session_token: given.session_token.map(Zeroizing::new),
            expires_at,
            ..Self::new(given.user, given.secret)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(Result<VaultCredentials, HostError>);

    impl CredentialProvider for Says {
        fn credentials(&self, _: CredentialsWanted) -> Result<VaultCredentials, HostError> {
            self.0.clone()
        }

        fn version(&self) -> Result<u64, HostError> {
            Err(HostError::Failed {
                reason: "nobody knows".into(),
            })
        }
    }

    fn ask(says: Result<VaultCredentials, HostError>) -> Result<Credentials, CredentialsError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let asked = Asked(Arc::new(Says(says)));
        assert_eq!(asked.version(), 0);
        runtime.block_on(asked.credentials(Wanted::First))
    }

    #[test]
    fn what_the_host_says_decides_what_is_waited_for() {
        let given = VaultCredentials {
            user: "me".into(),
            secret: "hush".into(),
            session_token: Some("token".into()),
            expires_at_ms: Some(u64::MAX),
        };
        let credentials = ask(Ok(given)).unwrap();
        assert_eq!(credentials.user, "me");
        assert_eq!(credentials.session_token.unwrap().as_str(), "token");
        let reason = || "why".to_owned();
        assert_eq!(
            ask(Err(HostError::NotNow { reason: reason() })),
            Err(CredentialsError::Unavailable(reason()))
        );
        assert_eq!(
            ask(Err(HostError::Failed { reason: reason() })),
            Err(CredentialsError::Denied(reason()))
        );
    }

    #[test]
    fn an_address_that_is_none_is_the_callers_mistake() {
        assert!(matches!(
            reach("sftp:somewhere", None, None, None),
            Err(EngineError::InvalidInput { .. })
        ));
    }
}
