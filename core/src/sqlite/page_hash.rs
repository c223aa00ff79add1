//! Telling changed pages from unchanged ones at the speed of memory.
//!
//! Poly1305's polynomial, without its one-time pad, as a universal hash function: whoever does not know the key cannot write two pages that
//! hash alike but by guessing, with a chance of 2^-91 for the largest page (Bernstein 2005, "The Poly1305-AES message-authentication
//! code", theorem 3.3). Hashes never leave the device.

use poly1305::{Poly1305, universal_hash::KeyInit};
use sha2::{Digest, Sha256};

use crate::format::Config;

pub(crate) const PAGE_HASH_BYTES: usize = 16;
pub(crate) type PageHash = [u8; PAGE_HASH_BYTES];

/// Hashes pages under a key of the repository's own.
#[derive(Clone)]
pub(crate) struct PageHasher(Poly1305);

impl PageHasher {
    pub(crate) fn new(config: &Config) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"lifeboat page hash 1\0");
        hasher.update(config.id.as_bytes());
        hasher.update(config.chunker_polynomial.bits().to_le_bytes());
        let mut key: [u8; 32] = hasher.finalize().into();
        // The half that would hide the polynomial's value from the receiver of one message: here it would only be added to every hash.
        key[PAGE_HASH_BYTES..].fill(0);
        Self(Poly1305::new(&key.into()))
    }

    pub(crate) fn hash(&self, page: &[u8]) -> PageHash {
        self.0.clone().compute_unpadded(page).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_makes_another_hash_and_so_does_another_repository() {
        let (one, two) = (Config::create().unwrap(), Config::create().unwrap());
        let (ours, theirs) = (PageHasher::new(&one), PageHasher::new(&two));
        let page = vec![0x5a; 4096];
        assert_eq!(ours.hash(&page), PageHasher::new(&one).hash(&page));
        assert_ne!(ours.hash(&page), theirs.hash(&page));
        for bit in (0..4096 * 8).step_by(997) {
            let mut other = page.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(ours.hash(&page), ours.hash(&other), "bit {bit}");
        }
    }
}
