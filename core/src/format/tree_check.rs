//! What is wrong with the nodes of a tree, also where restic's `check` is silent.

use super::{BlobId, ID_BYTES, Node, NodeType, UnsafeName};

/// Something wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodeProblem {
    /// A restore refuses the node.
    #[error(transparent)]
    UnsafeName(UnsafeName),
    /// Searches for a name miss nodes that stand in the wrong place.
    #[error("the name sorts before the one of the node before it")]
    Unsorted,
    #[error("the name is the one of the node before it")]
    Duplicate,
    #[error("the type is unknown")]
    UnknownType,
    /// restic goes by the type; the mode is then applied to something else than it was taken from.
    #[error("the type is not the one that the mode says")]
    TypeAgainstMode,
    #[error("a file has no list of blobs")]
    NoContent,
    #[error("a file names a blob whose id is zero")]
    NullContentId,
    #[error("something that is not a file has a list of blobs, which prune does not count as used")]
    ContentOfNonFile,
    #[error("a directory has no tree")]
    NoSubtree,
    #[error("a directory names a tree whose id is zero")]
    NullSubtree,
    #[error("something that is not a directory has a tree, which prune does not count as used")]
    SubtreeOfNonDir,
    /// Harmless until something rewrites the tree.
    #[error("there are fields that this version does not know")]
    UnknownFields,
}

impl NodeProblem {
    /// Whether a restore of the node fails or may give something else than was backed up. The rest is odd, no more.
    pub fn is_damage(self) -> bool {
        !matches!(
            self,
            Self::TypeAgainstMode | Self::ContentOfNonFile | Self::SubtreeOfNonDir | Self::UnknownFields
        )
    }
}

/// Looks at the nodes of one tree in the order in which they stand there.
///
/// Whether the blobs exist and whether a file's size is the sum of theirs, only an index knows; that is checked elsewhere.
#[derive(Debug, Default)]
pub struct TreeValidator {
    last_name: Option<Vec<u8>>,
}

impl TreeValidator {
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty for a node that is as it should be.
    pub fn check(&mut self, node: &Node) -> Vec<NodeProblem> {
        let mut problems = Vec::new();
        problems.extend(node.safe_name().err().map(NodeProblem::UnsafeName));
        problems.extend(self.check_order(node));
        match node.mode.node_type() {
            _ if matches!(node.node_type, NodeType::Other(_)) => problems.push(NodeProblem::UnknownType),
            Some(said) if said == node.node_type => {}
            _ => problems.push(NodeProblem::TypeAgainstMode),
        }
        check_content(node, &mut problems);
        if node.unknown_fields {
            problems.push(NodeProblem::UnknownFields);
        }
        problems
    }

    fn check_order(&mut self, node: &Node) -> Option<NodeProblem> {
        let Some(last) = &mut self.last_name else {
            self.last_name = Some(node.name.clone());
            return None;
        };
        let problem = match node.name.cmp(last) {
            std::cmp::Ordering::Less => Some(NodeProblem::Unsorted),
            std::cmp::Ordering::Equal => Some(NodeProblem::Duplicate),
            std::cmp::Ordering::Greater => None,
        };
        last.clone_from(&node.name);
        problem
    }
}

fn check_content(node: &Node, problems: &mut Vec<NodeProblem>) {
    let null = BlobId::from_bytes([0; ID_BYTES]);
    match (&node.content, &node.node_type) {
        (None, NodeType::File) => problems.push(NodeProblem::NoContent),
        (Some(blobs), NodeType::File) if blobs.contains(&null) => problems.push(NodeProblem::NullContentId),
        (None, _) | (Some(_), NodeType::File) => {}
        (Some(_), _) => problems.push(NodeProblem::ContentOfNonFile),
    }
    match (&node.subtree, &node.node_type) {
        (None, NodeType::Dir) => problems.push(NodeProblem::NoSubtree),
        (Some(subtree), NodeType::Dir) if *subtree == null => problems.push(NodeProblem::NullSubtree),
        (None, _) | (Some(_), NodeType::Dir) => {}
        (Some(_), _) => problems.push(NodeProblem::SubtreeOfNonDir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{FileMode, FormatError, decode_tree};

    const DIR: u32 = 0o040_755;
    const FILE: u32 = 0o100_644;

    fn node(name: &str, node_type: NodeType, st_mode: u32) -> Node {
        Node {
            mode: FileMode::from_st_mode(st_mode),
            ..Node::new(name, node_type)
        }
    }

    fn problems(node: &Node) -> Vec<NodeProblem> {
        TreeValidator::new().check(node)
    }

    #[test]
    fn good_nodes_have_no_problems() {
        assert_eq!(problems(&node("a", NodeType::File, FILE)), []);
        let dir = Node {
            subtree: Some(BlobId::of(b"")),
            ..node("a", NodeType::Dir, DIR)
        };
        assert_eq!(problems(&dir), []);
        assert_eq!(problems(&node("a", NodeType::Fifo, 0o010_000)), []);
    }

    #[test]
    fn order_is_compared_with_the_node_before() {
        let mut validator = TreeValidator::new();
        let found = ["b", "b", "a", "c"].map(|name| validator.check(&node(name, NodeType::File, FILE)));
        assert_eq!(
            found,
            [
                vec![],
                vec![NodeProblem::Duplicate],
                vec![NodeProblem::Unsorted],
                vec![]
            ]
        );
    }

    #[test]
    fn types_content_and_trees_must_fit() {
        use NodeProblem::*;
        let null = BlobId::from_bytes([0; 32]);
        assert_eq!(problems(&node("a", NodeType::File, DIR)), [TypeAgainstMode]);
        assert_eq!(problems(&node("a", NodeType::Dir, DIR)), [NoSubtree]);
        let with_tree = |node_type, st_mode| Node {
            subtree: Some(null),
            ..node("a", node_type, st_mode)
        };
        assert_eq!(problems(&with_tree(NodeType::Dir, DIR)), [NullSubtree]);
        assert_eq!(problems(&with_tree(NodeType::File, FILE)), [SubtreeOfNonDir]);
        let with_content = |node_type, st_mode, content| Node {
            content,
            ..node("a", node_type, st_mode)
        };
        assert_eq!(problems(&with_content(NodeType::File, FILE, None)), [NoContent]);
        assert_eq!(
            problems(&with_content(NodeType::File, FILE, Some(vec![null]))),
            [NullContentId]
        );
        assert_eq!(
            problems(&with_content(NodeType::Fifo, 0o010_000, Some(vec![]))),
            [ContentOfNonFile]
        );
        assert_eq!(
            problems(&node("", NodeType::Other("x".into()), 0)),
            [UnsafeName(super::UnsafeName::Empty), UnknownType]
        );
    }

    #[test]
    fn what_only_a_hostile_writer_stores_can_be_read_and_is_reported() {
        let json = r#"{"nodes":[{"name":"../a","type":"file","content":[]},{"name":"","type":"file","content":[]},
            {"name":"..","type":"file","content":[]},{"name":"\\x00","type":"file","content":[],"more":1}]}"#;
        let mut validator = TreeValidator::new();
        let mut found = Vec::new();
        decode_tree(json.as_bytes(), |node| {
            found.push(validator.check(&node));
            Ok::<_, FormatError>(())
        })
        .unwrap();
        assert_eq!(
            found,
            [
                vec![NodeProblem::UnsafeName(UnsafeName::Slash)],
                vec![NodeProblem::UnsafeName(UnsafeName::Empty), NodeProblem::Unsorted],
                vec![NodeProblem::UnsafeName(UnsafeName::Dots)],
                vec![
                    NodeProblem::UnsafeName(UnsafeName::Nul),
                    NodeProblem::Unsorted,
                    NodeProblem::UnknownFields
                ],
            ]
        );
    }
}
