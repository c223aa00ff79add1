//! Looks at the vault: what there is, what of it snapshots need, and what is on its way out. It changes nothing.

use std::collections::{BTreeSet, HashSet};

use rusqlite::{Connection, Transaction, params};
use tokio_util::sync::CancellationToken;

use super::{
    Pruner,
    plan::{CopyAt, PackFacts, Tally},
    store,
};
use crate::{
    catalog::sql_error,
    check::{index, scratch, vault::InFlight},
    error::{Error, Kind, Result},
    format::{
        BlobId, BlobType, FileId, FileType, FormatError, IndexId, PackId, UnpackedReader, decode_marks,
        pack_size,
    },
    limits,
    repository::{Repository, err_if_cancelled, list_snapshots},
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

/// Adds everything up for each pack.
fn tally(
    tx: &Transaction<'_>,
    leaving: &HashSet<PackId>,
    cancel: &CancellationToken,
) -> Result<(Vec<i64>, Vec<PackFacts>)> {
    let (numbers, mut packs) = facts(tx, cancel)?;
    for pack in &mut packs {
        pack.is_leaving = leaving.contains(&pack.id);
    }
    rescue(tx, &numbers, &mut packs, cancel)?;
    count(tx, &numbers, &mut packs, cancel)?;
    choose(tx, &numbers, &mut packs, cancel)?;
    Ok((numbers, packs))
}

/// The packs that an index names or that are there, without what is in them.
fn facts(tx: &Transaction<'_>, cancel: &CancellationToken) -> Result<(Vec<i64>, Vec<PackFacts>)> {
    let (mut numbers, mut packs) = (Vec::new(), Vec::new());
    let mut after = 0;
    loop {
        let batch = index::packs_after(tx, after)?;
        let Some(&(last, ..)) = batch.last() else {
            return Ok((numbers, packs));
        };
        after = last;
        for (no, id, file) in batch {
            err_if_cancelled(cancel)?;
            let listed = index::listed(tx, no)?;
            let indexed = listed.is_named().then(|| pack_size(&listed.entries));
            if indexed.is_none() && file.is_none() {
                continue;
            }
            let mut pack = PackFacts::new(id, file, indexed);
            let marked = store::marked(tx, &id)?;
            pack.unused_since = marked.unused.flatten();
            pack.unindexed_since = marked.unindexed.flatten();
            numbers.push(no);
            packs.push(pack);
        }
    }
}

fn place(numbers: &[i64], no: i64) -> Result<usize> {
    numbers
        .binary_search(&no)
        .map_err(|_| Error::bug("a blob lies in a pack that is not known"))
}

/// Finds the packs that a late snapshot needs although no index names them. A blob that is nowhere refuses the prune.
fn rescue(
    tx: &Transaction<'_>,
    numbers: &[i64],
    packs: &mut [PackFacts],
    cancel: &CancellationToken,
) -> Result<()> {
    let mut statement = tx
        .prepare_cached(
            "SELECT id, tree FROM used WHERE NOT EXISTS
             (SELECT 1 FROM blobs WHERE blobs.id = used.id AND blobs.tree = used.tree AND bad = 0)",
        )
        .map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        err_if_cancelled(cancel)?;
        let read = || Ok((BlobId::from_bytes(row.get(0)?), row.get::<_, bool>(1)?));
        let (id, is_tree) = read().map_err(sql_error)?;
        let blob_type = if is_tree { BlobType::Tree } else { BlobType::Data };
        match scratch::copies(tx, blob_type, &id)?.first() {
            Some(copy) => packs[place(numbers, copy.pack_no)?].rescue = true,
            None => return Err(missing(blob_type, &id)),
        }
    }
    Ok(())
}

pub(super) fn missing(blob_type: BlobType, id: &BlobId) -> Error {
    let what = match blob_type {
        BlobType::Data => "a piece of a file",
        BlobType::Tree => "a folder's tree",
    };
    let text = format!(
        "{what}, the blob {id}, is needed by a snapshot and is in no index; nothing was pruned. `lifeboat \
         check` says what else is missing, `restic repair index` finds it if it is still there"
    );
    Error::new(Kind::Damaged, text)
}

/// Counts every copy of every blob that an index names, and notes the used ones that have several.
fn count(
    tx: &Transaction<'_>,
    numbers: &[i64],
    packs: &mut [PackFacts],
    cancel: &CancellationToken,
) -> Result<()> {
    let mut tally = Tally(packs);
    let mut note = tx
        .prepare_cached("INSERT INTO duplicates VALUES (?1, ?2)")
        .map_err(sql_error)?;
    let sql = "SELECT id, tree, pack_no, offset, length, plain IS NULL, EXISTS
               (SELECT 1 FROM used WHERE used.id = blobs.id AND used.tree = blobs.tree)
               FROM blobs WHERE bad = 0 ORDER BY id, tree, pack_no, offset";
    each_blob(tx, sql, numbers, cancel, |blob| {
        if blob.is_used && blob.copies.len() > 1 {
            note.execute(params![blob.id.as_bytes(), scratch::is_tree(blob.blob_type)])
                .map_err(sql_error)?;
        }
        tally.count(blob.blob_type, blob.is_used, &blob.copies);
        Ok(())
    })
}

/// Settles which copy counts where there are several.
fn choose(
    tx: &Transaction<'_>,
    numbers: &[i64],
    packs: &mut [PackFacts],
    cancel: &CancellationToken,
) -> Result<()> {
    let mut tally = Tally(packs);
    let mut note = tx
        .prepare_cached("INSERT INTO chosen VALUES (?1, ?2, ?3, ?4)")
        .map_err(sql_error)?;
    let sql = "SELECT blobs.id, blobs.tree, pack_no, offset, length, plain IS NULL, 1
               FROM duplicates JOIN blobs ON blobs.id = duplicates.id AND blobs.tree = duplicates.tree
               WHERE bad = 0 ORDER BY blobs.id, blobs.tree, pack_no, offset";
    each_blob(tx, sql, numbers, cancel, |blob| {
        let chosen = tally
            .choose(&blob.copies)
            .and_then(|number| blob.places.get(number));
        let (no, offset) = chosen.ok_or_else(|| Error::bug("a blob has no copy to choose"))?;
        note.execute(params![
            blob.id.as_bytes(),
            scratch::is_tree(blob.blob_type),
            no,
            offset
        ])
        .map_err(sql_error)?;
        Ok(())
    })
}

/// All copies of one blob.
struct Blob {
    id: BlobId,
    blob_type: BlobType,
    is_used: bool,
    copies: Vec<CopyAt>,
    /// The number of the pack and the offset of each.
    places: Vec<(i64, u32)>,
}

/// Hands over blob after blob from rows that come in the order of their blobs.
fn each_blob(
    connection: &Connection,
    sql: &str,
    numbers: &[i64],
    cancel: &CancellationToken,
    mut each: impl FnMut(&Blob) -> Result<()>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    let mut blob: Option<Blob> = None;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let read = || {
            let id = BlobId::from_bytes(row.get(0)?);
            let blob_type = if row.get(1)? {
                BlobType::Tree
            } else {
                BlobType::Data
            };
            let (no, offset, length) = (row.get::<_, i64>(2)?, row.get(3)?, row.get::<_, u32>(4)?);
            Ok((id, blob_type, no, offset, length, row.get(5)?, row.get(6)?))
        };
        let (id, blob_type, no, offset, length, is_raw, is_used) = read().map_err(sql_error)?;
        if !blob
            .as_ref()
            .is_some_and(|blob| (blob.id, blob.blob_type) == (id, blob_type))
        {
            err_if_cancelled(cancel)?;
            let (copies, places) = (Vec::new(), Vec::new());
            let next = Blob {
                id,
                blob_type,
                is_used,
                copies,
                places,
            };
            if let Some(whole) = blob.replace(next) {
                each(&whole)?;
            }
        }
        if let Some(blob) = &mut blob {
            blob.copies.push(CopyAt {
                pack: place(numbers, no)?,
                length: length.into(),
                is_raw,
            });
            blob.places.push((no, offset));
        }
    }
    blob.map_or(Ok(()), |whole| each(&whole))
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
