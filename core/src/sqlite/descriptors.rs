//! Every descriptor of a database, or of the `-shm` file beside one, that the engine has ever opened: one table for the process.
//!
//! Closing *any* descriptor of a file drops all POSIX locks that the process holds on it. The app's connections hold theirs on just
//! these two files, so a descriptor of either is opened once and kept. It is closed only while we hold an exclusive lock on the whole
//! file: then nobody has a lock that could fall, and nobody gets one before the descriptor is gone, since the system drops the
//! process's locks first and those of the descriptor with its last reference. That holds for unlinked files, too.
//!
//! `-wal` and `-journal` files carry no locks: they are opened and closed as any file.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat},
    io::Errno,
};

use super::{
    header::{HEADER_BYTES, MAGIC},
    ofd::{self, Lock, Range},
};
use crate::limits::DATABASE_FILES_KEPT_MAX;

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// A static, because the locks that it guards are the process's, too: two engines in one process must share it.
static KEPT: LazyLock<Mutex<HashMap<FileId, Arc<DatabaseFile>>>> = LazyLock::new(Mutex::default);

const WHOLE: Range = Range { start: 0, bytes: 0 };

/// A file on which the app may hold locks. Dropping what refers to it closes nothing.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    /// Before `file`, so that they are closed while its lock is held.
    spares: Mutex<Vec<OwnedFd>>,
    file: File,
    id: FileId,
    /// How many in this process hold each range: locks are the descriptor's, and there is one descriptor for all.
    held: Mutex<HashMap<Range, usize>>,
}

/// What tells an untouched file from one that was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStatus {
    pub(crate) bytes: u64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) modified: (i64, i64),
    pub(crate) changed: (i64, i64),
    pub(crate) permissions: u32,
}

impl FileStatus {
    /// Whether it was changed less than this before `now`, or after.
    pub(super) fn is_younger_than(&self, age: Duration, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let parts = (u64::try_from(seconds), u32::try_from(nanoseconds));
        let (Ok(seconds), Ok(nanoseconds)) = parts else {
            return true;
        };
        let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        !now.duration_since(changed).is_ok_and(|since| since >= age)
    }
}

/// A file that nobody knew, after a look at its beginning.
pub(crate) enum Looked {
    /// It begins as a database does, or is known to belong to one: its descriptor stays open.
    Database(Arc<DatabaseFile>),
    /// Anything else; it was closed again.
    Other,
}

/// The database, or `-shm` file, of this name in `dir`. A link, folder or device is an error.
pub(crate) fn open(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Arc<DatabaseFile>> {
    match look_with(dir, name, |_| Ok(true))? {
        Looked::Database(file) => Ok(file),
        Looked::Other => Err(io::Error::other("kept as asked, yet not")),
    }
}

/// For a walk that finds a file of unknown kind. Whatever the app declared as a database, or has `-wal`, `-shm` or `-journal` beside
/// it, must go through [`open`] instead: encrypted databases begin with noise. A file of zero bytes may be a database being born:
/// there is nothing to read in it, so it should not be opened at all.
pub(crate) fn look(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Looked> {
    look_with(dir, name, |file| {
        let mut first = [0; HEADER_BYTES];
        let read = read_full_at(file, &mut first, 0)?;
        Ok(first[..read].starts_with(MAGIC))
    })
}

fn look_with(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    keep: impl FnOnce(&File) -> io::Result<bool>,
) -> io::Result<Looked> {
    let mut kept = kept();
    let before = regular(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)?;
    if let Some(known) = kept.get(&id_of(&before)) {
        return Ok(Looked::Database(known.clone()));
    }
    if kept.len() >= DATABASE_FILES_KEPT_MAX {
        close_idle(&mut kept);
    }
    let file = File::from(open_file(dir, name)?);
    let id = id_of(&regular(fstat(&file)?)?);
    if let Some(known) = kept.get(&id) {
        // Renamed meanwhile. Closing the second descriptor would do the very harm.
        known.spares().push(file.into());
        return Ok(Looked::Database(known.clone()));
    }
    // Whatever could not be looked at is kept as well: it was opened.
    let looked = keep(&file);
    if let Ok(false) = looked {
        return Ok(Looked::Other);
    }
    let file = Arc::new(DatabaseFile {
        spares: Mutex::default(),
        file,
        id,
        held: Mutex::default(),
    });
    kept.insert(id, file.clone());
    looked?;
    if kept.len() > DATABASE_FILES_KEPT_MAX {
        return Err(io::Error::other(format!(
            "more than {DATABASE_FILES_KEPT_MAX} files of databases are in use at a time"
        )));
    }
    Ok(Looked::Database(file))
}

fn kept() -> MutexGuard<'static, HashMap<FileId, Arc<DatabaseFile>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes what nobody reads and nobody at all holds a lock on: files without a name first, then no more than makes room for a while.
fn close_idle(kept: &mut HashMap<FileId, Arc<DatabaseFile>>) {
    kept.retain(|_, file| !(file.is_unlinked() && is_closable(file)));
    let mut left = kept.len();
    kept.retain(|_, file| {
        let closes = left > DATABASE_FILES_KEPT_MAX / 4 * 3 && is_closable(file);
        left -= usize::from(closes);
        !closes
    });
}

/// Whether closing it now does no harm: then the lock that makes it so is held.
fn is_closable(file: &Arc<DatabaseFile>) -> bool {
    // References are only ever taken from the table, which is locked: the only one stays the only one.
    let is_idle = Arc::strong_count(file) == 1;
    let is_free = || matches!(file.other_lock(WHOLE), Ok(None));
    let lock = || ofd::try_lock(file.file.as_fd(), WHOLE, Lock::Exclusive);
    is_idle && is_free() && lock().unwrap_or(false)
}

fn open_file(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    // Without waiting, should it have become a pipe. Written to it is never: an exclusive lock, before it is closed, needs the mode.
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let opened = match openat(dir, name, flags | OFlags::RDWR, Mode::empty()) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY) => {
            openat(dir, name, flags | OFlags::RDONLY, Mode::empty())
        }
        opened => opened,
    };
    Ok(opened?)
}

fn regular(stat: Stat) -> io::Result<Stat> {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let refuse = || io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
    is_file.then_some(stat).ok_or_else(refuse)
}

#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the widths differ between systems"
)]
fn id_of(stat: &Stat) -> FileId {
    FileId {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
    }
}

/// The file that has this name now; none where there is none.
pub(crate) fn id_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<FileId>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(id_of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A file that carries no locks, such as a `-wal`. None where there is none, or where it is empty: for SQLite that is the same.
pub(crate) fn open_unlocked(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = regular(fstat(&file)?)?;
    Ok((stat.st_size > 0).then_some(file))
}

pub(crate) fn id_of_file(file: &File) -> io::Result<FileId> {
    Ok(id_of(&fstat(file)?))
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl DatabaseFile {
    fn is_unlinked(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| stat.st_nlink == 0)
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Reads until the buffer is full or the file ends. What is read without a lock may be torn.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full_at(&self.file, buffer, offset)
    }

    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the widths differ between systems"
    )]
    pub(crate) fn status(&self) -> io::Result<FileStatus> {
        let stat = fstat(&self.file)?;
        Ok(FileStatus {
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            permissions: stat.st_mode as u32 & 0o7777,
        })
    }

    /// A lock that somebody else holds here: another process, or a connection of the app's in this one.
    pub(crate) fn other_lock(&self, range: Range) -> io::Result<Option<Lock>> {
        ofd::other_lock(self.file.as_fd(), range)
    }

    /// None where somebody holds it exclusively.
    pub(crate) fn try_shared(self: &Arc<Self>, range: Range) -> io::Result<Option<Held>> {
        let mut held = self.held();
        let count = held.entry(range).or_insert(0);
        if *count == 0 && !ofd::try_lock(self.file.as_fd(), range, Lock::Shared)? {
            return Ok(None);
        }
        *count += 1;
        let file = self.clone();
        Ok(Some(Held { file, range }))
    }

    fn release(&self, range: Range) {
        let mut held = self.held();
        let Some(count) = held.get_mut(&range) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0
            && let Err(error) = ofd::unlock(self.file.as_fd(), range)
        {
            tracing::error!(%error, "a lock of a database could not be released");
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Range, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shared lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    file: Arc<DatabaseFile>,
    range: Range,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.file.release(self.range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_makes_room_and_what_is_locked_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = File::open(folder.path()).unwrap();
        let name = |at: usize| format!("{at}.db");
        let busy = folder.path().join("busy.db");
        std::fs::write(&busy, b"").unwrap();
        let app = File::options().read(true).write(true).open(&busy).unwrap();
        let byte = Range { start: 9, bytes: 1 };
        assert!(ofd::try_lock(app.as_fd(), byte, Lock::Exclusive).unwrap());
        let id = open(dir.as_fd(), OsStr::new("busy.db")).unwrap().id();
        let read = open(dir.as_fd(), OsStr::new("busy.db")).unwrap();
        for at in 0..2 * DATABASE_FILES_KEPT_MAX {
            std::fs::write(folder.path().join(name(at)), b"").unwrap();
            open(dir.as_fd(), OsStr::new(&name(at))).unwrap();
            if at % 3 == 0 {
                std::fs::remove_file(folder.path().join(name(at))).unwrap();
            }
        }
        drop(read);
        let kept = kept();
        assert!(kept.len() <= DATABASE_FILES_KEPT_MAX, "{}", kept.len());
        assert!(kept.contains_key(&id), "somebody holds a lock on it");
    }

    #[test]
    fn one_file_has_one_descriptor_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let dir = File::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("one"), MAGIC).unwrap();
        std::fs::hard_link(folder.path().join("one"), folder.path().join("two")).unwrap();
        std::os::unix::fs::symlink("one", folder.path().join("link")).unwrap();
        let one = open(dir.as_fd(), OsStr::new("one")).unwrap();
        let two = open(dir.as_fd(), OsStr::new("two")).unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        assert!(open(dir.as_fd(), OsStr::new("link")).is_err());
        assert!(
            open(
                folder
                    .path()
                    .parent()
                    .map(|at| File::open(at).unwrap())
                    .unwrap()
                    .as_fd(),
                folder.path().file_name().unwrap()
            )
            .is_err()
        );
    }

    #[test]
    fn a_look_keeps_what_begins_as_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let dir = File::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("app.db"), MAGIC).unwrap();
        std::fs::write(folder.path().join("photo"), b"no database").unwrap();
        assert!(matches!(
            look(dir.as_fd(), OsStr::new("app.db")).unwrap(),
            Looked::Database(_)
        ));
        assert!(matches!(
            look(dir.as_fd(), OsStr::new("photo")).unwrap(),
            Looked::Other
        ));
        let photo = File::open(folder.path().join("photo")).unwrap();
        assert!(!kept().contains_key(&id_of_file(&photo).unwrap()));
        let known = open(dir.as_fd(), OsStr::new("photo")).unwrap();
        assert!(
            matches!(look(dir.as_fd(), OsStr::new("photo")).unwrap(), Looked::Database(same) if Arc::ptr_eq(&same, &known))
        );
    }

    #[test]
    fn a_lock_that_two_hold_lasts_until_both_let_go() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let dir = File::open(file.path().parent().unwrap()).unwrap();
        let ours = open(dir.as_fd(), file.path().file_name().unwrap()).unwrap();
        let range = Range { start: 3, bytes: 4 };
        let (one, two) = (ours.try_shared(range).unwrap(), ours.try_shared(range).unwrap());
        let other = File::options().read(true).write(true).open(file.path()).unwrap();
        let is_held = || ofd::other_lock(other.as_fd(), WHOLE).unwrap().is_some();
        drop(one);
        assert!(is_held());
        drop(two);
        assert!(!is_held());
        assert!(ofd::try_lock(other.as_fd(), range, Lock::Exclusive).unwrap());
        assert!(ours.try_shared(range).unwrap().is_none());
    }
}
