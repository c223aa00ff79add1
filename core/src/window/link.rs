//! What is known of the link to the vault, and what follows from it. Pure: times and sizes go in.

use serde::{Deserialize, Serialize};

use crate::limits;

/// How fast the vault confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    /// Bytes that were confirmed a second, while something was on its way: at least 1.
    pub(crate) bytes_per_s: u64,
    /// What a request costs that carries nothing.
    pub(crate) latency_ms: u64,
}

impl Estimate {
    /// How long until `bytes` are confirmed, with a quarter more for what an estimate cannot know.
    pub(crate) fn time_ms(&self, bytes: u64) -> u64 {
        let sending = u128::from(bytes) * 1250 / u128::from(self.bytes_per_s.max(1));
        self.latency_ms
            .saturating_add(u64::try_from(sending).unwrap_or(u64::MAX))
    }

    /// What can be confirmed within `ms`, with the same caution.
    pub(crate) fn bytes_in(&self, ms: u64) -> u64 {
        let sending = u128::from(ms.saturating_sub(self.latency_ms));
        u64::try_from(u128::from(self.bytes_per_s) * sending / 1250).unwrap_or(u64::MAX)
    }
}

/// Recent times count more: what is this long ago counts a third.
const MEMORY_MS: f64 = 20_000.0;
/// What an estimate of an earlier window counts for, against what is measured now.
const REMEMBERED_MS: f64 = 2000.0;

/// Learns goodput from packs: confirmed bytes over the time in which any were on their way, so that requests side by side are not counted as if
/// each had the link to itself, and failed ones count for the time that they took.
#[derive(Debug, Default)]
pub(crate) struct LinkMeter {
    bytes: f64,
    busy_ms: f64,
    latency_ms: Option<f64>,
    in_flight: u32,
    /// Up to when `busy_ms` is counted, while something is in flight.
    counted_ms: u64,
}

impl LinkMeter {
    pub(crate) fn remembering(estimate: Option<Estimate>) -> Self {
        let Some(Estimate {
            bytes_per_s,
            latency_ms,
        }) = estimate
        else {
            return Self::default();
        };
        Self {
            bytes: bytes_per_s as f64 * REMEMBERED_MS / 1000.0,
            busy_ms: REMEMBERED_MS,
            latency_ms: Some(latency_ms as f64),
            ..Self::default()
        }
    }

    pub(crate) fn put_started(&mut self, now_ms: u64) {
        self.count(now_ms);
        self.in_flight += 1;
    }

    /// A request with a body has ended; `confirmed` is its size, or zero where it failed or was given up.
    pub(crate) fn put_ended(&mut self, confirmed: u64, now_ms: u64) {
        self.count(now_ms);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes += confirmed as f64;
    }

    /// A request without a body was answered.
    pub(crate) fn answered(&mut self, took_ms: u64) {
        let took = took_ms as f64;
        self.latency_ms = Some(self.latency_ms.map_or(took, |known| known * 0.75 + took * 0.25));
    }

    fn count(&mut self, now_ms: u64) {
        if self.in_flight > 0 {
            let busy = now_ms.saturating_sub(self.counted_ms) as f64;
            let fade = (-busy / MEMORY_MS).exp();
            self.bytes *= fade;
            self.busy_ms = self.busy_ms * fade + busy;
        }
        self.counted_ms = now_ms;
    }

    /// `None` until something was confirmed.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        (self.bytes >= 1.0).then(|| Estimate {
            bytes_per_s: (self.bytes * 1000.0 / self.busy_ms.max(1.0)).max(1.0) as u64,
            latency_ms: self.latency_ms.unwrap_or(0.0) as u64,
        })
    }
}

/// How large packs should be: what the link confirms in a few seconds, at most a quarter of the window's time and of its bytes.
pub(crate) fn pack_target(
    estimate: Option<Estimate>,
    window_ms: Option<u64>,
    allowance_bytes: Option<u64>,
) -> u64 {
    let ms = window_ms.map_or(limits::PACK_CONFIRM_MS, |ms| {
        (ms / 4).min(limits::PACK_CONFIRM_MS)
    });
    let by_link = match estimate {
        Some(estimate) => u128::from(estimate.bytes_per_s) * u128::from(ms) / 1000,
        None if window_ms.is_some() => limits::PACK_PROBE_BYTES.into(),
        None => limits::PACK_TARGET_BYTES.into(),
    };
    let by_link = u64::try_from(by_link).unwrap_or(u64::MAX);
    by_link
        .min(allowance_bytes.map_or(u64::MAX, |bytes| bytes / 4))
        .clamp(limits::PACK_MIN_BYTES, limits::PACK_MAX_BYTES)
}

/// How many requests at a time keep the link busy: while one is being confirmed, the next ones are on their way.
pub(crate) fn in_flight_max(estimate: Option<Estimate>, pack_bytes: u64) -> usize {
    let Some(estimate) = estimate else {
        return limits::UPLOADS_IN_FLIGHT_MIN;
    };
    let waiting = u128::from(estimate.bytes_per_s) * u128::from(estimate.latency_ms) / 1000;
    let more = usize::try_from(waiting.div_ceil(u128::from(pack_bytes.max(1)))).unwrap_or(usize::MAX);
    more.saturating_add(1)
        .clamp(limits::UPLOADS_IN_FLIGHT_MIN, limits::UPLOADS_IN_FLIGHT_MAX)
}

/// The longest piece of a file that is sealed as one blob, where a window like this one has to send it: three quarters of what it has time and bytes for, in
/// steps, so that windows which differ a little cut alike. A blob cannot be divided any more once it is sealed.
pub(crate) fn piece_max(estimate: Option<Estimate>, window_ms: u64, allowance_bytes: Option<u64>) -> usize {
    let by_link = estimate.map_or(u64::MAX, |estimate| estimate.bytes_in(window_ms));
    let fits = by_link.min(allowance_bytes.unwrap_or(u64::MAX)) / 4 * 3;
    let mut piece = limits::CHUNK_MAX_BYTES;
    while piece > limits::CHUNK_MIN_BYTES && piece as u64 > fits {
        piece /= 2;
    }
    piece
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn two_at_a_time_are_not_twice_the_link() {
        // 1 MiB/s, shared: two packs of 2 MiB take four seconds together, again and again.
        let mut meter = LinkMeter::default();
        assert_eq!(meter.estimate(), None);
        for round in 0..8_u64 {
            let start = round * 4000;
            meter.put_started(start);
            meter.put_started(start);
            meter.put_ended(2 * MIB, start + 3990);
            meter.put_ended(2 * MIB, start + 4000);
        }
        let goodput = meter.estimate().unwrap().bytes_per_s;
        assert!((MIB * 9 / 10..=MIB * 13 / 10).contains(&goodput), "{goodput}");
    }

    #[test]
    fn a_link_that_fails_is_slow_and_one_that_recovers_is_believed_soon() {
        let old = Estimate {
            bytes_per_s: 10 * MIB,
            latency_ms: 20,
        };
        let mut meter = LinkMeter::remembering(Some(old));
        assert_eq!(meter.estimate(), Some(old));
        meter.put_started(0);
        meter.put_ended(0, 30_000);
        assert!(meter.estimate().unwrap().bytes_per_s < MIB);
        for second in 30..90 {
            meter.put_started(second * 1000);
            meter.put_ended(4 * MIB, second * 1000 + 1000);
        }
        let goodput = meter.estimate().unwrap().bytes_per_s;
        assert!((3 * MIB..5 * MIB).contains(&goodput), "{goodput}");
    }

    #[test]
    fn packs_follow_the_link_the_window_and_the_allowance() {
        let at = |bytes_per_s| {
            Some(Estimate {
                bytes_per_s,
                latency_ms: 100,
            })
        };
        assert_eq!(pack_target(None, None, None), limits::PACK_TARGET_BYTES);
        assert_eq!(pack_target(None, Some(30_000), None), limits::PACK_PROBE_BYTES);
        assert_eq!(
            pack_target(at(8 * 1024), Some(30_000), None),
            limits::PACK_MIN_BYTES
        );
        assert_eq!(pack_target(at(MIB), Some(30_000), None), 3 * MIB);
        assert_eq!(pack_target(at(MIB), Some(4000), None), MIB);
        assert_eq!(pack_target(at(1 << 40), None, None), limits::PACK_MAX_BYTES);
        assert_eq!(pack_target(at(1 << 40), None, Some(8 * MIB)), 2 * MIB);
    }

    proptest! {
        #[test]
        fn targets_are_bounded_and_grow_with_the_link(
            slow in 0_u64..1 << 40, more in 0_u64..1 << 40, window in proptest::option::of(0_u64..1 << 40),
            allowance in proptest::option::of(0_u64..1 << 40), latency_ms in 0_u64..1 << 20,
        ) {
            let at = |bytes_per_s| Some(Estimate { bytes_per_s, latency_ms });
            let (less, greater) = (pack_target(at(slow), window, allowance), pack_target(at(slow + more), window, allowance));
            prop_assert!(less <= greater);
            prop_assert!((limits::PACK_MIN_BYTES..=limits::PACK_MAX_BYTES).contains(&less));
            let many = in_flight_max(at(slow), less);
            prop_assert!((limits::UPLOADS_IN_FLIGHT_MIN..=limits::UPLOADS_IN_FLIGHT_MAX).contains(&many));
        }

        /// What is said to fit into a time takes no longer than that.
        #[test]
        fn time_and_bytes_agree(bytes_per_s in 1_u64..1 << 32, latency_ms in 0_u64..60_000, ms in 0_u64..1 << 32) {
            let estimate = Estimate { bytes_per_s, latency_ms };
            let bytes = estimate.bytes_in(ms);
            prop_assert!(bytes == 0 || estimate.time_ms(bytes) <= ms);
        }
    }

    #[test]
    fn pieces_fit_into_the_window_down_to_the_shortest_chunk() {
        assert_eq!(piece_max(None, 30_000, None), limits::CHUNK_MAX_BYTES);
        assert_eq!(piece_max(None, 30_000, Some(1_000_000)), 512 << 10);
        assert_eq!(piece_max(None, 30_000, Some(1)), limits::CHUNK_MIN_BYTES);
        let slow = Estimate {
            bytes_per_s: 50_000,
            latency_ms: 100,
        };
        // Not 1,196,000 bytes, since estimates are only that.
        assert_eq!(piece_max(Some(slow), 30_000, None), 512 << 10);
    }
}
