//! Which blobs are stored, and where.

use std::collections::HashSet;

use rusqlite::{Connection, Transaction, params};

use super::sql_error;
use crate::{
    error::{Error, Kind, Result},
    format::{BLOB_PLAINTEXT_MAX, BlobId, BlobType, PackEntry, PackId},
};

/// Compressing adds less than this to what cannot be compressed.
const BLOB_STORED_MAX: usize = BLOB_PLAINTEXT_MAX + BLOB_PLAINTEXT_MAX / 64;

/// Where a blob lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    pub(crate) entry: PackEntry,
}

impl Location {
    /// Refuses an entry that no pack of an honest client has, before memory is spent on reading it: what is
    /// stored is hardly longer than its plaintext, and that is bounded.
    pub(crate) fn check(&self) -> Result<()> {
        if self.entry.length as usize > BLOB_STORED_MAX
            || self.entry.plaintext_length() as usize > BLOB_PLAINTEXT_MAX
        {
            let text = format!(
                "the blob {} is said to have {} bytes, and {} as stored: more than is allowed",
                self.entry.id,
                self.entry.plaintext_length(),
                self.entry.length
            );
            return Err(Error::new(Kind::Damaged, text));
        }
        Ok(())
    }
}

/// For each blob, whether it is stored or in the spool.
pub(crate) fn known(connection: &Connection, blobs: &[(BlobType, BlobId)]) -> Result<Vec<bool>> {
    let mut statement = connection
        .prepare_cached("SELECT 1 FROM blobs WHERE id = ?1 AND tree = ?2")
        .map_err(sql_error)?;
    let mut exists = |blob: &(BlobType, BlobId)| statement.exists(params![blob.1.as_bytes(), tree(blob.0)]);
    blobs.iter().map(|blob| exists(blob).map_err(sql_error)).collect()
}

/// Where each blob lies; packs that the vault has confirmed come before packs in the spool.
pub(crate) fn locate(
    connection: &Connection,
    blobs: &[(BlobType, BlobId)],
    except: &HashSet<PackId>,
) -> Result<Vec<Option<Location>>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT packs.id, offset, length, plain FROM blobs JOIN packs ON packs.no = pack_no
             WHERE blobs.id = ?1 AND tree = ?2 AND state > 0 ORDER BY state DESC, pack_no DESC",
        )
        .map_err(sql_error)?;
    let mut locations = Vec::with_capacity(blobs.len());
    for &(blob_type, id) in blobs {
        let mut rows = statement
            .query(params![id.as_bytes(), tree(blob_type)])
            .map_err(sql_error)?;
        let mut location = None;
        while let Some(row) = rows.next().map_err(sql_error)? {
            let pack = PackId::from_bytes(row.get(0).map_err(sql_error)?);
            if except.contains(&pack) {
                continue;
            }
            let entry = PackEntry {
                id,
                blob_type,
                offset: row.get(1).map_err(sql_error)?,
                length: row.get(2).map_err(sql_error)?,
                uncompressed_length: row.get(3).map_err(sql_error)?,
            };
            location = Some(Location { pack, entry });
            break;
        }
        locations.push(location);
    }
    Ok(locations)
}

/// Records the blobs of a pack.
pub(crate) fn insert(tx: &Transaction<'_>, pack_no: i64, entries: &[PackEntry]) -> Result<()> {
    let mut statement = tx
        .prepare_cached("INSERT OR REPLACE INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .map_err(sql_error)?;
    // In the order of the table: each of its pages is visited once, however many there are.
    let mut sorted: Vec<&PackEntry> = entries.iter().collect();
    sorted.sort_unstable_by_key(|entry| entry.id);
    for entry in sorted {
        statement
            .execute(params![
                entry.id.as_bytes(),
                tree(entry.blob_type),
                pack_no,
                entry.offset,
                entry.length,
                entry.uncompressed_length
            ])
            .map_err(sql_error)?;
    }
    Ok(())
}

/// Forgets that these blobs lie in this pack.
pub(crate) fn remove(tx: &Transaction<'_>, pack_no: i64, entries: &[PackEntry]) -> Result<()> {
    let mut statement = tx
        .prepare_cached("DELETE FROM blobs WHERE id = ?1 AND tree = ?2 AND pack_no = ?3")
        .map_err(sql_error)?;
    for entry in entries {
        let values = params![entry.id.as_bytes(), tree(entry.blob_type), pack_no];
        statement.execute(values).map_err(sql_error)?;
    }
    Ok(())
}

pub(super) fn tree(blob_type: BlobType) -> i64 {
    match blob_type {
        BlobType::Data => 0,
        BlobType::Tree => 1,
    }
}

/// A damaged row, which SQLite itself found no fault with.
pub(super) fn broken(what: &str) -> Error {
    Error::new(
        Kind::Catalog,
        format!("the catalog holds {what}; it is rebuilt at the next start"),
    )
}
