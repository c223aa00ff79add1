//! What the app implements. Calls come on threads that the engine keeps for them, never on the thread of a screen.

use lifeboat::format::{MasterKey, RAW_KEY_BYTES};
use zeroize::Zeroizing;

use crate::{
    error::EngineError,
    reports::{EngineEvent, RunProgress},
    vault::{CredentialsWanted, VaultCredentials},
};

/// Why the host's own code could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum HostError {
    /// Not now, but later: the phone is locked, say.
    #[error("not now: {reason}")]
    NotNow { reason: String },
    /// Not this time, for whatever reason.
    #[error("failed: {reason}")]
    Failed { reason: String },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for HostError {
    /// Whatever else the host threw.
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed { reason: error.reason }
    }
}

/// Keeps the key of one vault, as the platform keeps secrets: Android's Keystore, the Keychain.
///
/// A vault opens with this key at once; a password costs a tenth of a second and 32 MiB.
#[uniffi::export(with_foreign)]
pub trait KeyStore: Send + Sync {
    /// The key as it was saved; nothing where none was. May block.
    fn load_key(&self) -> Result<Option<Vec<u8>>, HostError>;

    /// Keeps the key, in the place of an older one. May block. 64 bytes: whoever has them can read the vault.
    fn save_key(&self, key: Vec<u8>) -> Result<(), HostError>;
}

/// Knows whom the vault takes the app for, where the vault's address does not say it.
///
/// It is asked before the first request, and again when what it gave has ended or was refused; never twice at a time. May block.
#[uniffi::export(with_foreign)]
pub trait CredentialProvider: Send + Sync {
    /// `NotNow` where they cannot be had now, as without a network: the engine tries again later. `Failed` where the user must act first, such as
    /// by signing in: the backup waits for that.
    fn credentials(&self, why: CredentialsWanted) -> Result<VaultCredentials, HostError>;

    /// A number that changes when the credentials do, so that a backup which waits for others goes on at once. Zero where nobody can tell: then it
    /// tries again every hour. Must not block.
    fn version(&self) -> Result<u64, HostError>;
}

/// Decides whether the vault's server is to be trusted, where the vault's authorities are not given in [`crate::NetworkOptions`].
///
/// Needed on Android, whose authorities only Java classes know: the Kotlin package has one that asks them, and gives it by itself. Elsewhere the
/// operating system is asked where the app gives none.
#[uniffi::export(with_foreign)]
pub trait ServerTrust: Send + Sync {
    /// Whether `chain` makes the server of that name trustworthy. It holds certificates as DER, the server's own first, as the server sent them:
    /// unordered and superfluous ones may be among them. Whatever is thrown means no, and the job ends with `WrongServer`, which says why. That
    /// the certificate is for `host`, and that the server has its key, the engine sees by itself.
    ///
    /// The engine stands still until the answer is there, for at most five seconds: calls to it wait. Have ready what takes time.
    // A truth value, and not an error or nothing: where a host's error is lost on the way, such as one of Java's that is no exception, the answer is
    // what memory began with, which is false.
    fn check(&self, chain: Vec<Vec<u8>>, host: String) -> Result<bool, HostError>;
}

/// Is told what the engine does. A slow one is told less, and how much it missed; one that throws is told the next thing all the same.
///
/// Calls come from one thread, one after the other. It may call the engine from there, and block: that stops nobody else.
#[uniffi::export(with_foreign)]
pub trait Observer: Send + Sync {
    /// How far the current job is: when it began, ended, and in between as often as was asked for, if anything changed.
    fn on_progress(&self, progress: RunProgress) -> Result<(), HostError>;

    fn on_event(&self, event: EngineEvent) -> Result<(), HostError>;

    /// Nothing follows: the subscription was cancelled, or the engine stopped. Then what happened before was told, if the observer takes it within a
    /// quarter of a second, and how far the last job was.
    fn on_end(&self) -> Result<(), HostError>;
}

/// Holds databases still while the engine reads their bytes: for those that it cannot read with locks of its own, such as encrypted ones.
///
/// Both calls for one reading come from one thread, which the engine keeps for it, and should answer within two seconds: later, that database counts as
/// unreadable this time. Several databases may be held at once, on threads of their own.
#[uniffi::export(with_foreign)]
pub trait DatabaseHolder: Send + Sync {
    /// Until `release`, neither the database file nor the present frames of its log may change: begin an immediate transaction, or checkpoint and let
    /// nobody write. Answers the size of its pages in bytes, which an encrypted file does not tell; nothing where it is 4096 or the file tells.
    fn hold(&self, path: String) -> Result<Option<u32>, HostError>;

    /// The database was read, or could not be.
    fn release(&self, path: String) -> Result<(), HostError>;
}

/// The vault's key from the key store. Blocks.
pub(crate) fn load_key(store: &dyn KeyStore) -> Result<MasterKey, EngineError> {
    let missing = |detail: String| EngineError::KeyMissing { detail };
    let stored = match store.load_key() {
        Ok(Some(stored)) => Zeroizing::new(stored),
        Ok(None) => return Err(missing("the key store holds no key".into())),
        Err(HostError::NotNow { reason }) => return Err(EngineError::KeyUnavailable { detail: reason }),
        Err(HostError::Failed { reason }) => return Err(missing(reason)),
    };
    let length = stored.len();
    let raw: &[u8; RAW_KEY_BYTES] = (stored.as_slice().try_into())
        .map_err(|_| missing(format!("the key store holds {length} bytes, which are no key")))?;
    MasterKey::from_raw(raw).map_err(|error| missing(format!("the key store holds no usable key: {error}")))
}

/// Gives the vault's key to the key store. Blocks.
pub(crate) fn save_key(store: &dyn KeyStore, key: &MasterKey) -> Result<(), EngineError> {
    store
        .save_key(key.to_raw().to_vec())
        .map_err(|error| match error {
            HostError::NotNow { reason } => EngineError::KeyUnavailable { detail: reason },
            HostError::Failed { reason } => EngineError::KeyMissing { detail: reason },
        })
}
