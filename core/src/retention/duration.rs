//! Spans of time in years, months, days and hours.

use std::{fmt, str::FromStr};

use super::RetentionError;
use crate::{
    civil::{CivilDate, SECONDS_PER_DAY, SECONDS_PER_HOUR},
    format::{Timestamp, ZonedTimestamp},
};

/// A span of time as people say it: a month is as long as the calendar makes it.
///
/// The text form is restic's, such as `1y5m7d2h`: any of the units, each after its number. `m` is months.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RetentionDuration {
    pub years: u32,
    pub months: u32,
    pub days: u32,
    pub hours: u32,
}

impl RetentionDuration {
    /// A policy with such a span is as one without it.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// The instant that lies this span before `time` by the calendar and the clocks of `time`'s own zone.
    ///
    /// Years and months go first. A day that the month so found does not have counts on into the next month, as in Go:
    /// one month before 31 March is 2 or 3 March.
    pub fn before(self, time: ZonedTimestamp) -> Timestamp {
        let local = time.local();
        let date = local.date;
        let month_count = date.year * 12 + i64::from(date.month) - 1;
        let month_count = month_count - i64::from(self.years) * 12 - i64::from(self.months);
        let first_of_month = CivilDate {
            year: month_count.div_euclid(12),
            month: month_count.rem_euclid(12) as u8 + 1,
            day: 1,
        };
        let days = first_of_month.days() + i64::from(date.day) - 1 - i64::from(self.days);
        let seconds = days
            .saturating_mul(SECONDS_PER_DAY)
            .saturating_add_unsigned(local.second_of_day)
            .saturating_sub(time.offset_seconds.into())
            .saturating_sub(i64::from(self.hours) * SECONDS_PER_HOUR);
        Timestamp::new(seconds, time.timestamp.nanos()).expect("the nanoseconds are those of a timestamp")
    }
}

impl FromStr for RetentionDuration {
    type Err = RetentionError;

    /// An empty text is a span of nothing. Where a unit comes twice, the last counts, as in restic.
    fn from_str(text: &str) -> Result<Self, RetentionError> {
        let invalid = |detail: &str| RetentionError::Invalid(format!("{text:?} is not a duration: {detail}"));
        let mut duration = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if rest.starts_with('-') {
                return Err(invalid("it must not be negative"));
            }
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = rest.split_at(digits);
            if number.is_empty() {
                return Err(invalid("a unit needs a number before it"));
            }
            let number = number.parse().map_err(|_| invalid("a number is too large"))?;
            let mut unit = unit.chars();
            match unit.next() {
                Some('y') => duration.years = number,
                Some('m') => duration.months = number,
                Some('d') => duration.days = number,
                Some('h') => duration.hours = number,
                _ => return Err(invalid("a number needs one of the units y, m, d, h after it")),
            }
            rest = unit.as_str();
        }
        Ok(duration)
    }
}

impl fmt::Display for RetentionDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, unit) in [
            (self.years, 'y'),
            (self.months, 'm'),
            (self.days, 'd'),
            (self.hours, 'h'),
        ] {
            if number != 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::civil::days_in_month;

    #[test]
    fn text_is_restics() {
        let parse = |text: &str| text.parse::<RetentionDuration>().ok();
        let duration = |years, months, days, hours| {
            Some(RetentionDuration {
                years,
                months,
                days,
                hours,
            })
        };
        assert_eq!(parse("1y5m7d2h"), duration(1, 5, 7, 2));
        assert_eq!(parse(" 2h1y "), duration(1, 0, 0, 2));
        assert_eq!(parse("1d2d"), duration(0, 0, 2, 0));
        assert_eq!(parse("007d"), duration(0, 0, 7, 0));
        assert_eq!(parse(""), duration(0, 0, 0, 0));
        for refused in [
            "1",
            "d",
            "1w",
            "-1d",
            "1d-2h",
            "1 d",
            "1d 2h",
            "4294967296d",
            "1ü",
            "y1",
            "1D",
        ] {
            assert_eq!(parse(refused), None, "{refused}");
        }
        assert_eq!(parse("2h1y").unwrap().to_string(), "1y2h");
        assert_eq!(RetentionDuration::default().to_string(), "");
    }

    /// Computed by Go: `t.AddDate(-years, -months, -days).Add(-hours)`.
    #[test]
    fn subtraction_is_that_of_go() {
        let facts = [
            ("2023-03-31T12:00:00Z", "0y1m0d0h", 1_677_844_800),
            ("2024-03-31T12:00:00Z", "0y1m0d0h", 1_709_380_800),
            ("2024-02-29T00:00:00Z", "1y0m0d0h", 1_677_628_800),
            ("2024-02-29T00:00:00Z", "4y0m0d0h", 1_582_934_400),
            ("2024-05-31T23:30:00+05:45", "0y3m0d0h", 1_709_401_500),
            ("2024-05-31T23:30:00-03:30", "1y3m40d30h", 1_674_334_800),
            ("2024-01-01T00:00:00Z", "0y0m0d1h", 1_704_063_600),
            ("2024-01-15T08:00:00Z", "0y13m0d0h", 1_671_091_200),
            ("2024-01-15T08:00:00Z", "0y25m400d5000h", 1_586_995_200),
            ("2024-12-31T23:59:59.999999999Z", "0y1m0d0h", 1_733_097_599),
            ("2024-10-31T00:00:00+13:00", "0y4m31d0h", 1_717_066_800),
            ("2000-03-01T00:00:00Z", "2000y0m0d0h", -62_162_035_200),
            ("2024-07-30T10:00:00Z", "0y5m0d0h", 1_709_287_200),
            ("2024-01-31T10:00:00Z", "0y11m0d0h", 1_677_837_600),
            ("2024-08-31T10:00:00Z", "0y6m1d1h", 1_709_283_600),
        ];
        for (time, duration, seconds) in facts {
            let before = duration
                .parse::<RetentionDuration>()
                .unwrap()
                .before(ZonedTimestamp::parse(time).unwrap());
            assert_eq!(before.seconds(), seconds, "{time} - {duration}");
        }
    }

    #[test]
    fn the_longest_span_before_the_earliest_time_is_still_a_time() {
        let longest = RetentionDuration {
            years: u32::MAX,
            months: u32::MAX,
            days: u32::MAX,
            hours: u32::MAX,
        };
        for seconds in [i64::MIN, 0, i64::MAX] {
            for offset_seconds in [i32::MIN, i32::MAX] {
                let timestamp = Timestamp::new(seconds, 0).unwrap();
                longest.before(ZonedTimestamp {
                    timestamp,
                    offset_seconds,
                });
            }
        }
    }

    proptest! {
        /// The reference goes back month by month and day by day instead of counting.
        #[test]
        fn subtraction_is_that_of_a_patient_person(
            year in 1970_i64..2100, month in 1..13_u8, day in 1..32_u8, second_of_day in 0..86_400_i64,
            years in 0..30_u32, months in 0..40_u32, days in 0..800_u32, hours in 0..100_u32,
        ) {
            let day = day.min(days_in_month(year, month));
            let start = CivilDate { year, month, day };
            let (mut at_year, mut at_month) = (year, month);
            for _ in 0..years * 12 + months {
                (at_year, at_month) = if at_month == 1 { (at_year - 1, 12) } else { (at_year, at_month - 1) };
            }
            let mut date = CivilDate { year: at_year, month: at_month, day };
            let length = days_in_month(at_year, at_month);
            if day > length {
                // Only February and the months of 30 days are too short, and January and those of 31 follow.
                date = CivilDate { year: at_year, month: at_month + 1, day: day - length };
            }
            for _ in 0..days {
                date = match (date.month, date.day) {
                    (1, 1) => CivilDate { year: date.year - 1, month: 12, day: 31 },
                    (month, 1) => {
                        CivilDate { year: date.year, month: month - 1, day: days_in_month(date.year, month - 1) }
                    }
                    (_, day) => CivilDate { day: day - 1, ..date },
                };
            }
            let seconds = |date: CivilDate| date.days() * 86_400 + second_of_day;
            let time = ZonedTimestamp::utc(Timestamp::new(seconds(start), 5).unwrap());
            let before = RetentionDuration { years, months, days, hours }.before(time);
            prop_assert_eq!(before, Timestamp::new(seconds(date) - i64::from(hours) * 3_600, 5).unwrap());
        }

        #[test]
        fn text_survives(years: u32, months: u32, days: u32, hours: u32) {
            let duration = RetentionDuration { years, months, days, hours };
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC*|[-0-9ymdh ]{0,30}") {
            let _ = text.parse::<RetentionDuration>();
        }
    }
}
