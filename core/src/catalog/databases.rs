//! What is stored of each database, so that a snapshot sends the pages that changed and nothing else.
//!
//! The hashes of a database's pages stand in segments. While a database is compared, changed segments go to a table of their own;
//! they take the place of the old ones in the transaction that records the pack which completes the database's new content.
//! A run that ends before that has changed nothing.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{blobs::broken, files, sql_error};
use crate::{
    error::Result,
    format::{BlobId, ID_BYTES},
    sqlite::{segment::Segment, synthesis::LogEnd, wal::Checksum},
};

/// A database as the vault, or the spool, holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseState {
    /// Pages that it has, base and log together.
    pub(crate) pages: u32,
    pub(crate) chunk_bytes: u32,
    pub(crate) base_bytes: u64,
    pub(crate) base: Vec<BlobId>,
    pub(crate) log: Vec<BlobId>,
    pub(crate) end: LogEnd,
    /// The headers of the file and of its log when they were read.
    pub(crate) fingerprint: Vec<u8>,
}

impl DatabaseState {
    /// The length of the database as one file.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.pages) * u64::from(self.end.page_bytes)
    }
}

/// The number of a database in the catalog, given once and kept.
pub(crate) fn number(tx: &Transaction<'_>, dir: &[u8], name: &[u8]) -> Result<i64> {
    let dir = files::save_dir(tx, dir)?;
    tx.prepare_cached("INSERT OR IGNORE INTO databases (dir, name) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![dir, name]))
        .map_err(sql_error)?;
    tx.prepare_cached("SELECT no FROM databases WHERE dir = ?1 AND name = ?2")
        .and_then(|mut statement| statement.query_row(params![dir, name], |row| row.get(0)))
        .map_err(sql_error)
}

/// What is stored of a database; `None` where nothing is, or nothing whole.
pub(crate) fn load(connection: &Connection, dir: &[u8], name: &[u8]) -> Result<Option<DatabaseState>> {
    let row = connection
        .prepare_cached(
            "SELECT page_bytes, pages, chunk_bytes, base_bytes, base, log, frames, checksum, fingerprint
             FROM databases JOIN dirs ON dirs.no = databases.dir
             WHERE dirs.path = ?1 AND name = ?2 AND page_bytes IS NOT NULL",
        )
        .and_then(|mut statement| {
            let read = |row: &rusqlite::Row<'_>| {
                let ids: [Vec<u8>; 2] = [row.get(4)?, row.get(5)?];
                let numbers: (u32, u32, u32, i64, u32, i64) = (
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(6)?,
                    row.get(7)?,
                );
                Ok((numbers, ids, row.get(8)?))
            };
            statement.query_row(params![dir, name], read).optional()
        })
        .map_err(sql_error)?;
    let Some((numbers, [base, log], fingerprint)) = row else {
        return Ok(None);
    };
    let (page_bytes, pages, chunk_bytes, base_bytes, frames, checksum) = numbers;
    let checksum = checksum.cast_unsigned();
    Ok(Some(DatabaseState {
        pages,
        chunk_bytes,
        base_bytes: base_bytes.cast_unsigned(),
        base: ids(&base)?,
        log: ids(&log)?,
        end: LogEnd {
            page_bytes,
            frames,
            checksum: Checksum((checksum >> 32) as u32, checksum as u32),
        },
        fingerprint,
    }))
}

/// The hashes of one segment; with `next`, as they were put since [`begin`], where they were.
pub(crate) fn segment(
    connection: &Connection,
    database: i64,
    no: u32,
    next: bool,
) -> Result<Option<Segment>> {
    let from = |table: &str| {
        let sql = format!("SELECT hashes FROM {table} WHERE database = ?1 AND segment = ?2");
        let found = connection.prepare_cached(&sql).and_then(|mut statement| {
            statement
                .query_row(params![database, no], |row| row.get(0))
                .optional()
        });
        found.map_err(sql_error)
    };
    let mut bytes: Option<Vec<u8>> = None;
    if next {
        bytes = from("database_pages_next")?;
    }
    if bytes.is_none() {
        bytes = from("database_pages")?;
    }
    let decode = |bytes: Vec<u8>| Segment::decode(&bytes).ok_or_else(|| broken("broken page hashes"));
    bytes.map(decode).transpose()
}

/// Forgets what an earlier comparison put and never completed. `anew`: there is no base to compare with, so the old hashes mean nothing.
pub(crate) fn begin(tx: &Transaction<'_>, database: i64, anew: bool) -> Result<()> {
    tx.execute("DELETE FROM database_pages_next WHERE database = ?1", [database])
        .map_err(sql_error)?;
    if anew {
        let unset = "UPDATE databases SET page_bytes = NULL WHERE no = ?1";
        tx.execute(unset, [database]).map_err(sql_error)?;
        tx.execute("DELETE FROM database_pages WHERE database = ?1", [database])
            .map_err(sql_error)?;
    }
    Ok(())
}

pub(crate) fn put_segment(tx: &Transaction<'_>, database: i64, no: u32, segment: &Segment) -> Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO database_pages_next VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute(params![database, no, segment.encode()]))
        .map(|_| ())
        .map_err(sql_error)
}

/// Records a database all of whose content is in recorded packs, and takes its new hashes over.
pub(crate) fn save(tx: &Transaction<'_>, dir: &[u8], name: &[u8], state: &DatabaseState) -> Result<()> {
    let no = number(tx, dir, name)?;
    let Checksum(first, second) = state.end.checksum;
    let checksum = (u64::from(first) << 32 | u64::from(second)).cast_signed();
    tx.prepare_cached(
        "UPDATE databases SET page_bytes = ?2, pages = ?3, chunk_bytes = ?4, base_bytes = ?5, base = ?6, log = ?7,
         frames = ?8, checksum = ?9, fingerprint = ?10 WHERE no = ?1",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            no,
            state.end.page_bytes,
            state.pages,
            state.chunk_bytes,
            state.base_bytes.cast_signed(),
            bytes(&state.base),
            bytes(&state.log),
            state.end.frames,
            checksum,
            state.fingerprint,
        ])
    })
    .map_err(sql_error)?;
    for sql in [
        "INSERT OR REPLACE INTO database_pages SELECT * FROM database_pages_next WHERE database = ?1",
        "DELETE FROM database_pages_next WHERE database = ?1",
    ] {
        tx.execute(sql, [no]).map_err(sql_error)?;
    }
    tx.execute(
        "DELETE FROM database_pages WHERE database = ?1 AND segment >= ?2",
        params![no, Segment::count(state.pages)],
    )
    .map_err(sql_error)?;
    Ok(())
}

/// Forgets a database, in the folder with this number.
pub(super) fn forget(tx: &Transaction<'_>, dir: i64, name: &[u8]) -> Result<()> {
    let found: Option<i64> = tx
        .prepare_cached("SELECT no FROM databases WHERE dir = ?1 AND name = ?2")
        .and_then(|mut statement| {
            statement
                .query_row(params![dir, name], |row| row.get(0))
                .optional()
        })
        .map_err(sql_error)?;
    let Some(no) = found else { return Ok(()) };
    for table in ["database_pages", "database_pages_next"] {
        let sql = format!("DELETE FROM {table} WHERE database = ?1");
        tx.execute(&sql, [no]).map_err(sql_error)?;
    }
    tx.execute("DELETE FROM databases WHERE no = ?1", [no])
        .map_err(sql_error)?;
    Ok(())
}

/// The folder and the name of every database that was ever stored.
pub(crate) fn all(connection: &Connection) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let sql =
        "SELECT dirs.path, name FROM databases JOIN dirs ON dirs.no = databases.dir ORDER BY dirs.path, name";
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .map_err(sql_error)
}

fn ids(bytes: &[u8]) -> Result<Vec<BlobId>> {
    let ids: Option<Vec<_>> = bytes.chunks(ID_BYTES).map(BlobId::from_slice).collect();
    ids.ok_or_else(|| broken("a broken content list"))
}

fn bytes(ids: &[BlobId]) -> Vec<u8> {
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn state(pages: u32) -> DatabaseState {
        DatabaseState {
            pages,
            chunk_bytes: 65_536,
            base_bytes: 1 << 40,
            base: vec![BlobId::of(b"one"), BlobId::of(b"two")],
            log: vec![BlobId::of(b"log")],
            end: LogEnd {
                page_bytes: 4096,
                frames: 7,
                checksum: Checksum(u32::MAX, 5),
            },
            fingerprint: vec![1, 2, 3],
        }
    }

    fn filled(hash: u8) -> Segment {
        let mut segment = Segment::new();
        segment.set(0, [hash; 16], hash % 2 == 1);
        segment
    }

    #[test]
    fn new_hashes_count_from_the_moment_the_state_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, _thread, _) = Catalog::start_unlocked(&dir.path().join("catalog.db")).unwrap();
        let no = catalog.write_blocking(|tx| number(tx, b"/app", b"a.db")).unwrap();
        let load_it = || catalog.read_blocking(|db| load(db, b"/app", b"a.db")).unwrap();
        let segment_at = |at, next| {
            catalog
                .read_blocking(move |db| segment(db, no, at, next))
                .unwrap()
        };
        assert_eq!(load_it(), None);
        let put = |at, hash| {
            catalog
                .write_blocking(move |tx| put_segment(tx, no, at, &filled(hash)))
                .unwrap();
        };
        let save_it = |pages| {
            catalog
                .write_blocking(move |tx| save(tx, b"/app", b"a.db", &state(pages)))
                .unwrap();
        };
        put(0, 1);
        put(1, 2);
        save_it(4000);
        assert_eq!(load_it(), Some(state(4000)));
        assert_eq!(segment_at(1, false), Some(filled(2)));
        put(0, 3);
        assert_eq!(segment_at(0, false), Some(filled(1)), "not yet");
        assert_eq!(segment_at(0, true), Some(filled(3)));
        assert_eq!(
            segment_at(1, true),
            Some(filled(2)),
            "unchanged ones are where they were"
        );
        catalog.write_blocking(move |tx| begin(tx, no, false)).unwrap();
        assert_eq!(segment_at(0, true), Some(filled(1)), "given up");
        save_it(5);
        assert_eq!(segment_at(1, false), None, "the database shrank");
        assert_eq!(
            catalog.read_blocking(all).unwrap(),
            [(b"/app".to_vec(), b"a.db".to_vec())]
        );
        catalog.write_blocking(move |tx| begin(tx, no, true)).unwrap();
        assert_eq!((load_it(), segment_at(0, false)), (None, None));
        catalog
            .write_blocking(|tx| files::forget(tx, b"/app", &[b"a.db".to_vec()]))
            .unwrap();
        assert_eq!(catalog.read_blocking(all).unwrap(), []);
    }
}
