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
        let start = usize::try_from(u64::from(entry.offset).checked_sub(self.range.start)?).ok()?;
        bytes.get(start..start.checked_add(entry.length as usize)?)
    }
}

/// Plans the reads for blobs of one pack. Blobs that lie close together share a request; a single blob may exceed the size of one.
pub(crate) fn plan_reads(mut entries: Vec<PackEntry>) -> Vec<PlannedRead> {
    entries.sort_unstable_by_key(|entry| (entry.offset, entry.length));
    entries.dedup();
    let mut reads: Vec<PlannedRead> = Vec::new();
    for entry in entries {
        let start = u64::from(entry.offset);
        let end = start + u64::from(entry.length);
        match reads.last_mut() {
            Some(read)
                if start.saturating_sub(read.range.end) <= limits::READ_GAP_BYTES_MAX
                    && read.range.end.max(end) - read.range.start <= limits::READ_BYTES_MAX =>
            {
                read.range.end = read.range.end.max(end);
                read.entries.push(entry);
            }
            _ => reads.push(PlannedRead {
                range: start..end,
                entries: vec![entry],
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
}
