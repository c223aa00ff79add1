//! What a restore is asked to do, and what it says it did.

use std::path::PathBuf;

use crate::{format::SnapshotId, sqlite::inspect::Integrity};

/// What becomes of a database that a snapshot holds as a file and a log of what changed in it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DatabaseFiles {
    /// One file, with the log folded in as SQLite's own checkpoint would; its journal mode is the one that the app had.
    #[default]
    Folded,
    /// Both, as stock restic restores them: any SQLite reads them as one database.
    Both,
}

/// One restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreJob {
    /// `latest`, or the beginning of a snapshot's id.
    pub snapshot: String,
    /// The folder to restore into; made if it is not there.
    pub target: PathBuf,
    /// Paths in the snapshot, as `ls` shows them: only these, and what is below them. Empty: everything. A database's log comes with it.
    pub include: Vec<PathBuf>,
    pub database_files: DatabaseFiles,
    /// Only stage: everything is fetched, verified and checked, and nothing in the target changes until [`crate::apply_pending`].
    pub stage_only: bool,
}

/// Something that is not in the target as it was in the snapshot, although its content is right; or a database that is damaged, as it was
/// when it was backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreWarning {
    pub path: PathBuf,
    pub reason: String,
}

/// A database among the restored files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredDatabase {
    /// In the snapshot.
    pub path: PathBuf,
    /// As one file; where it is restored as two, of the database file.
    pub bytes: u64,
    /// What `PRAGMA user_version` answers. `None` where that cannot be read: its pages are encrypted.
    pub user_version: Option<i32>,
    /// What `PRAGMA application_id` answers; otherwise the same.
    pub application_id: Option<i32>,
    pub integrity: Integrity,
    /// Rows that refer to rows which are not there. Not looked for where the database is not sound.
    pub foreign_key_violations: u64,
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
    pub databases: Vec<RestoredDatabase>,
    pub databases_total: u64,
    /// Whether all of it is in place. Otherwise it is staged, and waits to be applied.
    pub is_applied: bool,
    /// Up to `REPORT_NAMES_MAX` of them.
    pub warnings: Vec<RestoreWarning>,
    pub warnings_total: u64,
}
