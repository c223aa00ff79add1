//! Retention as people write it into a policy: restic's words, each a text as on restic's command line.

use serde::{Deserialize, Serialize};

use crate::retention::{self, Count, RetentionDuration, RetentionError};

/// What `forget` keeps. Counts are numbers or `unlimited`, durations such as `1y5m7d2h`; empty texts are no rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keep {
    pub last: String,
    pub hourly: String,
    pub daily: String,
    pub weekly: String,
    pub monthly: String,
    pub yearly: String,
    pub within: String,
    pub within_hourly: String,
    pub within_daily: String,
    pub within_weekly: String,
    pub within_monthly: String,
    pub within_yearly: String,
    /// Each a list of tags, joined by commas: snapshots that have all of one list are kept.
    pub tags: Vec<String>,
}

impl Default for Keep {
    fn default() -> Self {
        let none = String::new;
        Self {
            last: "3".into(),
            hourly: none(),
            daily: "14".into(),
            weekly: "8".into(),
            monthly: "12".into(),
            yearly: none(),
            within: none(),
            within_hourly: none(),
            within_daily: none(),
            within_weekly: none(),
            within_monthly: none(),
            within_yearly: none(),
            tags: Vec::new(),
        }
    }
}

impl Keep {
    /// The same for `retention::apply`. Refused when a text cannot be read, or nothing would be kept.
    pub fn policy(&self) -> Result<retention::Policy, RetentionError> {
        let policy = retention::Policy {
            last: count(&self.last)?,
            hourly: count(&self.hourly)?,
            daily: count(&self.daily)?,
            weekly: count(&self.weekly)?,
            monthly: count(&self.monthly)?,
            yearly: count(&self.yearly)?,
            within: duration(&self.within)?,
            within_hourly: duration(&self.within_hourly)?,
            within_daily: duration(&self.within_daily)?,
            within_weekly: duration(&self.within_weekly)?,
            within_monthly: duration(&self.within_monthly)?,
            within_yearly: duration(&self.within_yearly)?,
            tags: self.tags.iter().map(|tags| tags.as_str().into()).collect(),
        };
        if policy.is_empty() {
            return Err(RetentionError::EmptyPolicy);
        }
        Ok(policy)
    }
}

fn count(text: &str) -> Result<Count, RetentionError> {
    if text.is_empty() {
        Ok(Count::NONE)
    } else {
        text.parse()
    }
}

fn duration(text: &str) -> Result<Option<RetentionDuration>, RetentionError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_rules_and_nothing_at_all_is_refused() {
        let policy = Keep::default().policy().unwrap();
        assert_eq!((policy.last, policy.daily), (Count::AtMost(3), Count::AtMost(14)));
        assert_eq!(policy.yearly, Count::NONE);
        let nothing: Keep =
            serde_json::from_str(r#"{"last": "", "daily": "0", "weekly": "", "monthly": ""}"#).unwrap();
        assert_eq!(nothing.policy(), Err(RetentionError::EmptyPolicy));
        let forever: Keep = serde_json::from_str(r#"{"within-daily": "1y2m", "last": "unlimited"}"#).unwrap();
        let forever = forever.policy().unwrap();
        assert_eq!(forever.last, Count::Unlimited);
        assert_eq!(forever.within_daily, Some("1y2m".parse().unwrap()));
    }
}
