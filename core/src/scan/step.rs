//! What a walk says: the steps that the thread which assembles takes in order.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use super::{
    Metadata,
    capture::Captured,
    reader::{ReadEnd, ReadFile},
};
use crate::{
    catalog::{DatabaseState, FileRow},
    runtime::cpu::Pending,
    seal::SealedChunk,
};

/// A folder's key in the catalog: its path on disk.
pub(crate) type DirKey = Arc<[u8]>;
pub(crate) type StepSender = mpsc::SyncSender<Step>;

/// What the walk found. Within a folder, names come in ascending order. `before` is what the catalog remembers of a file that was read.
pub(crate) enum Step {
    /// Into a folder. The root of the tree has no name and no metadata.
    Enter {
        name: Vec<u8>,
        metadata: Option<Box<Metadata>>,
        key: DirKey,
    },
    /// Out of it again. `gone`: files that the catalog remembers and that are not there any more.
    Leave { gone: Vec<Vec<u8>>, is_new: bool },
    /// Anything that has no content, with the target of a symbolic link.
    Leaf {
        name: Vec<u8>,
        metadata: Box<Metadata>,
        link_target: Vec<u8>,
    },
    /// A file whose content is stored already. `refresh`: the catalog should remember that it still is.
    Unchanged {
        name: Vec<u8>,
        metadata: Box<Metadata>,
        row: Box<FileRow>,
        refresh: bool,
    },
    /// Small files that are being read; the next `Small` steps are theirs, in order.
    Batch(Pending<Vec<io::Result<ReadFile>>>),
    Small {
        name: Vec<u8>,
        before: Option<Box<FileRow>>,
    },
    /// A piece of the large file whose `Large` or `Unreadable` step will follow.
    Chunk(Pending<SealedChunk>),
    /// The pieces so far are void: the file changed, and is being read again.
    Restart,
    /// A large file.
    Large {
        name: Vec<u8>,
        metadata: Box<Metadata>,
        end: ReadEnd,
        before: Option<Box<FileRow>>,
    },
    /// The pieces so far are part of a database that is being captured; its `Database` step may come much later.
    Captured { key: u64, part: CapturePart },
    /// A database that was captured. The step for its log follows where the log's name has its place.
    Database {
        name: Vec<u8>,
        metadata: Box<Metadata>,
        captured: Box<Captured>,
        fingerprint: Vec<u8>,
        end: ReadEnd,
        before: Option<Box<FileRow>>,
    },
    /// A database that is as it was stored. `refresh`: the catalog should remember that it still is.
    DatabaseUnchanged {
        name: Vec<u8>,
        metadata: Box<Metadata>,
        row: Box<FileRow>,
        state: Box<DatabaseState>,
        refresh: bool,
    },
    /// The log of the database that came before it, or, where that could not be read, of the last snapshot's.
    DatabaseLog { name: Vec<u8> },
    /// What could not be read: the last snapshot's version is kept.
    Unreadable(Unread),
}

/// Which of a captured database's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CapturePart {
    Base,
    Log,
}

/// Something that could not be read.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) name: Vec<u8>,
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
}
