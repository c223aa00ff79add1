//! Puts what is of use in wasteful packs into new ones. It only adds to the vault: the old packs stay, and become useless.
//!
//! Blobs are opened and hashed on the way, and stored as they were sealed: nothing that cannot be read is taken for a copy. A new pack is
//! in the vault before an index names it.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Pruner,
    job::{PackAction, PrunePlan},
    survey::Survey,
};
use crate::{
    catalog::{SealedPack, sql_error},
    check::{index, scratch},
    error::{Error, Result},
    format::{BLOB_PLAINTEXT_MAX, BlobType, FileType, IndexId, PackEntry, PackId, encode_index, open_blob},
    limits,
    repository::{PlannedRead, err_if_cancelled, plan_reads},
    runtime::buffers::Buffers,
    seal::{PackWriter, Plain, SealedBytes, Sealer},
    storage::Body,
};

/// The packs that are being written.
struct Writers {
    data: PackWriter,
    tree: PackWriter,
    closed: Vec<SealedPack>,
}

impl Pruner {
    /// Packs anew what both the plan and `actions` say.
    pub(super) async fn repack(
        &mut self,
        plan: &PrunePlan,
        survey: &Survey,
        actions: &[Option<PackAction>],
    ) -> Result<()> {
        let mut writers = Writers {
            data: PackWriter::moving(BlobType::Data),
            tree: PackWriter::moving(BlobType::Tree),
            closed: Vec::new(),
        };
        let mut unindexed = Vec::new();
        for ((pack, &no), action) in survey.packs.iter().zip(&survey.numbers).zip(actions) {
            let planned = plan.actions.get(&pack.id) == Some(&PackAction::Repack);
            if !planned || *action != Some(PackAction::Repack) {
                continue;
            }
            self.keep_lease().await?;
            let moving = self.store.read(move |db| moving(db, no)).await?;
            for read in plan_reads(moving) {
                err_if_cancelled(&self.cancel)?;
                writers = self.copy(pack.id, read, writers).await?;
                self.put(&mut writers, &mut unindexed).await?;
                let bytes: u64 = unindexed.iter().map(|pack: &SealedPack| pack.size).sum();
                if bytes >= limits::PRUNE_CHECKPOINT_BYTES {
                    self.checkpoint(&mut unindexed).await?;
                }
            }
            self.report.repacked.add(pack.file.unwrap_or(0));
            self.meter.files_done(1);
        }
        writers = self.close(writers).await?;
        self.put(&mut writers, &mut unindexed).await?;
        self.checkpoint(&mut unindexed).await
    }

    async fn copy(&self, pack: PackId, read: PlannedRead, mut writers: Writers) -> Result<Writers> {
        let range = read.range.clone();
        let bytes = self
            .repository
            .storage
            .get_range(FileType::Pack, &pack.into(), range)
            .await?;
        self.meter.bytes_read(bytes.len() as u64);
        let (key, spool) = (self.repository.key.clone(), self.spool.clone());
        self.repository
            .cpu
            .run(move |context| {
                let sealer = Sealer::new(key.clone(), Buffers::default());
                for entry in &read.entries {
                    let sealed = read.slice(&bytes, entry);
                    let sealed =
                        sealed.ok_or_else(|| Error::bug("a blob lies outside of what was read for it"))?;
                    let mut sealed = SealedBytes {
                        bytes: sealed.to_vec(),
                        uncompressed_length: entry.uncompressed_length,
                    };
                    let mut copy = sealed.bytes.clone();
                    let decompressor = &mut context.decompressor;
                    let opened = open_blob(&key, entry, &mut copy, decompressor, BLOB_PLAINTEXT_MAX);
                    let plain = opened.map_err(|error| {
                        let text = format!(
                            "the blob {} in pack {pack} cannot be had, so that it stays",
                            entry.id
                        );
                        Error::format(text, error)
                    })?;
                    if entry.blob_type == BlobType::Tree && entry.uncompressed_length.is_none() {
                        sealed =
                            sealer.seal(context, BlobType::Tree, Plain::copy(&sealer.buffers, &plain))?;
                    }
                    let writer = match entry.blob_type {
                        BlobType::Data => &mut writers.data,
                        BlobType::Tree => &mut writers.tree,
                    };
                    if !writer.holds(&entry.id) {
                        writer.append(&spool, entry.id, &sealed)?;
                    }
                    if writer.is_full() {
                        writers.closed.extend(writer.close(&spool, &key)?);
                    }
                }
                Ok(writers)
            })
            .await
    }

    async fn close(&self, mut writers: Writers) -> Result<Writers> {
        let (key, spool) = (self.repository.key.clone(), self.spool.clone());
        self.repository
            .cpu
            .run(move |_| {
                for writer in [&mut writers.data, &mut writers.tree] {
                    writers.closed.extend(writer.close(&spool, &key)?);
                }
                Ok(writers)
            })
            .await
    }

    async fn put(&mut self, writers: &mut Writers, unindexed: &mut Vec<SealedPack>) -> Result<()> {
        for pack in writers.closed.drain(..) {
            let body = Body::File {
                path: self.spool.path(&pack.id),
                size: pack.size,
            };
            self.repository
                .storage
                .put(FileType::Pack, &pack.id.into(), body)
                .await?;
            self.spool.remove(&pack.id);
            self.meter.stored_bytes(pack.size);
            self.report.written.add(pack.size);
            unindexed.push(pack);
        }
        Ok(())
    }

    /// Has an index name the new packs: from now on they count, whatever happens.
    async fn checkpoint(&mut self, unindexed: &mut Vec<SealedPack>) -> Result<()> {
        if unindexed.is_empty() {
            return Ok(());
        }
        let packs = unindexed.drain(..).map(|pack| (pack.id, pack.entries)).collect();
        self.write_index(packs).await.map(drop)
    }

    /// Stores an index file that names these packs.
    pub(super) async fn write_index(&mut self, packs: Vec<(PackId, Vec<PackEntry>)>) -> Result<IndexId> {
        let encode = move |_: &mut _| {
            let mut document = Vec::new();
            let packs = packs.iter().map(|(id, entries)| (*id, entries.as_slice()));
            encode_index(&mut document, packs)
                .map_err(|error| Error::with_source(crate::error::Kind::Bug, "writing an index", error))?;
            Ok(document)
        };
        let document = self.repository.cpu.run(encode).await?;
        let id = self.repository.save_unpacked(FileType::Index, document).await?;
        self.report.index_files_written += 1;
        Ok(id.into())
    }
}

/// The blobs of a pack that go into new ones: used, and this is the copy that counts.
fn moving(connection: &Connection, pack_no: i64) -> Result<Vec<PackEntry>> {
    let mut used = connection
        .prepare_cached("SELECT 1 FROM used WHERE id = ?1 AND tree = ?2")
        .map_err(sql_error)?;
    let mut chosen = connection
        .prepare_cached("SELECT pack_no, offset FROM chosen WHERE id = ?1 AND tree = ?2")
        .map_err(sql_error)?;
    let mut moving = Vec::new();
    for entry in index::listed(connection, pack_no)?.entries {
        let key = params![entry.id.as_bytes(), scratch::is_tree(entry.blob_type)];
        if !used.exists(key).map_err(sql_error)? {
            continue;
        }
        let place: Option<(i64, u32)> = chosen
            .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(sql_error)?;
        if place.is_none_or(|place| place == (pack_no, entry.offset)) {
            moving.push(entry);
        }
    }
    Ok(moving)
}
