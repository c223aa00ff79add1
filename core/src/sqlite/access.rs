//! What a read of a live database is asked for, and what it says when something is not as it should be.

use std::{ffi::OsStr, fmt, io, os::fd::BorrowedFd, path::Path, sync::Arc};

use crate::error::{Error, Kind, Place};

/// Whatever the host says went wrong.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// The app's part in reading a database that its own SQLite, or one that encrypts, has open.
///
/// Between a `begin` that succeeded and its `end` neither the database file nor the present frames of its log may change: the app holds
/// an immediate transaction on it, or has checkpointed it and lets nobody write. Journals that wait to be rolled back are rolled back
/// before, since that is what opening the database does.
pub trait Quiesce: Send + Sync + fmt::Debug {
    /// Called from a thread of the engine; should answer within two seconds.
    fn begin(&self, path: &Path) -> Result<Quiesced, HostError>;

    /// Called once for each `begin` that succeeded, however the read ended.
    fn end(&self, path: &Path);
}

/// What the app knows about a database that it holds still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quiesced {
    /// The size of its pages, where the file itself does not say: encrypted ones do not. Without it, that of the log, or 4096.
    pub page_bytes: Option<u32>,
}

/// How the engine may read a database.
#[derive(Debug, Clone)]
pub enum Access {
    /// The app has it open in this process, by any copy of SQLite.
    Own,
    /// Another process has. What is done is the same: the locks know no difference.
    OtherProcess,
    /// The app holds it still; no lock is taken.
    Quiesced(Arc<dyn Quiesce>),
}

/// One database.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The folder of the file itself: no link to it, since its log stands beside it.
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a OsStr,
    /// What the host knows it by.
    pub(crate) path: &'a Path,
    pub(crate) access: &'a Access,
}

/// Something about a database that its owner should hear of. It is read as it is, as SQLite would see it, and never repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// The file ends within a page; the rest of that page is read as zeros.
    PartialPage { bytes: u32 },
    /// The header counts more pages than there are: SQLite calls that corrupt. Those that are there are read.
    PagesMissing { counted: u32, present: u32 },
    /// There is a log, but its header is none, or not that of what the app reads.
    LogHeaderDamaged,
    /// A frame in the middle of the log is not what was written.
    LogFrameDamaged,
    /// The log ends before its index says so.
    LogCutOff,
    /// The log has pages of another size than the database: it belongs to another one, and is left out.
    LogOfOtherSize { log: u32, database: u32 },
    /// A journal waits to be rolled back, and it, or a part of it, is unreadable. What can be is rolled back in what is read.
    JournalDamaged,
    /// A journal waits to be rolled back: the app did not end well, and has not opened the database since.
    JournalRolledBack { pages: u32 },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PartialPage { bytes } => write!(f, "the file ends {bytes} bytes into a page"),
            Self::PagesMissing { counted, present } => {
                write!(f, "the header counts {counted} pages, the file has {present}")
            }
            Self::LogHeaderDamaged => f.write_str("the header of the write-ahead log is damaged"),
            Self::LogFrameDamaged => f.write_str("a frame in the middle of the write-ahead log is damaged"),
            Self::LogCutOff => f.write_str("the write-ahead log is cut off"),
            Self::LogOfOtherSize { log, database } => write!(
                f,
                "the write-ahead log has pages of {log} bytes, the database of {database}: it was left out"
            ),
            Self::JournalDamaged => f.write_str("the rollback journal is damaged"),
            Self::JournalRolledBack { pages } => write!(
                f,
                "a transaction that did not end, of {pages} pages, is left out; the app's next start rolls it back"
            ),
        }
    }
}

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It does not begin as a database does: read it as any file, or let the app bracket the read if it is encrypted.
    #[error("not a database, or an encrypted one")]
    NotADatabase,
    /// It stayed so for as long as was waited.
    #[error("the database is busy: {0}")]
    Busy(&'static str),
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("stopped")]
    Cancelled,
    #[error(
        "this system has no locks that a reader inside the app's process could take without harm: \
         let the app bracket the read (access `quiesced`)"
    )]
    NoLocks,
    #[error("the log or journal of the database names too many pages to hold: let the app checkpoint it")]
    LogTooLarge,
    #[error("the app could not hold the database still: {0}")]
    Host(HostError),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::NotADatabase => Kind::InvalidInput,
            ReadError::Busy(_) | ReadError::Host(_) => Kind::Busy,
            // Whatever the place: only the vault's errors have a meaning of their own.
            ReadError::Unreadable(error) => Kind::of_io(error, Place::State),
            ReadError::Cancelled => return Self::cancelled(),
            ReadError::NoLocks | ReadError::LogTooLarge => Kind::Unsupported,
        };
        Self::with_source(kind, "reading a database", error)
    }
}
