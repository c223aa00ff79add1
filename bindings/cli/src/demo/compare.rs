//! Whether what came back is what was lost.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, Row};
use sha2::{Digest, Sha256};

use crate::exit::{Failure, Result};

/// What is compared of a file: its content, its permissions, and when it was written.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    hash: [u8; 32],
    mode: u32,
    mtime: (i64, i64),
}

/// Every file of a folder but the live database, which is compared by what it says.
pub(super) struct Files(BTreeMap<PathBuf, Record>);

impl Files {
    pub(super) fn of(folder: &Path, database: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder_here) = folders.pop() {
            let failed = |error| Failure::io(format!("reading {}", folder_here.display()), error);
            for entry in fs::read_dir(&folder_here).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let metadata = fs::symlink_metadata(&path).map_err(failed)?;
                if metadata.is_dir() {
                    folders.push(path);
                } else if !belongs_to(&path, database) {
                    let record = Record {
                        hash: Sha256::digest(fs::read(&path).map_err(failed)?).into(),
                        mode: metadata.mode(),
                        mtime: (metadata.mtime(), metadata.mtime_nsec()),
                    };
                    let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                    files.insert(name, record);
                }
            }
        }
        Ok(Self(files))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One sentence for each file that is not as it was.
    pub(super) fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, before) in &self.0 {
            let what = match now.0.get(path) {
                None => "is missing",
                Some(after) if after.hash != before.hash => "has another content",
                Some(after) if after.mode != before.mode => "has other permissions",
                Some(after) if after.mtime != before.mtime => "has another time",
                Some(_) => continue,
            };
            found.push(format!("{} {what}", path.display()));
        }
        let extra = now.0.keys().filter(|path| !self.0.contains_key(*path));
        found.extend(extra.map(|path| format!("{} was not there before", path.display())));
        found
    }
}

/// The database itself, its log and its index of the log.
fn belongs_to(path: &Path, database: &Path) -> bool {
    let (Some(path), Some(database)) = (path.to_str(), database.to_str()) else {
        return false;
    };
    path.strip_prefix(database)
        .is_some_and(|rest| ["", "-wal", "-shm"].contains(&rest))
}

/// What the restored database says.
pub(super) struct Messages {
    pub(super) rows: u64,
    pub(super) integrity: String,
    first: u64,
    last: u64,
    /// As the chats count them.
    counted: u64,
}

impl Messages {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let read = || -> rusqlite::Result<Self> {
            // As the app would open it.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let database = Connection::open_with_flags(path, flags)?;
            let integrity = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            let number = |row: &Row<'_>, column| row.get(column).map(i64::unsigned_abs);
            let of_messages = "SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0) FROM messages";
            let (rows, first, last) = database.query_row(of_messages, [], |row| {
                Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?))
            })?;
            let counted = database.query_row("SELECT sum(messages) FROM chats", [], |row| number(row, 0))?;
            Ok(Self {
                rows,
                integrity,
                first,
                last,
                counted,
            })
        };
        read().map_err(|error| Failure::here(format!("the restored database: {error}")))
    }

    /// Why this is not the database as it was at one moment between two counts.
    pub(super) fn wrong(&self, rows_before: u64, rows_after: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.integrity != "ok" {
            wrong.push(format!("messages.db is damaged: {}", self.integrity));
        }
        if (self.first, self.last) != (1, self.rows) {
            wrong.push(format!(
                "messages.db has gaps: {} messages from {} to {}",
                self.rows, self.first, self.last
            ));
        }
        if self.counted != self.rows {
            wrong.push(format!(
                "messages.db mixes two moments: its chats count {} messages, and there are {}",
                self.counted, self.rows
            ));
        }
        if !(rows_before..=rows_after).contains(&self.rows) {
            wrong.push(format!(
                "messages.db has {} messages, and had {rows_before} to {rows_after} during the backup",
                self.rows
            ));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_difference_is_seen_and_the_database_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let files = || Files::of(dir.path(), &path("m.db")).unwrap();
        for name in ["same", "gone", "other", "m.db", "m.db-wal"] {
            fs::write(path(name), name).unwrap();
        }
        let before = files();
        assert_eq!(before.len(), 3);
        assert!(before.differences(&files()).is_empty());
        fs::remove_file(path("gone")).unwrap();
        fs::write(path("other"), "changed").unwrap();
        fs::write(path("m.db"), "changed").unwrap();
        fs::write(path("new"), "x").unwrap();
        let differences = [
            "gone is missing",
            "other has another content",
            "new was not there before",
        ];
        assert_eq!(before.differences(&files()), differences);
    }

    #[test]
    fn a_database_of_two_moments_is_seen() {
        let messages = Messages {
            rows: 10,
            integrity: "ok".into(),
            first: 1,
            last: 10,
            counted: 10,
        };
        assert!(messages.wrong(9, 11).is_empty());
        assert_eq!(messages.wrong(11, 12).len(), 1);
        let mixed = Messages {
            last: 11,
            counted: 11,
            ..messages
        };
        assert_eq!(mixed.wrong(9, 11).len(), 2);
    }
}
