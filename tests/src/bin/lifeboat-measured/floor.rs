//! What a backup cannot do without, and nothing else.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use lifeboat::{
    format::{BlobId, COMPRESSION_LEVEL, Compressor, Config, MasterKey, looks_incompressible},
    kernels::cutter,
    limits,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Done, cpu_time};

const READ_BYTES: usize = 4 << 20;

/// CPU seconds of each part.
#[derive(Default)]
struct Parts {
    read: Duration,
    cut: Duration,
    hash: Duration,
    compress: Duration,
    seal: Duration,
    hash_packs: Duration,
    write: Duration,
}

pub(super) fn floor(folder: &Path, into: &Path) -> Done<Value> {
    let (cut, key) = (cutter(&Config::create()?), MasterKey::generate()?);
    let (mut parts, mut bytes_read) = (Parts::default(), 0);
    let (mut buffer, mut compressed, mut sealed) = (vec![0; READ_BYTES], Vec::new(), Vec::new());
    let mut compressor = Compressor::new(COMPRESSION_LEVEL);
    let (mut packs, mut out) = (Sha256::new(), File::create(into)?);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let mut file = File::open(entry.path())?;
            loop {
                let length = timed(&mut parts.read, || file.read(&mut buffer))?;
                if length == 0 {
                    break;
                }
                bytes_read += length;
                let mut rest = &buffer[..length];
                while !rest.is_empty() {
                    let end = if rest.len() < limits::CHUNK_MIN_BYTES {
                        rest.len()
                    } else {
                        timed(&mut parts.cut, || cut(rest))
                    };
                    let (chunk, after) = rest.split_at(end);
                    rest = after;
                    black_box(timed(&mut parts.hash, || BlobId::of(chunk)));
                    // What does not look it, does not get smaller, and costs nobody the attempt.
                    let stored = if looks_incompressible(chunk) {
                        chunk
                    } else {
                        timed(&mut parts.compress, || {
                            compressor.compress(chunk, &mut compressed)
                        })?;
                        &compressed
                    };
                    sealed.clear();
                    timed(&mut parts.seal, || key.seal_into(stored, &mut sealed))?;
                    timed(&mut parts.hash_packs, || packs.update(&sealed));
                    timed(&mut parts.write, || out.write_all(&sealed))?;
                }
            }
        }
    }
    black_box(packs.finalize());
    let gib = bytes_read as f64 / f64::from(1 << 30);
    let per_gib = |part: Duration| (part.as_secs_f64() / gib * 100.0).round() / 100.0;
    Ok(json!({
        "bytes_read": bytes_read,
        "parts": {
            "read": per_gib(parts.read),
            "cut": per_gib(parts.cut),
            "hash blobs": per_gib(parts.hash),
            "compress": per_gib(parts.compress),
            "seal": per_gib(parts.seal),
            "hash packs": per_gib(parts.hash_packs),
            "write": per_gib(parts.write),
        },
    }))
}

fn timed<T>(part: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = cpu_time();
    let done = work();
    *part += cpu_time().saturating_sub(begun);
    done
}
