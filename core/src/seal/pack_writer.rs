//! A pack that is being written: straight into the spool, hashed on the way, so that it is never held in memory.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
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
    open: Option<Open>,
}

struct Open {
    file: BufWriter<File>,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
    entries: Vec<PackEntry>,
    ids: HashSet<BlobId>,
}

impl PackWriter {
    /// Data and trees lie in separate packs, so there is one writer for each.
    pub(crate) fn new(blob_type: BlobType) -> Self {
        Self {
            blob_type,
            open: None,
        }
    }

    /// Whether the open pack holds this blob.
    pub(crate) fn holds(&self, id: &BlobId) -> bool {
        self.open.as_ref().is_some_and(|open| open.ids.contains(id))
    }

    /// Whether the pack should be closed before more is added.
    pub(crate) fn is_full(&self) -> bool {
        let full = |open: &Open| {
            open.size >= limits::PACK_TARGET_BYTES || open.entries.len() >= limits::PACK_BLOBS_MAX
        };
        self.open.as_ref().is_some_and(full)
    }

    pub(crate) fn append(&mut self, spool: &Spool, id: BlobId, sealed: &SealedBytes) -> Result<()> {
        let blob_type = self.blob_type;
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::create(spool, blob_type)?),
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
    fn create(spool: &Spool, blob_type: BlobType) -> Result<Self> {
        let path = spool.temporary(match blob_type {
            BlobType::Data => "data",
            BlobType::Tree => "tree",
        });
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
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(|error| Error::io(Place::State, "writing", &self.path, error))
    }
}
