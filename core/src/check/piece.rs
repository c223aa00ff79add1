//! A pack that goes by piece after piece: hashed, cut into its blobs, and each of those opened. Pure
//! computing.

use sha2::{Digest, Sha256};

use crate::format::{BLOB_PLAINTEXT_MAX, Decompressor, FormatError, MasterKey, PackEntry, PackId, open_blob};

/// Sealed, a blob that does not compress is a little longer than in plain: a byte for every 128 KiB, and the
/// frame.
const SEALED_MAX: usize = BLOB_PLAINTEXT_MAX + (BLOB_PLAINTEXT_MAX >> 12);

/// Blobs that cannot be opened, and what is wrong with the first of them.
#[derive(Debug, Default)]
pub(super) struct BadBlobs {
    pub(super) entries: Vec<PackEntry>,
    pub(super) first_reason: String,
}

/// The state between two pieces. Holds at most one sealed blob.
pub(super) struct PackScan {
    hasher: Sha256,
    /// Bytes that have gone by.
    at: u64,
    /// Some did not: then there is no hash to compare.
    skipped: bool,
    entries: Vec<PackEntry>,
    next: usize,
    /// Where the blob before `next` ends.
    end_before: u64,
    /// What has gone by of the blob at `next`.
    partial: Vec<u8>,
    bad: BadBlobs,
}

impl PackScan {
    /// `entries` by offset, as the indexes give them.
    pub(super) fn new(entries: Vec<PackEntry>) -> Self {
        Self {
            hasher: Sha256::new(),
            at: 0,
            skipped: false,
            entries,
            next: 0,
            end_before: 0,
            partial: Vec::new(),
            bad: BadBlobs::default(),
        }
    }

    /// Takes the bytes that follow, and opens every blob that ends in them.
    pub(super) fn piece(&mut self, bytes: &[u8], key: &MasterKey, decompressor: &mut Decompressor) {
        self.hasher.update(bytes);
        let start = self.at;
        self.at += bytes.len() as u64;
        while let Some(&entry) = self.entries.get(self.next) {
            let offset = u64::from(entry.offset);
            if offset >= self.at {
                return;
            }
            let gone_by = start.saturating_sub(offset);
            if offset < self.end_before {
                // Each byte belongs to one blob, lest a hostile index makes one piece the work of hours.
                self.reject("it overlaps the blob before it".into());
            } else if gone_by != self.partial.len() as u64 {
                self.reject("part of it could not be read".into());
            } else if entry.length as usize > SEALED_MAX {
                self.reject(format!("{} bytes are more than a blob may have", entry.length));
            } else {
                // Both lie within the piece, whose length is in range.
                let from = (offset.max(start) - start) as usize;
                let to = (entry.end().min(self.at) - start) as usize;
                self.partial
                    .reserve_exact(entry.length as usize - self.partial.len());
                self.partial.extend_from_slice(&bytes[from..to]);
                if entry.end() > self.at {
                    return;
                }
                let mut sealed = std::mem::take(&mut self.partial);
                match open_blob(key, &entry, &mut sealed, decompressor, BLOB_PLAINTEXT_MAX) {
                    Ok(_) => self.pass(),
                    Err(error) => self.reject(error.to_string()),
                }
            }
        }
    }

    /// Goes on behind bytes that cannot be had.
    pub(super) fn skip(&mut self, length: u64) {
        self.skipped = true;
        self.at += length;
        while let Some(entry) = self.entries.get(self.next) {
            if u64::from(entry.offset) >= self.at {
                return;
            }
            self.reject("it could not be read".into());
        }
    }

    /// Whether the whole pack hashes to its name (`None` if part of it was skipped), and the blobs that are
    /// not in it.
    pub(super) fn finish(mut self, id: &PackId) -> (Option<bool>, BadBlobs) {
        while self.next < self.entries.len() {
            self.reject("it lies behind the end of the file".into());
        }
        let fits = self.hasher.finalize().as_slice() == id.as_bytes();
        ((!self.skipped).then_some(fits), self.bad)
    }

    fn reject(&mut self, reason: String) {
        if let Some(entry) = self.entries.get(self.next) {
            if self.bad.entries.is_empty() {
                self.bad.first_reason = format!("{}: {reason}", entry.id);
            }
            self.bad.entries.push(*entry);
        }
        self.pass();
    }

    fn pass(&mut self) {
        if let Some(entry) = self.entries.get(self.next) {
            self.end_before = self.end_before.max(entry.end());
        }
        self.partial = Vec::new();
        self.next += 1;
    }
}

/// How the directory of a pack differs from what the indexes say of it; `None` where they agree.
pub(super) fn difference(
    header: &Result<Vec<PackEntry>, FormatError>,
    indexed: &[PackEntry],
) -> Option<String> {
    let header = match header {
        Ok(header) => header,
        Err(error) => return Some(format!("its directory cannot be read: {error}")),
    };
    for (there, here) in header.iter().zip(indexed) {
        if there != here {
            return Some(format!(
                "its directory says {}, and the indexes say {}",
                describe(there),
                describe(here)
            ));
        }
    }
    (header.len() != indexed.len()).then(|| {
        format!(
            "its directory lists {} blobs, and the indexes {}",
            header.len(),
            indexed.len()
        )
    })
}

fn describe(entry: &PackEntry) -> String {
    let plain = match entry.uncompressed_length {
        Some(length) => format!("{length} bytes before compression"),
        None => "not compressed".to_owned(),
    };
    let kind = match entry.blob_type {
        crate::format::BlobType::Data => "data",
        crate::format::BlobType::Tree => "tree",
    };
    format!(
        "{kind} blob {} at {}, {} bytes, {plain}",
        entry.id, entry.offset, entry.length
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{BlobId, BlobType, Compressor};

    fn key() -> MasterKey {
        MasterKey::from_raw(&[7; 64]).unwrap()
    }

    /// A pack without a header, and its entries. Every second blob is compressed.
    fn pack(lengths: &[usize]) -> (Vec<u8>, Vec<PackEntry>) {
        let (mut bytes, mut entries) = (Vec::new(), Vec::new());
        for (n, &length) in lengths.iter().enumerate() {
            let plain = vec![n as u8; length];
            let mut content = plain.clone();
            let compress = n % 2 == 1 && length > 0;
            if compress {
                content.clear();
                Compressor::default().compress(&plain, &mut content).unwrap();
            }
            let sealed = key().seal(&content).unwrap();
            entries.push(PackEntry {
                id: BlobId::of(&plain),
                blob_type: BlobType::Data,
                length: sealed.len() as u32,
                uncompressed_length: compress.then_some(length as u32),
                offset: bytes.len() as u32,
            });
            bytes.extend_from_slice(&sealed);
        }
        (bytes, entries)
    }

    fn scan(bytes: &[u8], entries: &[PackEntry], step: usize) -> (Option<bool>, BadBlobs) {
        let mut scan = PackScan::new(entries.to_vec());
        let mut decompressor = Decompressor::new();
        for piece in bytes.chunks(step) {
            scan.piece(piece, &key(), &mut decompressor);
        }
        scan.finish(&PackId::of(bytes))
    }

    proptest! {
        #[test]
        fn pieces_of_any_length_find_exactly_the_changed_blobs(
            lengths in prop::collection::vec(0_usize..300, 1..12),
            step in 1_usize..500,
            change in any::<Option<(prop::sample::Index, prop::sample::Index)>>(),
        ) {
            let (mut bytes, entries) = pack(&lengths);
            let mut expected = Vec::new();
            if let Some((blob, byte)) = change {
                let entry = entries[blob.index(entries.len())];
                bytes[entry.offset as usize + byte.index(entry.length as usize)] ^= 0x10;
                expected.push(entry);
            }
            let (fits, bad) = scan(&bytes, &entries, step);
            prop_assert_eq!(fits, Some(true));
            prop_assert_eq!(bad.entries, expected);
        }

        #[test]
        fn foreign_entries_never_panic(
            spans in prop::collection::vec((0_u32..2000, 0_u32..700), 0..12),
            step in 1_usize..500,
            huge: u32,
        ) {
            let (bytes, honest) = pack(&[100, 200, 300]);
            let mut entries: Vec<_> = spans
                .iter()
                .map(|&(offset, length)| PackEntry { offset, length, ..honest[0] })
                .chain([PackEntry { length: huge, ..honest[1] }])
                .collect();
            entries.sort_unstable_by_key(|entry| entry.offset);
            let (_, bad) = scan(&bytes, &entries, step);
            prop_assert!(bad.entries.len() <= entries.len());
        }
    }

    #[test]
    fn what_was_skipped_costs_only_the_blobs_in_it() {
        let (bytes, entries) = pack(&[100, 100, 100, 100]);
        let mut scan = PackScan::new(entries.clone());
        let (from, to) = (entries[1].offset as usize + 5, entries[2].offset as usize + 1);
        let mut decompressor = Decompressor::new();
        scan.piece(&bytes[..from], &key(), &mut decompressor);
        scan.skip((to - from) as u64);
        scan.piece(&bytes[to..], &key(), &mut decompressor);
        let (fits, bad) = scan.finish(&PackId::of(&bytes));
        assert_eq!((fits, bad.entries), (None, entries[1..3].to_vec()));
    }

    #[test]
    fn every_way_in_which_header_and_index_differ_is_seen() {
        let (_, entries) = pack(&[100, 200]);
        let changed = |change: fn(&mut PackEntry)| {
            let mut changed = entries.clone();
            change(&mut changed[1]);
            difference(&Ok(entries.clone()), &changed)
        };
        assert_eq!(difference(&Ok(entries.clone()), &entries), None);
        assert!(difference(&Ok(entries.clone()), &entries[..1]).is_some());
        assert!(difference(&Err(FormatError::Unauthentic), &entries).is_some());
        assert!(changed(|entry| entry.offset += 1).is_some());
        assert!(changed(|entry| entry.length += 1).is_some());
        assert!(changed(|entry| entry.blob_type = BlobType::Tree).is_some());
        assert!(changed(|entry| entry.uncompressed_length = Some(1)).is_some());
        assert!(changed(|entry| entry.id = BlobId::of(b"")).is_some());
    }
}
