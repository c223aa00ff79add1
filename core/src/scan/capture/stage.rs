//! Frames of the synthesised log on their way: into a file of the engine's own while the database is held still, and on from there when it
//! is not any more. What is held up meanwhile is the app, so nothing else is done in between.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use super::{Base, Compared, compare, pages::Bits};
use crate::{
    catalog::{Catalog, databases},
    limits,
    repository::err_if_cancelled,
    scan::large::Failed,
    sqlite::{
        Oddity, View,
        page_hash::PageHasher,
        plan::Plan,
        segment::Segment,
        synthesis::LogEnd,
        wal::{FRAME_HEADER_BYTES, FrameHeader},
    },
};
use tokio_util::sync::CancellationToken;

/// Frames that wait to be sealed.
pub(super) struct Staged {
    pub(super) path: PathBuf,
    pub(super) anew: bool,
    pub(super) pages: u32,
    pub(super) end: LogEnd,
    pub(super) oddities: Vec<Oddity>,
}

/// Writes the frames that the log needs.
pub(super) fn write(
    path: PathBuf,
    base: &Base,
    view: &View,
    compared: &Compared,
    cancel: &CancellationToken,
) -> Result<Staged, Failed> {
    let (page_bytes, pages) = (view.page_bytes(), view.pages());
    let rewrite = compared.plan == Plan::Rewrite;
    let anew = base.is_new || rewrite;
    let wanted: &Bits = if rewrite {
        &compared.live
    } else {
        &compared.changed
    };
    let mut end = if anew { LogEnd::empty(page_bytes) } else { base.end };
    let file = create(&path).map_err(Failed::Read)?;
    let mut file = BufWriter::with_capacity(limits::DATABASE_READ_BYTES, file);
    let mut page = vec![0; page_bytes as usize];
    let (mut numbers, mut since_look) = (wanted.ones().peekable(), 0);
    while let Some(at) = numbers.next() {
        if since_look >= limits::DATABASE_READ_BYTES {
            err_if_cancelled(cancel)?;
            since_look = 0;
        }
        since_look += page.len();
        view.read(at + 1, &mut page).map_err(Failed::from)?;
        let commit = if numbers.peek().is_none() { pages } else { 0 };
        let head = end.append(at + 1, commit, &page);
        file.write_all(&head)
            .and_then(|()| file.write_all(&page))
            .map_err(Failed::Read)?;
    }
    file.flush().map_err(Failed::Read)?;
    Ok(Staged {
        path,
        anew,
        pages,
        end,
        oddities: view.oddities().to_vec(),
    })
}

/// Whose pages are recorded, and where.
pub(super) struct Record<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) hasher: &'a PageHasher,
    pub(super) database: i64,
    pub(super) base: &'a Base,
    pub(super) cancel: &'a CancellationToken,
}

impl Record<'_> {
    /// Puts what the pages are now next to the catalog's truth, as the staged frames have them.
    pub(super) fn put(&self, staged: &Staged) -> Result<(), Failed> {
        let file = File::open(&staged.path).map_err(Failed::Read)?;
        let mut file = BufReader::with_capacity(limits::DATABASE_READ_BYTES, file);
        let mut head = [0; FRAME_HEADER_BYTES];
        let mut page = vec![0; self.base.page_bytes as usize];
        let mut batch: Vec<(u32, Segment)> = Vec::new();
        if let Some(last) = Segment::count(staged.pages).checked_sub(1)
            && staged.pages < self.base.pages_before
        {
            // It may be left with fewer pages, and none that changed.
            self.write(vec![(last, self.open(staged, last)?)])?;
        }
        while read_whole(&mut file, &mut head)? {
            file.read_exact(&mut page).map_err(Failed::Read)?;
            let (no, at) = Segment::place(FrameHeader::unverified(&head).page);
            if batch.last().is_none_or(|(last, _)| *last != no) {
                err_if_cancelled(self.cancel)?;
                if batch.len() >= limits::DATABASE_SEGMENTS_PER_WRITE {
                    self.write(std::mem::take(&mut batch))?;
                }
                batch.push((no, self.open(staged, no)?));
            }
            if let Some((_, segment)) = batch.last_mut() {
                segment.set(at, self.hasher.hash(&page), true);
            }
        }
        self.write(batch)
    }

    fn open(&self, staged: &Staged, no: u32) -> Result<Segment, Failed> {
        let mut segment = compare::segment(self.catalog, self.database, no, self.base.is_new)?;
        segment.truncate(Segment::pages_in(no, staged.pages));
        Ok(segment)
    }

    fn write(&self, batch: Vec<(u32, Segment)>) -> Result<(), Failed> {
        let database = self.database;
        let put = self.catalog.write_blocking(move |tx| {
            let mut batch = batch.iter();
            batch.try_for_each(|(no, segment)| databases::put_segment(tx, database, *no, segment))
        });
        Ok(put?)
    }
}

/// Whether there was another frame.
fn read_whole(file: &mut impl Read, head: &mut [u8]) -> Result<bool, Failed> {
    match file.read_exact(head) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Failed::Read(error)),
    }
}

fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = File::options();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
