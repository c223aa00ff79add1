//! A pack that is being written: straight into the spool, hashed on the way, so that it is never held in memory.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

use sha2::{Digest, Sha256};

use super::blob::SealedBytes;
use crate::{
    catalog::SealedPack,
    error::{Error, Place, Result},
    format::{BlobId, BlobType, MasterKey, PackEntry, PackId, encode_header},
    limits,
    repository::{Spool, sealing},
};

/// Writes hold this much back before they reach the file.
const BUFFER_BYTES: usize = 128 << 10;

pub(crate) struct PackWriter {
    blob_type: BlobType,
    /// What its file is called while it is written.
    name: &'static str,
    target_bytes: u64,
    open: Option<Open>,
    /// Packs all of whose blobs are in the open one: it will stand for them.
    replaces: Vec<PackId>,
}

struct Open {
    file: BufWriter<File>,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
    entries: Vec<PackEntry>,
    ids: HashSet<BlobId>,
    /// Of `size`, what has not gone to the disk yet.
    unsynced: u64,
}

impl PackWriter {
    /// Data and trees lie in separate packs, so there is one writer for each. A pack is full at `target_bytes`.
    pub(crate) fn new(blob_type: BlobType, target_bytes: u64) -> Self {
        let name = match blob_type {
            BlobType::Data => "data",
            BlobType::Tree => "tree",
        };
        Self {
            blob_type,
            name,
            target_bytes,
            open: None,
            replaces: Vec::new(),
        }
    }

    /// A writer beside those of a run.
    pub(crate) fn beside(blob_type: BlobType, target_bytes: u64) -> Self {
        Self {
            name: "beside",
            ..Self::new(blob_type, target_bytes)
        }
    }

    /// A writer for what is packed anew: the open packs of a run stay where they are.
    pub(crate) fn moving(blob_type: BlobType) -> Self {
        Self {
            name: match blob_type {
                BlobType::Data => "moving-data",
                BlobType::Tree => "moving-tree",
            },
            ..Self::new(blob_type, limits::PACK_TARGET_BYTES)
        }
    }

    /// Whether the open pack holds this blob.
    pub(crate) fn holds(&self, id: &BlobId) -> bool {
        self.open.as_ref().is_some_and(|open| open.ids.contains(id))
    }

    /// Whether the pack should be closed before more is added.
    pub(crate) fn is_full(&self) -> bool {
        let full =
            |open: &Open| open.size >= self.target_bytes || open.entries.len() >= limits::PACK_BLOBS_MAX;
        self.open.as_ref().is_some_and(full)
    }

    /// Whether a blob of so many bytes, as stored, takes the pack beyond its target, and something is in it already.
    pub(crate) fn overflows_with(&self, bytes: u64) -> bool {
        let beyond = |open: &Open| !open.entries.is_empty() && open.size + bytes > self.target_bytes;
        self.open.as_ref().is_some_and(beyond)
    }

    pub(crate) fn append(&mut self, spool: &Spool, id: BlobId, sealed: &SealedBytes) -> Result<()> {
        let blob_type = self.blob_type;
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::create(spool, self.name)?),
        };
        // Below 4 GiB: a pack is closed at its target size, and one blob beyond it is bounded too.
        let small = |length: u64| u32::try_from(length).map_err(|_| Error::bug("a pack of 4 GiB"));
        let entry = PackEntry {
            id,
            blob_type,
            offset: small(open.size)?,
            length: small(sealed.bytes.len() as u64)?,
            uncompressed_length: sealed.uncompressed_length,
        };
        open.write(&sealed.bytes)?;
        open.ids.insert(id);
        open.entries.push(entry);
        Ok(())
    }

    /// Adds all blobs of a pack in the spool that was not full; the open pack stands for it from now on. `pack` must have been looked at: its blobs
    /// are copied as they are.
    pub(crate) fn refill(&mut self, spool: &Spool, pack: &SealedPack) -> Result<()> {
        for entry in &pack.entries {
            self.copy(spool, pack, entry)?;
        }
        self.replaces.push(pack.id);
        Ok(())
    }

    /// Adds one blob of a pack in the spool.
    pub(crate) fn copy(&mut self, spool: &Spool, pack: &SealedPack, entry: &PackEntry) -> Result<()> {
        if self.holds(&entry.id) {
            return Ok(());
        }
        let path = spool.path(&pack.id);
        let mut bytes = vec![0; entry.length as usize];
        File::open(&path)
            .and_then(|file| file.read_exact_at(&mut bytes, entry.offset.into()))
            .map_err(|error| Error::io(Place::State, "reading", &path, error))?;
        let sealed = SealedBytes {
            bytes,
            uncompressed_length: entry.uncompressed_length,
        };
        self.append(spool, entry.id, &sealed)
    }

    /// The packs that the one which was just closed stands for.
    pub(crate) fn take_replaced(&mut self) -> Vec<PackId> {
        std::mem::take(&mut self.replaces)
    }

    /// Closes the pack: it is durable in the spool under its name. `None` where nothing was added since the last one.
    pub(crate) fn close(&mut self, spool: &Spool, key: &MasterKey) -> Result<Option<SealedPack>> {
        let Some(mut open) = self.open.take() else {
            return Ok(None);
        };
        let header = encode_header(key, &open.entries).map_err(sealing)?;
        open.write(&header)?;
        let failed = |error| Error::io(Place::State, "writing", &open.path, error);
        open.file.flush().map_err(failed)?;
        open.file.get_ref().sync_all().map_err(failed)?;
        let id = PackId::from_bytes(open.hasher.finalize().into());
        spool.publish(&open.path, &id)?;
        Ok(Some(SealedPack {
            id,
            size: open.size,
            entries: open.entries,
        }))
    }
}

impl Open {
    fn create(spool: &Spool, name: &str) -> Result<Self> {
        let path = spool.temporary(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|error| Error::io(Place::State, "creating", &path, error))?;
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            path,
            hasher: Sha256::new(),
            size: 0,
            entries: Vec::new(),
            ids: HashSet::new(),
            unsynced: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        let mut written = self.file.write_all(bytes);
        if self.unsynced >= limits::PACK_SYNC_BYTES {
            self.unsynced = 0;
            written = written
                .and_then(|()| self.file.flush())
                .and_then(|()| self.file.get_ref().sync_data());
        }
        written.map_err(|error| Error::io(Place::State, "writing", &self.path, error))
    }
}
