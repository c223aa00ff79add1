//! Telling changed pages from unchanged ones at the speed of memory.
//!
//! A page is hashed twice over. Each piece of up to 4 KiB goes through NH with words of 64 bits, as in VMAC (Krovetz and Dai 2007): pairs of
//! words are added to pairs of key words, multiplied, and summed up, in two passes with the key shifted by one pair. What that leaves,
//! 32 bytes of a piece, goes through SHA-256, of which the first half is kept.
//!
//! **Nothing is missed in practice.** Two different pieces agree after NH with a chance of 2^-64 for each pass, and of 2^-128 for both, whatever
//! they are (Black, Halevi, Krawczyk, Krovetz and Rogaway 1999, "UMAC: fast and secure message authentication"). The
//! chance is over the key, so it holds for every pair of pages that was chosen without it: the longest page has 16 pieces, and to be missed
//! all that differ must agree. Halving SHA-256 adds another 2^-128. All pages that are compared with each other are of the same size,
//! which NH needs.
//!
//! **Nobody steers it.** Whoever sends a user messages chooses bytes of pages, but the key is made of secrets of the repository, and neither the
//! key nor a hash ever leaves the device: there is nothing to learn it from, and no answer that would tell whether a guess was right.
//!
//! Poly1305's polynomial would do as well; measured, it took five times as long. This is two multiplications for 16 bytes, in plain
//! arithmetic that needs no special instructions.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::format::Config;

pub(crate) const PAGE_HASH_BYTES: usize = 16;
pub(crate) type PageHash = [u8; PAGE_HASH_BYTES];

/// Of one piece: a page of the usual size, and a key that stays in the nearest cache.
const PIECE_BYTES: usize = 4096;
const WORD_BYTES: usize = 8;
const PASSES: usize = 2;
/// Pairs of key words: one for each pair of words of a piece, and one more for each further pass.
const KEY_PAIRS: usize = PIECE_BYTES / (2 * WORD_BYTES) + PASSES - 1;

type Key = [[u64; 2]; KEY_PAIRS];

/// Hashes pages under a key of the repository's own.
#[derive(Clone)]
pub(crate) struct PageHasher(Arc<Zeroizing<Key>>);

impl PageHasher {
    pub(crate) fn new(config: &Config) -> Self {
        let mut secret = Sha256::new();
        secret.update(b"lifeboat page hash 2\0");
        secret.update(config.id.as_bytes());
        secret.update(config.chunker_polynomial.bits().to_le_bytes());
        let mut key = Zeroizing::new([[0; 2]; KEY_PAIRS]);
        for (pairs, number) in key.chunks_mut(2).zip(0_u64..) {
            let bytes = secret.clone().chain_update(number.to_le_bytes()).finalize();
            let (words, _) = bytes.as_chunks();
            for (place, word) in pairs.as_flattened_mut().iter_mut().zip(words) {
                *place = u64::from_le_bytes(*word);
            }
        }
        Self(Arc::new(key))
    }

    /// Of a page, whose length is a multiple of 16 as SQLite's all are: a rest would not be looked at.
    pub(crate) fn hash(&self, page: &[u8]) -> PageHash {
        debug_assert!(page.len().is_multiple_of(2 * WORD_BYTES));
        let mut hasher = Sha256::new();
        for piece in page.chunks(PIECE_BYTES) {
            for sum in nh(&self.0, piece) {
                hasher.update(sum.to_le_bytes());
            }
        }
        let mut hash = [0; PAGE_HASH_BYTES];
        hash.copy_from_slice(&hasher.finalize()[..PAGE_HASH_BYTES]);
        hash
    }
}

/// Both passes at once: the second takes for each pair of words the key pair after that of the first.
fn nh(key: &Key, piece: &[u8]) -> [u128; PASSES] {
    let (words, _) = piece.as_chunks::<WORD_BYTES>();
    let (pairs, _) = words.as_chunks::<2>();
    let (mut first, mut second) = (0_u128, 0_u128);
    for ((words, key), shifted) in pairs.iter().zip(key).zip(&key[1..]) {
        let words = words.map(u64::from_le_bytes);
        first = first.wrapping_add(product(words, *key));
        second = second.wrapping_add(product(words, *shifted));
    }
    [first, second]
}

fn product([left, right]: [u64; 2], key: [u64; 2]) -> u128 {
    u128::from(left.wrapping_add(key[0])) * u128::from(right.wrapping_add(key[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hasher() -> PageHasher {
        PageHasher::new(&Config::create().unwrap())
    }

    #[test]
    fn one_bit_makes_another_hash_and_so_does_another_repository() {
        let (one, two) = (Config::create().unwrap(), Config::create().unwrap());
        let (ours, theirs) = (PageHasher::new(&one), PageHasher::new(&two));
        let page = vec![0x5a; 4096];
        assert_eq!(ours.hash(&page), PageHasher::new(&one).hash(&page));
        assert_ne!(ours.hash(&page), theirs.hash(&page));
        for bit in (0..4096 * 8).step_by(97) {
            let mut other = page.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(ours.hash(&page), ours.hash(&other), "bit {bit}");
        }
    }

    #[test]
    fn every_byte_of_every_size_of_page_counts() {
        let hasher = hasher();
        for shift in 9..=16 {
            let mut page = vec![0; 1 << shift];
            let zeros = hasher.hash(&page);
            for at in (0..page.len()).step_by(1 << (shift - 9)).chain([page.len() - 1]) {
                page[at] = 1;
                assert_ne!(hasher.hash(&page), zeros, "byte {at} of {}", page.len());
                page[at] = 0;
            }
        }
    }

    #[test]
    fn the_key_has_no_zeros_and_no_repetitions() {
        let hasher = hasher();
        let mut words = hasher.0.as_flattened().to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 2 * KEY_PAIRS);
        assert_ne!(words[0], 0);
    }

    /// What the definition says, in arithmetic of another kind.
    #[test]
    fn sums_are_those_of_the_definition() {
        let key: Key = std::array::from_fn(|at| [u64::MAX - at as u64, (at as u64) << 40 | 3]);
        let piece: Vec<u8> = (0..512_u32).map(|at| (at * 37 % 251) as u8).collect();
        let word = |at: usize| u64::from_le_bytes(piece[8 * at..8 * at + 8].try_into().unwrap());
        for pass in 0..PASSES {
            let mut sum = 0_u128;
            for pair in 0..32 {
                let side = |side: usize| {
                    (u128::from(word(2 * pair + side)) + u128::from(key[pair + pass][side])) % (1 << 64)
                };
                sum = sum.wrapping_add(side(0).wrapping_mul(side(1)));
            }
            assert_eq!(nh(&key, &piece)[pass], sum);
        }
    }

    proptest! {
        /// Moves that keep many a sum as it is: two words that change places, or what one gains the other loses.
        #[test]
        fn swapped_and_balanced_words_are_seen(
            seed in any::<u8>(), one in 0_usize..512, two in 0_usize..512, by in 1_u64..,
        ) {
            prop_assume!(one != two);
            let hasher = hasher();
            let page: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect();
            let before = hasher.hash(&page);
            let word = |page: &[u8], at: usize| u64::from_le_bytes(page[8 * at..8 * at + 8].try_into().unwrap());
            let (first, second) = (word(&page, one), word(&page, two));
            let with = |first: u64, second: u64| {
                let mut other = page.clone();
                other[8 * one..8 * one + 8].copy_from_slice(&first.to_le_bytes());
                other[8 * two..8 * two + 8].copy_from_slice(&second.to_le_bytes());
                hasher.hash(&other)
            };
            prop_assert_ne!(with(first.wrapping_add(by), second.wrapping_sub(by)), before);
            if first != second {
                prop_assert_ne!(with(second, first), before);
            }
        }
    }
}
