//! The head of a wal-index, the `-shm` file: how much of the log counts. Bytes to values, no I/O.
//!
//! It is in the byte order of the machine, since it never leaves it. Two copies stand side by side; a writer changes the second, then
//! the first, so that a reader of the first, then the second, knows by their being equal that it saw no change half done.

use super::{
    header::is_page_size,
    wal::{ByteOrder, Checksum},
};

const COPY_BYTES: usize = 48;
pub(crate) const INDEX_HEAD_BYTES: usize = 2 * COPY_BYTES;
/// The only version of the format there is.
const VERSION: u32 = 3_007_000;

/// Where the log ends for whoever begins to read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexHead {
    /// Grows with every transaction.
    change: u32,
    pub(crate) page_bytes: u32,
    /// The number of the last frame, which ends a transaction. Zero: there is nothing in the log that counts.
    pub(crate) last_frame: u32,
    /// The number of pages of the database after that frame.
    pub(crate) pages: u32,
    /// Those of the log that this is about.
    pub(crate) salts: [u32; 2],
}

impl IndexHead {
    /// `None` while it is being changed, and before anybody wrote it.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, second) = bytes.get(..INDEX_HEAD_BYTES)?.split_at(COPY_BYTES);
        let native = |at: usize| first[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
        let order = if cfg!(target_endian = "big") {
            ByteOrder::Big
        } else {
            ByteOrder::Little
        };
        let checksum = Checksum::default().update(order, &first[..40]);
        let is_written = first[12] != 0 && native(0) == VERSION;
        if first != second || !is_written || checksum != Checksum(native(40), native(44)) {
            return None;
        }
        let size = first[14..16].try_into().map_or(0, u16::from_ne_bytes);
        // The largest size does not fit: its bit stands in the lowest place.
        let page_bytes = u32::from(size & 0xfe00) + (u32::from(size & 1) << 16);
        // The salts stand here as they stand in the log.
        let salt = |at: usize| first[at..at + 4].try_into().map_or(0, u32::from_be_bytes);
        let last_frame = native(16);
        (last_frame == 0 || is_page_size(page_bytes)).then_some(Self {
            change: native(8),
            page_bytes,
            last_frame,
            pages: native(20),
            salts: [salt(32), salt(36)],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::wal::{FRAME_HEADER_BYTES, WAL_HEADER_BYTES, WalHeader};

    #[test]
    fn the_head_of_sqlites_index_says_where_the_log_ends() {
        for page_bytes in [512_u32, 4096, 65_536] {
            let dir = tempfile::tempdir().unwrap();
            let app = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
            app.execute_batch(&format!(
                "PRAGMA page_size={page_bytes}; PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1)"
            ))
            .unwrap();
            let log = std::fs::read(dir.path().join("app.db-wal")).unwrap();
            let index = std::fs::read(dir.path().join("app.db-shm")).unwrap();
            let head = IndexHead::parse(&index).unwrap();
            assert_eq!(head.page_bytes, page_bytes);
            assert_eq!(head.salts, WalHeader::parse(&log).unwrap().0.salts);
            let frames = (log.len() - WAL_HEADER_BYTES) / (FRAME_HEADER_BYTES + page_bytes as usize);
            assert_eq!(head.last_frame as usize, frames);
            assert_eq!(head.pages, 2);
            let mut wrong = index.clone();
            for at in 0..INDEX_HEAD_BYTES {
                wrong[at] ^= 1;
                assert_eq!(IndexHead::parse(&wrong), None, "byte {at}");
                wrong[at] ^= 1;
            }
            assert_eq!(IndexHead::parse(&index[..INDEX_HEAD_BYTES - 1]), None);
        }
    }
}
