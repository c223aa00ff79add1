//! Looks at the vault: what there is, what of it snapshots need, and what is on its way out. It changes nothing.

use std::collections::{BTreeSet, HashSet};

use rusqlite::{Transaction, params};

use super::{Pruner, facts::PackFacts, store, tally::tally};
use crate::{
    catalog::sql_error,
    check::{scratch, vault::InFlight},
    error::{Error, Kind, Result},
    format::{
        BlobId, FileId, FileType, FormatError, IndexId, PackId, UnpackedReader, decode_marks, pack_size,
    },
    limits,
    repository::{Repository, list_snapshots},
    storage::file_name,
};

/// Rows of one transaction: some milliseconds, so that a prune that is stopped ends soon.
const BATCH_FILES: usize = 4096;

/// What was found. The blobs lie in the database.
pub(super) struct Survey {
    pub(super) packs: Vec<PackFacts>,
    /// The number of each in the database, ascending.
    pub(super) numbers: Vec<i64>,
    pub(super) snapshots: u64,
    pub(super) index_files: u64,
}

impl Pruner {
    /// `leaving` are packs that were just packed anew. `None` where more folders would have to be fetched than `fetch_max` allows.
    ///
    /// Snapshots are listed before the indexes are read and those before the packs are listed, so that what other clients add meanwhile is
    /// never taken for missing.
    pub(super) async fn survey(&self, fetch_max: u64, leaving: HashSet<PackId>) -> Result<Option<Survey>> {
        let snapshots = list_snapshots(&self.repository, &self.catalog).await?;
        self.store.write(store::begin).await?;
        let index_files = self.load_indexes().await?;
        self.list_packs().await?;
        let roots: Vec<BlobId> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
        if !self.reach(roots, fetch_max).await? {
            return Ok(None);
        }
        let cancel = self.cancel.clone();
        let (numbers, packs) = self.store.write(move |tx| tally(tx, &leaving, &cancel)).await?;
        Ok(Some(Survey {
            packs,
            numbers,
            snapshots: snapshots.len() as u64,
            index_files,
        }))
    }

    /// Reads the index files that were not read before. Where one that was read is gone, all are read anew.
    async fn load_indexes(&self) -> Result<u64> {
        let listed = self.repository.storage.list(FileType::Index).await?;
        let mut new: BTreeSet<IndexId> = listed.into_iter().map(|(id, _)| id.into()).collect();
        let count = new.len() as u64;
        let known = self.store.read(store::index_ids).await?;
        if known.iter().all(|(_, id)| new.contains(id)) {
            for (_, id) in &known {
                new.remove(id);
            }
        } else {
            self.store.write(store::forget_indexes).await?;
        }
        let mut loads = InFlight::new(limits::CHECK_FILES_IN_FLIGHT);
        let repository = self.repository.clone();
        let mut tasks = new.into_iter().map(|id| {
            let repository = repository.clone();
            async move {
                let framed = repository.load_unpacked(FileType::Index, &id.into()).await?;
                Ok((id, framed))
            }
        });
        loop {
            loads.fill(&mut tasks);
            let Some(loaded) = loads.next().await else {
                return Ok(count);
            };
            let (id, framed) = loaded?;
            self.add_index(id, framed).await?;
        }
    }

    async fn add_index(&self, id: IndexId, framed: Vec<u8>) -> Result<()> {
        let cancel = self.cancel.clone();
        self.store
            .write(move |tx| {
                let name = || file_name(FileType::Index, &FileId::from(id));
                let document = || UnpackedReader::new(&framed, limits::INDEX_PLAIN_BYTES_MAX);
                let broken = |error: FormatError| Error::format(name(), error);
                scratch::add_index(tx, &id, document().map_err(broken)?, &cancel)
                    .map_err(|error| error.within(name()))?;
                let marks = document().and_then(decode_marks).map_err(broken)?;
                store::add_marks(tx, &marks)
            })
            .await
    }

    async fn list_packs(&self) -> Result<()> {
        let files = self.repository.storage.list(FileType::Pack).await?;
        if files.len() > limits::PRUNE_PACKS_MAX {
            let text = format!(
                "the vault holds {} packs, and a plan has room for {}: prune it with restic",
                files.len(),
                limits::PRUNE_PACKS_MAX
            );
            return Err(Error::new(Kind::Unsupported, text));
        }
        for batch in files.chunks(BATCH_FILES) {
            let batch = batch.to_vec();
            self.store.write(move |tx| scratch::add_files(tx, &batch)).await?;
        }
        self.store.write(add_marked_blobs).await
    }
}

/// Records what is in packs that no index names, as far as a mark tells and the file bears it out: snapshots that came late may need it.
fn add_marked_blobs(tx: &Transaction<'_>) -> Result<()> {
    let mut statement = tx
        .prepare_cached(
            "SELECT no, id, size FROM packs WHERE size IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM listings WHERE pack_no = packs.no)",
        )
        .map_err(sql_error)?;
    let mut insert = tx
        .prepare_cached("INSERT OR IGNORE INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)")
        .map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let read = || {
            let size: i64 = row.get(2)?;
            Ok((
                row.get::<_, i64>(0)?,
                PackId::from_bytes(row.get(1)?),
                size.unsigned_abs(),
            ))
        };
        let (no, id, size) = read().map_err(sql_error)?;
        let entries = store::marked_entries(tx, &id)?;
        if pack_size(&entries) != size {
            continue;
        }
        for entry in &entries {
            let (id, tree) = (entry.id.as_bytes(), scratch::is_tree(entry.blob_type));
            insert
                .execute(params![
                    id,
                    tree,
                    no,
                    entry.offset,
                    entry.length,
                    entry.uncompressed_length
                ])
                .map_err(sql_error)?;
        }
    }
    Ok(())
}

/// For planning without a lock: what was found damaged may have been removed meanwhile by someone who may.
pub(super) async fn settled(repository: &Repository, before: &[FileId], error: Error) -> Error {
    if !matches!(error.kind(), Kind::Damaged | Kind::NotFound) {
        return error;
    }
    match repository.storage.list(FileType::Index).await {
        Ok(now) if before.iter().any(|id| !now.iter().any(|(other, _)| other == id)) => {
            let text =
                "another client removed index files while the prune was planned: plan again when it is done";
            Error::with_source(Kind::Locked, text, error)
        }
        _ => error,
    }
}
