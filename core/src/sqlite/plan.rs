//! What a snapshot does about the pages that changed. Pure.
//!
//! Three moves, and the rule between them:
//!
//! - *append* the changed pages to the synthesised log: costs what changed;
//! - *rewrite* the log, with the last version of each page only: costs the pages that differ from the base, and lets go of older versions;
//! - store the base again (*rebase*), with an empty log: costs the chunks of the base that hold a page that differs.
//!
//! A move that sends more than what changed is made when it costs no more than what it lets go of: a rebase when it sends at most the bytes
//! that the log has, a rewrite when at most half of the log is still needed. What a database sends in its life is therefore at most three
//! times what changed in it, and what a restore reads at most about twice the database.

use super::{header::PAGE_BYTES_MIN, wal::FRAME_HEADER_BYTES};
use crate::limits;

/// What is known when the pages have been compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) page_bytes: u32,
    /// Pages of the database now.
    pub(crate) pages: u32,
    /// Pages that are not as the last snapshot has them.
    pub(crate) changed: u32,
    /// Frames of the log as it is.
    pub(crate) frames: u32,
    /// Pages that the log would hold after these: those that differ from the base.
    pub(crate) live: u32,
    /// Bytes of the chunks of a new base that hold such a page.
    pub(crate) touched_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing changed.
    Keep,
    Append,
    Rewrite,
    Rebase,
}

pub(crate) fn plan(counts: &Counts) -> Plan {
    if counts.changed == 0 {
        return Plan::Keep;
    }
    let frame_bytes = FRAME_HEADER_BYTES as u64 + u64::from(counts.page_bytes);
    let frames = u64::from(counts.frames) + u64::from(counts.changed);
    let live = u64::from(counts.live);
    let dead = frames.saturating_sub(live);
    if counts.touched_bytes <= frames * frame_bytes {
        Plan::Rebase
    } else if dead >= live.max(u64::from(limits::DATABASE_DEAD_FRAMES_MIN)) {
        Plan::Rewrite
    } else {
        Plan::Append
    }
}

/// How long the chunks of a base are: page-aligned, and as many as keep its content list short, which stands in the tree of every snapshot in
/// which the database changed. `before`: of the last base; kept while it is not far off, so that a database that grew shares its chunks. `most`: a power of two
/// from `limits::CHUNK_MIN_BYTES` to `limits::CHUNK_MAX_BYTES`.
pub(crate) fn chunk_bytes(database_bytes: u64, page_bytes: u32, before: Option<u32>, most: usize) -> u32 {
    let least = limits::DATABASE_CHUNK_BYTES_MIN.max(page_bytes.max(PAGE_BYTES_MIN));
    let most = u32::try_from(most).unwrap_or(u32::MAX).max(least);
    let wanted = database_bytes
        .div_ceil(limits::DATABASE_CHUNKS)
        .next_power_of_two();
    let wanted = u32::try_from(wanted).unwrap_or(most).clamp(least, most);
    match before {
        Some(before)
            if before.is_power_of_two() && (wanted / 4..=wanted.saturating_mul(4)).contains(&before) =>
        {
            before.clamp(least, most)
        }
        _ => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(changed: u32, frames: u32, live: u32, touched_bytes: u64) -> Counts {
        Counts {
            page_bytes: 4096,
            pages: 50_000,
            changed,
            frames,
            live,
            touched_bytes,
        }
    }

    #[test]
    fn each_move_is_made_where_it_pays() {
        assert_eq!(plan(&counts(0, 9, 9, 1 << 20)), Plan::Keep);
        assert_eq!(plan(&counts(1000, 0, 1000, 200 << 20)), Plan::Append);
        // A hot page that changed a hundred times.
        assert_eq!(plan(&counts(1, 99, 1, 200 << 20)), Plan::Rewrite);
        assert_eq!(
            plan(&counts(1, 10, 1, 200 << 20)),
            Plan::Append,
            "too little to bother"
        );
        // Everything changed, as after a vacuum.
        assert_eq!(plan(&counts(50_000, 0, 50_000, 50_000 * 4096)), Plan::Rebase);
        // A database that grew at its end: the new chunks are all there is to send.
        assert_eq!(plan(&counts(10, 2100, 2110, 8 << 20)), Plan::Rebase);
    }

    #[test]
    fn chunks_are_page_aligned_few_and_stay_when_the_database_grows() {
        const MOST: usize = limits::CHUNK_MAX_BYTES;
        assert_eq!(chunk_bytes(1 << 20, 4096, None, MOST), 64 << 10);
        for before in [None, Some(1 << 20)] {
            assert_eq!(chunk_bytes(400 << 20, 4096, before, 256 << 10), 256 << 10);
        }
        assert_eq!(chunk_bytes(200 << 20, 4096, None, MOST), 512 << 10);
        assert_eq!(chunk_bytes(4 << 30, 4096, None, MOST), 2 << 20);
        assert_eq!(chunk_bytes(400 << 20, 4096, Some(512 << 10), MOST), 512 << 10);
        assert_eq!(chunk_bytes(1 << 20, 4096, Some(1 << 20), MOST), 64 << 10);
        assert_eq!(chunk_bytes(0, 512, None, MOST), 64 << 10);
        assert_eq!(chunk_bytes(u64::MAX >> 1, 65_536, Some(7), MOST), 2 << 20);
    }

    proptest! {
        /// Whatever happens to a database, what is sent is bounded by what changed.
        #[test]
        fn a_life_of_changes_sends_at_most_three_times_what_changed(
            changes in proptest::collection::vec((0_u32..2000, 1_u32..300), 1..200),
        ) {
            let (page, pages, per_chunk) = (4096_u64, 2000_u32, 16_u32);
            let frame = page + 24;
            let (mut logged, mut frames) = (vec![false; pages as usize], 0_u32);
            let (mut sent, mut changed_total) = (0_u64, 0_u64);
            for (from, length) in changes {
                let until = (from + length).min(pages);
                let changed = until - from;
                logged[from as usize..until as usize].fill(true);
                let live = logged.iter().filter(|logged| **logged).count() as u32;
                let touched = logged.chunks(per_chunk as usize).filter(|chunk| chunk.contains(&true)).count() as u64;
                let counts = Counts {
                    page_bytes: page as u32, pages, changed, frames, live,
                    touched_bytes: touched * u64::from(per_chunk) * page,
                };
                changed_total += u64::from(changed) * frame;
                match plan(&counts) {
                    Plan::Keep => prop_assert!(changed == 0),
                    Plan::Append => {
                        sent += u64::from(changed) * frame;
                        frames += changed;
                    }
                    Plan::Rewrite => {
                        sent += u64::from(live) * frame;
                        frames = live;
                    }
                    Plan::Rebase => {
                        sent += counts.touched_bytes;
                        (frames, logged) = (0, vec![false; pages as usize]);
                    }
                }
                prop_assert!(sent <= 3 * changed_total, "{sent} for {changed_total}");
                let most = 2 * u64::from(pages) + u64::from(limits::DATABASE_DEAD_FRAMES_MIN);
                prop_assert!(u64::from(frames) <= most);
            }
        }
    }
}
