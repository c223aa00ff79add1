//! Repositories that no honest client writes, planted by hand: refused, with nothing changed.

use std::{fs, io::Read, path::Path, sync::Arc};

use lifeboat::{
    Kind,
    format::*,
    storage::{Body, LocalStorage, Storage},
};

use crate::support::{Bench, Tree, block_on, noise, write};

/// Writes what it is told to.
pub struct Planter {
    key: MasterKey,
    storage: LocalStorage,
    packs: Vec<(PackId, Vec<PackEntry>)>,
}

impl Planter {
    pub fn new(bench: &Bench) -> Self {
        Self {
            key: bench.key(),
            storage: LocalStorage::new(bench.path("vault")),
            packs: Vec::new(),
        }
    }

    fn put(&self, kind: FileType, bytes: Vec<u8>) -> FileId {
        let id = FileId::of(&bytes);
        let body = Body::Bytes(Arc::from(bytes));
        block_on(self.storage.put(kind, &id, body)).unwrap();
        id
    }

    /// A blob in a pack of its own.
    fn blob(&mut self, blob_type: BlobType, plain: &[u8]) -> BlobId {
        let mut pack = self.key.seal(plain).unwrap();
        let entry = PackEntry {
            id: BlobId::of(plain),
            blob_type,
            length: pack.len() as u32,
            uncompressed_length: None,
            offset: 0,
        };
        pack.extend(encode_header(&self.key, &[entry]).unwrap());
        self.packs
            .push((self.put(FileType::Pack, pack).into(), vec![entry]));
        entry.id
    }

    pub fn data(&mut self, plain: &[u8]) -> BlobId {
        self.blob(BlobType::Data, plain)
    }

    /// A tree of these nodes as they are, whatever their names and order.
    pub fn tree(&mut self, nodes: &[Node]) -> BlobId {
        let json: Vec<_> = nodes.iter().map(json).collect();
        let tree = format!("{{\"nodes\":[{}]}}\n", json.join(","));
        self.blob(BlobType::Tree, tree.as_bytes())
    }

    /// `change` sees the packs before the index names them.
    pub fn snapshot(mut self, tree: BlobId, change: impl FnOnce(&mut Vec<(PackId, Vec<PackEntry>)>)) {
        change(&mut self.packs);
        let mut index = Vec::new();
        encode_index(
            &mut index,
            self.packs.iter().map(|(id, entries)| (*id, &entries[..])),
        )
        .unwrap();
        let snapshot = Snapshot::new(ZonedTimestamp::utc(Timestamp::UNIX_EPOCH), tree).encode();
        for (kind, document) in [(FileType::Index, index), (FileType::Snapshot, snapshot)] {
            let framed = encode_unpacked(&mut Compressor::default(), &document).unwrap();
            self.put(kind, self.key.seal(&framed).unwrap());
        }
    }
}

/// A node as JSON; the format's own writer refuses to write such names into a tree.
fn json(node: &Node) -> String {
    let mut safe = node.clone();
    safe.name = b"PLACEHOLDER".to_vec();
    let mut tree = TreeBuilder::new();
    tree.push(&safe).unwrap();
    let json = String::from_utf8(tree.finish().1).unwrap();
    let node_json = json
        .trim_end()
        .strip_prefix("{\"nodes\":[")
        .unwrap()
        .strip_suffix("]}")
        .unwrap();
    node_json.replace("PLACEHOLDER", std::str::from_utf8(&node.name).unwrap())
}

pub fn file(name: &str, size: u64, content: &[BlobId]) -> Node {
    let mut node = Node::new(name, NodeType::File);
    node.mode = FileMode(0o644);
    node.size = size;
    node.content = Some(content.to_vec());
    (node.mtime, node.atime) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    node
}

pub fn dir(name: &str, tree: BlobId) -> Node {
    let mut node = Node::new(name, NodeType::Dir);
    node.mode = FileMode(1 << 31 | 0o755);
    node.subtree = Some(tree);
    node
}

fn link(name: &str, target: &str) -> Node {
    let mut node = Node::new(name, NodeType::Symlink);
    node.link_target = target.into();
    node
}

/// A bench with something in the target and beside it, which must stay as it is.
fn bench() -> (Bench, Tree) {
    let bench = Bench::new();
    write(&bench.path("target/kept"), b"kept");
    write(&bench.path("outside"), b"outside");
    let before = bench.target();
    (bench, before)
}

#[track_caller]
fn refused(bench: &Bench, before: &Tree, words: &[&str]) {
    let error = bench.restore(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no '{word}' in: {error}");
    }
    assert!(bench.target() == *before);
    assert_eq!(fs::read(bench.path("outside")).unwrap(), b"outside");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["..", ".", "", "a/b", "/", "../outside", "a\\\\x00b"] {
        let (bench, before) = bench();
        let mut planter = Planter::new(&bench);
        let blob = planter.data(b"evil");
        let inner = planter.tree(&[file(name, 4, &[blob])]);
        let tree = planter.tree(&[file("good", 4, &[blob]), dir("sub", inner)]);
        planter.snapshot(tree, |_| ());
        refused(&bench, &before, &["/sub: the entry"]);
        // What is beside it can still be had.
        bench.restore(&["/good"]).unwrap();
        assert_eq!(fs::read(bench.path("target/good")).unwrap(), b"evil");
    }
    for name in ["..", "a/b"] {
        let (bench, before) = bench();
        let mut planter = Planter::new(&bench);
        let blob = planter.data(b"evil");
        let inner = planter.tree(&[file("outside", 4, &[blob])]);
        let tree = planter.tree(&[dir(name, inner)]);
        planter.snapshot(tree, |_| ());
        refused(&bench, &before, &["/: the entry"]);
    }
}

#[test]
fn nothing_is_written_through_a_link_that_the_snapshot_brings() {
    let (bench, before) = bench();
    let mut planter = Planter::new(&bench);
    let blob = planter.data(b"evil");
    let inner = planter.tree(&[file("outside", 4, &[blob])]);
    let outside = bench.dir.path().to_str().unwrap().to_owned();
    let tree = planter.tree(&[link("a", &outside), dir("a", inner)]);
    planter.snapshot(tree, |_| ());
    refused(&bench, &before, &[]);

    // The other way round, and as a file.
    for second in [true, false] {
        let (bench, before) = self::bench();
        let mut planter = Planter::new(&bench);
        let blob = planter.data(b"evil");
        let outside = bench.path("outside").to_str().unwrap().to_owned();
        let mut nodes = vec![link("a", &outside), file("a", 4, &[blob])];
        if second {
            nodes.reverse();
        }
        let tree = planter.tree(&nodes);
        let tree = planter.tree(&[dir("d", tree)]);
        planter.snapshot(tree, |_| ());
        refused(&bench, &before, &["two entries"]);
    }
}

#[test]
fn a_tree_out_of_order_is_restored_unless_a_name_comes_twice() {
    let (bench, _) = bench();
    let mut planter = Planter::new(&bench);
    let (one, two) = (planter.data(b"one"), planter.data(b"two2"));
    let tree = planter.tree(&[file("b", 3, &[one]), file("a", 4, &[two])]);
    planter.snapshot(tree, |_| ());
    bench.restore(&[]).unwrap();
    assert_eq!(fs::read(bench.path("target/a")).unwrap(), b"two2");
    assert_eq!(fs::read(bench.path("target/b")).unwrap(), b"one");

    let (bench, before) = self::bench();
    let mut planter = Planter::new(&bench);
    let one = planter.data(b"one");
    let tree = planter.tree(&[file("b", 3, &[one]), file("a", 3, &[one]), file("b", 3, &[one])]);
    planter.snapshot(tree, |_| ());
    // Where it is staged anew the file is there already; where it was staged before, the names tell.
    refused(&bench, &before, &["two entries"]);
    refused(&bench, &before, &["two entries", "'b'"]);
}

#[test]
fn a_size_that_the_content_does_not_have_is_refused() {
    for size in [0, 3, 5, u64::MAX] {
        let (bench, before) = bench();
        let mut planter = Planter::new(&bench);
        let blob = planter.data(b"four");
        let inner = planter.tree(&[file("f", size, &[blob])]);
        let tree = planter.tree(&[dir("d", inner)]);
        planter.snapshot(tree, |_| ());
        refused(&bench, &before, &["/d/f", &size.to_string()]);
    }
    let (bench, before) = bench();
    let mut planter = Planter::new(&bench);
    let tree = planter.tree(&[file("f", 1 << 60, &[])]);
    planter.snapshot(tree, |_| ());
    refused(&bench, &before, &["/f"]);
}

#[test]
fn a_file_of_many_times_the_same_blob_is_refused_where_it_outgrows_its_size() {
    let (bench, before) = bench();
    let mut planter = Planter::new(&bench);
    let blob = planter.data(&[0; 1 << 20]);
    let tree = planter.tree(&[file("f", 5 << 20, &vec![blob; 200_000])]);
    planter.snapshot(tree, |_| ());
    refused(&bench, &before, &["/f"]);
}

#[test]
fn blobs_that_claim_more_than_memory_are_refused() {
    // In the index, and where the compressed data itself says so.
    for claim in [u32::MAX, (BLOB_PLAINTEXT_MAX + 1) as u32, 1 << 20] {
        let (bench, before) = bench();
        let mut planter = Planter::new(&bench);
        let mut bomb = Vec::new();
        Compressor::default()
            .compress(&vec![0; 64 << 20], &mut bomb)
            .unwrap();
        let blob = planter.data(&bomb);
        let tree = planter.tree(&[file("f", claim.into(), &[blob])]);
        planter.snapshot(tree, |packs| packs[0].1[0].uncompressed_length = Some(claim));
        refused(&bench, &before, &[]);
    }
    let (bench, before) = bench();
    let mut planter = Planter::new(&bench);
    let blob = planter.data(b"x");
    let tree = planter.tree(&[file("f", 1, &[blob])]);
    planter.snapshot(tree, |packs| {
        packs[0].1[0].length = u32::MAX - 100;
        packs[0].1[0].uncompressed_length = Some(1);
    });
    refused(&bench, &before, &[]);
}

#[test]
fn a_length_that_the_index_makes_up_is_found_out() {
    let (bench, before) = bench();
    let mut planter = Planter::new(&bench);
    let mut packed = Vec::new();
    let plain = vec![b'a'; 1000];
    Compressor::default().compress(&plain, &mut packed).unwrap();
    let sealed = planter.data(&packed);
    let tree = planter.tree(&[file("f", 900, &[BlobId::of(&plain)])]);
    planter.snapshot(tree, |packs| {
        assert_eq!(packs[0].1[0].id, sealed);
        packs[0].1[0].id = BlobId::of(&plain);
        packs[0].1[0].uncompressed_length = Some(900);
    });
    refused(&bench, &before, &["/f"]);
}

#[test]
fn folders_deeper_than_is_followed_are_refused_and_others_restored() {
    for (depth, ok) in [(limits(), true), (limits() + 1, false)] {
        let (bench, before) = bench();
        let mut planter = Planter::new(&bench);
        let blob = planter.data(b"deep");
        let mut tree = planter.tree(&[file("f", 4, &[blob])]);
        // Longer than any path that a system call takes.
        let name = "n".repeat(40);
        for _ in 0..depth {
            tree = planter.tree(&[dir(&name, tree)]);
        }
        planter.snapshot(tree, |_| ());
        if ok {
            assert_eq!(bench.restore(&[]).unwrap().dirs, depth as u64);
            // Once more: the folders are there now.
            assert_eq!(bench.restore(&[]).unwrap().files, 1);
        } else {
            refused(&bench, &before, &["folders deep"]);
        }
    }
}

fn limits() -> usize {
    lifeboat::limits::TREE_DEPTH_MAX
}

#[test]
fn links_need_the_same_content_and_more_than_one_name_each() {
    let (bench, _) = bench();
    let mut planter = Planter::new(&bench);
    let (one, two) = (planter.data(b"one"), planter.data(b"two"));
    let linked = |name, content, links| Node {
        links,
        inode: 7,
        device_id: 8,
        ..file(name, 3, &[content])
    };
    let tree = planter.tree(&[
        linked("a", one, 2),
        linked("b", two, 2),
        linked("c", one, 2),
        linked("d", one, 1),
    ]);
    planter.snapshot(tree, |_| ());
    bench.restore(&[]).unwrap();
    let target = bench.target();
    let first = |name: &str| target[Path::new(name)].first_link.to_str().unwrap().to_owned();
    assert_eq!(["a", "b", "c", "d"].map(first), ["a", "b", "a", "d"]);
    assert_eq!(target[Path::new("b")].content, b"two");
}

#[test]
fn a_file_of_empty_and_repeated_blobs_is_put_together() {
    let (bench, _) = bench();
    let mut planter = Planter::new(&bench);
    let (none, some) = (planter.data(b""), planter.data(&noise(1, 10_000)));
    let tree = planter.tree(&[
        file("f", 30_000, &[none, some, some, none, some]),
        file("g", 0, &[none]),
    ]);
    planter.snapshot(tree, |_| ());
    let report = bench.restore(&[]).unwrap();
    assert_eq!(
        fs::read(bench.path("target/f")).unwrap(),
        noise(1, 10_000).repeat(3)
    );
    assert_eq!(fs::read(bench.path("target/g")).unwrap(), b"");
    assert!(report.fetched_bytes < 11_000, "each blob is read once");
}

#[test]
fn more_blobs_than_a_round_takes_are_restored() {
    let (bench, _) = bench();
    let mut planter = Planter::new(&bench);
    let blobs: Vec<_> = (0..3).map(|n| planter.data(&noise(n, 100))).collect();
    let content: Vec<_> = (0..10_001).map(|n| blobs[n % 3]).collect();
    let many: Vec<_> = (0..5_000)
        .map(|n| file(&format!("m{n:05}"), 100, &[blobs[n % 3]]))
        .collect();
    let mut nodes = vec![file("large", 1_000_100, &content)];
    nodes.extend(many);
    let tree = planter.tree(&nodes);
    planter.snapshot(tree, |_| ());
    assert_eq!(bench.restore(&[]).unwrap().files, 5_001);
    let mut large = Vec::new();
    fs::File::open(bench.path("target/large"))
        .unwrap()
        .read_to_end(&mut large)
        .unwrap();
    let expected: Vec<u8> = (0..10_001).flat_map(|n| noise(n % 3, 100)).collect();
    assert!(large == expected);
    assert_eq!(
        fs::read(bench.path("target/m04999")).unwrap(),
        noise(4_999 % 3, 100)
    );
}

#[test]
fn what_an_earlier_restore_left_in_a_backup_is_not_restored() {
    let (bench, _) = bench();
    let mut planter = Planter::new(&bench);
    let blob = planter.data(b"x");
    let inner = planter.tree(&[file("staged", 1, &[blob])]);
    let tree = planter.tree(&[
        dir(".lifeboat-restore-00000000-00000000", inner),
        file("f", 1, &[blob]),
    ]);
    planter.snapshot(tree, |_| ());
    let report = bench.restore(&[]).unwrap();
    assert_eq!((report.files, report.warnings_total), (1, 1));
}

#[test]
fn a_further_name_with_another_size_is_refused() {
    let (bench, before) = bench();
    let mut planter = Planter::new(&bench);
    let one = planter.data(b"one");
    let linked = |name, size| Node {
        links: 2,
        inode: 7,
        device_id: 8,
        ..file(name, size, &[one])
    };
    let tree = planter.tree(&[linked("a", 3), linked("b", 99)]);
    planter.snapshot(tree, |_| ());
    refused(&bench, &before, &["/b"]);
}
