//! What is known of the packs, and which copy of a blob counts where there are several. Pure.

use std::cmp::Reverse;

use super::job::BlobCount;
use crate::format::{BlobType, PackId, Timestamp};

/// What lies in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Data,
    Tree,
    /// Both, as no client should write it.
    Mixed,
}

/// What is known of one pack.
#[derive(Debug, Clone)]
pub(super) struct PackFacts {
    pub(super) id: PackId,
    /// The size of its file; `None` where there is none.
    pub(super) file: Option<u64>,
    /// The size that its file should have going by the indexes; `None` where none names it.
    pub(super) indexed: Option<u64>,
    pub(super) content: Content,
    /// Some of its trees are not compressed.
    pub(super) raw_trees: bool,
    /// Blobs that snapshots need and that lie nowhere else.
    pub(super) single: BlobCount,
    /// Those that lie elsewhere too.
    pub(super) shared: BlobCount,
    /// Those of the shared ones of which this pack holds the copy that counts.
    pub(super) chosen: BlobCount,
    /// What no snapshot needs.
    pub(super) dead: BlobCount,
    /// Since when it is known to be unused, and to be in no index.
    pub(super) unused_since: Option<Timestamp>,
    pub(super) unindexed_since: Option<Timestamp>,
    /// No index names it, and it holds a blob that a snapshot needs and no index has.
    pub(super) rescue: bool,
    /// It was just packed anew.
    pub(super) is_leaving: bool,
}

impl PackFacts {
    pub(super) fn new(id: PackId, file: Option<u64>, indexed: Option<u64>) -> Self {
        Self {
            id,
            file,
            indexed,
            content: Content::Data,
            raw_trees: false,
            single: BlobCount::default(),
            shared: BlobCount::default(),
            chosen: BlobCount::default(),
            dead: BlobCount::default(),
            unused_since: None,
            unindexed_since: None,
            rescue: false,
            is_leaving: false,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.indexed.is_some() && self.file == self.indexed
    }

    pub(super) fn used_blobs(&self) -> u64 {
        self.single.blobs + self.chosen.blobs
    }

    pub(super) fn unused_blobs(&self) -> u64 {
        self.shared.blobs - self.chosen.blobs + self.dead.blobs
    }

    pub(super) fn unused_bytes(&self) -> u64 {
        self.shared.bytes - self.chosen.bytes + self.dead.bytes
    }

    pub(super) fn bytes(&self) -> u64 {
        self.indexed.or(self.file).unwrap_or(0)
    }

    /// Whether it cannot stay as it is, whatever it holds.
    pub(super) fn is_misshapen(&self) -> bool {
        self.content == Content::Mixed || self.raw_trees
    }
}

/// Adds up what the packs hold, one blob at a time.
pub(super) struct Tally<'a>(pub(super) &'a mut [PackFacts]);

/// One copy of a blob, in the pack at this place.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyAt {
    pub(super) pack: usize,
    pub(super) length: u64,
    pub(super) is_raw: bool,
}

impl Tally<'_> {
    /// Counts all copies of one blob.
    pub(super) fn count(&mut self, blob_type: BlobType, is_used: bool, copies: &[CopyAt]) {
        for copy in copies {
            let Some(pack) = self.0.get_mut(copy.pack) else {
                continue;
            };
            let content = match blob_type {
                BlobType::Data => Content::Data,
                BlobType::Tree => Content::Tree,
            };
            let is_first = pack.single.blobs + pack.shared.blobs + pack.dead.blobs == 0;
            if is_first {
                pack.content = content;
            } else if pack.content != content {
                pack.content = Content::Mixed;
            }
            pack.raw_trees |= blob_type == BlobType::Tree && copy.is_raw;
            let one = BlobCount {
                blobs: 1,
                bytes: copy.length,
            };
            match (is_used, copies.len()) {
                (false, _) => pack.dead.add(one),
                (true, 1) => pack.single.add(one),
                (true, _) => pack.shared.add(one),
            }
        }
    }

    /// Which of several copies of a used blob counts. To be asked when everything is counted.
    pub(super) fn choose(&mut self, copies: &[CopyAt]) -> Option<usize> {
        let known = copies
            .iter()
            .enumerate()
            .filter(|(_, copy)| copy.pack < self.0.len());
        let best = known.min_by_key(|(number, copy)| (rank(&self.0[copy.pack]), *number));
        let (number, copy) = best?;
        self.0[copy.pack].chosen.add(BlobCount {
            blobs: 1,
            bytes: copy.length,
        });
        Some(number)
    }
}

/// The copy that counts lies in the pack of the lowest rank: one that stays anyway, so that the others become useless.
///
/// A pack that an interrupted prune wrote holds nothing but copies of what is used; it comes before the packs that it replaces.
fn rank(pack: &PackFacts) -> (u8, Reverse<u64>, PackId) {
    let class = match (pack.dead.blobs, pack.single.blobs) {
        _ if !pack.is_sound() => 5,
        _ if pack.is_misshapen() || pack.is_leaving => 4,
        (0, 1..) => 0,
        (0, 0) => 1,
        (_, 1..) => 2,
        (_, 0) => 3,
    };
    (class, Reverse(pack.bytes()), pack.id)
}
