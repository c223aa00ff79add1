//! Lifeboat: a backup engine for phone apps. It writes restic repositories, version 2, from background windows of a few seconds, and brings the
//! data back all or nothing.
//!
//! [`Engine`] is the front door. [`format`] and [`retention`] are useful by themselves: they do no I/O.

mod browse;
mod catalog;
mod check;
mod civil;
pub mod clock;
mod engine;
mod error;
mod events;
mod forget;
pub mod format;
pub mod limits;
mod repository;
mod restorer;
pub mod retention;
mod runtime;
mod scan;
mod scheduler;
mod seal;
mod snapshotter;
mod sqlite;
pub mod storage;
mod uploader;

pub use browse::{Entries, Entry};
pub use check::{CheckJob, CheckReport, Finding, Severity};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, Kind, Place, Result, Retry};
pub use events::{Event, Phase, Progress};
pub use forget::{ForgetJob, ForgetReport};
pub use repository::{KeyInfo, LockInfo, LockKind, Unlock, init};
pub use restorer::{RestoreJob, RestoreReport, RestoreWarning};
pub use scan::{DatabaseSource, Databases, Source};
pub use snapshotter::{BackupJob, BackupReport, BackupStats, Unreadable};
pub use sqlite::{Access as DatabaseAccess, HostError, Quiesce, Quiesced};
