//! What the engine tells a host. Times are milliseconds since 1970 in UTC, and paths are text: a byte that is not UTF-8 becomes `�`.

use std::path::Path;

use lifeboat::{
    BackupReport, CheckReport, Event, ForgetReport, KeyInfo, LockInfo, LockKind, Phase, Progress, PrunePlan,
    PruneReport, RestoreReport, Severity,
    format::{Snapshot, SnapshotId, Timestamp},
};

use crate::pending::DatabaseState;

/// How a backup ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum BackupOutcome {
    /// There is a new snapshot, and everything in it is in the vault.
    Published {
        snapshot: String,
        summary: BackupSummary,
    },
    /// Nothing had changed, and no snapshot was to be made then.
    Unchanged { summary: BackupSummary },
}

/// Counts of one backup. Bytes are plain unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BackupSummary {
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    pub files_total: u64,
    pub bytes_total: u64,
    /// Content that the vault did not have.
    pub bytes_added: u64,
    /// The same, compressed and encrypted: what was sent.
    pub bytes_added_stored: u64,
    /// What could not be read, up to a thousand of it.
    pub unreadable: Vec<UnreadablePath>,
    pub unreadable_total: u64,
    /// Files that changed each time they were read: their content in the snapshot may mix old and new.
    pub changing: Vec<String>,
    /// Databases whose files are not as SQLite leaves them. They are in the snapshot as they are.
    pub odd_databases: Vec<OddDatabase>,
}

/// A database whose files are not as SQLite leaves them: it is backed up as it is, and never mended.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct OddDatabase {
    pub path: String,
    pub reason: String,
}

/// Something that is not in the snapshot as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct UnreadablePath {
    pub path: String,
    pub reason: String,
    /// Whether the snapshot has the version of the last one instead.
    pub kept: bool,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RestoreSummary {
    pub snapshot: String,
    pub files: u64,
    pub dirs: u64,
    /// Plain bytes of the restored files.
    pub bytes: u64,
    /// Bytes that were read from the vault for their content, as stored.
    pub bytes_fetched: u64,
    /// Plain bytes that an earlier, interrupted restore had already.
    pub bytes_resumed: u64,
    /// The databases among them, up to a thousand.
    pub databases: Vec<DatabaseState>,
    pub databases_total: u64,
    /// Whether all of it is in place. Otherwise it is staged, and waits to be applied.
    pub is_applied: bool,
    /// What is in place with the right content but not quite as it was, up to a thousand of it.
    pub notes: Vec<RestoreNote>,
    pub notes_total: u64,
}

/// Something whose content is right, but whose owner, time or the like could not be set.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RestoreNote {
    pub path: String,
    pub reason: String,
}

/// What a look at the vault found.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct VerifySummary {
    /// Whether everything can be restored as it was backed up, as far as was looked.
    pub is_clean: bool,
    /// Up to a thousand of each severity.
    pub findings: Vec<VerifyFinding>,
    pub errors: u64,
    pub hints: u64,
    pub snapshots: u64,
    pub packs: u64,
    pub packs_read: u64,
    pub bytes_read: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum FindingSeverity {
    /// Harmless.
    Hint,
    /// Something cannot be restored as it was, or will not be.
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct VerifyFinding {
    pub severity: FindingSeverity,
    /// The stored file, or the path in a snapshot, that it is about.
    pub subject: String,
    pub text: String,
}

/// What was let go of, and what was kept and why.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ForgetSummary {
    /// Ids of those that are gone; of those that would be, in a dry run.
    pub removed: Vec<String>,
    pub kept: Vec<KeptSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct KeptSnapshot {
    pub id: String,
    /// In restic's words.
    pub reasons: Vec<String>,
}

/// What a turn at giving back room found and did. Bytes are as stored.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PruneSummary {
    /// What snapshots need, each blob once.
    pub bytes_used: u64,
    /// What no snapshot needs, or lies in the vault twice.
    pub bytes_unused: u64,
    /// Deleted; what would be, in a dry run.
    pub bytes_freed: u64,
    /// To be deleted by later turns, when no client that sleeps can count on it any more.
    pub bytes_freed_later: u64,
    /// Packs that were packed anew; that would be, in a dry run.
    pub packs_repacked: u64,
    pub packs_deleted: u64,
}

/// A snapshot in the vault.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct SnapshotInfo {
    /// 64 hexadecimal digits; eight are shown to people.
    pub id: String,
    /// When the backup began.
    pub time_ms: i64,
    /// How far the clocks where it was made were ahead of UTC.
    pub utc_offset_s: i32,
    pub label: String,
    pub paths: Vec<String>,
    pub tags: Vec<String>,
    /// What it holds; unknown for those of very old clients.
    pub files: Option<u64>,
    pub bytes: Option<u64>,
    /// What it added to the vault, as stored.
    pub bytes_added_stored: Option<u64>,
}

/// A key file: one of the passwords that open the vault.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct KeyFileInfo {
    pub id: String,
    /// As its maker wrote it.
    pub created: String,
    pub username: String,
    pub label: String,
    /// Whether this engine was opened with it.
    pub current: bool,
}

/// A lock in the vault.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct VaultLock {
    pub id: String,
    /// Whether it keeps others from reading and adding, too, and not only from deleting.
    pub is_exclusive: bool,
    pub label: String,
    /// When it was written or refreshed, where that can be read.
    pub time_ms: Option<i64>,
}

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum RunPhase {
    Idle,
    /// Learning what the vault holds.
    Looking,
    /// Reading sources and sealing what is new.
    Sealing,
    /// Waiting for the vault to confirm, then publishing.
    Publishing,
    /// Fetching and verifying what is to be restored.
    Staging,
    /// Putting what was restored in place.
    Applying,
    /// Verifying the vault.
    Checking,
    /// Giving back the room of what nobody needs.
    Pruning,
}

/// How far the current job is, or how far the last one came. Counts only grow while a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct RunProgress {
    pub phase: RunPhase,
    /// Files that are dealt with, and their plain bytes.
    pub files: u64,
    pub bytes: u64,
    /// Files and bytes in all: zero while it is not known.
    pub files_total: u64,
    pub bytes_total: u64,
    /// Plain bytes of new content.
    pub bytes_new: u64,
    /// Bytes that the vault has confirmed, as stored.
    pub bytes_stored: u64,
    pub unreadable: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum EngineEvent {
    /// A file or folder could not be read. `kept`: the new snapshot has the version of the last one.
    Unreadable {
        path: String,
        reason: String,
        kept: bool,
    },
    /// A file changed each time it was read.
    ChangedWhileRead {
        path: String,
    },
    /// A database's files are not as SQLite leaves them. It is backed up as it is.
    OddDatabaseFound {
        path: String,
        reason: String,
    },
    /// The vault holds so many bytes more.
    PackConfirmed {
        pack: String,
        bytes: u64,
    },
    /// The vault lost content while the run was going on: it is sealed again.
    SealingAgain,
    SnapshotPublished {
        snapshot: String,
    },
    /// The observer was slow: so many events before this one are lost to it.
    Missed {
        count: u64,
    },
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(crate) fn unix_ms(timestamp: Timestamp) -> i64 {
    // Times from outside may be anything that the format can write.
    (timestamp.seconds().saturating_mul(1000)).saturating_add(i64::from(timestamp.nanos() / 1_000_000))
}

impl From<BackupReport> for BackupOutcome {
    fn from(report: BackupReport) -> Self {
        let stats = report.stats;
        let unreadable = report.unreadable.into_iter().map(|one| UnreadablePath {
            path: text(&one.path),
            reason: one.reason,
            kept: one.kept,
        });
        let odd_databases = report
            .odd_databases
            .into_iter()
            .map(|(path, reason)| OddDatabase {
                path: text(&path),
                reason,
            });
        let summary = BackupSummary {
            files_new: stats.files_new,
            files_changed: stats.files_changed,
            files_unmodified: stats.files_unmodified,
            files_total: stats.files_total,
            bytes_total: stats.bytes_total,
            bytes_added: stats.data_added,
            bytes_added_stored: stats.data_added_packed,
            unreadable: unreadable.collect(),
            unreadable_total: report.unreadable_total,
            changing: report.changing.iter().map(|path| text(path)).collect(),
            odd_databases: odd_databases.collect(),
        };
        match report.snapshot {
            Some(id) => Self::Published {
                snapshot: id.to_string(),
                summary,
            },
            None => Self::Unchanged { summary },
        }
    }
}

impl From<RestoreReport> for RestoreSummary {
    fn from(report: RestoreReport) -> Self {
        let notes = report.warnings.into_iter().map(|one| RestoreNote {
            path: text(&one.path),
            reason: one.reason,
        });
        Self {
            snapshot: report.snapshot.to_string(),
            files: report.files,
            dirs: report.dirs,
            bytes: report.bytes,
            bytes_fetched: report.fetched_bytes,
            bytes_resumed: report.resumed_bytes,
            databases: report.databases.into_iter().map(Into::into).collect(),
            databases_total: report.databases_total,
            is_applied: report.is_applied,
            notes: notes.collect(),
            notes_total: report.warnings_total,
        }
    }
}

impl From<CheckReport> for VerifySummary {
    fn from(report: CheckReport) -> Self {
        let is_clean = report.is_clean();
        let findings = report.findings.into_iter().map(|one| VerifyFinding {
            severity: match one.severity {
                Severity::Hint => FindingSeverity::Hint,
                Severity::Error => FindingSeverity::Error,
            },
            subject: one.subject,
            text: one.text,
        });
        Self {
            is_clean,
            findings: findings.collect(),
            errors: report.errors,
            hints: report.hints,
            snapshots: report.snapshots,
            packs: report.packs,
            packs_read: report.packs_read,
            bytes_read: report.bytes_read,
        }
    }
}

impl From<ForgetReport> for ForgetSummary {
    fn from(report: ForgetReport) -> Self {
        let decisions = report.groups.into_iter().flat_map(|(_, decisions)| decisions);
        let kept = decisions
            .filter(|decision| decision.keep)
            .map(|decision| KeptSnapshot {
                id: decision.snapshot.id.to_string(),
                reasons: decision.reasons.iter().map(ToString::to_string).collect(),
            });
        Self {
            kept: kept.collect(),
            removed: report.removed.iter().map(ToString::to_string).collect(),
        }
    }
}

impl PruneSummary {
    /// Without a report, of what would be done.
    pub(crate) fn of(plan: &PrunePlan, report: Option<PruneReport>) -> Self {
        let totals = plan.totals;
        let (deleted, repacked) = match report {
            Some(report) => (report.deleted, report.repacked),
            None => (totals.delete, totals.repack),
        };
        Self {
            bytes_used: totals.used.bytes,
            bytes_unused: totals.unused.bytes.saturating_add(totals.duplicate.bytes),
            bytes_freed: deleted.bytes,
            bytes_freed_later: totals.freed_later_bytes(),
            packs_repacked: repacked.packs,
            packs_deleted: deleted.packs,
        }
    }
}

impl From<(SnapshotId, Snapshot)> for SnapshotInfo {
    fn from((id, snapshot): (SnapshotId, Snapshot)) -> Self {
        let summary = snapshot.summary;
        Self {
            id: id.to_string(),
            time_ms: unix_ms(snapshot.time.timestamp),
            utc_offset_s: snapshot.time.offset_seconds,
            label: snapshot.hostname,
            paths: snapshot.paths,
            tags: snapshot.tags,
            files: summary.map(|summary| summary.total_files_processed),
            bytes: summary.map(|summary| summary.total_bytes_processed),
            bytes_added_stored: summary.map(|summary| summary.data_added_packed),
        }
    }
}

impl From<KeyInfo> for KeyFileInfo {
    fn from(info: KeyInfo) -> Self {
        Self {
            id: info.id.to_string(),
            created: info.created,
            username: info.username,
            label: info.hostname,
            current: info.current,
        }
    }
}

impl From<LockInfo> for VaultLock {
    fn from(info: LockInfo) -> Self {
        Self {
            id: info.id.to_string(),
            is_exclusive: info.kind == LockKind::Exclusive,
            label: info.hostname,
            time_ms: info.time.map(unix_ms),
        }
    }
}

impl From<Phase> for RunPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Idle => Self::Idle,
            Phase::Looking => Self::Looking,
            Phase::Sealing => Self::Sealing,
            Phase::Publishing => Self::Publishing,
            Phase::Staging => Self::Staging,
            Phase::Applying => Self::Applying,
            Phase::Checking => Self::Checking,
            Phase::Pruning => Self::Pruning,
        }
    }
}

impl From<Progress> for RunProgress {
    fn from(progress: Progress) -> Self {
        Self {
            phase: progress.phase.into(),
            files: progress.files,
            bytes: progress.bytes,
            files_total: progress.files_total,
            bytes_total: progress.bytes_total,
            bytes_new: progress.new_bytes,
            bytes_stored: progress.stored_bytes,
            unreadable: progress.unreadable,
        }
    }
}

impl EngineEvent {
    /// `None` for a sort of event that this border does not know: hosts are told what they can be told.
    pub(crate) fn of(event: Event) -> Option<Self> {
        Some(match event {
            Event::Unreadable { path, reason, kept } => Self::Unreadable {
                path: text(&path),
                reason,
                kept,
            },
            Event::ChangedWhileRead { path } => Self::ChangedWhileRead { path: text(&path) },
            Event::OddDatabase { path, reason } => Self::OddDatabaseFound {
                path: text(&path),
                reason,
            },
            Event::PackConfirmed { id, bytes } => Self::PackConfirmed {
                pack: id.to_string(),
                bytes,
            },
            Event::SealingAgain => Self::SealingAgain,
            Event::SnapshotPublished { id } => Self::SnapshotPublished {
                snapshot: id.to_string(),
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_from_outside_do_not_overflow() {
        let at = |seconds, nanos| unix_ms(Timestamp::new(seconds, nanos).unwrap());
        assert_eq!(at(1, 500_000_000), 1500);
        assert_eq!(at(-1, 500_000_000), -500);
        assert!(unix_ms(Timestamp::YEAR_ONE) < 0);
    }
}
