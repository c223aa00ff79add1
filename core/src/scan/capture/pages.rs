//! Bookkeeping of pages while a database is compared. Pages are counted from zero here.

/// One bit for each page.
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(count: u32) -> Self {
        Self(vec![0; count.div_ceil(64) as usize])
    }

    pub(super) fn set(&mut self, at: u32) {
        self.0[at as usize / 64] |= 1 << (at % 64);
    }

    pub(super) fn get(&self, at: u32) -> bool {
        self.0[at as usize / 64] & 1 << (at % 64) != 0
    }

    /// Whether any of `count` bits from `first` on is set. `first` is a multiple of 64.
    pub(super) fn any(&self, first: u32, count: u32) -> bool {
        let (first, until) = (first as usize / 64, (first + count).div_ceil(64) as usize);
        self.0[first..until].iter().any(|word| *word != 0)
    }
}

/// Adds up the chunks of a base that hold some page. Pages are to be touched in ascending order.
pub(super) struct TouchedChunks {
    page_bytes: u64,
    chunk_bytes: u64,
    database_bytes: u64,
    last: Option<u64>,
}

impl TouchedChunks {
    pub(super) fn new(chunk_bytes: u32, page_bytes: u32, pages: u32) -> Self {
        Self {
            page_bytes: u64::from(page_bytes),
            chunk_bytes: u64::from(chunk_bytes),
            database_bytes: u64::from(pages) * u64::from(page_bytes),
            last: None,
        }
    }

    /// The bytes of the page's chunk, if it is the first in it. Pages are counted from zero here.
    pub(super) fn touch(&mut self, page: u32) -> u64 {
        let chunk = u64::from(page) * self.page_bytes / self.chunk_bytes;
        if self.last == Some(chunk) {
            return 0;
        }
        self.last = Some(chunk);
        self.chunk_bytes
            .min(self.database_bytes - chunk * self.chunk_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_count_once_and_the_last_only_as_far_as_the_database_goes() {
        let mut chunks = TouchedChunks::new(65_536, 4096, 20);
        assert_eq!([0, 1, 15].map(|page| chunks.touch(page)), [65_536, 0, 0]);
        assert_eq!([16, 19].map(|page| chunks.touch(page)), [4 * 4096, 0]);
    }

    #[test]
    fn bits_are_found_in_their_range_only() {
        let mut bits = Bits::new(4100);
        bits.set(2048);
        bits.set(4099);
        assert!(!bits.any(0, 2048) && bits.any(2048, 2048) && bits.any(4096, 4));
        assert!(bits.get(4099) && !bits.get(4098));
    }
}
