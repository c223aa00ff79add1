//! Many phones with random lives, and what their vault sees of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    life::{Life, live},
    play::play,
    report::{Named, Report},
    rng::Rng,
};
use crate::scheduler::{NetworkClass, Policy};

/// Bins of five minutes over a day in UTC.
const BINS: usize = 24 * 12;
const BIN_MS: i64 = 5 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What an object store charges, in US dollars: S3 Standard's list prices in a region of the United States. Bytes from phones to the store are free.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Prices {
    pub thousand_requests: f64,
    pub gigabyte_month: f64,
}

pub const PRICES: Prices = Prices {
    thousand_requests: 0.005,
    gigabyte_month: 0.023,
};

/// The sum of a fleet.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Fleet {
    pub phones: u32,
    pub days: u32,
    pub lives: BTreeMap<&'static str, LifeSum>,
    /// Mean requests a second, by five minutes of the UTC day.
    pub requests_by_time: Vec<f64>,
    /// The busiest five minutes of all days, in requests a second.
    pub busiest: f64,
    pub over_budget_bytes: u64,
    pub causes: BTreeMap<&'static str, Named>,
    pub unnamed: Vec<String>,
}

/// The phones of one sort of life.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LifeSum {
    pub phones: u32,
    pub fresh_days: u64,
    pub counted_days: u64,
    /// Without any snapshot at the end.
    pub never: u32,
    pub snapshots: u64,
    pub windows: u64,
    pub requests: u64,
    pub alarms: u64,
    /// By class, as in `NetworkClass::ALL`.
    pub bytes: [u64; NetworkClass::ALL.len()],
    /// How old the newest snapshot was, in hours, for one part in a hundred of the time each.
    pub age_percentiles: Vec<f64>,
    #[serde(skip)]
    ages: Vec<u32>,
}

/// Plays `phones` lives, all sorts in turn, one after the other; `each` is told of every phone that is done.
pub fn fleet(policy: &Policy, phones: u32, days: u32, seed: u64, mut each: impl FnMut(u32)) -> Fleet {
    let mut fleet = Fleet {
        phones,
        days,
        ..Fleet::default()
    };
    let mut by_bin = BTreeMap::<i64, u64>::new();
    let mut seeds = Rng::new(seed);
    for (phone, life) in (0..phones).zip(Life::ALL.into_iter().cycle()) {
        let seed = seeds.next();
        let report = play(&live(life, seed, days), policy, seed);
        for window in &report.windows {
            *by_bin.entry(window.at_ms.div_euclid(BIN_MS)).or_default() += window.requests;
        }
        fleet.add(life, report);
        each(phone + 1);
    }
    let mut by_time = vec![0_u64; BINS];
    for (bin, requests) in &by_bin {
        let place = usize::try_from(bin.rem_euclid(DAY_MS / BIN_MS)).unwrap_or(0);
        by_time[place] += requests;
    }
    let seconds = BIN_MS as f64 / 1000.0;
    fleet.busiest = by_bin.values().max().map_or(0.0, |most| *most as f64 / seconds);
    let over_days = seconds * f64::from(days.max(1));
    fleet.requests_by_time = by_time
        .into_iter()
        .map(|requests| requests as f64 / over_days)
        .collect();
    for sum in fleet.lives.values_mut() {
        sum.ages.sort_unstable();
        let at = |percent: usize| sum.ages.get(percent * sum.ages.len().saturating_sub(1) / 100);
        let hours = (0..=100).filter_map(at).map(|minutes| f64::from(*minutes) / 60.0);
        sum.age_percentiles = hours.collect();
    }
    fleet
}

impl Fleet {
    fn add(&mut self, life: Life, report: Report) {
        let sum = self.lives.entry(life.name()).or_default();
        sum.phones += 1;
        sum.fresh_days += u64::from(report.fresh_days);
        sum.counted_days += u64::from(report.counted_days);
        sum.never += u32::from(report.snapshots == 0);
        sum.snapshots += u64::from(report.snapshots);
        sum.windows += report.windows.len() as u64;
        sum.requests += report.requests;
        sum.alarms += u64::from(report.alarms);
        for (total, bytes) in sum.bytes.iter_mut().zip(report.bytes()) {
            *total += bytes;
        }
        sum.ages.extend(&report.ages);
        self.over_budget_bytes += report.over_budget_bytes;
        for (code, named) in &report.causes {
            let count = self.causes.entry(code).or_default();
            count.happened += named.happened;
            count.named += named.named;
        }
        let room = 20_usize.saturating_sub(self.unnamed.len());
        self.unnamed.extend(report.unnamed.into_iter().take(room));
    }

    /// Per phone and month: requests, bytes sent and received, and what the requests cost in US dollars.
    pub fn monthly(&self) -> (f64, f64, f64) {
        let months = f64::from(self.phones.max(1)) * f64::from(self.days.max(1)) / 30.44;
        let requests = self.lives.values().map(|sum| sum.requests).sum::<u64>() as f64 / months;
        let bytes = self.lives.values().flat_map(|sum| sum.bytes).sum::<u64>() as f64 / months;
        (requests, bytes, requests / 1000.0 * PRICES.thousand_requests)
    }
}
