//! The only place that asks what time it is, so that every decision can be replayed with another clock.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::format::Timestamp;

/// Wall time for what people and other clients read, monotonic time for waiting.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Wall time: it may jump either way.
    fn wall(&self) -> SystemTime;

    /// Time since some moment in the past that stays the same: it never goes back.
    fn monotonic(&self) -> Duration;

    /// The same, but it also goes on while the device sleeps, where the operating system can tell: what deadlines are measured by, and what shows
    /// that the process was frozen.
    fn awake_or_asleep(&self) -> Duration {
        self.monotonic()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => (
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                since.subsec_nanos(),
            ),
            Err(before) => {
                // Nanoseconds count forward, also before 1970.
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
                match before.subsec_nanos() {
                    0 => (seconds, 0),
                    nanos => (seconds - 1, 1_000_000_000 - nanos),
                }
            }
        };
        Self::new(seconds, nanos).unwrap_or(Self::UNIX_EPOCH)
    }
}

/// The clock of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn awake_or_asleep(&self) -> Duration {
        // Darwin's monotonic clock goes on in sleep; that of Linux does not, and has a twin that does.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let id = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(id);
        Duration::new(
            u64::try_from(now.tv_sec).unwrap_or(0),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        )
    }
}
