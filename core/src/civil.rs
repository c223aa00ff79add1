//! Dates of the proleptic Gregorian calendar as day counts, for years far beyond what people use.
//!
//! A damaged file system reports any number as a time, and restic stores it. So these functions take any year
//! and any second, where a calendar library would refuse.

pub(crate) const SECONDS_PER_DAY: i64 = 86_400;
pub(crate) const SECONDS_PER_HOUR: i64 = 3_600;

/// Days in 400 years, after which the calendar repeats.
const DAYS_PER_CYCLE: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

/// A date. `month` is 1 to 12, `day` is 1 to 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CivilDate {
    pub year: i64,
    pub month: u8,
    pub day: u8,
}

impl CivilDate {
    /// The date that lies `days` after 1970-01-01.
    ///
    /// `days` is at most what an `i64` of seconds can hold, so nothing here overflows.
    pub fn from_days(days: i64) -> Self {
        // Years are counted from 1 March: the leap day is then the last of its year.
        let days = days + DAYS_TO_EPOCH;
        let cycle = days.div_euclid(DAYS_PER_CYCLE);
        let in_cycle = days.rem_euclid(DAYS_PER_CYCLE);
        let year_in_cycle = (in_cycle - in_cycle / 1_460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
        let in_year = in_cycle - days_before_year(year_in_cycle);
        let month_from_march = (5 * in_year + 2) / 153;
        let day = in_year - days_before_month(month_from_march) + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            year: cycle * 400 + year_in_cycle + i64::from(month <= 2),
            month: month as u8,
            day: day as u8,
        }
    }

    /// Days after 1970-01-01. A day that its month does not have counts on into the next month, as in Go.
    pub fn days(self) -> i64 {
        let month = i64::from(self.month);
        let year = self.year - i64::from(month <= 2);
        let month_from_march = (month + 9) % 12;
        let cycle = year.div_euclid(400);
        let in_year = days_before_month(month_from_march) + i64::from(self.day) - 1;
        cycle * DAYS_PER_CYCLE + days_before_year(year.rem_euclid(400)) + in_year - DAYS_TO_EPOCH
    }

    /// Monday is 0.
    fn weekday(self) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.days() + 3).rem_euclid(7)
    }

    /// Year and number (1 to 53) of the ISO 8601 week, which belongs to the year of its Thursday.
    pub fn iso_week(self) -> (i64, u8) {
        let thursday = self.days() - self.weekday() + 3;
        let year = Self::from_days(thursday).year;
        let first_of_january = Self {
            year,
            month: 1,
            day: 1,
        }
        .days();
        (year, ((thursday - first_of_january) / 7 + 1) as u8)
    }
}

/// Days from 1 March of year 0 of a cycle to 1 March of `year` of that cycle (0 to 399).
fn days_before_year(year: i64) -> i64 {
    year * 365 + year / 4 - year / 100
}

/// Days from 1 March to the first day of the month that is `month` months after March (0 to 11).
fn days_before_month(month: i64) -> i64 {
    (153 * month + 2) / 5
}

/// Days of a month (1 to 12).
pub(crate) fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_day_of_a_cycle_is_counted_as_by_walking_through_it() {
        let mut expected = CivilDate {
            year: 1999,
            month: 12,
            day: 31,
        };
        let first = expected.days();
        assert_eq!(first, 10_956);
        for days in first..first + DAYS_PER_CYCLE + 2 {
            assert_eq!(CivilDate::from_days(days), expected);
            assert_eq!(expected.days(), days);
            if expected.day < days_in_month(expected.year, expected.month) {
                expected.day += 1;
            } else if expected.month < 12 {
                (expected.month, expected.day) = (expected.month + 1, 1);
            } else {
                expected = CivilDate {
                    year: expected.year + 1,
                    month: 1,
                    day: 1,
                };
            }
        }
    }

    #[test]
    fn the_largest_and_smallest_times_have_dates() {
        for days in [i64::MIN / SECONDS_PER_DAY - 1, i64::MAX / SECONDS_PER_DAY] {
            assert_eq!(CivilDate::from_days(days).days(), days);
        }
    }

    proptest! {
        #[test]
        fn dates_and_weeks_agree_with_another_calendar(days in -4_371_587_i64..2_932_896) {
            let date = CivilDate::from_days(days);
            let other = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap();
            prop_assert_eq!(date.year, i64::from(other.year()));
            prop_assert_eq!((date.month, date.day), (other.month() as u8, other.day() as u8));
            let week = other.iso_week_date();
            prop_assert_eq!(date.iso_week(), (i64::from(week.year()), week.week() as u8));
        }
    }
}
