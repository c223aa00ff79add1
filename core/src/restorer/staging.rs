//! The staging folder: where it lies, who works in it, how far it is, and what becomes of one that another
//! restore left.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, fsync, mkdirat, openat, renameat,
        statat,
    },
    io::Errno,
};

use super::{
    folder::{Closed, open_dir},
    journal::{JournalReader, JournalWriter},
    plan::STAGING_PREFIX,
};
use crate::error::{Error, Kind, Place, Result};

/// The journal while it is written, and when staging is complete.
const JOURNAL_WRITING: &str = "staging";
const JOURNAL: &str = "staged";
/// What is staged.
const TREE: &str = "tree";

/// Whether something in the staging folder was made by this run. Then nothing can be in it that this run did
/// not put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Now,
    Before,
}

/// The folder that is restored into.
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
}

impl Target {
    /// `None` where there is none yet. Links on the way to it are the caller's choice, and followed.
    pub(super) fn find(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                path: path.to_owned(),
                fd,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) => {
                let text = format!("{} is not a folder: restore into another place", path.display());
                Err(Error::new(Kind::InvalidInput, text))
            }
            Err(error) => Err(Error::io(Place::Target, "opening", path, error.into())),
        }
    }

    pub(super) fn find_or_make(path: &Path) -> Result<Self> {
        if let Some(found) = Self::find(path)? {
            return Ok(found);
        }
        fs::create_dir_all(path).map_err(|error| Error::io(Place::Target, "creating", path, error))?;
        let gone = || Error::io(Place::Target, "opening", path, io::ErrorKind::NotFound.into());
        Self::find(path)?.ok_or_else(gone)
    }

    /// Waits until the file system has everything written so far.
    pub(super) fn sync(&self) -> Result<()> {
        sync_file_system(self.fd.as_fd())
            .map_err(|error| Error::io(Place::Target, "writing to", &self.path, error))
    }

    fn error(&self, what: &str, name: &OsStr, error: impl Into<io::Error>) -> Error {
        Error::io(Place::Target, what, &self.path.join(name), error.into())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn sync_file_system(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sync_file_system(_: BorrowedFd<'_>) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

/// The staging folder of this restore, locked while this lives.
pub(super) struct Staging {
    name: OsString,
    path: PathBuf,
    fd: OwnedFd,
}

impl Staging {
    /// `None` where there is none yet.
    pub(super) fn find(target: &Target, name: &str) -> Result<Option<Self>> {
        let name = OsString::from(name);
        let fd = match open_dir(target.fd.as_fd(), &name, Closed::Refuse) {
            Ok(fd) => fd,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(target.error("opening", &name, error)),
        };
        let staging = Self {
            path: target.path.join(&name),
            name,
            fd,
        };
        let stat = fstat(&staging.fd).map_err(|error| staging.error("looking at", error))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            let text = format!(
                "{} belongs to another user: restore into another folder",
                staging.path.display()
            );
            return Err(Error::new(Kind::AccessDenied, text));
        }
        if is_locked(staging.fd.as_fd()) {
            return Err(busy(&staging.path));
        }
        Ok(Some(staging))
    }

    pub(super) fn find_or_make(target: &Target, name: &str) -> Result<Self> {
        match mkdirat(&target.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(target.error("creating", name.as_ref(), error)),
        }
        let gone = || target.error("opening", name.as_ref(), io::ErrorKind::NotFound);
        Self::find(target, name)?.ok_or_else(gone)
    }

    fn error(&self, what: &str, error: impl Into<io::Error>) -> Error {
        Error::io(Place::Target, what, &self.path, error.into())
    }

    /// What is staged. Made when it is not there.
    pub(super) fn make_tree(&self) -> Result<(OwnedFd, Made)> {
        let made = match mkdirat(&self.fd, TREE, Mode::RWXU) {
            Ok(()) => Made::Now,
            Err(Errno::EXIST) => Made::Before,
            Err(error) => return Err(self.error("writing into", error)),
        };
        let tree = self
            .tree()?
            .ok_or_else(|| self.error("opening", io::ErrorKind::NotFound))?;
        Ok((tree, made))
    }

    /// `None` when all of it is in place.
    pub(super) fn tree(&self) -> Result<Option<OwnedFd>> {
        match open_dir(self.fd.as_fd(), TREE.as_ref(), Closed::Refuse) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error("opening", error)),
        }
    }

    /// The journal, if staging is complete.
    pub(super) fn journal(&self) -> Result<Option<JournalReader>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.fd, JOURNAL, flags, Mode::empty()) {
            Ok(fd) => JournalReader::open(self.path.join(JOURNAL), File::from(fd)).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("reading", error)),
        }
    }

    pub(super) fn write_journal(&self) -> Result<JournalWriter> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, JOURNAL_WRITING, flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(|error| self.error("writing into", error))?;
        Ok(JournalWriter::new(
            self.path.join(JOURNAL_WRITING),
            File::from(file),
        ))
    }

    /// Says that staging is complete, durably. The journal must be written, and what is staged must be
    /// durable.
    pub(super) fn complete(&self) -> Result<()> {
        renameat(&self.fd, JOURNAL_WRITING, &self.fd, JOURNAL)
            .and_then(|()| fsync(&self.fd))
            .map_err(|error| self.error("writing into", error))
    }

    /// Removes the folder. The journal goes after what was staged: until then the restore is one that goes
    /// on, not one that begins.
    pub(super) fn remove(self, target: &Target) -> Result<()> {
        remove(target, &self.name)?;
        // Best effort: should it come back with a loss of power, it is one that a later restore removes.
        let _ = fsync(&target.fd);
        Ok(())
    }
}

fn remove(target: &Target, name: &OsStr) -> Result<()> {
    let path = target.path.join(name);
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(Place::Target, "removing", &path, error)),
        Ok(()) => Ok(()),
    };
    gone(fs::remove_dir_all(path.join(TREE)))?;
    gone(fs::remove_dir_all(&path))
}

/// Deals with what other restores into this folder left: one that was still staging has changed nothing and
/// is removed. One that was moving files into place must be finished, or given up by hand, before another may
/// begin: nobody could say which file is of which.
pub(super) fn clear_others(target: &Target, own: &str) -> Result<()> {
    let failed = |error: Errno| Error::io(Place::Target, "listing", &target.path, error.into());
    let mut others = Vec::new();
    for entry in Dir::read_from(&target.fd).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(STAGING_PREFIX.as_bytes()) && name != own.as_bytes() {
            others.push(OsStr::from_bytes(name).to_owned());
        }
    }
    for name in others {
        let Ok(fd) = open_dir(target.fd.as_fd(), &name, Closed::Refuse) else {
            // Not a folder, or not ours: left alone.
            continue;
        };
        let path = target.path.join(&name);
        if is_locked(fd.as_fd()) {
            return Err(busy(&path));
        }
        if statat(&fd, JOURNAL, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let snapshot = name.as_bytes()[STAGING_PREFIX.len()..]
                .split(|byte| *byte == b'-')
                .next();
            let snapshot = String::from_utf8_lossy(snapshot.unwrap_or_default());
            let text = format!(
                "a restore of snapshot {snapshot} into {} was interrupted while files were being moved into \
                 place: run that one again to complete it, or delete {} to leave everything as it is",
                target.path.display(),
                path.display()
            );
            return Err(Error::new(Kind::InvalidInput, text));
        }
        remove(target, &name)?;
    }
    Ok(())
}

/// Takes the lock of a staging folder, which ends with its descriptor. Where a file system has no locks,
/// nobody is kept away.
fn is_locked(fd: BorrowedFd<'_>) -> bool {
    flock(fd, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
}

fn busy(path: &Path) -> Error {
    let text = format!(
        "another restore is working in {}: wait for its end, or stop it",
        path.display()
    );
    Error::new(Kind::Busy, text)
}
