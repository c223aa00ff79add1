//! What the owner of the data wishes, and what the host says of the phone, as records. Their meaning, and every default, is the Scheduler's.

use lifeboat::{
    Error, Kind,
    scheduler::{self, Conditions, Known, Network, Policy, Standing},
};

use crate::error::EngineError;

/// When to back up, and what it may cost. Begin with `default_policy` and change what should be different.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BackupPolicy {
    /// The objective: the newest complete snapshot should not be older than this. A new one is due at half of it.
    pub fresh_minutes: u32,
    /// Older than this, and the app is alarmed.
    pub stale_minutes: u32,
    pub power: PowerRules,
    pub network: NetworkRules,
    /// Local times in which nothing is begun.
    pub quiet: Vec<QuietHours>,
    /// Free space on the phone that is left to others.
    pub free_space_reserve_bytes: u64,
    /// Whatever a clock begins is spread over this long, so that a fleet does not wake at once.
    pub jitter_minutes: u32,
    /// The longest that one window works.
    pub window_most_seconds: u32,
    /// Windows that are shorter are left alone.
    pub window_least_seconds: u32,
    /// What to do while the phone is locked and some files cannot be read.
    pub when_locked: Wish,
    pub keep: KeepRules,
    /// Days between two runs of each upkeep; zero is never.
    pub forget_days: u32,
    pub verify_days: u32,
    pub prune_days: u32,
}

/// How much a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Wish {
    Ignore,
    /// Waited for until the objective is missed.
    Prefer,
    /// Waited for however long it takes.
    Require,
}

#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PowerRules {
    pub charging: Wish,
    pub idle: Wish,
    /// Whether to wait for the end of the low-power mode.
    pub normal_power_mode: Wish,
    /// Nothing is begun below this, unless the phone is charging.
    pub battery_floor_percent: u8,
    /// Nothing is begun when the phone is hotter.
    pub hottest: ThermalState,
}

/// The scale of iOS; Android's `light` is fair, its `moderate` and `severe` are serious, and what is hotter is critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum ThermalState {
    Nominal,
    Fair,
    Serious,
    Critical,
}

#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct NetworkRules {
    pub unmetered: NetworkRule,
    pub metered: NetworkRule,
    pub expensive: NetworkRule,
    pub constrained: NetworkRule,
    pub roaming: NetworkRule,
    /// The day of the month on which monthly allowances begin anew, as on the phone's bill: 1 to 28.
    pub month_begins_on: u8,
}

/// What one class of network may be used for. Bytes are counted in both directions, by local days and months; nothing is no bound.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct NetworkRule {
    pub using: NetworkUse,
    #[uniffi(default = None)]
    pub day_bytes: Option<u64>,
    #[uniffi(default = None)]
    pub month_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum NetworkUse {
    Never,
    /// Only once the objective is missed.
    WhenLate,
    Always,
}

/// From one local time until another, as `22:30`; over midnight when `until` is the earlier.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct QuietHours {
    pub from: String,
    pub until: String,
}

/// What `forget` keeps, in restic's words: counts are numbers or `unlimited`, `within` is such as `1y5m7d2h`; an empty text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct KeepRules {
    pub last: String,
    pub hourly: String,
    pub daily: String,
    pub weekly: String,
    pub monthly: String,
    pub yearly: String,
    pub within: String,
    /// Each a list of tags, joined by commas: snapshots that have all of one list are kept.
    pub tags: Vec<String>,
}

/// The phone at one moment. What is not said is unknown, and taken for the safe side.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PhoneConditions {
    pub network: NetworkState,
    /// When the phone last changed to another network: failures before that say little about this one.
    #[uniffi(default = None)]
    pub network_since_ms: Option<i64>,
    #[uniffi(default = None)]
    pub charging: Option<bool>,
    #[uniffi(default = None)]
    pub battery_percent: Option<u8>,
    #[uniffi(default = None)]
    pub low_power_mode: Option<bool>,
    /// Nobody uses the phone, as the operating system sees it.
    #[uniffi(default = None)]
    pub idle: Option<bool>,
    #[uniffi(default = None)]
    pub thermal: Option<ThermalState>,
    /// Free bytes where the engine's own folder is.
    #[uniffi(default = None)]
    pub free_bytes: Option<u64>,
    #[uniffi(default = None)]
    pub app_in_front: Option<bool>,
    #[uniffi(default = None)]
    pub locked: Option<bool>,
    /// Somebody pressed a button and waits.
    #[uniffi(default = false)]
    pub asked: bool,
    /// How much of the window is left; nothing where the operating system sets no end.
    #[uniffi(default = None)]
    pub window_left_ms: Option<u64>,
    /// The IANA name, such as `Europe/Berlin`.
    #[uniffi(default = None)]
    pub time_zone: Option<String>,
    #[uniffi(default = None)]
    pub standing: Option<AppStanding>,
}

/// What is connected, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum NetworkState {
    Unknown,
    Offline,
    /// Connected, but nobody knows what it costs: taken for the dearest.
    Unclassified,
    Unmetered,
    Metered,
    /// As iOS says it: cellular, or a personal hotspot.
    Expensive,
    /// While the owner of the phone asks apps to save data: Low Data Mode, Data Saver.
    Constrained,
    Roaming,
}

/// How the operating system treats the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum AppStanding {
    /// Android's buckets, the best first.
    Active,
    WorkingSet,
    Frequent,
    Rare,
    Restricted,
    /// iOS: background refresh is switched off. Android: no request will be honoured.
    Off,
}

/// The policy that suits a phone.
#[uniffi::export]
pub fn default_policy() -> BackupPolicy {
    Policy::default().into()
}

/// Both directions, name by name: a new one on either side does not compile before it is decided here.
macro_rules! same {
    ($ours:ident, $theirs:ty: $($name:ident),+) => {
        impl From<$ours> for $theirs {
            fn from(value: $ours) -> Self {
                match value { $($ours::$name => Self::$name),+ }
            }
        }

        impl From<$theirs> for $ours {
            fn from(value: $theirs) -> Self {
                match value { $(<$theirs>::$name => Self::$name),+ }
            }
        }
    };
}

same!(Wish, scheduler::Wish: Ignore, Prefer, Require);
same!(ThermalState, scheduler::Thermal: Nominal, Fair, Serious, Critical);
same!(NetworkUse, scheduler::Use: Never, WhenLate, Always);
same!(NetworkState, Network: Unknown, Offline, Unclassified, Unmetered, Metered, Expensive, Constrained, Roaming);

impl From<AppStanding> for Standing {
    fn from(standing: AppStanding) -> Self {
        match standing {
            AppStanding::Active => Self::Active,
            AppStanding::WorkingSet => Self::WorkingSet,
            AppStanding::Frequent => Self::Frequent,
            AppStanding::Rare => Self::Rare,
            AppStanding::Restricted => Self::Restricted,
            AppStanding::Off => Self::Off,
        }
    }
}

impl From<NetworkRule> for scheduler::ClassRule {
    fn from(rule: NetworkRule) -> Self {
        Self {
            using: rule.using.into(),
            day_bytes: rule.day_bytes,
            month_bytes: rule.month_bytes,
        }
    }
}

impl From<scheduler::ClassRule> for NetworkRule {
    fn from(rule: scheduler::ClassRule) -> Self {
        Self {
            using: rule.using.into(),
            day_bytes: rule.day_bytes,
            month_bytes: rule.month_bytes,
        }
    }
}

impl From<KeepRules> for scheduler::Keep {
    fn from(keep: KeepRules) -> Self {
        // Rules that are not said are none, not the default ones.
        Self {
            last: keep.last,
            hourly: keep.hourly,
            daily: keep.daily,
            weekly: keep.weekly,
            monthly: keep.monthly,
            yearly: keep.yearly,
            within: keep.within,
            within_hourly: String::new(),
            within_daily: String::new(),
            within_weekly: String::new(),
            within_monthly: String::new(),
            within_yearly: String::new(),
            tags: keep.tags,
        }
    }
}

impl From<Policy> for BackupPolicy {
    fn from(policy: Policy) -> Self {
        let (power, network, keep) = (policy.power, policy.network, policy.keep);
        let quiet = policy.quiet.into_iter().map(|hours| QuietHours {
            from: hours.from.to_string(),
            until: hours.until.to_string(),
        });
        Self {
            fresh_minutes: policy.fresh_minutes,
            stale_minutes: policy.stale_minutes,
            power: PowerRules {
                charging: power.charging.into(),
                idle: power.idle.into(),
                normal_power_mode: power.normal_power_mode.into(),
                battery_floor_percent: power.battery_floor_percent,
                hottest: power.hottest.into(),
            },
            network: NetworkRules {
                unmetered: network.unmetered.into(),
                metered: network.metered.into(),
                expensive: network.expensive.into(),
                constrained: network.constrained.into(),
                roaming: network.roaming.into(),
                month_begins_on: network.month_begins_on.unsigned_abs(),
            },
            quiet: quiet.collect(),
            free_space_reserve_bytes: policy.free_space_reserve_bytes,
            jitter_minutes: policy.jitter_minutes,
            window_most_seconds: policy.window.most_seconds,
            window_least_seconds: policy.window.least_seconds,
            when_locked: policy.when_locked.into(),
            keep: KeepRules {
                last: keep.last,
                hourly: keep.hourly,
                daily: keep.daily,
                weekly: keep.weekly,
                monthly: keep.monthly,
                yearly: keep.yearly,
                within: keep.within,
                tags: keep.tags,
            },
            forget_days: policy.forget_days,
            verify_days: policy.verify_days,
            prune_days: policy.prune_days,
        }
    }
}

impl TryFrom<BackupPolicy> for Policy {
    type Error = EngineError;

    fn try_from(policy: BackupPolicy) -> Result<Self, EngineError> {
        let (power, network) = (policy.power, policy.network);
        let quiet = policy.quiet.iter().map(|hours| {
            Ok(scheduler::QuietHours {
                from: time(&hours.from)?,
                until: time(&hours.until)?,
            })
        });
        Ok(Self {
            fresh_minutes: policy.fresh_minutes,
            stale_minutes: policy.stale_minutes,
            power: scheduler::PowerRules {
                charging: power.charging.into(),
                idle: power.idle.into(),
                normal_power_mode: power.normal_power_mode.into(),
                battery_floor_percent: power.battery_floor_percent,
                hottest: power.hottest.into(),
            },
            network: scheduler::NetworkRules {
                unmetered: network.unmetered.into(),
                metered: network.metered.into(),
                expensive: network.expensive.into(),
                constrained: network.constrained.into(),
                roaming: network.roaming.into(),
                // Whatever is no day of a month is refused with the policy.
                month_begins_on: i8::try_from(network.month_begins_on).unwrap_or(0),
            },
            quiet: quiet.collect::<Result<_, EngineError>>()?,
            free_space_reserve_bytes: policy.free_space_reserve_bytes,
            jitter_minutes: policy.jitter_minutes,
            window: scheduler::WindowRules {
                most_seconds: policy.window_most_seconds,
                least_seconds: policy.window_least_seconds,
            },
            when_locked: policy.when_locked.into(),
            keep: policy.keep.into(),
            forget_days: policy.forget_days,
            verify_days: policy.verify_days,
            prune_days: policy.prune_days,
        })
    }
}

fn time<T: std::str::FromStr>(text: &str) -> Result<T, EngineError> {
    let invalid = |_| {
        Error::new(
            Kind::InvalidInput,
            format!("'{text}' is no time of a day, such as 22:30"),
        )
    };
    Ok(text.parse().map_err(invalid)?)
}

impl From<PhoneConditions> for Conditions {
    fn from(said: PhoneConditions) -> Self {
        let known = |said: Option<bool>| said.map_or(Known::Unknown, Known::from);
        Self {
            network: said.network.into(),
            network_since_ms: said.network_since_ms,
            charging: known(said.charging),
            battery_percent: said.battery_percent,
            low_power_mode: known(said.low_power_mode),
            idle: known(said.idle),
            thermal: said.thermal.map(Into::into),
            free_bytes: said.free_bytes,
            app_in_front: known(said.app_in_front),
            locked: known(said.locked),
            asked: said.asked,
            window_left_ms: said.window_left_ms,
            time_zone: said.time_zone,
            standing: said.standing.map_or(Standing::Unknown, Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_crosses_and_comes_back() {
        let mut policy = Policy::default();
        policy.quiet.push(scheduler::QuietHours {
            from: "22:30".parse().unwrap(),
            until: "06:00".parse().unwrap(),
        });
        assert_eq!(
            Policy::try_from(BackupPolicy::from(policy.clone())).unwrap(),
            policy
        );
    }

    #[test]
    fn a_time_that_is_none_is_the_callers_mistake() {
        let mut policy = default_policy();
        policy.quiet = vec![QuietHours {
            from: "noon".into(),
            until: "13:00".into(),
        }];
        let refused = Policy::try_from(policy);
        assert!(
            matches!(refused, Err(EngineError::InvalidInput { .. })),
            "{refused:?}"
        );
    }
}
