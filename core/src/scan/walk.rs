//! The walk: a thread that goes through the sources in the order of trees and tells the thread that assembles, step by step, what it finds.
//!
//! Small files are read by the computing threads, several at a time; the steps that follow such a batch wait here until it is handed over, so
//! that steps arrive in the order of trees. Large files are cut here and sealed there, chunk by chunk.

use std::{
    collections::HashSet,
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::Arc,
};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, openat, readlinkat, statat};
use tokio_util::sync::CancellationToken;

use super::{
    Decision, DirKey, Excludes, FileReader, Metadata, Step, StepSender, Target, Unread,
    databases::{self, DatabaseRules, Told},
    decide,
    known_files::{KnownFiles, Rest},
    large,
    metadata::{xattrs_of_fd, xattrs_of_path},
    reader::{ReadEnd, SmallFile, end_of_reading, open_file},
};
use crate::{
    catalog::{FileRow, blobs},
    clock::Clock,
    error::{Error, Kind, Result},
    events::Meter,
    format::{BlobId, BlobType, NodeType},
    limits,
    repository::err_if_cancelled,
    runtime::{
        budget::{Budget, Permit},
        cpu::CpuPool,
    },
    seal::Plain,
};

/// What a walk needs.
pub(crate) struct WalkContext {
    pub(crate) reader: FileReader,
    pub(crate) cpu: CpuPool,
    pub(crate) budget: Budget,
    pub(crate) excludes: Excludes,
    /// No blob of a file or database is longer: what is read now has to fit into small windows.
    pub(crate) piece_bytes_max: usize,
    pub(crate) cancel: CancellationToken,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meter: Arc<Meter>,
    /// The loss epoch that this walk began in.
    pub(crate) epoch: i64,
    /// How databases are captured. `None`: they are files like any other.
    pub(crate) databases: Option<DatabaseRules>,
}

/// Walks the whole tree. Ends early, without an error, when nobody takes the steps any more.
pub(crate) fn walk(context: WalkContext, root: &Target, steps: StepSender) -> Result<()> {
    let mut walker = Walker {
        context,
        steps,
        batch: Vec::new(),
        batch_bytes: 0,
        held: Vec::new(),
        buffer: Vec::new(),
        databases: databases::Captures::default(),
    };
    walker.capture_first(root)?;
    let result = match root {
        // The entries of the one source are the root's own.
        Target::Source(path) => walker.root_folder(path),
        Target::Folder { .. } => walker.target(root, Vec::new(), 0),
    };
    result.and_then(|()| walker.flush())
}

pub(super) struct Walker {
    pub(super) context: WalkContext,
    steps: StepSender,
    batch: Vec<SmallFile>,
    batch_bytes: u64,
    /// Steps that come after the first file of `batch`.
    held: Vec<Step>,
    /// What large files are read into, one after the other.
    pub(super) buffer: Vec<u8>,
    pub(super) databases: databases::Captures,
}

impl Walker {
    fn target(&mut self, target: &Target, name: Vec<u8>, depth: usize) -> Result<()> {
        match target {
            Target::Source(path) => self.source(path, name, depth),
            Target::Folder { path, children } => {
                let metadata = path.as_deref().and_then(|path| rustix::fs::stat(path).ok());
                let metadata = (depth > 0).then(|| {
                    Box::new(metadata.map_or_else(Metadata::synthetic_dir, |stat| Metadata::of(&stat)))
                });
                self.emit(Step::Enter {
                    name,
                    metadata,
                    key: Arc::from(&b""[..]),
                })?;
                self.databases.enter();
                for (name, child) in children {
                    self.logs_before(Some(name))?;
                    self.target(child, name.clone(), depth + 1)?;
                }
                self.logs_before(None)?;
                self.emit(Step::Leave {
                    gone: Vec::new(),
                    is_new: false,
                })
            }
        }
    }

    fn root_folder(&mut self, path: &Path) -> Result<()> {
        let opened = open_dir(CWD, path.as_os_str());
        let fd = opened.map_err(|error| {
            Error::with_source(
                Kind::InvalidInput,
                format!("{} is not a folder that can be read", path.display()),
                error,
            )
        })?;
        self.folder(fd, path, Vec::new(), None, 0)
    }

    fn source(&mut self, path: &Path, name: Vec<u8>, depth: usize) -> Result<()> {
        // Reached through its parent, like everything else.
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let Some(file_name) = path.file_name() else {
            let opened = open_dir(CWD, path.as_os_str());
            return match opened.and_then(|fd| Ok((fstat(&fd)?, fd))) {
                Ok((stat, fd)) => self.folder(fd, path, name, Some(Box::new(Metadata::of(&stat))), depth),
                Err(error) => self.unreadable(name, path, error),
            };
        };
        let found = open_dir(CWD, parent.as_os_str()).and_then(|fd| {
            let stat = statat(&fd, file_name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((Arc::new(fd), Metadata::of(&stat)))
        });
        match found {
            Ok((dir, metadata)) => {
                let key = dir_key(parent);
                let mut known = KnownFiles::only(&self.context, key, file_name.as_bytes())?;
                let names = list(dir.as_fd()).unwrap_or_default();
                let place = Place {
                    dir: &dir,
                    path: parent,
                    depth,
                    names: &names,
                };
                self.entry(&place, file_name, name, metadata, &mut known)
                    .map(|_| ())
            }
            Err(error) => self.unreadable(name, path, error),
        }
    }

    fn folder(
        &mut self,
        fd: OwnedFd,
        path: &Path,
        name: Vec<u8>,
        metadata: Option<Box<Metadata>>,
        depth: usize,
    ) -> Result<()> {
        let names = match list(fd.as_fd()) {
            Ok(names) => names,
            Err(error) => return self.unreadable(name, path, error),
        };
        let metadata = metadata.map(|mut metadata| {
            metadata.xattrs = xattrs_of_fd(fd.as_fd());
            metadata
        });
        let key = dir_key(path);
        self.emit(Step::Enter {
            name,
            metadata,
            key: key.clone(),
        })?;
        let dir = Arc::new(fd);
        let place = Place {
            dir: &dir,
            path,
            depth,
            names: &names,
        };
        let mut known = KnownFiles::in_dir(key);
        let mut found = HashSet::new();
        self.databases.enter();
        for name in &names {
            err_if_cancelled(&self.context.cancel)?;
            let os_name = OsStr::from_bytes(name.to_bytes());
            if self.context.excludes.matches(&path.join(os_name)) {
                continue;
            }
            let beside = databases::companion_of(name.to_bytes());
            if beside.is_some_and(|base| found.contains(base)) || databases::is_shared_memory(&names, name) {
                continue;
            }
            self.logs_before(Some(name.to_bytes()))?;
            match statat(&dir, &**name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let bytes = name.to_bytes().to_vec();
                    let was_database = self.entry(&place, os_name, bytes, Metadata::of(&stat), &mut known)?;
                    if was_database {
                        found.insert(name.to_bytes().to_vec());
                    }
                }
                // Deleted since it was listed.
                Err(error) if error == rustix::io::Errno::NOENT => {}
                Err(error) => self.unreadable(name.to_bytes().to_vec(), &path.join(os_name), error.into())?,
            }
        }
        self.logs_before(None)?;
        let Rest { gone, is_new } = known.finish(&self.context)?;
        self.emit(Step::Leave { gone, is_new })
    }

    /// One entry of a folder, called `name` in the tree. Says whether it is a database.
    fn entry(
        &mut self,
        place: &Place<'_>,
        file_name: &OsStr,
        name: Vec<u8>,
        mut metadata: Metadata,
        known: &mut KnownFiles,
    ) -> Result<bool> {
        let path = || place.path.join(file_name);
        match metadata.kind() {
            NodeType::File => return self.file(place, file_name, name, metadata, known),
            NodeType::Dir if place.depth >= limits::TREE_DEPTH_MAX => {
                let error = io::Error::other(format!(
                    "folders are nested more than {} deep",
                    limits::TREE_DEPTH_MAX
                ));
                self.unreadable(name, &path(), error)?;
            }
            NodeType::Dir => match open_dir(place.dir, file_name) {
                Ok(fd) => self.folder(fd, &path(), name, Some(Box::new(metadata)), place.depth + 1)?,
                Err(error) => self.unreadable(name, &path(), error)?,
            },
            // Sockets are alive or nothing; restic leaves them out too.
            NodeType::Socket => {}
            NodeType::Symlink => match readlinkat(place.dir, file_name, Vec::new()) {
                Ok(target) => {
                    metadata.xattrs = xattrs_of_path(&path());
                    let link_target = target.into_bytes();
                    self.emit(Step::Leaf {
                        name,
                        metadata: Box::new(metadata),
                        link_target,
                    })?;
                }
                Err(error) => self.unreadable(name, &path(), error.into())?,
            },
            _ => {
                metadata.xattrs = xattrs_of_path(&path());
                self.emit(Step::Leaf {
                    name,
                    metadata: Box::new(metadata),
                    link_target: Vec::new(),
                })?;
            }
        }
        Ok(false)
    }

    fn file(
        &mut self,
        place: &Place<'_>,
        file_name: &OsStr,
        name: Vec<u8>,
        metadata: Metadata,
        known: &mut KnownFiles,
    ) -> Result<bool> {
        let row = known.take(&self.context, file_name.as_bytes())?;
        if let Some(access) = self.database_access(place, file_name, metadata.stat.size) {
            let entry = databases::Entry {
                place,
                file_name,
                name: &name,
                metadata: &metadata,
                row: row.as_ref(),
                access,
            };
            match self.database(&entry)? {
                Told::Database => return Ok(true),
                Told::File => return Ok(false),
                Told::Nothing => {}
            }
        }
        let decision = decide(&metadata.stat, row.as_ref(), self.context.epoch);
        if let (Decision::Unchanged | Decision::Verify, Some(row)) = (decision, row.as_ref()) {
            let refresh = decision == Decision::Verify;
            if row.database_bytes.is_none() && (!refresh || self.all_stored(&row.content)?) {
                let row = Box::new(row.clone());
                self.emit(Step::Unchanged {
                    name,
                    metadata: Box::new(metadata),
                    row,
                    refresh,
                })?;
                return Ok(false);
            }
        }
        let before = row.map(Box::new);
        if metadata.stat.size > limits::SMALL_FILE_BYTES_MAX {
            self.large_file(place, file_name, name, before)?;
        } else {
            self.small_file(place, file_name, name, metadata.stat.size, before)?;
        }
        Ok(false)
    }

    pub(super) fn all_stored(&self, content: &[BlobId]) -> Result<bool> {
        let blobs: Vec<_> = content.iter().map(|id| (BlobType::Data, *id)).collect();
        let known = self
            .context
            .reader
            .catalog
            .read_blocking(move |db| blobs::known(db, &blobs))?;
        Ok(known.iter().all(|known| *known))
    }

    fn small_file(
        &mut self,
        place: &Place<'_>,
        file_name: &OsStr,
        name: Vec<u8>,
        size: u64,
        before: Option<Box<FileRow>>,
    ) -> Result<()> {
        let c_name = match c_name(file_name) {
            Ok(name) => name,
            Err(error) => return self.unreadable(name, &place.path.join(file_name), error),
        };
        let started = self.context.clock.wall();
        self.batch.push(SmallFile {
            dir: place.dir.clone(),
            name: c_name,
            started,
        });
        self.batch_bytes += size;
        self.emit(Step::Small { name, before })?;
        if self.batch.len() >= limits::SMALL_BATCH_FILES || self.batch_bytes >= limits::SMALL_BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn large_file(
        &mut self,
        place: &Place<'_>,
        file_name: &OsStr,
        name: Vec<u8>,
        before: Option<Box<FileRow>>,
    ) -> Result<()> {
        let mut attempt = 0;
        loop {
            let started = self.context.clock.wall();
            let read = c_name(file_name)
                .and_then(|c_name| open_file(place.dir.as_fd(), &c_name))
                .map_err(large::Failed::Read)
                .and_then(|(file, metadata)| {
                    large::stream(self, &file)?;
                    let end = end_of_reading(&file, &metadata, started).map_err(large::Failed::Read)?;
                    Ok((metadata, end))
                });
            match read {
                Ok((_, ReadEnd::Changing)) if attempt < limits::CHANGED_WHILE_READ_RETRIES => {
                    attempt += 1;
                    self.emit(Step::Restart)?;
                }
                Ok((metadata, end)) => {
                    let metadata = Box::new(metadata);
                    return self.emit(Step::Large {
                        name,
                        metadata,
                        end,
                        before,
                    });
                }
                Err(large::Failed::Read(error) | large::Failed::Busy(error)) => {
                    self.emit(Step::Restart)?;
                    return self.unreadable(name, &place.path.join(file_name), error);
                }
                Err(large::Failed::Engine(error)) => return Err(error),
            }
        }
    }

    pub(super) fn unreadable(&mut self, name: Vec<u8>, path: &Path, error: io::Error) -> Result<()> {
        self.emit(Step::Unreadable(Unread {
            name,
            path: path.to_owned(),
            error,
        }))
    }

    /// Seals a piece of a file on another thread. The permit is for its bytes.
    pub(super) fn seal_piece(&mut self, plain: Plain, permit: Permit) -> Result<()> {
        let reader = self.context.reader.clone();
        let pending = self
            .context
            .cpu
            .submit_blocking(move |cpu| reader.seal_chunk(cpu, plain, permit))?;
        self.emit(Step::Chunk(pending))
    }

    pub(super) fn emit(&mut self, step: Step) -> Result<()> {
        if self.batch.is_empty() {
            return self.send(step);
        }
        self.held.push(step);
        if self.held.len() >= limits::ASSEMBLE_QUEUE_STEPS {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Hands over the batch of small files, and the steps that wait for it.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let permit = self.admit(self.batch_bytes)?;
        let files = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let reader = self.context.reader.clone();
        let pending = self
            .context
            .cpu
            .submit_blocking(move |cpu| reader.read_batch(cpu, files, permit))?;
        self.send(Step::Batch(pending))?;
        for step in std::mem::take(&mut self.held) {
            self.send(step)?;
        }
        Ok(())
    }

    fn send(&self, step: Step) -> Result<()> {
        err_if_cancelled(&self.context.cancel)?;
        // The receiver goes away when assembling failed, which reports why.
        self.steps.send(step).map_err(|_| Error::cancelled())
    }

    /// Waits for room for plain bytes.
    pub(super) fn admit(&self, bytes: u64) -> Result<Permit> {
        let admit = self
            .context
            .cancel
            .run_until_cancelled(self.context.budget.admit(bytes));
        self.context
            .runtime
            .block_on(admit)
            .unwrap_or_else(|| Err(Error::cancelled()))
    }
}

/// The folder that an entry is in.
pub(super) struct Place<'a> {
    pub(super) dir: &'a Arc<OwnedFd>,
    pub(super) path: &'a Path,
    depth: usize,
    /// All names in it, sorted by their bytes.
    pub(super) names: &'a [Box<CStr>],
}

pub(super) fn open_dir(at: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

/// The names in a folder, in the order of trees: by their bytes.
pub(super) fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<Box<CStr>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() != b"." && name.to_bytes() != b".." {
            names.push(Box::from(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn dir_key(path: &Path) -> DirKey {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Arc::from(absolute.as_os_str().as_bytes())
}

pub(super) fn c_name(name: &OsStr) -> io::Result<Box<CStr>> {
    Ok(CString::new(name.as_bytes())
        .map_err(io::Error::other)?
        .into_boxed_c_str())
}
