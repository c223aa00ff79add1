//! Looking into a snapshot.

use std::sync::Arc;

use lifeboat::{Entries, Entry, format::NodeType};
use tokio::sync::Mutex;

use crate::{
    error::EngineError,
    limits,
    reports::{text, unix_ms},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum EntryKind {
    File,
    Dir,
    Symlink,
    /// A device, pipe or socket.
    Other,
}

/// One file or folder in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct SnapshotEntry {
    /// From the snapshot's root, beginning with a slash.
    pub path: String,
    pub kind: EntryKind,
    /// Bytes of a file; zero for everything else.
    pub size: u64,
    pub modified_ms: i64,
}

/// The entries of a snapshot, in order, folders before what they hold. Dropping it ends the listing.
#[derive(uniffi::Object)]
pub struct EntryReader {
    snapshot: String,
    entries: Mutex<Entries>,
}

impl EntryReader {
    pub(crate) fn new(entries: Entries) -> Arc<Self> {
        Arc::new(Self {
            snapshot: entries.snapshot.to_string(),
            entries: Mutex::new(entries),
        })
    }
}

#[uniffi::export]
impl EntryReader {
    /// The id of the snapshot that is listed.
    pub fn snapshot(&self) -> String {
        self.snapshot.clone()
    }

    /// The next entries: one at least, `max` or a thousand at most; none at the end.
    pub async fn next(&self, max: u32) -> Result<Vec<SnapshotEntry>, EngineError> {
        let mut entries = self.entries.lock().await;
        let max = max.clamp(1, limits::ENTRIES_PER_CALL_MAX);
        let mut found = Vec::new();
        while (found.len() as u32) < max {
            match entries.next().await {
                Some(entry) => found.push(entry?.into()),
                None => break,
            }
        }
        Ok(found)
    }
}

impl From<Entry> for SnapshotEntry {
    fn from(entry: Entry) -> Self {
        let kind = match entry.node.node_type {
            NodeType::File => EntryKind::File,
            NodeType::Dir => EntryKind::Dir,
            NodeType::Symlink => EntryKind::Symlink,
            NodeType::Dev | NodeType::CharDev | NodeType::Fifo | NodeType::Socket | NodeType::Other(_) => {
                EntryKind::Other
            }
        };
        Self {
            path: text(&entry.path),
            kind,
            size: entry.node.size,
            modified_ms: unix_ms(entry.node.mtime),
        }
    }
}
