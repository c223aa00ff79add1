//! A rollback journal that waits to be rolled back: the original pages of a transaction that did not end.
//!
//! SQLite would write them back into the database file before anybody reads it. We lay them over what we read instead, and leave both
//! files as they are: the app's next start does what it would have done anyway.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::BorrowedFd,
        unix::{ffi::OsStrExt, fs::FileExt},
    },
};

use rustix::fs::{AtFlags, CWD, FileType, statat};
use tokio_util::sync::CancellationToken;

use super::{
    Oddity, ReadError,
    descriptors::{DatabaseFile, id_at, id_of_file, open_unlocked, read_full_at},
    header::is_page_size,
    locks::RESERVED,
};
use crate::limits::LOG_PAGES_MAX;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const HEADER_BYTES: usize = 28;
const SECTOR_BYTES_MIN: u32 = 32;
const SECTOR_BYTES_MAX: u32 = 65_536;
/// The longest path of a super-journal that SQLite accepts by default on Unix.
const SUPER_NAME_BYTES_MAX: u32 = 512;
/// The page that holds the bytes which are locked begins here; it is in no journal.
const LOCK_PAGE_OFFSET: u32 = 1 << 30;
/// Offsets of records are multiples of it, and are kept in units of it: four bytes reach over 32 GiB.
const UNIT: u64 = 8;

/// What rolling back gives the database file.
#[derive(Debug)]
pub(crate) struct Rollback {
    file: File,
    pub(crate) page_bytes: u32,
    /// What the file is cut, or grown, to.
    pub(crate) pages: u32,
    /// Page, counted from one, and where its original content stands; sorted; each page once.
    records: Vec<(u32, u32)>,
}

/// What there is to be rolled back, if anything. The caller holds the shared lock on the database file, so that a journal that waits
/// goes on waiting.
///
/// That nobody holds the reserved lock makes a journal one that waits. SQLite makes sure by locking everybody out; we instead see, after
/// that lock was found free, the same header again that was there before: with its random number it belongs to one transaction, and that
/// transaction cannot have been under way, or its lock would have been found.
pub(crate) fn find(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    database: &DatabaseFile,
    oddities: &mut Vec<Oddity>,
    cancel: &CancellationToken,
) -> Result<Option<Rollback>, ReadError> {
    let Some(file) = open_unlocked(dir, name)? else {
        return Ok(None);
    };
    let head = head_of(&file)?;
    // Journals that are kept for the next transaction are overwritten with zeros, or cut to nothing.
    if database.other_lock(RESERVED)?.is_some() || head[0] == 0 || database.status()?.bytes == 0 {
        return Ok(None);
    }
    let names_missing_super = super_journal(&file)?.is_some_and(|path| !exists(&path));
    let mut found = vec![];
    let rollback = if names_missing_super {
        None
    } else {
        read(file.try_clone()?, &head, &mut found, cancel)?
    };
    let in_use = database.other_lock(RESERVED)?.is_some();
    let is_same = head_of(&file)? == head && id_at(dir, name)? == Some(id_of_file(&file)?);
    if in_use || !is_same {
        return Err(ReadError::Busy("a transaction just began or ended"));
    }
    oddities.append(&mut found);
    Ok(rollback)
}

fn head_of(file: &File) -> io::Result<[u8; HEADER_BYTES]> {
    let mut head = [0; HEADER_BYTES];
    read_full_at(file, &mut head, 0)?;
    Ok(head)
}

/// A transaction over several databases names, at the end of each journal, the file whose deletion commits it.
fn super_journal(file: &File) -> io::Result<Option<Vec<u8>>> {
    let bytes = file.metadata()?.len();
    let mut tail = [0; 16];
    if bytes < 16 || read_full_at(file, &mut tail, bytes - 16)? < 16 {
        return Ok(None);
    }
    let (length, sum) = (word(&tail, 0), word(&tail, 4));
    let fits = length > 0 && length <= SUPER_NAME_BYTES_MAX && u64::from(length) <= bytes - 16;
    if tail[8..] != MAGIC || !fits {
        return Ok(None);
    }
    let mut path = vec![0; length as usize];
    file.read_exact_at(&mut path, bytes - 16 - u64::from(length))?;
    // SQLite adds values of C's `char`, which has a sign on some processors and none on others.
    let signed = path.iter().fold(0_u32, |sum, &byte| {
        sum.wrapping_add(i32::from(byte.cast_signed()).cast_unsigned())
    });
    let unsigned = path
        .iter()
        .fold(0_u32, |sum, &byte| sum.wrapping_add(u32::from(byte)));
    Ok((sum == signed || sum == unsigned).then_some(path))
}

/// An empty file does not exist, nor does what cannot be seen, as far as SQLite is concerned.
fn exists(path: &[u8]) -> bool {
    let stat = statat(CWD, OsStr::from_bytes(path), AtFlags::empty());
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size > 0)
}

/// `None` where not even the first header can be read: then SQLite rolls nothing back.
fn read(
    file: File,
    head: &[u8; HEADER_BYTES],
    oddities: &mut Vec<Oddity>,
    cancel: &CancellationToken,
) -> Result<Option<Rollback>, ReadError> {
    let (sector_bytes, page_bytes) = (word(head, 20), word(head, 24));
    let page_bytes = if page_bytes == 0 {
        // Left out by versions before 3.5.8; whoever opens such a journal knows the size from the database.
        oddities.push(Oddity::JournalDamaged);
        return Ok(None);
    } else {
        page_bytes
    };
    let sector_fits =
        sector_bytes.is_power_of_two() && (SECTOR_BYTES_MIN..=SECTOR_BYTES_MAX).contains(&sector_bytes);
    let bytes = file.metadata()?.len();
    if head[..8] != MAGIC || !is_page_size(page_bytes) || !sector_fits || bytes < u64::from(sector_bytes) {
        oddities.push(Oddity::JournalDamaged);
        return Ok(None);
    }
    let mut playback = Playback {
        file: &file,
        bytes,
        sector_bytes: u64::from(sector_bytes),
        page_bytes,
        pages: word(head, 16),
        at: 0,
        records: vec![],
        page: vec![0; page_bytes as usize + 8],
    };
    let is_whole = playback.run(cancel)?;
    if !is_whole {
        oddities.push(Oddity::JournalDamaged);
    }
    let (pages, mut records) = (playback.pages, playback.records);
    // Written back in this order, the last of a page would stay.
    records.sort_unstable_by_key(|&(page, at)| (page, std::cmp::Reverse(at)));
    records.dedup_by_key(|&mut (page, _)| page);
    oddities.push(Oddity::JournalRolledBack {
        pages: u32::try_from(records.len()).unwrap_or(u32::MAX),
    });
    Ok(Some(Rollback {
        file,
        page_bytes,
        pages,
        records,
    }))
}

/// Goes through a journal: headers, each at the beginning of a sector, each followed by as many records as it says.
struct Playback<'a> {
    file: &'a File,
    bytes: u64,
    sector_bytes: u64,
    page_bytes: u32,
    pages: u32,
    at: u64,
    records: Vec<(u32, u32)>,
    /// One record: number, page, checksum.
    page: Vec<u8>,
}

impl Playback<'_> {
    /// Whether it ended where a journal may end.
    fn run(&mut self, cancel: &CancellationToken) -> Result<bool, ReadError> {
        let record_bytes = self.page.len() as u64;
        loop {
            self.at = self.at.next_multiple_of(self.sector_bytes);
            if self.at + self.sector_bytes > self.bytes {
                return Ok(true);
            }
            let mut head = [0; HEADER_BYTES];
            read_full_at(self.file, &mut head, self.at)?;
            if head[..8] != MAGIC {
                // Most often what is left of an older, longer journal.
                return Ok(true);
            }
            let nonce = word(&head, 12);
            self.at += self.sector_bytes;
            let count = match word(&head, 8) {
                // Written without waiting for the disk: everything that follows is records.
                u32::MAX => (self.bytes - self.at) / record_bytes,
                count => u64::from(count),
            };
            for _ in 0..count {
                if cancel.is_cancelled() {
                    return Err(ReadError::Cancelled);
                }
                if !self.take(nonce)? {
                    return Ok(false);
                }
            }
        }
    }

    /// Whether the record is one; otherwise nothing after it counts.
    fn take(&mut self, nonce: u32) -> Result<bool, ReadError> {
        if read_full_at(self.file, &mut self.page, self.at)? < self.page.len() {
            return Ok(false);
        }
        let number = word(&self.page, 0);
        let (page, sum) = self.page[4..].split_at(self.page_bytes as usize);
        if number == 0 || number == LOCK_PAGE_OFFSET / self.page_bytes + 1 {
            return Ok(false);
        }
        let record = self.at;
        self.at += self.page.len() as u64;
        if number > self.pages {
            return Ok(true);
        }
        if checksum(nonce, page) != word(sum, 0) {
            return Ok(false);
        }
        let unit = u32::try_from(record / UNIT).map_err(|_| ReadError::LogTooLarge)?;
        if self.records.len() >= LOG_PAGES_MAX {
            return Err(ReadError::LogTooLarge);
        }
        self.records.push((number, unit));
        Ok(true)
    }
}

/// Of every two-hundredth byte, counted from the end: a guard against records that were never written whole, not against decay.
fn checksum(nonce: u32, page: &[u8]) -> u32 {
    let bytes = (1..=page.len() / 200).map(|step| page.len() - 200 * step);
    bytes
        .filter(|&at| at > 0)
        .fold(nonce, |sum, at| sum.wrapping_add(u32::from(page[at])))
}

impl Rollback {
    /// The length of the database file once it is rolled back.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.pages) * u64::from(self.page_bytes)
    }

    /// What the database file holds once it is rolled back. The buffer ends within it.
    pub(crate) fn read_at(
        &self,
        database: &DatabaseFile,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<(), ReadError> {
        let (size, end) = (u64::from(self.page_bytes), offset + buffer.len() as u64);
        read_or_zeros(database, buffer, offset)?;
        let first = u32::try_from(offset / size + 1).map_err(|_| ReadError::NotADatabase)?;
        let from = self.records.partition_point(|&(page, _)| page < first);
        for &(page, unit) in &self.records[from..] {
            let start = u64::from(page - 1) * size;
            if start >= end {
                break;
            }
            // The part of the page that lies in the buffer: sizes of pages may differ between journal and database.
            let (low, high) = (start.max(offset), (start + size).min(end));
            let part = &mut buffer[(low - offset) as usize..(high - offset) as usize];
            self.file
                .read_exact_at(part, u64::from(unit) * UNIT + 4 + (low - start))?;
        }
        Ok(())
    }
}

/// Beyond its end, a database file is zeros.
pub(crate) fn read_or_zeros(database: &DatabaseFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let read = database.read_at(buffer, offset)?;
    buffer[read..].fill(0);
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..at + 4].iter();
    word.fold(0, |number, &byte| number << 8 | u32::from(byte))
}
