//! A restore that was only staged: applied when the app starts, before it opens its files, and kept undoable until the app says that it works.
//!
//! No engine is needed, and no network. All of it blocks, for as long as moving the files takes: it is for the first lines of an app.

use lifeboat::{AcceptedDatabase, Accepts, ApplyOutcome, Integrity, Pending, PendingState, RestoredDatabase};

use crate::{error::EngineError, reports, reports::RestoreSummary, threads::on_thread_blocking};

type Result<T> = std::result::Result<T, EngineError>;

/// What this version of the app can open of one database.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct AcceptedSchema {
    /// Below the target.
    pub path: String,
    /// The largest `PRAGMA user_version` that the app knows how to open or to migrate.
    pub user_version_max: i32,
    /// What `PRAGMA application_id` must answer, if that matters.
    #[uniffi(default = None)]
    pub application_id: Option<i32>,
}

/// What waits in a target.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PendingRestore {
    /// The beginning of the snapshot's id.
    pub snapshot: String,
    pub stage: PendingStage,
    /// Up to a thousand of them.
    pub databases: Vec<DatabaseState>,
}

/// How far a staged restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum PendingStage {
    /// Everything is fetched and verified, and nothing in the target has changed.
    Staged,
    /// Interrupted while it was put in place: `apply_pending_restore` finishes it.
    Applying,
    /// In place, and the old files are kept.
    Applied,
    /// Interrupted while it was taken back: `apply_pending_restore` and `roll_back_restore` finish that.
    RollingBack,
    /// Confirmed or taken back: what is left of it is being removed.
    Served,
}

/// A database among the restored files.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DatabaseState {
    pub path: String,
    pub bytes: u64,
    /// What `PRAGMA user_version` answers; nothing where that cannot be read, since its pages are encrypted.
    pub user_version: Option<i32>,
    pub application_id: Option<i32>,
    pub health: DatabaseHealth,
    /// Rows that refer to rows which are not there.
    pub foreign_key_violations: u64,
}

/// Whether SQLite finds a database sound. One that is not was so when it was backed up.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum DatabaseHealth {
    Sound,
    /// What `PRAGMA integrity_check` says.
    Damaged {
        findings: Vec<String>,
    },
    /// Its pages are encrypted, or it needs something that only the app has.
    NotChecked {
        reason: String,
    },
}

/// How applying ended.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum ApplyResult {
    /// Nothing is staged: the app starts as always.
    NothingPending,
    /// The restored files are in place. The old ones are kept until `confirm_restore`.
    Applied { summary: RestoreSummary },
    /// They have been since an earlier start, and nobody has confirmed or rolled back yet.
    Unconfirmed,
    /// A roll back had been interrupted, and is complete now: the old files are in place.
    RolledBack,
}

/// What waits in the target, if anything does. Changes nothing.
#[uniffi::export]
pub fn pending_restore(target: String) -> Result<Option<PendingRestore>> {
    on_thread_blocking("applying", move || {
        Ok(lifeboat::pending(target.as_ref())?.map(Into::into))
    })
}

/// Puts what is staged in place. To be called before the app opens any of its files. A database that is newer than `accepts` allows, or another app's,
/// refuses all of it with `Unsupported`; everything stays as it was, and staged. Killed or failing in the midst, the next call finishes it.
#[uniffi::export]
pub fn apply_pending_restore(target: String, accepts: Vec<AcceptedSchema>) -> Result<ApplyResult> {
    let accepts = Accepts {
        databases: accepts.into_iter().map(Into::into).collect(),
    };
    on_thread_blocking("applying", move || {
        Ok(lifeboat::apply_pending(target.as_ref(), &accepts)?.into())
    })
}

/// Gives the old files up, for good: the app has seen that the restored ones work. Answers whether there was anything to confirm.
#[uniffi::export]
pub fn confirm_restore(target: String) -> Result<bool> {
    on_thread_blocking("applying", move || Ok(lifeboat::confirm(target.as_ref())?))
}

/// Puts the old files back where restored ones were applied, or gives up what is only staged. What the app has written to restored files since then
/// is lost with them. Not to be called while the app has its files open. Answers whether there was anything to roll back.
#[uniffi::export]
pub fn roll_back_restore(target: String) -> Result<bool> {
    on_thread_blocking("applying", move || Ok(lifeboat::roll_back(target.as_ref())?))
}

impl From<AcceptedSchema> for AcceptedDatabase {
    fn from(accepted: AcceptedSchema) -> Self {
        Self {
            path: accepted.path.into(),
            user_version_max: accepted.user_version_max,
            application_id: accepted.application_id,
        }
    }
}

impl From<Pending> for PendingRestore {
    fn from(pending: Pending) -> Self {
        Self {
            snapshot: pending.snapshot,
            stage: match pending.state {
                PendingState::Staged => PendingStage::Staged,
                PendingState::Applying => PendingStage::Applying,
                PendingState::Applied => PendingStage::Applied,
                PendingState::RollingBack => PendingStage::RollingBack,
                PendingState::Served => PendingStage::Served,
            },
            databases: pending.databases.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<RestoredDatabase> for DatabaseState {
    fn from(database: RestoredDatabase) -> Self {
        Self {
            path: reports::text(&database.path),
            bytes: database.bytes,
            user_version: database.user_version,
            application_id: database.application_id,
            health: match database.integrity {
                Integrity::Sound => DatabaseHealth::Sound,
                Integrity::Damaged { findings } => DatabaseHealth::Damaged { findings },
                Integrity::NotChecked { reason } => DatabaseHealth::NotChecked { reason },
            },
            foreign_key_violations: database.foreign_key_violations,
        }
    }
}

impl From<ApplyOutcome> for ApplyResult {
    fn from(outcome: ApplyOutcome) -> Self {
        match outcome {
            ApplyOutcome::NothingPending => Self::NothingPending,
            ApplyOutcome::Applied(report) => Self::Applied {
                summary: (*report).into(),
            },
            ApplyOutcome::Unconfirmed => Self::Unconfirmed,
            ApplyOutcome::RolledBack => Self::RolledBack,
        }
    }
}
