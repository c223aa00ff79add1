//! Bookkeeping of pages while a database is compared. Pages are counted from zero here.

use crate::sqlite::segment::SEGMENT_PAGES;

/// One bit for each page.
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(count: u32) -> Self {
        Self(vec![0; count.div_ceil(64) as usize])
    }

    pub(super) fn set(&mut self, at: u32) {
        self.0[at as usize / 64] |= 1 << (at % 64);
    }

    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|word| *word != 0)
    }

    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The pages whose bits are set, in ascending order.
    pub(super) fn ones(&self) -> impl Iterator<Item = u32> {
        self.0
            .iter()
            .zip((0_u32..).step_by(64))
            .flat_map(|(&word, first)| {
                let mut left = word;
                std::iter::from_fn(move || {
                    let bit = (left != 0).then(|| left.trailing_zeros())?;
                    left &= left - 1;
                    Some(first + bit)
                })
            })
    }

    /// The bits of each segment, apart from each other.
    pub(super) fn segments(&mut self) -> impl Iterator<Item = &mut [u64]> {
        self.0.chunks_mut(SEGMENT_PAGES as usize / 64)
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
    fn bits_come_back_in_order_and_each_segment_has_its_own() {
        let mut bits = Bits::new(4100);
        assert!(!bits.any() && bits.count() == 0);
        for at in [4099, 0, 63, 64, 2047, 2048] {
            bits.set(at);
        }
        assert_eq!(bits.ones().collect::<Vec<_>>(), [0, 63, 64, 2047, 2048, 4099]);
        assert!(bits.any() && bits.count() == 6);
        let ones = |words: &mut [u64]| words.iter().map(|word| word.count_ones()).sum::<u32>();
        assert_eq!(bits.segments().map(ones).collect::<Vec<_>>(), [4, 1, 1]);
        assert_eq!(Bits::new(0).segments().count(), 0);
    }
}
