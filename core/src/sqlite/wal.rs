//! The write-ahead log's format, as SQLite's "Database File Format" gives it (section 4): a header, then frames of one page each, with a
//! checksum that runs through all of them. Bytes to values and back, no I/O.

use super::header::is_page_size;

pub(crate) const WAL_HEADER_BYTES: usize = 32;
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says in which order of bytes the checksums are computed; everything else is big-endian in either case.
const MAGIC: u32 = 0x377f_0682;
/// The only version of the format there is.
const VERSION: u32 = 3_007_000;

/// How the checksum takes its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

/// The running checksum. Each header and frame holds its value up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checksum(pub(crate) u32, pub(crate) u32);

impl Checksum {
    /// Goes on over `bytes`, which must be a multiple of eight: everything that it covers is.
    pub(crate) fn update(self, order: ByteOrder, bytes: &[u8]) -> Self {
        debug_assert!(bytes.len().is_multiple_of(8));
        let Self(mut first, mut second) = self;
        let (pairs, _) = bytes.as_chunks::<8>();
        for &[a, b, c, d, e, f, g, h] in pairs {
            let (one, two) = match order {
                ByteOrder::Little => (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])),
                ByteOrder::Big => (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])),
            };
            first = first.wrapping_add(one).wrapping_add(second);
            second = second.wrapping_add(two).wrapping_add(first);
        }
        Self(first, second)
    }
}

/// The beginning of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalHeader {
    pub(crate) order: ByteOrder,
    pub(crate) page_bytes: u32,
    /// How often the log began anew.
    pub(crate) sequence: u32,
    /// Frames with other salts are left over from before it began anew.
    pub(crate) salts: [u32; 2],
}

impl WalHeader {
    /// The header and the checksum up to its end. `None` where SQLite would ignore the log, too.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, Checksum)> {
        let bytes = bytes.get(..WAL_HEADER_BYTES)?;
        let magic = word(bytes, 0);
        let order = if magic & 1 == 0 {
            ByteOrder::Little
        } else {
            ByteOrder::Big
        };
        let checksum = Checksum::default().update(order, &bytes[..24]);
        let header = Self {
            order,
            page_bytes: word(bytes, 8),
            sequence: word(bytes, 12),
            salts: [word(bytes, 16), word(bytes, 20)],
        };
        let is_valid = magic & !1 == MAGIC
            && word(bytes, 4) == VERSION
            && is_page_size(header.page_bytes)
            && checksum == Checksum(word(bytes, 24), word(bytes, 28));
        is_valid.then_some((header, checksum))
    }

    pub(crate) fn encode(&self) -> ([u8; WAL_HEADER_BYTES], Checksum) {
        let magic = MAGIC | u32::from(self.order == ByteOrder::Big);
        let mut bytes = [0; WAL_HEADER_BYTES];
        let [one, two] = self.salts;
        let words = [magic, VERSION, self.page_bytes, self.sequence, one, two];
        put_words(&mut bytes, &words);
        let checksum = Checksum::default().update(self.order, &bytes[..24]);
        put_words(&mut bytes[24..], &[checksum.0, checksum.1]);
        (bytes, checksum)
    }
}

/// The beginning of a frame. The page follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Counted from one.
    pub(crate) page: u32,
    /// In the last frame of a transaction, the number of pages that the database has after it; otherwise zero.
    pub(crate) commit_pages: u32,
}

impl FrameHeader {
    /// The frame that follows in the log, and the checksum up to its end. `None` ends the log: left over, torn, or never written whole.
    pub(crate) fn parse(
        log: &WalHeader,
        before: Checksum,
        head: &[u8; FRAME_HEADER_BYTES],
        page: &[u8],
    ) -> Option<(Self, Checksum)> {
        let header = Self::unverified(head);
        if header.page == 0 || !Self::has_salts(head, log.salts) {
            return None;
        }
        let checksum = before.update(log.order, &head[..8]).update(log.order, page);
        (checksum == Checksum(word(head, 16), word(head, 20))).then_some((header, checksum))
    }

    /// What stands there, whether or not it belongs to the log.
    pub(crate) fn unverified(head: &[u8; FRAME_HEADER_BYTES]) -> Self {
        Self {
            page: word(head, 0),
            commit_pages: word(head, 4),
        }
    }

    pub(crate) fn has_salts(head: &[u8; FRAME_HEADER_BYTES], salts: [u32; 2]) -> bool {
        [word(head, 8), word(head, 12)] == salts
    }

    pub(crate) fn encode(
        &self,
        log: &WalHeader,
        before: Checksum,
        page: &[u8],
    ) -> ([u8; FRAME_HEADER_BYTES], Checksum) {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let [one, two] = log.salts;
        put_words(&mut bytes, &[self.page, self.commit_pages, one, two]);
        let checksum = before.update(log.order, &bytes[..8]).update(log.order, page);
        put_words(&mut bytes[16..], &[checksum.0, checksum.1]);
        (bytes, checksum)
    }
}

/// The big-endian word at `at`, which the caller knows to be inside.
fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..at + 4].iter();
    word.fold(0, |number, &byte| number << 8 | u32::from(byte))
}

fn put_words(bytes: &mut [u8], words: &[u32]) {
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_sqlites_is_read_to_its_end_and_written_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = rusqlite::Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(9999))",
        )
        .unwrap();
        let bytes = std::fs::read(dir.path().join("app.db-wal")).unwrap();
        let (header, mut checksum) = WalHeader::parse(&bytes).unwrap();
        assert_eq!(header.encode().0[..], bytes[..WAL_HEADER_BYTES]);
        let frame_bytes = FRAME_HEADER_BYTES + header.page_bytes as usize;
        let frames = bytes[WAL_HEADER_BYTES..].chunks(frame_bytes);
        let mut commits = 0;
        for frame in frames {
            let (head, page) = frame.split_first_chunk().unwrap();
            let (read, after) = FrameHeader::parse(&header, checksum, head, page).unwrap();
            assert_eq!(read.encode(&header, checksum, page), (*head, after));
            let mut torn = page.to_vec();
            torn[77] ^= 1;
            assert_eq!(FrameHeader::parse(&header, checksum, head, &torn), None);
            checksum = after;
            commits += u32::from(read.commit_pages > 0);
        }
        assert!(commits >= 2);
    }

    #[test]
    fn a_header_with_any_bit_wrong_is_none() {
        let header = WalHeader {
            order: ByteOrder::Big,
            page_bytes: 4096,
            sequence: 3,
            salts: [1, 2],
        };
        let (bytes, checksum) = header.encode();
        assert_eq!(WalHeader::parse(&bytes), Some((header, checksum)));
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(WalHeader::parse(&wrong), None, "bit {bit}");
        }
        assert_eq!(WalHeader::parse(&bytes[..31]), None);
    }
}
