//! Trees: the entries of a directory as one JSON document, whose hash is the tree's id.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{self, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess},
};

use super::{BlobId, FormatError, Node, Timestamp, UnsafeName};

/// Why a node cannot be the next of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Names ascend by their bytes, and none comes twice.
    #[error("a node does not follow the one before it by the bytes of their names")]
    OutOfOrder,
    #[error(transparent)]
    UnsafeName(#[from] UnsafeName),
}

/// Makes the stored form of a directory from its nodes in order.
///
/// Equal nodes give equal bytes, the same that restic gives where it runs in UTC.
pub struct TreeBuilder {
    json: Vec<u8>,
    last_name: Option<Vec<u8>>,
    offset_of: Box<dyn Fn(Timestamp) -> i32 + Send>,
}

impl TreeBuilder {
    pub fn new() -> Self {
        Self::in_zone(|_| 0)
    }

    /// Writes times as the clocks of some zone show them: `offset_of` gives seconds ahead of UTC for an instant.
    ///
    /// restic writes times in the zone of its process, so this makes the trees that it makes there. The engine itself
    /// writes UTC, lest a journey changes every tree.
    pub fn in_zone(offset_of: impl Fn(Timestamp) -> i32 + Send + 'static) -> Self {
        Self {
            json: br#"{"nodes":["#.to_vec(),
            last_name: None,
            offset_of: Box::new(offset_of),
        }
    }

    /// Appends `node`. Its name must be safe and follow the last one in strictly ascending order of bytes; otherwise
    /// nothing changes.
    pub fn push(&mut self, node: &Node) -> Result<(), TreeError> {
        node.safe_name()?;
        match &mut self.last_name {
            Some(last) if *last >= node.name => return Err(TreeError::OutOfOrder),
            Some(last) => {
                last.clone_from(&node.name);
                self.json.push(b',');
            }
            None => self.last_name = Some(node.name.clone()),
        }
        node.write(&self.offset_of, &mut self.json);
        Ok(())
    }

    /// Bytes of JSON so far, for limits on memory.
    pub fn len_bytes(&self) -> usize {
        self.json.len()
    }

    /// The id of the tree, and the plaintext that has it.
    pub fn finish(mut self) -> (BlobId, Vec<u8>) {
        self.json.extend_from_slice(b"]}\n");
        (BlobId::of(&self.json), self.json)
    }
}

impl Default for TreeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// What there is to say about a tree that was read to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeSummary {
    pub nodes: u64,
    /// The tree or a node in it holds more than the records here do: building it again from them loses that.
    pub unknown_fields: bool,
}

/// Reads a tree, node by node: one is in memory at a time.
///
/// Reads what restic reads, which is more than what it writes; [`TreeValidator`](super::TreeValidator) finds what is
/// wrong with a node. `on_node` may have seen nodes before this fails, so what it does must wait for the end or bear that.
/// Its own error ends the reading and is returned.
pub fn decode_tree<E: From<FormatError>>(
    plaintext: &[u8],
    mut on_node: impl FnMut(Node) -> Result<(), E>,
) -> Result<TreeSummary, E> {
    let mut refusal = None;
    let mut offer = |node| match on_node(node) {
        Ok(()) => true,
        Err(error) => {
            refusal = Some(error);
            false
        }
    };
    let mut summary = TreeSummary::default();
    let read = read_document(
        plaintext,
        &mut Receiver {
            offer: &mut offer,
            summary: &mut summary,
        },
    );
    match (refusal, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(FormatError::malformed(format!("a tree cannot be read: {error}")).into()),
        (None, Ok(())) => Ok(summary),
    }
}

fn read_document(plaintext: &[u8], receiver: &mut Receiver<'_>) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(plaintext);
    deserializer.deserialize_map(Document(receiver))?;
    // restic does not look behind the document.
    receiver.summary.unknown_fields |= deserializer.end().is_err();
    Ok(())
}

struct Receiver<'a> {
    /// False to end the reading.
    offer: &'a mut dyn FnMut(Node) -> bool,
    summary: &'a mut TreeSummary,
}

struct Document<'a, 'b>(&'a mut Receiver<'b>);

impl<'de> de::Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list of nodes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        // Unlike the fields of a node this key has one spelling, and its first occurrence counts.
        while let Some(IsNodes(is_nodes)) = map.next_key()? {
            if is_nodes && !found {
                map.next_value_seed(Nodes(&mut *self.0))?;
                found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
                self.0.summary.unknown_fields = true;
            }
        }
        if found {
            Ok(())
        } else {
            Err(A::Error::custom("there is no list of nodes"))
        }
    }
}

struct IsNodes(bool);

impl<'de> de::Deserialize<'de> for IsNodes {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl de::Visitor<'_> for Key {
            type Value = IsNodes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_bytes<E: de::Error>(self, key: &[u8]) -> Result<IsNodes, E> {
                Ok(IsNodes(key == b"nodes"))
            }
        }
        deserializer.deserialize_bytes(Key)
    }
}

struct Nodes<'a, 'b>(&'a mut Receiver<'b>);

impl<'de> DeserializeSeed<'de> for Nodes<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> de::Visitor<'de> for Nodes<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of nodes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut nodes: A) -> Result<(), A::Error> {
        while let Some(node) = nodes.next_element::<Node>()? {
            self.0.summary.nodes += 1;
            self.0.summary.unknown_fields |= node.unknown_fields;
            if !(self.0.offer)(node) {
                return Err(A::Error::custom("the reader has seen enough"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::NodeType;

    fn read(json: &[u8]) -> Result<(Vec<Node>, TreeSummary), FormatError> {
        let mut nodes = Vec::new();
        let summary = decode_tree(json, |node| {
            nodes.push(node);
            Ok::<_, FormatError>(())
        })?;
        Ok((nodes, summary))
    }

    fn build(nodes: &[Node]) -> (BlobId, Vec<u8>) {
        let mut builder = TreeBuilder::new();
        for node in nodes {
            builder.push(node).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn the_empty_tree_has_the_id_that_it_has_everywhere() {
        let (id, json) = TreeBuilder::new().finish();
        assert_eq!(json, b"{\"nodes\":[]}\n");
        assert_eq!(
            id.to_string(),
            "ac08ce34ba4f8123618661bef2425f7028ffb9ac740578a3ee88684d2523fee8"
        );
        assert_eq!(read(&json), Ok((vec![], TreeSummary::default())));
    }

    #[test]
    fn names_ascend_by_bytes() {
        let file = |name: &str| Node::new(name, NodeType::File);
        let mut builder = TreeBuilder::new();
        for name in ["B", "a", "a.", "a0", "b", "\u{ffff}", "\u{10000}"] {
            assert_eq!(builder.push(&file(name)), Ok(()), "{name}");
            let before = builder.len_bytes();
            assert_eq!(builder.push(&file(name)), Err(TreeError::OutOfOrder), "{name}");
            assert_eq!(builder.push(&file("A")), Err(TreeError::OutOfOrder), "{name}");
            assert_eq!(builder.len_bytes(), before);
        }
        assert_eq!(
            builder.push(&file("\u{10000}/")),
            Err(TreeError::UnsafeName(UnsafeName::Slash))
        );
        assert_eq!(read(&builder.finish().1).unwrap().1.nodes, 7);
    }

    #[test]
    fn surroundings_of_the_nodes_are_skipped_and_noticed() {
        for json in [
            r#"{"v":{"nodes":[1]},"nodes":[{"name":"a"}]}"#,
            r#"{"nodes":[{"name":"a"}],"Nodes":7,"nodes":[{"name":"b"}]}"#,
            r#"{"nodes":[{"name":"a","x":0}]}"#,
            r#"{"nodes":[{"name":"a"}]} and more"#,
        ] {
            let (nodes, summary) = read(json.as_bytes()).unwrap();
            assert_eq!(nodes[0].name, b"a", "{json}");
            assert_eq!(
                summary,
                TreeSummary {
                    nodes: 1,
                    unknown_fields: true
                },
                "{json}"
            );
        }
        let (_, summary) = read(b" { \"nodes\" : [ {\"name\":\"a\"} ] } \n\n").unwrap();
        assert!(!summary.unknown_fields);
    }

    #[test]
    fn documents_without_a_list_of_nodes_are_refused() {
        for json in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"Nodes":[]}"#,
            r#"{"nodes":null}"#,
            r#"{"nodes":{}}"#,
            r#"{"nodes":[{"name":"a"}"#,
            r#"{"nodes":[1]}"#,
            r#"{"nodes":[{"name":"a\\q"}]}"#,
        ] {
            assert!(
                matches!(read(json.as_bytes()), Err(FormatError::Malformed(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn a_refusal_ends_the_reading_and_comes_back_as_it_is() {
        #[derive(Debug, PartialEq)]
        enum Stop {
            Enough,
            Format(FormatError),
        }
        impl From<FormatError> for Stop {
            fn from(error: FormatError) -> Self {
                Self::Format(error)
            }
        }
        let mut seen = 0;
        let result = decode_tree(br#"{"nodes":[{"name":"a"},{"name":"b"},garbage"#, |_| {
            seen += 1;
            if seen == 2 { Err(Stop::Enough) } else { Ok(()) }
        });
        assert_eq!((result, seen), (Err(Stop::Enough), 2));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_changes_to_a_tree_make_reading_panic(
            names in prop::collection::btree_set("[a-z\u{200d}\"\\\\]{1,4}", 0..4),
            changes in prop::collection::vec((any::<prop::sample::Index>(), "[\"\\\\,:{}\\[\\]0-9a-z\u{ff}]"), 0..4),
        ) {
            let nodes: Vec<Node> = names.iter().map(|name| Node::new(name.as_str(), NodeType::File)).collect();
            let (id, mut json) = build(&nodes);
            let (again, summary) = read(&json).unwrap();
            prop_assert_eq!(&again, &nodes);
            prop_assert_eq!(summary.nodes, nodes.len() as u64);
            prop_assert_eq!(build(&again).0, id);
            for (at, byte) in changes {
                let at = at.index(json.len());
                json[at] = byte.as_bytes()[0];
            }
            let _ = read(&json);
        }
    }
}
