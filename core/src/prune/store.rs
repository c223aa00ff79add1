//! The prune's own database. What it knows of the vault's packs and blobs is what a check knows, in the same tables; beside it lies what
//! trees say, which is kept from one prune to the next so that a window does not fetch them all again.
//!
//! It decides what is deleted: it is written durably, and looked over by SQLite before it is believed.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::{
    catalog::{Catalog, CatalogThread, remove_database, sql_error},
    check::scratch,
    error::{Kind, Result},
    format::{BlobId, BlobType, ID_BYTES, IndexId, MarkKind, PackEntry, PackId, PackMark, Timestamp, sha256},
};

const INIT: &str = include_str!("store.sql");
/// "LBpr".
const APPLICATION_ID: i32 = 0x4c42_7072;
/// A database of another version is made anew.
const VERSION: i32 = 1;

/// What a tree refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TreeRefs {
    pub(super) trees: Vec<BlobId>,
    pub(super) data: Vec<BlobId>,
}

/// Opens the database in `dir`, or makes it.
pub(super) fn start(dir: &Path) -> Result<(Catalog, CatalogThread)> {
    let path: PathBuf = dir.join("prune.db");
    let (store, thread, _) = Catalog::start_with(&path, open)?;
    Ok((store, thread))
}

fn open(path: &Path) -> Result<(Connection, bool)> {
    // Left by whoever found it damaged while it was in use.
    let is_spoiled = path.with_extension("rebuild").exists();
    if !is_spoiled && path.exists() {
        match reopen(path) {
            Ok(Some(connection)) => return Ok((connection, false)),
            Ok(None) => {}
            Err(error) if error.kind() == Kind::Catalog => {}
            Err(error) => return Err(error),
        }
    }
    remove_database(path)?;
    let mut connection = scratch::connect(path, "full")?;
    let tx = connection.transaction().map_err(sql_error)?;
    tx.execute_batch(scratch::INIT)
        .and_then(|()| tx.execute_batch(INIT))
        .and_then(|()| tx.pragma_update(None, "application_id", APPLICATION_ID))
        .and_then(|()| tx.pragma_update(None, "user_version", VERSION))
        .map_err(sql_error)?;
    tx.commit().map_err(sql_error)?;
    Ok((connection, true))
}

fn reopen(path: &Path) -> Result<Option<Connection>> {
    let connection = scratch::connect(path, "full")?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let ours = pragma("application_id").map_err(sql_error)? == APPLICATION_ID;
    let current = pragma("user_version").map_err(sql_error)? == VERSION;
    if !ours || !current {
        return Ok(None);
    }
    let verdict: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(sql_error)?;
    Ok((verdict == "ok").then_some(connection))
}

/// Forgets everything but what trees say, and the index files that were read.
pub(super) fn begin(tx: &Transaction<'_>) -> Result<()> {
    tx.execute_batch(
        "DELETE FROM used; DELETE FROM duplicates; DELETE FROM chosen; DELETE FROM trees;
         DELETE FROM blobs WHERE bad = 1; UPDATE packs SET size = NULL",
    )
    .map_err(sql_error)
}

/// Forgets all index files, and the packs with them.
pub(super) fn forget_indexes(tx: &Transaction<'_>) -> Result<()> {
    tx.execute_batch(
        "DELETE FROM index_files; DELETE FROM listings; DELETE FROM blobs; DELETE FROM packs; DELETE FROM marks",
    )
    .map_err(sql_error)
}

/// The index files that were read.
pub(super) fn index_ids(connection: &Connection) -> Result<Vec<(i64, IndexId)>> {
    let mut statement = connection
        .prepare_cached("SELECT no, id FROM index_files ORDER BY no")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, IndexId::from_bytes(row.get(1)?))))
        .map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

/// Records the marks of the index file that was recorded last.
pub(super) fn add_marks(tx: &Transaction<'_>, marks: &[PackMark]) -> Result<()> {
    let index_no: i64 = tx
        .query_row("SELECT max(no) FROM index_files", [], |row| row.get(0))
        .map_err(sql_error)?;
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO marks (index_no, pack, kind, since, entries) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .map_err(sql_error)?;
    for mark in marks {
        let since = mark.since.map(Timestamp::seconds);
        insert
            .execute(params![
                index_no,
                mark.pack.as_bytes(),
                mark.kind == MarkKind::Unindexed,
                since,
                scratch::encode(&mark.entries)
            ])
            .map_err(sql_error)?;
    }
    Ok(())
}

/// What is known of a pack's way out: when it was marked as unused and as unindexed, the latest of each. The inner
/// option is `None` where one of the marks has no time that can be read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marked {
    pub(super) unused: Option<Option<Timestamp>>,
    pub(super) unindexed: Option<Option<Timestamp>>,
}

pub(super) fn marked(connection: &Connection, pack: &PackId) -> Result<Marked> {
    let mut statement = connection
        .prepare_cached("SELECT kind, since FROM marks WHERE pack = ?1")
        .map_err(sql_error)?;
    let mut rows = statement.query([pack.as_bytes()]).map_err(sql_error)?;
    let mut marked = Marked::default();
    while let Some(row) = rows.next().map_err(sql_error)? {
        let read = || Ok((row.get::<_, bool>(0)?, row.get::<_, Option<i64>>(1)?));
        let (is_unindexed, since) = read().map_err(sql_error)?;
        let since = since.and_then(|seconds| Timestamp::new(seconds, 0));
        let slot = if is_unindexed {
            &mut marked.unindexed
        } else {
            &mut marked.unused
        };
        *slot = Some(match *slot {
            None => since,
            Some(other) => other.zip(since).map(|(a, b)| a.max(b)),
        });
    }
    Ok(marked)
}

/// What a mark says is in a pack that no index names.
pub(super) fn marked_entries(connection: &Connection, pack: &PackId) -> Result<Vec<PackEntry>> {
    let mut statement = connection
        .prepare_cached("SELECT entries FROM marks WHERE pack = ?1 AND kind = 1")
        .map_err(sql_error)?;
    let mut rows = statement.query([pack.as_bytes()]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let entries = row.get_ref(0).map_err(sql_error)?;
        let entries = entries.as_blob().ok().and_then(scratch::decode);
        let entries = entries.ok_or_else(scratch::broken)?;
        if !entries.is_empty() {
            return Ok(entries);
        }
    }
    Ok(Vec::new())
}

/// What a tree refers to, if it was read before.
pub(super) fn tree_refs(connection: &Connection, id: &BlobId) -> Result<Option<TreeRefs>> {
    let mut statement = connection
        .prepare_cached("SELECT trees, data, sum FROM tree_refs WHERE id = ?1")
        .map_err(sql_error)?;
    let row: Option<(Vec<u8>, Vec<u8>, Vec<u8>)> = statement
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
        .map_err(sql_error)?;
    let Some((trees, data, kept)) = row else {
        return Ok(None);
    };
    match (split(&trees), split(&data)) {
        (Some(t), Some(d)) if sum(id, &trees, &data) == kept => Ok(Some(TreeRefs { trees: t, data: d })),
        _ => Err(scratch::broken()),
    }
}

pub(super) fn add_tree_refs(tx: &Transaction<'_>, id: &BlobId, refs: &TreeRefs) -> Result<()> {
    let (trees, data) = (join(&refs.trees), join(&refs.data));
    let sum = sum(id, &trees, &data);
    tx.prepare_cached("INSERT OR IGNORE INTO tree_refs (id, trees, data, sum) VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut insert| insert.execute(params![id.as_bytes(), trees, data, sum]))
        .map_err(sql_error)?;
    Ok(())
}

/// Forgets what trees say that no snapshot reaches any more. To be called when all were reached.
pub(super) fn forget_unreached_trees(tx: &Transaction<'_>) -> Result<()> {
    tx.execute(
        "DELETE FROM tree_refs WHERE NOT EXISTS (SELECT 1 FROM trees WHERE trees.id = tree_refs.id)",
        [],
    )
    .map_err(sql_error)?;
    Ok(())
}

pub(super) fn add_used(tx: &Transaction<'_>, blob_type: BlobType, id: &BlobId) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO used VALUES (?1, ?2)")
        .and_then(|mut insert| insert.execute(params![id.as_bytes(), scratch::is_tree(blob_type)]))
        .map_err(sql_error)?;
    Ok(())
}

/// Tells a row whose values are not what was written.
fn sum(id: &BlobId, trees: &[u8], data: &[u8]) -> Vec<u8> {
    let mut all = id.as_bytes().to_vec();
    all.extend_from_slice(&(trees.len() as u64).to_le_bytes());
    all.extend_from_slice(trees);
    all.extend_from_slice(data);
    sha256(&all)[..8].to_vec()
}

fn join(ids: &[BlobId]) -> Vec<u8> {
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

fn split(bytes: &[u8]) -> Option<Vec<BlobId>> {
    bytes.chunks(ID_BYTES).map(BlobId::from_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs() -> TreeRefs {
        TreeRefs {
            trees: vec![BlobId::of(b"t")],
            data: vec![BlobId::of(b"a"), BlobId::of(b"b")],
        }
    }

    #[test]
    fn what_trees_say_outlives_the_prune_and_whatever_is_damaged_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let id = BlobId::of(b"tree");
        let with = || {
            let (store, thread) = start(dir.path()).unwrap();
            let found = store.read_blocking(move |db| tree_refs(db, &id)).unwrap();
            store
                .write_blocking(move |tx| add_tree_refs(tx, &id, &refs()))
                .unwrap();
            drop(store);
            thread.join();
            found
        };
        assert_eq!(with(), None);
        assert_eq!(with(), Some(refs()));
        let path = dir.path().join("prune.db");
        let mut bytes = std::fs::read(&path).unwrap();
        for byte in &mut bytes[8192..8300] {
            *byte ^= 0xff;
        }
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(with(), None, "the damage was believed");
        std::fs::write(dir.path().join("prune.rebuild"), "").unwrap();
        assert_eq!(with(), None, "the mark was not minded");
        assert_eq!(with(), Some(refs()));
    }

    #[test]
    fn the_latest_mark_counts_and_one_without_a_time_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _thread) = start(dir.path()).unwrap();
        let pack = PackId::of(b"p");
        let at = |seconds: Option<i64>| PackMark {
            pack,
            kind: MarkKind::Unused,
            since: seconds.and_then(|seconds| Timestamp::new(seconds, 0)),
            entries: Vec::new(),
        };
        let add = |marks: Vec<PackMark>| {
            store.write_blocking(move |tx| {
                tx.execute("INSERT INTO index_files (id) VALUES (x'00')", [])
                    .map_err(sql_error)?;
                add_marks(tx, &marks)?;
                marked(tx, &pack)
            })
        };
        let marked = add(vec![at(Some(5)), at(Some(9)), at(Some(7))]).unwrap();
        assert_eq!(marked.unused, Some(Timestamp::new(9, 0)));
        assert!(marked.unindexed.is_none());
        assert_eq!(add(vec![at(None)]).unwrap().unused, Some(None));
    }
}
