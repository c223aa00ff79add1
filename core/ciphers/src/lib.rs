//! The inner loops of sealing, in a crate of their own: generic code is built where it is used and as that crate is, and these two are generic
//! down to the single instruction. In an engine that is built for size they made a whole backup take four times the CPU.

use aes::{
    Aes256Enc,
    cipher::{InnerIvInit, StreamCipher},
};
use ctr::{Ctr128BE, CtrCore};
use poly1305::{
    Poly1305,
    universal_hash::{KeyInit, UniversalHash},
};

/// Encrypts or decrypts in place: AES-256 in counter mode, the whole vector a counter, most significant byte first.
// Inlined, it would be built as its caller is.
#[inline(never)]
pub fn apply_keystream(cipher: &Aes256Enc, iv: &[u8; 16], bytes: &mut [u8]) {
    let core = CtrCore::inner_iv_init(cipher, iv.into());
    Ctr128BE::<&Aes256Enc>::from_core(core).apply_keystream(bytes);
}

/// Poly1305 of a text under a key that must not serve for another.
#[inline(never)]
pub fn poly1305(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    let mut poly = Poly1305::new(key.into());
    // Whole blocks go through the vectorised path; `compute_unpadded` alone takes them one by one.
    let (blocks, rest) = poly1305::Block::slice_as_chunks(text);
    poly.update(blocks);
    poly.compute_unpadded(rest).into()
}
