//! What snapshots need: every tree that they reach, and every blob that those name. The queue lies in the database, and trees that were
//! read by an earlier prune are not fetched again.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::Connection;

use super::{
    Pruner,
    store::{self, TreeRefs},
    tally::missing,
};
use crate::{
    catalog::sql_error,
    check::{
        reached,
        scratch::{self, BlobCopy},
        vault::InFlight,
    },
    error::{Error, Kind, Result},
    format::{
        BLOB_PLAINTEXT_MAX, BlobId, BlobType, FileType, FormatError, NodeType, PackEntry, PackId,
        decode_tree, open_blob,
    },
    limits,
    repository::{PlannedRead, Repository, err_if_cancelled, plan_reads},
};

/// A tree that must be fetched.
struct Unread {
    id: BlobId,
    copies: Vec<BlobCopy>,
}

/// Some trees in the order of the queue: those that must be fetched; the others are done.
struct Batch {
    unread: Vec<Unread>,
    last: Option<i64>,
}

impl Pruner {
    /// Records all that is used. False where `fetch_max` bytes do not suffice; what was fetched is remembered.
    pub(super) async fn reach(&self, roots: Vec<BlobId>, fetch_max: u64) -> Result<bool> {
        self.store
            .write(move |tx| {
                roots
                    .iter()
                    .try_for_each(|root| reached::queue(tx, root, None, &[], 0))
            })
            .await?;
        let (mut after, mut left) = (0, fetch_max);
        loop {
            let cancel = self.cancel.clone();
            let batch = self
                .store
                .write(move |tx| {
                    let (trees, last) = next_batch(tx, after)?;
                    let mut unread = Vec::new();
                    for id in trees {
                        err_if_cancelled(&cancel)?;
                        store::add_used(tx, BlobType::Tree, &id)?;
                        match store::tree_refs(tx, &id)? {
                            Some(refs) => apply(tx, &refs)?,
                            None => unread.push(Unread {
                                copies: scratch::copies(tx, BlobType::Tree, &id)?,
                                id,
                            }),
                        }
                    }
                    Ok(Batch { unread, last })
                })
                .await?;
            let Some(last) = batch.last else { break };
            after = last;
            if !self.read_trees(batch.unread, &mut left).await? {
                return Ok(false);
            }
        }
        self.store.write(store::forget_unreached_trees).await?;
        Ok(true)
    }

    async fn read_trees(&self, unread: Vec<Unread>, left: &mut u64) -> Result<bool> {
        let mut by_pack: HashMap<PackId, Vec<PackEntry>> = HashMap::new();
        let mut copies: HashMap<BlobId, Vec<BlobCopy>> = HashMap::new();
        for tree in unread {
            let Some(first) = tree.copies.first() else {
                return Err(missing(BlobType::Tree, &tree.id));
            };
            by_pack.entry(first.pack).or_default().push(first.entry);
            copies.insert(tree.id, tree.copies);
        }
        let mut reads: Vec<(PackId, PlannedRead)> = Vec::new();
        for (pack, entries) in by_pack {
            reads.extend(plan_reads(entries).into_iter().map(|read| (pack, read)));
        }
        let mut is_whole = true;
        reads.retain(|(_, read)| {
            let bytes = read.range.end - read.range.start;
            let fits = bytes <= *left;
            *left -= if fits { bytes } else { 0 };
            is_whole &= fits;
            fits
        });
        let mut tasks = reads
            .into_iter()
            .map(|(pack, read)| open_read(self.repository.clone(), pack, read));
        let mut in_flight = InFlight::new(limits::CHECK_FILES_IN_FLIGHT);
        loop {
            in_flight.fill(&mut tasks);
            let Some(opened) = in_flight.next().await else {
                return Ok(is_whole);
            };
            let mut read = Vec::new();
            for (id, refs) in opened? {
                let refs = match refs {
                    Ok(refs) => refs,
                    Err(error) => {
                        self.another_copy(copies.remove(&id).unwrap_or_default(), error)
                            .await?
                    }
                };
                read.push((id, refs));
            }
            self.remember(read).await?;
        }
    }

    async fn remember(&self, read: Vec<(BlobId, TreeRefs)>) -> Result<()> {
        self.meter.files_done(read.len() as u64);
        self.store
            .write(move |tx| {
                for (id, refs) in &read {
                    store::add_tree_refs(tx, id, refs)?;
                    apply(tx, refs)?;
                }
                Ok(())
            })
            .await
    }

    /// Tries every copy of a tree by itself.
    async fn another_copy(&self, copies: Vec<BlobCopy>, mut error: Error) -> Result<TreeRefs> {
        for copy in copies {
            for read in plan_reads(vec![copy.entry]) {
                for (_, refs) in open_read(self.repository.clone(), copy.pack, read).await? {
                    match refs {
                        Ok(refs) => return Ok(refs),
                        Err(again) => error = again,
                    }
                }
            }
        }
        let text = "a folder cannot be read, so that nobody knows what is needed; nothing was pruned";
        Err(Error::with_source(Kind::Damaged, text, error))
    }
}

fn next_batch(connection: &Connection, after: i64) -> Result<(Vec<BlobId>, Option<i64>)> {
    let mut statement = connection
        .prepare_cached("SELECT no, id FROM trees WHERE no > ?1 ORDER BY no LIMIT ?2")
        .map_err(sql_error)?;
    let limit = i64::try_from(limits::CHECK_BATCH_TREES).unwrap_or(256);
    let mut rows = statement.query([after, limit]).map_err(sql_error)?;
    let (mut trees, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next().map_err(sql_error)? {
        let read = || Ok((row.get(0)?, BlobId::from_bytes(row.get(1)?)));
        let (no, id) = read().map_err(sql_error)?;
        trees.push(id);
        last = Some(no);
    }
    Ok((trees, last))
}

fn apply(tx: &rusqlite::Transaction<'_>, refs: &TreeRefs) -> Result<()> {
    for id in &refs.data {
        store::add_used(tx, BlobType::Data, id)?;
    }
    refs.trees
        .iter()
        .try_for_each(|id| reached::queue(tx, id, None, &[], 0))
}

type Opened = Vec<(BlobId, Result<TreeRefs>)>;

/// Reads part of a pack and the trees in it. The inner errors are about the one tree, the outer one is about the vault.
async fn open_read(repository: Repository, pack: PackId, read: PlannedRead) -> Result<Opened> {
    let range = read.range.clone();
    let mut bytes = match repository
        .storage
        .get_range(FileType::Pack, &pack.into(), range)
        .await
    {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), Kind::Damaged | Kind::NotFound) => {
            let lost = |entry: &PackEntry| (entry.id, Err(error.clone()));
            return Ok(read.entries.iter().map(lost).collect());
        }
        Err(error) => return Err(error),
    };
    let key = repository.key.clone();
    repository
        .cpu
        .run(move |context| {
            let mut open = |entry: &PackEntry| {
                let sealed = read.slice_mut(&mut bytes, entry);
                let sealed =
                    sealed.ok_or_else(|| Error::bug("a tree lies outside of what was read for it"))?;
                let decompressor = &mut context.decompressor;
                let plain = open_blob(&key, entry, sealed, decompressor, BLOB_PLAINTEXT_MAX);
                plain
                    .and_then(|plain| refs(&plain))
                    .map_err(|error| Error::format(format!("the tree {} in pack {pack}", entry.id), error))
            };
            Ok(read.entries.iter().map(|entry| (entry.id, open(entry))).collect())
        })
        .await
}

/// What a tree refers to, by restic's rule: the content of files, and the trees of folders. What a newer client may mean by nodes of
/// another type is not known, and might be deleted: that is an error.
fn refs(plaintext: &[u8]) -> Result<TreeRefs, FormatError> {
    let (mut trees, mut data) = (BTreeSet::new(), HashSet::new());
    let mut ordered = Vec::new();
    decode_tree(plaintext, |node| {
        match node.node_type {
            NodeType::File => {
                for id in node.content.unwrap_or_default() {
                    if data.insert(id) {
                        ordered.push(id);
                    }
                }
            }
            NodeType::Dir => trees.extend(node.subtree),
            NodeType::Other(_) => {
                let text = "it holds something of a type that this version does not know: prune with the client that made it";
                return Err(FormatError::Unsupported(text.into()));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(TreeRefs {
        trees: trees.into_iter().collect(),
        data: ordered,
    })
}
