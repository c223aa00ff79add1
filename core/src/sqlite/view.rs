//! A database as of one moment: the pages of its file, those of its log laid over them, and a journal that waits undone in between.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Oddity, ReadError,
    access::Quiesce,
    descriptors::{self, DatabaseFile, FileStatus, Held, id_at},
    header::{HEADER_BYTES, Header},
    journal::{Rollback, read_or_zeros},
    locks::{self, PENDING, SHARED},
    log::Log,
    wal::WAL_HEADER_BYTES,
};

/// Opaque databases whose page size nobody knows.
const PAGE_BYTES_DEFAULT: u32 = 4096;

/// Pages of one moment in time. They stay what they are while it lives; dropping it releases every lock, and closes nothing.
#[derive(Debug)]
pub(crate) struct View {
    file: Arc<DatabaseFile>,
    /// Of the file as it is, or as it will be once it is rolled back.
    bytes: u64,
    rollback: Option<Rollback>,
    log: Option<Log>,
    page_bytes: u32,
    pages: u32,
    header: Option<Header>,
    is_wal: bool,
    oddities: Vec<Oddity>,
    was_contended: AtomicBool,
    watch: Option<Watch>,
    hold: Hold,
    is_let_go: bool,
}

/// What keeps the pages from changing.
#[derive(Debug)]
pub(crate) enum Hold {
    Locks(Vec<Held>),
    Host(Quiet),
}

/// The app's promise to keep still, until it is dropped.
#[derive(Debug)]
pub(crate) struct Quiet {
    pub(super) host: Arc<dyn Quiesce>,
    pub(super) path: PathBuf,
    pub(super) page_bytes: Option<u32>,
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.host.end(&self.path);
    }
}

/// What [`View`] is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) file: Arc<DatabaseFile>,
    pub(super) rollback: Option<Rollback>,
    pub(super) log: Option<Log>,
    pub(super) is_wal: bool,
    pub(super) oddities: Vec<Oddity>,
    pub(super) watch: Option<Watch>,
    pub(super) hold: Hold,
}

impl View {
    pub(super) fn new(parts: Parts) -> Result<Self, ReadError> {
        let status = parts.file.status()?;
        let opaque = match &parts.hold {
            Hold::Host(quiet) => Some(quiet.page_bytes.unwrap_or(PAGE_BYTES_DEFAULT)),
            Hold::Locks(_) => None,
        };
        let mut view = Self {
            bytes: parts.rollback.as_ref().map_or(status.bytes, Rollback::bytes),
            page_bytes: parts.log.as_ref().map_or(0, |log| log.page_bytes),
            file: parts.file,
            rollback: parts.rollback,
            log: parts.log,
            pages: 0,
            header: None,
            is_wal: parts.is_wal,
            oddities: parts.oddities,
            was_contended: AtomicBool::new(false),
            watch: parts.watch,
            hold: parts.hold,
            is_let_go: false,
        };
        view.measure(opaque)?;
        view.check_watch()?;
        Ok(view)
    }

    /// Finds header, page size and number of pages. `opaque`: the page size where there need not be a header.
    fn measure(&mut self, opaque: Option<u32>) -> Result<(), ReadError> {
        if self.bytes == 0 && self.log.is_none() {
            self.page_bytes = opaque.unwrap_or(PAGE_BYTES_DEFAULT);
            return Ok(());
        }
        self.header = self.first_bytes(self.log.as_ref())?;
        if let (Some(header), Some(log)) = (self.header, &self.log)
            && header.page_bytes != log.page_bytes
        {
            self.oddities.push(Oddity::LogOfOtherSize {
                log: log.page_bytes,
                database: header.page_bytes,
            });
            self.log = None;
            self.header = self.first_bytes(None)?;
        }
        self.page_bytes = match (self.header, &self.log, opaque) {
            (Some(header), _, _) => header.page_bytes,
            (None, _, None) => return Err(ReadError::NotADatabase),
            (None, Some(log), _) => log.page_bytes,
            (None, None, Some(page_bytes)) => page_bytes,
        };
        let size = u64::from(self.page_bytes);
        let present = u32::try_from(self.bytes.div_ceil(size)).map_err(|_| ReadError::NotADatabase)?;
        self.pages = self.log.as_ref().map_or(present, |log| log.pages);
        if self.log.is_some() {
            return Ok(());
        }
        if !self.bytes.is_multiple_of(size) {
            let bytes = (self.bytes % size) as u32;
            self.oddities.push(Oddity::PartialPage { bytes });
        }
        if let Some(counted) = self.header.and_then(|header| header.pages)
            && counted > present
        {
            self.oddities.push(Oddity::PagesMissing { counted, present });
        }
        Ok(())
    }

    fn first_bytes(&self, log: Option<&Log>) -> Result<Option<Header>, ReadError> {
        if let Some(log) = log
            && let Some(&(1, frame)) = log.frames_from(1).first()
        {
            let mut page = vec![0; log.page_bytes as usize];
            log.read_page(frame, &mut page)?;
            return Ok(Header::parse(&page));
        }
        let mut first = [0; HEADER_BYTES];
        self.read_file(&mut first, 0)?;
        Ok(Header::parse(&first))
    }

    /// Of one page, in bytes.
    pub(crate) fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    /// How many pages there are. Where the log does not say, as many as the file has, a last one that is cut off included, whatever its
    /// header counts: nothing is left out.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// None for an empty database, and for one that is encrypted.
    #[cfg(test)]
    pub(crate) fn header(&self) -> Option<Header> {
        self.header
    }

    /// Whether it is used with a write-ahead log.
    #[cfg(test)]
    pub(crate) fn is_wal(&self) -> bool {
        self.is_wal
    }

    pub(crate) fn oddities(&self) -> &[Oddity] {
        &self.oddities
    }

    /// Whether what is seen is not what the file holds, but what it will hold once the app has rolled it back.
    #[cfg(test)]
    pub(super) fn is_rolled_back(&self) -> bool {
        self.rollback.is_some()
    }

    /// Whether a writer of the app's waits for this view to end, or has waited when something was read. Only without a write-ahead log:
    /// with one, nobody waits for readers but checkpoints, which give up.
    pub(crate) fn is_contended(&self) -> bool {
        self.look_for_writers();
        self.was_contended.load(Ordering::Relaxed)
    }

    fn look_for_writers(&self) {
        if self.is_wal || matches!(self.hold, Hold::Host(_)) {
            return;
        }
        let mut waits = matches!(self.file.other_lock(PENDING), Ok(Some(_)));
        if self.rollback.is_some() {
            // Whoever comes wants to roll back first, and tries again and again to get the file to itself.
            waits |= matches!(self.file.other_lock(SHARED), Ok(Some(_)));
        }
        if waits {
            self.was_contended.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the moment and releases every lock, but goes on reading: from now on pages may be of different moments, or torn, or zeros where
    /// there is nothing any more.
    pub(crate) fn let_go(&mut self) {
        self.hold = Hold::Locks(Vec::new());
        self.watch = None;
        self.is_let_go = true;
    }

    /// Whole pages, one after the other, from number `first` (counted from one) on. Runs that the file holds are one read each.
    /// `Busy`: the app opened the database anew and may have changed it since; what was read before is still right, but there is no more.
    pub(crate) fn read(&self, first: u32, buffer: &mut [u8]) -> Result<(), ReadError> {
        let size = self.page_bytes as usize;
        let count = buffer.len() / size;
        let is_inside = first > 0 && first as usize - 1 + count <= self.pages as usize;
        if !is_inside || !buffer.len().is_multiple_of(size) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such pages").into());
        }
        let mut done = 0;
        let frames = self.log.as_ref().map_or(&[][..], |log| log.frames_from(first));
        for &(page, frame) in frames {
            let at = (page - first) as usize;
            if at >= count {
                break;
            }
            self.read_run(first, done, at, buffer)?;
            if let Some(log) = &self.log {
                let page = &mut buffer[at * size..(at + 1) * size];
                match log.read_page(frame, page) {
                    // Cut off meanwhile.
                    Err(_) if self.is_let_go => page.fill(0),
                    read => read?,
                }
            }
            done = at + 1;
        }
        self.read_run(first, done, count, buffer)?;
        self.look_for_writers();
        self.check_watch()
    }

    /// The pages at `from` up to `to` in the buffer, which the log does not hold.
    fn read_run(&self, first: u32, from: usize, to: usize, buffer: &mut [u8]) -> Result<(), ReadError> {
        if from == to {
            return Ok(());
        }
        let size = self.page_bytes as usize;
        let offset = (u64::from(first - 1) + from as u64) * size as u64;
        self.read_file(&mut buffer[from * size..to * size], offset)
    }

    fn read_file(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        match &self.rollback {
            Some(rollback) if !self.is_let_go => rollback.read_at(&self.file, buffer, offset),
            _ => Ok(read_or_zeros(&self.file, buffer, offset)?),
        }
    }

    fn check_watch(&self) -> Result<(), ReadError> {
        match &self.watch {
            Some(watch) => watch.check(&self.file, self.log.as_ref()),
            None => Ok(()),
        }
    }
}

/// Keeps an eye on a database with a write-ahead log that nobody has open: there is no `-shm` file to lock.
///
/// Whoever opens it creates that file before it changes anything, and cannot delete it while we hold the shared lock on the database.
/// So as long as there is none after something was read, it was read undisturbed. Once there is one, its locks are taken, and what was
/// seen so far stands if no checkpoint wrote to the database file in the meantime.
#[derive(Debug)]
pub(crate) struct Watch {
    dir: OwnedFd,
    index: OsString,
    before: FileStatus,
    /// Whether a write to the file right now could go unnoticed, for want of finer times.
    is_racy: bool,
    log_head: Option<[u8; WAL_HEADER_BYTES]>,
    /// Once the index has appeared.
    locks: Mutex<Option<[Held; 2]>>,
}

impl Watch {
    pub(super) fn new(
        dir: OwnedFd,
        index: OsString,
        before: FileStatus,
        is_racy: bool,
        log: Option<&Log>,
    ) -> io::Result<Self> {
        Ok(Self {
            dir,
            index,
            before,
            is_racy,
            log_head: log.map(Log::head).transpose()?,
            locks: Mutex::new(None),
        })
    }

    fn check(&self, database: &DatabaseFile, log: Option<&Log>) -> Result<(), ReadError> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.is_some() || id_at(self.dir.as_fd(), &self.index)?.is_none() {
            return Ok(());
        }
        const OPENED: ReadError = ReadError::Busy("the app opened it while it was being read");
        let index = descriptors::open(self.dir.as_fd(), &self.index)?;
        let taken = locks::try_freeze(&index)?.ok_or(OPENED)?;
        let is_same_file = id_at(self.dir.as_fd(), &self.index)? == Some(index.id());
        let is_same_log = log.map(Log::head).transpose()? == self.log_head;
        let is_untouched = !self.is_racy && database.status()? == self.before;
        if !(is_same_file && is_same_log && is_untouched) {
            return Err(OPENED);
        }
        *locks = Some(taken);
        Ok(())
    }
}
