//! The header of a pack: written behind the blobs, read from the end of the file.

use super::{
    BlobId, BlobType, ENTRY_BYTES_COMPRESSED, ENTRY_BYTES_RAW, FormatError, HEADER_BYTES_MAX, MasterKey,
    PACK_BYTES_MAX, PACK_BYTES_MIN, PACK_OVERHEAD, PackEntry, SEAL_OVERHEAD, pack::LENGTH_WORD_BYTES,
    pack_size,
};

/// How many entries the first request for a header asks for. Most packs of large blobs need no second one.
const FIRST_ENTRIES: usize = 15;

/// What follows the blobs in a pack: the sealed header and its length.
///
/// [`FormatError::Malformed`] if nobody could read the pack: no blobs, gaps between them, a compressed blob
/// without plaintext; [`FormatError::TooLarge`] if the header or the pack passes its bound.
pub fn encode_header(master: &MasterKey, entries: &[PackEntry]) -> Result<Vec<u8>, FormatError> {
    let bytes = entries.iter().map(PackEntry::header_bytes).sum::<usize>();
    check_header_length(bytes + SEAL_OVERHEAD)?;
    check_pack_size(pack_size(entries))?;
    if entries.is_empty() {
        return Err(FormatError::malformed("a pack without blobs"));
    }
    let mut plaintext = Vec::with_capacity(bytes);
    let mut offset = 0;
    for entry in entries {
        let impossible = (entry.length as usize) < SEAL_OVERHEAD || entry.uncompressed_length == Some(0);
        if u64::from(entry.offset) != offset || impossible {
            return Err(FormatError::malformed(format!(
                "the entry {entry:?} fits no pack"
            )));
        }
        offset = entry.end();
        let kind = match (entry.blob_type, entry.uncompressed_length) {
            (BlobType::Data, None) => 0,
            (BlobType::Tree, None) => 1,
            (BlobType::Data, Some(_)) => 2,
            (BlobType::Tree, Some(_)) => 3,
        };
        plaintext.push(kind);
        plaintext.extend_from_slice(&entry.length.to_le_bytes());
        if let Some(length) = entry.uncompressed_length {
            plaintext.extend_from_slice(&length.to_le_bytes());
        }
        plaintext.extend_from_slice(entry.id.as_bytes());
    }
    let mut header = Vec::with_capacity(bytes + PACK_OVERHEAD);
    master.seal_into(&plaintext, &mut header)?;
    // Below HEADER_BYTES_MAX as checked above.
    let length = header.len() as u32;
    header.extend_from_slice(&length.to_le_bytes());
    Ok(header)
}

/// Finds and reads the header of a pack from the bytes at its end.
#[derive(Debug, Clone, Copy)]
pub struct PackHeaderReader {
    pack_size: u64,
}

/// How far the bytes at the end of a pack got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderRead {
    /// The whole header, in the order of the pack.
    Entries(Vec<PackEntry>),
    /// The last bytes of the pack are needed, and so many of them.
    NeedsTail(usize),
}

impl PackHeaderReader {
    /// For a pack of `pack_size` bytes, refused if no pack can have that size.
    pub fn new(pack_size: u64) -> Result<Self, FormatError> {
        if pack_size < PACK_BYTES_MIN {
            return Err(FormatError::malformed(format!(
                "a pack cannot have {pack_size} bytes only"
            )));
        }
        check_pack_size(pack_size)?;
        Ok(Self { pack_size })
    }

    /// How many of the last bytes to get first.
    pub fn first_tail(&self) -> usize {
        self.tail_within(FIRST_ENTRIES * ENTRY_BYTES_COMPRESSED + PACK_OVERHEAD)
    }

    /// Reads the header if `tail`, the last bytes of the pack, holds all of it.
    ///
    /// What is returned adds up to the size of the pack exactly.
    pub fn read(&self, master: &MasterKey, tail: &[u8]) -> Result<HeaderRead, FormatError> {
        let Some((before, word)) = tail.split_last_chunk::<LENGTH_WORD_BYTES>() else {
            return Ok(HeaderRead::NeedsTail(self.first_tail()));
        };
        let length = u32::from_le_bytes(*word) as usize;
        check_header_length(length)?;
        if length < SEAL_OVERHEAD || length as u64 > self.pack_size - LENGTH_WORD_BYTES as u64 {
            return Err(FormatError::malformed(format!(
                "a pack of {} bytes claims a header of {length}",
                self.pack_size
            )));
        }
        let Some(start) = before.len().checked_sub(length) else {
            return Ok(HeaderRead::NeedsTail(length + LENGTH_WORD_BYTES));
        };
        let entries = decode_entries(&master.open(&before[start..])?)?;
        let size = pack_size(&entries);
        if size != self.pack_size {
            return Err(FormatError::malformed(format!(
                "a pack has {} bytes where its header says {size}",
                self.pack_size
            )));
        }
        Ok(HeaderRead::Entries(entries))
    }

    fn tail_within(&self, bytes: usize) -> usize {
        usize::try_from(self.pack_size).map_or(bytes, |size| size.min(bytes))
    }
}

fn check_header_length(length: usize) -> Result<(), FormatError> {
    let (claimed, limit) = (length as u64, HEADER_BYTES_MAX as u64);
    if claimed > limit {
        return Err(FormatError::TooLarge {
            what: "a pack header",
            claimed,
            limit,
        });
    }
    Ok(())
}

fn check_pack_size(claimed: u64) -> Result<(), FormatError> {
    if claimed > PACK_BYTES_MAX {
        return Err(FormatError::TooLarge {
            what: "a pack",
            claimed,
            limit: PACK_BYTES_MAX,
        });
    }
    Ok(())
}

fn decode_entries(mut plaintext: &[u8]) -> Result<Vec<PackEntry>, FormatError> {
    let truncated = || FormatError::malformed("a pack header ends within an entry");
    let mut entries = Vec::with_capacity(plaintext.len() / ENTRY_BYTES_RAW);
    let mut offset = 0;
    while let Some((&kind, rest)) = plaintext.split_first() {
        let (blob_type, compressed) = match kind {
            0 => (BlobType::Data, false),
            1 => (BlobType::Tree, false),
            2 => (BlobType::Data, true),
            3 => (BlobType::Tree, true),
            other => {
                return Err(FormatError::malformed(format!(
                    "a pack holds a blob of unknown type {other}"
                )));
            }
        };
        let (length, mut rest) = rest.split_first_chunk().ok_or_else(truncated)?;
        let length = u32::from_le_bytes(*length);
        let uncompressed_length = if compressed {
            let (uncompressed, after) = rest.split_first_chunk().ok_or_else(truncated)?;
            rest = after;
            Some(u32::from_le_bytes(*uncompressed))
        } else {
            None
        };
        let (id, rest) = rest.split_first_chunk().ok_or_else(truncated)?;
        if (length as usize) < SEAL_OVERHEAD || uncompressed_length == Some(0) {
            return Err(FormatError::malformed(
                "a pack header tells an impossible length of a blob",
            ));
        }
        let id = BlobId::from_bytes(*id);
        entries.push(PackEntry {
            id,
            blob_type,
            length,
            uncompressed_length,
            offset,
        });
        offset = offset
            .checked_add(length)
            .ok_or_else(|| FormatError::malformed("the blobs of a pack header pass 4 GiB"))?;
        plaintext = rest;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_raw(&[7; 64]).unwrap()
    }

    /// Entries that follow each other, of these lengths; every third raw.
    fn entries(lengths: &[u32]) -> Vec<PackEntry> {
        let mut offset = 0;
        let entry = |(number, &length): (usize, &u32)| {
            let entry = PackEntry {
                id: BlobId::of(&number.to_le_bytes()),
                blob_type: if number.is_multiple_of(2) {
                    BlobType::Data
                } else {
                    BlobType::Tree
                },
                length,
                uncompressed_length: (!number.is_multiple_of(3)).then_some(length * 2),
                offset,
            };
            offset += length;
            entry
        };
        lengths.iter().enumerate().map(entry).collect()
    }

    /// A sealed header with this plaintext and its length word, for a pack with as many bytes as given.
    fn read(plaintext: &[u8], pack_size: u64) -> Result<HeaderRead, FormatError> {
        let mut tail = key().seal(plaintext).unwrap();
        tail.extend_from_slice(&(tail.len() as u32).to_le_bytes());
        PackHeaderReader::new(pack_size)?.read(&key(), &tail)
    }

    #[test]
    fn a_header_is_found_in_one_or_two_steps() {
        for count in [1, 15, 16, 3000] {
            let entries = entries(&vec![100; count]);
            let header = encode_header(&key(), &entries).unwrap();
            let size = pack_size(&entries);
            assert_eq!(size, 100 * count as u64 + header.len() as u64);

            let reader = PackHeaderReader::new(size).unwrap();
            let pack = [vec![0; 100 * count], header.clone()].concat();
            let tail = |bytes: usize| &pack[pack.len() - bytes..];
            let mut step = reader.read(&key(), tail(reader.first_tail())).unwrap();
            if let HeaderRead::NeedsTail(bytes) = step {
                assert!(count > 15);
                assert_eq!(bytes, header.len());
                step = reader.read(&key(), tail(bytes)).unwrap();
            }
            assert_eq!(step, HeaderRead::Entries(entries));
            assert_eq!(
                reader.read(&key(), b"").unwrap(),
                HeaderRead::NeedsTail(reader.first_tail())
            );
        }
    }

    #[test]
    fn a_small_pack_is_asked_for_as_a_whole() {
        assert_eq!(PackHeaderReader::new(200).unwrap().first_tail(), 200);
        assert_eq!(PackHeaderReader::new(1 << 20).unwrap().first_tail(), 15 * 41 + 36);
        for size in [0, 36, 72, 1 << 32, u64::MAX] {
            assert!(PackHeaderReader::new(size).is_err(), "{size}");
        }
    }

    #[test]
    fn impossible_length_words_are_refused() {
        let reader = PackHeaderReader::new(1000).unwrap();
        for word in [0, 1, 31, 997, 1000, (16 << 20) + 1, u32::MAX] {
            let tail = [&[1; 996][..], &word.to_le_bytes()].concat();
            assert!(reader.read(&key(), &tail).is_err(), "{word}");
        }
        // The largest that fits is only refused for what it seals.
        let tail = [&[1; 996][..], &996_u32.to_le_bytes()].concat();
        assert_eq!(reader.read(&key(), &tail), Err(FormatError::Unauthentic));
    }

    #[test]
    fn headers_that_do_not_describe_their_pack_are_refused() {
        let raw = |kind: u8, length: u32| [&[kind][..], &length.to_le_bytes(), &[9; 32]].concat();
        let good = raw(0, 40);
        assert!(matches!(read(&good, 40 + 37 + 36), Ok(HeaderRead::Entries(entries)) if entries.len() == 1));
        let malformed = |plaintext: &[u8], pack_size: u64| {
            let result = read(plaintext, pack_size);
            assert!(matches!(result, Err(FormatError::Malformed(_))), "{result:?}");
        };
        // A gap, a byte missing, nothing listed.
        malformed(&good, 40 + 37 + 36 + 1);
        malformed(&good, 40 + 37 + 36 - 1);
        malformed(b"", 73);
        // An unknown type, a length within the seal, a cut entry, a compressed blob of nothing.
        malformed(&raw(4, 40), 40 + 37 + 36);
        malformed(&raw(0, 31), 31 + 37 + 36);
        malformed(&good[..36], 40 + 36 + 36);
        let nothing = [&[2][..], &40_u32.to_le_bytes(), &[0; 4], &[9; 32]].concat();
        malformed(&nothing, 40 + 41 + 36);
        // Offsets that pass 32 bits.
        malformed(&raw(0, 1 << 31).repeat(2), u64::from(u32::MAX));
    }

    #[test]
    fn nothing_unreadable_is_written() {
        let encode = |change: fn(&mut Vec<PackEntry>)| {
            let mut entries = entries(&[50, 60, 70]);
            change(&mut entries);
            encode_header(&key(), &entries)
        };
        assert!(encode(|_| ()).is_ok());
        assert!(encode(Vec::clear).is_err());
        assert!(encode(|entries| entries.rotate_left(1)).is_err());
        assert!(encode(|entries| entries[1].offset += 1).is_err());
        assert!(encode(|entries| entries[2].length = 31).is_err());
        assert!(encode(|entries| entries[2].uncompressed_length = Some(0)).is_err());
        assert!(matches!(
            encode(|entries| entries[2].length = u32::MAX),
            Err(FormatError::TooLarge { what: "a pack", .. })
        ));
    }

    #[test]
    fn the_longest_header_of_restic_fits_and_no_longer_one() {
        let entry = PackEntry {
            uncompressed_length: None,
            ..entries(&[32])[0]
        };
        let most = |count: u32| -> Vec<_> {
            (0..count)
                .map(|number| PackEntry {
                    offset: number * 32,
                    ..entry
                })
                .collect()
        };
        assert_eq!(
            encode_header(&key(), &most(453_437)).unwrap().len(),
            453_437 * 37 + 36
        );
        assert!(matches!(
            encode_header(&key(), &most(453_438)),
            Err(FormatError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(lengths in prop::collection::vec(32..1000_u32, 1..40)) {
            let entries = entries(&lengths);
            let header = encode_header(&key(), &entries).unwrap();
            let reader = PackHeaderReader::new(pack_size(&entries)).unwrap();
            prop_assert_eq!(reader.read(&key(), &header), Ok(HeaderRead::Entries(entries)));
        }

        #[test]
        fn foreign_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            kinds in prop::collection::vec((0..5_u8, any::<u32>(), 0..99_u8), 0..5),
            pack_size in any::<u64>(),
        ) {
            // The sealed header may hold anything too: who writes it need not be sane.
            let plausible: Vec<u8> = kinds
                .iter()
                .flat_map(|(kind, length, rest)| [&[*kind][..], &length.to_le_bytes(), &vec![1; *rest as usize]].concat())
                .collect();
            for pack_size in [pack_size, pack_size % 4000] {
                let _ = read(&bytes, pack_size);
                let _ = read(&plausible, pack_size);
                if let Ok(reader) = PackHeaderReader::new(pack_size) {
                    let _ = reader.read(&key(), &bytes);
                }
            }
        }
    }
}
