//! Reading packs whole. Several go on at a time, each by pieces, so that fetching and computing overlap and
//! memory stays bounded.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use super::{
    Checker,
    findings::Findings,
    index::{listed, packs_after},
    piece::{BadBlobs, PackScan, difference},
    scratch,
    vault::{InFlight, attempt},
};
use crate::{
    error::{Error, Result},
    events::Meter,
    format::{
        BLOB_PLAINTEXT_MAX, FileId, FileType, FormatError, HeaderRead, PackEntry, PackHeaderReader, PackId,
    },
    limits,
    repository::Repository,
    runtime::budget::Budget,
};

/// A pack that an index names and that is there.
struct PackToRead {
    no: i64,
    id: PackId,
    size: u64,
    entries: Vec<PackEntry>,
}

/// What reading a pack showed.
#[derive(Default)]
struct Outcome {
    /// A sentence each.
    problems: Vec<String>,
    bad: Vec<PackEntry>,
}

impl Outcome {
    fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.bad.is_empty()
    }
}

impl Checker {
    /// Reads every pack that an index names. Those that none names are nobody's.
    pub(super) async fn read_packs(&mut self) -> Result<()> {
        let budget = Budget::new(limits::CHECK_BYTES_MAX);
        let mut reads = InFlight::new(limits::CHECK_PACKS_IN_FLIGHT);
        let (mut waiting, mut after) = (VecDeque::new(), Some(0));
        loop {
            while !reads.is_full() {
                let Some(pack) = self.next_pack(&mut waiting, &mut after).await? else {
                    break;
                };
                let (repository, meter, budget) =
                    (self.repository.clone(), self.meter.clone(), budget.clone());
                reads.start(async move {
                    let _permit = budget.admit(cost(&pack)).await?;
                    read_pack(&repository, &meter, &pack)
                        .await
                        .map(|outcome| (pack.no, pack.id, pack.size, outcome))
                });
            }
            let Some(read) = reads.next().await else {
                return Ok(());
            };
            let (no, id, size, outcome) = read?;
            self.report.packs_read += 1;
            self.report.bytes_read += size;
            self.meter.files_done(1);
            tell(&id, &outcome, &mut self.found);
            if !outcome.bad.is_empty() {
                self.scratch
                    .write(move |tx| scratch::mark_bad(tx, no, &outcome.bad))
                    .await?;
            }
        }
    }

    async fn next_pack(
        &self,
        waiting: &mut VecDeque<(i64, PackId, u64)>,
        after: &mut Option<i64>,
    ) -> Result<Option<PackToRead>> {
        loop {
            while let Some((no, id, size)) = waiting.pop_front() {
                let listed = self.scratch.read(move |db| listed(db, no)).await?;
                if listed.is_named() {
                    let entries = listed.entries;
                    return Ok(Some(PackToRead {
                        no,
                        id,
                        size,
                        entries,
                    }));
                }
            }
            let Some(last) = *after else {
                return Ok(None);
            };
            let batch = self.scratch.read(move |db| packs_after(db, last)).await?;
            *after = batch.last().map(|&(no, ..)| no);
            waiting.extend(
                batch
                    .into_iter()
                    .filter_map(|(no, id, size)| Some((no, id, size?))),
            );
        }
    }
}

/// Bytes of memory that reading this pack takes: a piece as it comes and as it is, and the largest blob in
/// both forms.
fn cost(pack: &PackToRead) -> u64 {
    let blob = |entry: &PackEntry| u64::from(entry.length) + u64::from(entry.plaintext_length());
    let largest = pack.entries.iter().map(blob).max().unwrap_or(0);
    2 * pack.size.min(limits::READ_BYTES_MAX) + largest.min(2 * BLOB_PLAINTEXT_MAX as u64)
}

fn tell(id: &PackId, outcome: &Outcome, found: &mut Findings) {
    let subject = format!("data/{id}");
    for problem in &outcome.problems {
        let advice = format!(
            "`restic repair packs {id}` saves what is whole in it, and a backup from the same source then \
             stores again what is still there"
        );
        found.error(&subject, format!("{problem}; {advice}"));
    }
}

/// Reads a pack, and once more if something is wrong with it: the fault may have been on the way.
async fn read_pack(repository: &Repository, meter: &Arc<Meter>, pack: &PackToRead) -> Result<Outcome> {
    let first = read_once(repository, Some(meter), pack).await?;
    if first.is_clean() {
        return Ok(first);
    }
    read_once(repository, None, pack).await
}

async fn read_once(
    repository: &Repository,
    meter: Option<&Arc<Meter>>,
    pack: &PackToRead,
) -> Result<Outcome> {
    let file = FileId::from(pack.id);
    let mut outcome = Outcome::default();
    let header = attempt(&*repository.storage, || read_header(repository, &file, pack.size)).await?;
    match header {
        Ok(header) => outcome.problems.extend(difference(&header, &pack.entries)),
        Err(error) => outcome
            .problems
            .push(format!("its directory cannot be read: {error}")),
    }
    let mut scan = PackScan::new(pack.entries.clone());
    let mut at = 0;
    while at < pack.size {
        let end = pack.size.min(at + limits::READ_BYTES_MAX);
        let read = || {
            repository
                .storage
                .get_range(FileType::Pack, &file, Range { start: at, end })
        };
        match attempt(&*repository.storage, read).await? {
            Ok(bytes) => {
                let key = repository.key.clone();
                let job = move |context: &mut crate::runtime::cpu::CpuContext| {
                    scan.piece(&bytes, &key, &mut context.decompressor);
                    Ok(scan)
                };
                scan = repository.cpu.run(job).await?;
            }
            Err(error) => {
                if outcome.problems.is_empty() {
                    outcome.problems.push(error.to_string());
                }
                scan.skip(end - at);
            }
        }
        if let Some(meter) = meter {
            meter.bytes_read(end - at);
        }
        at = end;
    }
    let (fits, bad) = scan.finish(&pack.id);
    if fits == Some(false) {
        outcome
            .problems
            .push("its content does not hash to its name".into());
    }
    outcome.problems.extend(describe(&bad, pack.entries.len()));
    outcome.bad = bad.entries;
    Ok(outcome)
}

fn describe(bad: &BadBlobs, of: usize) -> Option<String> {
    let count = bad.entries.len();
    (count > 0).then(|| format!("{count} of its {of} blobs cannot be had, {}", bad.first_reason))
}

/// The directory at the end of a pack. The inner error is about its content.
async fn read_header(
    repository: &Repository,
    id: &FileId,
    size: u64,
) -> Result<Result<Vec<PackEntry>, FormatError>> {
    let reader = match PackHeaderReader::new(size) {
        Ok(reader) => reader,
        Err(error) => return Ok(Err(error)),
    };
    let mut length = reader.first_tail();
    // Once for the length of the directory, once more where it is a long one.
    for _ in 0..2 {
        let range = size - length as u64..size;
        let tail = repository.storage.get_range(FileType::Pack, id, range).await?;
        let key = repository.key.clone();
        let read = repository.cpu.run(move |_| Ok(reader.read(&key, &tail))).await?;
        match read {
            Ok(HeaderRead::Entries(entries)) => return Ok(Ok(entries)),
            Ok(HeaderRead::NeedsTail(needed)) => length = needed,
            Err(error) => return Ok(Err(error)),
        }
    }
    Err(Error::bug("a pack's directory has two lengths"))
}
