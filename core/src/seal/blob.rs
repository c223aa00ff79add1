//! One blob: hashed, compressed where that is worth it, sealed.

use std::sync::Arc;

use super::plain::Plain;
use crate::{
    error::Result,
    format::{BlobId, BlobType, MasterKey, compress_bound, looks_incompressible},
    repository::sealing,
    runtime::{budget::Permit, buffers::Buffers, cpu::CpuContext},
};

/// Plain bytes on their way to being sealed, with their name.
pub(crate) struct Chunk {
    pub(crate) id: BlobId,
    pub(crate) plain: Plain,
}

impl Chunk {
    pub(crate) fn of(plain: Plain) -> Self {
        Self {
            id: BlobId::of(&plain),
            plain,
        }
    }
}

/// A blob as it goes into a pack, or just its name where the repository has it.
pub(crate) struct SealedChunk {
    pub(crate) id: BlobId,
    pub(crate) plain_length: u64,
    /// `None` when the blob was known already.
    pub(crate) sealed: Option<SealedBytes>,
    /// The room that its bytes take until they are in a pack.
    pub(crate) _permit: Option<Arc<Permit>>,
}

pub(crate) struct SealedBytes {
    pub(crate) bytes: Vec<u8>,
    /// `None` when stored raw.
    pub(crate) uncompressed_length: Option<u32>,
}

/// Seals blobs with the repository's key.
#[derive(Clone)]
pub(crate) struct Sealer {
    key: Arc<MasterKey>,
    /// Where plain bytes are taken from, and sealed ones given back to.
    pub(crate) buffers: Buffers,
}

impl Sealer {
    pub(crate) fn new(key: Arc<MasterKey>, buffers: Buffers) -> Self {
        Self { key, buffers }
    }

    /// Trees are always compressed, since restic packs them anew otherwise. Data stays raw when compressing it saves nothing.
    pub(crate) fn seal(
        &self,
        context: &mut CpuContext,
        blob_type: BlobType,
        plain: Plain,
    ) -> Result<SealedBytes> {
        let worth_trying = match blob_type {
            BlobType::Tree => true,
            BlobType::Data => !plain.is_empty() && !looks_incompressible(&plain),
        };
        let mut compressed = Vec::new();
        let mut uncompressed_length = None;
        if worth_trying {
            compressed = self.buffers.take(compress_bound(plain.len()));
            let compressor = &mut context.compressor;
            let smaller = compressor
                .compress_if_smaller(&plain, &mut compressed)
                .map_err(sealing)?;
            if blob_type == BlobType::Tree && !smaller {
                compressor.compress(&plain, &mut compressed).map_err(sealing)?;
            }
            if smaller || blob_type == BlobType::Tree {
                uncompressed_length = u32::try_from(plain.len()).ok();
            }
        }
        let mut bytes = plain.into_buffer();
        if uncompressed_length.is_some() {
            bytes.clear();
            self.key.seal_into(&compressed, &mut bytes).map_err(sealing)?;
        } else {
            self.key.seal_in_place(&mut bytes).map_err(sealing)?;
        }
        self.buffers.give(compressed);
        Ok(SealedBytes {
            bytes,
            uncompressed_length,
        })
    }
}
