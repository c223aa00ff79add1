//! What a backup cannot do without, and nothing else.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use lifeboat::{
    format::{BlobId, Config, MasterKey},
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
    seal: Duration,
    hash_packs: Duration,
    write: Duration,
}

pub(super) fn floor(folder: &Path, into: &Path) -> Done<Value> {
    let (cut, key) = (cutter(&Config::create()?), MasterKey::generate()?);
    let (mut parts, mut bytes_read) = (Parts::default(), 0);
    let (mut buffer, mut sealed) = (vec![0; READ_BYTES], Vec::new());
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
                    sealed.clear();
                    timed(&mut parts.seal, || key.seal_into(chunk, &mut sealed))?;
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
