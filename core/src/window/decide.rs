//! What a window begins, and when it stops. Pure: times in milliseconds of one clock, sizes, and what is known of the link go in.

use super::link::Estimate;
use crate::limits;

/// When a window began and when its work must be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) opened_ms: u64,
    pub(crate) ends_ms: u64,
}

impl Span {
    /// A window of `length_ms` that opens now: its work ends a little before its deadline.
    pub(crate) fn of(opened_ms: u64, length_ms: u64) -> Self {
        let working_ms = length_ms.saturating_sub(limits::WINDOW_MARGIN_MS);
        Self {
            opened_ms,
            ends_ms: opened_ms.saturating_add(working_ms),
        }
    }

    pub(crate) fn length_ms(&self) -> u64 {
        self.ends_ms.saturating_sub(self.opened_ms)
    }

    /// Until when new content is sealed. What is sealed is kept for the next window, so only the closing of the packs must fit.
    pub(crate) fn seals_until_ms(&self) -> u64 {
        self.ends_ms - limits::SEAL_MARGIN_MS.min(self.length_ms() / 8)
    }
}

/// What is under way, and what is left of the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) span: Span,
    pub(crate) now_ms: u64,
    /// Of the window's bytes; `None`: as many as it takes.
    pub(crate) bytes_left: Option<u64>,
    pub(crate) in_flight_bytes: u64,
    pub(crate) estimate: Option<Estimate>,
}

/// Whether a request may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Start,
    /// Perhaps, when something that is under way has ended.
    Wait,
    NotInThisWindow,
}

impl View {
    fn left_ms(&self) -> u64 {
        self.span.ends_ms.saturating_sub(self.now_ms)
    }

    fn affords(&self, bytes: u64) -> bool {
        self.bytes_left.is_none_or(|left| bytes <= left)
    }

    /// Whether a pack of `bytes` would be confirmed before the window's end. Bytes of a request that is given up are lost, so one begins only if it
    /// is expected to be confirmed in time. One that is too large for every window is divided; if it is a single piece of a file, that is cut
    /// anew. What is still too large waits for a longer window, or until what was measured of the link is so old that it is tried anew.
    pub(crate) fn may_put(&self, bytes: u64) -> Verdict {
        if !self.affords(bytes) || self.left_ms() == 0 {
            return Verdict::NotInThisWindow;
        }
        let idle = self.in_flight_bytes == 0;
        let Some(estimate) = self.estimate else {
            // One at a time tells how fast the link is.
            return match (idle, self.left_ms() >= self.span.length_ms() / 4) {
                (false, _) => Verdict::Wait,
                (true, true) => Verdict::Start,
                (true, false) => Verdict::NotInThisWindow,
            };
        };
        let needs_ms = estimate.time_ms(self.in_flight_bytes.saturating_add(bytes));
        if needs_ms <= self.left_ms() {
            return Verdict::Start;
        }
        if idle {
            Verdict::NotInThisWindow
        } else {
            Verdict::Wait
        }
    }

    /// Whether a pack is too large for a whole window like this one, and should be divided.
    pub(crate) fn is_too_large(&self, bytes: u64) -> bool {
        let by_time = self
            .estimate
            .is_some_and(|estimate| estimate.time_ms(bytes) > self.span.length_ms());
        by_time || !self.affords(bytes)
    }

    /// Whether the sources should be walked. With more in the spool than can be sent now, a walk could add nothing that this window needs.
    pub(crate) fn should_seal(&self, backlog_bytes: u64) -> bool {
        let by_time = self.estimate.map_or(limits::PACK_TARGET_BYTES, |estimate| {
            estimate.bytes_in(self.left_ms())
        });
        let capacity = by_time.min(self.bytes_left.unwrap_or(u64::MAX));
        let wanted = capacity
            .saturating_add(limits::SEAL_AHEAD_BYTES)
            // A spool that is half full is full enough.
            .min(limits::SPOOL_BYTES_MAX / 2);
        self.now_ms < self.span.seals_until_ms() && backlog_bytes < wanted
    }

    /// Whether more is in the spool than the window's allowance lets through, and so much that the next window has a beginning: to go on sealing would
    /// be to wait, in the end, for room that nobody makes.
    pub(crate) fn is_sealed_enough(&self, backlog_bytes: u64) -> bool {
        self.bytes_left
            .is_some_and(|left| backlog_bytes >= left.saturating_add(limits::SEAL_AHEAD_BYTES))
    }

    /// Whether an index of what no index names yet is published now: only if it is worth a file, and sure to be stored before the end.
    pub(crate) fn may_checkpoint(&self, unindexed: Unindexed) -> bool {
        let bytes = unindexed.index_bytes_max() + 2 * LOCK_BYTES_MAX;
        unindexed.is_worth_an_index() && self.fits(PUBLISH_REQUESTS, bytes, LOCK_SETTLE_MS)
    }

    /// Whether the publication fits into what is left: lock, index and snapshot, and the looking around them.
    pub(crate) fn may_publish(&self, unindexed: Unindexed) -> bool {
        let bytes = unindexed.index_bytes_max() + SNAPSHOT_BYTES_MAX + 2 * LOCK_BYTES_MAX;
        self.fits(PUBLISH_REQUESTS, bytes, LOCK_SETTLE_MS)
    }

    fn fits(&self, requests: u64, bytes: u64, waiting_ms: u64) -> bool {
        let needs_ms = match self.estimate {
            Some(estimate) => estimate
                .time_ms(bytes)
                .saturating_add(estimate.latency_ms.saturating_mul(requests)),
            // Unknown, and small: as good a first request as any, if there is some time.
            None => self.span.length_ms() / 4,
        };
        self.left_ms() > 0 && self.affords(bytes) && needs_ms.saturating_add(waiting_ms) <= self.left_ms()
    }
}

/// Lists of locks twice, indexes, packs; lock, index, look at the lock, snapshot, removal of the lock; some more for luck. A checkpoint is hardly
/// less.
const PUBLISH_REQUESTS: u64 = 12;
/// As restic, a lock is looked at again after this time.
const LOCK_SETTLE_MS: u64 = 200;
/// What a snapshot and a lock take, as stored, with room for long lists of paths.
const SNAPSHOT_BYTES_MAX: u64 = 16 << 10;
const LOCK_BYTES_MAX: u64 = 1 << 10;

/// Confirmed packs that no index names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unindexed {
    pub(crate) packs: u64,
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
}

impl Unindexed {
    pub(crate) fn is_worth_an_index(&self) -> bool {
        self.bytes >= limits::CHECKPOINT_BYTES_MIN || self.blobs >= limits::CHECKPOINT_BLOBS_MIN
    }

    /// An upper bound of the index files that name them, as stored: names are random, and half of their digits' length when compressed.
    pub(crate) fn index_bytes_max(&self) -> u64 {
        512 + self.packs * 128 + self.blobs * 96
    }
}

/// How long to wait after the `failures`-th time in a row that a vault could not be reached: doubled each time, and drawn from the upper half, so
/// that phones which lost the same vault do not come back together.
pub(crate) fn unreachable_wait_s(failures: u32, random: u64) -> u64 {
    let most = (30_u64 << failures.min(10)).min(limits::UNREACHABLE_WAIT_MAX_S);
    most / 2 + random % (most / 2 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view() -> View {
        View {
            span: Span::of(1000, 10_250),
            now_ms: 1000,
            bytes_left: None,
            in_flight_bytes: 0,
            estimate: Some(Estimate {
                bytes_per_s: 1_000_000,
                latency_ms: 100,
            }),
        }
    }

    #[test]
    fn what_an_allowance_does_not_let_through_is_not_sealed_without_end() {
        let little = View {
            bytes_left: Some(1_000_000),
            ..view()
        };
        assert!(!little.is_sealed_enough(9_000_000));
        assert!(little.is_sealed_enough(9_500_000));
        assert!(!view().is_sealed_enough(u64::MAX), "the vault makes room");
    }

    #[test]
    fn nothing_begins_that_would_not_be_confirmed() {
        let fresh = view();
        assert_eq!(fresh.may_put(4_000_000), Verdict::Start);
        let busy = View {
            in_flight_bytes: 4_000_000,
            ..fresh
        };
        assert_eq!(busy.may_put(3_900_000), Verdict::Start);
        assert_eq!(busy.may_put(4_100_000), Verdict::Wait);
        let late = View {
            now_ms: 9000,
            ..fresh
        };
        assert_eq!(late.may_put(1_000_000), Verdict::Start);
        assert_eq!(late.may_put(2_000_000), Verdict::NotInThisWindow);
    }

    #[test]
    fn what_no_window_could_hold_is_known() {
        assert!(view().is_too_large(12_000_000) && !view().is_too_large(4_000_000));
        assert_eq!(view().may_put(12_000_000), Verdict::NotInThisWindow);
        let unknown = View {
            estimate: None,
            ..view()
        };
        assert!(!unknown.is_too_large(12_000_000));
    }

    #[test]
    fn an_unknown_link_is_tried_with_one_pack_at_a_time() {
        let unknown = View {
            estimate: None,
            ..view()
        };
        assert_eq!(unknown.may_put(1 << 20), Verdict::Start);
        let busy = View {
            in_flight_bytes: 1,
            ..unknown
        };
        assert_eq!(busy.may_put(1 << 20), Verdict::Wait);
        let late = View {
            now_ms: 10_000,
            ..unknown
        };
        assert_eq!(late.may_put(1 << 20), Verdict::NotInThisWindow);
    }

    #[test]
    fn a_full_spool_needs_no_walk_and_an_empty_one_does() {
        assert!(view().should_seal(0) && view().should_seal(10 << 20));
        assert!(!view().should_seal(20 << 20) && !view().should_seal(60 << 20));
        let metered = View {
            bytes_left: Some(100_000),
            ..view()
        };
        assert!(metered.should_seal(0) && !metered.should_seal(9 << 20));
        let ending = View {
            now_ms: 10_500,
            ..view()
        };
        assert!(!ending.should_seal(0));
    }

    #[test]
    fn an_index_is_published_when_it_is_worth_it_and_fits() {
        let little = Unindexed {
            packs: 3,
            blobs: 20,
            bytes: 3 << 20,
        };
        let much = Unindexed {
            packs: 70,
            blobs: 140,
            bytes: 70 << 20,
        };
        assert!(!view().may_checkpoint(little) && view().may_checkpoint(much));
        let ending = View {
            now_ms: 10_950,
            ..view()
        };
        assert!(!ending.may_checkpoint(much), "left for the next window");
        let poor = View {
            bytes_left: Some(10_000),
            ..view()
        };
        assert!(!poor.may_checkpoint(much));
        assert!(view().may_publish(little) && !ending.may_publish(little) && !poor.may_publish(little));
    }

    fn views() -> impl Strategy<Value = View> {
        let estimate = (1_u64..1 << 34, 0_u64..5000).prop_map(|(bytes_per_s, latency_ms)| Estimate {
            bytes_per_s,
            latency_ms,
        });
        (
            (0_u64..1 << 40, limits::WINDOW_MIN_MS..1 << 24),
            0_u64..1 << 24,
            proptest::option::of(0_u64..1 << 34),
            0_u64..1 << 26,
            proptest::option::of(estimate),
        )
            .prop_map(
                |((opened, length), after, bytes_left, in_flight_bytes, estimate)| View {
                    span: Span::of(opened, length),
                    now_ms: opened + after,
                    bytes_left,
                    in_flight_bytes,
                    estimate,
                },
            )
    }

    proptest! {
        /// Whatever is decided: never more bytes than are left, never after the end, and with something in flight never past the end by the
        /// estimate.
        #[test]
        fn what_begins_fits(view in views(), bytes in 1_u64..1 << 30) {
            if view.may_put(bytes) == Verdict::Start {
                prop_assert!(view.bytes_left.is_none_or(|left| bytes <= left));
                prop_assert!(view.now_ms < view.span.ends_ms);
                if let Some(estimate) = view.estimate {
                    let ends_ms = view.now_ms + estimate.time_ms(view.in_flight_bytes + bytes);
                    prop_assert!(ends_ms <= view.span.ends_ms);
                } else {
                    prop_assert_eq!(view.in_flight_bytes, 0);
                }
            }
        }

        /// A later moment or a larger pack never turn a no into a yes.
        #[test]
        fn no_stays_no(view in views(), bytes in 1_u64..1 << 30, later in 0_u64..1 << 20, more in 0_u64..1 << 20) {
            let worse = View { now_ms: view.now_ms + later, ..view };
            if view.may_put(bytes) == Verdict::NotInThisWindow {
                prop_assert_ne!(worse.may_put(bytes + more), Verdict::Start);
            }
        }

        #[test]
        fn sealing_ends_before_the_window_and_waits_are_bounded(view in views(), failures in 0_u32..100, random: u64) {
            prop_assert!(view.span.seals_until_ms() <= view.span.ends_ms);
            prop_assert!(view.span.seals_until_ms() >= view.span.opened_ms);
            let wait_s = unreachable_wait_s(failures, random);
            prop_assert!((15..=limits::UNREACHABLE_WAIT_MAX_S).contains(&wait_s));
        }

        #[test]
        fn a_checkpoint_and_a_publication_never_cost_more_than_is_left(view in views(), packs in 0_u64..1 << 16, blobs in 0_u64..1 << 20) {
            let unindexed = Unindexed { packs, blobs, bytes: packs << 20 };
            if view.may_checkpoint(unindexed) || view.may_publish(unindexed) {
                prop_assert!(view.bytes_left.is_none_or(|left| unindexed.index_bytes_max() <= left));
                prop_assert!(view.now_ms <= view.span.ends_ms);
            }
        }
    }
}
