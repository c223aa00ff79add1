//! Packs: sealed blobs one behind the other, a sealed header that lists them, and the length of that header.
//!
//! Blobs lie without gaps from the first byte on, in the order of the header, so that the header alone says
//! where each one is and how long the file must be.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{BlobId, Decompressor, FormatError, ID_BYTES, MasterKey, SEAL_OVERHEAD};

/// Bytes of the header's entry for a blob that is stored raw: type, sealed length, id.
pub const ENTRY_BYTES_RAW: usize = 1 + 4 + ID_BYTES;

/// Bytes of the entry for a compressed blob, which tells the plaintext's length too.
pub const ENTRY_BYTES_COMPRESSED: usize = ENTRY_BYTES_RAW + 4;

/// Bytes of the length word at the end of a pack.
pub(super) const LENGTH_WORD_BYTES: usize = 4;

/// What a pack has beside its blobs and their entries: the header's seal and the length word, in bytes.
pub const PACK_OVERHEAD: usize = SEAL_OVERHEAD + LENGTH_WORD_BYTES;

/// The longest sealed header that restic reads, in bytes: 409 199 compressed blobs.
pub const HEADER_BYTES_MAX: usize = 16 << 20;

/// Offsets and lengths have 32 bits, and restic fails on a pack of 4 GiB.
pub const PACK_BYTES_MAX: u64 = u32::MAX as u64;

/// A header with one entry. Smaller files are no packs.
pub const PACK_BYTES_MIN: u64 = (ENTRY_BYTES_RAW + PACK_OVERHEAD) as u64;

/// Bytes of plaintext that a reader of blobs accepts unless it has a reason for another limit.
///
/// Chunks of files have 8 MiB at most, but a directory is one blob: about 240 bytes for each of its entries, so
/// that half a million of them fit.
pub const BLOB_PLAINTEXT_MAX: usize = 128 << 20;

/// What a blob holds. A blob is named by its id and its type together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobType {
    /// A piece of a file.
    Data,
    /// The listing of a directory.
    Tree,
}

/// Where a blob lies in a pack, as headers and indexes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackEntry {
    pub id: BlobId,
    pub blob_type: BlobType,
    /// Bytes in the pack, the seal included.
    pub length: u32,
    /// Bytes of plaintext if that was compressed, which none of zero bytes is; `None` if it is stored raw.
    pub uncompressed_length: Option<u32>,
    /// Of the first byte in the pack.
    pub offset: u32,
}

impl PackEntry {
    /// Bytes that a header spends on this blob.
    pub const fn header_bytes(&self) -> usize {
        match self.uncompressed_length {
            Some(_) => ENTRY_BYTES_COMPRESSED,
            None => ENTRY_BYTES_RAW,
        }
    }

    /// The first byte behind the blob.
    pub const fn end(&self) -> u64 {
        self.offset as u64 + self.length as u64
    }

    /// Bytes of plaintext; zero if the sealed length is impossible.
    pub const fn plaintext_length(&self) -> u32 {
        match self.uncompressed_length {
            Some(length) => length,
            None => self.length.saturating_sub(SEAL_OVERHEAD as u32),
        }
    }
}

/// How many bytes a pack with exactly these blobs has. Any other size means that it is damaged or that they are
/// not all its blobs.
pub fn pack_size<'a>(entries: impl IntoIterator<Item = &'a PackEntry>) -> u64 {
    let blobs = entries
        .into_iter()
        .map(|entry| u64::from(entry.length) + entry.header_bytes() as u64);
    blobs.sum::<u64>() + PACK_OVERHEAD as u64
}

/// The plaintext of a blob, from the bytes that lie in the pack where `entry` says.
///
/// [`FormatError::Unauthentic`] if they were changed; [`FormatError::Malformed`] if they are another blob, or not as
/// long as the entry says; [`FormatError::TooLarge`] if the plaintext is to have more than `plaintext_max` bytes,
/// for which [`BLOB_PLAINTEXT_MAX`] is a good value.
///
/// It is opened where it lies. What was compressed is all that is allocated.
pub fn open_blob<'a>(
    master: &MasterKey,
    entry: &PackEntry,
    sealed: &'a mut [u8],
    decompressor: &mut Decompressor,
    plaintext_max: usize,
) -> Result<Cow<'a, [u8]>, FormatError> {
    if sealed.len() != entry.length as usize {
        return Err(FormatError::malformed(format!(
            "{} bytes were read for a blob of {}",
            sealed.len(),
            entry.length
        )));
    }
    let length = entry.plaintext_length() as usize;
    if length > plaintext_max {
        let (claimed, limit) = (length as u64, plaintext_max as u64);
        return Err(FormatError::TooLarge {
            what: "a blob",
            claimed,
            limit,
        });
    }
    let opened = master.open_in_place(sealed)?;
    let plaintext = match entry.uncompressed_length {
        Some(_) => Cow::Owned(decompressor.decompress(opened, length)?),
        None => Cow::Borrowed(&*opened),
    };
    if plaintext.len() != length {
        return Err(FormatError::malformed(format!(
            "a blob has {} bytes of plaintext where {length} were announced",
            plaintext.len()
        )));
    }
    if BlobId::of(&plaintext) != entry.id {
        return Err(FormatError::malformed("a blob is not the one that its id names"));
    }
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::Compressor;

    fn key() -> MasterKey {
        MasterKey::from_raw(&[7; 64]).unwrap()
    }

    fn stored(plaintext: &[u8], compress: bool) -> (PackEntry, Vec<u8>) {
        let mut content = plaintext.to_vec();
        if compress {
            Compressor::default().compress(plaintext, &mut content).unwrap();
        }
        let sealed = key().seal(&content).unwrap();
        let entry = PackEntry {
            id: BlobId::of(plaintext),
            blob_type: BlobType::Data,
            length: sealed.len() as u32,
            uncompressed_length: compress.then_some(plaintext.len() as u32),
            offset: 0,
        };
        (entry, sealed)
    }

    fn open(entry: &PackEntry, sealed: &[u8], plaintext_max: usize) -> Result<Vec<u8>, FormatError> {
        let (mut sealed, mut decompressor) = (sealed.to_vec(), Decompressor::new());
        open_blob(&key(), entry, &mut sealed, &mut decompressor, plaintext_max).map(Cow::into_owned)
    }

    #[test]
    fn types_are_spelled_as_in_indexes() {
        assert_eq!(
            serde_json::to_string(&[BlobType::Data, BlobType::Tree]).unwrap(),
            r#"["data","tree"]"#
        );
        assert!(serde_json::from_str::<BlobType>("\"Data\"").is_err());
    }

    #[test]
    fn blobs_open_only_as_what_they_are() {
        let plaintext = b"the content of a blob ".repeat(100);
        for compress in [false, true] {
            let (entry, sealed) = stored(&plaintext, compress);
            assert_eq!(open(&entry, &sealed, plaintext.len()).unwrap(), plaintext);
            assert_eq!(entry.plaintext_length() as usize, plaintext.len());
            let too_large = open(&entry, &sealed, plaintext.len() - 1);
            assert!(matches!(
                too_large,
                Err(FormatError::TooLarge { what: "a blob", .. })
            ));

            let mut changed = sealed.clone();
            changed[30] ^= 1;
            assert_eq!(open(&entry, &changed, 1 << 20), Err(FormatError::Unauthentic));
            let refused = |entry: PackEntry, sealed: &[u8]| {
                let result = open(&entry, sealed, 1 << 20);
                assert!(matches!(result, Err(FormatError::Malformed(_))), "{result:?}");
            };
            refused(entry, &sealed[1..]);
            refused(
                PackEntry {
                    id: BlobId::of(b"other"),
                    ..entry
                },
                &sealed,
            );
            refused(PackEntry { length: 20, ..entry }, &sealed[..20]);
        }
    }

    #[test]
    fn a_wrong_plaintext_length_is_refused() {
        let (entry, sealed) = stored(&[1; 500], true);
        let open = |length| {
            open(
                &PackEntry {
                    uncompressed_length: length,
                    ..entry
                },
                &sealed,
                1 << 20,
            )
        };
        assert!(open(Some(500)).is_ok());
        assert!(matches!(open(Some(501)), Err(FormatError::Malformed(_))));
        // More than announced is not even decompressed.
        assert!(matches!(
            open(Some(499)),
            Err(FormatError::TooLarge { limit: 499, .. })
        ));
        assert!(matches!(open(None), Err(FormatError::Malformed(_))));
    }

    #[test]
    fn an_empty_blob_is_raw() {
        let (entry, sealed) = stored(b"", false);
        assert_eq!(entry.length, 32);
        assert_eq!(open(&entry, &sealed, 0).unwrap(), b"");
    }

    proptest! {
        #[test]
        fn whatever_is_stored_opens(plaintext in prop::collection::vec(0..3_u8, 1..500), compress: bool) {
            let (entry, sealed) = stored(&plaintext, compress);
            prop_assert_eq!(open(&entry, &sealed, 500), Ok(plaintext));
        }

        #[test]
        fn foreign_content_never_panics(
            content in prop::collection::vec(any::<u8>(), 0..100),
            uncompressed_length: Option<u32>,
            length: u32,
        ) {
            let sealed = key().seal(&content).unwrap();
            let (entry, _) = stored(&content, false);
            let entry = PackEntry { uncompressed_length, ..entry };
            if let Ok(plaintext) = open(&entry, &sealed, 1 << 20) {
                prop_assert_eq!(BlobId::of(&plaintext), entry.id);
            }
            let entry = PackEntry { length, offset: u32::MAX, ..entry };
            prop_assert!(open(&entry, &content, 1 << 20).is_err());
            prop_assert!(pack_size(&[entry]) > u64::from(length));
            prop_assert!(entry.end() >= u64::from(u32::MAX));
        }
    }
}
