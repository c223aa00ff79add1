//! The thread that assembles: takes the steps of the walk in order, puts new blobs into packs, builds trees from the bottom up, and tells the
//! catalog of files whose content is safe.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use tokio_util::sync::CancellationToken;

use super::{
    databases,
    job::{BackupStats, Unreadable},
    packing::Packing,
    previous::Previous,
    room::SpoolRoom,
    rows::{self, Rows},
};
use crate::{
    catalog::{FileRow, SpooledPack, blobs},
    error::{Error, Result},
    events::{Event, Events, Meter},
    format::{BlobId, BlobType, ExtendedAttribute, Node, NodeType, TreeBuilder},
    limits,
    repository::{Repository, Spool, err_if_cancelled},
    runtime::{
        budget::Permit,
        cpu::{CpuContext, Pending},
    },
    scan::{CapturePart, DirKey, Metadata, Names, ReadEnd, ReadFile, Step, Unread},
    seal::{PackWriter, Plain, SealedBytes, SealedChunk, Sealer},
};

/// What assembling needs.
pub(super) struct AssembleContext {
    pub(super) repository: Repository,
    pub(super) sealer: Sealer,
    pub(super) catalog: crate::catalog::Catalog,
    pub(super) spool: Spool,
    pub(super) room: SpoolRoom,
    pub(super) packing: Packing,
    /// What was sealed, also where the tree is not completed.
    pub(super) so_far: Arc<Mutex<BackupStats>>,
    pub(super) cancel: CancellationToken,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) meter: Arc<Meter>,
    pub(super) events: Events,
    pub(super) epoch: i64,
    pub(super) previous: Previous,
    /// Tells the Snapshotter of a pack; returns when it knows.
    pub(super) on_pack: Box<dyn FnMut(SpooledPack, Permit) + Send>,
}

/// A complete tree, all of whose blobs are stored or in the spool.
pub(super) struct Assembled {
    pub(super) tree: BlobId,
    pub(super) stats: BackupStats,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) unreadable_total: u64,
    pub(super) changing: Vec<PathBuf>,
    pub(super) odd_databases: Vec<(PathBuf, String)>,
}

/// Takes steps until the root is complete.
pub(super) fn assemble(context: AssembleContext, steps: &mpsc::Receiver<Step>) -> Result<Assembled> {
    let sealer = context.sealer.clone();
    let target_bytes = context.packing.target_bytes;
    let mut assembler = Assembler {
        context,
        sealer,
        cpu: CpuContext::new(),
        names: Names::default(),
        folders: Vec::new(),
        batch: Vec::new().into_iter(),
        large: Content::default(),
        captures: HashMap::new(),
        data: PackWriter::new(BlobType::Data, target_bytes),
        trees: PackWriter::new(BlobType::Tree, target_bytes),
        recent: [HashSet::new(), HashSet::new()],
        rows: Rows::default(),
        keep_back: false,
        result: Assembled {
            tree: BlobId::from_bytes([0; 32]),
            stats: BackupStats::default(),
            unreadable: Vec::new(),
            unreadable_total: 0,
            changing: Vec::new(),
            odd_databases: Vec::new(),
        },
    };
    let done = assembler.refill().and_then(|()| assembler.run(steps));
    // What is sealed is kept, also when the walk was stopped: the next run goes on from there.
    assembler.keep_back = done.is_err() && assembler.context.packing.goes_on;
    let closed = assembler.close_packs();
    let so_far = &assembler.context.so_far;
    *so_far.lock().unwrap_or_else(PoisonError::into_inner) = assembler.result.stats;
    done?;
    closed?;
    Ok(assembler.result)
}

/// A folder whose entries are being added.
pub(super) struct Folder {
    name: Vec<u8>,
    metadata: Option<Box<Metadata>>,
    pub(super) key: DirKey,
    tree: TreeBuilder,
    /// Logs of databases, by name, whose place among the entries has not come yet.
    pub(super) logs: HashMap<Vec<u8>, Node>,
}

/// The blobs of one file.
#[derive(Default)]
pub(super) struct Content {
    pub(super) ids: Vec<BlobId>,
    pub(super) bytes: u64,
}

pub(super) struct Assembler {
    pub(super) context: AssembleContext,
    sealer: Sealer,
    cpu: CpuContext,
    pub(super) names: Names,
    folders: Vec<Folder>,
    batch: std::vec::IntoIter<io::Result<ReadFile>>,
    large: Content,
    /// Parts of databases that were captured before their place in the walk.
    pub(super) captures: HashMap<(u64, CapturePart), Content>,
    pub(super) data: PackWriter,
    pub(super) trees: PackWriter,
    /// Blobs of the packs that were closed last: a worker may have looked before the catalog knew of them.
    pub(super) recent: [HashSet<BlobId>; 2],
    pub(super) rows: Rows,
    /// Packs that are closed now are not to be sent.
    pub(super) keep_back: bool,
    pub(super) result: Assembled,
}

impl Assembler {
    fn run(&mut self, steps: &mpsc::Receiver<Step>) -> Result<()> {
        loop {
            err_if_cancelled(&self.context.cancel)?;
            // The walk ends by hanging up; if the root is not complete by then, it says why itself.
            let step = steps.recv().map_err(|_| Error::cancelled())?;
            if self.step(step)? {
                return Ok(());
            }
        }
    }

    /// Says whether the root is complete.
    fn step(&mut self, step: Step) -> Result<bool> {
        match step {
            Step::Enter { name, metadata, key } => {
                self.folders.push(Folder {
                    name,
                    metadata,
                    key,
                    tree: TreeBuilder::new(),
                    logs: HashMap::new(),
                });
            }
            Step::Leave { gone, is_new } => return self.leave(gone, is_new),
            Step::Leaf {
                name,
                metadata,
                link_target,
            } => {
                let mut node = metadata.node(&name, &mut self.names);
                node.link_target = link_target;
                self.push(&node)?;
            }
            Step::Unchanged {
                name,
                metadata,
                row,
                refresh,
            } => {
                self.unchanged(name, *metadata, *row, refresh)?;
            }
            Step::Batch(pending) => self.batch = wait(pending)?.into_iter(),
            Step::Small { name, before } => self.small(name, before)?,
            Step::Chunk(pending) => {
                let chunk = wait(pending)?;
                self.large.bytes += chunk.plain_length;
                self.large.ids.push(chunk.id);
                self.store_chunk(chunk)?;
            }
            Step::Restart => self.large = Content::default(),
            Step::Large {
                name,
                metadata,
                end,
                before,
            } => {
                let content = std::mem::take(&mut self.large);
                self.file(name, *metadata, content, end, before.as_deref())?;
            }
            Step::Captured { key, part } => {
                let content = std::mem::take(&mut self.large);
                self.captures.insert((key, part), content);
            }
            Step::Database {
                name,
                metadata,
                captured,
                fingerprint,
                end,
                before,
            } => {
                let seen = databases::Seen {
                    metadata: *metadata,
                    fingerprint,
                    end,
                    before: before.map(|row| *row),
                };
                self.database(name, seen, *captured)?;
            }
            Step::DatabaseUnchanged {
                name,
                metadata,
                row,
                state,
                refresh,
            } => self.database_unchanged(name, *metadata, *row, *state, refresh)?,
            Step::DatabaseLog { name } => self.database_log(&name)?,
            Step::Unreadable(unread) => self.unreadable(unread)?,
        }
        Ok(false)
    }

    fn small(&mut self, name: Vec<u8>, before: Option<Box<FileRow>>) -> Result<()> {
        let file = self
            .batch
            .next()
            .ok_or_else(|| Error::bug("a small file without its batch"))?;
        match file {
            Ok(ReadFile {
                metadata,
                chunks,
                end,
            }) => {
                let mut content = Content::default();
                for chunk in chunks {
                    content.bytes += chunk.plain_length;
                    content.ids.push(chunk.id);
                    self.store_chunk(chunk)?;
                }
                self.context.meter.bytes_read(content.bytes);
                self.file(name, metadata, content, end, before.as_deref())
            }
            Err(error) => {
                let path = self.path(&name);
                self.unreadable(Unread { name, path, error })
            }
        }
    }

    fn unchanged(
        &mut self,
        name: Vec<u8>,
        mut metadata: Metadata,
        row: FileRow,
        refresh: bool,
    ) -> Result<()> {
        metadata.xattrs = row.xattrs.as_deref().map(decode_xattrs).unwrap_or_default();
        let mut node = metadata.node(&name, &mut self.names);
        node.content = Some(row.content.clone());
        self.result.stats.files_unmodified += 1;
        self.count_file(node.size);
        self.context.meter.bytes_read(node.size);
        self.push(&node)?;
        if refresh {
            let row = FileRow {
                epoch: self.context.epoch,
                ..row
            };
            let key = self.folder()?.key.clone();
            self.rows.save(key, name, row, false);
            self.flush_rows()?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        name: Vec<u8>,
        metadata: Metadata,
        content: Content,
        end: ReadEnd,
        before: Option<&FileRow>,
    ) -> Result<()> {
        let mut node = metadata.node(&name, &mut self.names);
        // What was read counts, not what the status said: a reader trusts the size.
        node.size = content.bytes;
        node.content = Some(content.ids.clone());
        self.push(&node)?;
        if end == ReadEnd::Changing {
            let path = self.path(&name);
            self.context
                .events
                .tell(Event::ChangedWhileRead { path: path.clone() });
            if self.result.changing.len() < limits::REPORT_NAMES_MAX {
                self.result.changing.push(path);
            }
        }
        let in_open_pack = content.ids.iter().any(|id| self.data.holds(id));
        let row = self.row(&metadata, content.ids, None, end);
        self.count_read_file(
            content.bytes,
            before,
            before.is_some_and(|before| row.is_as(before)),
        );
        let key = self.folder()?.key.clone();
        self.rows.save(key, name, row, in_open_pack);
        self.flush_rows()
    }

    /// What the catalog is to remember of a file that was read.
    pub(super) fn row(
        &self,
        metadata: &Metadata,
        content: Vec<BlobId>,
        database_bytes: Option<u64>,
        end: ReadEnd,
    ) -> FileRow {
        FileRow {
            stat: metadata.stat,
            content,
            xattrs: (!metadata.xattrs.is_empty()).then(|| encode_xattrs(&metadata.xattrs)),
            epoch: self.context.epoch,
            database_bytes,
            settled: end == ReadEnd::Settled,
        }
    }

    /// `same`: it is as it was `before`, and was read for another reason.
    pub(super) fn count_read_file(&mut self, bytes: u64, before: Option<&FileRow>, same: bool) {
        let stats = &mut self.result.stats;
        *match before {
            None => &mut stats.files_new,
            Some(_) if same => &mut stats.files_unmodified,
            Some(_) => &mut stats.files_changed,
        } += 1;
        self.count_file(bytes);
    }

    pub(super) fn count_file(&mut self, bytes: u64) {
        self.result.stats.files_total += 1;
        self.result.stats.bytes_total += bytes;
        self.context.meter.files_done(1);
    }

    fn unreadable(&mut self, unread: Unread) -> Result<()> {
        let Unread { name, path, error } = unread;
        let kept = self.previous(&name);
        let report = Unreadable {
            path: path.clone(),
            reason: error.to_string(),
            kept: kept.is_some(),
        };
        if let Some(node) = kept {
            if node.node_type == NodeType::File {
                self.count_file(node.size);
            }
            self.push(&node)?;
        }
        self.context.meter.unreadable(1);
        let (reason, kept) = (report.reason.clone(), report.kept);
        self.context.events.tell(Event::Unreadable { path, reason, kept });
        self.result.unreadable_total += 1;
        if self.result.unreadable.len() < limits::REPORT_NAMES_MAX {
            self.result.unreadable.push(report);
        }
        Ok(())
    }

    /// What the last snapshot has in this place.
    pub(super) fn previous(&mut self, name: &[u8]) -> Option<Node> {
        let folders = self.folders.iter().skip(1).map(|folder| folder.name.as_slice());
        let place: Vec<&[u8]> = folders.chain([name]).collect();
        self.context.previous.find(&place)
    }

    fn leave(&mut self, gone: Vec<Vec<u8>>, is_new: bool) -> Result<bool> {
        let folder = self
            .folders
            .pop()
            .ok_or_else(|| Error::bug("out of a folder that was not entered"))?;
        if is_new {
            self.rows.walked(folder.key.clone());
        }
        self.rows.forget(folder.key, gone);
        self.flush_rows()?;
        let (tree, plain) = folder.tree.finish();
        self.store_tree(tree, &plain, is_new)?;
        if self.folders.is_empty() {
            self.result.tree = tree;
            return Ok(true);
        }
        let metadata = folder
            .metadata
            .ok_or_else(|| Error::bug("a folder without metadata"))?;
        let mut node = metadata.node(&folder.name, &mut self.names);
        node.subtree = Some(tree);
        self.push(&node)?;
        Ok(false)
    }

    fn store_chunk(&mut self, chunk: SealedChunk) -> Result<()> {
        let Some(sealed) = chunk.sealed else { return Ok(()) };
        let is_here = self.data.holds(&chunk.id) || self.recent.iter().any(|ids| ids.contains(&chunk.id));
        if is_here {
            self.sealer.buffers.give(sealed.bytes);
            return Ok(());
        }
        self.data.append(&self.context.spool, chunk.id, &sealed)?;
        self.result.stats.data_blobs += 1;
        self.count_new(chunk.plain_length, &sealed);
        self.sealer.buffers.give(sealed.bytes);
        if self.data.is_full() {
            self.close_data()
        } else {
            Ok(())
        }
    }

    fn store_tree(&mut self, id: BlobId, plain: &[u8], is_new: bool) -> Result<()> {
        let wanted = [(BlobType::Tree, id)];
        let known = self.trees.holds(&id)
            || self
                .context
                .catalog
                .read_blocking(move |db| blobs::known(db, &wanted))?
                .first()
                == Some(&true);
        let stats = &mut self.result.stats;
        // As for restic, the root is a tree and not a folder.
        let folders = u64::from(!self.folders.is_empty());
        if known {
            stats.dirs_unmodified += folders;
            return Ok(());
        }
        *if is_new {
            &mut stats.dirs_new
        } else {
            &mut stats.dirs_changed
        } += folders;
        stats.tree_blobs += 1;
        let copy = Plain::copy(&self.sealer.buffers, plain);
        let sealed = self.sealer.seal(&mut self.cpu, BlobType::Tree, copy)?;
        if plain.len() > limits::TREE_BYTES_USUAL_MAX {
            // The tables for an input of this length would be kept for the rest of the run.
            self.cpu = CpuContext::new();
        }
        self.trees.append(&self.context.spool, id, &sealed)?;
        self.count_new(plain.len() as u64, &sealed);
        self.sealer.buffers.give(sealed.bytes);
        if self.trees.is_full() {
            self.close_trees()
        } else {
            Ok(())
        }
    }

    fn count_new(&mut self, plain_length: u64, sealed: &SealedBytes) {
        self.result.stats.data_added += plain_length;
        self.result.stats.data_added_packed += sealed.bytes.len() as u64;
        self.context.meter.new_bytes(plain_length);
    }

    pub(super) fn flush_rows(&mut self) -> Result<()> {
        if !self.rows.is_full() {
            return Ok(());
        }
        let changes = self.rows.take_ready();
        self.context
            .catalog
            .write_blocking(move |tx| rows::write(tx, &changes))
    }

    pub(super) fn push(&mut self, node: &Node) -> Result<()> {
        let pushed = self.folder()?.tree.push(node);
        pushed.map_err(|error| Error::bug(format!("building a tree: {error}")))
    }

    pub(super) fn folder(&mut self) -> Result<&mut Folder> {
        self.folders
            .last_mut()
            .ok_or_else(|| Error::bug("an entry outside of any folder"))
    }

    pub(super) fn path(&self, name: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let folder = self.folders.last().map_or(&b""[..], |folder| &folder.key);
        PathBuf::from(std::ffi::OsStr::from_bytes(folder)).join(std::ffi::OsStr::from_bytes(name))
    }
}

fn wait<T>(pending: Pending<T>) -> Result<T> {
    pending.wait()
}

/// Attributes as the catalog keeps them: for each, length and bytes of its name, length and bytes of its value.
fn encode_xattrs(attributes: &[ExtendedAttribute]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for attribute in attributes {
        for part in [attribute.name.as_bytes(), &attribute.value] {
            // Attributes are at most 64 KiB.
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

pub(super) fn decode_xattrs(mut bytes: &[u8]) -> Vec<ExtendedAttribute> {
    fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *bytes = rest;
        Some(part)
    }
    let mut attributes = Vec::new();
    while let (Some(name), Some(value)) = (part(&mut bytes), part(&mut bytes)) {
        let name = String::from_utf8_lossy(name).into_owned();
        attributes.push(ExtendedAttribute {
            name,
            value: value.to_vec(),
        });
    }
    attributes
}
