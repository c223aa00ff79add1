//! Unpacked files – indexes, snapshots and locks – between their JSON and the plaintext that is sealed.
//!
//! The first byte tells them apart: 2 stands before zstd, and JSON stands for itself, as repositories that
//! were upgraded from version 1 hold it.

use std::io::{self, Read, Write};

use zstd::{
    stream::{read, write},
    zstd_safe::zstd_sys::ZSTD_ErrorCode,
};

use super::{Compressor, Decompressor, FormatError, compress::WINDOW_LOG};

/// Says that zstd of the JSON follows.
const COMPRESSED: u8 = 2;

/// Bytes of JSON that a reader of unpacked files accepts unless it has a reason for another limit.
///
/// restic writes indexes of about 7 MiB; merged ones of half a million blobs, which it also reads, have 70 MiB.
pub const UNPACKED_BYTES_MAX: usize = 128 << 20;

/// Log2 of the largest window that zstd accepts without being told otherwise; nobody writes more.
const WINDOW_LOG_MAX: u32 = 27;

/// Log2 of the window, 8 MiB, that the specification of zstd recommends every reader to accept, however small the
/// content is: who writes a stream does not know that.
const WINDOW_LOG_MIN: u32 = 23;

/// The plaintext to seal for a file with this JSON.
pub fn encode_unpacked(compressor: &mut Compressor, json: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut plaintext = Vec::new();
    compressor.compress(json, &mut plaintext)?;
    plaintext.insert(0, COMPRESSED);
    Ok(plaintext)
}

/// The JSON in an opened file, at most `limit` bytes long; empty for an empty plaintext.
///
/// [`FormatError::TooLarge`] if there is more, [`FormatError::Malformed`] if it cannot be such a file.
pub fn decode_unpacked(
    decompressor: &mut Decompressor,
    plaintext: Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, FormatError> {
    match Framing::of(&plaintext)? {
        Framing::Compressed(frames) => decompressor.decompress(frames, limit),
        Framing::Bare(json) if json.len() > limit => Err(too_large(json.len() as u64, limit)),
        Framing::Bare(_) => Ok(plaintext),
    }
}

enum Framing<'a> {
    Compressed(&'a [u8]),
    Bare(&'a [u8]),
}

impl<'a> Framing<'a> {
    fn of(plaintext: &'a [u8]) -> Result<Self, FormatError> {
        match plaintext {
            [] | [b'[' | b'{', ..] => Ok(Self::Bare(plaintext)),
            [COMPRESSED, frames @ ..] => Ok(Self::Compressed(frames)),
            [other, ..] => Err(FormatError::malformed(format!(
                "a file starts with the unknown byte {other}"
            ))),
        }
    }
}

fn too_large(claimed: u64, limit: usize) -> FormatError {
    FormatError::TooLarge {
        what: "an unpacked file",
        claimed,
        limit: limit as u64,
    }
}

/// The JSON in an opened file as a stream, for files whose JSON shall not lie in memory as a whole.
///
/// Beside the plaintext it holds a window as large as the writer chose: 512 KiB from restic, refused if it is above
/// both 8 MiB and the limit (rounded up to a power of two), or above 128 MiB. A read fails with an [`io::Error`]
/// around a [`FormatError`], which [`FormatError::from_io`] takes out again.
pub struct UnpackedReader<'a> {
    source: Source<'a>,
    left: usize,
    limit: usize,
}

enum Source<'a> {
    Compressed(Box<read::Decoder<'static, &'a [u8]>>),
    Bare(&'a [u8]),
}

impl<'a> UnpackedReader<'a> {
    /// Reads an opened file whose JSON has at most `limit` bytes.
    pub fn new(plaintext: &'a [u8], limit: usize) -> Result<Self, FormatError> {
        let source = match Framing::of(plaintext)? {
            Framing::Bare(json) => Source::Bare(json),
            // The stream decoder calls no frame at all an incomplete one; then nothing was compressed.
            Framing::Compressed([]) => Source::Bare(&[]),
            Framing::Compressed(frames) => {
                let mut decoder = read::Decoder::with_buffer(frames).map_err(FormatError::from_io)?;
                let window_log = limit.min(1 << WINDOW_LOG_MAX).next_power_of_two().ilog2();
                let window_log = window_log.max(WINDOW_LOG_MIN);
                decoder.window_log_max(window_log).map_err(FormatError::from_io)?;
                Source::Compressed(Box::new(decoder))
            }
        };
        Ok(Self {
            source,
            left: limit,
            limit,
        })
    }
}

impl Read for UnpackedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more than is left betrays what is too large.
        let wanted = buffer.len().min(self.left.saturating_add(1));
        let buffer = &mut buffer[..wanted];
        let length = match &mut self.source {
            Source::Compressed(decoder) => decoder
                .read(buffer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, FormatError::from_io(error)))?,
            Source::Bare(json) => json.read(buffer)?,
        };
        self.left = self.left.checked_sub(length).ok_or_else(|| {
            let error = too_large(self.limit as u64 + 1, self.limit);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?;
        Ok(length)
    }
}

/// Makes the plaintext of an unpacked file from JSON that is written piece by piece.
///
/// Its frame does not tell the content size, which every reader accepts.
pub struct UnpackedWriter(write::Encoder<'static, Vec<u8>>);

impl UnpackedWriter {
    /// `level` as for [`Compressor::new`].
    pub fn new(level: i32) -> Result<Self, FormatError> {
        let mut encoder = write::Encoder::new(vec![COMPRESSED], level).map_err(FormatError::from_io)?;
        encoder.window_log(WINDOW_LOG).map_err(FormatError::from_io)?;
        Ok(Self(encoder))
    }

    /// The plaintext to seal.
    pub fn finish(self) -> Result<Vec<u8>, FormatError> {
        self.0.finish().map_err(FormatError::from_io)
    }
}

impl Write for UnpackedWriter {
    fn write(&mut self, json: &[u8]) -> io::Result<usize> {
        self.0.write(json)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Flushing zstd would cut blocks for nobody: the plaintext is only seen when it is finished.
        Ok(())
    }
}

impl FormatError {
    /// The error inside of what an [`UnpackedReader`] or an [`UnpackedWriter`] failed with.
    pub fn from_io(error: io::Error) -> Self {
        let text = error.to_string();
        let of_zstd = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<zstd::Error>());
        if of_zstd.is_some_and(|error| error.is(ZSTD_ErrorCode::ZSTD_error_memory_allocation)) {
            return Self::NoMemory;
        }
        match error.into_inner().map(|inner| inner.downcast::<Self>()) {
            Some(Ok(inner)) => *inner,
            _ => Self::malformed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(plaintext: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
        let whole = decode_unpacked(&mut Decompressor::new(), plaintext.to_vec(), limit);
        let mut piecewise = Vec::new();
        let streamed = UnpackedReader::new(plaintext, limit)
            .and_then(|mut reader| reader.read_to_end(&mut piecewise).map_err(FormatError::from_io));
        // Both ways agree on what is right, if not always on the words for what is wrong.
        match (&whole, &streamed) {
            (Ok(whole), Ok(_)) => assert_eq!(*whole, piecewise),
            (Err(_), Err(_)) => {}
            _ => panic!("{whole:?} but {streamed:?}"),
        }
        assert!(piecewise.len() <= limit);
        whole
    }

    #[test]
    fn each_framing_is_read_within_its_limit() {
        let json = format!("[{}0]", "12, ".repeat(100_000)).into_bytes();
        let compressed = encode_unpacked(&mut Compressor::default(), &json).unwrap();
        assert_eq!(compressed[0], 2);
        let mut writer = UnpackedWriter::new(3).unwrap();
        for piece in json.chunks(1000) {
            writer.write_all(piece).unwrap();
            writer.flush().unwrap();
        }
        let streamed = writer.finish().unwrap();
        assert!(streamed.len() < 2000);
        let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
        let skipping = [&[2], &skippable[..], &compressed[1..], skippable].concat();
        for plaintext in [&json, &compressed, &streamed, &skipping] {
            assert_eq!(decoded(plaintext, json.len()).unwrap(), json);
            let error = decoded(plaintext, json.len() - 1).unwrap_err();
            assert!(matches!(error, FormatError::TooLarge { .. }), "{error:?}");
        }
    }

    #[test]
    fn other_plaintexts_are_refused() {
        assert_eq!(decoded(b"", 10).unwrap(), b"");
        assert_eq!(decoded(b"\x02", 10).unwrap(), b"");
        for bad in [&b"\x01{}"[..], b"\x02{}", b" {}", b"null", b"\0"] {
            assert!(
                matches!(decoded(bad, 100), Err(FormatError::Malformed(_))),
                "{bad:?}"
            );
        }
        let whole = encode_unpacked(&mut Compressor::default(), b"{\"some\":\"document\"}").unwrap();
        for length in 2..whole.len() {
            assert!(decoded(&whole[..length], 100).is_err(), "{length}");
        }
    }

    #[test]
    fn a_window_above_the_limit_is_refused() {
        // Magic number; a window of 128 MiB, no content size; one empty last block.
        let frame = [2, 0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0];
        let read = |limit| {
            UnpackedReader::new(&frame, limit)
                .unwrap()
                .read_to_end(&mut Vec::new())
        };
        assert_eq!(read(128 << 20).unwrap(), 0);
        assert!(read(1 << 20).is_err());
    }

    proptest! {
        #[test]
        fn foreign_and_mutated_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            limit in 0..3000_usize,
        ) {
            let mut file = encode_unpacked(&mut Compressor::default(), &bytes.repeat(20)).unwrap();
            let place = place.index(file.len());
            file[place] = byte;
            let framed = [&[2], &bytes[..]].concat();
            for plaintext in [&bytes, &framed, &file] {
                let _ = decode_unpacked(&mut Decompressor::new(), plaintext.clone(), limit);
                if let Ok(mut reader) = UnpackedReader::new(plaintext, limit) {
                    let mut read = Vec::new();
                    let _ = reader.read_to_end(&mut read);
                    prop_assert!(read.len() <= limit);
                }
            }
        }
    }
}
