//! Index files: what the vault's say goes into the catalog, and what the catalog knows beyond them goes into new ones.

use std::{
    collections::HashSet,
    io::{self, BufWriter},
};

use tokio_util::sync::CancellationToken;

use super::{Repository, or_cancelled, sealing};
use crate::{
    catalog::{Catalog, SealedPack, packs, vault},
    error::{Error, Kind, Result},
    format::{
        COMPRESSION_LEVEL, FileId, FileType, IndexId, PackId, UnpackedReader, UnpackedWriter, encode_index,
    },
    limits,
    storage::file_name,
};

/// What an index is written in pieces of: each of its fields would be a call of the compressor.
const ENCODE_BUFFER_BYTES: usize = 32 << 10;

/// Brings the catalog up to date with the vault's index files. One listing where nothing changed. Returns the loss epoch.
pub(crate) async fn sync_indexes(
    repository: &Repository,
    catalog: &Catalog,
    cancel: &CancellationToken,
) -> Result<i64> {
    let listed = or_cancelled(cancel, repository.storage.list(FileType::Index)).await?;
    let listed: HashSet<IndexId> = listed.into_iter().map(|(id, _)| id.into()).collect();
    let known = catalog.read(vault::index_ids).await?;
    for id in listed.difference(&known) {
        let name = FileId::from(*id);
        let framed = or_cancelled(cancel, repository.load_unpacked(FileType::Index, &name)).await?;
        let id = *id;
        catalog
            .write(move |tx| {
                let document = UnpackedReader::new(&framed, limits::INDEX_PLAIN_BYTES_MAX)
                    .map_err(|error| Error::format(file_name(FileType::Index, &id.into()), error))?;
                vault::add_index(tx, &id, document)
            })
            .await?;
    }
    let gone: Vec<IndexId> = known.difference(&listed).copied().collect();
    if !gone.is_empty() {
        // After the new ones: a rewritten index names most of what the old one did, and what it names is not lost.
        catalog.write(move |tx| vault::forget_indexes(tx, &gone)).await?;
    }
    catalog.read(vault::loss_epoch).await
}

/// Publishes indexes for every pack that the vault has confirmed and no index names. Returns the index files that were written.
pub(crate) async fn publish_indexes(
    repository: &Repository,
    catalog: &Catalog,
    cancel: &CancellationToken,
) -> Result<Vec<IndexId>> {
    let mut written = Vec::new();
    loop {
        let packs = catalog
            .read(|db| packs::unindexed(db, limits::INDEX_BLOBS_MAX))
            .await?;
        if packs.is_empty() {
            return Ok(written);
        }
        let ids: Vec<PackId> = packs.iter().map(|pack| pack.id).collect();
        let framed = index_document(repository, packs).await?;
        // Not given up half way: once the index is in the vault, the catalog should know.
        super::err_if_cancelled(cancel)?;
        let id: IndexId = repository.save_framed(FileType::Index, framed).await?.into();
        catalog.write(move |tx| packs::indexed(tx, &id, &ids)).await?;
        written.push(id);
    }
}

/// Compressed while it is written: of 50,000 blobs, the JSON alone would have some 8 MiB.
async fn index_document(repository: &Repository, packs: Vec<SealedPack>) -> Result<Vec<u8>> {
    let encode = move |_: &mut _| {
        let writer = UnpackedWriter::new(COMPRESSION_LEVEL).map_err(sealing)?;
        let mut document = BufWriter::with_capacity(ENCODE_BUFFER_BYTES, writer);
        encode_index(
            &mut document,
            packs.iter().map(|pack| (pack.id, pack.entries.as_slice())),
        )
        .and_then(|()| document.into_inner().map_err(io::IntoInnerError::into_error))
        .map_err(|error| Error::with_source(Kind::Bug, "writing an index", error))?
        .finish()
        .map_err(sealing)
    };
    repository.cpu.run(encode).await
}
