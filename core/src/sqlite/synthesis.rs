//! The log that a snapshot keeps beside a database: the pages that differ from the stored file, as a write-ahead log that any SQLite reads.
//!
//! A snapshot holds a database `app.db` as two files. `app.db` is the *base*: it is stored once and stays while it is worth it.
//! `app.db-wal` is synthesised: what the app's own log holds is not in it, but every page that differs from the base, in frames
//! that only ever grow in number, the last of each snapshot being a commit. Whoever puts both files side by side and opens
//! them has the database as it was. Where nothing differs, the log is its header alone.
//!
//! Its header is always the same for a page size, so that a reader of a tree knows such a log by the id of its first blob, without
//! fetching it: [`page_bytes_of`].

use std::sync::LazyLock;

use super::{
    header::{PAGE_BYTES_MAX, PAGE_BYTES_MIN},
    wal::{ByteOrder, Checksum, FRAME_HEADER_BYTES, FrameHeader, WAL_HEADER_BYTES, WalHeader},
};
use crate::format::BlobId;

/// What follows the name of a database in that of its log.
pub(crate) const LOG_SUFFIX: &[u8] = b"-wal";
/// Any salts would do, since no log is ever written over another; these name the writer to whoever looks at a dump.
const SALTS: [u32; 2] = [u32::from_be_bytes(*b"LIFE"), u32::from_be_bytes(*b"BOAT")];

fn log_header(page_bytes: u32) -> WalHeader {
    WalHeader {
        // SQLite computes either; on little-endian machines, which phones are, this one takes no swapping.
        order: ByteOrder::Little,
        page_bytes,
        sequence: 0,
        salts: SALTS,
    }
}

/// The first blob of every synthesised log of databases with this page size.
pub(crate) fn header_blob(page_bytes: u32) -> [u8; WAL_HEADER_BYTES] {
    log_header(page_bytes).encode().0
}

static HEADERS: LazyLock<Vec<(BlobId, u32)>> = LazyLock::new(|| {
    let sizes = PAGE_BYTES_MIN.trailing_zeros()..=PAGE_BYTES_MAX.trailing_zeros();
    let size = |shift| 1_u32 << shift;
    sizes
        .map(|shift| (BlobId::of(&header_blob(size(shift))), size(shift)))
        .collect()
});

/// Whether a file of a snapshot, given the ids of its blobs, is a synthesised log; and for which size of pages.
pub(crate) fn page_bytes_of(content: &[BlobId]) -> Option<u32> {
    let first = content.first()?;
    HEADERS.iter().find(|(id, _)| id == first).map(|(_, size)| *size)
}

/// The end of a synthesised log: what appending to it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub(crate) page_bytes: u32,
    pub(crate) frames: u32,
    pub(crate) checksum: Checksum,
}

impl LogEnd {
    /// Of a log that is its header alone.
    pub(crate) fn empty(page_bytes: u32) -> Self {
        Self {
            page_bytes,
            frames: 0,
            checksum: log_header(page_bytes).encode().1,
        }
    }

    /// The header of the frame that holds `page` as the page of number `number`. `commit_pages`: in the last frame of a snapshot the
    /// number of pages of the database, otherwise zero.
    pub(crate) fn append(&mut self, number: u32, commit_pages: u32, page: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        let header = FrameHeader {
            page: number,
            commit_pages,
        };
        let (bytes, checksum) = header.encode(&log_header(self.page_bytes), self.checksum, page);
        self.checksum = checksum;
        self.frames += 1;
        bytes
    }

    /// The length of the log as a file.
    pub(crate) fn bytes(&self) -> u64 {
        let frame = FRAME_HEADER_BYTES as u64 + u64::from(self.page_bytes);
        WAL_HEADER_BYTES as u64 + u64::from(self.frames) * frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_reads_a_base_with_its_synthesised_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = rusqlite::Connection::open(&path).unwrap();
        app.execute_batch("PRAGMA page_size=1024; CREATE TABLE t (x); INSERT INTO t VALUES ('old')")
            .unwrap();
        let base = std::fs::read(&path).unwrap();
        app.execute_batch("UPDATE t SET x = 'new'; INSERT INTO t VALUES (zeroblob(5000))")
            .unwrap();
        let now = std::fs::read(&path).unwrap();
        let (old_pages, new_pages): (Vec<_>, Vec<_>) =
            (base.chunks(1024).collect(), now.chunks(1024).collect());
        let changed: Vec<u32> = (0..new_pages.len())
            .filter(|&at| old_pages.get(at) != new_pages.get(at))
            .map(|at| at as u32 + 1)
            .collect();
        let (mut end, mut log) = (LogEnd::empty(1024), header_blob(1024).to_vec());
        for &number in &changed {
            let commit = if Some(&number) == changed.last() {
                new_pages.len() as u32
            } else {
                0
            };
            let page = new_pages[number as usize - 1];
            log.extend_from_slice(&end.append(number, commit, page));
            log.extend_from_slice(page);
        }
        assert_eq!(log.len() as u64, end.bytes());
        let back = dir.path().join("back.db");
        std::fs::write(&back, &base).unwrap();
        std::fs::write(dir.path().join("back.db-wal"), &log).unwrap();
        let restored = rusqlite::Connection::open(&back).unwrap();
        let ask = |sql: &str| {
            restored
                .query_row(sql, [], |row| row.get::<_, String>(0))
                .unwrap()
        };
        assert_eq!(ask("PRAGMA integrity_check"), "ok");
        assert_eq!(ask("SELECT x FROM t WHERE rowid = 1"), "new");
        drop(restored);
        assert_eq!(std::fs::read(&back).unwrap(), now, "folded in, page by page");
    }

    #[test]
    fn a_synthesised_log_is_known_by_its_first_blob() {
        for shift in 9..=16 {
            let id = BlobId::of(&header_blob(1 << shift));
            assert_eq!(page_bytes_of(&[id, BlobId::of(b"more")]), Some(1 << shift));
        }
        assert_eq!(page_bytes_of(&[BlobId::of(b"other")]), None);
        assert_eq!(page_bytes_of(&[]), None);
    }
}
