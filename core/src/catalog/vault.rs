//! What the vault was last seen to hold: index files, snapshots, and our own locks in it.

use std::{collections::HashSet, io::Read};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{packs, sql_error};
use crate::{
    error::{Context, Result},
    format::{IndexId, LockId, PackId, RepositoryId, SnapshotId, decode_index},
};

/// The repository that this catalog belongs to, if it was said already.
pub(crate) fn repository(connection: &Connection) -> Result<Option<RepositoryId>> {
    let id: Option<[u8; 32]> = connection
        .query_row("SELECT value FROM meta WHERE key = 'repository'", [], |row| {
            row.get(0)
        })
        .optional()
        .map_err(sql_error)?;
    Ok(id.map(RepositoryId::from_bytes))
}

/// Forgets everything that was known of another repository's vault, and belongs to this one from now on.
pub(crate) fn adopt_repository(tx: &Transaction<'_>, id: &RepositoryId) -> Result<()> {
    for table in [
        "index_files",
        "packs",
        "pack_indexes",
        "blobs",
        "dirs",
        "files",
        "snapshots",
        "own_locks",
        "meta",
    ] {
        tx.execute(&format!("DELETE FROM {table}"), [])
            .map_err(sql_error)?;
    }
    tx.execute("INSERT INTO meta VALUES ('repository', ?1)", [id.as_bytes()])
        .map_err(sql_error)?;
    Ok(())
}

/// How often blobs that were known have vanished. Whoever learnt in this epoch that a blob is stored need not look again.
pub(crate) fn loss_epoch(connection: &Connection) -> Result<i64> {
    let epoch = connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'loss_epoch'")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional());
    Ok(epoch.map_err(sql_error)?.unwrap_or(0))
}

fn begin_epoch(tx: &Transaction<'_>) -> Result<()> {
    let next = loss_epoch(tx)? + 1;
    tx.execute("INSERT OR REPLACE INTO meta VALUES ('loss_epoch', ?1)", [next])
        .map_err(sql_error)?;
    Ok(())
}

pub(crate) fn index_ids(connection: &Connection) -> Result<HashSet<IndexId>> {
    let mut statement = connection
        .prepare_cached("SELECT id FROM index_files")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| Ok(IndexId::from_bytes(row.get(0)?)))
        .map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

pub(super) fn index_no(tx: &Transaction<'_>, id: &IndexId) -> Result<i64> {
    tx.prepare_cached("INSERT OR IGNORE INTO index_files (id) VALUES (?1)")
        .and_then(|mut statement| statement.execute([id.as_bytes()]))
        .map_err(sql_error)?;
    tx.prepare_cached("SELECT no FROM index_files WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id.as_bytes()], |row| row.get(0)))
        .map_err(sql_error)
}

/// Records an index file: `document` is its JSON.
pub(crate) fn add_index(tx: &Transaction<'_>, id: &IndexId, document: impl Read) -> Result<()> {
    let no = index_no(tx, id)?;
    decode_index(document, |pack, entries| {
        packs::add_indexed(tx, no, &pack, &entries)
    })
    .context(|| format!("index/{id}"))
}

/// Forgets index files that are gone, and with them the packs that no other names.
pub(crate) fn forget_indexes(tx: &Transaction<'_>, gone: &[IndexId]) -> Result<()> {
    let mut lost = Vec::new();
    for id in gone {
        let no = index_no(tx, id)?;
        let mut statement = tx
            .prepare_cached(
                "SELECT pack_no FROM pack_indexes AS named WHERE index_no = ?1 AND NOT EXISTS
                 (SELECT 1 FROM pack_indexes WHERE pack_no = named.pack_no AND index_no <> ?1)",
            )
            .map_err(sql_error)?;
        let packs = statement
            .query_map([no], |row| row.get::<_, i64>(0))
            .map_err(sql_error)?;
        lost.extend(packs.collect::<Result<Vec<_>, _>>().map_err(sql_error)?);
        tx.execute("DELETE FROM pack_indexes WHERE index_no = ?1", [no])
            .map_err(sql_error)?;
        tx.execute("DELETE FROM index_files WHERE no = ?1", [no])
            .map_err(sql_error)?;
    }
    lose(tx, &lost)
}

/// Forgets packs that the vault does not hold any more.
pub(crate) fn lose_packs(tx: &Transaction<'_>, gone: &[PackId]) -> Result<()> {
    let mut numbers = Vec::new();
    for id in gone {
        let no: Option<i64> = tx
            .query_row("SELECT no FROM packs WHERE id = ?1", [id.as_bytes()], |row| {
                row.get(0)
            })
            .optional()
            .map_err(sql_error)?;
        numbers.extend(no);
    }
    lose(tx, &numbers)
}

fn lose(tx: &Transaction<'_>, pack_nos: &[i64]) -> Result<()> {
    if pack_nos.is_empty() {
        return Ok(());
    }
    tx.execute_batch("CREATE TEMP TABLE IF NOT EXISTS lost (no INTEGER PRIMARY KEY); DELETE FROM lost")
        .map_err(sql_error)?;
    for no in pack_nos {
        tx.execute("INSERT OR IGNORE INTO lost VALUES (?1)", [no])
            .map_err(sql_error)?;
    }
    // Rare, and one pass over all blobs: an index by pack would cost every backup.
    tx.execute_batch(
        "DELETE FROM blobs WHERE pack_no IN lost; DELETE FROM pack_indexes WHERE pack_no IN lost;
         DELETE FROM packs WHERE no IN lost",
    )
    .map_err(sql_error)?;
    begin_epoch(tx)
}

/// Packs that the vault should hold: confirmed, whether an index names them or not. With their sizes.
pub(crate) fn stored_packs(connection: &Connection) -> Result<Vec<(PackId, u64)>> {
    let mut statement = connection
        .prepare_cached("SELECT id, size FROM packs WHERE state > 0")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| {
            Ok((
                PackId::from_bytes(row.get(0)?),
                row.get::<_, i64>(1)?.unsigned_abs(),
            ))
        })
        .map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

pub(crate) fn snapshots(connection: &Connection) -> Result<Vec<(SnapshotId, Vec<u8>)>> {
    let mut statement = connection
        .prepare_cached("SELECT id, json FROM snapshots")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| Ok((SnapshotId::from_bytes(row.get(0)?), row.get(1)?)))
        .map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

pub(crate) fn add_snapshot(tx: &Transaction<'_>, id: &SnapshotId, json: &[u8]) -> Result<()> {
    tx.execute(
        "INSERT OR IGNORE INTO snapshots VALUES (?1, ?2)",
        params![id.as_bytes(), json],
    )
    .map_err(sql_error)?;
    Ok(())
}

pub(crate) fn forget_snapshots(tx: &Transaction<'_>, gone: &[SnapshotId]) -> Result<()> {
    for id in gone {
        tx.execute("DELETE FROM snapshots WHERE id = ?1", [id.as_bytes()])
            .map_err(sql_error)?;
    }
    Ok(())
}

/// Locks of ours that may still be in the vault.
pub(crate) fn own_locks(connection: &Connection) -> Result<Vec<LockId>> {
    let mut statement = connection
        .prepare_cached("SELECT id FROM own_locks")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| Ok(LockId::from_bytes(row.get(0)?)))
        .map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

pub(crate) fn add_own_lock(tx: &Transaction<'_>, id: &LockId) -> Result<()> {
    tx.execute("INSERT OR IGNORE INTO own_locks VALUES (?1)", [id.as_bytes()])
        .map_err(sql_error)?;
    Ok(())
}

pub(crate) fn forget_own_lock(tx: &Transaction<'_>, id: &LockId) -> Result<()> {
    tx.execute("DELETE FROM own_locks WHERE id = ?1", [id.as_bytes()])
        .map_err(sql_error)?;
    Ok(())
}
