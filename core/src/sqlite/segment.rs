//! What is remembered of a run of pages: the hash of each as the last snapshot has it, and whether the synthesised log holds it.

use super::page_hash::{PAGE_HASH_BYTES, PageHash};

/// Pages in one segment: 32 KiB of hashes, which the catalog reads and writes in one piece.
pub(crate) const SEGMENT_PAGES: u32 = 2048;
const LOGGED_BYTES: usize = SEGMENT_PAGES as usize / 8;

/// Up to `SEGMENT_PAGES` pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    logged: Box<[u8; LOGGED_BYTES]>,
    hashes: Vec<PageHash>,
}

impl Segment {
    pub(crate) fn new() -> Self {
        Self {
            logged: Box::new([0; LOGGED_BYTES]),
            hashes: Vec::new(),
        }
    }

    /// Which segment holds the page of this number, counted from one, and where.
    pub(crate) fn place(page: u32) -> (u32, u32) {
        let at = page.saturating_sub(1);
        (at / SEGMENT_PAGES, at % SEGMENT_PAGES)
    }

    /// The pages of segment `no` of a database of `pages` pages.
    pub(crate) fn pages_in(no: u32, pages: u32) -> u32 {
        pages
            .saturating_sub(no.saturating_mul(SEGMENT_PAGES))
            .min(SEGMENT_PAGES)
    }

    pub(crate) fn count(pages: u32) -> u32 {
        pages.div_ceil(SEGMENT_PAGES)
    }

    pub(crate) fn hash(&self, at: u32) -> Option<&PageHash> {
        self.hashes.get(at as usize)
    }

    pub(crate) fn is_logged(&self, at: u32) -> bool {
        self.logged[at as usize / 8] & 1 << (at % 8) != 0
    }

    /// Remembers the page at `at`, which is one that the segment has or the next.
    pub(crate) fn set(&mut self, at: u32, hash: PageHash, logged: bool) {
        match self.hashes.get_mut(at as usize) {
            Some(place) => *place = hash,
            None => self.hashes.push(hash),
        }
        self.set_logged(at, logged);
    }

    pub(crate) fn set_logged(&mut self, at: u32, logged: bool) {
        let byte = &mut self.logged[at as usize / 8];
        *byte = *byte & !(1 << (at % 8)) | u8::from(logged) << (at % 8);
    }

    /// Forgets pages that the database does not have any more: should they come back, they count as changed.
    pub(crate) fn truncate(&mut self, pages: u32) {
        let had = self.hashes.len() as u32;
        self.hashes.truncate(pages as usize);
        for at in pages..had {
            self.set_logged(at, false);
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LOGGED_BYTES + self.hashes.len() * PAGE_HASH_BYTES);
        bytes.extend_from_slice(&*self.logged);
        bytes.extend_from_slice(self.hashes.as_flattened());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (logged, hashes) = bytes.split_first_chunk::<LOGGED_BYTES>()?;
        let (hashes, rest) = hashes.as_chunks::<PAGE_HASH_BYTES>();
        let fits = rest.is_empty() && hashes.len() <= SEGMENT_PAGES as usize;
        fits.then(|| Self {
            logged: Box::new(*logged),
            hashes: hashes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_round_trips_and_a_cut_one_is_refused() {
        let mut segment = Segment::new();
        for at in 0..1000 {
            segment.set(at, [at as u8; 16], at % 3 == 0);
        }
        segment.set(7, [9; 16], true);
        let bytes = segment.encode();
        assert_eq!(Segment::decode(&bytes), Some(segment.clone()));
        assert_eq!(Segment::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Segment::decode(&bytes[..100]), None);
        assert!(segment.is_logged(7) && !segment.is_logged(8) && segment.is_logged(999));
        segment.truncate(8);
        assert_eq!(segment.hashes.len(), 8);
        assert_eq!(segment.hash(8), None);
        assert!(segment.is_logged(7) && !segment.is_logged(999));
    }

    #[test]
    fn every_page_has_its_place() {
        assert_eq!(Segment::place(1), (0, 0));
        assert_eq!(Segment::place(SEGMENT_PAGES), (0, SEGMENT_PAGES - 1));
        assert_eq!(Segment::place(SEGMENT_PAGES + 1), (1, 0));
        assert_eq!(Segment::pages_in(1, SEGMENT_PAGES + 5), 5);
        assert_eq!(Segment::pages_in(2, SEGMENT_PAGES + 5), 0);
        assert_eq!((Segment::count(0), Segment::count(SEGMENT_PAGES + 1)), (0, 2));
    }
}
