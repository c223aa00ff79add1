//! Which bytes of a pack to read for the blobs that are wanted: few requests, little waste, bounded memory.

use std::ops::Range;

use crate::{format::PackEntry, limits};

/// One request for part of a pack, and the blobs in it by ascending offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedRead {
    pub(crate) range: Range<u64>,
    pub(crate) entries: Vec<PackEntry>,
}

impl PlannedRead {
    /// The part of the answer that is this blob.
    pub(crate) fn slice<'a>(&self, bytes: &'a [u8], entry: &PackEntry) -> Option<&'a [u8]> {
        bytes.get(self.place(entry)?)
    }

    /// The same, to be opened where it lies.
    pub(crate) fn slice_mut<'a>(&self, bytes: &'a mut [u8], entry: &PackEntry) -> Option<&'a mut [u8]> {
        bytes.get_mut(self.place(entry)?)
    }

    /// Where in the answer this blob lies.
    pub(crate) fn place(&self, entry: &PackEntry) -> Option<Range<usize>> {
        let start = usize::try_from(u64::from(entry.offset).checked_sub(self.range.start)?).ok()?;
        Some(start..start.checked_add(entry.length as usize)?)
    }
}

/// Plans the reads for blobs of one pack. Blobs that lie close together share a request; a single blob may exceed the size of one. What
/// takes several has them of about one length: a full one and a remainder would cost as many requests and more memory.
pub(crate) fn plan_reads(mut entries: Vec<PackEntry>) -> Vec<PlannedRead> {
    entries.sort_unstable_by_key(|entry| (entry.offset, entry.length));
    entries.dedup();
    let is_close = |a: &PackEntry, b: &PackEntry| {
        u64::from(b.offset).saturating_sub(a.end()) <= limits::READ_GAP_BYTES_MAX
    };
    entries.chunk_by(is_close).flat_map(plan_run).collect()
}

fn plan_run(run: &[PackEntry]) -> Vec<PlannedRead> {
    let begin = run.first().map_or(0, |entry| u64::from(entry.offset));
    let length = run.iter().map(PackEntry::end).max().unwrap_or(begin) - begin;
    let enough = length.div_ceil(length.div_ceil(limits::READ_BYTES_MAX).max(1));
    let mut reads: Vec<PlannedRead> = Vec::new();
    for entry in run {
        let (start, end) = (u64::from(entry.offset), entry.end());
        match reads.last_mut() {
            Some(PlannedRead { range, entries })
                if range.end - range.start < enough
                    && range.end.max(end) - range.start <= limits::READ_BYTES_MAX =>
            {
                range.end = range.end.max(end);
                entries.push(*entry);
            }
            _ => reads.push(PlannedRead {
                range: start..end,
                entries: vec![*entry],
            }),
        }
    }
    reads
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{BlobId, BlobType};

    fn entry(offset: u32, length: u32) -> PackEntry {
        let id = BlobId::of(&offset.to_le_bytes());
        PackEntry {
            id,
            blob_type: BlobType::Data,
            offset,
            length,
            uncompressed_length: None,
        }
    }

    proptest! {
        #[test]
        fn every_blob_is_read_once_within_the_bounds(
            spans in prop::collection::vec((0_u32..64 << 20, 32_u32..6 << 20), 0..60)
        ) {
            let mut entries: Vec<_> = spans.iter().map(|&(offset, length)| entry(offset, length)).collect();
            let reads = plan_reads(entries.clone());
            let mut read_entries = Vec::new();
            for read in &reads {
                let length = read.range.end - read.range.start;
                // A blob that is larger by itself is read whole, with what lies inside of it in a damaged directory.
                let largest = read.entries.iter().map(|entry| u64::from(entry.length)).max().unwrap_or(0);
                prop_assert!(length <= limits::READ_BYTES_MAX.max(largest));
                let bytes = vec![0; usize::try_from(length).unwrap()];
                for entry in &read.entries {
                    prop_assert_eq!(read.slice(&bytes, entry).map(<[u8]>::len), Some(entry.length as usize));
                }
                read_entries.extend_from_slice(&read.entries);
            }
            let key = |e: &PackEntry| (e.offset, e.length);
            entries.sort_unstable_by_key(key);
            entries.dedup();
            read_entries.sort_unstable_by_key(key);
            prop_assert_eq!(entries, read_entries);
        }
    }

    #[test]
    fn the_reads_of_a_pack_have_about_one_length() {
        // A tenth of what one read may have, so that a read has ten at most.
        const TENTH: u32 = (limits::READ_BYTES_MAX / 10) as u32;
        let entries: Vec<_> = (0..12).map(|n| entry(n * TENTH, TENTH)).collect();
        let lengths = |reads: Vec<PlannedRead>| -> Vec<u64> {
            reads
                .iter()
                .map(|read| (read.range.end - read.range.start) / u64::from(TENTH))
                .collect()
        };
        assert_eq!(lengths(plan_reads(entries.clone())), [6, 6]);
        assert_eq!(lengths(plan_reads(entries[..10].to_vec())), [10]);
    }
}
