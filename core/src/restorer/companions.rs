//! What SQLite keeps beside a database in the target: found by name and content, so that it can be moved away when the database is
//! replaced.
//!
//! A live database and its shared memory are never opened here: closing them would drop the locks of the app's own connections. SQLite
//! holds no locks on the two files that are looked into.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat},
    io::Errno,
};

use super::databases::with_suffix;
use crate::sqlite::{
    inspect::read_header,
    pairs::{COMPANION_SUFFIXES, database_of},
};

/// A write-ahead log begins so, in either order of bytes.
const LOG_MAGICS: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
/// A rollback journal begins so.
const JOURNAL_MAGIC: [u8; 4] = [0xd9, 0xd5, 0x05, 0xf9];

/// The files of one folder that are named as what belongs to a database.
pub(super) struct Companions(BTreeSet<OsString>);

impl Companions {
    pub(super) fn in_folder(dir: BorrowedFd<'_>) -> io::Result<Self> {
        let mut names = BTreeSet::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if database_of(name.as_bytes()).is_some() && is_file(dir, name)? {
                names.insert(name.to_owned());
            }
        }
        Ok(Self(names))
    }

    /// Those of the target's file `name` that must go before the staged one takes its place, in the order in which they go. None where that
    /// is no database and they look like nothing of SQLite's: then they are files like others.
    pub(super) fn of(
        &self,
        name: &OsStr,
        staged: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
    ) -> io::Result<Vec<OsString>> {
        let names = COMPANION_SUFFIXES.map(|suffix| with_suffix(name, suffix));
        let found: Vec<OsString> = names.into_iter().filter(|name| self.0.contains(name)).collect();
        if found.is_empty() || is_database(staged, name)? || any_of_sqlites(target, &found)? {
            return Ok(found);
        }
        Ok(Vec::new())
    }
}

/// Whether a staged file begins as a database.
pub(super) fn is_database(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    if !is_file(dir, name)? {
        return Ok(false);
    }
    match open(dir, name) {
        // Its permissions are those that it will have: it may be nobody's to read.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(true),
        opened => Ok(read_header(&opened?)?.is_some()),
    }
}

/// Whether one of them begins as a log or journal: a database of encrypted pages has the same.
fn any_of_sqlites(dir: BorrowedFd<'_>, names: &[OsString]) -> io::Result<bool> {
    for name in names.iter().filter(|name| !name.as_bytes().ends_with(b"-shm")) {
        let mut magic = [0; 4];
        let read = open(dir, name).and_then(|file| file.read_exact_at(&mut magic, 0));
        match read {
            Ok(()) if LOG_MAGICS.contains(&magic) || magic == JOURNAL_MAGIC => return Ok(true),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn open(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(dir.as_fd(), name, flags, Mode::empty())?.into())
}

fn is_file(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
