//! The databases among what is staged: their logs are folded in, and SQLite looks them over.
//!
//! Happens in the staging folder, after its content is complete and durable, and before anything is put in place. A file named `folding`
//! says that it began: from then on files in the staging folder are no longer what the snapshot's blobs say, and an interrupted run goes
//! on here, without the vault. Folding twice is folding once, since the logs stay until all is written and durable; the list of databases
//! is written before the first log goes.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, BufRead, BufReader},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, unlinkat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    attributes,
    folder::{Closed, Descriptors, Folder},
    job::RestoredDatabase,
    journal::{About, JournalReader},
    run::{RestoreContext, Tally, damaged, in_snapshot},
    staging::{DATABASES, Staging, Target},
};
use crate::{
    error::{Error, Kind, Place, Result},
    format::Node,
    sqlite::{
        fold::{FoldError, StoredLog},
        header::{HEADER_BYTES, Header},
        inspect::{self, Integrity, read_header},
        pairs::COMPANION_SUFFIXES,
        synthesis::LOG_SUFFIX,
    },
};

/// A line of the list of databases.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The path's bytes, which need not be text, in hexadecimal.
    path: String,
    bytes: u64,
    /// Of the stored file, into which the log was folded.
    base_bytes: u64,
    user_version: Option<i32>,
    application_id: Option<i32>,
    integrity: Integrity,
    foreign_key_violations: u64,
}

/// A database of the list, and how many bytes of it the summary of what is staged counts.
pub(super) struct Listed {
    pub(super) database: RestoredDatabase,
    pub(super) base_bytes: u64,
}

/// Folds, checks and lists. `check_all`: also those that had no log.
pub(super) fn settle(
    context: &RestoreContext,
    (target, staging): (&Target, &Staging),
    journal: JournalReader,
    check_all: bool,
    tally: &mut Tally,
) -> Result<()> {
    let tree = staging
        .tree()?
        .ok_or_else(|| Error::bug("folding what is not staged"))?;
    let mut settler = Settler {
        context,
        target,
        staging,
        dirs: Descriptors::new(tree, Closed::MakeWritable),
        check_all,
        tally,
    };
    let pairs = journal.staged.pairs;
    if !staging.is_listed()? || pairs == 0 {
        settler.fold_and_list(journal)?;
    }
    if pairs > 0
        && let Some(journal) = staging.folding()?
    {
        settler.remove_logs(journal)?;
    }
    target.sync()
}

struct Settler<'a> {
    context: &'a RestoreContext,
    target: &'a Target,
    staging: &'a Staging,
    dirs: Descriptors,
    check_all: bool,
    tally: &'a mut Tally,
}

impl Settler<'_> {
    fn fold_and_list(&mut self, mut journal: JournalReader) -> Result<()> {
        let mut list = Vec::new();
        while let Some((about, file, node)) = journal.next()? {
            self.context.err_if_cancelled()?;
            if about == About::Folder {
                continue;
            }
            if about == About::Pair {
                self.fold(&file)?;
            }
            let line = self.look(about, &file, &node)?;
            if about == About::Pair {
                self.finish(&file, &node)?;
            }
            let failed = |error| Error::with_source(Kind::Bug, "describing a database", error);
            serde_json::to_writer(&mut list, &line).map_err(failed)?;
            list.push(b'\n');
        }
        // The logs may go when the databases that have them folded in are on the disk.
        self.target.sync()?;
        self.staging.write_whole(DATABASES, &list)
    }

    fn fold(&mut self, file: &Arc<Folder>) -> Result<()> {
        let (context, path) = (self.context, file.path());
        let database = self.open(file, b"", OFlags::RDWR)?;
        let log = self.open(file, LOG_SUFFIX, OFlags::RDONLY)?;
        let go_on = || context.err_if_cancelled();
        let folded =
            StoredLog::verify(&log, &go_on).and_then(|found| found.fold_into(&database, &log, &go_on));
        folded.map_err(|error| match error {
            FoldError::Damaged(why) => damaged(format!(
                "{}: its log cannot be folded in: {why}; nothing was changed. Restored as two files it is what the snapshot has",
                in_snapshot(path.clone()).display()
            )),
            FoldError::Io(error) => Error::io(Place::Target, "folding the log into", &self.target.path.join(&path), error),
            FoldError::Ended(error) => error,
        })?;
        Ok(())
    }

    /// Gives a database its metadata, after everything that looks into it.
    fn finish(&mut self, file: &Arc<Folder>, node: &Node) -> Result<()> {
        let database = self.open(file, b"", OFlags::RDWR)?;
        let (path, tally) = (in_snapshot(file.path()), &mut *self.tally);
        attributes::set(database.as_fd(), node, &mut |reason| tally.warn(&path, reason));
        Ok(())
    }

    fn look(&mut self, about: About, file: &Arc<Folder>, node: &Node) -> Result<Line> {
        let database = match self.open(file, b"", OFlags::RDONLY) {
            // One without a log has its permissions already.
            Err(error) if error.kind() == Kind::AccessDenied => return Ok(unread(file, node)),
            opened => opened?,
        };
        let failed = |error| self.failed("reading", file, error);
        let bytes = database.metadata().map_err(failed)?.len();
        let mut header = read_header(&database).map_err(failed)?;
        let companion = self.companion(about, file)?;
        if let Some(log) = &companion {
            header = self.header_in(file, log)?.or(header);
        }
        let checked = match (header, companion) {
            (None, _) => Err("its pages are encrypted, or it is no database".to_owned()),
            (_, Some(_)) => {
                Err("it is restored with a log of its own, which SQLite takes in when it opens it".to_owned())
            }
            (Some(_), None) if about == About::Pair || self.check_all => {
                let path = self.staging.tree_path().join(file.path());
                let checked = inspect::check(&path, &self.context.cancel);
                self.context.err_if_cancelled()?;
                Ok(checked)
            }
            (Some(_), None) => Err("it is as it was stored".to_owned()),
        };
        let (integrity, foreign_key_violations) = match checked {
            Ok(checked) => (checked.integrity, checked.foreign_key_violations),
            Err(reason) => (Integrity::NotChecked { reason }, 0),
        };
        Ok(Line {
            path: hex::encode(file.path().as_os_str().as_bytes()),
            bytes,
            base_bytes: node.size,
            user_version: header.map(|header| header.user_version),
            application_id: header.map(|header| header.application_id),
            integrity,
            foreign_key_violations,
        })
    }

    /// A log or journal that is staged beside a database and stays there.
    fn companion(&mut self, about: About, file: &Arc<Folder>) -> Result<Option<OsString>> {
        if about == About::Pair {
            return Ok(None);
        }
        let Some((folder, name)) = file.split() else {
            return Ok(None);
        };
        let (folder, names) = (
            folder.clone(),
            COMPANION_SUFFIXES.map(|suffix| with_suffix(name, suffix)),
        );
        let dir = self.dir(&folder)?;
        // The log, where there are several.
        let found = names.into_iter().rev().find(|name| exists(dir, name));
        Ok(found)
    }

    /// The database's header as its log has it, where it does.
    fn header_in(&mut self, file: &Arc<Folder>, log: &OsStr) -> Result<Option<Header>> {
        if !log.as_bytes().ends_with(LOG_SUFFIX) {
            return Ok(None);
        }
        let context = self.context;
        let log = self.open(file, LOG_SUFFIX, OFlags::RDONLY)?;
        let mut head = [0; HEADER_BYTES];
        let read = StoredLog::read(&log, &|| context.err_if_cancelled()).and_then(|found| match found {
            Some(found) => Ok(found.read_first_page(&log, &mut head)?),
            None => Ok(false),
        });
        match read {
            Ok(true) => Ok(Header::parse(&head)),
            Ok(false) | Err(FoldError::Damaged(_)) => Ok(None),
            Err(FoldError::Io(error)) => Err(self.failed("reading the log of", file, error)),
            Err(FoldError::Ended(error)) => Err(error),
        }
    }

    fn remove_logs(&mut self, mut journal: JournalReader) -> Result<()> {
        while let Some((about, file, _)) = journal.next()? {
            self.context.err_if_cancelled()?;
            let (About::Pair, Some((folder, name))) = (about, file.split()) else {
                continue;
            };
            let (folder, log) = (folder.clone(), with_suffix(name, LOG_SUFFIX));
            match unlinkat(self.dir(&folder)?, &log, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(self.failed("removing the log of", &file, error)),
            }
        }
        Ok(())
    }

    fn dir(&mut self, folder: &Arc<Folder>) -> Result<BorrowedFd<'_>> {
        let path = &self.target.path;
        self.dirs.of(folder).map_err(|error| {
            let path = path.join(folder.path());
            Error::io(Place::Target, "opening what is staged for", &path, error)
        })
    }

    /// Opens a staged file, or one whose name ends so as well.
    fn open(&mut self, file: &Arc<Folder>, suffix: &[u8], access: OFlags) -> Result<File> {
        let Some((folder, name)) = file.split() else {
            return Err(Error::bug("a file without a name"));
        };
        let (folder, name) = (folder.clone(), with_suffix(name, suffix));
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = make_ours(self.dir(&folder)?, &name, access).and_then(|()| {
            openat(self.dirs.of(&folder)?, &name, flags, Mode::empty()).map_err(io::Error::from)
        });
        opened
            .map(File::from)
            .map_err(|error| self.failed("opening", file, error))
    }

    fn failed(&self, what: &str, file: &Arc<Folder>, error: impl Into<io::Error>) -> Error {
        Error::io(
            Place::Target,
            what,
            &self.target.path.join(file.path()),
            error.into(),
        )
    }
}

/// The line of a database that may not be looked into.
fn unread(file: &Arc<Folder>, node: &Node) -> Line {
    Line {
        path: hex::encode(file.path().as_os_str().as_bytes()),
        bytes: node.size,
        base_bytes: node.size,
        user_version: None,
        application_id: None,
        integrity: Integrity::NotChecked {
            reason: "its permissions let nobody read it".into(),
        },
        foreign_key_violations: 0,
    }
}

/// An earlier run may have given a database the permissions that it had, which need not let anybody write.
fn make_ours(dir: BorrowedFd<'_>, name: &OsStr, access: OFlags) -> io::Result<()> {
    if access == OFlags::RDWR {
        rustix::fs::chmodat(dir, name, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
    }
    Ok(())
}

fn exists(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

pub(super) fn with_suffix(name: &OsStr, suffix: &[u8]) -> OsString {
    OsString::from_vec([name.as_bytes(), suffix].concat())
}

/// The databases that are staged or were. Each line is read when it is asked for.
pub(super) fn list(staging: &Staging) -> Result<impl Iterator<Item = Result<Listed>> + use<>> {
    let file = staging.databases()?;
    let path = staging.path().join(DATABASES);
    let lines = file
        .into_iter()
        .flat_map(|file| BufReader::new(file).split(b'\n'));
    Ok(lines.map(move |line| {
        let line = line.map_err(|error| Error::io(Place::Target, "reading", &path, error))?;
        listed(&line).ok_or_else(|| changed(&path))
    }))
}

fn listed(line: &[u8]) -> Option<Listed> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let path = PathBuf::from(OsString::from_vec(hex::decode(&line.path).ok()?));
    Some(Listed {
        base_bytes: line.base_bytes,
        database: RestoredDatabase {
            path: in_snapshot(path),
            bytes: line.bytes,
            user_version: line.user_version,
            application_id: line.application_id,
            integrity: line.integrity,
            foreign_key_violations: line.foreign_key_violations,
        },
    })
}

fn changed(path: &Path) -> Error {
    let text = format!(
        "{} was changed since it was staged: give this restore up, then restore again",
        path.display()
    );
    Error::new(Kind::Damaged, text)
}

/// What a database's check says to whoever restores it, line by line.
pub(super) fn warnings(database: &RestoredDatabase) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Integrity::Damaged { findings } = &database.integrity {
        let what = "the database was damaged when it was backed up, and is restored as it was";
        warnings.extend(findings.iter().map(|finding| format!("{what}: {finding}")));
    }
    if database.foreign_key_violations > 0 {
        let count = database.foreign_key_violations;
        warnings.push(format!(
            "{count} rows of the database refer to rows that are not there, as when it was backed up"
        ));
    }
    warnings
}
