//! What one window achieves: a model of the engine's own cost, in time, bytes and requests.

use crate::scheduler::{Exit, Grant, Reason, Task};

/// Listing, and whatever else a window begins with.
const BEGIN_BYTES: u64 = 6 << 10;
const BEGIN_REQUESTS: u64 = 3;
const BEGIN_MS: u64 = 1_500;
/// Index, snapshot and lock, which a backup ends with.
const END_BYTES: u64 = 40 << 10;
const END_REQUESTS: u64 = 6;
/// A pack is confirmed as a whole, or not.
const PACK_BYTES: u64 = 4 << 20;
/// What a vault that does not answer costs before that is certain.
const UNREACHABLE_MS: u64 = 20_000;

/// What a window has.
pub(super) struct Window {
    pub task: Task,
    pub grant: Grant,
    pub from_ms: i64,
    /// When the operating system's time is up.
    pub until_ms: Option<i64>,
    /// What ends the window from outside.
    pub breaks: Option<(i64, Reason)>,
}

/// What a window did.
pub(super) struct Performed {
    pub end: Reason,
    pub ms: u64,
    /// In both directions.
    pub bytes: u64,
    pub requests: u64,
    pub confirmed: u64,
    pub finished: bool,
    /// The process is gone, and nobody has written the end down.
    pub killed: bool,
}

/// Moves `size` bytes at `speed` bytes a second, as far as the window goes.
pub(super) fn perform(
    window: &Window,
    size: u64,
    speed: u64,
    vault: bool,
    kill: Option<Option<Exit>>,
) -> Performed {
    let time_ms = window.grant.time_ms;
    let bytes_max = window.grant.bytes.unwrap_or(u64::MAX);
    if !vault {
        return Performed {
            end: Reason::VaultUnreachable,
            ms: UNREACHABLE_MS.min(time_ms),
            bytes: 2048.min(bytes_max),
            requests: 1,
            confirmed: 0,
            finished: false,
            killed: false,
        };
    }
    let overhead = BEGIN_BYTES + if window.task.is_backup() { END_BYTES } else { 0 };
    let by_bytes = bytes_max.saturating_sub(overhead);
    let by_time = time_ms.saturating_sub(BEGIN_MS).saturating_mul(speed) / 1000;
    let moved = size.min(by_bytes).min(by_time);
    let mut ms = BEGIN_MS + moved.saturating_mul(1000) / speed.max(1);
    let finished = moved == size && by_bytes > 0;
    let mut end = match () {
        () if finished => Reason::Done,
        () if by_bytes <= by_time => Reason::BytesUp,
        () if window.until_ms.is_some() => Reason::StopTimeout,
        () => Reason::TimeUp,
    };
    let mut cut = None;
    if let Some((at, reason)) = window.breaks {
        let until = u64::try_from(at - window.from_ms).unwrap_or(0);
        cut = (until < ms).then_some((until, reason));
    }
    if let Some(exit) = kill {
        let reason = match exit {
            Some(Exit::Memory) => Reason::KilledMemory,
            Some(Exit::Crash) => Reason::KilledCrash,
            Some(Exit::Update) => Reason::KilledUpdate,
            Some(Exit::ForceStop) => Reason::KilledForceStop,
            None => Reason::Killed,
        };
        let half = ms / 2;
        cut = cut.filter(|(until, _)| *until < half).or(Some((half, reason)));
    }
    let Some((until, reason)) = cut else {
        let packs = moved.div_ceil(PACK_BYTES);
        let bytes = (moved + overhead).min(bytes_max);
        // Without room for index and snapshot, whole packs are all that counts.
        let confirmed = if finished {
            moved
        } else {
            moved - moved % (PACK_BYTES / 8)
        };
        let requests = BEGIN_REQUESTS + packs + if finished { END_REQUESTS } else { 2 };
        return Performed {
            end,
            ms,
            bytes,
            requests,
            confirmed,
            finished,
            killed: false,
        };
    };
    end = reason;
    ms = until;
    let moved = (ms.saturating_sub(BEGIN_MS).saturating_mul(speed) / 1000).min(moved);
    Performed {
        end,
        ms,
        bytes: (moved + BEGIN_BYTES).min(bytes_max),
        requests: BEGIN_REQUESTS + moved.div_ceil(PACK_BYTES),
        confirmed: moved - moved % (PACK_BYTES / 8),
        finished: false,
        killed: matches!(
            reason,
            Reason::Killed
                | Reason::KilledMemory
                | Reason::KilledCrash
                | Reason::KilledUpdate
                | Reason::KilledForceStop
                | Reason::KilledReboot
        ),
    }
}
