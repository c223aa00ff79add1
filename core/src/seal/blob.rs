//! One blob: hashed, compressed where that is worth it, sealed.

use std::sync::Arc;

use crate::{
    error::Result,
    format::{BlobId, BlobType, MasterKey, looks_incompressible},
    repository::sealing,
    runtime::{budget::Permit, cpu::CpuContext},
};

/// Plain bytes on their way to being sealed, with their name.
pub(crate) struct Chunk {
    pub(crate) id: BlobId,
    pub(crate) plain: Vec<u8>,
}

impl Chunk {
    pub(crate) fn of(plain: Vec<u8>) -> Self {
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
}

impl Sealer {
    pub(crate) fn new(key: Arc<MasterKey>) -> Self {
        Self { key }
    }

    /// Trees are always compressed, since restic packs them anew otherwise. Data stays raw when compressing it saves nothing.
    pub(crate) fn seal(
        &self,
        context: &mut CpuContext,
        blob_type: BlobType,
        plain: &[u8],
    ) -> Result<SealedBytes> {
        let worth_trying = match blob_type {
            BlobType::Tree => true,
            BlobType::Data => !plain.is_empty() && !looks_incompressible(plain),
        };
        if worth_trying {
            let mut compressed = Vec::new();
            let smaller = context
                .compressor
                .compress_if_smaller(plain, &mut compressed)
                .map_err(sealing)?;
            if blob_type == BlobType::Tree && !smaller {
                context
                    .compressor
                    .compress(plain, &mut compressed)
                    .map_err(sealing)?;
            }
            if smaller || blob_type == BlobType::Tree {
                let uncompressed_length = u32::try_from(plain.len()).ok();
                let bytes = self.key.seal(&compressed).map_err(sealing)?;
                return Ok(SealedBytes {
                    bytes,
                    uncompressed_length,
                });
            }
        }
        Ok(SealedBytes {
            bytes: self.key.seal(plain).map_err(sealing)?,
            uncompressed_length: None,
        })
    }
}
