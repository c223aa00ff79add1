//! Applying a policy to a group of snapshots.

use std::cmp::Reverse;

use super::{Count, Period, Policy, Reason, RetentionDuration, RetentionError, SnapshotFacts};
use crate::{
    civil::SECONDS_PER_HOUR,
    format::{Timestamp, ZonedTimestamp},
};

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub snapshot: SnapshotFacts,
    pub keep: bool,
    /// Why it is kept, in the order in which restic prints reasons; empty if it is not.
    pub reasons: Vec<Reason>,
    pub counters: Counters,
}

/// What is left of a policy's counts after a snapshot was decided about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub last: Count,
    pub hourly: Count,
    pub daily: Count,
    pub weekly: Count,
    pub monthly: Count,
    pub yearly: Count,
}

/// Decides about the snapshots of one group, newest first; those of equal times stay in the order they came in.
///
/// Hours and days are those of the clocks where each snapshot was made. A duration counts back by the clocks where the
/// newest snapshot was made; restic uses the rules for summer time of its own zone where they give the same offset, so
/// the bound may differ by an hour from that of a restic that does not run in UTC.
pub fn apply(
    policy: &Policy,
    mut group: Vec<SnapshotFacts>,
    now: Timestamp,
) -> Result<Vec<Decision>, RetentionError> {
    if policy.is_empty() {
        return Err(RetentionError::EmptyPolicy);
    }
    group.sort_by_key(|snapshot| Reverse(snapshot.time.timestamp));
    let snapshots = group.len();
    let mut rules = Rules::new(policy, newest_before(now, &group));
    let decisions: Vec<Decision> = (group.into_iter().enumerate())
        .map(|(index, snapshot)| rules.decide(snapshot, index, index + 1 == snapshots))
        .collect();
    if snapshots > 0 && !decisions.iter().any(|decision| decision.keep) {
        return Err(RetentionError::KeepsNothing { snapshots });
    }
    Ok(decisions)
}

/// A clock that was ahead once must not make everything since look old. Year 1 if all snapshots are in the future.
fn newest_before(now: Timestamp, newest_first: &[SnapshotFacts]) -> ZonedTimestamp {
    let mut times = newest_first.iter().map(|snapshot| snapshot.time);
    times
        .find(|time| time.timestamp < now)
        .filter(|time| time.timestamp > Timestamp::YEAR_ONE)
        .unwrap_or(ZonedTimestamp::YEAR_ONE)
}

/// A policy on its way from the newest snapshot to the oldest.
struct Rules<'a> {
    policy: &'a Policy,
    /// Snapshots must be newer than this.
    within: Option<(RetentionDuration, Timestamp)>,
    counted: [Counted; 6],
    bounded: Vec<Bounded>,
}

struct Counted {
    period: Period,
    left: Count,
    last_kept: Option<i64>,
}

struct Bounded {
    period: Period,
    duration: RetentionDuration,
    /// Snapshots must be newer than this.
    after: Timestamp,
    last_kept: Option<i64>,
}

impl<'a> Rules<'a> {
    fn new(policy: &'a Policy, newest: ZonedTimestamp) -> Self {
        let bound = |duration: RetentionDuration| (duration, duration.before(newest));
        let given =
            |duration: Option<RetentionDuration>| duration.filter(|duration| !duration.is_zero()).map(bound);
        let counted = |period, left| Counted {
            period,
            left,
            last_kept: None,
        };
        let bounded = [
            (Period::Hour, policy.within_hourly),
            (Period::Day, policy.within_daily),
            (Period::Week, policy.within_weekly),
            (Period::Month, policy.within_monthly),
            (Period::Year, policy.within_yearly),
        ];
        Self {
            policy,
            within: given(policy.within),
            counted: [
                counted(Period::Each, policy.last),
                counted(Period::Hour, policy.hourly),
                counted(Period::Day, policy.daily),
                counted(Period::Week, policy.weekly),
                counted(Period::Month, policy.monthly),
                counted(Period::Year, policy.yearly),
            ],
            bounded: (bounded.into_iter())
                .filter_map(|(period, duration)| {
                    let (duration, after) = given(duration)?;
                    Some(Bounded {
                        period,
                        duration,
                        after,
                        last_kept: None,
                    })
                })
                .collect(),
        }
    }

    fn decide(&mut self, snapshot: SnapshotFacts, index: usize, is_oldest: bool) -> Decision {
        let time = snapshot.time.timestamp;
        let mut reasons = Vec::new();
        for tags in &self.policy.tags {
            if tags.matches(&snapshot.tags) {
                reasons.push(Reason::HasTags(tags.clone()));
            }
        }
        if let Some((duration, after)) = self.within
            && time > after
        {
            reasons.push(Reason::Within(duration));
        }
        for rule in &mut self.counted {
            let number = period_number(rule.period, snapshot.time, index);
            let is_new = rule.last_kept != Some(number);
            if rule.left.is_used_up() || !(is_new || is_oldest) {
                continue;
            }
            rule.last_kept = Some(number);
            rule.left.use_one();
            reasons.push(if is_new {
                Reason::Newest(rule.period)
            } else {
                Reason::Oldest(rule.period)
            });
        }
        for rule in &mut self.bounded {
            let number = period_number(rule.period, snapshot.time, index);
            let is_new = rule.last_kept != Some(number);
            if time <= rule.after || !(is_new || is_oldest) {
                continue;
            }
            rule.last_kept = Some(number);
            reasons.push(if is_new {
                Reason::NewestWithin(rule.period, rule.duration)
            } else {
                Reason::OldestWithin(rule.period, rule.duration)
            });
        }
        Decision {
            snapshot,
            keep: !reasons.is_empty(),
            reasons,
            counters: self.counters(),
        }
    }

    fn counters(&self) -> Counters {
        let [last, hourly, daily, weekly, monthly, yearly] = self.counted.each_ref().map(|rule| rule.left);
        Counters {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        }
    }
}

/// The same number for two snapshots of the same hour, day and so on, and for no others.
fn period_number(period: Period, time: ZonedTimestamp, index: usize) -> i64 {
    let local = time.local();
    let date = local.date;
    match period {
        Period::Each => index as i64,
        Period::Hour => date.days() * 24 + local.second_of_day as i64 / SECONDS_PER_HOUR,
        Period::Day => date.days(),
        Period::Week => {
            let (year, week) = date.iso_week();
            year * 100 + i64::from(week)
        }
        Period::Month => date.year * 12 + i64::from(date.month),
        Period::Year => date.year,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SnapshotId;

    const NOW: &str = "2030-01-01T00:00:00Z";

    fn time(text: &str) -> ZonedTimestamp {
        ZonedTimestamp::parse(text).unwrap()
    }

    fn snapshot(text: &str, tags: &[&str]) -> SnapshotFacts {
        SnapshotFacts {
            id: SnapshotId::of(text.as_bytes()),
            time: time(text),
            hostname: "h".to_owned(),
            paths: vec!["/p".to_owned()],
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        }
    }

    fn decide(policy: &Policy, times: &[&str]) -> Vec<(bool, Vec<String>)> {
        let group = times.iter().map(|text| snapshot(text, &[])).collect();
        let decisions = apply(policy, group, time(NOW).timestamp).unwrap();
        (decisions.iter())
            .map(|decision| {
                (
                    decision.keep,
                    decision.reasons.iter().map(Reason::to_string).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn one_of_each_day_is_kept_and_the_oldest_while_counts_are_left() {
        let policy = Policy {
            daily: Count::AtMost(3),
            ..Policy::default()
        };
        let times = [
            "2024-01-02T12:00:00Z",
            "2024-01-02T11:00:00Z",
            "2024-01-01T10:00:00Z",
            "2024-01-01T09:00:00Z",
        ];
        let daily = || vec!["daily snapshot".to_owned()];
        let oldest = vec!["oldest daily snapshot".to_owned()];
        assert_eq!(
            decide(&policy, &times),
            [(true, daily()), (false, vec![]), (true, daily()), (true, oldest)]
        );
        let policy = Policy {
            daily: Count::AtMost(2),
            ..Policy::default()
        };
        assert_eq!(decide(&policy, &times)[3], (false, vec![]));
    }

    #[test]
    fn days_are_those_of_the_place() {
        let policy = Policy {
            daily: Count::AtMost(9),
            ..Policy::default()
        };
        // The same evening by the clocks there, two days in UTC.
        let times = [
            "2024-01-01T23:30:00-05:00",
            "2024-01-01T18:00:00-05:00",
            "2023-12-31T08:00:00-05:00",
        ];
        let kept: Vec<bool> = decide(&policy, &times)
            .into_iter()
            .map(|(keep, _)| keep)
            .collect();
        assert_eq!(kept, [true, false, true]);
    }

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        let policy = Policy {
            weekly: Count::Unlimited,
            ..Policy::default()
        };
        let times = [
            "2025-01-05T00:00:00Z",
            "2024-12-30T00:00:00Z",
            "2024-12-29T00:00:00Z",
            "2024-12-23T00:00:00Z",
        ];
        let kept: Vec<bool> = decide(&policy, &times)
            .into_iter()
            .map(|(keep, _)| keep)
            .collect();
        assert_eq!(kept, [true, false, true, true]);
    }

    #[test]
    fn durations_count_from_the_newest_that_is_not_in_the_future() {
        let policy = Policy {
            within: Some("1d".parse().unwrap()),
            ..Policy::default()
        };
        let times = [
            "2031-01-01T00:00:00Z",
            "2024-01-02T12:00:00Z",
            "2024-01-01T12:00:00.000000001Z",
            "2024-01-01T12:00:00Z",
        ];
        let kept: Vec<bool> = decide(&policy, &times)
            .into_iter()
            .map(|(keep, _)| keep)
            .collect();
        assert_eq!(kept, [true, true, true, false]);
    }

    #[test]
    fn rules_add_up_in_the_order_of_restic() {
        let policy = Policy {
            last: Count::AtMost(1),
            yearly: Count::Unlimited,
            within: Some("1h".parse().unwrap()),
            within_monthly: Some("1y".parse().unwrap()),
            tags: vec!["a".into(), "b".into(), "a,b".into()],
            ..Policy::default()
        };
        let group = vec![snapshot("2024-01-01T00:00:00Z", &["b", "a"])];
        let decisions = apply(&policy, group, time(NOW).timestamp).unwrap();
        let reasons: Vec<String> = decisions[0].reasons.iter().map(Reason::to_string).collect();
        assert_eq!(
            reasons,
            [
                "has tags [a]",
                "has tags [b]",
                "has tags [a, b]",
                "within 1h",
                "last snapshot",
                "yearly snapshot",
                "monthly within 1y"
            ]
        );
        assert_eq!(
            decisions[0].counters,
            Counters {
                yearly: Count::Unlimited,
                ..Counters::default()
            }
        );
    }

    #[test]
    fn order_of_input_does_not_matter_except_for_equal_times() {
        let policy = Policy {
            last: Count::AtMost(1),
            ..Policy::default()
        };
        let early = snapshot("2024-01-01T00:00:00Z", &[]);
        let late = [
            snapshot("2024-01-02T00:00:00Z", &["x"]),
            snapshot("2024-01-02T01:00:00+01:00", &["y"]),
        ];
        let group = vec![early, late[0].clone(), late[1].clone()];
        let decisions = apply(&policy, group, time(NOW).timestamp).unwrap();
        assert_eq!(decisions[0].snapshot, late[0]);
        assert_eq!(decisions[1].snapshot, late[1]);
        assert_eq!(decisions.iter().filter(|decision| decision.keep).count(), 1);
    }

    #[test]
    fn a_policy_that_keeps_nothing_is_refused() {
        let now = time(NOW).timestamp;
        let group = vec![snapshot("2024-01-01T00:00:00Z", &[])];
        assert_eq!(
            apply(&Policy::default(), group.clone(), now),
            Err(RetentionError::EmptyPolicy)
        );
        let policy = Policy {
            tags: vec!["a".into()],
            ..Policy::default()
        };
        assert_eq!(
            apply(&policy, group, now),
            Err(RetentionError::KeepsNothing { snapshots: 1 })
        );
        assert_eq!(apply(&policy, vec![], now), Ok(vec![]));
    }
}
