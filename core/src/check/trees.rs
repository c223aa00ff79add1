//! Every tree that a snapshot reaches, each once, breadth first. The queue lies in the database: neither a
//! deep nor a wide tree costs memory, and one that names itself, as only a lying index could make it seem, is
//! looked at once.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{
    Checker, reached,
    scratch::{self, BlobCopy},
    tree::{self, TreeFacts},
    vault::{InFlight, attempt},
};
use crate::{
    catalog::sql_error,
    error::{Error, Result},
    format::{
        BLOB_PLAINTEXT_MAX, BlobId, BlobType, FileId, FileType, FormatError, PackEntry, PackId, open_blob,
    },
    limits,
    repository::{PlannedRead, Repository, plan_reads},
};

/// A tree whose turn it is.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) no: i64,
    pub(super) id: BlobId,
    pub(super) depth: i64,
    copies: Vec<BlobCopy>,
}

/// What came of a copy of a tree.
enum Opened {
    Tree(TreeFacts),
    /// It is the tree that it should be, and that is no tree.
    Malformed(FormatError),
    /// This copy is not the tree. Another may be.
    Broken(Error),
}

/// What came of a tree.
pub(super) enum Outcome {
    Tree(TreeFacts),
    Malformed(FormatError),
    Lost,
}

pub(super) struct Seen {
    pub(super) tree: Queued,
    pub(super) outcome: Outcome,
    pub(super) broken: Vec<(BlobCopy, Error)>,
}

impl Checker {
    pub(super) async fn check_trees(&mut self) -> Result<()> {
        let mut after = 0;
        loop {
            let batch = self.scratch.read(move |db| next_batch(db, after)).await?;
            let Some(last) = batch.last() else {
                return Ok(());
            };
            after = last.no;
            let mut opened = self.open_batch(&batch).await?;
            let mut seen = Vec::with_capacity(batch.len());
            for tree in batch {
                let first = opened.remove(&tree.id);
                let (outcome, broken) = self.settle(&tree, first).await?;
                self.report.trees += u64::from(matches!(outcome, Outcome::Tree(_)));
                seen.push(Seen {
                    tree,
                    outcome,
                    broken,
                });
            }
            let cancel = self.cancel.clone();
            let found = self
                .scratch
                .write(move |tx| reached::judge(tx, seen, &cancel))
                .await?;
            self.found.merge(found, |subject| subject);
        }
    }

    /// Opens the first copy of each tree, with as few reads as their places allow.
    async fn open_batch(&self, batch: &[Queued]) -> Result<HashMap<BlobId, Opened>> {
        let mut by_pack: HashMap<PackId, Vec<PackEntry>> = HashMap::new();
        for copy in batch.iter().filter_map(|tree| tree.copies.first()) {
            if !copy.bad {
                by_pack.entry(copy.pack).or_default().push(copy.entry);
            }
        }
        let reads = by_pack
            .into_iter()
            .flat_map(|(pack, entries)| plan_reads(entries).into_iter().map(move |read| (pack, read)));
        let mut tasks = reads.map(|(pack, read)| open_read(self.repository.clone(), pack, read));
        let mut in_flight = InFlight::new(limits::CHECK_FILES_IN_FLIGHT);
        let mut opened = HashMap::with_capacity(batch.len());
        loop {
            in_flight.fill(&mut tasks);
            match in_flight.next().await {
                Some(read) => opened.extend(read?),
                None => return Ok(opened),
            }
        }
    }

    /// Tries the copies of a tree until one is good.
    async fn settle(
        &self,
        tree: &Queued,
        mut opened: Option<Opened>,
    ) -> Result<(Outcome, Vec<(BlobCopy, Error)>)> {
        let mut broken = Vec::new();
        for copy in tree.copies.iter().filter(|copy| !copy.bad) {
            let result = match opened.take() {
                // Read once more by itself: only this shows whose fault it was.
                None | Some(Opened::Broken(_)) => {
                    let read = plan_reads(vec![copy.entry]).into_iter().next();
                    let read = read.ok_or_else(|| Error::bug("no read for one blob"))?;
                    let mut one = open_read(self.repository.clone(), copy.pack, read).await?;
                    one.pop()
                        .map(|(_, opened)| opened)
                        .ok_or_else(|| Error::bug("a tree was not opened"))?
                }
                Some(opened) => opened,
            };
            match result {
                Opened::Tree(facts) => return Ok((Outcome::Tree(facts), broken)),
                Opened::Malformed(error) => return Ok((Outcome::Malformed(error), broken)),
                Opened::Broken(error) => broken.push((copy.clone(), error)),
            }
        }
        Ok((Outcome::Lost, broken))
    }
}

/// Reads a part of a pack and opens the trees in it.
async fn open_read(repository: Repository, pack: PackId, read: PlannedRead) -> Result<Vec<(BlobId, Opened)>> {
    let file = FileId::from(pack);
    let fetch = || {
        repository
            .storage
            .get_range(FileType::Pack, &file, read.range.clone())
    };
    let mut bytes = match attempt(&*repository.storage, fetch).await? {
        Ok(bytes) => bytes,
        Err(error) => {
            let broken = |entry: &PackEntry| (entry.id, Opened::Broken(error.clone()));
            return Ok(read.entries.iter().map(broken).collect());
        }
    };
    let key = repository.key.clone();
    repository
        .cpu
        .run(move |context| {
            let mut open = |entry: &PackEntry| {
                let Some(sealed) = read.slice_mut(&mut bytes, entry) else {
                    return Opened::Broken(Error::bug("a blob lies outside of what was read for it"));
                };
                match open_blob(&key, entry, sealed, &mut context.decompressor, BLOB_PLAINTEXT_MAX) {
                    Ok(plaintext) => match tree::inspect(&entry.id, &plaintext) {
                        Ok(facts) => Opened::Tree(facts),
                        Err(error) => Opened::Malformed(error),
                    },
                    Err(error) => Opened::Broken(error.into()),
                }
            };
            Ok(read.entries.iter().map(|entry| (entry.id, open(entry))).collect())
        })
        .await
}

fn next_batch(connection: &Connection, after: i64) -> Result<Vec<Queued>> {
    let mut statement = connection
        .prepare_cached("SELECT no, id, depth FROM trees WHERE no > ?1 ORDER BY no LIMIT ?2")
        .map_err(sql_error)?;
    let limit = i64::try_from(limits::CHECK_BATCH_TREES).unwrap_or(256);
    let mut rows = statement.query([after, limit]).map_err(sql_error)?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(sql_error)? {
        let read = || Ok((row.get(0)?, BlobId::from_bytes(row.get(1)?), row.get(2)?));
        let (no, id, depth) = read().map_err(sql_error)?;
        let copies = scratch::copies(connection, BlobType::Tree, &id)?;
        bytes += copies.first().map_or(0, |copy| {
            u64::from(copy.entry.length) + u64::from(copy.entry.plaintext_length())
        });
        if bytes > limits::CHECK_BATCH_BYTES && !batch.is_empty() {
            break;
        }
        batch.push(Queued {
            no,
            id,
            depth,
            copies,
        });
    }
    Ok(batch)
}
