//! zstd, with memory bounded by the caller and never by what a frame claims.
//!
//! Contexts are kept: making one costs more than compressing a small blob. Frames are written as restic does,
//! with content size and without checksum (the seal authenticates more than a checksum could); what is read may
//! be any sequence of frames, skippable ones included, with or without sizes and checksums, without dictionary.

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, ErrorCode, zstd_sys::ZSTD_ErrorCode};

use super::FormatError;

/// zstd's own default, and restic's.
pub const COMPRESSION_LEVEL: i32 = 3;

/// Log2 of the window in bytes: 512 KiB as restic writes, so that who reads as a stream needs no more.
pub(super) const WINDOW_LOG: u32 = 19;

/// How many bytes a compressed blob must be shorter to be worth it: its entry in the pack header is 4 bytes
/// longer, that in the index 28 before compression, and each reader has to decompress it.
const GAIN_MIN: usize = 32;

/// No frame gives more than 128 KiB for each 4 bytes that it is long: the header of a block and the byte that
/// the block repeats. A frame that claims more lies.
const EXPANSION_MAX: usize = 32 << 10;

/// First guess at the size of a text whose frames do not tell.
const GUESS_EXPANSION: usize = 8;
const GUESS_MIN: usize = 128 << 10;

/// A zstd context for compression. About 1 MiB at level 3; keep one for each thread that compresses.
pub struct Compressor(CCtx<'static>);

impl Default for Compressor {
    fn default() -> Self {
        Self::new(COMPRESSION_LEVEL)
    }
}

impl Compressor {
    /// `level` as zstd counts; beyond its range the nearest is taken. Panics without memory for a context.
    pub fn new(level: i32) -> Self {
        let level = level.clamp(zstd_safe::min_c_level(), zstd_safe::max_c_level());
        let mut context = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(WINDOW_LOG),
        ] {
            context
                .set_parameter(parameter)
                .expect("the level was clamped, and the window is within zstd's bounds");
        }
        Self(context)
    }

    /// Replaces what is in `out` by one frame with `input`.
    ///
    /// [`FormatError::NoMemory`] if the context or `out` cannot grow.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.clear();
        out.try_reserve(zstd_safe::compress_bound(input.len()))
            .map_err(|_| FormatError::NoMemory)?;
        self.0.compress2(out, input).map(drop).map_err(|code| {
            // A failed frame stays open otherwise. The reset of a session cannot fail.
            let _ = self.0.reset(zstd_safe::ResetDirective::SessionOnly);
            described(code)
        })
    }

    /// As [`Compressor::compress`] if that saves at least 32 bytes; else `false`, and `out` is of no use.
    pub fn compress_if_smaller(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<bool, FormatError> {
        if input.len() <= GAIN_MIN {
            return Ok(false);
        }
        self.compress(input, out)?;
        Ok(out.len() <= input.len() - GAIN_MIN)
    }
}

/// The most bytes that a frame with so many has.
pub fn compress_bound(bytes: usize) -> usize {
    zstd_safe::compress_bound(bytes)
}

/// A zstd context for decompression. Some 100 KiB, whatever is decompressed; keep one for each thread.
pub struct Decompressor {
    context: DCtx<'static>,
    /// Where the next content goes.
    spare: Vec<u8>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// Panics without memory for a context.
    pub fn new() -> Self {
        Self {
            context: DCtx::create(),
            spare: Vec::new(),
        }
    }

    /// Has the next content put into this buffer, if there is room for it.
    pub fn reuse(&mut self, buffer: Vec<u8>) {
        self.spare = buffer;
    }

    /// Takes that buffer back, if nothing was put into it.
    pub fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// The content of all frames in `input`, which must be nothing but whole frames.
    ///
    /// Beside a buffer of [`Decompressor::reuse`], no more than `limit` bytes are allocated, and no more than `input` can expand to, however large a frame
    /// says it is. [`FormatError::TooLarge`] if the content is longer than `limit`; [`FormatError::Malformed`] if
    /// `input` is truncated, has garbage behind the last frame, or was otherwise changed.
    pub fn decompress(&mut self, input: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
        let expansion = input.len().saturating_mul(EXPANSION_MAX);
        let most = limit.min(expansion);
        let too_large = |claimed| FormatError::TooLarge {
            what: "compressed content",
            claimed,
            limit: limit as u64,
        };
        let mut capacity = match content_size(input) {
            Some(size) if size > limit as u64 => return Err(too_large(size)),
            Some(size) if size > expansion as u64 => {
                return Err(FormatError::malformed(
                    "a zstd frame claims more than it can hold",
                ));
            }
            // Not above `limit`, hence in the range of usize.
            Some(size) => size as usize,
            None => most.min(input.len().saturating_mul(GUESS_EXPANSION).max(GUESS_MIN)),
        };
        loop {
            let mut out = std::mem::take(&mut self.spare);
            out.clear();
            out.try_reserve_exact(capacity)
                .map_err(|_| FormatError::NoMemory)?;
            match self.context.decompress(&mut out, input) {
                // The allocator may have given more than was asked for.
                Ok(length) if length <= limit => return Ok(out),
                Ok(length) => return Err(too_large(length as u64)),
                Err(code) if !is(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => {
                    return Err(described(code));
                }
                // Starting over costs no more than the last round did in all, and unlike a stream it needs no
                // window beside the content.
                Err(_) if capacity < most => capacity = capacity.saturating_mul(4).min(most),
                Err(_) if limit < expansion => return Err(too_large(limit as u64 + 1)),
                Err(code) => return Err(described(code)),
            }
        }
    }
}

/// The sum over all frames; `None` unless each of them is whole and tells its size.
fn content_size(mut input: &[u8]) -> Option<u64> {
    let mut sum = 0_u64;
    while !input.is_empty() {
        let length = zstd_safe::find_frame_compressed_size(input).ok()?;
        sum = sum.checked_add(zstd_safe::get_frame_content_size(input).ok()??)?;
        input = input.get(length..)?;
    }
    Some(sum)
}

fn is(code: ErrorCode, kind: ZSTD_ErrorCode) -> bool {
    zstd_safe::is_error_kind(code, kind)
}

fn described(code: ErrorCode) -> FormatError {
    if is(code, ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
        return FormatError::NoMemory;
    }
    FormatError::malformed(format!("zstd: {}", zstd_safe::get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn compressed(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Compressor::default().compress(input, &mut out).unwrap();
        out
    }

    /// A stream that tells no content size, with a checksum.
    fn streamed(input: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(input).unwrap();
        encoder.finish().unwrap()
    }

    const SKIPPABLE: &[u8] = b"\x50\x2a\x4d\x18\x03\0\0\0abc";

    #[test]
    fn frames_are_like_those_of_restic() {
        let frame = compressed(&vec![7; 3 << 20]);
        // Magic number; content size in 4 bytes, not a single segment, no checksum, no dictionary.
        assert_eq!(frame[..5], [0x28, 0xb5, 0x2f, 0xfd, 0b1000_0000]);
        // Window: 2^(10 + 9) bytes.
        assert_eq!(frame[5], 9 << 3);
        assert_eq!(content_size(&frame), Some(3 << 20));
    }

    #[test]
    fn frames_of_any_kind_are_read() {
        let text = b"some text, ".repeat(50_000);
        let mut decompressor = Decompressor::new();
        let whole = [
            SKIPPABLE,
            &compressed(&text),
            &streamed(&text),
            SKIPPABLE,
            &compressed(b""),
        ]
        .concat();
        let twice = [&text[..], &text].concat();
        assert_eq!(decompressor.decompress(&whole, twice.len()).unwrap(), twice);
        let error = decompressor.decompress(&whole, twice.len() - 1).unwrap_err();
        assert!(matches!(error, FormatError::TooLarge { limit, .. } if limit == twice.len() as u64 - 1));
        assert_eq!(decompressor.decompress(SKIPPABLE, 0).unwrap(), b"");
        assert_eq!(decompressor.decompress(b"", 0).unwrap(), b"");
    }

    #[test]
    fn truncation_and_garbage_are_errors() {
        let text = b"some text, ".repeat(500);
        for frame in [compressed(&text), streamed(&text)] {
            for length in 1..frame.len() {
                let result = Decompressor::new().decompress(&frame[..length], 1 << 20);
                assert!(
                    matches!(result, Err(FormatError::Malformed(_))),
                    "{length}: {result:?}"
                );
            }
            for garbage in [&b"x"[..], b"garbage behind", &[0; 9], &frame[..7]] {
                let long = [&frame, garbage].concat();
                let result = Decompressor::new().decompress(&long, 1 << 20);
                assert!(matches!(result, Err(FormatError::Malformed(_))), "{result:?}");
            }
        }
    }

    #[test]
    fn claims_of_size_do_not_allocate() {
        // Magic number, a single segment with 8 bytes of size, and one empty last block.
        let claim = |size: u64| [&b"\x28\xb5\x2f\xfd\xe0"[..], &size.to_le_bytes(), b"\x01\0\0"].concat();
        let mut decompressor = Decompressor::new();
        let limit = usize::MAX;
        let result = decompressor.decompress(&claim(1 << 50), limit);
        assert!(matches!(result, Err(FormatError::Malformed(_))), "{result:?}");
        let result = decompressor.decompress(&claim(1 << 20), 1 << 19);
        assert!(
            matches!(
                result,
                Err(FormatError::TooLarge {
                    claimed: 1_048_576,
                    ..
                })
            ),
            "{result:?}"
        );
        assert!(decompressor.decompress(&claim(0), 0).unwrap().is_empty());
        assert!(matches!(
            decompressor.decompress(&claim(1), 10),
            Err(FormatError::Malformed(_))
        ));
    }

    #[test]
    fn what_expands_most_is_read() {
        let zeros = vec![0; 40 << 20];
        for frame in [compressed(&zeros), streamed(&zeros)] {
            assert!(frame.len() < 10_000);
            assert!(Decompressor::new().decompress(&frame, zeros.len()).unwrap() == zeros);
            let result = Decompressor::new().decompress(&frame, zeros.len() - 1);
            assert!(matches!(result, Err(FormatError::TooLarge { .. })));
        }
    }

    #[test]
    fn only_a_real_gain_counts() {
        let mut compressor = Compressor::new(100);
        let mut out = Vec::new();
        assert!(compressor.compress_if_smaller(&[0; 100], &mut out).unwrap());
        assert_eq!(Decompressor::new().decompress(&out, 100).unwrap(), [0; 100]);
        assert!(!compressor.compress_if_smaller(&[0; 40], &mut out).unwrap());
        assert!(!compressor.compress_if_smaller(&[], &mut out).unwrap());
        let mut noise = [0; 4096];
        getrandom::fill(&mut noise).unwrap();
        assert!(!compressor.compress_if_smaller(&noise, &mut out).unwrap());
    }

    proptest! {
        #[test]
        fn whatever_is_compressed_returns(
            input in prop::collection::vec(0..4_u8, 0..3000),
            limit in 0..3000_usize,
        ) {
            for frame in [compressed(&input), streamed(&input)] {
                let result = Decompressor::new().decompress(&frame, limit);
                if limit >= input.len() {
                    prop_assert_eq!(result.as_ref(), Ok(&input));
                } else {
                    prop_assert!(matches!(result, Err(FormatError::TooLarge { .. })), "{:?}", result);
                }
            }
        }

        #[test]
        fn foreign_and_mutated_bytes_stay_within_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut frame = [SKIPPABLE, &compressed(&bytes.repeat(20)), &streamed(&bytes)].concat();
            let place = place.index(frame.len());
            frame[place] = byte;
            for input in [&bytes, &frame] {
                if let Ok(out) = Decompressor::new().decompress(input, 5000) {
                    prop_assert!(out.len() <= 5000);
                }
            }
        }
    }
}
