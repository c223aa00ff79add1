//! Content-defined chunks: FastCDC with a gear table of the repository's own.
//!
//! With the published table, the lengths of a known file's chunks are the same in every repository, and a vault that sees the sizes of blobs
//! could recognise the file by them. The table is derived from the chunker polynomial, a secret that the sealed config keeps for this purpose,
//! so every engine that opens the repository cuts alike.

use fastcdc::v2020::{Normalization, cut_gear, select_masks};
use sha2::{Digest, Sha256};

use crate::{format::Config, limits};

const GEARS: usize = 256;

/// Where to cut. Cheap to share, without state.
#[derive(Clone)]
pub(crate) struct Chunker {
    gear: Box<[u64]>,
    /// The same shifted left by one: the algorithm looks at two bytes at a time.
    gear_shifted: Box<[u64]>,
    mask_small: u64,
    mask_large: u64,
}

impl Chunker {
    pub(crate) fn new(config: &Config) -> Self {
        let gear: Box<[u64]> = gear_table(config.id.as_bytes(), config.chunker_polynomial.bits());
        let (mask_small, mask_large) = select_masks(limits::CHUNK_AVG_BYTES, Normalization::Level1);
        let gear_shifted = gear.iter().map(|gear| gear << 1).collect();
        Self {
            gear,
            gear_shifted,
            mask_small,
            mask_large,
        }
    }

    /// The length of the first chunk of `bytes`. Unless `bytes` is the end of its file, it must hold at least `CHUNK_MAX_BYTES`.
    pub(crate) fn cut(&self, bytes: &[u8]) -> usize {
        let (_, length) = cut_gear(
            bytes,
            limits::CHUNK_MIN_BYTES,
            limits::CHUNK_AVG_BYTES,
            limits::CHUNK_MAX_BYTES,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
            &self.gear,
            &self.gear_shifted,
        );
        length
    }
}

/// 256 numbers that nobody can tell from random ones without the secret: SHA-256 of secret and counter, four numbers a hash.
fn gear_table(repository: &[u8], secret: u64) -> Box<[u64]> {
    let mut gear = Vec::with_capacity(GEARS);
    for counter in 0..(GEARS / 4) as u8 {
        let mut hasher = Sha256::new();
        hasher.update(b"lifeboat gear table 1\0");
        hasher.update(repository);
        hasher.update(secret.to_le_bytes());
        hasher.update([counter]);
        for word in hasher.finalize().chunks_exact(8) {
            gear.push(word.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)));
        }
    }
    gear.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 56
        };
        (0..length).map(|_| next() as u8).collect()
    }

    fn chunks(chunker: &Chunker, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(chunker.cut(bytes));
            chunks.push(chunk.to_vec());
            bytes = rest;
        }
        chunks
    }

    #[test]
    fn chunks_are_bounded_survive_an_insertion_and_differ_between_repositories() {
        let (ours, theirs) = (Config::create().unwrap(), Config::create().unwrap());
        let (ours, theirs) = (Chunker::new(&ours), Chunker::new(&theirs));
        let bytes = noise(1, 24 << 20);
        let before = chunks(&ours, &bytes);
        for chunk in &before[..before.len() - 1] {
            assert!((limits::CHUNK_MIN_BYTES..=limits::CHUNK_MAX_BYTES).contains(&chunk.len()));
        }
        let mut edited = bytes.clone();
        edited.splice(9 << 20..9 << 20, *b"inserted");
        let after = chunks(&ours, &edited);
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(
            new <= 3,
            "{new} of {} chunks are new after one insertion",
            after.len()
        );
        let lengths = |chunks: Vec<Vec<u8>>| chunks.iter().map(Vec::len).collect::<Vec<_>>();
        assert_ne!(lengths(chunks(&theirs, &bytes)), lengths(before));
    }
}
