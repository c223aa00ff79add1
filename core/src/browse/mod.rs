//! Looking into a snapshot.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::{
    catalog::Catalog,
    error::{Error, Kind, Result},
    format::{BlobId, Node, NodeType, SnapshotId, decode_tree},
    limits,
    repository::{Repository, find_snapshot, list_snapshots, sync_indexes},
    sqlite::pairs::Pairs,
};
use tokio_util::sync::CancellationToken;

/// Entries that may wait for a slow reader.
const BACKLOG_ENTRIES: usize = 256;

/// One entry of a snapshot, with its path from the snapshot's root.
#[derive(Debug, Clone)]
pub struct Entry {
    pub path: PathBuf,
    /// Of a database, the node of its base file, whose size need not be that of the database: what changed since is in the log.
    pub node: Node,
    /// Of a database that is stored as a file and a log of what changed in it since: the node of the log, which is no entry of its own.
    pub log: Option<Node>,
}

impl Entry {
    /// Whether this is a database that is stored as two files.
    pub fn is_database(&self) -> bool {
        self.log.is_some()
    }
}

/// The entries of a snapshot, one by one, folders before what they hold.
#[derive(Debug)]
pub struct Entries {
    pub snapshot: SnapshotId,
    entries: mpsc::Receiver<Result<Entry>>,
}

impl Entries {
    /// The next entry; `None` at the end. After an error nothing follows.
    pub async fn next(&mut self) -> Option<Result<Entry>> {
        self.entries.recv().await
    }
}

/// What listing works with.
struct Lister {
    repository: Repository,
    catalog: Catalog,
    /// Only what is at or below this path, or above it.
    below: PathBuf,
    found: bool,
    out: mpsc::Sender<Result<Entry>>,
}

/// Finds the snapshot; the returned future sends its entries until all are taken or nobody takes them any more.
pub(crate) async fn entries(
    repository: &Repository,
    catalog: &Catalog,
    snapshot: &str,
    below: &Path,
) -> Result<(Entries, impl Future<Output = ()> + Send + use<>)> {
    let snapshots = list_snapshots(repository, catalog).await?;
    let (id, found) = find_snapshot(&snapshots, snapshot)?;
    let (id, root) = (*id, found.tree);
    sync_indexes(repository, catalog, &CancellationToken::new()).await?;
    let (out, entries) = mpsc::channel(BACKLOG_ENTRIES);
    let below = Path::new("/").join(below);
    let is_root = below == Path::new("/");
    let mut lister = Lister {
        repository: repository.clone(),
        catalog: catalog.clone(),
        below,
        found: is_root,
        out,
    };
    let list = async move {
        let listed = lister.list(root).await;
        let result = match listed {
            Ok(()) if !lister.found => {
                let text = format!("{} is not in snapshot {}", lister.below.display(), id.short());
                Err(Error::new(Kind::NotFound, text))
            }
            other => other,
        };
        if let Err(error) = result {
            // Nobody may be listening any more.
            let _ = lister.out.send(Err(error)).await;
        }
    };
    Ok((
        Entries {
            snapshot: id,
            entries,
        },
        list,
    ))
}

impl Lister {
    /// Depth first, with a list of what is left instead of recursion: an asynchronous function cannot call itself on the stack.
    async fn list(&mut self, root: BlobId) -> Result<()> {
        let mut left: Vec<Entry> = self.children(Path::new("/"), &root).await?;
        while let Some(entry) = left.pop() {
            let inside = entry.path.starts_with(&self.below);
            let above = self.below.starts_with(&entry.path);
            if !inside && !above {
                continue;
            }
            self.found |= inside;
            let subtree = entry
                .node
                .subtree
                .filter(|_| entry.node.node_type == NodeType::Dir);
            let path = entry.path.clone();
            if inside && self.out.send(Ok(entry)).await.is_err() {
                return Ok(());
            }
            if let Some(tree) = subtree {
                if path.components().count() > limits::TREE_DEPTH_MAX {
                    let text = format!(
                        "{}: folders are nested too deep; does a tree hold itself?",
                        path.display()
                    );
                    return Err(Error::new(Kind::Damaged, text));
                }
                left.extend(self.children(&path, &tree).await?);
            }
        }
        Ok(())
    }

    /// The children of a folder, last first.
    async fn children(&self, path: &Path, tree: &BlobId) -> Result<Vec<Entry>> {
        let plain = self.repository.load_tree(&self.catalog, tree).await?;
        let pairs = Pairs::of_tree(&plain).map_err(|error| Error::format(format!("tree {tree}"), error))?;
        let mut children = Vec::new();
        decode_tree(&plain, |node| {
            if pairs.base_of(&node.name).is_some() {
                return Ok(());
            }
            let name = node.safe_name().map_err(|error| {
                Error::with_source(
                    Kind::Damaged,
                    format!("{} holds a name that cannot be used", path.display()),
                    error,
                )
            })?;
            children.push(Entry {
                path: path.join(name),
                log: pairs.log_of(&node.name).cloned(),
                node,
            });
            Ok::<_, Error>(())
        })
        .map_err(|error| error.within(format!("tree {tree}")))?;
        children.reverse();
        Ok(children)
    }
}
