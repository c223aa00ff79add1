//! The inner loops one by one: `cargo bench -p lifeboat --bench kernels`. What they cost together is measured by `tests/benchmark`.
//!
//! Bytes are made from a seed. Throughput is of plain bytes; of the catalog, of blobs.

#![allow(clippy::unwrap_used)]

use std::{fs::File, hint::black_box, path::Path};

use divan::{Bencher, counter::BytesCount, counter::ItemsCount};
use lifeboat::{
    format::{
        BlobId, COMPRESSION_LEVEL, Compressor, Config, FileMode, MasterKey, Node, NodeType, PackId,
        Timestamp, TreeBuilder, decode_tree, looks_incompressible,
    },
    kernels::{KnownBlobs, cutter, page_hasher, synthesise_log},
};

const MIB: usize = 1 << 20;
/// As a chunk of a large file mostly is.
const CHUNK: usize = MIB / 2;
const PAGE: usize = 4096;
/// Files in a folder.
const ENTRIES: usize = 500;
/// Blobs that a batch of small files asks the catalog for.
const QUESTION: usize = 64;
const BLOBS_IN_A_PACK: u64 = 8000;

fn main() {
    divan::main();
}

/// SplitMix64: the same bytes everywhere.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Words of a small vocabulary, which compress as text does.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let dice = noise(seed, length);
    let mut bytes = Vec::with_capacity(length + 16);
    for pair in dice.chunks_exact(2).cycle() {
        if bytes.len() >= length {
            break;
        }
        bytes.extend_from_slice(format!("{:x}word{:x} ", pair[0], pair[1] % 5).as_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn id(number: u64) -> BlobId {
    BlobId::of(&number.to_le_bytes())
}

#[divan::bench]
fn chunk(bencher: Bencher) {
    let (cut, bytes) = (cutter(&Config::create().unwrap()), noise(1, 16 * MIB));
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[cut(black_box(rest))..];
        }
    });
}

#[divan::bench(args = [1024, CHUNK])]
fn hash(bencher: Bencher, length: usize) {
    let bytes = noise(2, length);
    bencher
        .counter(BytesCount::new(length))
        .bench(|| BlobId::of(black_box(&bytes)));
}

#[divan::bench(args = [1024, CHUNK])]
fn seal(bencher: Bencher, length: usize) {
    let (key, bytes) = (MasterKey::generate().unwrap(), noise(3, length));
    let mut sealed = Vec::with_capacity(length + 64);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        sealed.clear();
        key.seal_into(black_box(&bytes), &mut sealed).unwrap();
    });
}

#[divan::bench(args = [1024, CHUNK])]
fn open(bencher: Bencher, length: usize) {
    let key = MasterKey::generate().unwrap();
    let sealed = key.seal(&noise(3, length)).unwrap();
    bencher
        .counter(BytesCount::new(length))
        .with_inputs(|| sealed.clone())
        .bench_local_refs(|sealed| key.open_in_place(sealed).unwrap().len());
}

/// The glance that spares most of a phone's bytes the compressor.
#[divan::bench]
fn looks_compressed(bencher: Bencher) {
    let bytes = noise(4, CHUNK);
    bencher
        .counter(BytesCount::new(CHUNK))
        .bench(|| looks_incompressible(black_box(&bytes)));
}

#[divan::bench(args = [1024, CHUNK])]
fn compress_text(bencher: Bencher, length: usize) {
    let bytes = text(5, length);
    let (mut compressor, mut out) = (Compressor::new(COMPRESSION_LEVEL), Vec::new());
    bencher
        .counter(BytesCount::new(length))
        .bench_local(|| compressor.compress(black_box(&bytes), &mut out).unwrap());
}

fn nodes() -> Vec<Node> {
    let now = Timestamp::new(1_800_000_000, 123_456_789).unwrap();
    (0..ENTRIES)
        .map(|at| Node {
            mode: FileMode::from_st_mode(0o100_600),
            mtime: now,
            atime: now,
            ctime: now,
            uid: 1000,
            gid: 1000,
            user: "phone".into(),
            group: "phone".into(),
            inode: at as u64,
            links: 1,
            size: 1024,
            content: Some(vec![id(at as u64)]),
            ..Node::new(format!("{at:05}.json"), NodeType::File)
        })
        .collect()
}

fn tree(nodes: &[Node]) -> (BlobId, Vec<u8>) {
    let mut builder = TreeBuilder::new();
    for node in nodes {
        builder.push(node).unwrap();
    }
    builder.finish()
}

#[divan::bench]
fn tree_encode(bencher: Bencher) {
    let nodes = nodes();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench(|| tree(black_box(&nodes)));
}

#[divan::bench]
fn tree_decode(bencher: Bencher) {
    let (_, json) = tree(&nodes());
    bencher.counter(ItemsCount::new(ENTRIES)).bench(|| {
        let mut bytes = 0;
        decode_tree(black_box(&json), |node| {
            bytes += node.size;
            Ok::<_, lifeboat::format::FormatError>(())
        })
        .unwrap();
        bytes
    });
}

fn filled(path: &Path, blobs: u64) -> KnownBlobs {
    let known = KnownBlobs::open(path).unwrap();
    for first in (0..blobs).step_by(BLOBS_IN_A_PACK as usize) {
        let pack = PackId::from_bytes(*id(u64::MAX - first).as_bytes());
        known
            .add(pack, (first..blobs.min(first + BLOBS_IN_A_PACK)).map(id))
            .unwrap();
    }
    known
}

/// A batch of small files asks, for blobs that are there and blobs that are not.
#[divan::bench(args = [50_000, 1_000_000], sample_count = 20)]
fn catalog_look_up(bencher: Bencher, blobs: u64) {
    let dir = tempfile::tempdir().unwrap();
    let known = filled(&dir.path().join("catalog.db"), blobs);
    let mut next = 0_u64;
    bencher
        .counter(ItemsCount::new(QUESTION))
        .with_inputs(|| {
            next += 1;
            (0..QUESTION as u64)
                .map(|at| id((next * 7919 + at * 104_729) % (2 * blobs)))
                .collect::<Vec<_>>()
        })
        .bench_local_refs(|ids| known.known(ids).unwrap());
    known.close();
}

/// A pack of small files is recorded in a catalog that has many blobs already.
#[divan::bench(args = [50_000, 1_000_000], sample_count = 5, sample_size = 1)]
fn catalog_record_pack(bencher: Bencher, blobs: u64) {
    let dir = tempfile::tempdir().unwrap();
    let known = filled(&dir.path().join("catalog.db"), blobs);
    let mut next = blobs;
    bencher.counter(ItemsCount::new(BLOBS_IN_A_PACK)).bench_local(|| {
        let pack = PackId::from_bytes(*id(u64::MAX - next).as_bytes());
        known.add(pack, (next..next + BLOBS_IN_A_PACK).map(id)).unwrap();
        next += BLOBS_IN_A_PACK;
    });
    known.close();
}

#[divan::bench]
fn page_hash(bencher: Bencher) {
    let (hash, pages) = (page_hasher(&Config::create().unwrap()), noise(6, MIB));
    bencher.counter(BytesCount::new(pages.len())).bench(|| {
        let pages = black_box(&pages).chunks_exact(PAGE);
        pages.fold(0, |sum, page| sum ^ hash(page)[0])
    });
}

#[divan::bench]
fn wal_synthesis(bencher: Bencher) {
    let pages = noise(7, MIB);
    bencher
        .counter(BytesCount::new(pages.len()))
        .bench(|| synthesise_log(PAGE as u32, black_box(&pages)));
}

/// Reading alone, to hold the rest against.
#[divan::bench]
fn read_cached_file(bencher: Bencher) {
    use std::io::{Read, Seek, Write};
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(&noise(8, 16 * MIB)).unwrap();
    let mut buffer = vec![0; CHUNK];
    bencher.counter(BytesCount::new(16 * MIB)).bench_local(|| {
        file.rewind().unwrap();
        while file.read(&mut buffer).unwrap() > 0 {}
    });
}
