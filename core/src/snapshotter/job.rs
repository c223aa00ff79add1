//! What a backup is asked to do, and what it says it did.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    format::{SnapshotId, SnapshotSummary, ZonedTimestamp},
    scan::{Databases, Source},
};

/// One backup.
#[derive(Debug, Clone, Default)]
pub struct BackupJob {
    pub sources: Vec<Source>,
    /// Patterns of paths to leave out, as restic reads them.
    pub excludes: Vec<String>,
    pub tags: Vec<String>,
    /// Stands in the snapshot, together with the paths: what belongs together in time has the same of both.
    pub host: String,
    /// Which files are databases, and how they are read. By default all that are found, safely wherever they are open.
    pub databases: Databases,
    /// Publishes nothing where the tree is the one of the last snapshot of the same host and paths.
    pub skip_if_unchanged: bool,
}

/// Something that is not in the snapshot as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
    /// Whether the snapshot has the version of the last one instead.
    pub kept: bool,
}

/// Counts of one backup. Bytes are plain unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStats {
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    pub dirs_new: u64,
    pub dirs_changed: u64,
    pub dirs_unmodified: u64,
    pub data_blobs: u64,
    pub tree_blobs: u64,
    /// Of new blobs.
    pub data_added: u64,
    /// Of new blobs, as stored.
    pub data_added_packed: u64,
    pub files_total: u64,
    pub bytes_total: u64,
}

impl BackupStats {
    /// Adds what earlier windows of the same run sealed. To this one, those files were unmodified.
    pub(super) fn after(mut self, earlier: &Self) -> Self {
        let files_before = earlier.files_new + earlier.files_changed;
        let dirs_before = earlier.dirs_new + earlier.dirs_changed;
        self.files_unmodified = self.files_unmodified.saturating_sub(files_before);
        self.dirs_unmodified = self.dirs_unmodified.saturating_sub(dirs_before);
        self.files_new += earlier.files_new;
        self.files_changed += earlier.files_changed;
        self.dirs_new += earlier.dirs_new;
        self.dirs_changed += earlier.dirs_changed;
        self.data_blobs += earlier.data_blobs;
        self.tree_blobs += earlier.tree_blobs;
        self.data_added += earlier.data_added;
        self.data_added_packed += earlier.data_added_packed;
        self
    }

    pub(super) fn summary(&self, start: ZonedTimestamp, end: ZonedTimestamp) -> SnapshotSummary {
        SnapshotSummary {
            backup_start: start,
            backup_end: end,
            files_new: self.files_new,
            files_changed: self.files_changed,
            files_unmodified: self.files_unmodified,
            dirs_new: self.dirs_new,
            dirs_changed: self.dirs_changed,
            dirs_unmodified: self.dirs_unmodified,
            data_blobs: self.data_blobs,
            tree_blobs: self.tree_blobs,
            data_added: self.data_added,
            data_added_packed: self.data_added_packed,
            total_files_processed: self.files_total,
            total_bytes_processed: self.bytes_total,
        }
    }
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct BackupReport {
    /// `None` where nothing had changed and the job said to skip then.
    pub snapshot: Option<SnapshotId>,
    pub parent: Option<SnapshotId>,
    pub stats: BackupStats,
    /// Up to `REPORT_NAMES_MAX` of them.
    pub unreadable: Vec<Unreadable>,
    pub unreadable_total: u64,
    /// Files that changed each time they were read.
    pub changing: Vec<PathBuf>,
    /// Databases whose files are not as SQLite leaves them, and what is odd about them. They are in the snapshot as they are.
    pub odd_databases: Vec<(PathBuf, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_windows_sealed_is_counted_once() {
        let first = BackupStats {
            files_new: 3,
            files_total: 3,
            data_added: 30,
            ..BackupStats::default()
        };
        let last = BackupStats {
            files_new: 2,
            files_unmodified: 3,
            files_total: 5,
            data_added: 20,
            ..BackupStats::default()
        };
        let both = last.after(&first);
        assert_eq!(
            (both.files_new, both.files_unmodified, both.files_total),
            (5, 0, 5)
        );
        assert_eq!(both.data_added, 50);
    }
}
