//! What a prune is asked to do, what it would do, and what it did.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use crate::{
    format::{PackId, RepositoryId, Timestamp},
    limits,
};

/// How much of what is stored may be of no use to anyone before packs are packed anew for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Nothing is packed anew for the sake of room.
    Unlimited,
    /// Of all that is stored, below 100.
    Percent(f64),
    Bytes(u64),
}

impl Default for MaxUnused {
    /// restic's.
    fn default() -> Self {
        Self::Percent(5.0)
    }
}

impl MaxUnused {
    /// In bytes, where `used` bytes are of use.
    pub(super) fn bytes(self, used: u64) -> u64 {
        match self {
            Self::Unlimited => u64::MAX,
            Self::Bytes(bytes) => bytes,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "`as` saturates, and a share need not be exact"
            )]
            Self::Percent(percent) => (percent / (100.0 - percent) * used as f64) as u64,
        }
    }
}

/// Why a text is no bound for what is unused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither 'unlimited', nor a share such as '5%', nor a number of bytes such as '200M'")]
pub struct InvalidMaxUnused(String);

impl FromStr for MaxUnused {
    type Err = InvalidMaxUnused;

    fn from_str(text: &str) -> Result<Self, InvalidMaxUnused> {
        let invalid = || InvalidMaxUnused(text.to_owned());
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| invalid())?;
            let valid = (0.0..100.0).contains(&percent);
            return if valid {
                Ok(Self::Percent(percent))
            } else {
                Err(invalid())
            };
        }
        parse_bytes(text).map(Self::Bytes).ok_or_else(invalid)
    }
}

/// A number of bytes as restic writes one: `K`, `M`, `G` and `T` are powers of 1024.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// One prune, or one window of it: what is left over is for the next.
#[derive(Debug, Clone, PartialEq)]
pub struct PruneJob {
    pub max_unused: MaxUnused,
    /// Packs of at most so many bytes are packed anew: what is of use in them is fetched and sent.
    pub max_repack_bytes: Option<u64>,
    /// Packs smaller than so many bytes are put together where there are ten of them. Without it, those far below the others.
    pub repack_smaller_than: Option<u64>,
    /// Only packs that hold folders are packed anew: no pieces of files are fetched.
    pub trees_only: bool,
    /// How long a pack must have been of no use before no index names it any more, and how long no index must have named it before it is
    /// deleted. It must be longer than any client sleeps. With zero both are done at once.
    pub grace: Duration,
    /// Bytes of folders that planning may fetch. What was fetched is remembered, so that the next plan goes on there.
    pub max_plan_bytes: Option<u64>,
}

impl Default for PruneJob {
    fn default() -> Self {
        Self {
            max_unused: MaxUnused::default(),
            max_repack_bytes: None,
            repack_smaller_than: None,
            trees_only: false,
            grace: limits::PRUNE_GRACE,
            max_plan_bytes: None,
        }
    }
}

/// What is to be done with one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackAction {
    /// What is of use in it goes into new packs; after that it is of no use.
    Repack,
    /// It has been of no use since this time, or was first seen so: marked, and left alone until the grace is over.
    WaitUnused { since: Timestamp },
    /// It has been of no use for the grace, or all that is of use in it lies elsewhere too: the indexes name it no more.
    Retire,
    /// No index has named it since this time, or it was first seen so: marked, and left alone until the grace is over.
    WaitUnindexed { since: Timestamp },
    /// No index has named it for the grace: deleted.
    Delete,
    /// No index names it, and a snapshot that came late needs what is in it: an index names it again.
    Recover,
    /// An index names it, its file is missing, and nothing in it is needed: the indexes name it no more.
    Forget,
}

/// Some packs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackCount {
    pub packs: u64,
    /// As stored.
    pub bytes: u64,
}

impl PackCount {
    pub(super) fn add(&mut self, bytes: u64) {
        self.packs += 1;
        self.bytes += bytes;
    }
}

/// Some blobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlobCount {
    pub blobs: u64,
    /// As stored.
    pub bytes: u64,
}

impl BlobCount {
    pub(super) fn add(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

/// A plan in numbers. Every pack of the vault is counted once, in one of the first eight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneTotals {
    pub keep: PackCount,
    pub repack: PackCount,
    pub wait_unused: PackCount,
    pub retire: PackCount,
    pub wait_unindexed: PackCount,
    pub delete: PackCount,
    pub recover: PackCount,
    /// Not in the vault, but in an index. Its bytes are those that the index says.
    pub forget: PackCount,
    /// One copy of each blob that snapshots need.
    pub used: BlobCount,
    /// Further copies of those.
    pub duplicate: BlobCount,
    /// What no snapshot needs, in packs that an index names.
    pub unused: BlobCount,
    /// What is of use in the packs that are packed anew: about what is fetched, and what is sent.
    pub repacked: BlobCount,
    /// Kept this time, because of `max_repack_bytes`: another prune with the same bound packs them anew.
    pub postponed: PackCount,
    /// Bytes of no use that stay in packs that are kept.
    pub unused_kept_bytes: u64,
    pub snapshots: u64,
    pub index_files: u64,
}

impl PruneTotals {
    /// Bytes that executing the plan deletes at once.
    pub fn freed_now_bytes(&self) -> u64 {
        self.delete.bytes
    }

    /// Bytes that later prunes delete, when they have been of no use for long enough.
    pub fn freed_later_bytes(&self) -> u64 {
        let repacked = self.repack.bytes.saturating_sub(self.repacked.bytes);
        self.wait_unused.bytes + self.retire.bytes + self.wait_unindexed.bytes + repacked
    }
}

/// What a prune would do. It holds nothing that executing it believes: the vault is looked at anew, and a pack is
/// touched only if both the plan and that look say so.
#[derive(Debug, Clone)]
pub struct PrunePlan {
    pub job: PruneJob,
    pub totals: PruneTotals,
    /// By pack; those that are kept as they are, are not in it.
    pub actions: BTreeMap<PackId, PackAction>,
    /// Whether everything was read that a plan needs; if not, there is nothing in it, and planning again goes on.
    pub is_whole: bool,
    pub(super) repository: RepositoryId,
}

/// What a prune did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Packs whose useful blobs were put into new packs, and the new packs.
    pub repacked: PackCount,
    pub written: PackCount,
    /// Packs that wait, after this prune, until they may be retired or deleted.
    pub marked: PackCount,
    /// Packs that no index names any more.
    pub retired: PackCount,
    pub deleted: PackCount,
    pub recovered: PackCount,
    pub index_files_written: u64,
    pub index_files_removed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_restic_reads_them() {
        for (text, bound) in [
            ("unlimited", MaxUnused::Unlimited),
            ("5%", MaxUnused::Percent(5.0)),
            ("0.5%", MaxUnused::Percent(0.5)),
            ("0", MaxUnused::Bytes(0)),
            ("200M", MaxUnused::Bytes(200 << 20)),
            ("1GiB", MaxUnused::Bytes(1 << 30)),
        ] {
            assert_eq!(text.parse(), Ok(bound));
        }
        for text in [
            "",
            "%",
            "100%",
            "-1%",
            "NaN%",
            "5 parts",
            "1.5M",
            "99999999999999T",
        ] {
            assert!(text.parse::<MaxUnused>().is_err(), "{text}");
        }
        assert_eq!(MaxUnused::Percent(5.0).bytes(9500), 500);
        assert_eq!(MaxUnused::Percent(0.0).bytes(9500), 0);
    }
}
