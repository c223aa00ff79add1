//! The last snapshot, asked for what cannot be read now.

use std::collections::HashMap;

use crate::{
    catalog::{Catalog, blobs},
    error::{Error, Result},
    format::{BlobId, BlobType, FormatError, Node, NodeType, decode_tree},
    limits,
    repository::Repository,
};

pub(super) struct Previous {
    repository: Repository,
    catalog: Catalog,
    runtime: tokio::runtime::Handle,
    root: Option<BlobId>,
    /// The folder that was looked into last: what cannot be read is often all in one.
    last: Option<(BlobId, HashMap<Vec<u8>, Node>)>,
}

impl Previous {
    pub(super) fn new(
        repository: Repository,
        catalog: Catalog,
        runtime: tokio::runtime::Handle,
        root: Option<BlobId>,
    ) -> Self {
        Self {
            repository,
            catalog,
            runtime,
            root,
            last: None,
        }
    }

    /// The node at this path, if the last snapshot has one and everything below it is stored.
    pub(super) fn find(&mut self, path: &[&[u8]]) -> Option<Node> {
        let node = self.node(path)?;
        self.is_stored(&node, 0).unwrap_or(false).then_some(node)
    }

    fn node(&mut self, path: &[&[u8]]) -> Option<Node> {
        let (name, folders) = path.split_last()?;
        let mut tree = self.root?;
        for folder in folders {
            tree = self.folder(tree).ok()?.get(*folder)?.subtree?;
        }
        self.folder(tree).ok()?.get(*name).cloned()
    }

    fn folder(&mut self, id: BlobId) -> Result<&HashMap<Vec<u8>, Node>> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            let mut nodes = HashMap::new();
            self.nodes(&id, |node| {
                nodes.insert(node.name.clone(), node);
            })?;
            self.last = Some((id, nodes));
        }
        Ok(&self.last.get_or_insert_with(|| (id, HashMap::new())).1)
    }

    fn nodes(&self, id: &BlobId, mut each: impl FnMut(Node)) -> Result<()> {
        let plain = self
            .runtime
            .block_on(self.repository.load_tree(&self.catalog, id))?;
        let decoded = decode_tree(&plain[..], |node| {
            each(node);
            Ok::<_, FormatError>(())
        });
        decoded
            .map(|_| ())
            .map_err(|error| Error::format(format!("tree {id}"), error))
    }

    fn is_stored(&self, node: &Node, depth: usize) -> Result<bool> {
        if depth > limits::TREE_DEPTH_MAX || node.safe_name().is_err() {
            return Ok(false);
        }
        match (&node.node_type, &node.content, &node.subtree) {
            (NodeType::File, Some(content), _) => {
                let blobs: Vec<_> = content.iter().map(|id| (BlobType::Data, *id)).collect();
                let known = self.catalog.read_blocking(move |db| blobs::known(db, &blobs))?;
                Ok(known.iter().all(|known| *known))
            }
            (NodeType::Dir, _, Some(tree)) => {
                let mut children = Vec::new();
                self.nodes(tree, |node| children.push(node))?;
                for child in &children {
                    if !self.is_stored(child, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (NodeType::File | NodeType::Dir | NodeType::Other(_), _, _) => Ok(false),
            _ => Ok(true),
        }
    }
}
