//! Repositories written by hand, right or wrong, with the encoders of the format module.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use lifeboat::format::{
    BlobId, BlobType, Compressor, Config, FileId, FileMode, FileType, IndexId, KeyFile, Lock, MasterKey,
    Node, NodeType, PackEntry, PackId, ScryptParams, Snapshot, SnapshotId, Timestamp, TreeBuilder,
    ZonedTimestamp, encode_header, encode_index, encode_unpacked,
};

pub const PASSWORD: &str = "test";

/// A blob as it lies in a pack.
#[derive(Clone)]
pub struct Blob {
    pub id: BlobId,
    pub blob_type: BlobType,
    pub sealed: Vec<u8>,
    pub uncompressed_length: Option<u32>,
}

/// A repository in a folder.
pub struct Hand {
    pub root: PathBuf,
    pub key: MasterKey,
}

impl Hand {
    /// Config and one key, and nothing else.
    pub fn new(root: &Path) -> Self {
        let hand = Self {
            root: root.to_owned(),
            key: MasterKey::generate().unwrap(),
        };
        hand.key_file("2024-01-01T00:00:00Z", PASSWORD);
        let config = Config::create().unwrap().encode().unwrap();
        hand.put(FileType::Config, &hand.key.seal(&config).unwrap());
        hand
    }

    /// A key file that opens with `password`, at once.
    pub fn key_file(&self, created: &str, password: &str) -> FileId {
        let params = ScryptParams { n: 2, r: 1, p: 1 };
        let (user, host) = ("user".into(), "host".into());
        let file = KeyFile::create(&self.key, password, params, [7; 64], created.into(), user, host).unwrap();
        self.put(FileType::Key, &file.encode().unwrap())
    }

    /// Stores bytes under their name.
    pub fn put(&self, kind: FileType, bytes: &[u8]) -> FileId {
        let id = FileId::of(bytes);
        let path = self.path(kind, &id);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        id
    }

    pub fn path(&self, kind: FileType, id: &FileId) -> PathBuf {
        self.root.join(kind.path(id))
    }

    /// Stores JSON as restic stores indexes, snapshots and locks.
    pub fn put_json(&self, kind: FileType, json: &[u8]) -> FileId {
        let framed = encode_unpacked(&mut Compressor::default(), json).unwrap();
        self.put(kind, &self.key.seal(&framed).unwrap())
    }

    pub fn blob(&self, blob_type: BlobType, plain: &[u8]) -> Blob {
        let mut compressed = Vec::new();
        Compressor::default().compress(plain, &mut compressed).unwrap();
        Blob {
            id: BlobId::of(plain),
            blob_type,
            sealed: self.key.seal(&compressed).unwrap(),
            uncompressed_length: Some(plain.len() as u32),
        }
    }

    pub fn raw_blob(&self, blob_type: BlobType, plain: &[u8]) -> Blob {
        Blob {
            id: BlobId::of(plain),
            blob_type,
            sealed: self.key.seal(plain).unwrap(),
            uncompressed_length: None,
        }
    }

    /// Stores a pack of these blobs; what an index should say of it.
    pub fn pack(&self, blobs: &[Blob]) -> (PackId, Vec<PackEntry>) {
        self.pack_with_gap(blobs, 0)
    }

    /// The same with some bytes between the blobs and the header, which belong to nothing.
    pub fn pack_with_gap(&self, blobs: &[Blob], gap: usize) -> (PackId, Vec<PackEntry>) {
        let (mut bytes, mut entries) = (Vec::new(), Vec::new());
        for blob in blobs {
            entries.push(PackEntry {
                id: blob.id,
                blob_type: blob.blob_type,
                length: blob.sealed.len() as u32,
                uncompressed_length: blob.uncompressed_length,
                offset: bytes.len() as u32,
            });
            bytes.extend_from_slice(&blob.sealed);
        }
        bytes.resize(bytes.len() + gap, 0xee);
        bytes.extend(encode_header(&self.key, &entries).unwrap());
        (self.put(FileType::Pack, &bytes).into(), entries)
    }

    pub fn index(&self, packs: &[(PackId, Vec<PackEntry>)]) -> IndexId {
        let mut json = Vec::new();
        encode_index(
            &mut json,
            packs.iter().map(|(id, entries)| (*id, entries.as_slice())),
        )
        .unwrap();
        self.put_json(FileType::Index, &json).into()
    }

    pub fn snapshot(&self, tree: BlobId) -> SnapshotId {
        let time = Timestamp::new(1_700_000_000, 0).unwrap();
        let mut snapshot = Snapshot::new(ZonedTimestamp::utc(time), tree);
        snapshot.paths = vec!["/p".into()];
        snapshot.hostname = "host".into();
        self.put_json(FileType::Snapshot, &snapshot.encode()).into()
    }

    /// A lock that was written `seconds` after 1970.
    pub fn lock(&self, seconds: i64, exclusive: bool) -> FileId {
        let time = ZonedTimestamp::utc(Timestamp::new(seconds, 0).unwrap());
        let lock = Lock {
            time: time.to_string(),
            exclusive,
            hostname: "elsewhere".into(),
            username: "u".into(),
            pid: 1,
            uid: 0,
            gid: 0,
        };
        self.put_json(FileType::Lock, &lock.encode().unwrap())
    }

    /// One data pack, one tree pack, one index, one snapshot of this tree.
    pub fn store(&self, data: &[Blob], tree: &[u8]) -> SnapshotId {
        let root = self.blob(BlobType::Tree, tree);
        let id = root.id;
        let mut packs = vec![self.pack(&[root])];
        if !data.is_empty() {
            packs.push(self.pack(data));
        }
        self.index(&packs);
        self.snapshot(id)
    }
}

pub fn file(name: &str, content: &[(BlobId, u64)]) -> Node {
    Node {
        mode: FileMode::from_st_mode(0o100_644),
        size: content.iter().map(|(_, length)| length).sum(),
        content: Some(content.iter().map(|(id, _)| *id).collect()),
        ..timed(Node::new(name, NodeType::File))
    }
}

pub fn folder(name: &str, subtree: BlobId) -> Node {
    Node {
        mode: FileMode::from_st_mode(0o040_755),
        subtree: Some(subtree),
        ..timed(Node::new(name, NodeType::Dir))
    }
}

fn timed(node: Node) -> Node {
    let time = Timestamp::new(1_600_000_000, 5).unwrap();
    Node {
        mtime: time,
        atime: time,
        ctime: time,
        ..node
    }
}

pub fn tree(nodes: &[Node]) -> Vec<u8> {
    let mut builder = TreeBuilder::new();
    for node in nodes {
        builder.push(node).unwrap();
    }
    builder.finish().1
}

/// A tree from nodes that no builder would take: in any order, with any name.
pub fn wild_tree(nodes: &[Node]) -> Vec<u8> {
    let mut json = br#"{"nodes":["#.to_vec();
    for (n, node) in nodes.iter().enumerate() {
        if n > 0 {
            json.push(b',');
        }
        let safe = Node {
            name: b"SAFE".to_vec(),
            ..node.clone()
        };
        let one = String::from_utf8(tree(&[safe])).unwrap();
        let one = one
            .strip_prefix("{\"nodes\":[")
            .and_then(|rest| rest.strip_suffix("]}\n"))
            .unwrap();
        let name = std::str::from_utf8(&node.name).unwrap();
        json.extend_from_slice(one.replacen("SAFE", name, 1).as_bytes());
    }
    json.extend_from_slice(b"]}\n");
    json
}

/// A good repository with something of everything: two data packs, two tree packs, two indexes, two
/// snapshots, a second key and two locks.
pub fn specimen(root: &Path) -> Hand {
    let hand = Hand::new(root);
    let blobs: Vec<Blob> = (0..6_u8)
        .map(|n| {
            let plain: Vec<u8> = (0..3000_u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ n)
                .collect();
            if n % 2 == 0 {
                hand.blob(BlobType::Data, &plain)
            } else {
                hand.raw_blob(BlobType::Data, &plain)
            }
        })
        .collect();
    let lengths: Vec<(BlobId, u64)> = blobs.iter().map(|blob| (blob.id, 3000)).collect();
    let inner = tree(&[file("x", &lengths[..2]), file("y", &lengths[1..4])]);
    let inner = hand.blob(BlobType::Tree, &inner);
    let first = tree(&[
        folder("d", inner.id),
        file("empty", &[]),
        file("z", &lengths[3..5]),
    ]);
    let first = hand.blob(BlobType::Tree, &first);
    let second = tree(&[folder("d", inner.id), file("z", &lengths[4..])]);
    let second = hand.blob(BlobType::Tree, &second);
    let (root_1, root_2) = (first.id, second.id);
    hand.index(&[hand.pack(&blobs[..3]), hand.pack(&[inner, first])]);
    hand.index(&[hand.pack(&blobs[3..]), hand.pack(&[second])]);
    hand.snapshot(root_1);
    hand.snapshot(root_2);
    hand.key_file("2024-02-03T04:05:06.789+01:00", "other");
    hand
}

/// A stored file.
pub struct Stored {
    pub kind: FileType,
    pub path: PathBuf,
    /// As findings name it.
    pub name: String,
}

/// Every stored file in a repository, in a fixed order.
pub fn stored_files(root: &Path) -> Vec<Stored> {
    let mut files = Vec::new();
    for kind in FileType::ALL {
        let mut found = Vec::new();
        match kind.dir() {
            None => found.push(root.join("config")),
            Some(dir) => collect(&root.join(dir), &mut found),
        }
        found.sort();
        files.extend(found.into_iter().map(|path| {
            let id = path.file_name().unwrap().to_str().unwrap();
            let name = kind.dir().map_or("config".into(), |dir| format!("{dir}/{id}"));
            Stored { kind, path, name }
        }));
    }
    files
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Copies a repository so that the copy can be damaged.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
