//! Local days, months and quiet hours; and the spreading of moments over a fleet.
//!
//! A time zone that is unknown to this device is UTC. Days are counted from 1970-01-01 by the clocks of the zone, so a day that summer time makes
//! shorter or longer is still one day.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, date},
    tz::{AmbiguousOffset, TimeZone},
};

use super::{
    conditions::Conditions,
    policy::{Policy, QuietHours},
};
use crate::civil::CivilDate;

/// The last moment that is told apart from later ones: what a broken clock says beyond is this.
const LATEST_MS: i64 = 253_370_764_800_000;

/// The clocks where the phone is.
#[derive(Debug, Clone)]
pub(crate) struct Local(TimeZone);

impl Local {
    /// The zone that the host named, or else the last that was known. `None` where neither is a zone.
    pub(crate) fn known(conditions: &Conditions, last: Option<&str>) -> Option<Self> {
        let named = [conditions.time_zone.as_deref(), last];
        let mut zones = named
            .into_iter()
            .flatten()
            .filter_map(|name| TimeZone::get(name).ok());
        zones.next().map(Self)
    }

    pub(crate) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    fn clock(&self, at_ms: i64) -> DateTime {
        let instant = Timestamp::from_millisecond(at_ms.clamp(0, LATEST_MS));
        self.0.to_datetime(instant.unwrap_or(Timestamp::UNIX_EPOCH))
    }

    pub(crate) fn time(&self, at_ms: i64) -> Time {
        self.clock(at_ms).time()
    }

    /// Days since 1970-01-01.
    pub(crate) fn day(&self, at_ms: i64) -> i32 {
        day_of(self.clock(at_ms).date())
    }

    /// The first moment of the day after `day`.
    pub(crate) fn next_day_ms(&self, day: i32) -> i64 {
        self.instant(date_of(day.saturating_add(1)).at(0, 0, 0, 0), i64::MIN)
    }

    /// The day on which the month of allowances began that `day` is in.
    pub(crate) fn month_start(day: i32, begins_on: i8) -> i32 {
        let begins_on = begins_on.clamp(1, 28);
        let today = date_of(day);
        let (year, month) = if today.day() >= begins_on {
            (today.year(), today.month())
        } else if today.month() == 1 {
            (today.year() - 1, 12)
        } else {
            (today.year(), today.month() - 1)
        };
        Date::new(year, month, begins_on).map_or(day, day_of)
    }

    /// The first moment of the month of allowances after the one that `day` is in.
    pub(crate) fn next_month_ms(&self, day: i32, begins_on: i8) -> i64 {
        // A month has at most 31 days, and two of them at least 59.
        let start = Self::month_start(Self::month_start(day, begins_on).saturating_add(32), begins_on);
        self.next_day_ms(start - 1)
    }

    /// The first moment from `at_ms` on that is in none of the quiet hours; `None` if `at_ms` is in none.
    pub(crate) fn quiet_until_ms(&self, policy: &Policy, at_ms: i64) -> Option<i64> {
        let mut until_ms = at_ms;
        // Each may end within the next, and after midnight within the first again.
        for _ in 0..=policy.quiet.len() * 2 {
            let time = self.time(until_ms);
            let Some(hours) = policy.quiet.iter().find(|hours| hours.contains(time)) else {
                break;
            };
            until_ms = self.end_ms(hours, until_ms);
        }
        (until_ms > at_ms).then_some(until_ms)
    }

    /// When the hours end in which `at_ms` is.
    fn end_ms(&self, hours: &QuietHours, at_ms: i64) -> i64 {
        let now = self.clock(at_ms);
        let date = if now.time() < hours.until {
            now.date()
        } else {
            now.date().tomorrow().unwrap_or(now.date())
        };
        self.instant(date.to_datetime(hours.until), at_ms)
    }

    /// The instant at which the clocks show `clock`: the first, or the second if the first is not after `after_ms`. Where summer time skips it,
    /// the instant of the skip.
    fn instant(&self, clock: DateTime, after_ms: i64) -> i64 {
        let zoned = self.0.to_ambiguous_zoned(clock);
        let is_gap = matches!(zoned.offset(), AmbiguousOffset::Gap { .. });
        let first = zoned.clone().earlier().map(|zoned| zoned.timestamp());
        let later = zoned.later().map(|zoned| zoned.timestamp().as_millisecond());
        match first {
            Ok(first) if is_gap => {
                let skip = self.0.following(first).next();
                skip.map_or(LATEST_MS, |skip| skip.timestamp().as_millisecond())
            }
            Ok(first) if first.as_millisecond() > after_ms => first.as_millisecond(),
            _ => later.unwrap_or(LATEST_MS),
        }
    }
}

fn day_of(date: Date) -> i32 {
    let days = CivilDate {
        year: date.year().into(),
        month: date.month().unsigned_abs(),
        day: date.day().unsigned_abs(),
    };
    i32::try_from(days.days()).unwrap_or(i32::MAX)
}

fn date_of(day: i32) -> Date {
    let found = CivilDate::from_days(day.into());
    let year = i16::try_from(found.year).unwrap_or(i16::MAX);
    // Beyond the years of a calendar there is nothing to tell apart.
    Date::new(year, found.month.cast_signed(), found.day.cast_signed()).unwrap_or(date(9999, 1, 1))
}

/// A number below `below` that is always the same for the same install and purpose, and evenly spread over installs.
pub(crate) fn spread(install: u64, purpose: u64, below: i64) -> i64 {
    let hash = mix(install ^ mix(purpose));
    match u64::try_from(below) {
        Ok(below) if below > 0 => i64::try_from(hash % below).unwrap_or(0),
        _ => 0,
    }
}

/// A bijection whose output bits depend on all input bits (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Local {
        Local(TimeZone::get("Europe/Berlin").unwrap())
    }

    fn ms(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    fn quiet(from: &str, until: &str) -> Policy {
        Policy {
            quiet: vec![QuietHours {
                from: from.parse().unwrap(),
                until: until.parse().unwrap(),
            }],
            ..Policy::default()
        }
    }

    #[test]
    fn days_are_those_of_the_zone_also_when_the_clocks_change() {
        // 23 hours long, then 25.
        for (day, hours) in [
            ("2026-03-29T00:30:00+01:00", 23),
            ("2026-10-25T00:30:00+02:00", 25),
        ] {
            let day = berlin().day(ms(day));
            let length = berlin().next_day_ms(day) - berlin().next_day_ms(day - 1);
            assert_eq!(length, hours * 3_600_000);
        }
        assert_eq!(Local::utc().day(0), 0);
        assert_eq!(
            berlin().day(ms("2026-01-01T23:30:00Z")),
            Local::utc().day(ms("2026-01-02T00:00:00Z"))
        );
    }

    #[test]
    fn months_begin_on_their_day() {
        let day = |text: &str| Local::utc().day(ms(text));
        for (today, begins_on, start, next) in [
            (
                "2026-03-01T00:00:00Z",
                1,
                "2026-03-01T00:00:00Z",
                "2026-04-01T00:00:00Z",
            ),
            (
                "2026-03-14T09:00:00Z",
                15,
                "2026-02-15T00:00:00Z",
                "2026-03-15T00:00:00Z",
            ),
            (
                "2026-01-02T09:00:00Z",
                28,
                "2025-12-28T00:00:00Z",
                "2026-01-28T00:00:00Z",
            ),
            (
                "2028-02-29T09:00:00Z",
                1,
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
        ] {
            assert_eq!(Local::month_start(day(today), begins_on), day(start), "{today}");
            assert_eq!(
                Local::utc().next_month_ms(day(today), begins_on),
                ms(next),
                "{today}"
            );
        }
    }

    #[test]
    fn quiet_hours_end_once_whatever_the_clocks_do() {
        let night = quiet("22:00", "06:00");
        let at = ms("2026-06-01T23:00:00+02:00");
        assert_eq!(
            berlin().quiet_until_ms(&night, at),
            Some(ms("2026-06-02T06:00:00+02:00"))
        );
        assert_eq!(
            berlin().quiet_until_ms(&night, ms("2026-06-02T06:00:00+02:00")),
            None
        );
        // The hour from two to three comes twice; the second half past two ends the second stretch.
        let short = quiet("01:00", "02:30");
        let first = berlin().quiet_until_ms(&short, ms("2026-10-25T01:30:00+02:00"));
        assert_eq!(first, Some(ms("2026-10-25T02:30:00+02:00")));
        let second = berlin().quiet_until_ms(&short, ms("2026-10-25T02:10:00+01:00"));
        assert_eq!(second, Some(ms("2026-10-25T02:30:00+01:00")));
        // Half past two does not exist on this day.
        let gap = berlin()
            .quiet_until_ms(&short, ms("2026-03-29T01:30:00+01:00"))
            .unwrap();
        assert_eq!(
            gap,
            ms("2026-03-29T03:00:00+02:00"),
            "the clocks leave the quiet hours at three"
        );
    }

    #[test]
    fn quiet_hours_that_touch_are_left_together() {
        let mut both = quiet("22:00", "02:00");
        both.quiet.extend(quiet("02:00", "06:00").quiet);
        let at = ms("2026-06-01T23:00:00Z");
        assert_eq!(
            Local::utc().quiet_until_ms(&both, at),
            Some(ms("2026-06-02T06:00:00Z"))
        );
    }

    #[test]
    fn any_moment_has_a_day() {
        for at in [i64::MIN, -1, 0, LATEST_MS, i64::MAX] {
            let day = berlin().day(at);
            assert!(berlin().next_day_ms(day) > 0);
            assert!(berlin().next_month_ms(day, 1) > 0);
        }
    }

    #[test]
    fn a_fleet_is_spread_evenly_and_each_phone_always_alike() {
        let mut counts = [0; 10];
        for install in 0..10_000 {
            let place = spread(install, 7, 1000);
            assert_eq!(place, spread(install, 7, 1000));
            counts[(place / 100) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
        assert_eq!(spread(5, 5, 0), 0);
    }
}
