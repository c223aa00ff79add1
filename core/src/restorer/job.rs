//! What a restore is asked to do, and what it says it did.

use std::path::PathBuf;

use crate::format::SnapshotId;

/// One restore.
#[derive(Debug, Clone)]
pub struct RestoreJob {
    /// `latest`, or the beginning of a snapshot's id.
    pub snapshot: String,
    /// The folder to restore into; made if it is not there.
    pub target: PathBuf,
    /// Paths in the snapshot, as `ls` shows them: only these, and what is below them. Empty: everything.
    pub include: Vec<PathBuf>,
}

/// Something that is not in the target as it was in the snapshot, although its content is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreWarning {
    pub path: PathBuf,
    pub reason: String,
}

/// What a restore did.
#[derive(Debug, Clone)]
pub struct RestoreReport {
    pub snapshot: SnapshotId,
    pub files: u64,
    pub dirs: u64,
    /// Symbolic links, devices, pipes.
    pub others: u64,
    /// Plain bytes of the restored files.
    pub bytes: u64,
    /// Bytes of packs that were read from the vault for content, as stored.
    pub fetched_bytes: u64,
    /// Plain bytes that an earlier, interrupted restore had staged already, and that were read back and found
    /// right. Zero where everything was staged and only some of it not yet in place.
    pub resumed_bytes: u64,
    /// Up to `REPORT_NAMES_MAX` of them.
    pub warnings: Vec<RestoreWarning>,
    pub warnings_total: u64,
}
