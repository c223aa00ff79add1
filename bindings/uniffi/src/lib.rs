//! Lifeboat for Kotlin and Swift: the engine's front door, in types that cross a language border.
//!
//! What an app developer sees are the packages in `bindings/kotlin` and `bindings/swift`, which wrap this surface in their languages' own words.
//! It decides nothing about backups. It promises what a border must:
//!
//! * Every call ends: with a result, with one [`EngineError`], and soon after a stop. Jobs are stopped by a [`StopToken`], by dropping their
//!   future, by [`EngineHandle::suspend`] and by [`EngineHandle::stop`].
//! * Calls make progress whether or not the host polls their futures (`calls.rs`), so that a host that loses interest blocks nobody.
//! * The host's code is called on threads of its own (`observer.rs`, `threads.rs`), under no lock, and coalesced. It may throw, block, or call the
//!   engine from there.
//! * No panic crosses: it becomes [`EngineError::Bug`].
//!
//! | thread | lives | joined by |
//! |---|---|---|
//! | `calls` | with the engine | `stop` |
//! | `observer` | with its subscription | `stop`, as far as the host lets it end |
//! | `opening`, `stopping`, `applying` | for one call | that call |
//! | `credentials`, `trusting` | while the app is asked for them, or about a server | nobody: it ends when the app has answered |
//! | `holding` | while a database is held still | nobody: it ends when the app has released it |
//! | those of the engine | with the engine | `stop` |

mod calls;
mod create;
mod due;
mod engine;
mod entries;
mod error;
mod holder;
mod host;
mod jobs;
mod limits;
mod observer;
mod pending;
mod policy;
mod reports;
mod stop;
#[cfg(test)]
mod tests;
mod threads;
mod trust;
mod vault;
mod windows;

pub use create::create_repository;
pub use due::{
    AndroidNetworkType, AndroidWork, AppleTask, BackupExplanation, BackupFreshness, BackupStatus, DueOutcome,
    DueReason, DueTask, DueWait, NetworkNeed, NotWoken, PastWindow, WakeMoment, android_stop_code,
    android_work, apple_tasks,
};
pub use engine::{EngineConfig, EngineHandle};
pub use entries::{EntryKind, EntryReader, SnapshotEntry};
pub use error::{EngineError, FullPlace};
pub use host::{CredentialProvider, DatabaseHolder, HostError, KeyStore, Observer, ServerTrust};
pub use jobs::{
    AppDatabase, BackupRequest, BackupSource, DatabaseAccess, ForgetRequest, PruneRequest, RestoreRequest,
    VerifyRequest,
};
pub use observer::Subscription;
pub use pending::{
    AcceptedSchema, ApplyResult, DatabaseHealth, DatabaseState, PendingRestore, PendingStage,
    apply_pending_restore, confirm_restore, pending_restore, roll_back_restore,
};
pub use policy::{
    AppStanding, BackupPolicy, KeepRules, NetworkRule, NetworkRules, NetworkState, NetworkUse,
    PhoneConditions, PowerRules, QuietHours, ThermalState, Wish, default_policy,
};
pub use reports::{
    BackupOutcome, BackupSummary, EngineEvent, FindingSeverity, ForgetSummary, KeptSnapshot, KeyFileInfo,
    OddDatabase, PruneSummary, RestoreNote, RestoreSummary, RunPhase, RunProgress, SnapshotInfo,
    UnreadablePath, VaultLock, VerifyFinding, VerifySummary,
};
pub use stop::StopToken;
pub use vault::{CredentialsWanted, NetworkOptions, S3BucketStyle, S3Encryption, VaultCredentials};
pub use windows::{
    Allowances, NetworkClass, PackUpload, WaitingReason, WakeHint, WindowBudget, WindowOutcome,
};

uniffi::setup_scaffolding!("lifeboat");
