//! What a person asks to be kept, and the reasons that follow from it.

use std::{fmt, str::FromStr};

use super::{RetentionDuration, RetentionError, TagList};

/// How many snapshots a rule keeps. The text form is a number, or `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    AtMost(u32),
    Unlimited,
}

impl Count {
    pub const NONE: Self = Self::AtMost(0);

    pub(super) fn is_used_up(self) -> bool {
        self == Self::NONE
    }

    pub(super) fn use_one(&mut self) {
        if let Self::AtMost(count) = self {
            *count = count.saturating_sub(1);
        }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::NONE
    }
}

impl FromStr for Count {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, RetentionError> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        text.parse().map(Self::AtMost).map_err(|_| {
            RetentionError::Invalid(format!(
                "{text:?} is not a number of snapshots; for all of them say \"unlimited\""
            ))
        })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(count) => count.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// What to keep of a group of snapshots; what no rule keeps is let go.
///
/// A rule for hours, days and so on keeps the newest snapshot of each, as far as its count goes. Rules with a duration
/// count back from the newest snapshot of the group that is not in the future.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub last: Count,
    pub hourly: Count,
    pub daily: Count,
    /// Weeks begin on Monday.
    pub weekly: Count,
    pub monthly: Count,
    pub yearly: Count,
    pub within: Option<RetentionDuration>,
    pub within_hourly: Option<RetentionDuration>,
    pub within_daily: Option<RetentionDuration>,
    pub within_weekly: Option<RetentionDuration>,
    pub within_monthly: Option<RetentionDuration>,
    pub within_yearly: Option<RetentionDuration>,
    /// Snapshots that match any of these are kept.
    pub tags: Vec<TagList>,
}

impl Policy {
    /// Whether no rule is set. A count or duration of zero is as none.
    pub fn is_empty(&self) -> bool {
        let counts = [
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ];
        let durations = [
            self.within,
            self.within_hourly,
            self.within_daily,
            self.within_weekly,
            self.within_monthly,
            self.within_yearly,
        ];
        self.tags.is_empty()
            && counts.iter().all(|count| count.is_used_up())
            && durations.iter().flatten().all(|duration| duration.is_zero())
    }
}

/// How long the stretch is of which a rule keeps one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// Every snapshot is one of its own.
    Each,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    fn adjective(self) -> &'static str {
        match self {
            Self::Each => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

/// Why a snapshot is kept. Displayed as restic words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    HasTags(TagList),
    Within(RetentionDuration),
    /// It is the newest of its period.
    Newest(Period),
    /// It is the oldest of all, and its rule has some count left: history reaches back as far as it can.
    Oldest(Period),
    NewestWithin(Period, RetentionDuration),
    OldestWithin(Period, RetentionDuration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasTags(tags) => write!(f, "has tags {tags}"),
            Self::Within(duration) => write!(f, "within {duration}"),
            Self::Newest(period) => write!(f, "{} snapshot", period.adjective()),
            Self::Oldest(period) => write!(f, "oldest {} snapshot", period.adjective()),
            Self::NewestWithin(period, duration) => write!(f, "{} within {duration}", period.adjective()),
            Self::OldestWithin(period, duration) => {
                write!(f, "oldest {} within {duration}", period.adjective())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_numbers_or_unlimited() {
        assert_eq!("12".parse(), Ok(Count::AtMost(12)));
        assert_eq!("0".parse(), Ok(Count::NONE));
        assert_eq!("unlimited".parse(), Ok(Count::Unlimited));
        for refused in ["-1", "", "all", "1.5", " 1"] {
            assert!(refused.parse::<Count>().is_err(), "{refused}");
        }
        assert_eq!(Count::Unlimited.to_string(), "unlimited");
        assert_eq!(Count::AtMost(3).to_string(), "3");
    }

    #[test]
    fn a_policy_is_empty_until_a_rule_says_something() {
        let mut policy = Policy {
            within_daily: Some(RetentionDuration::default()),
            ..Policy::default()
        };
        assert!(policy.is_empty());
        policy.weekly = Count::Unlimited;
        assert!(!policy.is_empty());
        let tagged = Policy {
            tags: vec!["a".into()],
            ..Policy::default()
        };
        assert!(!tagged.is_empty());
    }

    #[test]
    fn reasons_read_as_in_restic() {
        let week = "7d".parse().unwrap();
        for (reason, text) in [
            (Reason::HasTags("a,b".into()), "has tags [a, b]"),
            (Reason::Within(week), "within 7d"),
            (Reason::Newest(Period::Each), "last snapshot"),
            (Reason::Oldest(Period::Hour), "oldest hourly snapshot"),
            (Reason::NewestWithin(Period::Day, week), "daily within 7d"),
            (
                Reason::OldestWithin(Period::Year, week),
                "oldest yearly within 7d",
            ),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }
}
