use proptest::prelude::*;

use super::*;

mod simulation;

const STORED: PutOutcome = PutOutcome::Stored { blobs: 2 };
const TRANSIENT: PutOutcome = PutOutcome::Transient { retry_after_ms: None };
const MIB: u64 = 1 << 20;

fn at(ms: u64) -> Now {
    Now {
        ms,
        random: u64::MAX,
        ..Now::default()
    }
}

fn ready(pack: u64) -> Event {
    Event::PackReady { pack, bytes: 100 }
}

fn without_wakes(effects: Vec<Effect>) -> Vec<Effect> {
    effects
        .into_iter()
        .filter(|effect| !matches!(effect, Effect::WakeAt { .. }))
        .collect()
}

#[test]
fn a_transient_failure_is_tried_again_after_its_delay_and_not_before() {
    let mut state = UploadState::default();
    assert_eq!(state.apply(ready(1), at(0)), [Effect::StartPut(1)]);
    let now = Now {
        random: 300,
        ..at(10)
    };
    let failed = state.apply(Event::PutFinished(1, TRANSIENT), now);
    assert_eq!(failed, [Effect::WakeAt { at_ms: 310 }]);
    assert_eq!(state.apply(Event::Tick, at(309)), [Effect::WakeAt { at_ms: 310 }]);
    assert_eq!(state.apply(Event::Tick, at(310)), [Effect::StartPut(1)]);
}

#[test]
fn what_the_vault_asked_for_holds_everything_back() {
    let mut state = UploadState::default();
    state.apply(ready(1), at(0));
    let busy = PutOutcome::Transient {
        retry_after_ms: Some(7000),
    };
    state.apply(Event::PutFinished(1, busy), at(0));
    let held = state.apply(ready(2), at(1));
    assert_eq!(held, [Effect::WakeAt { at_ms: 7000 }]);
    let starts = without_wakes(state.apply(Event::Tick, at(7000)));
    assert_eq!(starts, [Effect::StartPut(2), Effect::StartPut(1)]);
    let for_ever = PutOutcome::Transient {
        retry_after_ms: Some(limits::RETRY_AFTER_MAX_MS + 1),
    };
    let given_up = state.apply(Event::PutFinished(1, for_ever), at(7001));
    assert_eq!(given_up, [Effect::ReportFailed(1)]);
}

#[test]
fn publishing_waits_for_every_pack_and_is_refused_when_one_failed() {
    let mut state = UploadState::default();
    state.apply(ready(1), at(0));
    assert_eq!(state.apply(Event::PublishWanted, at(0)), []);
    let done = without_wakes(state.apply(Event::PutFinished(1, STORED), at(1)));
    assert_eq!(done, [Effect::ReportStored(1), Effect::Publish]);
    state.apply(Event::PublishFinished, at(2));

    for pack in 2..6 {
        state.apply(ready(pack), at(3));
    }
    // The others would be refused as well: nothing is tried in a loop.
    let refused = state.apply(Event::PutFinished(2, PutOutcome::Permanent), at(4));
    let expected = [2, 4, 5].map(Effect::ReportFailed);
    assert_eq!(refused, expected);
    state.apply(Event::PutFinished(3, PutOutcome::Permanent), at(4));
    assert_eq!(state.apply(Event::PublishWanted, at(5)), [Effect::RefusePublish]);
    assert_eq!(
        state.apply(Event::PublishWanted, at(6)),
        [Effect::Publish],
        "the next run begins clean"
    );
}

#[test]
fn what_was_confirmed_gets_its_index_in_time_but_not_while_publishing() {
    let mut state = UploadState::default();
    state.apply(ready(1), at(0));
    let at_ms = 5 + limits::CHECKPOINT_INTERVAL_MS;
    let stored = state.apply(Event::PutFinished(1, STORED), at(5));
    assert_eq!(stored, [Effect::ReportStored(1), Effect::WakeAt { at_ms }]);
    assert_eq!(state.apply(Event::Tick, at(at_ms)), [Effect::Checkpoint]);
    assert_eq!(
        state.apply(Event::PublishWanted, at(at_ms)),
        [],
        "one writer of indexes at a time"
    );
    assert_eq!(
        state.apply(Event::CheckpointFinished, at(at_ms + 1)),
        [Effect::Publish]
    );
    state.apply(ready(2), at(at_ms + 2));
    state.apply(Event::PutFinished(2, STORED), at(at_ms + 3));
    assert_eq!(
        state.apply(Event::Tick, at(at_ms * 3)),
        [],
        "publishing writes the index itself"
    );
}

fn window(length_ms: u64, unindexed: Unindexed) -> Event {
    Event::WindowOpened {
        span: Span::of(0, length_ms),
        unindexed,
    }
}

fn on_a_link_of(bytes_per_s: u64, ms: u64) -> Now {
    Now {
        estimate: Some(Estimate {
            bytes_per_s,
            latency_ms: 0,
        }),
        ..at(ms)
    }
}

#[test]
fn a_window_begins_only_what_it_can_end_and_says_when_there_is_nothing_more() {
    let mut state = UploadState::default();
    let now = |ms| on_a_link_of(MIB, ms);
    state.apply(window(5250, Unindexed::default()), now(0));
    let mut started = vec![];
    for pack in 1..=5 {
        let bytes = 2 * MIB;
        started.extend(state.apply(Event::PackReady { pack, bytes }, now(0)));
    }
    // The third one would need seven and a half seconds.
    assert_eq!(started, [Effect::StartPut(1), Effect::StartPut(2)]);
    assert_eq!(state.apply(Event::PublishWanted, now(0)), []);
    assert_eq!(
        state.apply(Event::PutFinished(1, STORED), now(2500)),
        [Effect::ReportStored(1)]
    );
    assert_eq!(
        state.apply(Event::PutFinished(2, STORED), now(3000)),
        [Effect::ReportStored(2), Effect::RefusePublish]
    );
    assert_eq!(state.apply(Event::DrainWanted, now(3000)), [Effect::Drained]);
}

#[test]
fn no_retry_goes_beyond_the_window_and_no_byte_beyond_the_allowance() {
    let mut state = UploadState::default();
    let now = |ms| Now {
        bytes_left: Some(250),
        ..on_a_link_of(MIB, ms)
    };
    state.apply(window(10_250, Unindexed::default()), now(0));
    assert_eq!(state.apply(ready(1), now(0)), [Effect::StartPut(1)]);
    assert_eq!(state.apply(ready(2), now(0)), [Effect::StartPut(2)]);
    assert_eq!(state.apply(ready(3), now(0)), []);
    let later = PutOutcome::Transient {
        retry_after_ms: Some(20_000),
    };
    let failed = state.apply(Event::PutFinished(1, later), now(1));
    assert_eq!(failed, [Effect::ReportFailed(1), Effect::ReportFailed(3)]);
    state.apply(Event::PutFinished(2, STORED), now(2));
    assert_eq!(state.apply(Event::DrainWanted, now(2)), [Effect::Drained]);
}

#[test]
fn a_checkpoint_is_written_once_when_it_is_worth_it() {
    let much = Unindexed {
        packs: 40,
        blobs: 80,
        bytes: limits::CHECKPOINT_BYTES_MIN,
    };
    let mut state = UploadState::default();
    let now = |ms| on_a_link_of(MIB, ms);
    assert_eq!(state.apply(window(5250, much), now(0)), [Effect::Checkpoint]);
    assert_eq!(state.apply(Event::DrainWanted, now(0)), []);
    assert_eq!(
        state.apply(Event::CheckpointFinished, now(100)),
        [Effect::Drained]
    );
    let mut state = UploadState::default();
    assert_eq!(state.apply(window(5250, much), now(4999)), [], "too late");
    let mut state = UploadState::default();
    let little = Unindexed { bytes: MIB, ..much };
    assert_eq!(state.apply(window(5250, little), now(0)), []);
}

#[test]
fn what_was_on_its_way_during_a_freeze_begins_anew_and_that_is_no_attempt() {
    let mut state = UploadState::default();
    for _ in 0..limits::UPLOAD_ATTEMPTS_MAX * 2 {
        let begun = state.apply(ready(1), at(0));
        if !begun.is_empty() {
            assert_eq!(begun, [Effect::StartPut(1)]);
        }
        state.ready.clear();
        assert_eq!(state.apply(Event::Frozen, at(0)), [Effect::DropPut(1)]);
        let again = state.apply(Event::PutFinished(1, PutOutcome::Interrupted), at(0));
        assert_eq!(again, [Effect::StartPut(1)]);
    }
}

proptest! {
    #[test]
    fn delays_are_jittered_doubled_and_capped(attempts in 1_u32..100, random: u64) {
        let delay = retry_delay_ms(attempts, random);
        prop_assert!(delay <= limits::UPLOAD_RETRY_DELAY_MAX_MS);
        prop_assert!(attempts > 1 || delay <= limits::UPLOAD_RETRY_DELAY_MS);
    }

    /// Whatever the order of outcomes, in windows or without: each pack is reported once, the bounds hold, nothing begins after the end of a
    /// window, and quiet comes last.
    #[test]
    fn random_schedules_report_each_pack_once_and_end_quiet(seed in 1_u64..u64::MAX, in_window: bool) {
        let mut rng = seed;
        let mut next = move |n: u64| {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            rng % n
        };
        let (mut state, mut now_ms, mut running, mut reported) = (UploadState::default(), 0, vec![], vec![]);
        let (mut todo, mut quiet, mut abandoned): (Vec<u64>, _, _) = ((0..8).collect(), false, false);
        let allowance = 30 * MIB;
        let mut spent = 0;
        let span = Span::of(0, 20_000);
        let sizes: Vec<u64> = (0..8).map(|_| 1 + next(6 * MIB)).collect();
        let now = |ms, random, spent| Now {
            ms,
            random,
            bytes_left: in_window.then(|| allowance - spent),
            estimate: Some(Estimate { bytes_per_s: MIB, latency_ms: 30 }),
        };
        if in_window {
            state.apply(Event::WindowOpened { span, unindexed: Unindexed::default() }, now(0, 0, 0));
        }
        for step in 0.. {
            prop_assert!(step < 10_000, "did not end");
            let event = match next(6) {
                0 if !todo.is_empty() && !abandoned => {
                    let pack = todo.remove(0);
                    Event::PackReady { pack, bytes: sizes[pack as usize] }
                }
                1 if !running.is_empty() => {
                    let pack = running.swap_remove(next(running.len() as u64) as usize);
                    let outcomes = [
                        STORED,
                        TRANSIENT,
                        PutOutcome::Transient { retry_after_ms: Some(next(3000)) },
                        PutOutcome::Permanent,
                        PutOutcome::Cancelled,
                        PutOutcome::Interrupted,
                    ];
                    Event::PutFinished(pack, outcomes[next(6) as usize])
                }
                // A window's end is the end of what could not be sent in it.
                2 if !abandoned && (next(40) == 0 || in_window && now_ms > 40_000) => {
                    abandoned = true;
                    todo.clear();
                    Event::Abandon
                }
                _ => {
                    now_ms += next(400);
                    Event::Tick
                }
            };
            for effect in state.apply(event, now(now_ms, next(u64::MAX), spent)) {
                match effect {
                    Effect::StartPut(pack) => {
                        running.push(pack);
                        spent += sizes[pack as usize];
                        prop_assert!(!in_window || now_ms < span.ends_ms && spent <= allowance);
                    }
                    Effect::ReportStored(pack) | Effect::ReportFailed(pack) => reported.push(pack),
                    Effect::WakeAt { at_ms } => prop_assert!(at_ms > now_ms),
                    Effect::Quiet => quiet = true,
                    other => prop_assert!(false, "{other:?} was not asked for"),
                }
            }
            prop_assert!(running.len() <= limits::UPLOADS_IN_FLIGHT_MAX);
            let bytes: u64 = running.iter().map(|pack| sizes[*pack as usize]).sum();
            prop_assert!(bytes <= limits::UPLOADS_IN_FLIGHT_BYTES_MAX);
            if todo.is_empty() && state.is_empty() && (!abandoned || quiet) {
                break;
            }
        }
        prop_assert_eq!(quiet, abandoned);
        let count = reported.len();
        reported.sort_unstable();
        reported.dedup();
        prop_assert_eq!(reported.len(), count, "reported twice");
        prop_assert!(abandoned || count == 8);
    }
}
