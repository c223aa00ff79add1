//! What files were when they were last sealed, so that an unchanged one costs one `lstat`.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{blobs::broken, databases, sql_error};
use crate::{
    error::Result,
    format::{BlobId, ID_BYTES},
};

/// What must be equal for a file to count as unchanged. The device is left out: its number changes when a phone mounts its storage anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
    pub(crate) inode: u64,
    /// For a database in write-ahead mode, the log's size and mtime: its pages change there first.
    pub(crate) log: Option<(u64, (i64, u32))>,
}

/// What is remembered of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRow {
    pub(crate) stat: Stat,
    pub(crate) content: Vec<BlobId>,
    /// As `Node` wants them, in one opaque piece; `None` when there are none.
    pub(crate) xattrs: Option<Vec<u8>>,
    /// The loss epoch in which all of `content` was known to be stored.
    pub(crate) epoch: i64,
    /// For a database the length that it has as one file; its content is in `databases`. `None` for any other file.
    pub(crate) database_bytes: Option<u64>,
    /// Whether the status would show the file's next change. Where not, the file must be read again, and the row only tells what was read before.
    pub(crate) settled: bool,
}

impl FileRow {
    /// Whether the file is as `other` says, whatever was the reason to read it again.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let Self {
            stat,
            content,
            xattrs,
            epoch: _,
            database_bytes,
            settled: _,
        } = self;
        (stat, content, xattrs, database_bytes)
            == (&other.stat, &other.content, &other.xattrs, &other.database_bytes)
    }
}

/// A remembered file with its name.
pub(crate) type NamedRow = (Vec<u8>, FileRow);

/// Up to `limit` remembered files of a folder, by name, from the first name after `after` on. `None`: a folder that was
/// never walked.
pub(crate) fn in_dir_after(
    connection: &Connection,
    dir: &[u8],
    after: &[u8],
    limit: usize,
) -> Result<Option<Vec<NamedRow>>> {
    let Some(no) = find_dir(connection, dir)? else {
        return Ok(None);
    };
    let mut statement = connection
        .prepare_cached(
            "SELECT name, stat, content, xattrs, epoch FROM files WHERE dir = ?1 AND name > ?2
             ORDER BY name LIMIT ?3",
        )
        .map_err(sql_error)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![no, after, limit]).map_err(sql_error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        found.push(decode_row(row)?);
    }
    Ok(Some(found))
}

/// What is remembered of one file.
pub(crate) fn one(connection: &Connection, dir: &[u8], name: &[u8]) -> Result<Option<FileRow>> {
    let Some(no) = find_dir(connection, dir)? else {
        return Ok(None);
    };
    let mut statement = connection
        .prepare_cached("SELECT name, stat, content, xattrs, epoch FROM files WHERE dir = ?1 AND name = ?2")
        .map_err(sql_error)?;
    let mut rows = statement.query(params![no, name]).map_err(sql_error)?;
    let row = rows.next().map_err(sql_error)?;
    Ok(row.map(decode_row).transpose()?.map(|(_, file)| file))
}

fn decode_row(row: &Row<'_>) -> Result<NamedRow> {
    let stat: Vec<u8> = row.get(1).map_err(sql_error)?;
    let content: Vec<u8> = row.get(2).map_err(sql_error)?;
    let (stat, database_bytes, settled) = decode_stat(&stat).ok_or_else(|| broken("a broken status"))?;
    let content = content
        .chunks(ID_BYTES)
        .map(BlobId::from_slice)
        .collect::<Option<Vec<_>>>();
    let file = FileRow {
        stat,
        content: content.ok_or_else(|| broken("a broken content list"))?,
        xattrs: row.get(3).map_err(sql_error)?,
        epoch: row.get(4).map_err(sql_error)?,
        database_bytes,
        settled,
    };
    Ok((row.get(0).map_err(sql_error)?, file))
}

fn find_dir(connection: &Connection, dir: &[u8]) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT no FROM dirs WHERE path = ?1")
        .and_then(|mut statement| statement.query_row([dir], |row| row.get(0)).optional())
        .map_err(sql_error)
}

/// Remembers that a folder was walked; returns its number.
pub(crate) fn save_dir(tx: &Transaction<'_>, dir: &[u8]) -> Result<i64> {
    if let Some(no) = find_dir(tx, dir)? {
        return Ok(no);
    }
    tx.prepare_cached("INSERT INTO dirs (path) VALUES (?1)")
        .and_then(|mut statement| statement.execute([dir]))
        .map_err(sql_error)?;
    Ok(tx.last_insert_rowid())
}

/// Remembers a file whose content is all in recorded packs.
pub(crate) fn save(tx: &Transaction<'_>, dir: &[u8], name: &[u8], file: &FileRow) -> Result<()> {
    let no = save_dir(tx, dir)?;
    let mut content = Vec::with_capacity(file.content.len() * ID_BYTES);
    for id in &file.content {
        content.extend_from_slice(id.as_bytes());
    }
    tx.prepare_cached("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .and_then(|mut statement| {
            let stat = encode_stat(&file.stat, file.database_bytes, file.settled);
            statement.execute(params![no, name, stat, content, file.xattrs, file.epoch])
        })
        .map_err(sql_error)?;
    Ok(())
}

/// Forgets files of a folder that are gone.
pub(crate) fn forget(tx: &Transaction<'_>, dir: &[u8], names: &[Vec<u8>]) -> Result<()> {
    let Some(no) = find_dir(tx, dir)? else {
        return Ok(());
    };
    for name in names {
        tx.prepare_cached("DELETE FROM files WHERE dir = ?1 AND name = ?2")
            .and_then(|mut statement| statement.execute(params![no, name]))
            .map_err(sql_error)?;
        databases::forget(tx, no, name)?;
    }
    Ok(())
}

/// Status as bytes: flags (1: database, 2: with a log, 4: not settled), size, mtime, ctime, inode; the database's content size; the log's size and mtime.
fn encode_stat(stat: &Stat, database_bytes: Option<u64>, settled: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(69);
    bytes.push(
        u8::from(database_bytes.is_some()) | u8::from(stat.log.is_some()) << 1 | u8::from(!settled) << 2,
    );
    let time = |bytes: &mut Vec<u8>, (seconds, nanos): (i64, u32)| {
        bytes.extend_from_slice(&seconds.to_le_bytes());
        bytes.extend_from_slice(&nanos.to_le_bytes());
    };
    bytes.extend_from_slice(&stat.size.to_le_bytes());
    time(&mut bytes, stat.mtime);
    time(&mut bytes, stat.ctime);
    bytes.extend_from_slice(&stat.inode.to_le_bytes());
    if let Some(size) = database_bytes {
        bytes.extend_from_slice(&size.to_le_bytes());
    }
    if let Some((size, mtime)) = stat.log {
        bytes.extend_from_slice(&size.to_le_bytes());
        time(&mut bytes, mtime);
    }
    bytes
}

fn decode_stat(bytes: &[u8]) -> Option<(Stat, Option<u64>, bool)> {
    fn u64_of(bytes: &mut &[u8]) -> Option<u64> {
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u64::from_le_bytes(*head))
    }
    fn time_of(bytes: &mut &[u8]) -> Option<(i64, u32)> {
        let seconds = u64_of(bytes)?.cast_signed();
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some((seconds, u32::from_le_bytes(*head)))
    }
    let (&flags, mut rest) = bytes.split_first().filter(|(flags, _)| **flags < 8)?;
    let rest = &mut rest;
    let size = u64_of(rest)?;
    let (mtime, ctime) = (time_of(rest)?, time_of(rest)?);
    let inode = u64_of(rest)?;
    let database_bytes = if flags & 1 != 0 { Some(u64_of(rest)?) } else { None };
    let log = if flags & 2 != 0 {
        Some((u64_of(rest)?, time_of(rest)?))
    } else {
        None
    };
    rest.is_empty().then_some((
        Stat {
            size,
            mtime,
            ctime,
            inode,
            log,
        },
        database_bytes,
        flags & 4 == 0,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_round_trips_and_a_cut_one_is_refused() {
        for (database_bytes, settled) in [(None, true), (Some(4096), true), (None, false), (Some(7), false)] {
            for log in [None, Some((7, (1 << 40, 999_999_999)))] {
                let stat = Stat {
                    size: u64::MAX,
                    mtime: (-5, 1),
                    ctime: (i64::MAX, 2),
                    inode: 3,
                    log,
                };
                let bytes = encode_stat(&stat, database_bytes, settled);
                assert_eq!(decode_stat(&bytes), Some((stat, database_bytes, settled)));
                for cut in 0..bytes.len() {
                    assert_eq!(decode_stat(&bytes[..cut]), None);
                }
                let mut unknown = bytes;
                unknown[0] |= 8;
                assert_eq!(decode_stat(&unknown), None);
            }
        }
    }
}
