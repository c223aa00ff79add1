//! Databases among the files: which files are one, when they are captured, and where they stand in the tree.
//!
//! Databases are captured before any file is read: those that were declared, and those that an earlier run found; on the first run of a
//! source, a look through its folders finds them first. So a file that a database speaks of is in the snapshot as it was at that
//! moment or later, unless it was deleted meanwhile. A database that appears in a folder of an old source is captured where the walk
//! meets it: files before it in the walk may be older than it.

mod files;
mod first;

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

pub(super) use files::{companion_of, is_shared_memory};
use files::{fingerprint, has_companions, is_database, log_of, look, may_be_database};

use super::{
    CaptureContext, Captured, Decision, Metadata, ReadEnd, Step,
    capture::Subject,
    decide,
    decide::is_racy,
    large::{self, Failed},
    metadata::xattrs_of_path,
    walk::{Place, Walker, dir_key},
};
use crate::{
    catalog::{self, DatabaseState, FileRow, databases},
    error::{Error, Result},
    sqlite::{Access, DatabaseFile, synthesis::LOG_SUFFIX},
};

/// Which files of a backup are databases, and how they are read.
#[derive(Debug, Clone)]
pub struct Databases {
    /// How databases are read that are found by their header. `None`: those that are not declared are files like any other, which is only
    /// safe where nothing has them open.
    pub found: Option<Access>,
    /// Databases that are known to be some. Each must lie in a source, or be one.
    pub declared: Vec<DatabaseSource>,
}

impl Default for Databases {
    /// Every database that is found, in the way that is safe wherever it is open.
    fn default() -> Self {
        Self {
            found: Some(Access::Own),
            declared: Vec::new(),
        }
    }
}

/// A database that a host declares.
#[derive(Debug, Clone)]
pub struct DatabaseSource {
    pub path: PathBuf,
    pub access: Access,
    /// Databases of the same group are captured at the same moment: those that the app attaches to one connection.
    pub group: Option<String>,
}

/// What a walk does about databases.
#[derive(Clone)]
pub(crate) struct DatabaseRules {
    pub(crate) capture: CaptureContext,
    pub(crate) databases: Databases,
}

/// What a walk has captured, and where it will stand.
#[derive(Default)]
pub(super) struct Captures {
    next_key: u64,
    /// Captured before the walk, by absolute path; or why that failed.
    first: HashMap<PathBuf, Result<Ready, io::Error>>,
    /// For each folder that the walk is in, the names of logs that have not been told yet.
    logs: Vec<BTreeSet<Vec<u8>>>,
}

impl Captures {
    pub(super) fn enter(&mut self) {
        self.logs.push(BTreeSet::new());
    }

    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }
}

/// A database that can be told of, with what was seen of its file before.
#[derive(Debug)]
enum Ready {
    Captured {
        captured: Captured,
        seen: Seen,
    },
    /// It is as it is stored.
    Unchanged {
        state: DatabaseState,
        seen: Seen,
    },
}

/// A database's files as they were before they were read.
#[derive(Debug)]
struct Seen {
    metadata: Metadata,
    fingerprint: Vec<u8>,
    racy: bool,
}

/// A file of a folder that may be a database.
pub(super) struct Entry<'a> {
    pub(super) place: &'a Place<'a>,
    pub(super) file_name: &'a OsStr,
    /// In the tree.
    pub(super) name: &'a [u8],
    pub(super) metadata: &'a Metadata,
    pub(super) row: Option<&'a FileRow>,
    pub(super) access: Access,
}

/// What was told of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Database,
    File,
    /// It is no database: it is yet to be told of.
    Nothing,
}

/// Reads a file whose position nobody may move.
struct FromStart<'a> {
    file: &'a DatabaseFile,
    offset: u64,
}

impl io::Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Walker {
    /// How the file is to be read, if it can be a database.
    pub(super) fn database_access(&self, place: &Place<'_>, file_name: &OsStr, size: u64) -> Option<Access> {
        let rules = &self.context.databases.as_ref()?.databases;
        let declared = rules.declared.iter().find(|source| {
            source.path.file_name() == Some(file_name)
                && absolute(&source.path) == absolute(&place.path.join(file_name))
        });
        match declared {
            Some(source) => (size > 0).then(|| source.access.clone()),
            None => rules.found.clone().filter(|_| may_be_database(size)),
        }
    }

    /// Tells of a database, or of a file that is in use as one would be.
    pub(super) fn database(&mut self, entry: &Entry<'_>) -> Result<Told> {
        let path = entry.place.path.join(entry.file_name);
        if let Some(ready) = self.databases.first.remove(&absolute(&path)) {
            self.tell_captured(entry, &path, ready)?;
            return Ok(Told::Database);
        }
        let was_database = entry.row.is_some_and(|row| row.database_bytes.is_some());
        let is_old_file = entry.row.is_some_and(|row| {
            row.database_bytes.is_none()
                && decide(&entry.metadata.stat, Some(row), row.epoch) != Decision::Read
        });
        if is_old_file {
            return Ok(Told::Nothing);
        }
        let in_use = has_companions(entry.place.names, entry.file_name);
        let file = match look(entry.place.dir.as_fd(), entry.file_name, &entry.access, in_use) {
            Ok(Some(file)) if is_database(&file, &entry.access) => file,
            Ok(Some(file)) => return self.tell_in_use(entry, &file).map(|()| Told::File),
            Ok(None) => return Ok(Told::Nothing),
            // It will be told of as a file that cannot be read.
            Err(_) if !was_database => return Ok(Told::Nothing),
            Err(error) => {
                self.tell_captured(entry, &path, Err(error))?;
                return Ok(Told::Database);
            }
        };
        let seen = self.look(&file, entry.metadata.clone(), &path);
        let state = self.stored(&dir_key(entry.place.path), entry.file_name)?;
        if let (Some(row), Some(stored)) = (entry.row, state.as_ref())
            && let Some(refresh) = unchanged(row, &seen, &stored.state, self.context.epoch)
            && (!refresh || stored.is_stored)
        {
            let state = stored.state.clone();
            self.tell_captured(entry, &path, Ok(Ready::Unchanged { state, seen }))?;
            return Ok(Told::Database);
        }
        let Some(rules) = self.context.databases.clone() else {
            return Ok(Told::Nothing);
        };
        let subject = Subject {
            key: self.databases.key(),
            dir: entry.place.dir.clone(),
            dir_key: dir_key(entry.place.path),
            name: entry.file_name.to_owned(),
            path: path.clone(),
            access: entry.access.clone(),
            state: state.filter(|stored| stored.is_stored).map(|stored| stored.state),
        };
        let ready = match self.capture(&rules.capture, vec![subject]) {
            Ok(captured) => captured
                .into_iter()
                .next()
                .map(|captured| Ready::Captured { captured, seen })
                .ok_or_else(|| io::Error::other("nothing was captured")),
            Err(Failed::Read(error) | Failed::Busy(error)) => {
                self.emit(Step::Restart)?;
                Err(error)
            }
            Err(Failed::Engine(error)) => return Err(error),
        };
        self.tell_captured(entry, &path, ready)?;
        Ok(Told::Database)
    }

    /// Tells of a file that has a database's companions and no header, as an encrypted database that was not declared: its bytes as they are,
    /// through a descriptor that stays open.
    fn tell_in_use(&mut self, entry: &Entry<'_>, file: &DatabaseFile) -> Result<()> {
        let path = entry.place.path.join(entry.file_name);
        let mut metadata = entry.metadata.clone();
        metadata.xattrs = xattrs_of_path(&path);
        match large::stream(self, FromStart { file, offset: 0 }) {
            Ok(()) => self.emit(Step::Large {
                name: entry.name.to_vec(),
                metadata: Box::new(metadata),
                // Nothing says when such a file is at rest.
                end: ReadEnd::Racy,
                before: entry.row.cloned().map(Box::new),
            }),
            Err(Failed::Read(error) | Failed::Busy(error)) => {
                self.emit(Step::Restart)?;
                self.unreadable(entry.name.to_vec(), &path, error)
            }
            Err(Failed::Engine(error)) => Err(error),
        }
    }

    fn tell_captured(
        &mut self,
        entry: &Entry<'_>,
        path: &Path,
        ready: Result<Ready, io::Error>,
    ) -> Result<()> {
        self.log_follows(entry.name);
        match ready {
            Ok(Ready::Captured { captured, seen }) => self.emit(Step::Database {
                name: entry.name.to_vec(),
                metadata: Box::new(seen.metadata),
                captured: Box::new(captured),
                fingerprint: seen.fingerprint,
                end: if seen.racy {
                    ReadEnd::Racy
                } else {
                    ReadEnd::Settled
                },
                before: entry.row.cloned().map(Box::new),
            }),
            Ok(Ready::Unchanged { state, seen }) => {
                let Some(row) = entry.row else {
                    return Err(Error::bug("an unchanged database that nobody knows"));
                };
                self.emit(Step::DatabaseUnchanged {
                    name: entry.name.to_vec(),
                    metadata: Box::new(seen.metadata),
                    row: Box::new(row.clone()),
                    state: Box::new(state),
                    refresh: row.epoch != self.context.epoch,
                })
            }
            Err(error) => self.unreadable(entry.name.to_vec(), path, error),
        }
    }

    fn look(&self, file: &DatabaseFile, mut metadata: Metadata, path: &Path) -> Seen {
        let started = self.context.clock.wall();
        metadata.stat.log = log_of(path);
        metadata.xattrs = xattrs_of_path(path);
        let log_racy = metadata.stat.log.is_some_and(|(_, mtime)| {
            let stat = catalog::Stat {
                mtime,
                ctime: mtime,
                ..metadata.stat
            };
            is_racy(&stat, started)
        });
        Seen {
            fingerprint: fingerprint(file, path),
            racy: log_racy || is_racy(&metadata.stat, started),
            metadata,
        }
    }

    /// What the catalog has of a database, and whether all of its blobs are still stored.
    fn stored(&self, dir: &[u8], name: &OsStr) -> Result<Option<Stored>> {
        let (dir, name) = (dir.to_vec(), name.as_bytes().to_vec());
        let catalog = &self.context.reader.catalog;
        let Some(state) = catalog.read_blocking(move |db| databases::load(db, &dir, &name))? else {
            return Ok(None);
        };
        let is_stored = self.all_stored(&state.base)? && self.all_stored(&state.log)?;
        Ok(Some(Stored { state, is_stored }))
    }

    /// Its log has a place of its own among the names of the folder.
    fn log_follows(&mut self, name: &[u8]) {
        if let Some(logs) = self.databases.logs.last_mut() {
            logs.insert([name, LOG_SUFFIX].concat());
        }
    }

    /// Tells of the logs whose names come before `name`; with `None`, of those that are left, at the end of a folder.
    pub(super) fn logs_before(&mut self, name: Option<&[u8]>) -> Result<()> {
        let Some(logs) = self.databases.logs.last_mut() else {
            return Ok(());
        };
        let due = match name {
            Some(name) => {
                let later = logs.split_off(name);
                std::mem::replace(logs, later)
            }
            None => self.databases.logs.pop().unwrap_or_default(),
        };
        for name in due {
            self.emit(Step::DatabaseLog { name })?;
        }
        Ok(())
    }
}

/// What the catalog has of a database.
struct Stored {
    state: DatabaseState,
    is_stored: bool,
}

/// Whether the database is as it was stored; and then, whether the catalog's row is from another loss epoch.
fn unchanged(row: &FileRow, seen: &Seen, state: &DatabaseState, epoch: i64) -> Option<bool> {
    let decision = decide(&seen.metadata.stat, Some(row), epoch);
    let same =
        row.database_bytes.is_some() && decision != Decision::Read && state.fingerprint == seen.fingerprint;
    same.then_some(decision == Decision::Verify)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
