//! Documents for programs, with the names that restic gives things.

use lifeboat::{
    Entry, KeyInfo,
    format::{Node, NodeType, Snapshot, SnapshotId, ZonedTimestamp},
};
use serde_json::{Map, Value, json};

use crate::text;

/// What is stored of a snapshot, with its id.
pub(crate) fn snapshot(id: &SnapshotId, snapshot: &Snapshot) -> Value {
    let mut fields: Map<String, Value> = serde_json::from_slice(&snapshot.encode()).unwrap_or_default();
    fields.insert("id".into(), json!(id));
    fields.insert("short_id".into(), json!(id.short()));
    Value::Object(fields)
}

/// The first line of a listing.
pub(crate) fn snapshot_line(id: &SnapshotId, found: &Snapshot) -> Value {
    let mut line = snapshot(id, found);
    line["message_type"] = json!("snapshot");
    line["struct_type"] = json!("snapshot");
    line
}

/// One entry of a listing.
pub(crate) fn node_line(entry: &Entry) -> Value {
    let node = &entry.node;
    let time = |timestamp| ZonedTimestamp::utc(timestamp).to_string();
    let mut line = json!({
        "message_type": "node",
        "struct_type": "node",
        "name": String::from_utf8_lossy(&node.name),
        "type": node.node_type.as_str(),
        "path": entry.path.to_string_lossy(),
        "uid": node.uid,
        "gid": node.gid,
        "mode": node.mode.0,
        "permissions": permissions(node),
        "mtime": time(node.mtime),
        "atime": time(node.atime),
        "ctime": time(node.ctime),
        "inode": node.inode,
    });
    if node.node_type == NodeType::File {
        line["size"] = json!(node.size);
    }
    if let Some(log) = &entry.log {
        // One thing, although it is stored as two files; the size is that of the first.
        line["type"] = json!("database");
        line["log_size"] = json!(log.size);
    }
    line
}

/// The mode as `ls -l` writes it, with Go's letters for what is not a file.
pub(crate) fn permissions(node: &Node) -> String {
    let kind = match node.node_type {
        NodeType::File => "-",
        NodeType::Dir => "d",
        NodeType::Symlink => "L",
        NodeType::Dev => "D",
        NodeType::CharDev => "Dc",
        NodeType::Fifo => "p",
        NodeType::Socket => "S",
        NodeType::Other(_) => "?",
    };
    let letters = "rwxrwxrwx".char_indices().map(|(index, letter)| {
        let set = node.mode.0 & (0o400 >> index) != 0;
        if set { letter } else { '-' }
    });
    kind.chars().chain(letters).collect()
}

pub(crate) fn key(key: &KeyInfo) -> Value {
    json!({
        "current": key.current,
        "id": key.id,
        "userName": key.username,
        "hostName": key.hostname,
        "created": key_time(key),
    })
}

/// When a key was made, as restic shows it. A text that is no time is shown as it is.
pub(crate) fn key_time(key: &KeyInfo) -> String {
    ZonedTimestamp::parse(&key.created)
        .map_or_else(|_| key.created.clone(), |time| text::local_time(time.timestamp))
}

#[cfg(test)]
mod tests {
    use lifeboat::format::{BlobId, FileMode};

    use super::*;

    #[test]
    fn a_snapshot_is_what_is_stored_and_its_id() {
        let id = SnapshotId::of(b"x");
        let mut stored = Snapshot::new(ZonedTimestamp::YEAR_ONE, BlobId::of(b"tree"));
        stored.tags = vec!["t".into()];
        let document = snapshot(&id, &stored);
        assert_eq!(document["id"], id.to_string());
        assert_eq!(document["short_id"], id.short());
        assert_eq!(document["tree"], stored.tree.to_string());
        assert_eq!(document["tags"], json!(["t"]));
        assert_eq!(snapshot_line(&id, &stored)["message_type"], "snapshot");
    }

    #[test]
    fn permissions_are_written_as_restic_does() {
        for (kind, st_mode, text) in [
            (NodeType::File, 0o100_640, "-rw-r-----"),
            (NodeType::Dir, 0o040_755, "drwxr-xr-x"),
            (NodeType::Symlink, 0o120_777, "Lrwxrwxrwx"),
        ] {
            let mut node = Node::new("x", kind);
            node.mode = FileMode::from_st_mode(st_mode);
            assert_eq!(permissions(&node), text);
        }
    }
}
