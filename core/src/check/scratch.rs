//! The check's own database: what it learns of the vault lies on disk, so that its memory does not grow with
//! the vault. Nothing in it outlives the check.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{Catalog, CatalogThread, remove_database, sql_error},
    error::{Error, Kind, Result},
    format::{BlobId, BlobType, FileId, ID_BYTES, IndexId, PackEntry, PackId, decode_index},
    limits,
    repository::err_if_cancelled,
};

pub(crate) const INIT: &str = include_str!("scratch.sql");

/// Copies of one blob that are looked at. More say nothing new.
const COPIES_MAX: usize = 8;

/// One place where a blob lies.
#[derive(Debug, Clone)]
pub(crate) struct BlobCopy {
    pub(crate) pack_no: i64,
    pub(crate) pack: PackId,
    pub(crate) entry: PackEntry,
    pub(crate) bad: bool,
}

/// Starts an empty database in `dir`. Whatever an earlier check left there is removed.
pub(super) fn start(dir: &Path) -> Result<(Catalog, CatalogThread, PathBuf)> {
    let path = dir.join("check.db");
    let (scratch, thread, _) = Catalog::start_with(&path, open)?;
    Ok((scratch, thread, path))
}

fn open(path: &Path) -> Result<(Connection, bool)> {
    remove_database(path)?;
    // A change that fails is undone, but nothing need survive the process.
    let connection = connect(path, "off")?;
    connection.execute_batch(INIT).map_err(sql_error)?;
    Ok((connection, true))
}

/// Opens a database of some job's own, or an empty one, with a rollback journal and as much care as `synchronous` says.
pub(crate) fn connect(path: &Path, synchronous: &str) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Without file locks, which nobody else would ask for, and for which a suspended app is killed.
    let connection = Connection::open_with_flags_and_vfs(path, flags, c"unix-none").map_err(sql_error)?;
    let cache = -i64::try_from(limits::CHECK_CACHE_KIB).unwrap_or(16 << 10);
    let set = |name, value: &dyn rusqlite::ToSql| connection.pragma_update(None, name, value);
    set("journal_mode", &"truncate")
        .and_then(|()| set("synchronous", &synchronous))
        .and_then(|()| set("cache_size", &cache))
        .map_err(sql_error)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Records what an index file says. On an error of its content the transaction is to be given up: an index
/// counts whole or not at all.
pub(crate) fn add_index(
    tx: &Transaction<'_>,
    id: &IndexId,
    document: impl Read,
    cancel: &CancellationToken,
) -> Result<()> {
    tx.execute("INSERT INTO index_files (id) VALUES (?1)", [id.as_bytes()])
        .map_err(sql_error)?;
    let index_no = tx.last_insert_rowid();
    decode_index(document, |pack, entries| {
        err_if_cancelled(cancel)?;
        // restic takes a pack without blobs for one that it does not know.
        if entries.is_empty() {
            return Ok(());
        }
        let pack_no = pack_no(tx, &pack)?;
        tx.prepare_cached("INSERT INTO listings (pack_no, index_no, entries) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![pack_no, index_no, encode(&entries)]))
            .map_err(sql_error)?;
        let mut insert = tx
            .prepare_cached("INSERT OR IGNORE INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)")
            .map_err(sql_error)?;
        for entry in &entries {
            let (id, tree) = (entry.id.as_bytes(), is_tree(entry.blob_type));
            insert
                .execute(params![
                    id,
                    tree,
                    pack_no,
                    entry.offset,
                    entry.length,
                    entry.uncompressed_length
                ])
                .map_err(sql_error)?;
        }
        Ok(())
    })
}

fn pack_no(tx: &Transaction<'_>, id: &PackId) -> Result<i64> {
    let found = tx
        .prepare_cached("SELECT no FROM packs WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id.as_bytes()], |row| row.get(0)).optional())
        .map_err(sql_error)?;
    if let Some(no) = found {
        return Ok(no);
    }
    tx.prepare_cached("INSERT INTO packs (id) VALUES (?1)")
        .and_then(|mut statement| statement.execute([id.as_bytes()]))
        .map_err(sql_error)?;
    Ok(tx.last_insert_rowid())
}

/// Records packs that the vault lists, with their sizes.
pub(crate) fn add_files(tx: &Transaction<'_>, files: &[(FileId, u64)]) -> Result<()> {
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO packs (id, size) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET size = \
             excluded.size",
        )
        .map_err(sql_error)?;
    for (id, size) in files {
        let size = i64::try_from(*size).unwrap_or(i64::MAX);
        insert.execute(params![id.as_bytes(), size]).map_err(sql_error)?;
    }
    Ok(())
}

/// What each index file says of a pack, one listing after the other, in the order in which the index files
/// were read.
pub(super) fn listings(
    connection: &Connection,
    pack_no: i64,
    mut each: impl FnMut(i64, Vec<PackEntry>),
) -> Result<()> {
    let mut statement = connection
        .prepare_cached("SELECT index_no, entries FROM listings WHERE pack_no = ?1 ORDER BY no")
        .map_err(sql_error)?;
    let mut rows = statement.query([pack_no]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let entries = row.get_ref(1).map_err(sql_error)?.as_blob().ok().and_then(decode);
        let entries = entries.ok_or_else(broken)?;
        each(row.get(0).map_err(sql_error)?, entries);
    }
    Ok(())
}

/// Notes that these copies cannot be had.
pub(super) fn mark_bad<'a>(
    tx: &Transaction<'_>,
    pack_no: i64,
    entries: impl IntoIterator<Item = &'a PackEntry>,
) -> Result<()> {
    let mut update = tx
        .prepare_cached(
            "UPDATE blobs SET bad = 1 WHERE id = ?1 AND tree = ?2 AND pack_no = ?3 AND offset = ?4",
        )
        .map_err(sql_error)?;
    for entry in entries {
        let (id, tree) = (entry.id.as_bytes(), is_tree(entry.blob_type));
        update
            .execute(params![id, tree, pack_no, entry.offset])
            .map_err(sql_error)?;
    }
    Ok(())
}

/// Where a blob lies, some places of many; none where no index names it.
pub(crate) fn copies(connection: &Connection, blob_type: BlobType, id: &BlobId) -> Result<Vec<BlobCopy>> {
    let mut found = Vec::new();
    // Those that can be had come first, in two questions rather than sorted.
    for bad in [false, true] {
        let mut statement = connection
            .prepare_cached(
                "SELECT pack_no, packs.id, offset, length, plain FROM blobs JOIN packs ON packs.no = pack_no
                 WHERE blobs.id = ?1 AND tree = ?2 AND bad = ?3",
            )
            .map_err(sql_error)?;
        let mut rows = statement
            .query(params![id.as_bytes(), is_tree(blob_type), bad])
            .map_err(sql_error)?;
        while let Some(row) = rows.next().map_err(sql_error)? {
            if found.len() == COPIES_MAX {
                return Ok(found);
            }
            let copy = || {
                Ok(BlobCopy {
                    pack_no: row.get(0)?,
                    pack: PackId::from_bytes(row.get(1)?),
                    entry: PackEntry {
                        id: *id,
                        blob_type,
                        offset: row.get(2)?,
                        length: row.get(3)?,
                        uncompressed_length: row.get(4)?,
                    },
                    bad,
                })
            };
            found.push(copy().map_err(sql_error)?);
        }
    }
    Ok(found)
}

/// What the indexes say of a data blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexed {
    Nowhere,
    /// Named, but all its copies are bad. With its plain length.
    Bad(u64),
    /// With its plain length.
    Good(u64),
}

/// The one question that is asked for each blob of each file.
pub(super) fn indexed(connection: &Connection, id: &BlobId) -> Result<Indexed> {
    let mut statement = connection
        .prepare_cached("SELECT length, plain, bad FROM blobs WHERE id = ?1 AND tree = 0")
        .map_err(sql_error)?;
    let mut rows = statement.query([id.as_bytes()]).map_err(sql_error)?;
    let mut found = Indexed::Nowhere;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let read = || {
            let entry = PackEntry {
                id: *id,
                blob_type: BlobType::Data,
                offset: 0,
                length: row.get(0)?,
                uncompressed_length: row.get(1)?,
            };
            Ok((u64::from(entry.plaintext_length()), row.get(2)?))
        };
        match read().map_err(sql_error)? {
            (length, false) => return Ok(Indexed::Good(length)),
            (length, true) => found = Indexed::Bad(length),
        }
    }
    Ok(found)
}

pub(crate) fn is_tree(blob_type: BlobType) -> bool {
    blob_type == BlobType::Tree
}

/// An entry: type (1 byte), sealed length (4), plain length or 0 (4), offset (4), id (32).
pub(crate) const ENTRY_BYTES: usize = 13 + ID_BYTES;

pub(crate) fn encode(entries: &[PackEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.push(u8::from(is_tree(entry.blob_type)));
        bytes.extend_from_slice(&entry.length.to_le_bytes());
        bytes.extend_from_slice(&entry.uncompressed_length.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&entry.offset.to_le_bytes());
        bytes.extend_from_slice(entry.id.as_bytes());
    }
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<PackEntry>> {
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for row in bytes.chunks(ENTRY_BYTES) {
        let (tree, rest) = row.split_first()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (plain, rest) = rest.split_first_chunk()?;
        let (offset, id) = rest.split_first_chunk()?;
        let plain = u32::from_le_bytes(*plain);
        entries.push(PackEntry {
            id: BlobId::from_slice(id)?,
            blob_type: if *tree == 1 {
                BlobType::Tree
            } else {
                BlobType::Data
            },
            length: u32::from_le_bytes(*length),
            uncompressed_length: (plain > 0).then_some(plain),
            offset: u32::from_le_bytes(*offset),
        });
    }
    Some(entries)
}

pub(crate) fn broken() -> Error {
    Error::new(
        Kind::Catalog,
        "the job's own database is damaged: do the same again",
    )
}
