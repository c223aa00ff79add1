//! What is sent when. Pure: events and the time go in, effects come out. Packs are known by their number of arrival.

use std::collections::{BTreeMap, VecDeque};

use crate::limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PutOutcome {
    Stored,
    /// May work next time.
    Transient,
    Permanent,
    /// Given up because its run was stopped.
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    PackReady(u64),
    PutFinished(u64, PutOutcome),
    /// Someone wants a snapshot published.
    PublishWanted,
    PublishFinished,
    CheckpointFinished,
    /// The run was stopped or has failed.
    Abandon,
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    StartPut(u64),
    ReportStored(u64),
    /// With the error that its last attempt ended with, or as cancelled.
    ReportFailed(u64),
    /// Publish an index of what was confirmed.
    Checkpoint,
    Publish,
    /// Some pack could not be stored, so nothing can be published.
    RefusePublish,
    /// Nothing is on its way: whoever asked for quiet has it.
    Quiet,
    /// Ask for `Tick` at this time. The last one asked for counts.
    WakeAt {
        at_ms: u64,
    },
}

/// What is waiting and what is under way.
#[derive(Debug, Default)]
pub(super) struct UploadState {
    /// With the attempts made so far.
    ready: VecDeque<(u64, u32)>,
    in_flight: BTreeMap<u64, u32>,
    delayed: BTreeMap<(u64, u64), u32>,
    /// When the confirmed packs that no index names yet should get one.
    checkpoint_at_ms: Option<u64>,
    checkpointing: bool,
    publish_wanted: bool,
    publishing: bool,
    /// A pack was refused since the last publication or abandonment.
    failed: bool,
    abandoning: bool,
}

impl UploadState {
    /// The only entry. Applies the event, then starts whatever may start.
    pub(super) fn apply(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::PackReady(pack) => self.ready.push_back((pack, 0)),
            Event::PutFinished(pack, outcome) => self.put_finished(pack, outcome, now_ms, &mut effects),
            Event::PublishWanted => self.publish_wanted = true,
            Event::PublishFinished => {
                self.publishing = false;
                self.checkpoint_at_ms = None;
            }
            Event::CheckpointFinished => self.checkpointing = false,
            Event::Abandon => {
                self.abandoning = true;
                for (pack, _) in self.ready.drain(..) {
                    effects.push(Effect::ReportFailed(pack));
                }
                for ((_, pack), _) in std::mem::take(&mut self.delayed) {
                    effects.push(Effect::ReportFailed(pack));
                }
            }
            Event::Tick => {}
        }
        self.settle(now_ms, &mut effects);
        effects
    }

    fn put_finished(&mut self, pack: u64, outcome: PutOutcome, now_ms: u64, effects: &mut Vec<Effect>) {
        let Some(attempts) = self.in_flight.remove(&pack) else {
            return;
        };
        match outcome {
            PutOutcome::Stored => {
                self.checkpoint_at_ms
                    .get_or_insert(now_ms + limits::CHECKPOINT_INTERVAL_MS);
                effects.push(Effect::ReportStored(pack));
            }
            PutOutcome::Transient if attempts < limits::UPLOAD_ATTEMPTS_MAX && !self.abandoning => {
                let delay_ms = limits::UPLOAD_RETRY_DELAY_MS << (attempts - 1).min(16);
                self.delayed.insert((now_ms + delay_ms, pack), attempts);
            }
            PutOutcome::Transient | PutOutcome::Permanent => {
                self.failed = true;
                effects.push(Effect::ReportFailed(pack));
            }
            PutOutcome::Cancelled => effects.push(Effect::ReportFailed(pack)),
        }
    }

    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.delayed.is_empty() && self.in_flight.is_empty()
    }

    fn settle(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        while let Some((&(at_ms, pack), &attempts)) = self.delayed.first_key_value() {
            if at_ms > now_ms {
                break;
            }
            self.delayed.remove(&(at_ms, pack));
            self.ready.push_back((pack, attempts));
        }
        while self.in_flight.len() < limits::UPLOADS_IN_FLIGHT_MAX {
            let Some((pack, attempts)) = self.ready.pop_front() else {
                break;
            };
            self.in_flight.insert(pack, attempts + 1);
            effects.push(Effect::StartPut(pack));
        }
        if self.publish_wanted && self.is_empty() && !self.checkpointing {
            self.publish_wanted = false;
            if std::mem::take(&mut self.failed) {
                effects.push(Effect::RefusePublish);
            } else {
                self.publishing = true;
                effects.push(Effect::Publish);
            }
        }
        if self.abandoning && self.is_empty() && !self.checkpointing && !self.publishing {
            self.abandoning = false;
            self.failed = false;
            effects.push(Effect::Quiet);
        }
        let due = self.checkpoint_at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if due && !self.checkpointing && !self.publishing && !self.abandoning {
            self.checkpointing = true;
            self.checkpoint_at_ms = None;
            effects.push(Effect::Checkpoint);
        }
        let retry_at_ms = self.delayed.first_key_value().map(|(&(at_ms, _), _)| at_ms);
        let busy = self.checkpointing || self.publishing;
        let checkpoint_at_ms = self.checkpoint_at_ms.filter(|_| !busy);
        if let Some(at_ms) = retry_at_ms.into_iter().chain(checkpoint_at_ms).min() {
            effects.push(Effect::WakeAt { at_ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_wakes(effects: Vec<Effect>) -> Vec<Effect> {
        effects
            .into_iter()
            .filter(|effect| !matches!(effect, Effect::WakeAt { .. }))
            .collect()
    }

    #[test]
    fn a_transient_failure_is_tried_again_after_its_delay_and_not_before() {
        let mut state = UploadState::default();
        assert_eq!(state.apply(Event::PackReady(1), 0), [Effect::StartPut(1)]);
        let at_ms = 10 + limits::UPLOAD_RETRY_DELAY_MS;
        let failed = state.apply(Event::PutFinished(1, PutOutcome::Transient), 10);
        assert_eq!(failed, [Effect::WakeAt { at_ms }]);
        assert_eq!(state.apply(Event::Tick, at_ms - 1), [Effect::WakeAt { at_ms }]);
        assert_eq!(state.apply(Event::Tick, at_ms), [Effect::StartPut(1)]);
    }

    #[test]
    fn publishing_waits_for_every_pack_and_is_refused_when_one_failed() {
        let mut state = UploadState::default();
        state.apply(Event::PackReady(1), 0);
        assert_eq!(state.apply(Event::PublishWanted, 0), []);
        let done = without_wakes(state.apply(Event::PutFinished(1, PutOutcome::Stored), 1));
        assert_eq!(done, [Effect::ReportStored(1), Effect::Publish]);
        state.apply(Event::PublishFinished, 2);

        state.apply(Event::PackReady(2), 3);
        state.apply(Event::PutFinished(2, PutOutcome::Permanent), 4);
        assert_eq!(state.apply(Event::PublishWanted, 5), [Effect::RefusePublish]);
        assert_eq!(
            state.apply(Event::PublishWanted, 6),
            [Effect::Publish],
            "the next run begins clean"
        );
    }

    #[test]
    fn what_was_confirmed_gets_its_index_in_time_but_not_while_publishing() {
        let mut state = UploadState::default();
        state.apply(Event::PackReady(1), 0);
        let at_ms = 5 + limits::CHECKPOINT_INTERVAL_MS;
        let stored = state.apply(Event::PutFinished(1, PutOutcome::Stored), 5);
        assert_eq!(stored, [Effect::ReportStored(1), Effect::WakeAt { at_ms }]);
        assert_eq!(state.apply(Event::Tick, at_ms), [Effect::Checkpoint]);
        assert_eq!(
            state.apply(Event::PublishWanted, at_ms),
            [],
            "one writer of indexes at a time"
        );
        assert_eq!(
            state.apply(Event::CheckpointFinished, at_ms + 1),
            [Effect::Publish]
        );
        state.apply(Event::PackReady(2), at_ms + 2);
        state.apply(Event::PutFinished(2, PutOutcome::Stored), at_ms + 3);
        assert_eq!(
            state.apply(Event::Tick, at_ms * 3),
            [],
            "publishing writes the index itself"
        );
    }

    /// Whatever the order of outcomes: each pack is reported once, the bound holds, and quiet comes last.
    #[test]
    fn random_schedules_report_each_pack_once_and_end_quiet() {
        for seed in 1..3_000_u64 {
            let mut rng = seed;
            let mut next = move |n: u64| {
                rng ^= rng << 13;
                rng ^= rng >> 7;
                rng ^= rng << 17;
                rng % n
            };
            let (mut state, mut now_ms, mut running, mut reported) =
                (UploadState::default(), 0, vec![], vec![]);
            let (mut todo, mut quiet, mut abandoned): (Vec<u64>, _, _) = ((0..8).collect(), false, false);
            for step in 0.. {
                assert!(step < 10_000, "seed {seed} did not end");
                let event = match next(5) {
                    0 if !todo.is_empty() && !abandoned => Event::PackReady(todo.remove(0)),
                    1 if !running.is_empty() => {
                        let pack = running.swap_remove(usize::try_from(next(running.len() as u64)).unwrap());
                        let outcomes = [
                            PutOutcome::Stored,
                            PutOutcome::Transient,
                            PutOutcome::Permanent,
                            PutOutcome::Cancelled,
                        ];
                        Event::PutFinished(pack, outcomes[usize::try_from(next(4)).unwrap()])
                    }
                    2 if next(40) == 0 && !abandoned => {
                        abandoned = true;
                        todo.clear();
                        Event::Abandon
                    }
                    _ => {
                        now_ms += next(400);
                        Event::Tick
                    }
                };
                for effect in state.apply(event, now_ms) {
                    match effect {
                        Effect::StartPut(pack) => running.push(pack),
                        Effect::ReportStored(pack) | Effect::ReportFailed(pack) => reported.push(pack),
                        Effect::WakeAt { at_ms } => assert!(at_ms > now_ms),
                        Effect::Quiet => quiet = true,
                        other => panic!("seed {seed}: {other:?} was not asked for"),
                    }
                }
                assert!(running.len() <= limits::UPLOADS_IN_FLIGHT_MAX);
                if todo.is_empty() && state.is_empty() && (!abandoned || quiet) {
                    break;
                }
            }
            assert_eq!(quiet, abandoned);
            let count = reported.len();
            reported.sort_unstable();
            reported.dedup();
            assert_eq!(reported.len(), count, "seed {seed}: reported twice");
            assert!(abandoned || count == 8, "seed {seed}");
        }
    }
}
