//! One moment in time, of one database or of several at once.
//!
//! Each database is frozen by its locks first: in rollback mode that is all. With write-ahead logs the moment is where each log ends, as
//! its index says. A transaction over several databases ends in them one after the other, while it holds the write lock of every log;
//! so the ends belong together if, between two looks that found the same, nobody held any of those locks. No lock that a writer needs is
//! taken for that.
//!
//! Locks are tried, never waited for: where one is not free, all are released, and everything begins anew a little later.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use super::{
    Access, Oddity, ReadError, Request,
    descriptors::{self, DatabaseFile, FileStatus, Held, id_at, id_of_file, open_unlocked},
    header::{HEADER_BYTES, Header},
    index::{INDEX_HEAD_BYTES, IndexHead},
    journal::{self, Rollback, read_or_zeros},
    locks::{self, INDEX_IN_USE, LOG_WRITE},
    log::{Log, Until},
    ofd::Lock,
    synthesis::LOG_SUFFIX,
    view::{Hold, Parts, Quiet, View, Watch},
};
use crate::{
    clock::{Clock, SystemClock},
    limits::{DATABASE_LOCK_RETRY_MAX_MS, DATABASE_LOCK_RETRY_MS, DATABASE_LOCK_WAIT_MS, FILE_TIME_TICK_MS},
};

/// Looks at the ends of several logs, some microseconds each, before giving way to a writer for longer: an app that writes without a pause
/// leaves little time between two transactions, and two looks must fall into it.
const LOOKS: u32 = 4096;
/// Looks between two offers to let other threads run.
const LOOKS_IN_A_ROW: u32 = 64;

/// Which of the requests failed, and why.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) at: usize,
    pub(crate) error: ReadError,
}

/// A view of each, all of the same moment. Waits for writers up to [`DATABASE_LOCK_WAIT_MS`] in all.
///
/// Databases that the app holds still are of the moment that it chose: one for all of them where it says so for all before any is read,
/// which is how it is asked.
pub(crate) fn views(requests: &[Request<'_>], cancel: &CancellationToken) -> Result<Vec<View>, Failed> {
    views_at(requests, SystemClock::default().wall(), cancel)
}

/// `now`, as the file system's clock has it, tells files that were just changed.
pub(super) fn views_at(
    requests: &[Request<'_>],
    now: SystemTime,
    cancel: &CancellationToken,
) -> Result<Vec<View>, Failed> {
    let mut patience = Patience::default();
    loop {
        match attempt(requests, now, cancel) {
            Err(Failed {
                at,
                error: ReadError::Busy(why),
            }) => {
                let error = match patience.wait(cancel) {
                    Ok(true) => continue,
                    Ok(false) => ReadError::Busy(why),
                    Err(error) => error,
                };
                return Err(Failed { at, error });
            }
            ended => return ended,
        }
    }
}

#[derive(Default)]
struct Patience {
    waited_ms: u64,
    rounds: u32,
}

impl Patience {
    /// Whether there is time for another try, after having waited for it.
    fn wait(&mut self, cancel: &CancellationToken) -> Result<bool, ReadError> {
        if cancel.is_cancelled() {
            return Err(ReadError::Cancelled);
        }
        if self.waited_ms >= DATABASE_LOCK_WAIT_MS {
            return Ok(false);
        }
        let wait_ms = (DATABASE_LOCK_RETRY_MS << self.rounds.min(16)).min(DATABASE_LOCK_RETRY_MAX_MS);
        thread::sleep(Duration::from_millis(wait_ms));
        self.waited_ms += wait_ms;
        self.rounds += 1;
        Ok(true)
    }
}

fn attempt(
    requests: &[Request<'_>],
    now: SystemTime,
    cancel: &CancellationToken,
) -> Result<Vec<View>, Failed> {
    let numbered = |at: usize| {
        move |error: ReadError| Failed {
            at,
            error: supported(error),
        }
    };
    // The app's part may take its time: before any lock.
    let mut quiet = vec![];
    for (at, request) in requests.iter().enumerate() {
        quiet.push(begin(request).map_err(numbered(at))?);
    }
    let mut entered = vec![];
    for (at, (request, quiet)) in requests.iter().zip(quiet).enumerate() {
        let one = match quiet {
            Some(quiet) => enter_quiet(request, quiet, cancel),
            None => enter(request, now, cancel),
        };
        entered.push(one.map_err(numbered(at))?);
    }
    for (at, one) in entered.iter_mut().enumerate() {
        one.consult(cancel).map_err(numbered(at))?;
    }
    meet(&mut entered)?;
    for one in &mut entered {
        one.writers_out.take();
    }
    let mut views = vec![];
    for (at, one) in entered.into_iter().enumerate() {
        views.push(one.finish(cancel).map_err(numbered(at))?);
    }
    Ok(views)
}

/// A system without such locks says that it does not know the command.
fn supported(error: ReadError) -> ReadError {
    match &error {
        ReadError::Unreadable(io)
            if matches!(
                io.raw_os_error(),
                Some(libc::EINVAL | libc::ENOLCK | libc::ENOTSUP)
            ) =>
        {
            ReadError::NoLocks
        }
        _ => error,
    }
}

fn begin(request: &Request<'_>) -> Result<Option<Quiet>, ReadError> {
    let Access::Quiesced(host) = request.access else {
        return Ok(None);
    };
    let known = host.begin(request.path).map_err(ReadError::Host)?;
    Ok(Some(Quiet {
        host: host.clone(),
        path: request.path.to_owned(),
        page_bytes: known.page_bytes,
    }))
}

/// A database that cannot change any more, but for its log.
struct Entered<'a> {
    dir: BorrowedFd<'a>,
    index_name: OsString,
    log_name: OsString,
    file: Arc<DatabaseFile>,
    hold: Hold,
    rollback: Option<Rollback>,
    oddities: Vec<Oddity>,
    log: LogState,
    /// Keeps those out who come and want to write, until the moments of all are one.
    writers_out: Option<Held>,
}

enum LogState {
    /// Rollback mode: there is none.
    None,
    /// Somebody has it open, or had. Its present frames cannot change any more.
    Indexed(Arc<DatabaseFile>),
    /// Nobody has it open.
    Unindexed(FileStatus, bool),
    /// Somebody keeps the index, and it says this.
    Told(Arc<DatabaseFile>, IndexHead),
    /// Read to its last commit.
    Read(Option<Log>, Option<Watch>),
}

fn beside(name: &OsStr, suffix: &[u8]) -> OsString {
    let mut beside = name.to_owned();
    beside.push(OsStr::from_bytes(suffix));
    beside
}

fn enter<'a>(
    request: &Request<'a>,
    now: SystemTime,
    cancel: &CancellationToken,
) -> Result<Entered<'a>, ReadError> {
    let (dir, name) = (request.dir, request.name);
    let file = descriptors::open(dir, name)?;
    let shared = locks::try_read(&file)?.ok_or(ReadError::Busy(
        "a connection is writing to it, or keeps it for itself",
    ))?;
    if id_at(dir, name)? != Some(file.id()) {
        return Err(ReadError::Busy("it was replaced just now"));
    }
    let mut oddities = vec![];
    let rollback = journal::find(dir, &beside(name, b"-journal"), &file, &mut oddities, cancel)?;
    let status = file.status()?;
    let mut entered = Entered {
        dir,
        index_name: beside(name, b"-shm"),
        log_name: beside(name, LOG_SUFFIX),
        file,
        hold: Hold::Locks(vec![shared]),
        rollback,
        oddities,
        log: LogState::None,
        writers_out: None,
    };
    if entered.is_wal(status.bytes)? {
        entered.freeze_log(status, now)?;
    }
    Ok(entered)
}

/// No lock: the app keeps it still.
fn enter_quiet<'a>(
    request: &Request<'a>,
    quiet: Quiet,
    cancel: &CancellationToken,
) -> Result<Entered<'a>, ReadError> {
    let (dir, name) = (request.dir, request.name);
    let mut entered = Entered {
        dir,
        index_name: beside(name, b"-shm"),
        log_name: beside(name, LOG_SUFFIX),
        file: descriptors::open(dir, name)?,
        hold: Hold::Host(quiet),
        rollback: None,
        oddities: vec![],
        log: LogState::None,
        writers_out: None,
    };
    let Some(log) = open_unlocked(dir, &entered.log_name)? else {
        return Ok(entered);
    };
    let until = match open_index(dir, &entered.index_name)? {
        // Whether somebody keeps the index may be more than this system can say.
        Some(index) if matches!(index.other_lock(INDEX_IN_USE), Ok(Some(_))) => read_head(&index)?,
        _ => None,
    };
    let until = until.map_or(Until::LastCommit, Until::Index);
    let log = Log::read(log, until, &mut entered.oddities, cancel)?;
    entered.log = LogState::Read(log, None);
    Ok(entered)
}

fn open_index(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Arc<DatabaseFile>>> {
    match descriptors::open(dir, name) {
        Ok(index) => Ok(Some(index)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_head(index: &DatabaseFile) -> io::Result<Option<IndexHead>> {
    let mut head = [0; INDEX_HEAD_BYTES];
    let read = index.read_at(&mut head, 0)?;
    Ok(IndexHead::parse(&head[..read]))
}

impl Entered<'_> {
    /// By SQLite's rule: a log beside it makes it one, whatever its header says, unless it is empty.
    fn is_wal(&self, bytes: u64) -> Result<bool, ReadError> {
        let bytes = self.rollback.as_ref().map_or(bytes, Rollback::bytes);
        if bytes == 0 {
            return Ok(false);
        }
        if open_unlocked(self.dir, &self.log_name)?.is_some() {
            return Ok(true);
        }
        let mut first = [0; HEADER_BYTES];
        match &self.rollback {
            Some(rollback) => rollback.read_at(&self.file, &mut first, 0)?,
            None => read_or_zeros(&self.file, &mut first, 0)?,
        }
        Ok(Header::parse(&first).is_some_and(|header| header.is_wal))
    }

    fn freeze_log(&mut self, status: FileStatus, now: SystemTime) -> Result<(), ReadError> {
        let Some(index) = open_index(self.dir, &self.index_name)? else {
            let is_racy = status.is_younger_than(Duration::from_millis(FILE_TIME_TICK_MS), now);
            self.log = LogState::Unindexed(status, is_racy);
            return Ok(());
        };
        let frozen = locks::try_freeze(&index)?.ok_or(ReadError::Busy("its log is being checkpointed"))?;
        if id_at(self.dir, &self.index_name)? != Some(index.id()) {
            return Err(ReadError::Busy("its log is being deleted"));
        }
        if let Hold::Locks(locks) = &mut self.hold {
            locks.extend(frozen);
        }
        self.log = LogState::Indexed(index);
        Ok(())
    }

    /// Finds where the log ends.
    fn consult(&mut self, cancel: &CancellationToken) -> Result<(), ReadError> {
        match &self.log {
            LogState::Indexed(index) => {
                let index = index.clone();
                self.consult_index(index, cancel)
            }
            &LogState::Unindexed(status, is_racy) => {
                let log = self.read_log(Until::LastCommit, cancel)?;
                let dir = self.dir.try_clone_to_owned()?;
                let watch = Watch::new(dir, self.index_name.clone(), status, is_racy, log.as_ref())?;
                self.log = LogState::Read(log, Some(watch));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn consult_index(
        &mut self,
        index: Arc<DatabaseFile>,
        cancel: &CancellationToken,
    ) -> Result<(), ReadError> {
        let is_kept = match index.other_lock(INDEX_IN_USE)? {
            Some(Lock::Exclusive) => return Err(ReadError::Busy("it is being opened")),
            Some(Lock::Shared) => true,
            None => false,
        };
        if is_kept && let Some(head) = read_head(&index)? {
            self.log = LogState::Told(index, head);
            return Ok(());
        }
        // Nobody keeps the index, or it is being changed, or broken. Without writers it is one of the three.
        let writers_out = index
            .try_shared(LOG_WRITE)?
            .ok_or(ReadError::Busy("its log is being written to"))?;
        let is_kept_now = index.other_lock(INDEX_IN_USE)?.is_some();
        if is_kept_now && let Some(head) = read_head(&index)? {
            self.log = LogState::Told(index, head);
            return Ok(());
        }
        if is_kept_now != is_kept {
            return Err(ReadError::Busy("it is being opened"));
        }
        // What the next to open it finds, too: it makes the index anew from the log.
        let log = self.read_log(Until::LastCommit, cancel)?;
        self.log = LogState::Read(log, None);
        self.writers_out = Some(writers_out);
        Ok(())
    }

    fn read_log(&mut self, until: Until, cancel: &CancellationToken) -> Result<Option<Log>, ReadError> {
        match open_unlocked(self.dir, &self.log_name)? {
            Some(file) => {
                if id_at(self.dir, &self.log_name)? != Some(id_of_file(&file)?) {
                    return Err(ReadError::Busy("its log was replaced just now"));
                }
                Log::read(file, until, &mut self.oddities, cancel)
            }
            None => {
                if matches!(until, Until::Index(head) if head.last_frame > 0) {
                    self.oddities.push(Oddity::LogCutOff);
                }
                Ok(None)
            }
        }
    }

    fn finish(mut self, cancel: &CancellationToken) -> Result<View, ReadError> {
        let is_wal = !matches!(self.log, LogState::None);
        let (log, watch) = match std::mem::replace(&mut self.log, LogState::None) {
            LogState::Told(_, head) => (self.read_log(Until::Index(head), cancel)?, None),
            LogState::Read(log, watch) => (log, watch),
            LogState::None | LogState::Indexed(_) | LogState::Unindexed(..) => (None, None),
        };
        View::new(Parts {
            file: self.file,
            rollback: self.rollback,
            log,
            is_wal,
            oddities: self.oddities,
            watch,
            hold: self.hold,
        })
    }
}

/// Looks again until all logs end where they ended, with no transaction under way in between.
fn meet(entered: &mut [Entered<'_>]) -> Result<(), Failed> {
    if entered.len() < 2 {
        return Ok(());
    }
    let mut last = Ok(());
    for round in 1..=LOOKS {
        last = look(entered);
        match &last {
            Err(Failed {
                error: ReadError::Busy(_),
                ..
            }) if round % LOOKS_IN_A_ROW == 0 => thread::yield_now(),
            Err(Failed {
                error: ReadError::Busy(_),
                ..
            }) => std::hint::spin_loop(),
            _ => return last,
        }
    }
    last
}

fn look(entered: &mut [Entered<'_>]) -> Result<(), Failed> {
    let mut logs = vec![];
    for (at, one) in entered.iter_mut().enumerate() {
        if let LogState::Told(index, head) = &mut one.log {
            logs.push((at, index.clone(), head));
        }
    }
    let busy = |at, why| {
        Err(Failed {
            at,
            error: ReadError::Busy(why),
        })
    };
    let failed = |at| {
        move |error: io::Error| Failed {
            at,
            error: supported(error.into()),
        }
    };
    for (at, index, _) in &logs {
        if index.other_lock(LOG_WRITE).map_err(failed(*at))?.is_some() {
            return busy(*at, "a transaction is under way");
        }
    }
    let mut moved = None;
    for (at, index, head) in &mut logs {
        match read_head(index).map_err(failed(*at))? {
            Some(now) if now == **head => {}
            Some(now) => {
                **head = now;
                moved = Some(*at);
            }
            None => return busy(*at, "its log is being written to"),
        }
    }
    match moved {
        Some(at) => busy(at, "its log is being written to"),
        None => Ok(()),
    }
}
