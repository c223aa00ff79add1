//! Applying: what is staged is moved into place, one rename for each file or for each folder that the target
//! does not have.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        Access, AtFlags, Dir, FileType, Mode, Stat, accessat, fchmod, fstat, fsync, renameat, statat,
        unlinkat,
    },
    io::Errno,
};

use super::{
    attributes,
    companions::Companions,
    folder::{Closed, Descriptors, open_dir},
    journal::Staged,
    run::{RestoreContext, Tally, in_snapshot},
    staging::{Staging, Target, free_name},
};
use crate::{
    error::{Error, Kind, Place, Result},
    events::Phase,
    sqlite::{fold::GoOn, pairs::database_of},
};

/// A staged folder and the one it goes into.
pub(super) struct Pair {
    pub(super) staged: OwnedFd,
    pub(super) target: OwnedFd,
    /// Of the target's.
    pub(super) path: PathBuf,
}

/// What there is in the target under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Folder,
    Other,
}

/// Refuses a restore that could not be applied whole. Changes nothing.
pub(super) fn check(go_on: GoOn, target: &Target, staging: &Staging) -> Result<()> {
    match Pair::root(target, staging)? {
        Some(pair) => check_pair(go_on, &pair),
        None => Ok(()),
    }
}

/// Moves everything into place, then finishes the folders, deepest first. Durable when this returns. Goes on
/// where an earlier run ended: what is no longer staged is in place.
pub(super) fn apply(
    context: &RestoreContext,
    target: &Target,
    staging: &Staging,
    tally: &mut Tally,
) -> Result<Staged> {
    context.meter.phase(Phase::Applying);
    let Some(mut journal) = staging.journal()? else {
        return Err(Error::bug("applying what is not staged"));
    };
    if let Some(pair) = Pair::root(target, staging)? {
        move_pair(context, staging, &pair)?;
    }
    let mut dirs = Descriptors::new(target.descriptor()?, Closed::MakeWritable);
    while let Some((folder, node)) = journal.next_folder()? {
        context.err_if_cancelled()?;
        let path = folder.path();
        let fd = dirs.of(&folder);
        let fd = fd.map_err(|error| Error::io(Place::Target, "opening", &target.path.join(&path), error))?;
        attributes::set(fd, &node, &mut |reason| {
            tally.warn(&in_snapshot(path.clone()), reason)
        });
    }
    target.sync()?;
    Ok(journal.staged)
}

impl Pair {
    pub(super) fn root(target: &Target, staging: &Staging) -> Result<Option<Self>> {
        let Some(staged) = staging.tree()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            staged,
            target: target.descriptor()?,
            path: target.path.clone(),
        }))
    }

    pub(super) fn below(&self, name: &OsString) -> Result<Self> {
        let path = self.path.join(name);
        let failed = |error| Error::io(Place::Target, "opening", &path, error);
        Ok(Self {
            staged: open_dir(self.staged.as_fd(), name, Closed::Refuse).map_err(failed)?,
            target: open_dir(self.target.as_fd(), name, Closed::Refuse).map_err(failed)?,
            path,
        })
    }

    /// What is staged here, and which of it are folders.
    pub(super) fn entries(&self) -> Result<Vec<(OsString, bool)>> {
        let failed = |error: Errno| {
            Error::io(
                Place::Target,
                "listing what is staged for",
                &self.path,
                error.into(),
            )
        };
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.staged).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let name = OsString::from_vec(name.to_vec());
            let is_folder = match entry.file_type() {
                FileType::Unknown => {
                    let stat = statat(&self.staged, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                    is_folder(&stat)
                }
                kind => kind == FileType::Directory,
            };
            entries.push((name, is_folder));
        }
        Ok(entries)
    }

    pub(super) fn found(&self, name: &OsString) -> Result<Found> {
        match statat(&self.target, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_folder(&stat) => Ok(Found::Folder),
            Ok(_) => Ok(Found::Other),
            Err(Errno::NOENT) => Ok(Found::Nothing),
            Err(error) => Err(self.error("looking at", name, error)),
        }
    }

    pub(super) fn error(&self, what: &str, name: &OsStr, error: impl Into<io::Error>) -> Error {
        Error::io(Place::Target, what, &self.path.join(name), error.into())
    }

    /// A step that changes the target's folder. One of our own that is read-only is made writable for it; its
    /// permissions are set at the end.
    fn change(&self, step: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
        match step() {
            Err(Errno::ACCESS) => {
                let stat = fstat(&self.target)?;
                fchmod(&self.target, Mode::from_raw_mode(stat.st_mode) | Mode::RWXU)?;
                step()
            }
            result => result,
        }
    }
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn refused(path: &Path, why: &str) -> Error {
    let text = format!("{}: {why}; nothing was changed", path.display());
    Error::new(Kind::InvalidInput, text)
}

fn check_pair(go_on: GoOn, pair: &Pair) -> Result<()> {
    let entries = pair.entries()?;
    if entries.is_empty() {
        return Ok(());
    }
    check_folder(pair)?;
    for (name, is_folder) in entries {
        go_on()?;
        let path = || pair.path.join(&name);
        match (is_folder, pair.found(&name)?) {
            (_, Found::Nothing) | (false, Found::Other) => {}
            (true, Found::Folder) => check_pair(go_on, &pair.below(&name)?)?,
            (true, Found::Other) => {
                let why = "there is a file or a link where the snapshot has a folder: move it away, or \
                           restore into another folder";
                return Err(refused(&path(), why));
            }
            (false, Found::Folder) => {
                let fd = open_dir(pair.target.as_fd(), &name, Closed::Refuse);
                let fd = fd.map_err(|error| pair.error("opening", &name, error))?;
                if !is_empty(fd.as_fd()).map_err(|error| pair.error("listing", &name, error))? {
                    let why = "there is a folder with something in it where the snapshot has none: move it \
                               away, or restore into another folder";
                    return Err(refused(&path(), why));
                }
            }
        }
    }
    Ok(())
}

/// Renames into this folder will succeed, as far as that can be known before.
fn check_folder(pair: &Pair) -> Result<()> {
    let failed = |error: Errno| Error::io(Place::Target, "looking at", &pair.path, error.into());
    let stat = fstat(&pair.target).map_err(failed)?;
    if stat.st_dev != fstat(&pair.staged).map_err(failed)?.st_dev {
        let why = "another file system is mounted there, and what was staged beside it cannot be moved \
                   there: restore into it by itself";
        return Err(refused(&pair.path, why));
    }
    let may_write = accessat(
        &pair.target,
        ".",
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::empty(),
    );
    if may_write.is_err() && stat.st_uid != rustix::process::geteuid().as_raw() {
        let text = format!(
            "{} may not be written to: change its permissions, or restore into another folder; nothing \
             was changed",
            pair.path.display()
        );
        return Err(Error::new(Kind::AccessDenied, text));
    }
    Ok(())
}

fn is_empty(dir: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn move_pair(context: &RestoreContext, staging: &Staging, pair: &Pair) -> Result<()> {
    let companions = Companions::in_folder(pair.target.as_fd());
    let companions = companions.map_err(|error| pair.error("listing", OsStr::new(""), error))?;
    let mut entries = pair.entries()?;
    // A log of its own follows its database: beside the old one it would be a blend.
    entries.sort_by_key(|(name, _)| database_of(name.as_bytes()).is_some());
    for (name, is_folder) in entries {
        context.err_if_cancelled()?;
        if !is_folder {
            move_away(staging, pair, &companions, &name)?;
        }
        let found = pair.found(&name)?;
        if is_folder && found == Found::Folder {
            move_pair(context, staging, &pair.below(&name)?)?;
            let emptied = unlinkat(&pair.staged, &name, AtFlags::REMOVEDIR);
            emptied.map_err(|error| pair.error("clearing what was staged for", &name, error))?;
            continue;
        }
        if !is_folder && found == Found::Folder {
            let removed = pair.change(|| unlinkat(&pair.target, &name, AtFlags::REMOVEDIR));
            removed.map_err(|error| pair.error("replacing", &name, error))?;
        }
        let moved = pair.change(|| renameat(&pair.staged, &name, &pair.target, &name));
        moved.map_err(|error| pair.error("moving into place:", &name, error))?;
    }
    Ok(())
}

/// Moves the files away that the target's database of this name has beside it, if a database is to take its place: its log must never be
/// read as one of the new file. Killed before that file is in place, the next run finds them gone and goes on.
fn move_away(staging: &Staging, pair: &Pair, companions: &Companions, name: &OsString) -> Result<()> {
    let found = companions.of(name, pair.staged.as_fd(), pair.target.as_fd());
    let found = found.map_err(|error| pair.error("looking at the log of", name, error))?;
    if found.is_empty() {
        return Ok(());
    }
    let (away, first) = staging.away()?;
    let mut number = first.parse().unwrap_or(0);
    for companion in &found {
        let free = free_name(away.as_fd(), number);
        let moved = free.and_then(|free| {
            number += 1;
            pair.change(|| renameat(&pair.target, companion, &away, &free))
        });
        moved.map_err(|error| pair.error("moving away:", companion, error))?;
    }
    // In this order also after a loss of power.
    fsync(&away)
        .and_then(|()| fsync(&pair.target))
        .map_err(|error| pair.error("moving away what belonged to", name, error))
}
