//! The content of files: which blobs are in place already, which must be fetched, and when a file is whole.
//!
//! Blobs are dealt with in rounds of at most `RESTORE_BATCH_BLOBS`; a large file spans several. Where a blob
//! goes follows from the lengths that the index claims for those before it, and each of these claims is
//! proven: `open_blob` and the reading back of what is staged compare the hash of exactly so many bytes.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, chmodat, openat, statat, unlinkat},
    io::Errno,
};
use sha2::{Digest, Sha256};

use super::{
    attributes,
    fetch::{Fetched, Fetcher, OpenedRead, Write, write_at},
    folder::Folder,
    journal::About,
    plan::{PackRead, split_read},
    run::{damaged, in_snapshot},
    stage::Stager,
    staging::Made,
};
use crate::{
    catalog::{Location, blobs},
    error::{Context, Error, Kind, Result},
    format::{BlobId, BlobType, Node, PackId},
    limits,
    repository::plan_reads,
    sqlite::inspect::read_header,
};

/// A file is its owner's alone while it is written.
const WRITING: Mode = Mode::RUSR.union(Mode::WUSR);
/// Read back at a time.
const READ_BACK_BYTES: usize = 256 << 10;

/// What a file is for the database that it may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A file of its own.
    Plain,
    /// A database into which its log will be folded.
    Base,
    /// The log, which is folded into its database or stays beside it.
    Log { fold: bool },
}

/// A file whose content is being put in place.
pub(super) struct FileWork {
    pub(super) folder: Arc<Folder>,
    pub(super) name: OsString,
    pub(super) node: Node,
    pub(super) made: Made,
    pub(super) role: Role,
    /// Blobs of its content that were looked at.
    seen: usize,
    /// Where the next blob begins.
    end: u64,
    /// Bytes that were there before this run.
    there_bytes: u64,
}

impl FileWork {
    fn path(&self) -> PathBuf {
        in_snapshot(self.folder.path().join(&self.name))
    }

    fn content(&self) -> &[BlobId] {
        self.node.content.as_deref().unwrap_or_default()
    }

    fn is_whole(&self) -> bool {
        self.seen == self.content().len()
    }
}

/// A blob of `files[file]`.
pub(super) struct Pending {
    file: usize,
    id: BlobId,
}

/// Where a blob goes that must be fetched.
struct Want {
    file: usize,
    offset: u64,
    length: u64,
}

type Wants = HashMap<BlobId, Vec<Want>>;

impl Stager<'_> {
    pub(super) fn file(
        &mut self,
        mut node: Node,
        name: OsString,
        folder: &Arc<Folder>,
        (made, role): (Made, Role),
    ) -> Result<()> {
        if node.content.is_none() {
            return Err(self.bad_node(folder, &name, "a file without content"));
        }
        if let Some((files, bytes)) = &mut self.found {
            *files += 1;
            *bytes = bytes.saturating_add(node.size);
            self.context.meter.totals(*files, *bytes);
        }
        if matches!(role, Role::Base | Role::Log { fold: true }) {
            // Folding changes the file, and must change no other that is the same without its log.
            node.links = 1;
        }
        let file = FileWork {
            folder: folder.clone(),
            name,
            node,
            made,
            role,
            seen: 0,
            end: 0,
            there_bytes: 0,
        };
        match self.as_link(file)? {
            Some(file) => self.add_file(file)?,
            None if self.links.len() >= limits::RESTORE_BATCH_BLOBS => self.round()?,
            None => {}
        }
        self.add_unlinked()
    }

    /// Not from within a round, where a file may be half seen.
    fn add_unlinked(&mut self) -> Result<()> {
        while let Some(file) = self.unlinked.pop() {
            self.add_file(file)?;
        }
        Ok(())
    }

    fn add_file(&mut self, mut file: FileWork) -> Result<()> {
        file.there_bytes = self.make_file(&file)?;
        self.files.push(file);
        while let Some(file) = self.files.last_mut()
            && let Some(id) = file.content().get(file.seen).copied()
        {
            file.seen += 1;
            let file = self.files.len() - 1;
            self.pending.push(Pending { file, id });
            if self.pending.len() >= limits::RESTORE_BATCH_BLOBS {
                self.round()?;
            }
        }
        // An empty file waits for no blob, but counts like one.
        if self.files.len() >= limits::RESTORE_BATCH_BLOBS {
            self.round()?;
        }
        Ok(())
    }

    /// Puts everything in place that is waiting.
    pub(super) fn flush(&mut self) -> Result<()> {
        while !self.files.is_empty() || !self.links.is_empty() {
            self.round()?;
            self.add_unlinked()?;
        }
        Ok(())
    }

    /// Makes an empty file, or gets the one of an earlier run ready. Returns how many bytes it has.
    fn make_file(&mut self, file: &FileWork) -> Result<u64> {
        let (folder, name) = (&file.folder, &file.name);
        let dir = self.dir(folder)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut result = openat(dir, name, flags, WRITING).map(|_| 0);
        if result == Err(Errno::EXIST) {
            if file.made == Made::Now {
                let what = "two entries of this name, or the target takes their names for the same";
                return Err(self.bad_node(folder, name, what));
            }
            result = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).and_then(|stat| {
                if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                    chmodat(dir, name, WRITING, AtFlags::empty())?;
                    return Ok(u64::try_from(stat.st_size).unwrap_or(0));
                }
                unlinkat(dir, name, AtFlags::empty())?;
                openat(dir, name, flags, WRITING).map(|_| 0)
            });
        }
        result.map_err(|error| self.io_error("creating", folder, name, error))
    }

    fn open(&mut self, file: usize, access: OFlags) -> Result<OwnedFd> {
        let (folder, name) = (self.files[file].folder.clone(), self.files[file].name.clone());
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(self.dir(&folder)?, &name, flags, Mode::empty())
            .map_err(|error| self.io_error("opening", &folder, &name, error))
    }

    /// Puts the pending blobs in place, and finishes the files that are then whole.
    pub(super) fn round(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let ids: HashSet<BlobId> = pending.iter().map(|pending| pending.id).collect();
        let mut located = self.locate(ids.iter().copied().collect())?;
        if located.len() < ids.len() {
            // Another client may have moved blobs since the indexes were read.
            self.context.sync_indexes()?;
            located = self.locate(ids.into_iter().collect())?;
        }
        let mut wants = self.plan(pending, &located)?;
        let mut missing = None;
        // Each round rules out at least one pack, so this ends.
        while let Some(error) = self.fetch(&located, &mut wants)? {
            if missing.is_none() {
                self.context.sync_indexes()?;
            }
            missing = Some(Error::with_source(Kind::Damaged, "a pack is missing", error));
            located = self.locate(wants.keys().copied().collect())?;
        }
        if let Some(id) = wants.keys().next() {
            let error = missing.unwrap_or_else(|| damaged(format!("no index names the blob {id}")));
            return Err(self.of_wanted(&wants, Some(id), error));
        }
        self.finish_files()?;
        self.make_links()
    }

    fn locate(&self, ids: Vec<BlobId>) -> Result<HashMap<BlobId, Location>> {
        let gone = self.context.gone.borrow().clone();
        let wanted: Vec<_> = ids.iter().map(|id| (BlobType::Data, *id)).collect();
        let found = self
            .context
            .catalog
            .read_blocking(move |db| blobs::locate(db, &wanted, &gone))?;
        Ok(ids
            .into_iter()
            .zip(found)
            .filter_map(|(id, location)| Some((id, location?)))
            .collect())
    }

    /// Finds out where each blob goes, and whether it is there already.
    fn plan(&mut self, pending: Vec<Pending>, located: &HashMap<BlobId, Location>) -> Result<Wants> {
        let mut wants = Wants::new();
        let mut open: Option<(usize, File)> = None;
        for Pending { file: at, id } in pending {
            let file = &self.files[at];
            let Some(location) = located.get(&id) else {
                let text = format!("{}: no index names the blob {id}", file.path().display());
                return Err(damaged(text));
            };
            let length = u64::from(location.entry.plaintext_length());
            let offset = file.end;
            let end = offset.checked_add(length).filter(|end| *end <= file.node.size);
            let Some(end) = end else {
                return Err(self.wrong_size(at, "more"));
            };
            let is_there = if length == 0 {
                id == BlobId::of(b"")
            } else if end > file.there_bytes {
                false
            } else {
                if open.as_ref().is_none_or(|(open, _)| *open != at) {
                    open = Some((at, self.open(at, OFlags::RDONLY)?.into()));
                }
                self.context.err_if_cancelled()?;
                // Always some: it was just opened.
                open.as_mut()
                    .is_some_and(|(_, file)| holds(file, offset, length, &id).unwrap_or(false))
            };
            self.files[at].end = end;
            if is_there {
                self.tally.resumed_bytes += length;
                self.context.meter.bytes_read(length);
            } else {
                wants.entry(id).or_default().push(Want {
                    file: at,
                    offset,
                    length,
                });
            }
        }
        for at in 0..self.files.len() {
            let file = &self.files[at];
            if file.is_whole() && file.end != file.node.size {
                return Err(self.wrong_size(at, "less"));
            }
        }
        Ok(wants)
    }

    fn wrong_size(&self, file: usize, than: &str) -> Error {
        let file = &self.files[file];
        let text = format!(
            "{}: the snapshot says {} bytes, and its content has {than}",
            file.path().display(),
            file.node.size
        );
        damaged(text)
    }

    /// Fetches what is wanted and writes it where it goes. What was written is no longer wanted. Returns the
    /// error of a pack that is not there any more, if there was one, when everything else is written.
    fn fetch(&mut self, located: &HashMap<BlobId, Location>, wants: &mut Wants) -> Result<Option<Error>> {
        let mut reads = plan_round(wants.keys().filter_map(|id| located.get(id)))?;
        let mut fetcher = Fetcher::new(self.context, self.buffers.clone());
        let mut writing: Option<(usize, Arc<File>)> = None;
        let mut gone = None;
        loop {
            while reads.front().is_some_and(|read| fetcher.admits(read))
                && let Some(read) = reads.pop_front()
            {
                fetcher.start(read);
            }
            let Some(fetched) = fetcher.next()? else {
                return Ok(gone);
            };
            match fetched {
                Fetched::Blobs { blobs, read_bytes } => {
                    self.tally.fetched_bytes += read_bytes;
                    let apart = self.write(&blobs, wants, &mut writing)?;
                    if apart.is_empty() {
                        fetcher.release(blobs);
                    } else {
                        fetcher.write(blobs, apart);
                    }
                }
                Fetched::Written(Ok(writes)) => {
                    for write in writes {
                        self.written(write.length)?;
                    }
                }
                Fetched::Written(Err((write, error))) => {
                    let work = &self.files[write.work];
                    return Err(self.io_error("writing", &work.folder, &work.name, error));
                }
                Fetched::Gone { pack, error } => {
                    self.context.gone.borrow_mut().insert(pack);
                    gone = Some(error);
                }
                Fetched::Bad { id, error } => return Err(self.of_wanted(wants, id.as_ref(), error)),
            }
        }
    }

    /// Writes the short blobs of a read, and returns what is worth another thread.
    fn write(
        &mut self,
        blobs: &OpenedRead,
        wants: &mut Wants,
        writing: &mut Option<(usize, Arc<File>)>,
    ) -> Result<Vec<Write>> {
        let mut apart = Vec::new();
        for blob in 0..blobs.len() {
            let Some((id, plain)) = blobs.get(blob) else {
                continue;
            };
            for want in wants.remove(&id).unwrap_or_default() {
                let Want {
                    file: work,
                    offset,
                    length,
                } = want;
                if plain.len() as u64 != length {
                    let path = self.files[work].path();
                    return Err(damaged(format!(
                        "{}: indexes disagree on a blob's length",
                        path.display()
                    )));
                }
                let file = self.open_for_writing(work, writing)?;
                let overwrites = offset < self.files[work].there_bytes;
                if plain.len() >= limits::RESTORE_WRITE_APART_BYTES
                    && apart.len() < limits::RESTORE_WRITES_APART_MAX
                {
                    apart.push(Write {
                        blob,
                        work,
                        file,
                        offset,
                        length,
                        overwrites,
                    });
                    continue;
                }
                write_at(&file, offset, plain, overwrites).map_err(|error| {
                    let work = &self.files[work];
                    self.io_error("writing", &work.folder, &work.name, error)
                })?;
                self.written(length)?;
            }
        }
        Ok(apart)
    }

    fn open_for_writing(
        &mut self,
        work: usize,
        writing: &mut Option<(usize, Arc<File>)>,
    ) -> Result<Arc<File>> {
        if let Some((open, file)) = writing
            && *open == work
        {
            return Ok(file.clone());
        }
        let file = Arc::new(File::from(self.open(work, OFlags::WRONLY)?));
        *writing = Some((work, file.clone()));
        Ok(file)
    }

    fn written(&mut self, bytes: u64) -> Result<()> {
        self.context.meter.bytes_read(bytes);
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes >= limits::RESTORE_SYNC_BYTES {
            self.unsynced_bytes = 0;
            self.target.sync()?;
        }
        Ok(())
    }

    /// Gives the files that are whole their size and metadata. One that is not comes first in the next round.
    fn finish_files(&mut self) -> Result<()> {
        for at in 0..self.files.len() {
            self.context.err_if_cancelled()?;
            if !self.files[at].is_whole() {
                continue;
            }
            let file = File::from(self.open(at, OFlags::RDWR)?);
            self.finish_file(at, &file)?;
        }
        self.files.retain(|file| !file.is_whole());
        Ok(())
    }

    fn finish_file(&mut self, at: usize, file: &File) -> Result<()> {
        let work = &self.files[at];
        let size = work.node.size;
        let failed = |error| self.io_error("writing", &work.folder, &work.name, error);
        file.set_len(size).map_err(failed)?;
        let path = work.folder.path().join(&work.name);
        let is_database = work.role == Role::Plain && read_header(file).map_err(failed)?.is_some();
        if work.role == Role::Base || is_database {
            let about = if is_database { About::Database } else { About::Pair };
            self.journal.note(about, &path, &work.node)?;
            self.staged.databases += 1;
            self.staged.pairs += u64::from(!is_database);
        }
        match work.role {
            Role::Plain | Role::Log { fold: false } => {
                let (path, tally) = (work.path(), &mut *self.tally);
                attributes::set(file.as_fd(), &work.node, &mut |reason| tally.warn(&path, reason));
            }
            // Set when the log is folded in.
            Role::Base => {}
            Role::Log { fold: true } => {
                self.context.meter.files_done(1);
                return Ok(());
            }
        }
        self.file_done(size);
        Ok(())
    }

    pub(super) fn file_done(&mut self, bytes: u64) {
        self.staged.files += 1;
        self.staged.bytes += bytes;
        self.context.meter.files_done(1);
    }

    /// Names a file that an error is about: the one that wants this blob, or any.
    fn of_wanted(&self, wants: &Wants, id: Option<&BlobId>, error: Error) -> Error {
        let wanted = id.and_then(|id| wants.get(id)).or_else(|| wants.values().next());
        match wanted.and_then(|wants| wants.first()) {
            Some(want) => error.within(self.files[want.file].path().display()),
            None => error,
        }
    }
}

/// Whether a file has this blob at this place.
fn holds(file: &mut File, offset: u64, length: u64, id: &BlobId) -> io::Result<bool> {
    file.seek(SeekFrom::Start(offset))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BACK_BYTES.min(usize::try_from(length).unwrap_or(READ_BACK_BYTES))];
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact(&mut buffer[..part])?;
        hasher.update(&buffer[..part]);
        left -= part as u64;
    }
    Ok(hasher.finalize().as_slice() == id.as_bytes())
}

/// The reads for these blobs, pack by pack.
fn plan_round<'a>(locations: impl Iterator<Item = &'a Location>) -> Result<VecDeque<PackRead>> {
    let mut packs: BTreeMap<PackId, Vec<_>> = BTreeMap::new();
    for location in locations {
        location.check().context(|| format!("pack {}", location.pack))?;
        packs.entry(location.pack).or_default().push(location.entry);
    }
    let mut reads = VecDeque::new();
    for (pack, entries) in packs {
        for read in plan_reads(entries) {
            reads.extend(split_read(read).into_iter().map(|read| PackRead { pack, read }));
        }
    }
    Ok(reads)
}
