//! What is sent when. Pure: events, the time and a random number go in, effects come out. Packs are known by their number of arrival.
//!
//! Within a window nothing begins that would not be over before its end: `window/decide.rs` says so for each request.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    limits,
    window::{
        decide::{Span, Unindexed, Verdict, View},
        link::{Estimate, in_flight_max},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PutOutcome {
    Stored {
        blobs: u64,
    },
    /// May work next time, but not before the vault said so.
    Transient {
        retry_after_ms: Option<u64>,
    },
    /// The next one would fail as well: access was refused, or the vault is full.
    Permanent,
    /// Given up because its run was stopped.
    Cancelled,
    /// Given up because it was on its way while the process was frozen.
    Interrupted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    PackReady {
        pack: u64,
        bytes: u64,
    },
    PutFinished(u64, PutOutcome),
    /// Someone wants a snapshot published.
    PublishWanted,
    PublishFinished,
    CheckpointFinished,
    /// The run was stopped or has failed.
    Abandon,
    WindowOpened {
        span: Span,
        unindexed: Unindexed,
    },
    /// Whoever asks wants to know when nothing more can be done in this window.
    DrainWanted,
    WindowClosed,
    /// The process was frozen: the sockets are dead.
    Frozen,
    Tick,
}

/// The time and what goes with it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    pub(super) ms: u64,
    pub(super) random: u64,
    /// Of the window's allowance.
    pub(super) bytes_left: Option<u64>,
    pub(super) estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    StartPut(u64),
    /// Give this request up; `PutFinished` follows.
    DropPut(u64),
    ReportStored(u64),
    /// With the error that its last attempt ended with, or as cancelled.
    ReportFailed(u64),
    /// Publish an index of what was confirmed.
    Checkpoint,
    Publish,
    /// Some pack could not be stored, or there is no time for it: nothing can be published now.
    RefusePublish,
    /// Nothing is on its way: whoever asked for quiet has it.
    Quiet,
    /// Nothing is on its way, and nothing more can be begun in this window.
    Drained,
    /// Ask for `Tick` at this time. The last one asked for counts.
    WakeAt {
        at_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pack {
    pack: u64,
    bytes: u64,
    attempts: u32,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    span: Span,
    /// The window's bytes that no pack was started with.
    bytes_left: Option<u64>,
    /// One checkpoint a window: one that failed is the next window's.
    has_checkpointed: bool,
}

/// What is waiting and what is under way.
#[derive(Debug, Default)]
pub(super) struct UploadState {
    ready: VecDeque<Pack>,
    in_flight: BTreeMap<u64, Pack>,
    delayed: BTreeMap<(u64, u64), Pack>,
    /// The vault asked to be left alone until then.
    hold_until_ms: u64,
    /// When the confirmed packs that no index names yet should get one.
    checkpoint_at_ms: Option<u64>,
    unindexed: Unindexed,
    checkpointing: bool,
    publish_wanted: bool,
    publishing: bool,
    /// A pack was refused since the last publication or abandonment: nothing more is begun.
    failed: bool,
    abandoning: bool,
    drain_wanted: bool,
    window: Option<Window>,
}

impl UploadState {
    /// The only entry. Applies the event, then starts whatever may start.
    pub(super) fn apply(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::PackReady { pack, bytes } => self.ready.push_back(Pack {
                pack,
                bytes,
                attempts: 0,
            }),
            Event::PutFinished(pack, outcome) => self.put_finished(pack, outcome, now, &mut effects),
            Event::PublishWanted => self.publish_wanted = true,
            Event::PublishFinished => {
                self.publishing = false;
                self.checkpoint_at_ms = None;
                self.unindexed = Unindexed::default();
            }
            Event::CheckpointFinished => {
                self.checkpointing = false;
                self.unindexed = Unindexed::default();
            }
            Event::Abandon => {
                self.abandoning = true;
                self.give_up(&mut effects);
            }
            Event::WindowOpened { span, unindexed } => {
                self.unindexed = unindexed;
                self.window = Some(Window {
                    span,
                    bytes_left: now.bytes_left,
                    has_checkpointed: false,
                });
            }
            Event::DrainWanted => self.drain_wanted = true,
            Event::WindowClosed => {
                self.window = None;
                self.hold_until_ms = 0;
            }
            Event::Frozen => effects.extend(self.in_flight.keys().map(|pack| Effect::DropPut(*pack))),
            Event::Tick => {}
        }
        self.settle(now, &mut effects);
        effects
    }

    fn put_finished(&mut self, number: u64, outcome: PutOutcome, now: Now, effects: &mut Vec<Effect>) {
        let Some(pack) = self.in_flight.remove(&number) else {
            return;
        };
        match outcome {
            PutOutcome::Stored { blobs } => {
                self.unindexed.packs += 1;
                self.unindexed.blobs += blobs;
                self.unindexed.bytes += pack.bytes;
                self.checkpoint_at_ms
                    .get_or_insert(now.ms + limits::CHECKPOINT_INTERVAL_MS);
                effects.push(Effect::ReportStored(number));
            }
            PutOutcome::Transient { retry_after_ms } if !self.abandoning => {
                let asked_ms = retry_after_ms.unwrap_or(0);
                let at_ms = now.ms + asked_ms.max(retry_delay_ms(pack.attempts, now.random)).max(1);
                let in_vain = pack.attempts >= limits::UPLOAD_ATTEMPTS_MAX
                    || asked_ms > limits::RETRY_AFTER_MAX_MS
                    || self.window.is_some_and(|window| at_ms >= window.span.ends_ms);
                if in_vain {
                    self.fail(number, effects);
                } else {
                    if asked_ms > 0 {
                        self.hold_until_ms = self.hold_until_ms.max(at_ms);
                    }
                    self.delayed.insert((at_ms, number), pack);
                }
            }
            PutOutcome::Interrupted if !self.abandoning => self.ready.push_front(Pack {
                attempts: pack.attempts.saturating_sub(1),
                ..pack
            }),
            PutOutcome::Transient { .. } | PutOutcome::Permanent => self.fail(number, effects),
            PutOutcome::Cancelled | PutOutcome::Interrupted => effects.push(Effect::ReportFailed(number)),
        }
    }

    fn fail(&mut self, number: u64, effects: &mut Vec<Effect>) {
        self.failed = true;
        effects.push(Effect::ReportFailed(number));
    }

    fn give_up(&mut self, effects: &mut Vec<Effect>) {
        let waiting = self
            .ready
            .drain(..)
            .chain(std::mem::take(&mut self.delayed).into_values());
        effects.extend(waiting.map(|pack| Effect::ReportFailed(pack.pack)));
    }

    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.delayed.is_empty() && self.in_flight.is_empty()
    }

    fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((&(at_ms, number), &pack)) = self.delayed.first_key_value() {
            if at_ms > now.ms {
                break;
            }
            self.delayed.remove(&(at_ms, number));
            self.ready.push_back(pack);
        }
        if self.failed {
            self.give_up(effects);
        }
        self.start_puts(now, effects);
        self.settle_publication(now, effects);
        if self.abandoning && self.is_empty() && !self.checkpointing && !self.publishing {
            self.abandoning = false;
            self.failed = false;
            effects.push(Effect::Quiet);
        }
        if self.may_checkpoint(now) {
            self.checkpointing = true;
            self.checkpoint_at_ms = None;
            if let Some(window) = &mut self.window {
                window.has_checkpointed = true;
            }
            effects.push(Effect::Checkpoint);
        }
        if self.drain_wanted && self.is_drained(now) {
            self.drain_wanted = false;
            effects.push(Effect::Drained);
        }
        if let Some(at_ms) = self.wakes_at(now) {
            effects.push(Effect::WakeAt { at_ms });
        }
    }

    fn start_puts(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while now.ms >= self.hold_until_ms {
            let Some(first) = self.ready.front() else { break };
            if self.in_flight.len() >= in_flight_max(now.estimate, first.bytes) {
                break;
            }
            // Oldest first; one that does not fit any more does not stand in the way of a smaller one.
            let next = self
                .ready
                .iter()
                .position(|pack| self.may_put(pack, now) == Verdict::Start);
            let Some(mut pack) = next.and_then(|next| self.ready.remove(next)) else {
                break;
            };
            pack.attempts += 1;
            if let Some(Window {
                bytes_left: Some(left),
                ..
            }) = &mut self.window
            {
                *left = left.saturating_sub(pack.bytes);
            }
            self.in_flight.insert(pack.pack, pack);
            effects.push(Effect::StartPut(pack.pack));
        }
    }

    fn may_put(&self, pack: &Pack, now: Now) -> Verdict {
        let under_way = self.in_flight_bytes();
        if under_way > 0 && under_way + pack.bytes > limits::UPLOADS_IN_FLIGHT_BYTES_MAX {
            return Verdict::Wait;
        }
        self.view(now)
            .map_or(Verdict::Start, |view| view.may_put(pack.bytes))
    }

    fn in_flight_bytes(&self) -> u64 {
        self.in_flight.values().map(|pack| pack.bytes).sum()
    }

    fn view(&self, now: Now) -> Option<View> {
        self.window.map(|window| View {
            span: window.span,
            now_ms: now.ms,
            bytes_left: match (window.bytes_left, now.bytes_left) {
                (Some(own), Some(all)) => Some(own.min(all)),
                (own, all) => own.or(all),
            },
            in_flight_bytes: self.in_flight_bytes(),
            estimate: now.estimate,
        })
    }

    /// Whether what is ready can only be sent by another window.
    fn is_stuck(&self, now: Now) -> bool {
        let stuck = |pack| self.may_put(pack, now) == Verdict::NotInThisWindow;
        self.window.is_some()
            && self.in_flight.is_empty()
            && self.delayed.is_empty()
            && self.ready.iter().all(stuck)
    }

    fn is_drained(&self, now: Now) -> bool {
        let idle = !self.checkpointing && !self.publishing && !self.publish_wanted;
        idle && (self.is_empty() || self.is_stuck(now))
    }

    fn settle_publication(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !self.publish_wanted || self.checkpointing {
            return;
        }
        if self.is_empty() {
            self.publish_wanted = false;
            let in_time = self.view(now).is_none_or(|view| view.may_publish(self.unindexed));
            if std::mem::take(&mut self.failed) || !in_time {
                effects.push(Effect::RefusePublish);
            } else {
                self.publishing = true;
                effects.push(Effect::Publish);
            }
        } else if self.is_stuck(now) {
            self.publish_wanted = false;
            effects.push(Effect::RefusePublish);
        }
    }

    fn may_checkpoint(&self, now: Now) -> bool {
        if self.checkpointing || self.publishing || self.publish_wanted || self.abandoning {
            return false;
        }
        match (&self.window, self.view(now)) {
            (Some(window), Some(view)) => !window.has_checkpointed && view.may_checkpoint(self.unindexed),
            _ => self.is_checkpoint_due(now.ms),
        }
    }

    fn is_checkpoint_due(&self, now_ms: u64) -> bool {
        self.checkpoint_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    fn wakes_at(&self, now: Now) -> Option<u64> {
        let busy = self.checkpointing || self.publishing || self.window.is_some();
        let checkpoint_at_ms = self.checkpoint_at_ms.filter(|_| !busy);
        let retry_at_ms = self.delayed.first_key_value().map(|(&(at_ms, _), _)| at_ms);
        let held = !self.ready.is_empty() && self.hold_until_ms > now.ms;
        let held_until_ms = held.then_some(self.hold_until_ms);
        let all = retry_at_ms
            .into_iter()
            .chain(checkpoint_at_ms)
            .chain(held_until_ms);
        all.filter(|at_ms| *at_ms > now.ms).min()
    }
}

/// Full jitter: anything between none and a bound that doubles with each attempt, so that what failed together does not come back together.
fn retry_delay_ms(attempts: u32, random: u64) -> u64 {
    let doublings = attempts.saturating_sub(1).min(16);
    let most = (limits::UPLOAD_RETRY_DELAY_MS << doublings).min(limits::UPLOAD_RETRY_DELAY_MAX_MS);
    random % (most + 1)
}

#[cfg(test)]
mod tests;
