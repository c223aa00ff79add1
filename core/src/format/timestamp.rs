//! Times as restic stores them: RFC 3339 text as Go's `time.Time` writes and reads it.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer};

use super::{FormatError, go_json_read::StringVisitor};
use crate::civil::{CivilDate, SECONDS_PER_DAY, SECONDS_PER_HOUR, days_in_month};

const NANOS_PER_SECOND: u32 = 1_000_000_000;
/// Years that the text form can hold; restic moves others to the nearest of these.
const YEARS: std::ops::RangeInclusive<i64> = 0..=9_999;

/// An instant: seconds since 1970-01-01T00:00:00Z and nanoseconds after that second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    pub const UNIX_EPOCH: Self = Self { seconds: 0, nanos: 0 };
    /// 0001-01-01T00:00:00Z, which is what Go reads where a time is missing or `null`.
    pub const YEAR_ONE: Self = Self {
        seconds: -62_135_596_800,
        nanos: 0,
    };

    /// `nanos` counts forward from `seconds`, also before 1970, as in `struct timespec`.
    /// `None` if `nanos` is a second or more.
    pub const fn new(seconds: i64, nanos: u32) -> Option<Self> {
        if nanos < NANOS_PER_SECOND {
            Some(Self { seconds, nanos })
        } else {
            None
        }
    }

    /// Seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds since [`Self::seconds`], less than a thousand million.
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// Appends the text form for a place whose clocks are `offset_seconds` ahead of UTC.
    pub(crate) fn write(self, offset_seconds: i32, out: &mut Vec<u8>) {
        let local = LocalTime::of(self, offset_seconds);
        // A leap day becomes 1 March where the clamped year has none: Go's date arithmetic does the same.
        let year = local.date.year.clamp(*YEARS.start(), *YEARS.end());
        let date = CivilDate::from_days(CivilDate { year, ..local.date }.days());
        write_digits(out, date.year as u64, 4);
        out.push(b'-');
        write_digits(out, date.month.into(), 2);
        out.push(b'-');
        write_digits(out, date.day.into(), 2);
        out.push(b'T');
        write_digits(out, local.second_of_day / 3_600, 2);
        out.push(b':');
        write_digits(out, local.second_of_day / 60 % 60, 2);
        out.push(b':');
        write_digits(out, local.second_of_day % 60, 2);
        if self.nanos != 0 {
            out.push(b'.');
            write_digits(out, self.nanos.into(), 9);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        if offset_seconds == 0 {
            out.push(b'Z');
            return;
        }
        // Offsets of the nineteenth century had seconds: the text form drops them.
        let minutes = offset_seconds / 60;
        out.push(if minutes < 0 { b'-' } else { b'+' });
        write_digits(out, u64::from(minutes.unsigned_abs() / 60), 2);
        out.push(b':');
        write_digits(out, u64::from(minutes.unsigned_abs() % 60), 2);
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ZonedTimestamp::utc(*self).fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An instant together with what the clocks showed where it was written down.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZonedTimestamp {
    pub timestamp: Timestamp,
    /// Seconds that those clocks were ahead of UTC; text from outside gives at most 25 hours either way.
    pub offset_seconds: i32,
}

impl ZonedTimestamp {
    /// See [`Timestamp::YEAR_ONE`].
    pub const YEAR_ONE: Self = Self::utc(Timestamp::YEAR_ONE);

    pub const fn utc(timestamp: Timestamp) -> Self {
        Self {
            timestamp,
            offset_seconds: 0,
        }
    }

    /// Reads what Go's decoder reads, which is a little more than what its encoder writes: a comma before the
    /// fraction, an hour of one digit, and offsets up to 24 hours and 60 minutes. Digits of the fraction after
    /// the ninth are dropped.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Reader(text.as_bytes())
            .timestamp()
            .ok_or_else(|| FormatError::malformed("a time is not in the form 2006-01-02T15:04:05Z"))
    }

    pub(crate) fn local(self) -> LocalTime {
        LocalTime::of(self.timestamp, self.offset_seconds)
    }
}

impl fmt::Display for ZonedTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(35);
        self.timestamp.write(self.offset_seconds, &mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for ZonedTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for ZonedTimestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(StringVisitor(|text: Cow<'_, str>| {
            Self::parse(&text).map_err(|error| error.to_string())
        }))
    }
}

/// What a calendar and a clock show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalTime {
    pub date: CivilDate,
    /// Below 86 400.
    pub second_of_day: u64,
}

impl LocalTime {
    fn of(timestamp: Timestamp, offset_seconds: i32) -> Self {
        let seconds = timestamp.seconds.saturating_add(offset_seconds.into());
        Self {
            date: CivilDate::from_days(seconds.div_euclid(SECONDS_PER_DAY)),
            second_of_day: seconds.rem_euclid(SECONDS_PER_DAY).unsigned_abs(),
        }
    }
}

fn write_digits(out: &mut Vec<u8>, value: u64, count: u32) {
    for place in (0..count).rev() {
        out.push(b'0' + (value / 10_u64.pow(place) % 10) as u8);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn timestamp(&mut self) -> Option<ZonedTimestamp> {
        let year = self.digits(4)?;
        self.expect(b'-')?;
        let month = self.digits(2).filter(|month| (1..=12).contains(month))? as u8;
        self.expect(b'-')?;
        let day = self.digits(2)? as u8;
        if day == 0 || day > days_in_month(year, month) {
            return None;
        }
        self.expect(b'T')?;
        let hour = match self.0 {
            [_, b':', ..] => self.digits(1)?,
            _ => self.digits(2)?,
        };
        self.expect(b':')?;
        let minute = self.digits(2)?;
        self.expect(b':')?;
        let second = self.digits(2)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let nanos = self.fraction();
        let offset_seconds = self.offset()?;
        if !self.0.is_empty() {
            return None;
        }
        let seconds = CivilDate { year, month, day }.days() * SECONDS_PER_DAY
            + hour * SECONDS_PER_HOUR
            + minute * 60
            + second;
        Some(ZonedTimestamp {
            timestamp: Timestamp::new(seconds - i64::from(offset_seconds), nanos)?,
            offset_seconds,
        })
    }

    /// Nanoseconds; zero if no fraction follows. Consumes all its digits.
    fn fraction(&mut self) -> u32 {
        let [b'.' | b',', rest @ ..] = self.0 else {
            return 0;
        };
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return 0;
        }
        self.0 = &rest[length..];
        let digits = rest[..length].iter().chain(std::iter::repeat(&b'0'));
        digits
            .take(9)
            .fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'))
    }

    fn offset(&mut self) -> Option<i32> {
        if self.expect(b'Z').is_some() {
            return Some(0);
        }
        let sign = if self.expect(b'-').is_some() {
            -1
        } else {
            self.expect(b'+')?;
            1
        };
        let hours = self.digits(2).filter(|hours| *hours <= 24)? as i32;
        self.expect(b':')?;
        let minutes = self.digits(2).filter(|minutes| *minutes <= 60)? as i32;
        Some(sign * (hours * 60 + minutes) * 60)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |value, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        })
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let rest = self.0.strip_prefix(&[byte])?;
        self.0 = rest;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(seconds: i64, nanos: u32, offset_seconds: i32) -> String {
        let timestamp = Timestamp::new(seconds, nanos).unwrap();
        ZonedTimestamp {
            timestamp,
            offset_seconds,
        }
        .to_string()
    }

    #[test]
    fn text_is_what_go_writes() {
        assert_eq!(written(1_700_000_000, 500_000_000, 0), "2023-11-14T22:13:20.5Z");
        assert_eq!(written(1_700_000_000, 0, 7_200), "2023-11-15T00:13:20+02:00");
        assert_eq!(
            written(1_700_000_000, 1_000, -12_600),
            "2023-11-14T18:43:20.000001-03:30"
        );
        assert_eq!(written(-1, 999_999_999, 0), "1969-12-31T23:59:59.999999999Z");
        // Local mean time: the clocks' seconds are right, the offset has lost its own.
        assert_eq!(written(-3_000_000_000, 0, 3_208), "1874-12-07T19:33:28+00:53");
        assert_eq!(written(0, 0, 30), "1970-01-01T00:00:30+00:00");
        assert_eq!(Timestamp::YEAR_ONE.to_string(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn years_outside_of_the_text_form_are_moved_into_it() {
        assert_eq!(written(253_402_300_800, 7, 0), "9999-01-01T00:00:00.000000007Z");
        assert_eq!(written(253_402_300_799, 0, 3_600), "9999-01-01T00:59:59+01:00");
        // 29 February of the years 12000 and -4.
        assert_eq!(written(316_521_302_400, 0, 0), "9999-03-01T00:00:00Z");
        assert_eq!(written(-62_288_352_000, 0, 0), "0000-02-29T00:00:00Z");
        for seconds in [i64::MIN, i64::MAX] {
            for offset_seconds in [i32::MIN, 0, i32::MAX] {
                written(seconds, 0, offset_seconds);
            }
        }
    }

    #[test]
    fn reading_follows_go() {
        let accepted = [
            ("2024-07-01T12:00:00Z", 1_719_835_200, 0, 0),
            ("2024-07-01T12:00:00+02:00", 1_719_828_000, 0, 7_200),
            ("2024-07-01T12:00:00,25Z", 1_719_835_200, 250_000_000, 0),
            ("2024-07-01T12:00:00.1234567899Z", 1_719_835_200, 123_456_789, 0),
            ("2024-07-01T1:00:00Z", 1_719_795_600, 0, 0),
            ("2024-07-01T12:00:00-00:00", 1_719_835_200, 0, 0),
            ("2024-07-01T12:00:00+24:60", 1_719_745_200, 0, 90_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200, 0, 0),
            ("2024-02-29T00:00:00Z", 1_709_164_800, 0, 0),
        ];
        for (text, seconds, nanos, offset_seconds) in accepted {
            let expected = ZonedTimestamp {
                timestamp: Timestamp::new(seconds, nanos).unwrap(),
                offset_seconds,
            };
            assert_eq!(ZonedTimestamp::parse(text), Ok(expected), "{text}");
        }
        let refused = [
            "",
            "2024-07-01",
            "2024-07-01T12:00:00",
            "2024-07-01t12:00:00Z",
            "2024-07-01T12:00:00z",
            "2024-07-01 12:00:00Z",
            "2024-07-01T24:00:00Z",
            "2024-07-01T12:60:00Z",
            "2024-07-01T12:00:60Z",
            "2024-07-01T12:00Z",
            "2024-07-01T12:0:00Z",
            "2024-7-01T12:00:00Z",
            "2024-13-01T12:00:00Z",
            "2024-00-01T12:00:00Z",
            "2024-07-00T12:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-07-01T12:00:00.Z",
            "2024-07-01T12:00:00+0200",
            "2024-07-01T12:00:00+25:00",
            "2024-07-01T12:00:00+00:61",
            "2024-07-01T12:00:00+2:00",
            "2024-07-01T12:00:00Zx",
            "12024-07-01T12:00:00Z",
            "-024-07-01T12:00:00Z",
        ];
        for text in refused {
            assert!(ZonedTimestamp::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in -62_167_219_200_i64 + 90_000..253_402_300_800 - 90_000,
                                   nanos in 0..NANOS_PER_SECOND, minutes in -1_439..1_440_i32) {
            let written = ZonedTimestamp {
                timestamp: Timestamp::new(seconds, nanos).unwrap(),
                offset_seconds: minutes * 60,
            };
            prop_assert_eq!(ZonedTimestamp::parse(&written.to_string()), Ok(written));
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC*|[-0-9T:.,Z+]{0,40}") {
            let _ = ZonedTimestamp::parse(&text);
        }
    }
}
