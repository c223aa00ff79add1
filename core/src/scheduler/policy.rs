//! What the owner of the data wishes: how fresh, at what price, and when not. Plain records, each with a default that suits a phone.
//!
//! A rule is hard (`never`, `require`, an allowance) or a wish (`prefer`, `when-late`): a wish is waited for as long as the backup is fresher than the
//! objective, and given up then. So a policy of wishes alone cannot starve a backup.

use jiff::civil::Time;
use serde::{Deserialize, Serialize};

use super::{conditions::NetworkClass, keep::Keep};

const MINUTE_MS: i64 = 60_000;

/// When to back up, and what it may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The objective: the newest complete snapshot should not be older than this. A new one is due at half of it.
    pub fresh_minutes: u32,
    /// Older than this, and the host is alarmed.
    pub stale_minutes: u32,
    pub power: PowerRules,
    pub network: NetworkRules,
    /// Local times in which nothing is begun.
    pub quiet: Vec<QuietHours>,
    /// Free space on the phone that is left to others.
    pub free_space_reserve_bytes: u64,
    /// Whatever a clock begins is spread over this long, so that a fleet does not wake at once.
    pub jitter_minutes: u32,
    pub window: WindowRules,
    /// What to do while the phone is locked and some files cannot be read.
    pub when_locked: Wish,
    /// What `forget` keeps.
    pub keep: Keep,
    /// Days between two runs of each upkeep; zero is never.
    pub forget_days: u32,
    pub verify_days: u32,
    pub prune_days: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            fresh_minutes: 24 * 60,
            stale_minutes: 3 * 24 * 60,
            power: PowerRules::default(),
            network: NetworkRules::default(),
            quiet: Vec::new(),
            free_space_reserve_bytes: 256 << 20,
            jitter_minutes: 30,
            window: WindowRules::default(),
            when_locked: Wish::Ignore,
            keep: Keep::default(),
            forget_days: 7,
            verify_days: 14,
            prune_days: 30,
        }
    }
}

impl Policy {
    pub fn fresh_ms(&self) -> i64 {
        i64::from(self.fresh_minutes) * MINUTE_MS
    }

    /// Never before the objective: an alarm about a backup that is as wished would be noise.
    pub fn stale_ms(&self) -> i64 {
        (i64::from(self.stale_minutes) * MINUTE_MS).max(self.fresh_ms())
    }

    /// The age at which the next backup is due: half the objective, so that the other half remains to find a good moment.
    pub fn due_ms(&self) -> i64 {
        self.fresh_ms() / 2
    }

    pub fn jitter_ms(&self) -> i64 {
        i64::from(self.jitter_minutes) * MINUTE_MS
    }

    /// What is wrong with the policy, in words; nothing if it can be used.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.fresh_minutes == 0 {
            found.push("fresh_minutes is 0: a backup cannot be fresher than now".to_owned());
        }
        if self.stale_minutes < self.fresh_minutes {
            found.push(
                "stale_minutes is less than fresh_minutes: the alarm would precede the objective".to_owned(),
            );
        }
        if self.power.battery_floor_percent > 100 {
            found.push("battery_floor_percent is more than 100".to_owned());
        }
        if !(1..=28).contains(&self.network.month_begins_on) {
            found.push("month_begins_on must be 1 to 28, a day that every month has".to_owned());
        }
        if self.window.most_seconds == 0 || self.window.least_seconds > self.window.most_seconds {
            found.push("window: most_seconds must be at least 1 and least_seconds".to_owned());
        }
        if NetworkClass::ALL
            .iter()
            .all(|class| self.network.class(*class).is_closed())
        {
            found.push("network: no class is allowed any bytes, so nothing can ever be sent".to_owned());
        }
        if self.quiet.iter().any(|hours| hours.from == hours.until) {
            found.push("quiet: from and until are the same, which would be no time or all".to_owned());
        }
        if self.is_always_quiet() {
            found.push("quiet: the hours cover the whole day, so nothing could ever begin".to_owned());
        }
        if let Err(error) = self.keep.policy() {
            found.push(format!("keep: {error}"));
        }
        found
    }

    fn is_always_quiet(&self) -> bool {
        let minute = |minute: i16| {
            let time = Time::constant(0, 0, 0, 0);
            time.wrapping_add(jiff::SignedDuration::from_mins(i64::from(minute)))
        };
        !self.quiet.is_empty()
            && (0..24 * 60).all(|at| self.quiet.iter().any(|hours| hours.contains(minute(at))))
    }
}

/// How much a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    Ignore,
    /// Waited for until the objective is missed.
    Prefer,
    /// Waited for however long it takes.
    Require,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerRules {
    pub charging: Wish,
    pub idle: Wish,
    /// Whether to wait for the end of the low-power mode.
    pub normal_power_mode: Wish,
    /// Nothing is begun below this, unless the phone is charging.
    pub battery_floor_percent: u8,
    /// Nothing is begun when the phone is hotter.
    pub hottest: Thermal,
}

impl Default for PowerRules {
    fn default() -> Self {
        Self {
            charging: Wish::Prefer,
            idle: Wish::Ignore,
            normal_power_mode: Wish::Prefer,
            battery_floor_percent: 20,
            hottest: Thermal::Fair,
        }
    }
}

/// The scale of iOS; Android's `light` is fair, its `moderate` and `severe` are serious, and what is hotter is critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thermal {
    Nominal,
    Fair,
    Serious,
    Critical,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkRules {
    pub unmetered: ClassRule,
    /// Mobile data at home.
    pub metered: ClassRule,
    /// What iOS calls expensive: cellular, and personal hotspots.
    pub expensive: ClassRule,
    /// Whatever network, while the owner of the phone asks apps to save data (Data Saver, Low Data Mode).
    pub constrained: ClassRule,
    pub roaming: ClassRule,
    /// The day of the month on which monthly allowances begin anew, as on the phone's bill: 1 to 28.
    pub month_begins_on: i8,
}

impl Default for NetworkRules {
    fn default() -> Self {
        Self {
            unmetered: ClassRule::UNLIMITED,
            metered: ClassRule::MOBILE,
            expensive: ClassRule::MOBILE,
            constrained: ClassRule::NEVER,
            roaming: ClassRule::NEVER,
            month_begins_on: 1,
        }
    }
}

impl NetworkRules {
    pub fn class(&self, class: NetworkClass) -> &ClassRule {
        match class {
            NetworkClass::Unmetered => &self.unmetered,
            NetworkClass::Metered => &self.metered,
            NetworkClass::Expensive => &self.expensive,
            NetworkClass::Constrained => &self.constrained,
            NetworkClass::Roaming => &self.roaming,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    Never,
    /// Only once the objective is missed.
    WhenLate,
    Always,
}

/// What one class of network may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassRule {
    #[serde(rename = "use")]
    pub using: Use,
    /// Bytes in both directions, by local days and months. `null` is no bound.
    pub day_bytes: Option<u64>,
    pub month_bytes: Option<u64>,
}

impl ClassRule {
    pub const UNLIMITED: Self = Self {
        using: Use::Always,
        day_bytes: None,
        month_bytes: None,
    };
    /// A little of somebody's mobile data, and only where nothing better comes in time.
    const MOBILE: Self = Self {
        using: Use::WhenLate,
        day_bytes: Some(20 << 20),
        month_bytes: Some(200 << 20),
    };
    pub const NEVER: Self = Self {
        using: Use::Never,
        day_bytes: None,
        month_bytes: None,
    };

    fn is_closed(&self) -> bool {
        self.using == Use::Never || self.day_bytes == Some(0) || self.month_bytes == Some(0)
    }
}

impl Default for ClassRule {
    /// Whoever names a class and says nothing else allows nothing.
    fn default() -> Self {
        Self::NEVER
    }
}

/// From one local time until another; over midnight when `until` is the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    pub from: Time,
    pub until: Time,
}

impl QuietHours {
    pub fn contains(&self, time: Time) -> bool {
        if self.from <= self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowRules {
    /// The longest that one window works.
    pub most_seconds: u32,
    /// Windows that are shorter are left alone: nothing would be confirmed in them.
    pub least_seconds: u32,
}

impl Default for WindowRules {
    fn default() -> Self {
        Self {
            most_seconds: 9 * 60,
            least_seconds: 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_is_the_default_and_a_misspelt_one_is_refused() {
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
        let text = serde_json::to_string(&Policy::default()).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), Policy::default());
        for refused in [
            r#"{"fresh_minute": 5}"#,
            r#"{"network": {"roaming": {"use": "sometimes"}}}"#,
        ] {
            assert!(serde_json::from_str::<Policy>(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_policy_that_could_never_run_says_so() {
        assert_eq!(Policy::default().problems(), Vec::<String>::new());
        let broken: [(&str, &str); 6] = [
            (r#"{"fresh_minutes": 0}"#, "fresh_minutes"),
            (r#"{"stale_minutes": 5}"#, "stale_minutes"),
            (
                r#"{"network": {"unmetered": {"use": "never"}, "metered": {"use": "never"}, "expensive": {"use": "never"}}}"#,
                "no class",
            ),
            (r#"{"network": {"month_begins_on": 31}}"#, "month_begins_on"),
            (
                r#"{"quiet": [{"from": "06:00", "until": "18:00"}, {"from": "18:00", "until": "06:00"}]}"#,
                "whole day",
            ),
            (r#"{"keep": {"last": "some"}}"#, "keep"),
        ];
        for (text, word) in broken {
            let problems = serde_json::from_str::<Policy>(text).unwrap().problems();
            assert!(
                problems.iter().any(|problem| problem.contains(word)),
                "{text}: {problems:?}"
            );
        }
    }

    #[test]
    fn quiet_hours_go_over_midnight() {
        let hours = |from: &str, until: &str| QuietHours {
            from: from.parse().unwrap(),
            until: until.parse().unwrap(),
        };
        let night = hours("22:30", "06:00");
        for (time, quiet) in [
            ("22:29", false),
            ("22:30", true),
            ("00:00", true),
            ("05:59", true),
            ("06:00", false),
        ] {
            assert_eq!(night.contains(time.parse().unwrap()), quiet, "{time}");
        }
        assert!(hours("12:00", "13:00").contains("12:30".parse().unwrap()));
        assert!(!hours("12:00", "13:00").contains("13:00".parse().unwrap()));
    }
}
