//! Moving a plan's files, forwards and backwards.
//!
//! Four places have the same paths: what is staged (`tree`), the target, and in the staging folder what the target had (`old`). What is in
//! the way of either direction, such as the log that the app's restored database has by then, goes to a fourth (`since`), where nothing has
//! a path.
//!
//! Each direction has two halves, with everything durable between them: first what is in the target leaves it, then the other comes. So
//! no log ever stands beside a database of the other side. Where a file is says what was done of it: one that is still staged was not put
//! in place, one that is not was. So each half can be done again from its beginning, whatever was done of it.

use std::{
    ffi::{OsStr, OsString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, Mode, OFlags, RawMode, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, mkdirat, openat,
        renameat, statat,
    },
    io::Errno,
};

use super::{
    super::{
        databases::with_suffix,
        folder::{Closed, Descriptors, Folder},
        staging::free_name,
    },
    plan::{Move, Plan},
    state::Work,
};
use crate::{
    error::{Error, Place, Result},
    sqlite::{fold::GoOn, pairs::COMPANION_SUFFIXES},
};

pub(super) struct Swap<'a> {
    work: &'a Work,
    step: GoOn<'a>,
    target: Descriptors,
    staged: Descriptors,
    old: Descriptors,
    since: OwnedFd,
    /// The first number that may be free in `since`.
    free: u64,
}

impl<'a> Swap<'a> {
    pub(super) fn new(work: &'a Work, step: GoOn<'a>) -> Result<Self> {
        let (tree, _) = work.staging.make_tree()?;
        Ok(Self {
            work,
            step,
            target: Descriptors::new(work.target.descriptor()?, Closed::MakeWritable),
            staged: Descriptors::new(tree, Closed::MakeWritable),
            old: Descriptors::new(work.staging.folder("old")?, Closed::MakeWritable),
            since: work.staging.folder("since")?,
            free: 0,
        })
    }

    /// Puts everything in place that is still staged.
    pub(super) fn forwards(&mut self) -> Result<()> {
        let mut plan = Plan::open(&self.work.staging)?;
        while let Some((way, what)) = plan.next()? {
            if what != Move::Companion
                && let Some((folder, name)) = file_of(&way, what)
                && self.is_staged(&folder, &name)?
            {
                for companion in companions(&name, what) {
                    self.keep(&folder, &companion)?;
                }
                self.keep(&folder, &name)?;
            }
        }
        self.sync()?;
        let mut plan = Plan::open(&self.work.staging)?;
        while let Some((way, what)) = plan.next()? {
            if let Some((folder, name)) = file_of(&way, what)
                && self.is_staged(&folder, &name)?
            {
                // Nothing is there that the plan knew of.
                self.set_aside(&folder, &name)?;
                (self.step)()?;
                let (from, to) = (self.staged.of(&folder), self.target.of(&folder));
                rename(from, to, &name)
                    .map_err(|error| self.failed("moving into place:", &folder, &name, error))?;
            }
        }
        self.sync()
    }

    /// Takes everything away that was put in place, and puts back what was there.
    pub(super) fn backwards(&mut self) -> Result<()> {
        let mut plan = Plan::open(&self.work.staging)?;
        while let Some((way, what)) = plan.next()? {
            // A log that came with its database goes with it.
            if what != Move::Companion
                && let Some((folder, name)) = file_of(&way, what)
                && !self.is_staged(&folder, &name)?
            {
                for companion in companions(&name, what) {
                    self.set_aside(&folder, &companion)?;
                }
                self.unapply(&folder, &name)?;
            }
        }
        self.sync()?;
        let mut plan = Plan::open(&self.work.staging)?;
        while let Some((way, what)) = plan.next()? {
            if what != Move::Companion
                && let Some((folder, name)) = file_of(&way, what)
            {
                self.put_back(&folder, &name)?;
                for companion in companions(&name, what) {
                    self.put_back(&folder, &companion)?;
                }
            }
        }
        let mut plan = Plan::open(&self.work.staging)?;
        while let Some((folder, what)) = plan.next()? {
            if let Move::Folder {
                mode,
                changed_seconds,
                changed_nanos,
            } = what
            {
                (self.step)()?;
                let result = self.target.of(&folder).map(|dir| {
                    // Best effort: the files are what matters.
                    let _ = fchmod(dir, Mode::from_raw_mode(mode as RawMode));
                    let _ = futimens(dir, &changed(changed_seconds, changed_nanos));
                });
                result.map_err(|error| self.failed("opening", &folder, OsStr::new(""), error))?;
            }
        }
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        (self.step)()?;
        self.work.target.sync()
    }

    fn is_staged(&mut self, folder: &Arc<Folder>, name: &OsStr) -> Result<bool> {
        let found = self.staged.of(folder).and_then(|dir| Ok(exists(dir, name)?));
        found.map_err(|error| self.failed("looking at what is staged for", folder, name, error))
    }

    fn is_there(&mut self, folder: &Arc<Folder>, name: &OsStr) -> Result<bool> {
        let found = self.target.of(folder).and_then(|dir| Ok(exists(dir, name)?));
        found.map_err(|error| self.failed("looking at", folder, name, error))
    }

    /// From the target to the old files. If such a one is there already, this is what somebody made since.
    fn keep(&mut self, folder: &Arc<Folder>, name: &OsStr) -> Result<()> {
        if !self.is_there(folder, name)? {
            return Ok(());
        }
        self.make_old(folder)?;
        let there = self.old.of(folder).and_then(|dir| Ok(exists(dir, name)?));
        if there.map_err(|error| self.failed("keeping", folder, name, error))? {
            return self.set_aside(folder, name);
        }
        (self.step)()?;
        let (from, to) = (self.target.of(folder), self.old.of(folder));
        rename(from, to, name).map_err(|error| self.failed("keeping", folder, name, error))
    }

    /// From the target to where nothing comes back from.
    fn set_aside(&mut self, folder: &Arc<Folder>, name: &OsStr) -> Result<()> {
        if !self.is_there(folder, name)? {
            return Ok(());
        }
        (self.step)()?;
        let moved = free_name(self.since.as_fd(), self.free).map_err(std::io::Error::from);
        let moved = moved.and_then(|free| {
            self.free = free.parse().unwrap_or(0) + 1;
            Ok(renameat(self.target.of(folder)?, name, &self.since, &*free)?)
        });
        moved.map_err(|error| self.failed("moving away:", folder, name, error))
    }

    /// From the target back to what is staged. If the app has deleted it, something else stands for it, so that the next run knows.
    fn unapply(&mut self, folder: &Arc<Folder>, name: &OsStr) -> Result<()> {
        let is_there = self.is_there(folder, name)?;
        (self.step)()?;
        let result = if is_there {
            let (from, to) = (self.target.of(folder), self.staged.of(folder));
            rename(from, to, name)
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = self.staged.of(folder);
            made.and_then(|dir| Ok(openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map(drop)?))
        };
        result.map_err(|error| self.failed("taking back:", folder, name, error))
    }

    /// From the old files to the target.
    fn put_back(&mut self, folder: &Arc<Folder>, name: &OsStr) -> Result<()> {
        let kept = match self.old.of(folder) {
            Ok(dir) => exists(dir, name).map_err(std::io::Error::from),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        if !kept.map_err(|error| self.failed("looking for the old", folder, name, error))? {
            return Ok(());
        }
        // Made since by somebody who did not wait.
        self.set_aside(folder, name)?;
        (self.step)()?;
        let (from, to) = (self.old.of(folder), self.target.of(folder));
        rename(from, to, name).map_err(|error| self.failed("putting back", folder, name, error))
    }

    /// Makes the folder among the old files, and those above it.
    fn make_old(&mut self, folder: &Arc<Folder>) -> Result<()> {
        if self.old.of(folder).is_ok() {
            return Ok(());
        }
        let Some((parent, name)) = folder.split() else {
            return Ok(());
        };
        self.make_old(parent)?;
        let made = self
            .old
            .of(parent)
            .and_then(|dir| match mkdirat(dir, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            });
        made.map_err(|error| self.failed("keeping", parent, name, error))
    }

    fn failed(&self, what: &str, folder: &Arc<Folder>, name: &OsStr, error: std::io::Error) -> Error {
        Error::io(
            Place::Target,
            what,
            &self.work.target.path.join(folder.path()).join(name),
            error,
        )
    }
}

/// The folder of what moves, and its name there. `None` where nothing moves.
fn file_of(way: &Arc<Folder>, what: Move) -> Option<(Arc<Folder>, OsString)> {
    let (folder, name) = way.split().filter(|_| !matches!(what, Move::Folder { .. }))?;
    Some((folder.clone(), name.to_owned()))
}

fn companions(name: &OsStr, what: Move) -> Vec<OsString> {
    let suffixes = COMPANION_SUFFIXES.iter().filter(|_| what == Move::Database);
    suffixes.map(|suffix| with_suffix(name, suffix)).collect()
}

fn exists(dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Within a folder that its owner may not write to, that is allowed for the rename: what it was is set at the end.
fn rename(
    from: std::io::Result<BorrowedFd<'_>>,
    to: std::io::Result<BorrowedFd<'_>>,
    name: &OsStr,
) -> std::io::Result<()> {
    let (from, to) = (from?, to?);
    match renameat(from, name, to, name) {
        Err(Errno::ACCESS) => {
            for dir in [from, to] {
                let mode = rustix::fs::fstat(dir)?.st_mode;
                fchmod(dir, Mode::from_raw_mode(mode) | Mode::RWXU)?;
            }
            Ok(renameat(from, name, to, name)?)
        }
        renamed => Ok(renamed?),
    }
}

#[allow(
    clippy::useless_conversion,
    reason = "the width of nanoseconds differs between platforms"
)]
fn changed(seconds: i64, nanos: u32) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanos.into(),
        },
    }
}
