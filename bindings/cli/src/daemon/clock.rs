//! The system's clock, or one that goes faster.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lifeboat::clock::{Clock, SystemClock};

/// A clock that was corrected by more than this was set.
const JUMP_MS: i64 = 2 * 60 * 1000;

#[derive(Debug)]
pub(super) struct FastClock {
    real: SystemClock,
    speed: u32,
}

impl FastClock {
    pub(super) fn new(speed: u32) -> Self {
        Self {
            real: SystemClock::default(),
            speed,
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        let since = self.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// How long to sleep until a moment by this clock.
    pub(super) fn until(&self, at_ms: i64, now_ms: i64) -> Duration {
        let left = u64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(0);
        // A little longer, so that the moment has come then.
        Duration::from_millis(left / u64::from(self.speed) + 1)
    }

    /// Whether the wall clock has gone otherwise than time since then.
    pub(super) fn jumped(&self, then_ms: i64, then: Duration) -> bool {
        let passed = self.monotonic().saturating_sub(then) * self.speed;
        let passed = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        (self.now_ms() - then_ms - passed).abs() > JUMP_MS
    }
}

impl Clock for FastClock {
    fn wall(&self) -> SystemTime {
        let ahead = self.real.monotonic() * (self.speed - 1);
        self.real.wall() + ahead
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }

    fn awake_or_asleep(&self) -> Duration {
        self.real.awake_or_asleep()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_sleeps_less_and_does_not_take_its_own_pace_for_a_jump() {
        let clock = FastClock::new(60);
        assert_eq!(clock.until(61_000, 1000), Duration::from_millis(1001));
        assert_eq!(clock.until(1, 1000), Duration::from_millis(1));
        let (now_ms, then) = (clock.now_ms(), clock.monotonic());
        assert!(!clock.jumped(now_ms, then));
        assert!(clock.jumped(now_ms - 3_600_000, then));
        assert!(clock.jumped(now_ms + 3_600_000, then));
    }
}
