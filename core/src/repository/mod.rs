//! A repository in a vault: opened with a key, read and written file by file.
//!
//! Everything here is a plain asynchronous call. Who calls what in which order, so that a snapshot in the vault is always complete, is the
//! business of the actors.

mod fetch;
mod index;
mod keys;
mod lock;
mod open;
mod recover;
mod snapshots;
mod spool;

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use tokio_util::sync::CancellationToken;

pub(crate) use fetch::{PlannedRead, plan_reads};
pub(crate) use index::{publish_indexes, sync_indexes};
pub use keys::KeyInfo;
pub(crate) use keys::{KEY_FILE_BYTES_MAX, add_key, list_keys, load_key, remove_key, username};
pub(crate) use lock::{
    HeldLock, check_not_locked, is_stale, list_locks, lock, locked, read_lock, remove_own_locks, unlock,
};
pub use lock::{LockInfo, LockKind};
pub(crate) use open::{CONFIG_BYTES_MAX, CONFIG_ID, open};
pub use open::{Unlock, init};
pub(crate) use recover::recover;
pub(crate) use snapshots::{find_snapshot, known_snapshots, list_snapshots, save_snapshot};
pub(crate) use spool::Spool;

use crate::{
    catalog::{Catalog, blobs},
    clock::Clock,
    error::{Error, Kind, Result},
    format::{
        BLOB_PLAINTEXT_MAX, BlobId, BlobType, Config, FileId, FileType, KeyId, MasterKey, PackId,
        SEAL_IV_BYTES, encode_unpacked, open_blob,
    },
    limits,
    runtime::cpu::CpuPool,
    storage::{Body, Storage, file_name},
};

/// An open repository. Clones share everything.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) key: Arc<MasterKey>,
    /// The key file that opened it; `None` when the master key came from elsewhere.
    pub(crate) key_id: Option<KeyId>,
    pub(crate) config: Arc<Config>,
    pub(crate) cpu: CpuPool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Repository {
    /// An index, snapshot or lock: fetched, checked against its name, and opened; still framed as `unpacked.rs` describes.
    pub(crate) async fn load_unpacked(&self, kind: FileType, id: &FileId) -> Result<Vec<u8>> {
        let mut stored = self.load_stored(kind, id).await?;
        let (key, id) = (self.key.clone(), *id);
        self.cpu
            .run(move |_| {
                let opened = key
                    .open_in_place(&mut stored)
                    .map_err(|error| Error::format(file_name(kind, &id), error))?;
                // To where the vector was: an index may be long, and is not copied.
                let length = opened.len();
                stored.copy_within(SEAL_IV_BYTES..SEAL_IV_BYTES + length, 0);
                stored.truncate(length);
                Ok(stored)
            })
            .await
    }

    /// The stored bytes, which hash to the file's name. A mismatch is read once more: the fault may have been on the way.
    pub(crate) async fn load_stored(&self, kind: FileType, id: &FileId) -> Result<Vec<u8>> {
        for _ in 0..2 {
            let stored = self
                .storage
                .get(kind, id, limits::UNPACKED_STORED_BYTES_MAX)
                .await?;
            let id = *id;
            let check = move |_: &mut _| Ok((FileId::of(&stored) == id).then_some(stored));
            if let Some(stored) = self.cpu.run(check).await? {
                return Ok(stored);
            }
        }
        let text = format!("{}: its content does not hash to its name", file_name(kind, id));
        Err(Error::new(Kind::Damaged, text))
    }

    /// Compresses, seals and stores a document; returns its name.
    pub(crate) async fn save_unpacked(&self, kind: FileType, document: Vec<u8>) -> Result<FileId> {
        let (id, sealed) = self.seal_unpacked(document).await?;
        self.storage.put(kind, &id, Body::Bytes(sealed)).await?;
        Ok(id)
    }

    /// Stores what an [`UnpackedWriter`](crate::format::UnpackedWriter) has made.
    pub(crate) async fn save_framed(&self, kind: FileType, framed: Vec<u8>) -> Result<FileId> {
        let key = self.key.clone();
        let (id, sealed) = self.cpu.run(move |_| seal_framed(&key, &framed)).await?;
        self.storage.put(kind, &id, Body::Bytes(sealed)).await?;
        Ok(id)
    }

    /// What `save_unpacked` would store, and its name.
    pub(crate) async fn seal_unpacked(&self, document: Vec<u8>) -> Result<(FileId, Arc<[u8]>)> {
        let key = self.key.clone();
        self.cpu
            .run(move |context| {
                let framed = encode_unpacked(&mut context.compressor, &document).map_err(sealing)?;
                seal_framed(&key, &framed)
            })
            .await
    }

    /// The plaintext of a tree, from wherever the catalog says it is.
    pub(crate) async fn load_tree(&self, catalog: &Catalog, id: &BlobId) -> Result<Vec<u8>> {
        self.load_tree_except(catalog, id, HashSet::new()).await
    }

    /// The same, but not from these packs.
    pub(crate) async fn load_tree_except(
        &self,
        catalog: &Catalog,
        id: &BlobId,
        except: HashSet<PackId>,
    ) -> Result<Vec<u8>> {
        let wanted = [(BlobType::Tree, *id)];
        let found = catalog
            .read(move |db| blobs::locate(db, &wanted, &except))
            .await?;
        let Some(Some(location)) = found.into_iter().next() else {
            return Err(Error::new(Kind::Damaged, format!("no index names the tree {id}")));
        };
        location.check()?;
        let pack: FileId = location.pack.into();
        let start = u64::from(location.entry.offset);
        let range = start..start + u64::from(location.entry.length);
        let mut sealed = self.storage.get_range(FileType::Pack, &pack, range).await?;
        let key = self.key.clone();
        self.cpu
            .run(move |context| {
                let opened = open_blob(
                    &key,
                    &location.entry,
                    &mut sealed,
                    &mut context.decompressor,
                    BLOB_PLAINTEXT_MAX,
                );
                opened.map(Cow::into_owned).map_err(|error| {
                    Error::format(format!("tree {} in pack {pack}", location.entry.id), error)
                })
            })
            .await
    }
}

fn seal_framed(key: &MasterKey, framed: &[u8]) -> Result<(FileId, Arc<[u8]>)> {
    let sealed = key.seal(framed).map_err(sealing)?;
    Ok((FileId::of(&sealed), Arc::from(sealed)))
}

pub(crate) fn sealing(error: crate::format::FormatError) -> Error {
    Error::with_source(Kind::Io, "sealing", error)
}

/// Stops between two steps of a long operation.
pub(crate) fn err_if_cancelled(cancel: &CancellationToken) -> Result<()> {
    if cancel.is_cancelled() {
        Err(Error::cancelled())
    } else {
        Ok(())
    }
}

/// Runs a step that may take long, and gives it up when the operation is cancelled.
pub(crate) async fn or_cancelled<T>(
    cancel: &CancellationToken,
    step: impl Future<Output = Result<T>>,
) -> Result<T> {
    cancel
        .run_until_cancelled(step)
        .await
        .unwrap_or_else(|| Err(Error::cancelled()))
}
