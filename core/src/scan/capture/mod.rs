//! Databases: what is stored of one is brought up to the state it had at one moment.
//!
//! No lock is held while anything waits for the vault. First the *base* is sealed where there is none, without any lock: what is read may
//! be pages of different moments, even torn ones, but the hash of each is remembered as it was read. Then, with the database held
//! still, every page is compared with its hash, and those that differ are written to a file of the engine's own, as frames of the
//! synthesised log: that takes about as long as reading the database once. Base and log together are the database at that moment. Last,
//! with the database let go, the frames are read back: their hashes go into the catalog, and they are sealed.
//!
//! Of a database that changes so much that storing the base again pays (see `sqlite::plan`), the base is stored again, up to
//! `DATABASE_BASE_ROUNDS_MAX` times: each round has less to catch up with.

mod compare;
mod pages;
mod stage;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    sync::Arc,
};

use compare::Comparison;
use pages::{Bits, TouchedChunks};
use stage::{Record, Staged};

use super::{
    DirKey, Step,
    large::{Failed, retry_interrupted},
    step::CapturePart,
    walk::Walker,
};
use crate::{
    catalog::{DatabaseState, databases},
    limits,
    repository::err_if_cancelled,
    seal::Plain,
    sqlite::{
        Access, Oddity, Request, View,
        page_hash::PageHasher,
        plan::{Counts, Plan, chunk_bytes, plan},
        segment::Segment,
        synthesis::{LogEnd, header_blob},
        views,
    },
};

/// What capturing needs beside what a walk needs.
#[derive(Clone)]
pub(crate) struct CaptureContext {
    pub(crate) hasher: PageHasher,
    /// A folder of the engine's own, for frames that are not sealed yet.
    pub(crate) staging: PathBuf,
}

/// A database that is to be captured.
pub(super) struct Subject {
    /// Its number in this walk.
    pub(super) key: u64,
    pub(super) dir: Arc<OwnedFd>,
    pub(super) dir_key: DirKey,
    pub(super) name: OsString,
    pub(super) path: PathBuf,
    pub(super) access: Access,
    /// What is stored of it, where all of that still is.
    pub(super) state: Option<DatabaseState>,
}

/// A database as it was at one moment. The ids of its new blobs are with the thread that assembles.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) key: u64,
    /// What was stored before, and is to go on: `None` where the base is new.
    pub(crate) before: Option<DatabaseState>,
    pub(crate) chunk_bytes: u32,
    pub(crate) base_bytes: u64,
    pub(crate) pages: u32,
    /// Whether the log begins anew, rather than to go on.
    pub(crate) log_anew: bool,
    pub(crate) end: LogEnd,
    pub(crate) oddities: Vec<Oddity>,
}

/// A subject on its way.
struct Work {
    subject: Subject,
    no: i64,
    base: Option<Base>,
    rounds: u32,
}

/// What the pages are compared with.
#[derive(Clone, Copy)]
struct Base {
    page_bytes: u32,
    chunk_bytes: u32,
    bytes: u64,
    pages_before: u32,
    end: LogEnd,
    /// Sealed in this capture: its hashes are not part of the catalog's truth yet.
    is_new: bool,
}

/// What comparing found.
struct Compared {
    changed: Bits,
    /// Those, and the pages that the log holds already.
    live: Bits,
    plan: Plan,
}

/// How a look at all databases of a group ended.
enum Attempt {
    Staged(Vec<Staged>),
    /// A base is to be stored first.
    NeedsBase,
    /// A writer was let through.
    Yielded,
}

impl Walker {
    /// Captures databases, all of them at the same moment.
    pub(super) fn capture(
        &mut self,
        context: &CaptureContext,
        subjects: Vec<Subject>,
    ) -> Result<Vec<Captured>, Failed> {
        // Small files before them go first: their steps come in order.
        self.flush()?;
        let mut works = Vec::with_capacity(subjects.len());
        for subject in subjects {
            works.push(self.begin(subject)?);
        }
        let mut yields = 0;
        let staged = loop {
            let may_yield = yields < limits::DATABASE_YIELDS_MAX;
            match self.attempt(context, &mut works, may_yield) {
                Ok(Attempt::Staged(staged)) => break staged,
                Ok(Attempt::NeedsBase) => {}
                Ok(Attempt::Yielded) => yields += 1,
                // Waiting for it had its own bound; this is for what happened while it was read.
                Err(Failed::Busy(_)) if may_yield => yields += 1,
                Err(Failed::Busy(error)) => return Err(Failed::Read(error)),
                Err(failed) => return Err(failed),
            }
        };
        let mut captured = Vec::with_capacity(works.len());
        for (work, staged) in works.into_iter().zip(staged) {
            captured.push(self.seal_log(context, work, staged)?);
        }
        Ok(captured)
    }

    /// Holds all databases still and compares them with what is stored.
    fn attempt(
        &mut self,
        context: &CaptureContext,
        works: &mut [Work],
        may_yield: bool,
    ) -> Result<Attempt, Failed> {
        for work in works.iter_mut() {
            if work.base.is_none() {
                work.base = Some(self.store_base(context, work)?);
            }
        }
        let requests: Vec<_> = works.iter().map(|work| work.subject.request()).collect();
        // Waiting for writers is done by `views`, and bounded there.
        let held =
            views(&requests, &self.context.cancel).map_err(|failed| Failed::from(failed).for_good())?;
        let Some(compared) = self.compare_all(context, works, &held, may_yield)? else {
            return Ok(Attempt::Yielded);
        };
        if works.iter().any(|work| work.base.is_none()) {
            return Ok(Attempt::NeedsBase);
        }
        let mut staged = Vec::with_capacity(works.len());
        for ((work, view), compared) in works.iter().zip(&held).zip(&compared) {
            let Some(base) = &work.base else { continue };
            let path = context.staging.join(work.subject.key.to_string());
            staged.push(stage::write(path, base, view, compared, &self.context.cancel)?);
        }
        Ok(Attempt::Staged(staged))
    }

    fn begin(&mut self, subject: Subject) -> Result<Work, Failed> {
        let (dir, name) = (subject.dir_key.clone(), subject.name.as_bytes().to_vec());
        let catalog = &self.context.reader.catalog;
        let no = catalog.write_blocking(move |tx| {
            let no = databases::number(tx, &dir, &name)?;
            databases::begin(tx, no, false).map(|()| no)
        })?;
        let base = subject.state.as_ref().map(|state| Base {
            page_bytes: state.end.page_bytes,
            chunk_bytes: state.chunk_bytes,
            bytes: state.base_bytes,
            pages_before: state.pages,
            end: state.end,
            is_new: false,
        });
        Ok(Work {
            subject,
            no,
            base,
            rounds: 0,
        })
    }

    /// Seals the database as it comes, without holding it still.
    fn store_base(&mut self, context: &CaptureContext, work: &mut Work) -> Result<Base, Failed> {
        // Pieces of a base that was given up count for nothing.
        self.emit(Step::Restart)?;
        if work.rounds > limits::DATABASE_BASE_ROUNDS_MAX {
            return Err(Failed::Read(io::Error::other(
                "its page size changed each time it was looked at",
            )));
        }
        work.rounds += 1;
        let before = work.subject.state.as_ref().map(|state| state.chunk_bytes);
        let mut view = views(&[work.subject.request()], &self.context.cancel)
            .map_err(Failed::from)?
            .pop()
            .ok_or_else(|| Failed::Read(io::Error::other("no view")))?;
        view.let_go();
        let (page_bytes, pages) = (view.page_bytes(), view.pages());
        let bytes = u64::from(page_bytes) * u64::from(pages);
        let chunk_bytes = chunk_bytes(bytes, page_bytes, before, self.context.piece_bytes_max);
        let no = work.no;
        let catalog = self.context.reader.catalog.clone();
        catalog.write_blocking(move |tx| databases::begin(tx, no, true))?;
        let (mut segment, mut segment_no) = (Segment::new(), 0);
        let (per_chunk, mut first) = (chunk_bytes / page_bytes, 1);
        while first <= pages {
            err_if_cancelled(&self.context.cancel)?;
            let count = per_chunk.min(pages - first + 1);
            let length = count as usize * page_bytes as usize;
            let permit = self.admit(length as u64)?;
            let mut plain = Plain::zeroed(&self.context.reader.sealer.buffers, length);
            view.read(first, &mut plain).map_err(Failed::from)?;
            for (page, number) in plain.chunks_exact(page_bytes as usize).zip(first..) {
                let (in_segment, at) = Segment::place(number);
                if in_segment != segment_no {
                    let full = std::mem::replace(&mut segment, Segment::new());
                    let full_no = std::mem::replace(&mut segment_no, in_segment);
                    catalog.write_blocking(move |tx| databases::put_segment(tx, no, full_no, &full))?;
                }
                segment.set(at, context.hasher.hash(page), false);
            }
            self.seal_piece(plain, permit)?;
            first += count;
        }
        catalog.write_blocking(move |tx| databases::put_segment(tx, no, segment_no, &segment))?;
        self.emit(Step::Captured {
            key: work.subject.key,
            part: CapturePart::Base,
        })?;
        Ok(Base {
            page_bytes,
            chunk_bytes,
            bytes,
            pages_before: pages,
            end: LogEnd::empty(page_bytes),
            is_new: true,
        })
    }

    /// Compares every database with what is stored of it. `None` where a writer was let through; bases that are to be stored again are gone.
    fn compare_all(
        &mut self,
        context: &CaptureContext,
        works: &mut [Work],
        views: &[View],
        may_yield: bool,
    ) -> Result<Option<Vec<Compared>>, Failed> {
        let mut all = Vec::with_capacity(works.len());
        for (work, view) in works.iter_mut().zip(views) {
            if work.base.is_none_or(|base| base.page_bytes != view.page_bytes()) {
                // Another page size: nothing of the old base has a place in the new database.
                work.base = None;
                continue;
            }
            let Some(compared) = self.compare(context, work, view, views, may_yield)? else {
                return Ok(None);
            };
            if compared.plan == Plan::Rebase && work.rounds < limits::DATABASE_BASE_ROUNDS_MAX {
                work.base = None;
            }
            all.push(compared);
        }
        Ok(Some(all))
    }

    fn compare(
        &mut self,
        context: &CaptureContext,
        work: &Work,
        view: &View,
        all: &[View],
        may_yield: bool,
    ) -> Result<Option<Compared>, Failed> {
        let Some(base) = work.base else { return Ok(None) };
        let (page_bytes, pages) = (view.page_bytes(), view.pages());
        let (mut changed, mut live) = (Bits::new(pages), Bits::new(pages));
        let comparison = Comparison {
            view,
            all,
            may_yield,
            hasher: &context.hasher,
            catalog: &self.context.reader.catalog,
            database: work.no,
            is_new: base.is_new,
            cancel: &self.context.cancel,
        };
        if !comparison.run(&mut changed, &mut live)? {
            return Ok(None);
        }
        if !changed.any() && pages != base.pages_before && pages > 0 {
            // A commit frame must say so, and needs a page to say it with.
            changed.set(0);
            live.set(0);
        }
        let mut chunks = TouchedChunks::new(base.chunk_bytes, page_bytes, pages);
        let counts = Counts {
            page_bytes,
            pages,
            changed: changed.count(),
            frames: base.end.frames,
            live: live.count(),
            touched_bytes: live.ones().map(|page| chunks.touch(page)).sum(),
        };
        self.context
            .meter
            .bytes_read(u64::from(pages) * u64::from(page_bytes));
        let plan = plan(&counts);
        Ok(Some(Compared { changed, live, plan }))
    }

    /// Seals the staged frames, and remembers their pages. Nothing of the app's is held any more.
    fn seal_log(&mut self, context: &CaptureContext, work: Work, staged: Staged) -> Result<Captured, Failed> {
        let Some(base) = work.base else {
            return Err(Failed::Read(io::Error::other("no base")));
        };
        let record = Record {
            catalog: &self.context.reader.catalog,
            hasher: &context.hasher,
            database: work.no,
            base: &base,
            cancel: &self.context.cancel,
        };
        record.put(&staged)?;
        if staged.anew {
            // A blob of its own: by its id the log is known for what it is.
            let header = header_blob(base.page_bytes);
            let header = Plain::copy(&self.context.reader.sealer.buffers, &header);
            let permit = self.admit(header.len() as u64)?;
            self.seal_piece(header, permit)?;
        }
        let mut file = File::open(&staged.path).map_err(Failed::Read)?;
        loop {
            err_if_cancelled(&self.context.cancel)?;
            let piece_bytes = self.context.piece_bytes_max;
            let permit = self.admit(piece_bytes as u64)?;
            let mut plain = Plain::zeroed(&self.context.reader.sealer.buffers, piece_bytes);
            let mut filled = 0;
            while filled < plain.len() {
                match retry_interrupted(|| file.read(&mut plain[filled..])).map_err(Failed::Read)? {
                    0 => break,
                    read => filled += read,
                }
            }
            if filled == 0 {
                break;
            }
            plain.truncate(filled);
            self.seal_piece(plain, permit)?;
        }
        // Whatever stays behind is removed when the engine is opened next.
        let _ = std::fs::remove_file(&staged.path);
        self.emit(Step::Captured {
            key: work.subject.key,
            part: CapturePart::Log,
        })?;
        Ok(Captured {
            key: work.subject.key,
            before: if base.is_new { None } else { work.subject.state },
            chunk_bytes: base.chunk_bytes,
            base_bytes: base.bytes,
            pages: staged.pages,
            log_anew: staged.anew,
            end: staged.end,
            oddities: staged.oddities,
        })
    }
}

impl Subject {
    fn request(&self) -> Request<'_> {
        Request {
            dir: self.dir.as_fd(),
            name: &self.name,
            path: &self.path,
            access: &self.access,
        }
    }
}
