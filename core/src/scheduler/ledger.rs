//! What was spent of each class of network, by local days.
//!
//! Hard also when clocks lie: a day that seems to lie in the future counts as today and as this month, so neither a flight to the west nor a clock that
//! goes back gives anything twice. A day that lies more than three days ahead, left by a clock that was wrong, is brought back once a whole day has
//! passed by the clock as it is, so that it cannot hold the phone up for years. Only a clock that is more than three days wrong for more than a day
//! can give an allowance twice.

use serde::{Deserialize, Serialize};

use super::conditions::NetworkClass;
use crate::limits;

/// Two places on Earth show dates that differ by up to two days at the same moment, and a clock may be set a day wrong besides.
const AHEAD_DAYS: i32 = 3;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(Vec<Spend>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Spend {
    day: i32,
    class: NetworkClass,
    bytes: u64,
    /// The first day on which this one was seen to lie in the far future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead_since: Option<i32>,
}

impl Ledger {
    /// Adds to what was spent on `today`.
    pub fn charge(&mut self, today: i32, class: NetworkClass, bytes: u64) {
        self.settle(today);
        if bytes == 0 {
            return;
        }
        match self
            .0
            .iter_mut()
            .find(|spend| spend.day == today && spend.class == class)
        {
            Some(spend) => spend.bytes = spend.bytes.saturating_add(bytes),
            None => self.0.push(Spend {
                day: today,
                class,
                bytes,
                ahead_since: None,
            }),
        }
        if self.0.len() > limits::LEDGER_ENTRIES_MAX {
            let oldest = self.0.iter().enumerate().min_by_key(|(_, spend)| spend.day);
            if let Some(oldest) = oldest.map(|(index, _)| index) {
                self.0.remove(oldest);
            }
        }
    }

    /// Brings days back that have been in the far future for a whole day. To be called with every day that is seen.
    pub fn settle(&mut self, today: i32) {
        for spend in &mut self.0 {
            if spend.day <= today.saturating_add(AHEAD_DAYS) {
                spend.ahead_since = None;
                continue;
            }
            match spend.ahead_since {
                Some(since) if today > since => {
                    spend.day = since;
                    spend.ahead_since = None;
                }
                // The clock has gone back again.
                Some(since) if since > today => spend.ahead_since = Some(today),
                Some(_) => {}
                None => spend.ahead_since = Some(today),
            }
        }
    }

    /// Bytes of a class since the beginning of `day`, and whatever seems to lie after it.
    pub fn since(&self, day: i32, class: NetworkClass) -> u64 {
        let counted = self
            .0
            .iter()
            .filter(|spend| spend.class == class && spend.day >= day);
        counted.fold(0, |sum, spend| sum.saturating_add(spend.bytes))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NetworkClass::{Metered, Roaming};

    #[test]
    fn a_day_that_comes_twice_has_one_allowance() {
        let mut ledger = Ledger::default();
        ledger.charge(101, Metered, 70);
        // Over the date line, yesterday begins again.
        assert_eq!(ledger.since(100, Metered), 70);
        ledger.charge(100, Metered, 20);
        assert_eq!(ledger.since(100, Metered), 90);
        assert_eq!(ledger.since(101, Metered), 70);
        assert_eq!(ledger.since(101, Roaming), 0);
    }

    #[test]
    fn a_clock_that_was_far_ahead_gives_nothing_twice_and_is_forgiven_after_a_day() {
        let mut ledger = Ledger::default();
        ledger.charge(9_000, Metered, 70);
        ledger.settle(100);
        assert_eq!(ledger.since(100, Metered), 70, "counts as today");
        ledger.settle(100);
        assert_eq!(ledger.since(100, Metered), 70, "still");
        ledger.settle(101);
        assert_eq!(
            ledger.since(101, Metered),
            0,
            "a day later it was spent the day before"
        );
        assert_eq!(ledger.since(100, Metered), 70);
    }

    #[test]
    fn a_clock_that_falls_back_for_a_moment_forgets_nothing() {
        let mut ledger = Ledger::default();
        ledger.charge(20_000, Metered, 70);
        ledger.settle(0);
        assert_eq!(ledger.since(0, Metered), 70);
        ledger.settle(20_000);
        assert_eq!(ledger.since(20_000, Metered), 70);
        assert_eq!(ledger.since(20_001, Metered), 0);
    }

    #[test]
    fn it_is_bounded_and_drops_the_oldest_days() {
        let mut ledger = Ledger::default();
        for day in 0..1_000 {
            for class in NetworkClass::ALL {
                ledger.charge(day, class, 1);
            }
        }
        assert_eq!(ledger.0.len(), limits::LEDGER_ENTRIES_MAX);
        for class in NetworkClass::ALL {
            assert_eq!(ledger.since(1_000 - 31, class), 31);
        }
    }
}
