//! Reads under way: a few at a time, and within a budget of bytes whatever the amount of data.

use tokio::task::JoinSet;

use super::{plan::PackRead, run::RestoreContext};
use crate::{
    error::{Error, Kind, Result},
    format::{BLOB_PLAINTEXT_MAX, BlobId, FileId, FileType, PackId, open_blob},
    limits,
    repository::Repository,
    storage::file_name,
};

/// What became of a read.
pub(super) enum Fetched {
    /// Every blob of it, verified.
    Blobs {
        blobs: Vec<(BlobId, Vec<u8>)>,
        read_bytes: u64,
    },
    /// The pack is not in the vault any more.
    Gone { pack: PackId, error: Error },
    /// A blob is not what it should be.
    Bad { id: Option<BlobId>, error: Error },
}

/// A read that is at its end, and what it had taken of the budget.
type Done = (u64, Result<Fetched>);

pub(super) struct Fetcher<'a> {
    context: &'a RestoreContext,
    tasks: JoinSet<Done>,
    bytes: u64,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(context: &'a RestoreContext) -> Self {
        Self {
            context,
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
        let cost = read.cost_bytes();
        self.bytes += cost;
        let repository = self.context.repository.clone();
        let fetch = async move { (cost, fetch(&repository, read).await) };
        self.tasks.spawn_on(fetch, &self.context.runtime);
    }

    /// Waits for the next read to end. `None` when none is under way. At a stop, all are given up first.
    pub(super) fn next(&mut self) -> Result<Option<Fetched>> {
        let Self { context, tasks, .. } = self;
        let next = async {
            match tasks.join_next().await {
                Some(Ok(done)) => Ok(Some(done)),
                Some(Err(error)) if error.is_panic() => Err(Error::bug("a read panicked")),
                Some(Err(_)) => Err(Error::stopped()),
                None => Ok(None),
            }
        };
        match context.wait(next) {
            Ok(Some((cost, fetched))) => {
                self.bytes -= cost;
                fetched.map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) => {
                // Their futures are dropped here and now, so that no request outlives the answer.
                self.context.runtime.block_on(self.tasks.shutdown());
                Err(error)
            }
        }
    }
}

/// Reads and opens. What does not open is read once more: the fault may have been on the way.
async fn fetch(repository: &Repository, read: PackRead) -> Result<Fetched> {
    let mut read_bytes = 0;
    let mut last = None;
    for _ in 0..2 {
        let pack = FileId::from(read.pack);
        let range = read.read.range.clone();
        let bytes = match repository
            .storage
            .get_range(FileType::Pack, &pack, range.clone())
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
        match open(repository, &read, bytes).await? {
            Ok(blobs) => return Ok(Fetched::Blobs { blobs, read_bytes }),
            Err((id, error)) => last = Some((id, error)),
        }
    }
    let (id, error) = last.ok_or_else(|| Error::bug("a read that was never tried"))?;
    Ok(Fetched::Bad { id: Some(id), error })
}

type Opened = Result<Vec<(BlobId, Vec<u8>)>, (BlobId, Error)>;

async fn open(repository: &Repository, read: &PackRead, bytes: Vec<u8>) -> Result<Opened> {
    let (key, read) = (repository.key.clone(), read.clone());
    let open = move |context: &mut crate::runtime::cpu::CpuContext| {
        let mut blobs = Vec::with_capacity(read.read.entries.len());
        for entry in &read.read.entries {
            let sealed = read.read.slice(&bytes, entry).unwrap_or_default().to_vec();
            let plain = open_blob(&key, entry, sealed, &mut context.decompressor, BLOB_PLAINTEXT_MAX);
            match plain {
                Ok(plain) => blobs.push((entry.id, plain)),
                Err(error) => {
                    let name = format!(
                        "blob {} in {}",
                        entry.id,
                        file_name(FileType::Pack, &read.pack.into())
                    );
                    return Ok(Err((entry.id, Error::format(name, error))));
                }
            }
        }
        Ok(Ok(blobs))
    };
    repository.cpu.run(open).await
}
