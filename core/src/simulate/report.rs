//! What a simulated life looked like.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::scheduler::{NetworkClass, Reason, Task};

/// One phone's life. Times are Unix milliseconds, as a clock that is never wrong shows them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub life: String,
    pub zone: String,
    pub start_ms: i64,
    pub days: u32,
    /// Every two hours: the age of the newest complete snapshot, in minutes.
    pub ages: Vec<u32>,
    /// Days on which the newest snapshot was never older than the objective, and days that count: from the first snapshot on.
    pub fresh_days: u32,
    pub counted_days: u32,
    pub windows: Vec<WindowSeen>,
    /// For each day, bytes by class of network in the order of `NetworkClass::ALL`.
    pub day_bytes: Vec<[u64; NetworkClass::ALL.len()]>,
    pub requests: u64,
    /// Times the app was woken by the system, and opened by its user.
    pub wakes: u32,
    pub opens: u32,
    pub snapshots: u32,
    pub alarms: u32,
    /// Minutes that due work waited for each reason.
    pub waited: BTreeMap<&'static str, u64>,
    /// How windows ended.
    pub ends: BTreeMap<&'static str, u32>,
    /// Bytes over an allowance, by the dates that the phone showed. Must be zero.
    pub over_budget_bytes: u64,
    /// Causes of not running that came about, and how many of them `explain` named afterwards.
    pub causes: BTreeMap<&'static str, Named>,
    /// The first few that it did not name: when, what, and what it said instead.
    pub unnamed: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    pub happened: u32,
    pub named: u32,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct WindowSeen {
    pub at_ms: i64,
    pub ms: u64,
    pub task: Task,
    pub end: Reason,
    pub class: Option<NetworkClass>,
    pub bytes: u64,
    pub requests: u64,
}

impl Report {
    pub(super) fn name(&mut self, cause: Reason, named: bool, told: impl FnOnce() -> String) {
        let count = self.causes.entry(cause.code()).or_default();
        count.happened += 1;
        count.named += u32::from(named);
        if !named && self.unnamed.len() < 10 {
            self.unnamed.push(told());
        }
    }

    pub(super) fn age(&mut self, minutes: i64) {
        self.ages.push(u32::try_from(minutes.max(0)).unwrap_or(u32::MAX));
    }

    /// Bytes by class over the whole life.
    pub fn bytes(&self) -> [u64; NetworkClass::ALL.len()] {
        let mut sum = [0; NetworkClass::ALL.len()];
        for day in &self.day_bytes {
            for (total, bytes) in sum.iter_mut().zip(day) {
                *total += bytes;
            }
        }
        sum
    }
}
