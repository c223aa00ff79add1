//! Comparing a database with what is stored of it, while it is held still: as fast as it can be read.
//!
//! Two threads take one segment after the other, each reading pieces that are still in its core's cache when they are hashed. A stop, a
//! waiting writer, and the end of the other thread are looked for between two pieces.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio_util::sync::CancellationToken;

use super::{Failed, pages::Bits};
use crate::{
    catalog::{Catalog, databases},
    error::Error,
    limits,
    repository::err_if_cancelled,
    sqlite::{
        View,
        page_hash::PageHasher,
        segment::{SEGMENT_PAGES, Segment},
    },
};

/// A database that is held still, and where it is remembered.
pub(super) struct Comparison<'a> {
    pub(super) view: &'a View,
    /// All that are held still with it.
    pub(super) all: &'a [View],
    pub(super) may_yield: bool,
    pub(super) hasher: &'a PageHasher,
    pub(super) catalog: &'a Catalog,
    /// Its number in the catalog, and whether hashes that were put and not taken over yet count.
    pub(super) database: i64,
    pub(super) is_new: bool,
    pub(super) cancel: &'a CancellationToken,
}

/// A segment's part of the bits that a comparison sets.
struct Share<'a> {
    no: u32,
    changed: &'a mut [u64],
    live: &'a mut [u64],
}

impl Comparison<'_> {
    /// Finds the pages that changed, and those that the log would hold: the changed ones and those that it holds. `false`: a writer waits.
    pub(super) fn run(&self, changed: &mut Bits, live: &mut Bits) -> Result<bool, Failed> {
        let segments = Segment::count(self.view.pages());
        let shares = changed.segments().zip(live.segments()).zip(0..segments);
        let shares = Mutex::new(shares.map(|((changed, live), no)| Share { no, changed, live }));
        let has_ended = AtomicBool::new(false);
        let next = || shares.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let result = self.work(next, &has_ended);
            if !matches!(result, Ok(true)) {
                has_ended.store(true, Ordering::Relaxed);
            }
            result
        };
        thread::scope(|scope| {
            // Where no thread is to be had, one does it all.
            let other = (segments > 1)
                .then(|| {
                    thread::Builder::new()
                        .name("compare".to_owned())
                        .spawn_scoped(scope, work)
                })
                .and_then(Result::ok);
            let ours = work();
            let theirs = other.map_or(Ok(true), |other| {
                other
                    .join()
                    .unwrap_or_else(|_| Err(Failed::Engine(Error::bug("a comparison panicked"))))
            });
            Ok(ours? && theirs?)
        })
    }

    fn work<'a>(&self, next: impl Fn() -> Option<Share<'a>>, has_ended: &AtomicBool) -> Result<bool, Failed> {
        let mut buffer = vec![0; limits::DATABASE_READ_BYTES.max(self.view.page_bytes() as usize)];
        while let Some(mut share) = next() {
            if !self.segment(&mut share, &mut buffer, has_ended)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn segment(
        &self,
        share: &mut Share<'_>,
        buffer: &mut [u8],
        has_ended: &AtomicBool,
    ) -> Result<bool, Failed> {
        let known = segment(self.catalog, self.database, share.no, self.is_new)?;
        let page_bytes = self.view.page_bytes() as usize;
        let per_read = u32::try_from(buffer.len() / page_bytes).unwrap_or(1);
        let first = share.no * SEGMENT_PAGES;
        let count = Segment::pages_in(share.no, self.view.pages());
        for at in (0..count).step_by(per_read as usize) {
            err_if_cancelled(self.cancel)?;
            let is_contended = self.may_yield && self.all.iter().any(View::is_contended);
            if is_contended || has_ended.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let bytes = &mut buffer[..per_read.min(count - at) as usize * page_bytes];
            self.view.read(first + at + 1, bytes).map_err(Failed::from)?;
            for (page, at) in bytes.chunks_exact(page_bytes).zip(at..) {
                let is_changed = known.hash(at) != Some(&self.hasher.hash(page));
                let (word, bit) = (at as usize / 64, at % 64);
                share.changed[word] |= u64::from(is_changed) << bit;
                share.live[word] |= u64::from(is_changed || known.is_logged(at)) << bit;
            }
        }
        Ok(true)
    }
}

/// What is remembered of a segment; nothing, where the database did not have it.
pub(super) fn segment(catalog: &Catalog, database: i64, no: u32, next: bool) -> Result<Segment, Failed> {
    let found = catalog.read_blocking(move |db| databases::segment(db, database, no, next))?;
    Ok(found.unwrap_or_else(Segment::new))
}
