//! Which index files are written anew, and what they then say.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::{Connection, params};

use super::store;
use crate::{
    catalog::sql_error,
    check::{index, scratch},
    error::Result,
    format::{IndexId, PackEntry, PackId},
    limits,
};

/// What is to become of the index files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IndexChange {
    /// Those that are not needed any more when the new ones are there.
    pub(super) obsolete: Vec<IndexId>,
    /// Packs that the new ones name, by number.
    pub(super) packs: BTreeSet<i64>,
    /// Whether the marks in index files are written anew.
    pub(super) marks: bool,
}

#[derive(Default)]
struct File {
    blobs: usize,
    is_dirty: bool,
    has_marks: bool,
}

/// Leaves `dropped` out of the indexes, has every pack named once and whole, and puts small index files together.
///
/// `marks_change` says that the marks are others than those in the index files.
pub(super) fn change(
    connection: &Connection,
    dropped: &HashSet<i64>,
    recovered: &[i64],
    marks_change: bool,
) -> Result<IndexChange> {
    let ids: HashMap<i64, IndexId> = store::index_ids(connection)?.into_iter().collect();
    let mut files: HashMap<i64, File> = ids.keys().map(|&no| (no, File::default())).collect();
    let mut named_by: HashMap<i64, i64> = HashMap::new();
    each_listing(connection, |pack_no, index_no, blobs| {
        // Named twice, by one file or by two.
        let other = named_by.insert(pack_no, index_no);
        for no in other.into_iter().chain([index_no]) {
            if let Some(file) = files.get_mut(&no) {
                file.is_dirty |= other.is_some() || dropped.contains(&pack_no);
            }
        }
        if let Some(file) = files.get_mut(&index_no) {
            file.blobs += blobs;
        }
    })?;
    for no in marked_files(connection)? {
        if let Some(file) = files.get_mut(&no) {
            file.has_marks = true;
        }
    }
    let mut marks = marks_change;
    for file in files.values_mut() {
        // An empty one says nothing; one with marks goes when they do.
        file.is_dirty |= file.blobs == 0 && !file.has_marks;
        marks |= file.is_dirty && file.has_marks;
    }
    for file in files.values_mut() {
        file.is_dirty |= marks && file.has_marks;
    }
    let is_small = |file: &File| {
        !file.is_dirty && !file.has_marks && (1..limits::PRUNE_SMALL_INDEX_BLOBS).contains(&file.blobs)
    };
    let small = files.values().filter(|file| is_small(file)).count();
    let any_dirty = files.values().any(|file| file.is_dirty && file.blobs > 0) || !recovered.is_empty();
    if small >= limits::PRUNE_SMALL_INDEXES || any_dirty {
        for file in files.values_mut() {
            file.is_dirty |= is_small(file);
        }
    }
    let mut change = IndexChange {
        marks,
        packs: recovered.iter().copied().collect(),
        ..IndexChange::default()
    };
    each_listing(connection, |pack_no, index_no, _| {
        let is_dirty = files.get(&index_no).is_some_and(|file| file.is_dirty);
        if is_dirty && !dropped.contains(&pack_no) {
            change.packs.insert(pack_no);
        }
    })?;
    let mut obsolete: Vec<i64> = files
        .iter()
        .filter(|(_, file)| file.is_dirty)
        .map(|(&no, _)| no)
        .collect();
    obsolete.sort_unstable();
    change.obsolete = obsolete.iter().filter_map(|no| ids.get(no).copied()).collect();
    Ok(change)
}

/// What each index file says of each pack: the pack, the index file, and how many blobs.
fn each_listing(connection: &Connection, mut each: impl FnMut(i64, i64, usize)) -> Result<()> {
    let mut statement = connection
        .prepare_cached("SELECT pack_no, index_no, length(entries) FROM listings ORDER BY no")
        .map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let read = || Ok((row.get(0)?, row.get(1)?, row.get::<_, u32>(2)?));
        let (pack_no, index_no, bytes) = read().map_err(sql_error)?;
        each(pack_no, index_no, bytes as usize / scratch::ENTRY_BYTES);
    }
    Ok(())
}

fn marked_files(connection: &Connection) -> Result<Vec<i64>> {
    let mut statement = connection
        .prepare_cached("SELECT index_no FROM marks")
        .map_err(sql_error)?;
    let rows = statement.query_map([], |row| row.get(0)).map_err(sql_error)?;
    let mut files: Vec<i64> = rows.collect::<Result<_, _>>().map_err(sql_error)?;
    files.dedup();
    Ok(files)
}

/// How many marks the index files hold.
pub(super) fn marks_held(connection: &Connection) -> Result<u64> {
    let count: i64 = connection
        .query_row("SELECT count(*) FROM marks", [], |row| row.get(0))
        .map_err(sql_error)?;
    Ok(count.unsigned_abs())
}

/// A pack as an index names it; from its mark where none does.
pub(super) fn entries(connection: &Connection, pack_no: i64) -> Result<(PackId, Vec<PackEntry>)> {
    let id: [u8; 32] = connection
        .prepare_cached("SELECT id FROM packs WHERE no = ?1")
        .and_then(|mut statement| statement.query_row(params![pack_no], |row| row.get(0)))
        .map_err(sql_error)?;
    let id = PackId::from_bytes(id);
    let listed = index::listed(connection, pack_no)?;
    if listed.is_named() {
        return Ok((id, listed.entries));
    }
    Ok((id, store::marked_entries(connection, &id)?))
}
