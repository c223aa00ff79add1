//! Random numbers from a seed: SplitMix64, whose numbers are the same on every machine and in every version, so that a seed names a life for ever.

use crate::scheduler::mix;

#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From `from` until before `until`.
    pub fn between(&mut self, from: i64, until: i64) -> i64 {
        let width = until.saturating_sub(from).max(1).unsigned_abs();
        from + i64::try_from(self.next() % width).unwrap_or(0)
    }

    /// So often in a hundred times.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// So often in a thousand times.
    pub fn permille(&mut self, permille: u64) -> bool {
        self.next() % 1000 < permille
    }
}
