//! Which frame of a live write-ahead log holds each page, as of one moment.

use std::{fs::File, io};

use tokio_util::sync::CancellationToken;

use super::{
    Oddity, ReadError,
    descriptors::read_full_at,
    index::IndexHead,
    wal::{Checksum, FRAME_HEADER_BYTES, FrameHeader, WAL_HEADER_BYTES, WalHeader},
};
use crate::limits::{LOG_PAGES_MAX, LOG_READ_BYTES};

/// Where the log ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// Where the index says, which somebody keeps: frames beyond it are not committed yet, whatever they look like.
    Index(IndexHead),
    /// With the last transaction that is whole: what SQLite finds when it makes an index anew.
    LastCommit,
}

/// A log with at least one transaction in it.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    pub(crate) page_bytes: u32,
    /// Of the database, at its end.
    pub(crate) pages: u32,
    /// Page and frame, both counted from one; sorted; each page once.
    frames: Vec<(u32, u32)>,
}

impl Log {
    /// `None` where the log holds nothing that counts. What is wrong with it is added to `oddities`.
    pub(crate) fn read(
        file: File,
        until: Until,
        oddities: &mut Vec<Oddity>,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>, ReadError> {
        if let Until::Index(IndexHead { last_frame: 0, .. }) = until {
            return Ok(None);
        }
        let mut first = [0; WAL_HEADER_BYTES];
        let read = read_full_at(&file, &mut first, 0)?;
        let header = WalHeader::parse(&first[..read]);
        let mut scan = match (until, header) {
            (Until::LastCommit, Some((header, checksum))) => {
                Scan::new(header.page_bytes, Some(header), checksum)
            }
            (Until::LastCommit, None) => {
                if first[..read].iter().any(|&byte| byte != 0) {
                    oddities.push(Oddity::LogHeaderDamaged);
                }
                return Ok(None);
            }
            (Until::Index(head), Some((header, checksum)))
                if header.salts == head.salts && header.page_bytes == head.page_bytes =>
            {
                Scan::new(head.page_bytes, Some(header), checksum)
            }
            // The app's connections go by the index, and see the frames nevertheless.
            (Until::Index(head), _) => {
                oddities.push(Oddity::LogHeaderDamaged);
                Scan::new(head.page_bytes, None, Checksum::default())
            }
        };
        let last = match until {
            Until::Index(head) => head.last_frame,
            Until::LastCommit => u32::MAX,
        };
        scan.run(&file, last, oddities, cancel)?;
        Ok(scan.finish(file, until))
    }

    /// The frames of pages from `first` on, in the order of pages.
    pub(crate) fn frames_from(&self, first: u32) -> &[(u32, u32)] {
        let at = self.frames.partition_point(|&(page, _)| page < first);
        &self.frames[at..]
    }

    /// The page in a frame.
    pub(crate) fn read_page(&self, frame: u32, page: &mut [u8]) -> io::Result<()> {
        let at = frame_offset(self.page_bytes, frame) + FRAME_HEADER_BYTES as u64;
        if read_full_at(&self.file, page, at)? < page.len() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the write-ahead log was cut off while it was read",
            ));
        }
        Ok(())
    }

    /// Its first bytes, to be compared later.
    pub(crate) fn head(&self) -> io::Result<[u8; WAL_HEADER_BYTES]> {
        let mut first = [0; WAL_HEADER_BYTES];
        read_full_at(&self.file, &mut first, 0)?;
        Ok(first)
    }
}

fn frame_offset(page_bytes: u32, frame: u32) -> u64 {
    let bytes = FRAME_HEADER_BYTES as u64 + u64::from(page_bytes);
    WAL_HEADER_BYTES as u64 + u64::from(frame - 1) * bytes
}

/// Goes through the frames from the first on.
struct Scan {
    page_bytes: u32,
    /// What the frames are verified against, as long as they can be.
    header: Option<WalHeader>,
    salts: [u32; 2],
    checksum: Checksum,
    frames: Vec<(u32, u32)>,
    seen: u32,
    /// The number of `frames`, and of the database's pages, at the last commit.
    commit: Option<(usize, u32)>,
}

impl Scan {
    fn new(page_bytes: u32, header: Option<WalHeader>, checksum: Checksum) -> Self {
        Self {
            page_bytes,
            header,
            salts: header.map_or([0, 0], |header| header.salts),
            checksum,
            frames: vec![],
            seen: 0,
            commit: None,
        }
    }

    fn run(
        &mut self,
        file: &File,
        last: u32,
        oddities: &mut Vec<Oddity>,
        cancel: &CancellationToken,
    ) -> Result<(), ReadError> {
        let is_told = last != u32::MAX;
        let frame_bytes = FRAME_HEADER_BYTES + self.page_bytes as usize;
        let mut buffer = vec![0; (LOG_READ_BYTES / frame_bytes).max(1) * frame_bytes];
        while self.seen < last {
            if cancel.is_cancelled() {
                return Err(ReadError::Cancelled);
            }
            let wanted = buffer.len().min((last - self.seen) as usize * frame_bytes);
            let at = frame_offset(self.page_bytes, self.seen + 1);
            let read = read_full_at(file, &mut buffer[..wanted], at)?;
            for frame in buffer[..read].chunks_exact(frame_bytes) {
                if !self.take(frame, is_told, oddities)? {
                    self.look_beyond(file, oddities, cancel)?;
                    return Ok(());
                }
            }
            if read < wanted {
                if is_told {
                    oddities.push(Oddity::LogCutOff);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the log goes on after this.
    fn take(&mut self, frame: &[u8], is_told: bool, oddities: &mut Vec<Oddity>) -> Result<bool, ReadError> {
        let Some((head, page)) = frame.split_first_chunk() else {
            return Ok(false);
        };
        let verified = self
            .header
            .and_then(|header| FrameHeader::parse(&header, self.checksum, head, page));
        let header = match verified {
            Some((header, checksum)) => {
                self.checksum = checksum;
                header
            }
            None if is_told => {
                // From here on there is nothing to verify against.
                if self.header.take().is_some() {
                    oddities.push(Oddity::LogFrameDamaged);
                }
                FrameHeader::unverified(head)
            }
            None => return Ok(false),
        };
        self.seen += 1;
        if header.page > 0 {
            self.frames.push((header.page, self.seen));
        }
        if header.commit_pages > 0 {
            self.commit = Some((self.frames.len(), header.commit_pages));
        }
        if self.frames.len() >= 2 * LOG_PAGES_MAX {
            self.make_room()?;
        }
        Ok(true)
    }

    /// Forgets the older frames of each page, up to the last commit: what comes after it may yet not count.
    fn make_room(&mut self) -> Result<(), ReadError> {
        if let Some((committed, _)) = &mut self.commit {
            let tail = self.frames.split_off(*committed);
            sort(&mut self.frames);
            *committed = self.frames.len();
            self.frames.extend_from_slice(&tail);
        }
        if self.frames.len() > LOG_PAGES_MAX {
            return Err(ReadError::LogTooLarge);
        }
        Ok(())
    }

    /// A log may end in frames that were never committed. Where one with the same salts ends a transaction nevertheless, the frame that
    /// could not be verified stands in the middle, and SQLite will not see what comes after it either.
    fn look_beyond(
        &self,
        file: &File,
        oddities: &mut Vec<Oddity>,
        cancel: &CancellationToken,
    ) -> Result<(), ReadError> {
        let mut head = [0; FRAME_HEADER_BYTES];
        let mut frame = self.seen;
        loop {
            let Some(next) = frame.checked_add(1) else {
                return Ok(());
            };
            frame = next;
            if frame.is_multiple_of(4096) && cancel.is_cancelled() {
                return Err(ReadError::Cancelled);
            }
            let read = read_full_at(file, &mut head, frame_offset(self.page_bytes, frame))?;
            if read < head.len() || !FrameHeader::has_salts(&head, self.salts) {
                return Ok(());
            }
            if FrameHeader::unverified(&head).commit_pages > 0 {
                oddities.push(Oddity::LogFrameDamaged);
                return Ok(());
            }
        }
    }

    fn finish(mut self, file: File, until: Until) -> Option<Log> {
        let told = match until {
            Until::Index(head) if self.seen == head.last_frame => Some((self.frames.len(), head.pages)),
            _ => None,
        };
        let (kept, pages) = told.or(self.commit)?;
        self.frames.truncate(kept);
        sort(&mut self.frames);
        self.frames.shrink_to_fit();
        Some(Log {
            file,
            page_bytes: self.page_bytes,
            pages,
            frames: self.frames,
        })
    }
}

/// By page, the last frame of each.
fn sort(frames: &mut Vec<(u32, u32)>) {
    frames.sort_unstable_by_key(|&(page, frame)| (page, std::cmp::Reverse(frame)));
    frames.dedup_by_key(|&mut (page, _)| page);
}
