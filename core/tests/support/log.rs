//! A write-ahead log as a snapshot keeps it beside a database, written from SQLite's description of the format and from nothing of the engine's.

#![allow(dead_code, reason = "each test program uses a part of it")]

/// The header of every such log of a page size: the salts are its mark.
pub fn header(page_bytes: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0x377f_0682, 3_007_000, page_bytes, 0] {
        bytes.extend_from_slice(&u32::to_be_bytes(word));
    }
    bytes.extend_from_slice(b"LIFEBOAT");
    let sum = checksum((0, 0), &bytes);
    bytes.extend_from_slice(&sum.0.to_be_bytes());
    bytes.extend_from_slice(&sum.1.to_be_bytes());
    bytes
}

/// Two sums over pairs of little-endian words, each taking the other in.
fn checksum(from: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    bytes.chunks_exact(8).fold(from, |(one, two), pair| {
        let word = |at: usize| u32::from_le_bytes(pair[at..at + 4].try_into().expect("four bytes"));
        let one = one.wrapping_add(word(0)).wrapping_add(two);
        (one, two.wrapping_add(word(4)).wrapping_add(one))
    })
}

/// The log that turns `base` into `now`: all pages that differ, the last one a commit. Its header alone where nothing does.
pub fn between(page_bytes: u32, base: &[u8], now: &[u8]) -> Vec<u8> {
    let size = page_bytes as usize;
    let count = u32::try_from(now.len() / size).expect("a small database");
    let page = |bytes: &'_ [u8], at: usize| bytes.get(at * size..(at + 1) * size).map(<[u8]>::to_vec);
    let mut changed: Vec<usize> = (0..count as usize)
        .filter(|&at| page(base, at) != page(now, at))
        .collect();
    if changed.is_empty() && base.len() != now.len() {
        changed.push(0);
    }
    let mut log = header(page_bytes);
    let mut sum = checksum((0, 0), &log[..24]);
    for &at in &changed {
        let page = page(now, at).expect("a page of it");
        let commit = if Some(&at) == changed.last() { count } else { 0 };
        let head: Vec<u8> = [at as u32 + 1, commit]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        sum = checksum(checksum(sum, &head), &page);
        log.extend_from_slice(&head);
        log.extend_from_slice(b"LIFEBOAT");
        log.extend_from_slice(&sum.0.to_be_bytes());
        log.extend_from_slice(&sum.1.to_be_bytes());
        log.extend_from_slice(&page);
    }
    log
}
