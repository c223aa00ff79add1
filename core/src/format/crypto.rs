//! Sealing: AES-256-CTR under a Poly1305-AES code, the one construction that protects every stored file.
//!
//! A [`MasterKey`] holds the expanded ciphers, so that sealing a small blob does not pay for key schedules.
//! Key material is wiped when it is dropped, lives behind one allocation so that moves leave no copies, and
//! is never printed.

use std::{fmt, sync::Arc};

use aes::{
    Aes128Enc, Aes256Enc,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use lifeboat_ciphers::{apply_keystream, poly1305};
use serde::{Deserialize, Deserializer, de};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::FormatError;

/// Bytes of the initialisation vector in front of a sealed text.
pub(crate) const SEAL_IV_BYTES: usize = 16;

/// Bytes of the authentication code behind it.
const MAC_BYTES: usize = 16;

/// How much longer a sealed text is than its plaintext, in bytes.
pub const SEAL_OVERHEAD: usize = SEAL_IV_BYTES + MAC_BYTES;

/// Bytes of a raw key: 32 for AES-256, then `k` and `r` of Poly1305-AES with 16 each.
pub const RAW_KEY_BYTES: usize = 64;

/// The key that seals and opens everything in a repository but key files.
///
/// The same construction wraps master keys under passwords, so a key derived from a password has this type
/// too. It is cheap to share: put it into an [`Arc`] rather than loading it twice.
pub struct MasterKey(Box<Secrets>);

struct Secrets {
    /// encrypt ‖ k ‖ r; `r` as it was drawn, for Poly1305 clamps on its own.
    raw: [u8; RAW_KEY_BYTES],
    encrypt: Aes256Enc,
    mac: Aes128Enc,
}

impl Drop for Secrets {
    fn drop(&mut self) {
        // The expanded ciphers wipe themselves.
        self.raw.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// A new key from the generator of the operating system; [`FormatError::NoRandomness`] if that fails.
    pub fn generate() -> Result<Self, FormatError> {
        let mut raw = Zeroizing::new([0; RAW_KEY_BYTES]);
        fill_random(&mut *raw)?;
        Self::from_raw(&raw)
    }

    /// The key with these bytes: encrypt ‖ k ‖ r. A part that is all zero is refused, as restic does.
    pub fn from_raw(raw: &[u8; RAW_KEY_BYTES]) -> Result<Self, FormatError> {
        let (encrypt, k, r) = parts(raw);
        for (name, part) in [("encrypt", encrypt), ("mac.k", k), ("mac.r", r)] {
            if part.iter().all(|&byte| byte == 0) {
                return Err(FormatError::malformed(format!("the key part {name} is all zero")));
            }
        }
        let malformed = |_| FormatError::malformed("a key part has a wrong length");
        let encrypt = Aes256Enc::new_from_slice(encrypt).map_err(malformed)?;
        let mac = Aes128Enc::new_from_slice(k).map_err(malformed)?;
        Ok(Self(Box::new(Secrets {
            raw: *raw,
            encrypt,
            mac,
        })))
    }

    /// The bytes that [`MasterKey::from_raw`] takes, for the key store of a platform.
    pub fn to_raw(&self) -> Zeroizing<[u8; RAW_KEY_BYTES]> {
        Zeroizing::new(self.0.raw)
    }

    /// Reads the document inside a key file: `{"mac":{"k":…,"r":…},"encrypt":…}` with base64 values.
    pub fn from_json(json: &[u8]) -> Result<Self, FormatError> {
        #[derive(Deserialize)]
        struct Document {
            mac: Mac,
            encrypt: KeyPart<32>,
        }
        #[derive(Deserialize)]
        struct Mac {
            k: KeyPart<16>,
            r: KeyPart<16>,
        }
        // The detail of serde is not passed on: it may quote the text it stumbled over.
        let document: Document = serde_json::from_slice(json)
            .map_err(|_| FormatError::malformed("the document in the key file is not a master key"))?;
        let mut raw = Zeroizing::new([0; RAW_KEY_BYTES]);
        raw[..32].copy_from_slice(&*document.encrypt.0);
        raw[32..48].copy_from_slice(&*document.mac.k.0);
        raw[48..].copy_from_slice(&*document.mac.r.0);
        Self::from_raw(&raw)
    }

    /// The document that [`MasterKey::from_json`] reads, spelled as restic does.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let (encrypt, k, r) = parts(&self.0.raw);
        // Reserved in full, for a growing vector would leave pieces of the key behind.
        let mut json = Zeroizing::new(Vec::with_capacity(160));
        let pieces = [
            ("{\"mac\":{\"k\":\"", k),
            ("\",\"r\":\"", r),
            ("\"},\"encrypt\":\"", encrypt),
        ];
        for (before, part) in pieces {
            json.extend_from_slice(before.as_bytes());
            json.extend_from_slice(Zeroizing::new(STANDARD.encode(part)).as_bytes());
        }
        json.extend_from_slice(b"\"}");
        json
    }

    /// `plaintext` sealed under a fresh random initialisation vector.
    ///
    /// [`FormatError::NoRandomness`] if the operating system gives none.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, FormatError> {
        let mut sealed = Vec::with_capacity(plaintext.len() + SEAL_OVERHEAD);
        self.seal_into(plaintext, &mut sealed)?;
        Ok(sealed)
    }

    /// Appends the sealed `plaintext` to `out`, which grows by its length and [`SEAL_OVERHEAD`].
    ///
    /// `out` is as it was after an error.
    pub fn seal_into(&self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let iv = new_iv()?;
        out.reserve(plaintext.len() + SEAL_OVERHEAD);
        let start = out.len();
        out.extend_from_slice(&iv);
        out.extend_from_slice(plaintext);
        self.seal_with_iv(&iv, out, start);
        Ok(())
    }

    /// Seals a plaintext where it lies: what follows the first 16 bytes of `buffer`, which are room for the initialisation vector.
    ///
    /// [`FormatError::Malformed`] if there is no such room. `buffer` is as it was after an error.
    pub fn seal_in_place(&self, buffer: &mut Vec<u8>) -> Result<(), FormatError> {
        let iv = new_iv()?;
        let Some(room) = buffer.first_chunk_mut::<SEAL_IV_BYTES>() else {
            return Err(FormatError::malformed("no room for a seal"));
        };
        *room = iv;
        self.seal_with_iv(&iv, buffer, 0);
        Ok(())
    }

    /// Seals what lies in `out` behind a vector at `start`. A vector must never serve twice under one key: outside of tests it is a new one.
    fn seal_with_iv(&self, iv: &[u8; SEAL_IV_BYTES], out: &mut Vec<u8>, start: usize) {
        let text = start + SEAL_IV_BYTES;
        apply_keystream(&self.0.encrypt, iv, &mut out[text..]);
        let mac = self.mac(iv, &out[text..]);
        out.extend_from_slice(&mac);
    }

    /// The plaintext of `sealed`; errors as with [`MasterKey::open_in_place`].
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
        let (iv, ciphertext) = self.verify(sealed)?;
        let mut plaintext = ciphertext.to_vec();
        apply_keystream(&self.0.encrypt, iv, &mut plaintext);
        Ok(plaintext)
    }

    /// Opens a sealed text where it lies: the plaintext is the part of `sealed` that is returned.
    ///
    /// [`FormatError::Unauthentic`] if a bit was changed or another key sealed it, [`FormatError::Malformed`] if
    /// it cannot be a sealed text at all; `sealed` is untouched then.
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], FormatError> {
        let (&iv, ciphertext) = self.verify(sealed)?;
        let end = SEAL_IV_BYTES + ciphertext.len();
        let text = &mut sealed[SEAL_IV_BYTES..end];
        apply_keystream(&self.0.encrypt, &iv, text);
        Ok(text)
    }

    /// Splits off the vector and the ciphertext once the code is known to fit.
    fn verify<'a>(&self, sealed: &'a [u8]) -> Result<(&'a [u8; SEAL_IV_BYTES], &'a [u8]), FormatError> {
        let short = || FormatError::malformed("a sealed text is shorter than its seal");
        let (iv, rest) = sealed.split_first_chunk::<SEAL_IV_BYTES>().ok_or_else(short)?;
        let (ciphertext, mac) = rest.split_last_chunk::<MAC_BYTES>().ok_or_else(short)?;
        if *iv == [0; SEAL_IV_BYTES] {
            return Err(FormatError::malformed(
                "a sealed text has no initialisation vector",
            ));
        }
        if !bool::from(self.mac(iv, ciphertext).ct_eq(mac)) {
            return Err(FormatError::Unauthentic);
        }
        Ok((iv, ciphertext))
    }

    /// Poly1305-AES of the ciphertext alone, with the encrypted vector as the one-time half of the key.
    fn mac(&self, iv: &[u8; SEAL_IV_BYTES], ciphertext: &[u8]) -> [u8; MAC_BYTES] {
        let mut nonce = (*iv).into();
        self.0.mac.encrypt_block(&mut nonce);
        let mut key = Zeroizing::new([0; 32]);
        key[..16].copy_from_slice(parts(&self.0.raw).2);
        key[16..].copy_from_slice(&nonce);
        poly1305(&key, ciphertext)
    }
}

/// Encrypt, k and r of a raw key.
fn parts(raw: &[u8; RAW_KEY_BYTES]) -> (&[u8], &[u8], &[u8]) {
    (&raw[..32], &raw[32..48], &raw[48..])
}

/// An initialisation vector, which no other text must have.
fn new_iv() -> Result<[u8; SEAL_IV_BYTES], FormatError> {
    let mut iv = [0; SEAL_IV_BYTES];
    fill_random(&mut iv)?;
    // Chance gives this once in 2^128 draws: a generator that does is broken.
    if iv == [0; SEAL_IV_BYTES] {
        return Err(FormatError::NoRandomness);
    }
    Ok(iv)
}

/// Bytes from the generator of the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), FormatError> {
    getrandom::fill(bytes).map_err(|_| FormatError::NoRandomness)
}

/// Key bytes that go from base64 into memory that is wiped.
struct KeyPart<const N: usize>(Zeroizing<[u8; N]>);

impl<'de, const N: usize> Deserialize<'de> for KeyPart<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64<const N: usize>;
        impl<const N: usize> de::Visitor<'_> for Base64<N> {
            type Value = KeyPart<N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "base64 of {N} bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyPart<N>, E> {
                let invalid = || E::custom(format_args!("a key part is not base64 of {N} bytes"));
                // Room for what the decoder may estimate; the true length is asked for below.
                let mut buffer = Zeroizing::new([0; 48]);
                let length = STANDARD.decode_slice(text, &mut *buffer).map_err(|_| invalid())?;
                let bytes: &[u8; N] = buffer[..length].try_into().map_err(|_| invalid())?;
                Ok(KeyPart(Zeroizing::new(*bytes)))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

// Shared between the threads that seal and open.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<MasterKey>>();
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../tests/vectors/crypto.json")).unwrap()
    }

    fn bytes(value: &Value, field: &str) -> Vec<u8> {
        hex::decode(value[field].as_str().unwrap()).unwrap()
    }

    fn key(encrypt: &[u8], k: &[u8], r: &[u8]) -> MasterKey {
        MasterKey::from_raw(&[encrypt, k, r].concat().try_into().unwrap()).unwrap()
    }

    fn any_key() -> MasterKey {
        key(&[1; 32], &[2; 16], &[0xff; 16])
    }

    #[test]
    fn authentication_codes_of_the_poly1305_paper() {
        for vector in vectors()["poly1305_aes_bernstein_paper"].as_array().unwrap() {
            let key = key(&[1; 32], &bytes(vector, "k_hex"), &bytes(vector, "r_hex"));
            let iv = bytes(vector, "nonce_hex").try_into().unwrap();
            assert_eq!(
                key.mac(&iv, &bytes(vector, "msg_hex")).to_vec(),
                bytes(vector, "mac_hex")
            );
        }
    }

    #[test]
    fn sealed_texts_of_restic() {
        let vectors = vectors();
        let vectors = vectors["restic_sealed"].as_array().unwrap();
        assert!(vectors.len() > 3);
        for vector in vectors {
            let [encrypt, k, r] = ["encrypt_hex", "mac_k_hex", "mac_r_hex"].map(|f| bytes(vector, f));
            let key = key(&encrypt, &k, &r);
            let (plaintext, sealed) = (bytes(vector, "plaintext_hex"), bytes(vector, "sealed_hex"));
            assert_eq!(key.open(&sealed).unwrap(), plaintext);
            let iv = bytes(vector, "nonce_hex");
            let mut ours = [b"before", iv.as_slice(), &plaintext].concat();
            key.seal_with_iv(&iv.try_into().unwrap(), &mut ours, 6);
            assert_eq!(ours[6..], sealed);
        }
    }

    #[test]
    fn zero_key_parts_vectors_and_short_texts_are_refused() {
        for zero in [0..32, 32..48, 48..64] {
            let mut raw = [7; RAW_KEY_BYTES];
            raw[zero].fill(0);
            assert!(matches!(
                MasterKey::from_raw(&raw),
                Err(FormatError::Malformed(_))
            ));
        }
        let key = any_key();
        for sealed in [
            vec![],
            vec![1; SEAL_OVERHEAD - 1],
            [vec![0; 16], vec![1; 30]].concat(),
        ] {
            assert!(matches!(key.open(&sealed), Err(FormatError::Malformed(_))));
        }
    }

    #[test]
    fn documents_round_trip_and_tell_no_secrets() {
        let key = MasterKey::generate().unwrap();
        let again = MasterKey::from_json(&key.to_json()).unwrap();
        assert_eq!(again.to_raw(), key.to_raw());
        assert_eq!(MasterKey::from_raw(&key.to_raw()).unwrap().to_raw(), key.to_raw());
        assert_eq!(format!("{key:?}"), "MasterKey(..)");
        let short = br#"{"mac":{"k":"AAAA","r":"AAAA"},"encrypt":"secret"}"#;
        let error = MasterKey::from_json(short).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens(plaintext in prop::collection::vec(any::<u8>(), 0..300)) {
            let key = any_key();
            let mut sealed = key.seal(&plaintext).unwrap();
            prop_assert_eq!(sealed.len(), plaintext.len() + SEAL_OVERHEAD);
            prop_assert_eq!(&key.open(&sealed).unwrap(), &plaintext);
            prop_assert_eq!(key.open_in_place(&mut sealed).unwrap(), &plaintext);
            let mut buffer = [&[0; SEAL_IV_BYTES], plaintext.as_slice()].concat();
            key.seal_in_place(&mut buffer).unwrap();
            prop_assert_eq!(key.open(&buffer).unwrap(), plaintext);
        }

        #[test]
        fn no_changed_bit_goes_unnoticed(length in 0..100_usize, place in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let key = any_key();
            let mut sealed = key.seal(&vec![9; length]).unwrap();
            let place = place.index(sealed.len());
            sealed[place] ^= 1_u8 << bit;
            let changed = sealed.clone();
            prop_assert_eq!(key.open(&sealed), Err(FormatError::Unauthentic));
            prop_assert_eq!(key.open_in_place(&mut sealed).map(|_| ()), Err(FormatError::Unauthentic));
            prop_assert_eq!(sealed, changed);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(any_key().open(&bytes).is_err());
            prop_assert!(MasterKey::from_json(&bytes).is_err());
        }
    }
}
