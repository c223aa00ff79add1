//! Trees, names and snapshots that real restic wrote: read, written again, the same to the byte.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

use std::{collections::HashMap, path::Path};

use lifeboat::format::*;
use serde_json::Value;

fn vectors(file: &str) -> Value {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors")).join(file);
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

fn read_tree(plaintext: &str) -> Vec<Node> {
    let mut validator = TreeValidator::new();
    let mut nodes = Vec::new();
    let summary = decode_tree(plaintext.as_bytes(), |node| {
        assert_eq!(validator.check(&node), [], "{node:?}");
        nodes.push(node);
        Ok::<_, FormatError>(())
    })
    .unwrap();
    assert_eq!(
        summary,
        TreeSummary {
            nodes: nodes.len() as u64,
            unknown_fields: false
        }
    );
    nodes
}

fn built(mut builder: TreeBuilder, nodes: &[Node]) -> (String, String) {
    for node in nodes {
        builder.push(node).unwrap();
    }
    let (id, plaintext) = builder.finish();
    (String::from_utf8(plaintext).unwrap(), id.to_string())
}

#[test]
fn trees_of_both_repositories_are_written_again_as_they_were() {
    for repository in ["repo-basic", "repo-second"] {
        let expected = vectors(&format!("{repository}/expected.json"));
        for tree in list(&expected["trees"]) {
            let nodes = read_tree(text(&tree["plaintext"]));
            let (plaintext, id) = built(TreeBuilder::new(), &nodes);
            assert_eq!(plaintext, text(&tree["plaintext"]));
            assert_eq!(id, text(&tree["id"]));
        }
    }
}

#[test]
fn snapshots_of_both_repositories_are_written_again_as_they_were() {
    for repository in ["repo-basic", "repo-second"] {
        let expected = vectors(&format!("{repository}/expected.json"));
        for snapshot in list(&expected["snapshots"]) {
            let plaintext = text(&snapshot["plaintext"]);
            let decoded = Snapshot::decode(plaintext.as_bytes()).unwrap();
            assert!(!decoded.unknown_fields);
            assert_eq!(String::from_utf8(decoded.encode()).unwrap(), plaintext);
        }
    }
}

/// What a scan finds for one entry, as the node that restic makes of it.
fn node_of_stat(stat: &Value) -> Node {
    let number = |key: &str| stat[key].as_u64().unwrap();
    let time = |key: &str| {
        let nanos = stat[key].as_i64().unwrap();
        Timestamp::new(
            nanos.div_euclid(1_000_000_000),
            nanos.rem_euclid(1_000_000_000) as u32,
        )
        .unwrap()
    };
    let id = |value: &Value| text(value).parse::<BlobId>().unwrap();
    let st_mode = u32::from_str_radix(&text(&stat["st_mode_octal"])[2..], 8).unwrap();
    let mode = FileMode::from_st_mode(st_mode);
    let node_type = mode.node_type().unwrap();
    let is_device = matches!(node_type, NodeType::Dev | NodeType::CharDev);
    let has_links = is_device || matches!(node_type, NodeType::File | NodeType::Symlink);
    let is_file = node_type == NodeType::File;
    let optional_text = |key: &str| stat.get(key).map(text).unwrap_or_default().to_owned();
    Node {
        mode,
        mtime: time("mtime_ns"),
        atime: time("mtime_ns"),
        ctime: time("ctime_ns"),
        uid: number("uid") as u32,
        gid: number("gid") as u32,
        user: optional_text("user"),
        group: optional_text("group"),
        inode: number("ino"),
        device_id: number("dev"),
        size: if is_file { number("size") } else { 0 },
        links: if has_links { number("nlink") } else { 0 },
        device: if is_device { number("rdev") } else { 0 },
        link_target: stat.get("linktarget_hex").map(bytes).unwrap_or_default(),
        extended_attributes: stat
            .get("xattrs_in_list_order")
            .map(attributes)
            .unwrap_or_default(),
        content: stat.get("content").map(|ids| list(ids).iter().map(id).collect()),
        subtree: stat.get("subtree").map(id),
        ..Node::new(bytes(&stat["name_hex"]), node_type)
    }
}

fn attributes(value: &Value) -> Vec<ExtendedAttribute> {
    let attribute = |pair: &Value| ExtendedAttribute {
        name: text(&pair[0]).to_owned(),
        value: bytes(&pair[1]),
    };
    list(value).iter().map(attribute).collect()
}

#[test]
fn every_kind_of_node_in_four_zones_is_written_as_restic_writes_it() {
    let file = vectors("trees.json");
    for tree in list(&file["trees"]) {
        let nodes: Vec<Node> = list(&tree["nodes"]).iter().map(node_of_stat).collect();
        let mut offsets = HashMap::new();
        for (stat, node) in list(&tree["nodes"]).iter().zip(&nodes) {
            offsets.insert(node.mtime, stat["mtime_utc_offset"].as_i64().unwrap() as i32);
            offsets.insert(node.ctime, stat["ctime_utc_offset"].as_i64().unwrap() as i32);
        }
        let offset_of = move |time: Timestamp| offsets[&time];
        let (plaintext, id) = built(TreeBuilder::in_zone(offset_of.clone()), &nodes);
        assert_eq!(plaintext, text(&tree["expected_tree_bytes"]), "{}", tree["tz"]);
        assert_eq!(id, text(&tree["expected_tree_id"]));

        let again = read_tree(text(&tree["expected_tree_bytes"]));
        assert_eq!(again, nodes);
        assert_eq!(built(TreeBuilder::in_zone(offset_of), &again).1, id);
    }
}

#[test]
fn names_are_written_as_restic_writes_them() {
    let file = vectors("names.json");
    let mut last = None;
    for case in list(&file["names"]) {
        let name = bytes(&case["name_hex"]);
        assert_eq!(quote(&name), text(&case["node_name_field"]));
        assert_eq!(unquote(text(&case["node_name_field"])).as_ref(), Ok(&name));

        let mut builder = TreeBuilder::new();
        builder.push(&Node::new(name.clone(), NodeType::Fifo)).unwrap();
        let plaintext = String::from_utf8(builder.finish().1).unwrap();
        let expected = format!("{{\"nodes\":[{{\"name\":{},\"type\"", text(&case["json_literal"]));
        assert!(plaintext.starts_with(&expected), "{plaintext}");
        assert!(
            last < Some(name.clone()),
            "the vectors stand in the order of a tree"
        );
        last = Some(name);
    }
}

#[test]
fn names_are_read_as_restic_reads_them() {
    let file = vectors("name-unquote.json");
    for case in list(&file["cases"]) {
        let literal = text(&case["node_name_field"]);
        let expected = (!case["decoded_hex"].is_null()).then(|| bytes(&case["decoded_hex"]));
        assert_eq!(unquote(literal).ok(), expected, "{literal:?}");
    }
}
