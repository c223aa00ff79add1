//! Adds up, for each pack, what lies in it: blob by blob, in the order of their ids, so that all copies of one are seen together.

use std::collections::HashSet;

use rusqlite::{Connection, Transaction, params};
use tokio_util::sync::CancellationToken;

use super::{
    facts::{CopyAt, PackFacts, Tally},
    store,
};
use crate::{
    catalog::sql_error,
    check::{index, scratch},
    error::{Error, Kind, Result},
    format::{BlobId, BlobType, PackId, pack_size},
    repository::err_if_cancelled,
};

/// Adds everything up for each pack; with the number of each in the database, ascending. `leaving` were just packed anew.
pub(super) fn tally(
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
        let is_next = |blob: &Blob| (blob.id, blob.blob_type) != (id, blob_type);
        if blob.as_ref().is_none_or(is_next) {
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
