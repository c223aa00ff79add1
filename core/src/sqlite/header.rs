//! The first hundred bytes of a database file, as SQLite's "Database File Format" gives them (section 1.3).

/// Every SQLite database begins so.
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
pub(crate) const HEADER_BYTES: usize = 100;
/// The smallest and the largest page. Both, and the powers of two between them, are all the sizes there are.
pub(crate) const PAGE_BYTES_MIN: u32 = 512;
pub(crate) const PAGE_BYTES_MAX: u32 = 65_536;

/// What the engine needs of a header. Big-endian on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) page_bytes: u32,
    /// Whether the file's own word is that it is used with a write-ahead log.
    pub(crate) is_wal: bool,
    /// Increased by every transaction in rollback mode; in write-ahead mode it may stay.
    pub(crate) change_counter: u32,
    /// The number of pages, where the header can be believed: versions before 3.7.0 did not keep it.
    pub(crate) pages: Option<u32>,
    pub(crate) user_version: i32,
    pub(crate) application_id: i32,
}

impl Header {
    /// `None` where this is not the beginning of a database: another magic, or a page size that is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return None;
        }
        let word = |at: usize| {
            let word = bytes[at..at + 4].iter();
            word.fold(0, |number, &byte| number << 8 | u32::from(byte))
        };
        let page_bytes = match u32::from(bytes[16]) << 8 | u32::from(bytes[17]) {
            1 => PAGE_BYTES_MAX,
            other => other,
        };
        if !is_page_size(page_bytes) {
            return None;
        }
        let (change_counter, pages, valid_for) = (word(24), word(28), word(92));
        Some(Self {
            page_bytes,
            is_wal: bytes[19] == 2,
            change_counter,
            pages: (pages > 0 && change_counter == valid_for).then_some(pages),
            user_version: word(60).cast_signed(),
            application_id: word(68).cast_signed(),
        })
    }
}

pub(crate) fn is_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_of_every_page_size_are_read_as_sqlite_wrote_them() {
        let dir = tempfile::tempdir().unwrap();
        for shift in 9..=16 {
            let (page_bytes, path) = (1_u32 << shift, dir.path().join(format!("{shift}.db")));
            let app = rusqlite::Connection::open(&path).unwrap();
            app.execute_batch(&format!(
                "PRAGMA page_size={page_bytes}; PRAGMA user_version=-7; PRAGMA application_id=77; CREATE TABLE t (x)"
            ))
            .unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let header = Header::parse(&bytes).unwrap();
            assert_eq!(header.page_bytes, page_bytes);
            assert_eq!(
                header.pages,
                u32::try_from(bytes.len()).ok().map(|bytes| bytes / page_bytes)
            );
            assert!(!header.is_wal);
            assert_eq!((header.user_version, header.application_id), (-7, 77));
            app.pragma_update(None, "journal_mode", "wal").unwrap();
            assert!(Header::parse(&std::fs::read(&path).unwrap()).unwrap().is_wal);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_none(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic: bool) {
            if magic && bytes.len() >= MAGIC.len() {
                bytes[..MAGIC.len()].copy_from_slice(MAGIC);
            }
            if let Some(header) = Header::parse(&bytes) {
                prop_assert!(is_page_size(header.page_bytes));
            }
        }
    }
}
