//! What one tree says, judged by itself. Pure computing.

use std::collections::HashMap;

use super::findings::Findings;
use super::job::Severity;
use crate::format::{
    BlobId, FormatError, ID_BYTES, Node, NodeProblem, NodeType, Timestamp, TreeBuilder, TreeValidator,
    ZonedTimestamp, decode_tree, quote,
};

/// What the rest of the check needs of a tree.
#[derive(Debug, Default)]
pub(super) struct TreeFacts {
    /// The subject of each is the name of a node, or empty for the tree itself.
    pub(super) found: Findings,
    pub(super) files: Vec<FileFacts>,
    pub(super) folders: Vec<(Vec<u8>, BlobId)>,
}

#[derive(Debug)]
pub(super) struct FileFacts {
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    pub(super) content: Vec<BlobId>,
}

/// Reads a tree whose plaintext hashes to `id`.
pub(super) fn inspect(id: &BlobId, plaintext: &[u8]) -> Result<TreeFacts, FormatError> {
    let mut facts = TreeFacts::default();
    let mut validator = TreeValidator::new();
    let mut builder = Some(TreeBuilder::new());
    let summary = decode_tree(plaintext, |node| {
        for problem in validator.check(&node) {
            let severity = if problem.is_damage() {
                Severity::Error
            } else {
                Severity::Hint
            };
            facts.found.add(severity, quote(&node.name), explain(problem));
        }
        // Out of order or with an unsafe name: told above, and there is no form to compare with.
        if builder
            .as_mut()
            .is_some_and(|builder| builder.push(&node).is_err())
        {
            builder = None;
        }
        facts.take(node);
        Ok::<_, FormatError>(())
    })?;
    let Some(builder) = builder else {
        return Ok(facts);
    };
    // Building it with offsets costs a second reading, so that is for trees that were written outside of UTC.
    let canonical = !summary.unknown_fields
        && (builder.finish().0 == *id
            || rebuilt_in_its_zone(plaintext).is_some_and(|rebuilt| rebuilt == *id));
    if !canonical {
        let text = "it is not written as restic writes folders: `restic rewrite` refuses snapshots with it";
        facts.found.hint("", text);
    }
    Ok(facts)
}

impl TreeFacts {
    fn take(&mut self, node: Node) {
        let null = BlobId::from_bytes([0; ID_BYTES]);
        match node.node_type {
            NodeType::File => {
                // A list that is missing or holds nulls was told already, and says nothing of the size.
                if let Some(content) = node.content.filter(|content| !content.contains(&null)) {
                    self.files.push(FileFacts {
                        name: node.name,
                        size: node.size,
                        content,
                    });
                }
            }
            NodeType::Dir => {
                if let Some(subtree) = node.subtree.filter(|subtree| *subtree != null) {
                    self.folders.push((node.name, subtree));
                }
            }
            _ => {}
        }
    }
}

fn explain(problem: NodeProblem) -> String {
    let advice = match problem {
        NodeProblem::UnsafeName(_) => "; restoring it is refused",
        NodeProblem::UnknownFields => "; `restic rewrite` refuses snapshots with it",
        NodeProblem::Unsorted | NodeProblem::Duplicate => {
            "; it may not be found, or be restored over another: back up again from the same source"
        }
        problem if problem.is_damage() => "; back up again from the same source",
        _ => "",
    };
    format!("{problem}{advice}")
}

/// The id that the tree has when it is written with the offsets that its times have; `None` where all are in
/// UTC.
///
/// restic writes times as the clocks of its process show them, and keeps their offsets when it writes a tree
/// again. In one tree an instant has one offset, so that instants tell which to use.
fn rebuilt_in_its_zone(plaintext: &[u8]) -> Option<BlobId> {
    let mut offsets: HashMap<Timestamp, i32> = HashMap::new();
    for key in [&b"\"mtime\":\""[..], b"\"atime\":\"", b"\"ctime\":\""] {
        // A quote inside of a string stands behind a backslash: this is found as a key only.
        for time in values(plaintext, key) {
            if let Some(time) = std::str::from_utf8(time)
                .ok()
                .and_then(|text| ZonedTimestamp::parse(text).ok())
                && time.offset_seconds != 0
            {
                offsets.insert(time.timestamp, time.offset_seconds);
            }
        }
    }
    if offsets.is_empty() {
        return None;
    }
    let mut builder = TreeBuilder::in_zone(move |time| offsets.get(&time).copied().unwrap_or(0));
    let read = decode_tree(plaintext, |node| {
        builder
            .push(&node)
            .map_err(|error| FormatError::malformed(error.to_string()))
    });
    read.ok().map(|_| builder.finish().0)
}

/// What stands between `key` and the next quote, wherever the key is.
fn values<'a>(text: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = rest.windows(key.len()).position(|window| window == key)?;
        rest = &rest[at + key.len()..];
        let end = rest.iter().position(|&byte| byte == b'"')?;
        Some(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::job::CheckReport, format::FileMode};

    fn node(name: &str, seconds: i64) -> Node {
        let time = Timestamp::new(seconds, 0).unwrap();
        Node {
            mode: FileMode::from_st_mode(0o100_644),
            mtime: time,
            atime: time,
            ctime: time,
            ..Node::new(name, NodeType::File)
        }
    }

    fn findings(json: &[u8]) -> Vec<(Severity, String)> {
        let mut report = CheckReport::default();
        inspect(&BlobId::of(json), json)
            .unwrap()
            .found
            .report(&mut report);
        report
            .findings
            .into_iter()
            .map(|f| (f.severity, f.text))
            .collect()
    }

    #[test]
    fn trees_from_any_zone_are_canonical_and_others_are_told() {
        // An hour more from the second instant on, as in summer.
        let zone = |time: Timestamp| if time.seconds() < 50 { 3600 } else { 7200 };
        for builder in [
            TreeBuilder::new(),
            TreeBuilder::in_zone(zone),
            TreeBuilder::in_zone(|_| -12_600),
        ] {
            let mut builder = builder;
            for (n, name) in ["a", "b \"mtime\":\"x", "c"].into_iter().enumerate() {
                builder.push(&node(name, n as i64 * 40)).unwrap();
            }
            let (_, json) = builder.finish();
            assert_eq!(findings(&json), [], "{}", String::from_utf8_lossy(&json));
            let text = String::from_utf8(json).unwrap();
            for other in [
                text.replacen(',', ", ", 1),
                text.replacen("\"uid\":0,", "", 1),
                text.trim_end().to_owned(),
                text.replacen("1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00", 1)
                    .replacen("]}", "] }", 1),
            ] {
                let found = findings(other.as_bytes());
                assert!(found.len() == 1 && found[0].0 == Severity::Hint, "{found:?}");
            }
        }
    }

    #[test]
    fn fields_that_nobody_knows_are_a_hint() {
        let mut builder = TreeBuilder::new();
        builder.push(&node("a", 0)).unwrap();
        let text = String::from_utf8(builder.finish().1).unwrap();
        let found = findings(text.replacen("\"uid\"", "\"x\":1,\"uid\"", 1).as_bytes());
        assert!(
            found.iter().any(|(_, text)| text.contains("fields")) && found[0].0 == Severity::Hint,
            "{found:?}"
        );
    }
}
