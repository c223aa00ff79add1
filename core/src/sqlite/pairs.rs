//! Which files of a folder in a snapshot are a database and its synthesised log: known from the tree alone.

use std::collections::BTreeMap;

use super::synthesis::{LOG_SUFFIX, page_bytes_of};
use crate::format::{FormatError, Node, NodeType, decode_tree};

/// What follows the name of a database in the names of the files that SQLite keeps beside it, in the order in which it is safe to take
/// them away: without the index of the log SQLite reads the log anew.
pub(crate) const COMPANION_SUFFIXES: [&[u8]; 3] = [b"-shm", b"-journal", LOG_SUFFIX];

/// The name of the database that a file of this name would belong to.
pub(crate) fn database_of(name: &[u8]) -> Option<&[u8]> {
    let stem = COMPANION_SUFFIXES
        .iter()
        .find_map(|suffix| name.strip_suffix(*suffix));
    stem.filter(|stem| !stem.is_empty())
}

/// The databases of one folder that have a synthesised log: by the name of the log, the log's node.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    logs: BTreeMap<Vec<u8>, Node>,
}

impl Pairs {
    /// Of a folder's tree. Costs a look through its bytes where it has no log.
    pub(crate) fn of_tree(tree: &[u8]) -> Result<Self, FormatError> {
        let mut pairs = Self::default();
        // As every name that ends so is written in a tree.
        let end = [LOG_SUFFIX, b"\""].concat();
        if !tree.windows(end.len()).any(|bytes| bytes == end) {
            return Ok(pairs);
        }
        decode_tree(tree, |node| {
            let is_log = node.name.ends_with(LOG_SUFFIX) && node.name.len() > LOG_SUFFIX.len();
            if is_log
                && is_file(&node)
                && page_bytes_of(node.content.as_deref().unwrap_or_default()).is_some()
            {
                pairs.logs.insert(node.name.clone(), node);
            }
            Ok::<_, FormatError>(())
        })?;
        if pairs.logs.is_empty() {
            return Ok(pairs);
        }
        let mut bases = Vec::new();
        decode_tree(tree, |node| {
            if is_file(&node) && pairs.log_of(&node.name).is_some() {
                bases.push(node.name);
            }
            Ok::<_, FormatError>(())
        })?;
        let has_base = |log: &[u8]| {
            bases
                .iter()
                .any(|base| Some(&**base) == log.strip_suffix(LOG_SUFFIX))
        };
        pairs.logs.retain(|log, _| has_base(log));
        Ok(pairs)
    }

    /// The log of the database of this name.
    pub(crate) fn log_of(&self, name: &[u8]) -> Option<&Node> {
        self.logs.get(&[name, LOG_SUFFIX].concat())
    }

    /// The name of the database whose log has this name.
    pub(crate) fn base_of<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        self.logs
            .contains_key(name)
            .then(|| name.strip_suffix(LOG_SUFFIX))?
    }
}

fn is_file(node: &Node) -> bool {
    node.node_type == NodeType::File
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{BlobId, TreeBuilder},
        sqlite::synthesis::header_blob,
    };

    fn file(name: &str, content: Vec<BlobId>) -> Node {
        Node {
            content: Some(content),
            ..Node::new(name, NodeType::File)
        }
    }

    #[test]
    fn a_pair_is_a_file_and_a_log_that_begins_as_ours() {
        let ours = BlobId::of(&header_blob(4096));
        let other = BlobId::of(b"x");
        let mut builder = TreeBuilder::new();
        for node in [
            file("-wal", vec![ours]),
            file("a.db", vec![other]),
            file("a.db-wal", vec![ours, other]),
            file("alone-wal", vec![ours]),
            Node::new("dir", NodeType::Fifo),
            file("dir-wal", vec![ours]),
            file("raw.db", vec![other]),
            file("raw.db-wal", vec![other]),
        ] {
            builder.push(&node).unwrap();
        }
        let pairs = Pairs::of_tree(&builder.finish().1).unwrap();
        assert_eq!(pairs.logs.keys().collect::<Vec<_>>(), [b"a.db-wal"]);
        assert!(pairs.log_of(b"a.db").is_some() && pairs.log_of(b"raw.db").is_none());
        assert_eq!(pairs.base_of(b"a.db-wal"), Some(&b"a.db"[..]));
        assert_eq!(pairs.base_of(b"dir-wal"), None);
    }

    #[test]
    fn companions_are_known_by_their_names() {
        assert_eq!(database_of(b"a.db-wal"), Some(&b"a.db"[..]));
        assert_eq!(database_of(b"a.db-journal"), Some(&b"a.db"[..]));
        assert_eq!(database_of(b"a.db-shm"), Some(&b"a.db"[..]));
        assert_eq!(database_of(b"-wal"), None);
        assert_eq!(database_of(b"a.db"), None);
    }
}
