//! Whether zstd is worth trying on a blob, told from a few samples.
//!
//! Most bytes on a phone are photos, videos and what apps encrypted. zstd finds out by itself that these do not
//! shrink, but needs an order of magnitude longer than the samples (about 6 µs on a desktop), and a buffer as
//! large as the blob.

/// Shorter blobs are always worth trying: zstd takes no longer for them than the samples would.
const BYTES_MIN: usize = SAMPLES * SAMPLE_BYTES;

/// Stretches whose bytes are counted, spread evenly from the first byte to the last.
const SAMPLES: usize = 8;

/// Bytes of one stretch.
const SAMPLE_BYTES: usize = 512;

/// Bits a byte above which only repeats could help.
///
/// 4096 random bytes measure 7.95 (not 8, for so few fill the 256 counts unevenly), and so do files that are
/// encrypted; compressed ones lie between that and 7.85, but for the tables at their start. In a sample of archives,
/// images, fonts and programs, not trying what lies above cost 3 % of any kind of file at most, and mostly nothing.
const ENTROPY_MAX: f32 = 7.8;

/// How many places are compared with each other to find repeats of whole pages, at most.
const PROBES_MAX: usize = 256;

/// How many places are searched for behind themselves to find repeats at any short distance.
const ANCHORS: usize = 4;

/// How far behind, in bytes.
const REACH: usize = 2048;

/// Whether compressing `blob` would save next to nothing.
///
/// It costs a few microseconds whatever the length, and is a guess: where it is wrong, a blob is stored raw that
/// might have shrunk, or compressed in vain, and both are right for every reader.
///
/// `true`, from 4 KiB on, for what is compressed or encrypted already and for random bytes; `false` for text,
/// tables, pages of databases, programs, and whatever has noticeable runs of zeros. Bytes that look random but
/// repeat are found out if the distance is a power of two, as that of pages, or below 2 KiB at one of four places.
pub fn looks_incompressible(blob: &[u8]) -> bool {
    blob.len() >= BYTES_MIN && entropy(blob) > ENTROPY_MAX && !repeats_far(blob) && !repeats_nearby(blob)
}

/// Bits a byte in the samples taken together, as if the bytes were independent.
fn entropy(blob: &[u8]) -> f32 {
    let mut counts = [0_u16; 256];
    let last = blob.len() - SAMPLE_BYTES;
    for sample in 0..SAMPLES {
        let start = last * sample / (SAMPLES - 1);
        for &byte in &blob[start..start + SAMPLE_BYTES] {
            counts[usize::from(byte)] += 1;
        }
    }
    let bytes = BYTES_MIN as f32;
    let sum: f32 = counts
        .iter()
        .filter(|&&n| n > 1)
        .map(|&n| f32::from(n) * f32::from(n).log2())
        .sum();
    bytes.log2() - sum / bytes
}

/// Whether two of many evenly spread places hold the same 8 bytes. Distances are powers of two, as those of pages.
fn repeats_far(blob: &[u8]) -> bool {
    let stride = (blob.len() / PROBES_MAX).next_power_of_two();
    let mut probes = [0_u64; PROBES_MAX];
    let words = blob.chunks_exact(stride).filter_map(|chunk| chunk.first_chunk());
    let mut count = 0;
    for (probe, word) in probes.iter_mut().zip(words) {
        *probe = u64::from_ne_bytes(*word);
        count += 1;
    }
    let probes = &mut probes[..count];
    probes.sort_unstable();
    probes.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether the 8 bytes at one of a few places occur again soon behind it.
fn repeats_nearby(blob: &[u8]) -> bool {
    let last = blob.len() - REACH;
    (0..ANCHORS).any(|anchor| {
        let start = last * anchor / (ANCHORS - 1);
        let stretch = &blob[start..start + REACH];
        stretch
            .first_chunk::<8>()
            .is_some_and(|anchor| stretch[1..].windows(8).any(|place| place == anchor))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{Compressor, MasterKey};

    const BLOB: usize = 256 << 10;

    /// Random bytes that are the same in each run.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// Sentences of random words, which is about as compressible as text.
    fn text(seed: u64, length: usize) -> Vec<u8> {
        let words = [
            "boat", "harbour", "a", "the", "of", "42", "Wind", "rope,", "sailing", "and", "not", "is.",
        ];
        let noise = noise(seed, length);
        let words = noise.iter().map(|&byte| words[usize::from(byte) % words.len()]);
        words
            .flat_map(|word| word.bytes().chain([b' ']))
            .take(length)
            .collect()
    }

    fn compressed(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Compressor::new(19).compress(input, &mut out).unwrap();
        out
    }

    #[test]
    fn media_archives_and_ciphertext_are_not_tried() {
        let archive = compressed(&text(1, 2 << 20));
        assert!(archive.len() > BLOB);
        // JPEG puts a zero behind each 0xff, and a marker here and there.
        let mut jpeg = [&[0xff, 0xd8, 0xff, 0xe0][..], &[0x11; 64], &text(2, 100)].concat();
        for (number, byte) in noise(3, BLOB).into_iter().enumerate() {
            jpeg.push(byte);
            if byte == 0xff {
                jpeg.push(0);
            }
            if number % 4000 == 0 {
                jpeg.extend([0xff, 0xd0 + (number / 4000 % 8) as u8]);
            }
        }
        // HEIC and MP4: boxes with names and lengths, then units of some kilobytes with their lengths.
        let mut video = [&b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"[..], b"\0\x04\0\0mdat"].concat();
        for unit in 0..64 {
            video.extend([0, 0, 0x10, 0, 0x41, 0x9a]);
            video.extend(noise(unit, 4094));
        }
        let master = MasterKey::from_raw(&[3; 64]).unwrap();
        let ciphertext = master.seal(&text(4, BLOB)).unwrap();
        for (name, blob) in [
            ("archive", archive),
            ("jpeg", jpeg),
            ("video", video),
            ("ciphertext", ciphertext),
            ("noise", noise(5, BLOB)),
        ] {
            for part in [&blob[..], &blob[..BLOB / 2], &blob[BLOB / 4..BLOB / 2]] {
                assert!(looks_incompressible(part), "{name} {}", entropy(part));
            }
        }
    }

    #[test]
    fn text_tables_programs_and_holes_are_tried() {
        let records: String = (0..5000)
            .map(|n| format!("{{\"id\":{n},\"name\":\"{:x}\"}},", n * 7919))
            .collect();
        let mut sparse = noise(1, BLOB);
        for page in sparse.chunks_mut(4096).step_by(8) {
            page.fill(0);
        }
        let hex = hex::encode(noise(2, BLOB));
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for (name, blob) in [
            ("text", text(3, BLOB)),
            ("json", records.into_bytes()),
            ("sparse", sparse),
            ("zeros", vec![0; BLOB]),
            ("hex", hex.into_bytes()),
            ("database", database()),
            ("program", program[..BLOB].to_vec()),
        ] {
            for part in [
                &blob[..],
                &blob[..blob.len() / 2],
                &blob[..6000],
                &blob[..100],
                &[],
            ] {
                assert!(!looks_incompressible(part), "{name} {}", part.len());
            }
        }
    }

    /// The file of a database with short texts and numbers.
    fn database() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let database = rusqlite::Connection::open(&path).unwrap();
        database
            .execute_batch("CREATE TABLE messages (id INTEGER PRIMARY KEY, at REAL, body TEXT)")
            .unwrap();
        for number in 0..500_u32 {
            let body = String::from_utf8(text(number.into(), 120)).unwrap();
            let row = rusqlite::params![f64::from(number).sqrt(), body];
            database
                .execute("INSERT INTO messages (at, body) VALUES (?, ?)", row)
                .unwrap();
        }
        std::fs::read(path).unwrap()
    }

    proptest! {
        #[test]
        fn noise_of_any_length_is_not_tried(seed: u64, length in BYTES_MIN..2_000_000) {
            prop_assert!(looks_incompressible(&noise(seed, length)));
        }

        #[test]
        fn pages_that_repeat_are_found_out(seed: u64, log in 9..16_u32, length in (128 << 10)..(1_usize << 20)) {
            let blob: Vec<u8> = noise(seed, 1 << log).into_iter().cycle().take(length).collect();
            prop_assert!(!looks_incompressible(&blob));
        }

        #[test]
        fn short_repeats_at_any_distance_are_found_out(seed: u64, period in 1..REACH - 8, length in 5000..500_000_usize) {
            let blob: Vec<u8> = noise(seed, period).into_iter().cycle().take(length).collect();
            prop_assert!(!looks_incompressible(&blob));
        }

        #[test]
        fn one_zero_among_ten_bytes_is_noticed(seed: u64, length in BYTES_MIN..200_000) {
            let mut blob = noise(seed, length);
            blob.iter_mut().step_by(10).for_each(|byte| *byte = 0);
            prop_assert!(!looks_incompressible(&blob));
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
            looks_incompressible(&bytes);
        }
    }
}
