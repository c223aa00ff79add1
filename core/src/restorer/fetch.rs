//! Reads under way, and writes of what was read: a few at a time, and within a budget of bytes whatever the amount of data.

use std::{borrow::Cow, fs::File, io, ops::Range, os::unix::fs::FileExt, sync::Arc};

use tokio::task::JoinSet;

use super::{
    plan::{self, PackRead},
    run::RestoreContext,
};
use crate::{
    error::{Error, Kind, Result},
    format::{BLOB_PLAINTEXT_MAX, BlobId, FileId, FileType, PackId, SEAL_IV_BYTES, open_blob},
    limits,
    repository::Repository,
    runtime::{buffers::Buffers, cpu::CpuContext},
    storage::file_name,
};

/// What became of a read or a write.
pub(super) enum Fetched {
    /// Every blob of it, verified.
    Blobs { blobs: OpenedRead, read_bytes: u64 },
    /// What was to be written apart is in its files, or cannot be.
    Written(Result<Vec<Write>, (Write, io::Error)>),
    /// The pack is not in the vault any more.
    Gone { pack: PackId, error: Error },
    /// A blob is not what it should be.
    Bad { id: Option<BlobId>, error: Error },
}

/// Blobs, most of them still where they were read, since that is where they were opened.
pub(super) struct OpenedRead {
    bytes: Vec<u8>,
    blobs: Vec<(BlobId, Plain)>,
    /// What it takes of the budget.
    cost: u64,
}

enum Plain {
    There(Range<usize>),
    /// Decompressed.
    Apart(Vec<u8>),
}

impl OpenedRead {
    fn give_to(self, buffers: &Buffers) {
        buffers.give(self.bytes);
        for (_, plain) in self.blobs {
            if let Plain::Apart(bytes) = plain {
                buffers.give(bytes);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.blobs.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<(BlobId, &[u8])> {
        let (id, plain) = self.blobs.get(at)?;
        Some((
            *id,
            match plain {
                Plain::There(range) => self.bytes.get(range.clone())?,
                Plain::Apart(bytes) => bytes,
            },
        ))
    }
}

/// A blob of an [`OpenedRead`] that is written by another thread than the restore's.
pub(super) struct Write {
    /// Which blob of the read.
    pub(super) blob: usize,
    /// The file as the restore numbers it.
    pub(super) work: usize,
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Something may be there already, so that zeros count.
    pub(super) overwrites: bool,
}

/// A step that is at its end, and what it gives back of the budget.
type Done = (u64, Result<Fetched>);

pub(super) struct Fetcher<'a> {
    context: &'a RestoreContext,
    buffers: Buffers,
    tasks: JoinSet<Done>,
    bytes: u64,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(context: &'a RestoreContext, buffers: Buffers) -> Self {
        Self {
            context,
            buffers,
            tasks: JoinSet::new(),
            bytes: 0,
        }
    }

    /// Whether there is room for this read. One that is larger than the budget is admitted alone.
    pub(super) fn admits(&self, read: &PackRead) -> bool {
        self.tasks.is_empty()
            || self.tasks.len() < limits::RESTORE_READS_MAX
                && self.bytes.saturating_add(read.cost_bytes()) <= limits::RESTORE_BATCH_BYTES
    }

    pub(super) fn start(&mut self, read: PackRead) {
        self.bytes += read.cost_bytes();
        let (repository, buffers) = (self.context.repository.clone(), self.buffers.clone());
        let fetch = async move {
            let cost = read.cost_bytes();
            match fetch(&repository, &buffers, read).await {
                // What was read goes on taking its room until it is let go of.
                Ok(blobs @ Fetched::Blobs { .. }) => (0, Ok(blobs)),
                other => (cost, other),
            }
        };
        self.tasks.spawn_on(fetch, &self.context.runtime);
    }

    /// Writes blobs of a read on a thread of its own, and lets go of the read then.
    pub(super) fn write(&mut self, blobs: OpenedRead, writes: Vec<Write>) {
        let buffers = self.buffers.clone();
        let write = move || {
            let written = write_all(&blobs, writes);
            let cost = blobs.cost;
            blobs.give_to(&buffers);
            (cost, Ok(Fetched::Written(written)))
        };
        self.tasks.spawn_blocking_on(write, &self.context.runtime);
    }

    /// Lets go of a read of which everything was written.
    pub(super) fn release(&mut self, blobs: OpenedRead) {
        self.bytes -= blobs.cost;
        blobs.give_to(&self.buffers);
    }

    /// Waits for the next step to end. `None` when none is under way.
    pub(super) fn next(&mut self) -> Result<Option<Fetched>> {
        let Self { context, tasks, .. } = self;
        let next = async {
            match tasks.join_next().await {
                Some(Ok(done)) => Ok(Some(done)),
                Some(Err(error)) if error.is_panic() => Err(Error::bug("a read or write panicked")),
                Some(Err(_)) => Err(Error::stopped()),
                None => Ok(None),
            }
        };
        let Some((cost, fetched)) = context.wait(next)? else {
            return Ok(None);
        };
        self.bytes -= cost;
        fetched.map(Some)
    }
}

impl Drop for Fetcher<'_> {
    /// Whatever ends it early, no request and no write outlives the answer.
    fn drop(&mut self) {
        if !self.tasks.is_empty() {
            self.context.runtime.block_on(self.tasks.shutdown());
        }
    }
}

fn write_all(blobs: &OpenedRead, writes: Vec<Write>) -> Result<Vec<Write>, (Write, io::Error)> {
    let mut done = Vec::with_capacity(writes.len());
    for write in writes {
        let plain = blobs.get(write.blob).map(|(_, plain)| plain).unwrap_or_default();
        match write_at(&write.file, write.offset, plain, write.overwrites) {
            Ok(()) => done.push(write),
            Err(error) => return Err((write, error)),
        }
    }
    Ok(done)
}

/// Writes a blob where it goes; blocks of zeros only where something else may be there.
pub(super) fn write_at(file: &File, offset: u64, plain: &[u8], overwrites: bool) -> io::Result<()> {
    if overwrites {
        return file.write_all_at(plain, offset);
    }
    for range in plan::data_ranges(offset, plain) {
        file.write_all_at(&plain[range.clone()], offset + range.start as u64)?;
    }
    Ok(())
}

/// Reads and opens. What does not open is read once more: the fault may have been on the way.
async fn fetch(repository: &Repository, buffers: &Buffers, read: PackRead) -> Result<Fetched> {
    let mut read_bytes = 0;
    let mut last = None;
    for _ in 0..2 {
        let pack = FileId::from(read.pack);
        let range = read.read.range.clone();
        let buffer = buffers.take(read.read_bytes());
        let bytes = match repository
            .storage
            .get_range_into(FileType::Pack, &pack, range.clone(), buffer)
            .await
        {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == Kind::NotFound => {
                return Ok(Fetched::Gone {
                    pack: read.pack,
                    error,
                });
            }
            Err(error) if error.kind() == Kind::Damaged => {
                return Ok(Fetched::Bad { id: None, error });
            }
            Err(error) => return Err(error),
        };
        read_bytes += range.end - range.start;
        match open(repository, buffers, &read, bytes).await? {
            Ok(blobs) => return Ok(Fetched::Blobs { blobs, read_bytes }),
            Err((id, error)) => last = Some((id, error)),
        }
    }
    let (id, error) = last.ok_or_else(|| Error::bug("a read that was never tried"))?;
    Ok(Fetched::Bad { id: Some(id), error })
}

type Opened = Result<OpenedRead, (BlobId, Error)>;

async fn open(
    repository: &Repository,
    buffers: &Buffers,
    read: &PackRead,
    mut bytes: Vec<u8>,
) -> Result<Opened> {
    let (key, buffers, read) = (repository.key.clone(), buffers.clone(), read.clone());
    let open = move |context: &mut CpuContext| {
        let mut blobs = Vec::with_capacity(read.read.entries.len());
        let mut end_before = 0;
        for entry in &read.read.entries {
            // Opened, a blob is no longer what one would open that overlaps it.
            let place = read
                .read
                .place(entry)
                .filter(|place| end_before <= place.start && place.end <= bytes.len())
                .unwrap_or_default();
            end_before = place.end;
            let sealed = &mut bytes[place.clone()];
            // Never for a length that only a damaged index can claim.
            if entry.uncompressed_length.is_some()
                && entry.plaintext_length() <= limits::CHUNK_MAX_BYTES as u32
            {
                let length = entry.plaintext_length() as usize;
                context.decompressor.reuse(buffers.take(length));
            }
            let opened = open_blob(&key, entry, sealed, &mut context.decompressor, BLOB_PLAINTEXT_MAX);
            match opened {
                Ok(Cow::Owned(plain)) => blobs.push((entry.id, Plain::Apart(plain))),
                Ok(Cow::Borrowed(plain)) => {
                    let start = place.start + SEAL_IV_BYTES;
                    blobs.push((entry.id, Plain::There(start..start + plain.len())));
                }
                Err(error) => {
                    buffers.give(context.decompressor.take_spare());
                    let name = format!(
                        "blob {} in {}",
                        entry.id,
                        file_name(FileType::Pack, &read.pack.into())
                    );
                    return Ok(Err((entry.id, Error::format(name, error))));
                }
            }
        }
        let cost = read.cost_bytes();
        Ok(Ok(OpenedRead { bytes, blobs, cost }))
    };
    repository.cpu.run(open).await
}
