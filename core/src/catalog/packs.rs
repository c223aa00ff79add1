//! The journal of packs: sealed into the spool, confirmed by the vault, named by an index.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    blobs::{self, broken},
    sql_error,
};
use crate::{
    error::Result,
    format::{BlobId, BlobType, IndexId, PackEntry, PackId},
};

const SPOOLED: i64 = 0;
const CONFIRMED: i64 = 1;
const INDEXED: i64 = 2;

/// A pack that was just closed, or was found.
#[derive(Debug, Clone)]
pub(crate) struct SealedPack {
    pub(crate) id: PackId,
    pub(crate) size: u64,
    pub(crate) entries: Vec<PackEntry>,
}

/// A pack that waits in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpooledPack {
    pub(crate) id: PackId,
    pub(crate) size: u64,
}

/// Records a pack whose file is durable in the spool.
pub(crate) fn add_spooled(tx: &Transaction<'_>, pack: &SealedPack) -> Result<()> {
    add(tx, pack, SPOOLED)
}

/// Records a pack that was found in the vault and that no index names.
pub(crate) fn add_confirmed(tx: &Transaction<'_>, pack: &SealedPack) -> Result<()> {
    add(tx, pack, CONFIRMED)
}

fn add(tx: &Transaction<'_>, pack: &SealedPack, state: i64) -> Result<()> {
    let insert = "INSERT OR IGNORE INTO packs (id, size, state, entries) VALUES (?1, ?2, ?3, ?4)";
    let size = i64::try_from(pack.size).unwrap_or(i64::MAX);
    let values = params![pack.id.as_bytes(), size, state, encode_entries(&pack.entries)];
    if tx
        .prepare_cached(insert)
        .and_then(|mut s| s.execute(values))
        .map_err(sql_error)?
        > 0
    {
        blobs::insert(tx, tx.last_insert_rowid(), &pack.entries)?;
    }
    Ok(())
}

/// What waits in the spool, oldest first.
pub(crate) fn spooled(connection: &Connection) -> Result<Vec<SpooledPack>> {
    let mut statement = connection
        .prepare_cached("SELECT id, size FROM packs WHERE state = ?1 ORDER BY no")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([SPOOLED], |row| {
            let size: i64 = row.get(1)?;
            Ok(SpooledPack {
                id: PackId::from_bytes(row.get(0)?),
                size: size.unsigned_abs(),
            })
        })
        .map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

/// The vault holds the pack. Returns how many blobs are in it, as far as no index names them yet.
pub(crate) fn confirm(tx: &Transaction<'_>, id: &PackId) -> Result<u64> {
    let entry_bytes: Option<i64> = tx
        .prepare_cached(
            "UPDATE packs SET state = ?2 WHERE id = ?1 AND state < ?2 RETURNING coalesce(length(entries), 0)",
        )
        .and_then(|mut statement| {
            statement
                .query_row(params![id.as_bytes(), CONFIRMED], |row| row.get(0))
                .optional()
        })
        .map_err(sql_error)?;
    Ok(entry_bytes.unwrap_or(0).unsigned_abs() / ENTRY_BYTES as u64)
}

/// Packs in place of others in the spool that hold the same blobs, all of which are in the new ones: nothing is lost by it.
pub(crate) fn replace_spooled(tx: &Transaction<'_>, new: &[SealedPack], old: &[PackId]) -> Result<()> {
    for pack in new {
        add_spooled(tx, pack)?;
    }
    for id in old {
        let gone: Option<(i64, Vec<u8>)> = tx
            .prepare_cached("DELETE FROM packs WHERE id = ?1 AND state = ?2 RETURNING no, entries")
            .and_then(|mut s| {
                s.query_row(params![id.as_bytes(), SPOOLED], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
            })
            .map_err(sql_error)?;
        let Some((no, entries)) = gone else { continue };
        let entries = decode_entries(&entries).ok_or_else(|| broken("a pack without its directory"))?;
        blobs::remove(tx, no, &entries)?;
    }
    Ok(())
}

/// Those in the spool that hold a single piece of a file and are longer than so many bytes.
pub(crate) fn single_pieces(connection: &Connection, longer_than: u64) -> Result<Vec<PackId>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT id, entries FROM packs WHERE state = ?1 AND size > ?2 AND length(entries) = ?3",
        )
        .map_err(sql_error)?;
    let values = params![
        SPOOLED,
        i64::try_from(longer_than).unwrap_or(i64::MAX),
        ENTRY_BYTES as i64
    ];
    let mut rows = statement.query(values).map_err(sql_error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        let entries = row.get_ref(1).map_err(sql_error)?;
        let entries = entries.as_blob().ok().and_then(decode_entries);
        let entries = entries.ok_or_else(|| broken("a pack without its directory"))?;
        if entries.iter().all(|entry| entry.blob_type == BlobType::Data) {
            found.push(PackId::from_bytes(row.get(0).map_err(sql_error)?));
        }
    }
    Ok(found)
}

/// Whether every blob of this pack is known from another one.
pub(crate) fn is_redundant(connection: &Connection, pack: &SealedPack) -> Result<bool> {
    let mut statement = connection
        .prepare_cached(
            "SELECT 1 FROM blobs JOIN packs ON packs.no = pack_no
             WHERE blobs.id = ?1 AND tree = ?2 AND packs.id <> ?3",
        )
        .map_err(sql_error)?;
    for entry in &pack.entries {
        let values = params![
            entry.id.as_bytes(),
            blobs::tree(entry.blob_type),
            pack.id.as_bytes()
        ];
        if !statement.exists(values).map_err(sql_error)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Packs, blobs and bytes that the vault has confirmed and no index names.
pub(crate) fn unindexed_totals(connection: &Connection) -> Result<(u64, u64, u64)> {
    let totals: (i64, i64, i64) = connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length(entries)), 0), coalesce(sum(size), 0) FROM packs WHERE state = ?1",
        )
        .and_then(|mut s| s.query_row([CONFIRMED], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))
        .map_err(sql_error)?;
    let (packs, entry_bytes, bytes) = totals;
    Ok((
        packs.unsigned_abs(),
        entry_bytes.unsigned_abs() / ENTRY_BYTES as u64,
        bytes.unsigned_abs(),
    ))
}

/// Packs that the vault has confirmed and no index names, oldest first, up to about `blobs_max` blobs, at least one pack.
pub(crate) fn unindexed(connection: &Connection, blobs_max: usize) -> Result<Vec<SealedPack>> {
    let mut statement = connection
        .prepare_cached("SELECT id, size, entries FROM packs WHERE state = ?1 ORDER BY no")
        .map_err(sql_error)?;
    let mut rows = statement.query([CONFIRMED]).map_err(sql_error)?;
    let (mut packs, mut blobs) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(sql_error)? {
        let entries = row.get_ref(2).map_err(sql_error)?;
        let entries = entries.as_blob().ok().and_then(decode_entries);
        let entries = entries.ok_or_else(|| broken("a pack without its directory"))?;
        blobs += entries.len();
        if blobs > blobs_max && !packs.is_empty() {
            break;
        }
        let id = PackId::from_bytes(row.get(0).map_err(sql_error)?);
        let size: i64 = row.get(1).map_err(sql_error)?;
        packs.push(SealedPack {
            id,
            size: size.unsigned_abs(),
            entries,
        });
    }
    Ok(packs)
}

/// An index file that names these packs is in the vault.
pub(crate) fn indexed(tx: &Transaction<'_>, index: &IndexId, packs: &[PackId]) -> Result<()> {
    let index_no = super::vault::index_no(tx, index)?;
    for pack in packs {
        let no: Option<i64> = tx
            .prepare_cached("UPDATE packs SET state = ?2, entries = NULL WHERE id = ?1 RETURNING no")
            .and_then(|mut statement| {
                statement
                    .query_row(params![pack.as_bytes(), INDEXED], |row| row.get(0))
                    .optional()
            })
            .map_err(sql_error)?;
        if let Some(no) = no {
            name_pack(tx, index_no, no)?;
        }
    }
    Ok(())
}

pub(super) fn name_pack(tx: &Transaction<'_>, index_no: i64, pack_no: i64) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO pack_indexes VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute([index_no, pack_no]))
        .map_err(sql_error)?;
    Ok(())
}

/// Records what an index file says of one pack.
pub(super) fn add_indexed(
    tx: &Transaction<'_>,
    index_no: i64,
    id: &PackId,
    entries: &[PackEntry],
) -> Result<()> {
    let found: Option<(i64, i64)> = tx
        .prepare_cached("SELECT no, state FROM packs WHERE id = ?1")
        .and_then(|mut s| {
            s.query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .map_err(sql_error)?;
    let no = match found {
        Some((no, INDEXED)) => {
            // Another index names it too, or this one names it twice; blobs that are known already are replaced by themselves.
            blobs::insert(tx, no, entries)?;
            no
        }
        Some((no, _)) => {
            tx.prepare_cached("UPDATE packs SET state = ?2, entries = NULL WHERE no = ?1")
                .and_then(|mut statement| statement.execute([no, INDEXED]))
                .map_err(sql_error)?;
            no
        }
        None => {
            let size = i64::try_from(crate::format::pack_size(entries)).unwrap_or(i64::MAX);
            tx.prepare_cached("INSERT INTO packs (id, size, state) VALUES (?1, ?2, ?3)")
                .and_then(|mut statement| statement.execute(params![id.as_bytes(), size, INDEXED]))
                .map_err(sql_error)?;
            let no = tx.last_insert_rowid();
            blobs::insert(tx, no, entries)?;
            no
        }
    };
    name_pack(tx, index_no, no)
}

/// An entry: type and whether compressed (1 byte), sealed length (4), plain length (4), id (32); offsets follow from the lengths.
const ENTRY_BYTES: usize = 41;

fn encode_entries(entries: &[PackEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.push(match entry.blob_type {
            BlobType::Data => 0,
            BlobType::Tree => 1,
        });
        bytes.extend_from_slice(&entry.length.to_le_bytes());
        bytes.extend_from_slice(&entry.uncompressed_length.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(entry.id.as_bytes());
    }
    bytes
}

fn decode_entries(bytes: &[u8]) -> Option<Vec<PackEntry>> {
    let mut offset = 0_u32;
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for row in bytes.chunks(ENTRY_BYTES) {
        let (head, id) = row.split_at_checked(9)?;
        let blob_type = match head[0] {
            0 => BlobType::Data,
            1 => BlobType::Tree,
            _ => return None,
        };
        let length = u32::from_le_bytes(head[1..5].try_into().ok()?);
        let plain = u32::from_le_bytes(head[5..9].try_into().ok()?);
        let uncompressed_length = (plain > 0).then_some(plain);
        entries.push(PackEntry {
            id: BlobId::from_slice(id)?,
            blob_type,
            offset,
            length,
            uncompressed_length,
        });
        offset = offset.checked_add(length)?;
    }
    Some(entries)
}
