//! What a staging folder says of itself once staging is complete: the metadata of every folder, which can
//! only be set when everything below is in place, the databases, and what was staged in all.
//!
//! Folders are written as they are found, a folder before those in it, and read backwards: so that each is
//! finished after all that it holds, with one record in memory. A record is a letter for what it is about, a
//! path, a node as trees store it, the length of the path and the length of all that before. The last record is the summary.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::{
    error::{Error, Kind, Place, Result},
    format::{Node, NodeType, SnapshotId},
};

const VERSION: u32 = 2;
/// Bytes of the lengths in a record.
const LENGTH_BYTES: u64 = 4;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Folder,
    /// A database whose log is to be folded in. Its metadata is not set yet.
    Pair,
    /// A file that begins as a database does.
    Database,
}

impl About {
    const ALL: [(u8, Self); 3] = [(b'f', Self::Folder), (b'p', Self::Pair), (b'd', Self::Database)];

    fn letter(self) -> u8 {
        let found = Self::ALL.iter().find(|(_, about)| *about == self);
        found.map_or(b'?', |(letter, _)| *letter)
    }

    fn of(letter: u8) -> Option<Self> {
        let found = Self::ALL.iter().find(|(of, _)| *of == letter);
        found.map(|(_, about)| *about)
    }
}

/// What was staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Staged {
    version: u32,
    pub(super) snapshot: SnapshotId,
    pub(super) files: u64,
    pub(super) dirs: u64,
    pub(super) others: u64,
    pub(super) bytes: u64,
    /// Databases whose logs are to be folded in.
    pub(super) pairs: u64,
    /// All databases that were recognised.
    pub(super) databases: u64,
}

impl Staged {
    pub(super) fn new(snapshot: SnapshotId) -> Self {
        Self {
            version: VERSION,
            snapshot,
            files: 0,
            dirs: 0,
            others: 0,
            bytes: 0,
            pairs: 0,
            databases: 0,
        }
    }
}

/// A journal that is being written.
pub(super) struct JournalWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl JournalWriter {
    pub(super) fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file: BufWriter::new(file),
        }
    }

    /// A folder, before those in it; or a database, at any time.
    pub(super) fn note(&mut self, about: About, path: &Path, node: &Node) -> Result<()> {
        let mut record = vec![about.letter()];
        record.extend_from_slice(path.as_os_str().as_bytes());
        let path_bytes = record.len() - 1;
        node.write(|_| 0, &mut record);
        self.record(&record, Some(path_bytes))
            .map_err(|error| Error::io(Place::Target, "writing", &self.path, error))
    }

    /// Durable when this returns.
    pub(super) fn finish(mut self, staged: &Staged) -> Result<()> {
        let summary = serde_json::to_vec(staged)
            .map_err(|error| Error::with_source(Kind::Bug, "describing what is staged", error))?;
        self.record(&summary, None)
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(|error| Error::io(Place::Target, "writing", &self.path, error))
    }

    fn record(&mut self, record: &[u8], path_bytes: Option<usize>) -> io::Result<()> {
        let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
        self.file.write_all(record)?;
        self.file
            .write_all(&length(path_bytes.unwrap_or(0))?.to_le_bytes())?;
        self.file.write_all(&length(record.len())?.to_le_bytes())
    }
}

/// A complete journal, read backwards.
pub(super) struct JournalReader {
    path: PathBuf,
    file: File,
    /// Bytes that are not yet read.
    left: u64,
    pub(super) staged: Staged,
}

impl JournalReader {
    pub(super) fn open(path: PathBuf, file: File) -> Result<Self> {
        let left = file
            .metadata()
            .map_err(|error| Error::io(Place::Target, "reading", &path, error))?
            .len();
        let staged = Staged::new(SnapshotId::from_bytes([0; 32]));
        let mut reader = Self {
            path,
            file,
            left,
            staged,
        };
        let summary = reader
            .record()?
            .and_then(|(record, _)| serde_json::from_slice::<Staged>(&record).ok());
        match summary {
            Some(staged) if staged.version == VERSION => {
                reader.staged = staged;
                Ok(reader)
            }
            _ => Err(reader.damaged()),
        }
    }

    /// The next folder, after all that are in it: the names of the way to it, and its metadata. Skips databases.
    pub(super) fn next_folder(&mut self) -> Result<Option<(Arc<Folder>, Node)>> {
        while let Some((about, folder, node)) = self.next()? {
            if about == About::Folder {
                return Ok(Some((folder, node)));
            }
        }
        Ok(None)
    }

    /// The next record. The way to a file is given like that to a folder.
    pub(super) fn next(&mut self) -> Result<Option<(About, Arc<Folder>, Node)>> {
        let Some((record, path_bytes)) = self.record()? else {
            return Ok(None);
        };
        let Some((about, record)) = record.split_first() else {
            return Err(self.damaged());
        };
        let (about, parts) = (About::of(*about), record.split_at_checked(path_bytes));
        let (Some(about), Some((path, node))) = (about, parts) else {
            return Err(self.damaged());
        };
        let folder = way(path).ok_or_else(|| self.damaged())?;
        let node = serde_json::from_slice(node).map_err(|_| self.damaged())?;
        Ok(Some((about, folder, node)))
    }

    /// The last record that was not read, and how many bytes of it are its path.
    fn record(&mut self) -> Result<Option<(Vec<u8>, usize)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut lengths = [0; 2 * LENGTH_BYTES as usize];
        let end = self
            .left
            .checked_sub(2 * LENGTH_BYTES)
            .ok_or_else(|| self.damaged())?;
        self.read(&mut lengths, end)?;
        let [a, b, c, d, e, f, g, h] = lengths;
        let path_bytes = u32::from_le_bytes([a, b, c, d]);
        let length = u32::from_le_bytes([e, f, g, h]);
        self.left = end.checked_sub(length.into()).ok_or_else(|| self.damaged())?;
        // Not more than the file has, as was just seen.
        let mut record = vec![0; length as usize];
        self.read(&mut record, self.left)?;
        Ok(Some((record, path_bytes as usize)))
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| Error::io(Place::Target, "reading", &self.path, error))
    }

    fn damaged(&self) -> Error {
        let folder = self.path.parent().unwrap_or(Path::new("")).display();
        let text = format!(
            "{folder} is what an interrupted restore left, and was changed since: delete it, then restore \
             again"
        );
        Error::new(Kind::Damaged, text)
    }
}

/// The way to a path that was written by an earlier run. `None`: a name in it leads elsewhere. The folder that this was read from belongs
/// to others, too: its names are as little trusted as those of a repository.
pub(super) fn way(path: &[u8]) -> Option<Arc<Folder>> {
    let mut folder = Folder::root();
    for name in path.split(|byte| *byte == b'/') {
        Node::new(name, NodeType::Dir).safe_name().ok()?;
        folder = folder.child(OsStr::from_bytes(name));
    }
    Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_back_after_all_that_they_hold() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut staged = Staged::new(SnapshotId::of(b"s"));
        staged.files = 7;
        let a = Folder::root().child("a".as_ref());
        let folders = [
            a.clone(),
            a.child("b\n".as_ref()),
            Folder::root().child(OsStr::from_bytes(b"\xff")),
        ];
        let mut writer = JournalWriter::new(path.to_path_buf(), File::create(&path).unwrap());
        for folder in &folders {
            let mut node = Node::new("x", NodeType::Dir);
            node.uid = 5;
            writer.note(About::Folder, &folder.path(), &node).unwrap();
        }
        writer.finish(&staged).unwrap();
        let open = || JournalReader::open(path.to_path_buf(), File::open(&path).unwrap());
        let mut reader = open().unwrap();
        assert_eq!(reader.staged, staged);
        for folder in folders.iter().rev() {
            let (found, node) = reader.next_folder().unwrap().unwrap();
            assert_eq!(found.path(), folder.path());
            assert_eq!(node.uid, 5);
        }
        assert!(reader.next().unwrap().is_none());

        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(open().is_err(), "cut at {length}");
        }
        let at = whole.windows(3).position(|bytes| bytes == b"a/b").unwrap();
        for bad in [b"../", b"a//", b"..a"] {
            let mut changed = whole.clone();
            changed[at..at + 3].copy_from_slice(bad);
            std::fs::write(&path, &changed).unwrap();
            let mut reader = open().unwrap();
            let mut read = || -> Result<()> {
                while reader.next()?.is_some() {}
                Ok(())
            };
            // The last is a name like any other.
            assert_eq!(read().is_ok(), bad == b"..a", "{}", bad.escape_ascii());
        }
    }
}
