//! Staging: the walk through the snapshot's trees. It makes folders, and hands everything else to `content`
//! and `leaves`.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::fd::BorrowedFd,
    path::PathBuf,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, mkdirat, unlinkat},
    io::Errno,
};

use super::{
    content::{FileWork, Pending, Role},
    folder::{Closed, Descriptors, Folder},
    job::DatabaseFiles,
    journal::{About, JournalWriter, Staged},
    leaves::{LinkKey, LinkWork, Linked},
    plan::{STAGING_PREFIX, Scope},
    run::{RestoreContext, Tally, damaged, in_snapshot},
    staging::{Made, Staging, Target},
};
use crate::{
    catalog::blobs,
    error::{Context, Error, Kind, Place, Result},
    events::Phase,
    format::{BlobId, BlobType, FormatError, Node, NodeType, Snapshot, SnapshotId, decode_tree},
    limits,
    runtime::buffers::Buffers,
    sqlite::pairs::Pairs,
};

pub(super) struct Stager<'a> {
    pub(super) context: &'a RestoreContext,
    pub(super) target: &'a Target,
    pub(super) dirs: Descriptors,
    pub(super) tally: &'a mut Tally,
    pub(super) staged: Staged,
    pub(super) journal: JournalWriter,
    pub(super) databases: DatabaseFiles,
    /// Files whose content is being put in place. Only the last may have blobs that are not in `pending` yet.
    pub(super) files: Vec<FileWork>,
    pub(super) pending: Vec<Pending>,
    /// The first file of each group of hard links.
    pub(super) linked: HashMap<LinkKey, Linked>,
    /// Further names, to be made when the files so far are in place.
    pub(super) links: Vec<LinkWork>,
    /// Further names that could not be made.
    pub(super) unlinked: Vec<FileWork>,
    /// What to show as the total, as long as the snapshot does not say it.
    pub(super) found: Option<(u64, u64)>,
    /// Bytes written since the file system was last told to write them to the disk.
    pub(super) unsynced_bytes: u64,
    /// For what is read from packs.
    pub(super) buffers: Buffers,
}

/// Stages what is wanted of a snapshot: when this returns, all of it is verified and durable, and the journal
/// is written.
pub(super) fn stage(
    context: &RestoreContext,
    (id, snapshot): (&SnapshotId, &Snapshot),
    scope: Scope,
    (target, staging): (&Target, &Staging),
    databases: DatabaseFiles,
    tally: &mut Tally,
) -> Result<()> {
    context.meter.phase(Phase::Staging);
    let known = match (&snapshot.summary, &scope) {
        (Some(summary), Scope::Everything) => {
            let (files, bytes) = (summary.total_files_processed, summary.total_bytes_processed);
            context.meter.totals(files, bytes);
            true
        }
        _ => false,
    };
    let (staged_tree, made) = staging.make_tree()?;
    let mut stager = Stager {
        context,
        target,
        dirs: Descriptors::new(staged_tree, Closed::MakeWritable),
        tally,
        staged: Staged::new(*id),
        journal: staging.write_journal()?,
        databases,
        files: Vec::new(),
        pending: Vec::new(),
        linked: HashMap::new(),
        links: Vec::new(),
        unlinked: Vec::new(),
        found: (!known).then_some((0, 0)),
        unsynced_bytes: 0,
        buffers: Buffers::new(&limits::RESTORE_BUFFERS),
    };
    let root = FolderWork {
        folder: Folder::root(),
        tree: snapshot.tree,
        scope,
        made,
    };
    stager.folder(root, &mut Vec::new())?;
    stager.flush()?;
    stager.journal.finish(&stager.staged)?;
    target.sync()
}

/// A folder that is to be staged.
struct FolderWork {
    folder: Arc<Folder>,
    tree: BlobId,
    scope: Scope,
    made: Made,
}

/// Why a tree was not read to its end.
enum Ended {
    Tree(FormatError),
    Step(Error),
}

impl From<FormatError> for Ended {
    fn from(error: FormatError) -> Self {
        Self::Tree(error)
    }
}

impl Stager<'_> {
    /// `above`: the trees on the way here, from the root.
    fn folder(&mut self, work: FolderWork, above: &mut Vec<BlobId>) -> Result<()> {
        let shown = || in_snapshot(work.folder.path()).display().to_string();
        if above.contains(&work.tree) {
            return Err(damaged(format!("{}: the folder contains itself", shown())));
        }
        if above.len() > limits::TREE_DEPTH_MAX {
            let text = format!("{}: more than {} folders deep", shown(), limits::TREE_DEPTH_MAX);
            return Err(damaged(text));
        }
        let plain = load_tree(self.context, &work.tree).context(shown)?;
        // The entries of one folder at a time are in memory; of those above, the names of folders that are
        // still to come.
        let mut below = Vec::new();
        let mut names = Names::default();
        let pairs = Pairs::of_tree(&plain)
            .map_err(|error| Error::format(format!("{}: tree {}", shown(), work.tree), error))?;
        let read = decode_tree(&plain, |node| {
            names.next(&node.name);
            self.node(node, &work, &pairs, &mut below).map_err(Ended::Step)
        });
        let read = read.map_err(|ended| match ended {
            Ended::Tree(error) => Error::format(format!("{}: tree {}", shown(), work.tree), error),
            Ended::Step(error) => error,
        });
        read.and_then(|_| names.check(&plain).context(shown))?;
        drop(plain);
        above.push(work.tree);
        for next in below {
            self.folder(next, above)?;
        }
        above.pop();
        Ok(())
    }

    fn node(
        &mut self,
        node: Node,
        work: &FolderWork,
        pairs: &Pairs,
        below: &mut Vec<FolderWork>,
    ) -> Result<()> {
        self.context.err_if_cancelled()?;
        let role = self.role(&node.name, work, pairs);
        let scope = match role {
            Role::Log { .. } => Some(Scope::Everything),
            Role::Base | Role::Plain => work.scope.child(&node.name),
        };
        let Some(scope) = scope else {
            return Ok(());
        };
        let name = node.safe_name().map_err(|why| {
            let folder = in_snapshot(work.folder.path());
            let name = String::from_utf8_lossy(&node.name);
            damaged(format!(
                "{}: the entry '{name}' cannot be restored: {why}",
                folder.display()
            ))
        })?;
        let name = name.to_owned();
        if work.folder.is_root() && node.name.starts_with(STAGING_PREFIX.as_bytes()) {
            let reason = "it is what an interrupted restore left, and was not restored".to_owned();
            self.tally.warn(&in_snapshot(name.into()), reason);
            return Ok(());
        }
        if node.node_type == NodeType::Dir {
            let folder = work.folder.child(&name);
            let Some(tree) = node.subtree else {
                return Err(self.bad_node(&work.folder, &name, "a folder without a tree"));
            };
            let made = self.make_folder(&work.folder, &name, work.made)?;
            self.journal.note(About::Folder, &folder.path(), &node)?;
            self.staged.dirs += 1;
            below.push(FolderWork {
                folder,
                tree,
                scope,
                made,
            });
            return Ok(());
        }
        // Something that is no folder has nothing in it that could be wanted.
        if scope != Scope::Everything {
            return Ok(());
        }
        match &node.node_type {
            NodeType::File => self.file(node, name, &work.folder, (work.made, role)),
            NodeType::Symlink | NodeType::Fifo | NodeType::Dev | NodeType::CharDev => {
                self.leaf(&node, &name, &work.folder, work.made)
            }
            // Only a running program can make one that means something.
            NodeType::Socket => Ok(()),
            NodeType::Dir => Ok(()),
            NodeType::Other(word) => {
                let what = format!("an entry of the unknown type '{word}'");
                Err(self.bad_node(&work.folder, &name, &what))
            }
        }
    }

    /// What a file of this name is for the database that it may belong to.
    fn role(&self, name: &[u8], work: &FolderWork, pairs: &Pairs) -> Role {
        let is_wanted = |name: &[u8]| work.scope.child(name) == Some(Scope::Everything);
        let fold = self.databases == DatabaseFiles::Folded;
        match pairs.base_of(name) {
            Some(base) if is_wanted(base) => Role::Log { fold },
            None if fold && pairs.log_of(name).is_some() && is_wanted(name) => Role::Base,
            _ => Role::Plain,
        }
    }

    fn make_folder(&mut self, parent: &Arc<Folder>, name: &OsStr, made: Made) -> Result<Made> {
        self.make(parent, name, made, |dir| mkdirat(dir, name, Mode::RWXU))
    }

    /// Makes an entry of a staged folder. A folder that an earlier run made is kept, anything else of the
    /// name replaced.
    pub(super) fn make(
        &mut self,
        parent: &Arc<Folder>,
        name: &OsStr,
        made: Made,
        make: impl Fn(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<Made> {
        let dir = self.dir(parent)?;
        let result = match make(dir) {
            Ok(()) => return Ok(Made::Now),
            Err(Errno::EXIST) if made == Made::Now => {
                let what = "two entries of this name, or the target takes their names for the same";
                return Err(self.bad_node(parent, name, what));
            }
            Err(Errno::EXIST) => match unlinkat(dir, name, AtFlags::empty()) {
                // Linux says the one, others the other.
                Err(Errno::ISDIR | Errno::PERM) => return Ok(Made::Before),
                removed => removed.and_then(|()| make(dir)),
            },
            Err(error) => Err(error),
        };
        result.map_err(|error| self.io_error("creating", parent, name, error))?;
        Ok(Made::Now)
    }

    pub(super) fn dir(&mut self, folder: &Arc<Folder>) -> Result<BorrowedFd<'_>> {
        let target = self.target;
        self.dirs.of(folder).map_err(|error| {
            let path = target.path.join(folder.path());
            Error::io(Place::Target, "opening what is staged for", &path, error)
        })
    }

    /// What the operating system says of something that is being staged, under the name that it will have.
    pub(super) fn io_error(
        &self,
        what: &str,
        folder: &Arc<Folder>,
        name: &OsStr,
        error: impl Into<std::io::Error>,
    ) -> Error {
        let path = self.target.path.join(folder.path()).join(name);
        Error::io(Place::Target, what, &path, error.into())
    }

    pub(super) fn bad_node(&self, folder: &Arc<Folder>, name: &OsStr, what: &str) -> Error {
        let path = in_snapshot(folder.path().join(name));
        damaged(format!("{}: the snapshot has {what}", path.display()))
    }
}

/// Sees to it that no name comes twice in a tree. Trees are sorted, so that this costs nothing; restic reads
/// others too.
#[derive(Default)]
struct Names {
    last: Vec<u8>,
    any: bool,
    unsorted: bool,
}

impl Names {
    fn next(&mut self, name: &[u8]) {
        self.unsorted |= self.any && *self.last >= *name;
        self.any = true;
        self.last.clear();
        self.last.extend_from_slice(name);
    }

    fn check(&self, tree: &[u8]) -> Result<()> {
        if !self.unsorted {
            return Ok(());
        }
        let mut seen = HashSet::new();
        decode_tree(tree, |node| {
            let text = format!(
                "two entries of the name '{}'",
                String::from_utf8_lossy(&node.name)
            );
            if seen.insert(node.name) {
                Ok(())
            } else {
                Err(damaged(text))
            }
        })
        .map(|_| ())
    }
}

/// A tree. If it is not where the catalog has it, it is looked for once more in the vault's newest indexes, since a prune may just
/// have moved it, and then in every other pack that is said to hold it.
fn load_tree(context: &RestoreContext, id: &BlobId) -> Result<Vec<u8>> {
    let mut first: Option<Error> = None;
    loop {
        let gone = context.gone.borrow().clone();
        let loaded = context.wait(context.repository.load_tree_except(&context.catalog, id, gone));
        let Err(error) = loaded else { return loaded };
        let is_missing = error.kind() == Kind::NotFound;
        if !is_missing && (error.kind() != Kind::Damaged || first.is_some()) {
            return Err(match first {
                Some(first) if first.kind() == Kind::NotFound => {
                    Error::with_source(Kind::Damaged, "a tree is missing", first)
                }
                _ => error,
            });
        }
        if is_missing {
            rule_out_pack_of(context, id)?;
        }
        if first.is_none() {
            context.sync_indexes()?;
            first = Some(error);
        }
    }
}

/// The pack that the catalog would take this tree from is not in the vault.
fn rule_out_pack_of(context: &RestoreContext, id: &BlobId) -> Result<()> {
    let (wanted, gone) = ([(BlobType::Tree, *id)], context.gone.borrow().clone());
    let located = context
        .catalog
        .read_blocking(move |db| blobs::locate(db, &wanted, &gone))?;
    context
        .gone
        .borrow_mut()
        .extend(located.into_iter().flatten().map(|location| location.pack));
    Ok(())
}

/// Each path that was asked for is in the snapshot: said before anything is fetched or made.
pub(super) fn check_paths(context: &RestoreContext, snapshot: &Snapshot, scope: &Scope) -> Result<()> {
    for path in scope.paths() {
        let mut tree = Some(snapshot.tree);
        for name in path {
            let mut found = None;
            if let Some(id) = tree {
                let plain = load_tree(context, &id)?;
                decode_tree(&plain, |node| {
                    if node.name == *name {
                        found = Some(node.subtree.filter(|_| node.node_type == NodeType::Dir));
                    }
                    Ok::<_, FormatError>(())
                })
                .map_err(|error| Error::format(format!("tree {id}"), error))?;
            }
            let Some(below) = found else {
                let path: PathBuf = path
                    .iter()
                    .map(|name| String::from_utf8_lossy(name).into_owned())
                    .collect();
                let text = format!("{} is not in the snapshot", in_snapshot(path).display());
                return Err(Error::new(Kind::NotFound, text));
            };
            tree = below;
        }
    }
    Ok(())
}
