//! Folding: a write-ahead log becomes part of its database file, as SQLite's own checkpoint would make it, byte for byte.
//!
//! Works on files that nobody has open: what a restore has staged. The log is verified to its end before the first byte of the database
//! changes, and folding again after an interruption gives the same. Memory does not grow with either file.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
};

use super::wal::{FRAME_HEADER_BYTES, FrameHeader, WAL_HEADER_BYTES, WalHeader};
use crate::limits;

/// Read ahead in a log.
const READ_BYTES: usize = 256 << 10;

/// The largest page: SQLite never writes the one that its locks lie in.
const PENDING_BYTES: u64 = 65_536;

/// Why a log was not folded.
#[derive(Debug)]
pub(crate) enum FoldError {
    /// The log is not what it should be: what, and where.
    Damaged(String),
    Io(io::Error),
    /// The caller's own reason to end.
    Ended(crate::Error),
}

impl From<io::Error> for FoldError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Result<T> = std::result::Result<T, FoldError>;

/// Asked before each frame; an error ends the work.
pub(crate) type GoOn<'a> = &'a dyn Fn() -> crate::Result<()>;

/// How much of a log there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredLog {
    pub(crate) page_bytes: u32,
    /// The pages that the database has after the last commit. `None`: nothing is committed, and the database file stands for itself.
    pub(crate) pages: Option<u32>,
    /// Frames up to the last commit, with it.
    frames: u32,
    /// Which of them has the first page last, if one does.
    first_page: Option<u32>,
}

impl StoredLog {
    /// A log that must be valid to its very end, as a synthesised one is.
    pub(crate) fn verify(log: &File, go_on: GoOn) -> Result<Self> {
        let length = log.metadata()?.len();
        let Some((found, frames)) = Self::scan(log, go_on)? else {
            return Err(FoldError::Damaged(
                "it does not begin as a write-ahead log".into(),
            ));
        };
        let whole = WAL_HEADER_BYTES as u64 + u64::from(frames) * found.frame_bytes();
        if whole != length {
            let text = format!("what follows its frame {frames} is no frame of it");
            return Err(FoldError::Damaged(text));
        }
        if found.frames != frames {
            let text = format!("its last {} frames are not committed", frames - found.frames);
            return Err(FoldError::Damaged(text));
        }
        Ok(found)
    }

    /// A log as SQLite takes it: up to the last commit that is whole. `None` where SQLite would ignore it.
    pub(crate) fn read(log: &File, go_on: GoOn) -> Result<Option<Self>> {
        Ok(Self::scan(log, go_on)?.map(|(found, _)| found))
    }

    /// The log, and how many frames are valid, committed or not.
    fn scan(log: &File, go_on: GoOn) -> Result<Option<(Self, u32)>> {
        let mut reader = BufReader::with_capacity(READ_BYTES, At { file: log, offset: 0 });
        let mut head = [0; WAL_HEADER_BYTES];
        if !read_whole(&mut reader, &mut head)? {
            return Ok(None);
        }
        let Some((header, mut checksum)) = WalHeader::parse(&head) else {
            return Ok(None);
        };
        let mut found = Self {
            page_bytes: header.page_bytes,
            pages: None,
            frames: 0,
            first_page: None,
        };
        let (mut frames, mut first_page) = (0_u32, None);
        let (mut head, mut page) = ([0; FRAME_HEADER_BYTES], vec![0; header.page_bytes as usize]);
        while read_whole(&mut reader, &mut head)? && read_whole(&mut reader, &mut page)? {
            go_on()?;
            let Some((frame, after)) = FrameHeader::parse(&header, checksum, &head, &page) else {
                break;
            };
            checksum = after;
            if frame.page == 1 {
                first_page = Some(frames);
            }
            frames = frames
                .checked_add(1)
                .ok_or_else(|| FoldError::Damaged("it has more frames than any log".into()))?;
            if frame.commit_pages > 0 {
                (found.pages, found.frames, found.first_page) =
                    (Some(frame.commit_pages), frames, first_page);
            }
        }
        Ok(Some((found, frames)))
    }

    fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.page_bytes)
    }

    fn offset(&self, frame: u32) -> u64 {
        WAL_HEADER_BYTES as u64 + u64::from(frame) * self.frame_bytes()
    }

    /// The length of the database as one file, where the log says it.
    pub(crate) fn database_bytes(&self) -> Option<u64> {
        Some(u64::from(self.pages?) * u64::from(self.page_bytes))
    }

    /// The beginning of the first page as the log has it, into `bytes`. `false` where that is the database file's.
    pub(crate) fn read_first_page(&self, log: &File, bytes: &mut [u8]) -> io::Result<bool> {
        let Some(frame) = self
            .first_page
            .filter(|_| bytes.len() <= self.page_bytes as usize)
        else {
            return Ok(false);
        };
        log.read_exact_at(bytes, self.offset(frame) + FRAME_HEADER_BYTES as u64)?;
        Ok(true)
    }

    /// Writes the last version of each page into the database file, and gives it its length. Not durable until the caller syncs.
    pub(crate) fn fold_into(&self, database: &File, log: &File, go_on: GoOn) -> Result<()> {
        let (Some(pages), Some(length)) = (self.pages, self.database_bytes()) else {
            return Ok(());
        };
        // SQLite's own limit: pages that neither file has are at most the one that locks lie in and few more.
        let known =
            database.metadata()?.len() + PENDING_BYTES + u64::from(self.frames) * u64::from(self.page_bytes);
        if known < length {
            let text = "the database would have pages that are in neither of the two files";
            return Err(FoldError::Damaged(text.into()));
        }
        let mut page = vec![0; self.page_bytes as usize];
        // A window of page numbers at a time: for most databases there is one.
        for start in (0..pages).step_by(limits::FOLD_WINDOW_PAGES) {
            let window = (pages - start).min(limits::FOLD_WINDOW_PAGES as u32);
            for (number, frame) in self.last_frames(log, start, window, go_on)? {
                go_on()?;
                log.read_exact_at(&mut page, self.offset(frame) + FRAME_HEADER_BYTES as u64)?;
                database.write_all_at(&page, u64::from(number) * u64::from(self.page_bytes))?;
            }
        }
        Ok(database.set_len(length)?)
    }

    /// The pages of a window that the log has, counted from zero, each with its last frame.
    fn last_frames(
        &self,
        log: &File,
        start: u32,
        window: u32,
        go_on: GoOn,
    ) -> Result<impl Iterator<Item = (u32, u32)> + use<>> {
        // Frames counted from one; zero is none.
        let mut last = vec![0_u32; window as usize];
        let mut number = [0; 4];
        for frame in 0..self.frames {
            go_on()?;
            log.read_exact_at(&mut number, self.offset(frame))?;
            let page = u32::from_be_bytes(number).wrapping_sub(1).wrapping_sub(start);
            if let Some(last) = last.get_mut(page as usize) {
                *last = frame + 1;
            }
        }
        let frames = (start..).zip(last).filter(|(_, frame)| *frame > 0);
        Ok(frames.map(|(page, frame)| (page, frame - 1)))
    }
}

impl From<crate::Error> for FoldError {
    fn from(error: crate::Error) -> Self {
        Self::Ended(error)
    }
}

/// A file from an offset on, whatever its descriptor's own position is.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// `false` where the file ends before.
fn read_whole(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::sqlite::synthesis::{LogEnd, header_blob};

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    /// What folding makes of two files, which it leaves alone.
    fn folded(base: &[u8], log: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().unwrap();
        let (base_path, log_path) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&base_path, base).unwrap();
        fs::write(&log_path, log).unwrap();
        let (base, log) = (open(&base_path), open(&log_path));
        let go_on: GoOn = &|| Ok(());
        let result = StoredLog::verify(&log, go_on).and_then(|found| found.fold_into(&base, &log, go_on));
        match result {
            Ok(()) => Ok(fs::read(&base_path).unwrap()),
            Err(FoldError::Damaged(why)) => Err(why),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// What SQLite's own checkpoint makes of copies of them. `None` where it refuses.
    fn checkpointed(base: &[u8], log: &[u8]) -> Option<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("app.db");
        fs::write(&path, base).unwrap();
        fs::write(dir.path().join("app.db-wal"), log).unwrap();
        let app = rusqlite::Connection::open(&path).unwrap();
        let busy = app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match busy {
            Ok(busy) => {
                assert_eq!(busy, 0);
                Some(fs::read(&path).unwrap())
            }
            Err(error) => {
                assert_eq!(
                    error.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::DatabaseCorrupt)
                );
                None
            }
        }
    }

    /// The first page of a database without tables.
    fn first_page(page_bytes: u32, user_version: u8) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = rusqlite::Connection::open(&path).unwrap();
        app.execute_batch(&format!(
            "PRAGMA page_size={page_bytes}; PRAGMA user_version={}; PRAGMA user_version={user_version}",
            u32::from(user_version) + 1
        ))
        .unwrap();
        let mut page = fs::read(&path).unwrap();
        assert_eq!(page.len(), page_bytes as usize);
        // The number of pages is then the file's, or the log's.
        page[92..96].fill(0xff);
        page
    }

    #[derive(Debug, Clone)]
    struct History {
        page_bytes: u32,
        base_pages: usize,
        /// Bytes of the base beyond whole pages: it may be copied while it grows.
        torn_bytes: usize,
        /// For each snapshot, what its pages were filled with, and how many the database had.
        commits: Vec<(Vec<(u32, u8)>, u32)>,
    }

    fn history() -> impl Strategy<Value = History> {
        let commit = (prop::collection::vec((1_u32..40, any::<u8>()), 1..20), 1_u32..40);
        let commits = prop::collection::vec(commit, 0..5);
        (9_u32..=16, 1_usize..40, 0_usize..400, commits).prop_map(
            |(shift, base_pages, torn_bytes, commits)| History {
                page_bytes: 1 << shift,
                base_pages,
                torn_bytes,
                commits,
            },
        )
    }

    impl History {
        fn files(&self) -> (Vec<u8>, Vec<u8>) {
            let size = self.page_bytes as usize;
            let mut base = first_page(self.page_bytes, 1);
            base.resize(self.base_pages * size + self.torn_bytes, 0xba);
            let (mut log, mut end) = (
                header_blob(self.page_bytes).to_vec(),
                LogEnd::empty(self.page_bytes),
            );
            for (pages, count) in &self.commits {
                for (n, (number, fill)) in pages.iter().enumerate() {
                    let page = match number {
                        1 => first_page(self.page_bytes, *fill),
                        _ => vec![*fill; size],
                    };
                    let commit = if n + 1 == pages.len() { *count } else { 0 };
                    log.extend_from_slice(&end.append(*number, commit, &page));
                    log.extend_from_slice(&page);
                }
            }
            (base, log)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn folding_is_what_a_checkpoint_does(history in history()) {
            let (base, log) = history.files();
            let expected = if history.commits.is_empty() { Some(base.clone()) } else { checkpointed(&base, &log) };
            let lengths = |one: &Option<Vec<u8>>| one.as_ref().map(Vec::len);
            let folded = folded(&base, &log).ok();
            prop_assert!(folded == expected, "{:?} and {:?} bytes", lengths(&folded), lengths(&expected));
        }

        #[test]
        fn a_log_with_anything_wrong_is_refused(history in history(), at: prop::sample::Index, cut: bool) {
            let (base, mut log) = history.files();
            let base = [base, vec![0; 64 << 16]].concat();
            let at = at.index(log.len());
            if cut {
                log.truncate(at);
            } else {
                log[at] ^= 0x10;
            }
            let mut ends = vec![WAL_HEADER_BYTES];
            let mut frame = 0;
            for (pages, _) in &history.commits {
                frame += pages.len();
                ends.push(WAL_HEADER_BYTES + frame * (FRAME_HEADER_BYTES + history.page_bytes as usize));
            }
            let is_shorter_log = cut && ends.contains(&at);
            prop_assert_eq!(folded(&base, &log).is_ok(), is_shorter_log, "byte {}", at);
        }
    }

    #[test]
    fn a_real_databases_log_is_folded_as_sqlite_does_and_its_first_page_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = rusqlite::Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t (x); PRAGMA user_version=41;
             INSERT INTO t VALUES (zeroblob(99999)); PRAGMA user_version=42; DELETE FROM t; VACUUM",
        )
        .unwrap();
        let (base, log) = (
            fs::read(&path).unwrap(),
            fs::read(dir.path().join("app.db-wal")).unwrap(),
        );
        assert!(folded(&base, &log).ok() == checkpointed(&base, &log));
        let file = open(&dir.path().join("app.db-wal"));
        let found = StoredLog::read(&file, &|| Ok(())).unwrap().unwrap();
        let mut head = [0; 100];
        assert!(found.read_first_page(&file, &mut head).unwrap());
        assert_eq!(
            crate::sqlite::header::Header::parse(&head).unwrap().user_version,
            42
        );
    }

    #[test]
    fn more_pages_than_a_window_are_folded_window_by_window() {
        let window = limits::FOLD_WINDOW_PAGES as u32;
        let (mut log, mut end) = (header_blob(512).to_vec(), LogEnd::empty(512));
        for (number, fill, commit) in [
            (2 * window + 1, 1, 0),
            (1, 2, 0),
            (window + 1, 3, 0),
            (window, 4, 2 * window + 1),
        ] {
            log.extend_from_slice(&end.append(number, commit, &[fill; 512]));
            log.extend_from_slice(&[fill; 512]);
        }
        let dir = tempfile::tempdir().unwrap();
        let (base_path, log_path) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&log_path, log).unwrap();
        File::create(&base_path)
            .unwrap()
            .set_len(u64::from(window) * 1024)
            .unwrap();
        let (base, log) = (open(&base_path), open(&log_path));
        let go_on: GoOn = &|| Ok(());
        let found = StoredLog::verify(&log, go_on).unwrap();
        found.fold_into(&base, &log, go_on).unwrap();
        assert_eq!(base.metadata().unwrap().len(), (2 * u64::from(window) + 1) * 512);
        for (page, fill) in [
            (0, 2),
            (1, 0),
            (window - 1, 4),
            (window, 3),
            (window + 1, 0),
            (2 * window, 1),
        ] {
            let mut bytes = [9; 512];
            base.read_exact_at(&mut bytes, u64::from(page) * 512).unwrap();
            assert_eq!(bytes, [fill; 512], "page {page}");
        }
    }
}
