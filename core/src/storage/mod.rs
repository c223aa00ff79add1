//! Where stored files live: one trait with its contract, implemented by each kind of vault.

mod address;
mod local;

use std::{fmt, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use address::{Address, InvalidAddress};
pub use local::LocalStorage;

use crate::{
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

/// A request that somebody else can send, with the file as its body: the operating system's own uploader.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// `PUT` or `POST`.
    pub method: &'static str,
    /// May hold a signature: not for logs.
    pub url: String,
    /// May hold credentials: not for logs.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let without_query = self.url.split('?').next().unwrap_or_default();
        write!(f, "SignedRequest({} {without_query}…)", self.method)
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
/// - Errors carry the kind that decides what to do: `AccessDenied`, `OutOfSpace(Place::Vault)`, or `Unreachable` for all that may pass.
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

    async fn get_range(&self, kind: FileType, id: &FileId, range: Range<u64>) -> Result<Vec<u8>>;

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()>;

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()>;

    /// A request that stores a file of `size` bytes, good for `expires` from now on, for whoever is not the engine. `None` where a vault cannot be
    /// written to in that way.
    async fn presign_put(
        &self,
        _kind: FileType,
        _id: &FileId,
        _size: u64,
        _expires: Duration,
    ) -> Result<Option<SignedRequest>> {
        Ok(None)
    }

    /// A number that changes when the credentials do: what was refused with the old ones is tried again with the new.
    fn credentials_version(&self) -> u64 {
        0
    }
}

/// Opens a vault by its address.
pub fn open(address: &Address) -> Result<Arc<dyn Storage>> {
    match address {
        Address::Local(path) => Ok(Arc::new(LocalStorage::new(path.clone()))),
    }
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
