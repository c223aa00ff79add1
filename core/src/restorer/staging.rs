//! The staging folder: where it lies, who works in it, how far it is, and what becomes of one that another
//! restore left.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, fsync, mkdirat, openat, renameat,
        statat, unlinkat,
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
/// The journal while logs are folded into their databases: what is staged is complete, and no longer what the snapshot's blobs say.
const FOLDING: &str = "folding";
/// The databases among what is staged, one line each.
pub(super) const DATABASES: &str = "databases";
/// There where what is staged waits to be applied by a call of its own: how far that is.
pub(super) const STATE: &str = "pending";
/// What is staged.
const TREE: &str = "tree";
/// Files of the target that belonged to a database which was replaced.
const AWAY: &str = "away";

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

    /// A descriptor of its own.
    pub(super) fn descriptor(&self) -> Result<OwnedFd> {
        self.fd
            .try_clone()
            .map_err(|error| Error::io(Place::Target, "opening", &self.path, error))
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
    pub(super) fn find(target: &Target, name: impl AsRef<OsStr>) -> Result<Option<Self>> {
        let name = name.as_ref().to_owned();
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

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// For SQLite, which takes no descriptors.
    pub(super) fn tree_path(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// A file of the staging folder's own, if it is there.
    pub(super) fn file(&self, name: &str) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("reading", error)),
        }
    }

    fn read_journal(&self, name: &str) -> Result<Option<JournalReader>> {
        let open = |file| JournalReader::open(self.path.join(name), file);
        self.file(name)?.map(open).transpose()
    }

    /// The journal, if staging is complete.
    pub(super) fn journal(&self) -> Result<Option<JournalReader>> {
        self.read_journal(JOURNAL)
    }

    /// The journal, if everything is staged and the databases are being dealt with.
    pub(super) fn folding(&self) -> Result<Option<JournalReader>> {
        self.read_journal(FOLDING)
    }

    /// The journal as it was just written.
    pub(super) fn written(&self) -> Result<JournalReader> {
        let gone = || self.error("reading", io::ErrorKind::NotFound);
        self.read_journal(JOURNAL_WRITING)?.ok_or_else(gone)
    }

    /// The list of databases, if it is written.
    pub(super) fn databases(&self) -> Result<Option<File>> {
        self.file(DATABASES)
    }

    pub(super) fn is_listed(&self) -> Result<bool> {
        Ok(self.databases()?.is_some())
    }

    /// Writes a file of the staging folder's own: all of it is there, durably, or what was there before.
    pub(super) fn write_whole(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let writing = format!("{name}.part");
        let mut file = self.create(&writing)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|error| self.error("writing into", error))?;
        self.rename(&writing, name)
    }

    /// Creates a file of the staging folder's own, or empties it.
    pub(super) fn create(&self, name: &str) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
        file.map(File::from)
            .map_err(|error| self.error("writing into", error))
    }

    /// Durable when it returns.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        renameat(&self.fd, from, &self.fd, to)
            .and_then(|()| fsync(&self.fd))
            .map_err(|error| self.error("writing into", error))
    }

    /// Removes a file of the staging folder's own, durably, if it is there.
    pub(super) fn remove_file(&self, name: &str) -> Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed
                .and_then(|()| fsync(&self.fd))
                .map_err(|error| self.error("writing into", error)),
        }
    }

    /// A folder of the staging folder's own; made if it is not there.
    pub(super) fn folder(&self, name: &str) -> Result<OwnedFd> {
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.error("writing into", error)),
        }
        open_dir(self.fd.as_fd(), name.as_ref(), Closed::MakeWritable)
            .map_err(|error| self.error("opening", error))
    }

    /// Where to move what is in the way of a restored database: a folder, and a name that is free there.
    pub(super) fn away(&self) -> Result<(OwnedFd, String)> {
        let away = self.folder(AWAY)?;
        let name = free_name(away.as_fd(), 0).map_err(|error| self.error("writing into", error))?;
        Ok((away, name))
    }

    pub(super) fn write_journal(&self) -> Result<JournalWriter> {
        Ok(JournalWriter::new(
            self.path.join(JOURNAL_WRITING),
            self.create(JOURNAL_WRITING)?,
        ))
    }

    /// Says, durably, that all content is there, and that the databases will be changed. The journal must be written, and what is staged
    /// must be durable.
    pub(super) fn begin_folding(&self) -> Result<()> {
        // Of a run that came so far, and was not taken for complete.
        self.remove_file(DATABASES)?;
        self.rename(JOURNAL_WRITING, FOLDING)
    }

    /// Says that staging is complete, durably. The journal must be written, and what is staged must be
    /// durable.
    pub(super) fn complete(&self) -> Result<()> {
        let written = if self.file(FOLDING)?.is_some() {
            FOLDING
        } else {
            JOURNAL_WRITING
        };
        self.rename(written, JOURNAL)
    }

    /// Removes the folder of which a file named `pending` says that it has served. What would have another run go on goes before that file.
    pub(super) fn discard(self, target: &Target) -> Result<()> {
        for name in [JOURNAL, FOLDING, JOURNAL_WRITING] {
            self.remove_file(name)?;
        }
        self.remove(target)
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
    gone(remove_all(&path.join(TREE)))?;
    gone(remove_all(&path))
}

impl Drop for Staging {
    /// A process that the host has just started may have the descriptor for a moment longer: the lock does not wait for it.
    fn drop(&mut self) {
        let _ = flock(&self.fd, FlockOperation::Unlock);
    }
}

/// With folders in it that have the permissions of the target's, which need not let anybody write.
fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path)?;
            fs::remove_dir_all(path)
        }
        result => result,
    }
}

fn make_writable(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// A number that is no name in the folder yet, from one on.
pub(super) fn free_name(dir: BorrowedFd<'_>, mut number: u64) -> Result<String, Errno> {
    loop {
        let name = number.to_string();
        match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(name),
            Err(error) => return Err(error),
            Ok(_) => number += 1,
        }
    }
}

/// The staging folders in a target.
pub(super) fn names(target: &Target) -> Result<Vec<OsString>> {
    let failed = |error: Errno| Error::io(Place::Target, "listing", &target.path, error.into());
    let mut names = Vec::new();
    for entry in Dir::read_from(&target.fd).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(STAGING_PREFIX.as_bytes()) {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// The beginning of the id of the snapshot that a staging folder of this name holds.
pub(super) fn snapshot_of(name: &OsStr) -> String {
    let rest = name.as_bytes().strip_prefix(STAGING_PREFIX.as_bytes());
    let id = rest.unwrap_or_default().split(|byte| *byte == b'-').next();
    String::from_utf8_lossy(id.unwrap_or_default()).into_owned()
}

/// Deals with what other restores into this folder left: one that was still staging has changed nothing and
/// is removed. One that was moving files into place must be finished, or given up by hand, before another may
/// begin: nobody could say which file is of which.
pub(super) fn clear_others(target: &Target, own: &str) -> Result<()> {
    for name in names(target)?.into_iter().filter(|name| name != own) {
        let Ok(fd) = open_dir(target.fd.as_fd(), &name, Closed::Refuse) else {
            // Not a folder, or not ours: left alone.
            continue;
        };
        let path = target.path.join(&name);
        if is_locked(fd.as_fd()) {
            return Err(busy(&path));
        }
        if statat(&fd, JOURNAL, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let snapshot = snapshot_of(&name);
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
