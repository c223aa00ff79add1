//! Lifeboat: a backup engine for phone apps. It writes restic repositories, version 2, from background windows of a few seconds, and brings the
//! data back all or nothing.
//!
//! [`Engine`] is the front door. [`format`] and [`retention`] are useful by themselves: they do no I/O.

mod browse;
mod catalog;
mod check;
mod civil;
pub mod clock;
mod due;
mod engine;
mod error;
mod events;
mod forget;
pub mod format;
#[doc(hidden)]
pub mod kernels;
pub mod limits;
mod prune;
mod repository;
mod restorer;
pub mod retention;
mod runtime;
mod scan;
pub mod scheduler;
mod seal;
pub mod simulate;
mod snapshotter;
mod sqlite;
pub mod storage;
mod uploader;
mod window;

pub use browse::{Entries, Entry};
pub use check::{CheckJob, CheckReport, Finding, SampleReport, Severity};
pub use due::{DueDone, DueJob, DueReport, DueWindow, StopSignal};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, Kind, Place, Result, Retry};
pub use events::{Event, Phase, Progress};
pub use forget::{ForgetJob, ForgetReport};
pub use prune::{
    BlobCount, InvalidMaxUnused, MaxUnused, PackAction, PackCount, PruneJob, PrunePlan, PruneReport,
    PruneTotals, parse_bytes,
};
pub use repository::{KeyInfo, LockInfo, LockKind, Unlock, init};
pub use restorer::{
    AcceptedDatabase, Accepts, ApplyOutcome, DatabaseFiles, Pending, PendingState, RestoreJob, RestoreReport,
    RestoreWarning, RestoredDatabase, apply_pending, confirm, pending, roll_back,
};
pub use scan::{DatabaseSource, Databases, Source};
pub use scheduler::NetworkClass;
pub use snapshotter::{BackupJob, BackupReport, BackupStats, Unreadable};
pub use sqlite::{Access as DatabaseAccess, HostError, Quiesce, Quiesced, inspect::Integrity};
pub use window::{Allowances, Budget, HandOff, LockPolicy, MoreToDo, Outcome, Traffic, Waiting, WakeHint};
