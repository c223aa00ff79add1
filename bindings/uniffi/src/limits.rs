//! Every bound of this border, with its unit in its name and its reason above it.

/// Progress is told at most this often: a screen shows no more, and each telling wakes a thread of the host's.
pub(crate) const PROGRESS_INTERVAL_MIN_MS: u64 = 50;
/// And at least this often while a job runs, so that a screen is not mistaken for a stopped one.
pub(crate) const PROGRESS_INTERVAL_MAX_MS: u64 = 60_000;
/// Each observer costs a thread; an app has a screen or two, and a notification.
pub(crate) const OBSERVERS_MAX: usize = 16;
/// How long a stop waits for an observer that is in the host's code. What it still does then harms nobody: it holds nothing of the engine's.
pub(crate) const OBSERVER_GRACE_MS: u64 = 250;
/// The longest a stop or a suspend may be asked to wait for jobs to end.
pub(crate) const GRACE_MAX_MS: u64 = 600_000;
/// Entries of a snapshot that are handed over at once: a screenful or two, at some hundred bytes each.
pub(crate) const ENTRIES_PER_CALL_MAX: u32 = 1000;

/// How long an app may take to hold a database still, or to release it: it waits for its own writers, who are quick, or something is wrong.
pub(crate) const HOLD_WAIT_MS: u64 = 2_000;
/// How long an app may take to judge a server. Meanwhile the engine's thread stands still, and a stop waits: it is meant for what hangs.
pub(crate) const TRUST_WAIT_MS: u64 = 5_000;

const _: () = assert!(PROGRESS_INTERVAL_MIN_MS < PROGRESS_INTERVAL_MAX_MS);
