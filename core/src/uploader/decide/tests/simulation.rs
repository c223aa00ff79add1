//! Many windows on a link of its own, in no time: what is decided meets a link that is not what was estimated.

use super::*;
use crate::window::link::{LinkMeter, pack_target};

/// A link that all requests share, and whose speed wanders.
struct Link {
    bytes_per_s: u64,
    /// Percent that the speed may differ from that, either way, from pack to pack.
    wanders: u64,
    latency_ms: u64,
    free_at_ms: u64,
}

struct Totals {
    confirmed: u64,
    wasted: u64,
    windows: u64,
    open_ms: u64,
}

fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 31) % below.max(1)
}

/// Sends `bytes` in windows of `lengths_ms`, each with all the packs it could want. What is on its way at the end of a window is wasted.
fn send(bytes: u64, lengths_ms: std::ops::Range<u64>, mut link: Link, seed: u64) -> Totals {
    let mut state = seed;
    let mut totals = Totals {
        confirmed: 0,
        wasted: 0,
        windows: 0,
        open_ms: 0,
    };
    let (mut now_ms, mut remembered) = (0, None);
    while totals.confirmed < bytes {
        totals.windows += 1;
        assert!(totals.windows < 100_000, "seed {seed} does not converge");
        now_ms += 60_000;
        let length_ms = lengths_ms.start + random(&mut state, lengths_ms.end - lengths_ms.start);
        totals.open_ms += length_ms;
        let (span, mut uploads) = (Span::of(now_ms, length_ms), UploadState::default());
        let mut meter = LinkMeter::remembering(remembered);
        let target = pack_target(remembered, Some(span.length_ms()), None);
        let at = |ms, meter: &LinkMeter| Now {
            ms,
            random: 0,
            bytes_left: None,
            estimate: meter.estimate(),
        };
        let unindexed = Unindexed::default();
        uploads.apply(Event::WindowOpened { span, unindexed }, at(now_ms, &meter));
        let mut under_way: Vec<(u64, u64, u64)> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for pack in 0..200 {
            let bytes = target + random(&mut state, 512 << 10);
            events.push(Event::PackReady { pack, bytes });
        }
        link.free_at_ms = now_ms;
        loop {
            for event in events.drain(..) {
                for effect in uploads.apply(event, at(now_ms, &meter)) {
                    let Effect::StartPut(pack) = effect else { continue };
                    let bytes = uploads.in_flight[&pack].bytes;
                    meter.put_started(now_ms);
                    let percent = 100 - link.wanders + random(&mut state, 2 * link.wanders + 1);
                    let takes_ms = bytes * 100_000 / (link.bytes_per_s * percent);
                    link.free_at_ms = link.free_at_ms.max(now_ms) + takes_ms;
                    under_way.push((link.free_at_ms + link.latency_ms, pack, bytes));
                }
            }
            under_way.sort_unstable();
            match under_way.first().copied() {
                Some((at_ms, pack, bytes)) if at_ms <= span.ends_ms => {
                    under_way.remove(0);
                    now_ms = at_ms;
                    meter.put_ended(bytes, now_ms);
                    meter.answered(link.latency_ms);
                    totals.confirmed += bytes;
                    events.push(Event::PutFinished(pack, STORED));
                }
                _ => break,
            }
        }
        now_ms = span.ends_ms;
        totals.wasted += under_way.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
        for _ in under_way {
            meter.put_ended(0, now_ms);
        }
        remembered = meter.estimate();
    }
    totals
}

const GIB: u64 = 1 << 30;

#[test]
fn a_gigabyte_through_a_thousand_windows_wastes_hardly_anything() {
    for seed in 0..5 {
        // A megabyte a second, windows of 1 to 2.5 seconds.
        let link = Link {
            bytes_per_s: MIB,
            wanders: 15,
            latency_ms: 100,
            free_at_ms: 0,
        };
        let totals = send(GIB, 1000..2500, link, seed);
        assert!(totals.windows >= 1000, "seed {seed}: {} windows", totals.windows);
        assert!(
            totals.wasted * 50 <= totals.confirmed,
            "seed {seed}: {} wasted",
            totals.wasted
        );
    }
}

#[test]
fn links_of_all_speeds_are_used_and_not_wasted() {
    for (bytes_per_s, latency_ms, used_percent) in [
        (64 << 10, 300, 55),
        (125_000, 200, 65),
        (2_500_000, 200, 80),
        (20_000_000, 20, 80),
    ] {
        for seed in 0..3 {
            let link = Link {
                bytes_per_s,
                wanders: 10,
                latency_ms,
                free_at_ms: 0,
            };
            let bytes = bytes_per_s * 3600;
            let totals = send(bytes, 30_000..60_000, link, seed);
            let used = totals.confirmed * 100 * 1000 / (bytes_per_s * totals.open_ms);
            assert!(
                totals.wasted * 50 <= totals.confirmed,
                "seed {seed}: {} wasted at {bytes_per_s}",
                totals.wasted
            );
            assert!(
                used >= used_percent,
                "seed {seed}: {used} % of {bytes_per_s} used"
            );
        }
    }
}
