//! Where stored files live: one trait with its contract, implemented by each kind of vault.

mod address;
mod credentials;
mod http;
mod local;
mod options;
mod read;
mod rest;
mod retry;
#[cfg(feature = "s3")]
mod s3;

use std::{
    fmt,
    ops::Range,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

pub use address::{Address, InvalidAddress, RestAddress, S3Address};
pub use credentials::{
    BlockingCredentials, CredentialSource, Credentials, CredentialsError, CredentialsWanted,
};
pub use local::LocalStorage;
pub use options::{BucketStyle, S3Options, ServerEncryption, ServerTrust, StorageOptions};
pub use rest::RestStorage;
pub use retry::Retrying;
#[cfg(feature = "s3")]
pub use s3::S3Storage;

use crate::{
    clock::{Clock, SystemClock},
    error::{Error, Kind, Result},
    format::{FileId, FileType},
};

/// What is to be stored.
#[derive(Debug, Clone)]
pub enum Body {
    Bytes(Arc<[u8]>),
    /// A file that does not change any more and is `size` bytes long, such as a pack in the spool.
    File {
        path: PathBuf,
        size: u64,
    },
}

impl Body {
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

/// A vault as a set of write-once files.
///
/// The contract, which one suite checks for every implementation:
///
/// - `put` is atomic and durable: when it returns, the file is there whole, and stays through a loss of power. A reader never sees part
///   of a file. Putting what is there already, under the same name, succeeds.
/// - `get` returns exactly the bytes asked for. A range that reaches past the end is `Kind::Damaged`, a missing file `Kind::NotFound`.
/// - `list` returns each file once, in any order, with its size. Names that are not ids are left out. What was put before the call
///   began is in it. A type that nothing was ever stored of lists as empty.
/// - `delete` of a missing file succeeds.
/// - Errors carry the kind that decides what to do: `AccessDenied`, `OutOfSpace(Place::Vault)`, `WrongServer`, or `Unreachable` for all that may
///   pass by itself, with what the vault asked for in [`Error::retry_after`].
/// - Dropping a future leaves the vault as it was or with the whole file, never between.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The address, as a person would write it, without secrets.
    fn name(&self) -> String;

    /// Makes the vault ready for a new repository. Harmless where it is.
    async fn create(&self) -> Result<()>;

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>>;

    /// The size of a file, or `None` where there is no such file.
    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>>;

    /// The whole file, which may be at most `limit` bytes long: else `Kind::Damaged`.
    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>>;

    /// The bytes of `range`, all of which must be in the file: else `Kind::Damaged`.
    async fn get_range(&self, kind: FileType, id: &FileId, range: Range<u64>) -> Result<Vec<u8>> {
        self.get_range_into(kind, id, range, Vec::new()).await
    }

    /// The same, in a buffer that served before, whose content is replaced.
    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>>;

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()>;

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()>;

    /// A request that somebody else can make, such as the operating system's own uploader: complete, and good until it expires. No request is
    /// made for it. `Kind::Unsupported` where a vault is not reached by requests.
    async fn hand_off(
        &self,
        _direction: HandOffDirection,
        _kind: FileType,
        _id: &FileId,
        _valid_for: Duration,
    ) -> Result<SignedRequest> {
        let text = format!(
            "{} is not reached by requests that could be handed off",
            self.name()
        );
        Err(Error::new(Kind::Unsupported, text))
    }

    /// A number that changes when the credentials do: what was refused with the old ones is tried again with the new. Zero where nobody can tell.
    fn credentials_version(&self) -> u64 {
        0
    }

    /// Whether a listing that begins after anybody's `put` has ended surely shows what was put: then a lock needs no time to be seen by others.
    /// `false` where that is not known.
    fn lists_at_once(&self) -> bool {
        false
    }
}

/// Which way a file goes in a request that is handed off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOffDirection {
    Put,
    Get,
}

/// A request with everything that proves who made it. Whoever has it can do what it does: its `Debug` shows neither address nor headers.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    pub method: &'static str,
    pub url: String,
    /// To be sent as they are.
    pub headers: Vec<(String, String)>,
    pub expires_at: SystemTime,
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest")
            .field("method", &self.method)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Opens a vault that needs nothing beside its address. Makes no request.
pub fn open(address: &Address) -> Result<Arc<dyn Storage>> {
    open_with(
        address,
        &StorageOptions::default(),
        Arc::new(SystemClock::default()),
    )
}

/// Opens a vault. Makes no request. Reads of vaults on the network are tried again where that may help.
pub fn open_with(
    address: &Address,
    options: &StorageOptions,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Storage>> {
    Ok(match address {
        Address::Local(path) => Arc::new(LocalStorage::new(path.clone())),
        Address::Rest(address) => Arc::new(Retrying::new(RestStorage::new(address, options, clock)?)),
        #[cfg(feature = "s3")]
        Address::S3(address) => Arc::new(Retrying::new(S3Storage::new(address, options, clock)?)),
        #[cfg(not(feature = "s3"))]
        Address::S3(address) => {
            let text = format!("{address}: this build has no S3. Build it with the feature 's3'");
            return Err(Error::new(crate::error::Kind::InvalidInput, text));
        }
    })
}

/// How errors name a stored file.
pub(crate) fn file_name(kind: FileType, id: &FileId) -> String {
    kind.rest_path(id)
}

pub(crate) fn not_found(kind: FileType, id: &FileId) -> Error {
    Error::new(
        Kind::NotFound,
        format!("{} is not in the vault", file_name(kind, id)),
    )
}
