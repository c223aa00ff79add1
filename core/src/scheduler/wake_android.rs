//! Wake requests as WorkManager takes them, and Android's rules about background work. Pure: the host builds `WorkRequest`s from these records, field
//! by field.

use serde::{Deserialize, Serialize};

use super::{
    conditions::Standing,
    reason::Reason,
    work::{NetworkNeed, Wake},
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// WorkManager makes shorter periods this long.
pub const PERIOD_MIN_MS: i64 = 15 * MINUTE_MS;
/// And shorter flexes this.
pub const FLEX_MIN_MS: i64 = 5 * MINUTE_MS;
/// What a job has before it is stopped.
pub const JOB_MS: u64 = 10 * 60_000;
/// What services of the type `dataSync` have together in 24 hours while the app is in the background.
pub const DATA_SYNC_MS: i64 = 6 * HOUR_MS;

/// `NetworkType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NetworkType {
    Connected,
    NotRoaming,
    Unmetered,
}

/// A `OneTimeWorkRequest`, enqueued as unique work under its name, replacing what is there.
///
/// The criteria for WorkManager's own retries are left as they are: the engine has its own, and a worker always returns success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeWork {
    pub unique_name: String,
    pub initial_delay_ms: i64,
    pub network: NetworkType,
    pub requires_charging: bool,
    pub requires_device_idle: bool,
    pub requires_battery_not_low: bool,
    pub requires_storage_not_low: bool,
    /// With `RUN_AS_NON_EXPEDITED_WORK_REQUEST` for when the quota is used up.
    pub expedited: bool,
}

/// A `PeriodicWorkRequest` without constraints: it looks whether the other requests were honoured, and raises the alarm if not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodicWork {
    pub unique_name: String,
    pub period_ms: i64,
    pub flex_ms: i64,
}

/// The requests that ask for these wakes.
pub fn one_time_work(now_ms: i64, wakes: &[Wake]) -> Vec<OneTimeWork> {
    let names = ["lifeboat-soon", "lifeboat-later"];
    let work = |(name, wake): (&str, &Wake)| {
        let initial_delay_ms = wake.earliest_ms.saturating_sub(now_ms).max(0);
        // Expedited work may neither wait nor ask for power.
        let expedited = wake.urgent && initial_delay_ms == 0 && !wake.charging && !wake.idle;
        OneTimeWork {
            unique_name: name.to_owned(),
            initial_delay_ms,
            network: match wake.network {
                NetworkNeed::Unmetered => NetworkType::Unmetered,
                NetworkNeed::NotRoaming => NetworkType::NotRoaming,
                NetworkNeed::Any => NetworkType::Connected,
            },
            requires_charging: wake.charging,
            requires_device_idle: wake.idle,
            requires_battery_not_low: wake.battery_not_low && !expedited,
            requires_storage_not_low: wake.storage_not_low,
            expedited,
        }
    };
    names.into_iter().zip(wakes).map(work).collect()
}

/// The standing watch for a policy that wants a look every `every_ms`.
pub fn periodic_work(every_ms: i64) -> PeriodicWork {
    let period_ms = every_ms.clamp(PERIOD_MIN_MS, 24 * HOUR_MS);
    PeriodicWork {
        unique_name: "lifeboat-watch".to_owned(),
        period_ms,
        flex_ms: (period_ms / 3).max(FLEX_MIN_MS),
    }
}

/// Why WorkManager would refuse a request, or silently make another of it.
pub fn refusal(work: &OneTimeWork) -> Option<&'static str> {
    if work.initial_delay_ms < 0 {
        return Some("a delay must not be negative");
    }
    if work.expedited && work.initial_delay_ms > 0 {
        return Some("expedited jobs cannot be delayed");
    }
    if work.expedited
        && (work.requires_charging || work.requires_device_idle || work.requires_battery_not_low)
    {
        return Some("expedited jobs only support network and storage constraints");
    }
    None
}

/// The same for periodic work.
pub fn periodic_refusal(work: &PeriodicWork) -> Option<&'static str> {
    if work.period_ms < PERIOD_MIN_MS {
        return Some("the period is shorter than 15 minutes");
    }
    if work.flex_ms < FLEX_MIN_MS || work.flex_ms > work.period_ms {
        return Some("the flex is shorter than 5 minutes, or longer than the period");
    }
    None
}

/// What a standby bucket allows jobs while the phone is not charging: so much time within so long. While charging there is no such bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobQuota {
    pub time_ms: i64,
    pub within_ms: i64,
}

/// What Android 16 gives to each bucket.
pub fn job_quota(standing: Standing) -> Option<JobQuota> {
    let quota = |minutes, hours| {
        Some(JobQuota {
            time_ms: minutes * MINUTE_MS,
            within_ms: hours * HOUR_MS,
        })
    };
    match standing {
        Standing::Unknown => None,
        Standing::Active => quota(20, 1),
        Standing::WorkingSet => quota(10, 4),
        Standing::Frequent => quota(10, 12),
        Standing::Rare | Standing::Restricted => quota(10, 24),
        Standing::Off => quota(0, 24),
    }
}

/// What is left for `dataSync` services, given when earlier ones ran (from, until) and when the app was last in front: the system counts
/// from anew whenever the user opens the app.
pub fn data_sync_left_ms(now_ms: i64, ran: &[(i64, i64)], in_front_ms: Option<i64>) -> i64 {
    let since = in_front_ms
        .unwrap_or(i64::MIN)
        .max(now_ms.saturating_sub(24 * HOUR_MS));
    let used = ran
        .iter()
        .map(|(from, until)| (*until).min(now_ms).saturating_sub((*from).max(since)).max(0));
    (DATA_SYNC_MS - used.fold(0, i64::saturating_add)).max(0)
}

/// What `WorkInfo.getStopReason` and `JobParameters.getStopReason` mean. `None` where the work was not stopped.
pub fn stop_reason(code: i32) -> Option<Reason> {
    Some(match code {
        -256 => return None,
        -128 => Reason::StopForegroundCap,
        1 => Reason::StopApp,
        2 => Reason::StopPreempted,
        3 => Reason::StopTimeout,
        4 => Reason::StopDeviceState,
        5 => Reason::StopBattery,
        6 => Reason::StopCharging,
        7 => Reason::StopNetwork,
        8 => Reason::StopIdle,
        9 => Reason::StopStorage,
        10 => Reason::StopQuota,
        11 => Reason::StopBackgroundRestricted,
        12 => Reason::StopStandby,
        13 => Reason::StopUser,
        14 | 15 => Reason::StopSystem,
        // -512 is WorkManager's own word for it.
        _ => Reason::StopUnknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wake() -> Wake {
        Wake {
            earliest_ms: 5_000,
            network: NetworkNeed::Unmetered,
            charging: true,
            idle: false,
            battery_not_low: false,
            storage_not_low: true,
            urgent: false,
            long: false,
        }
    }

    #[test]
    fn a_wake_becomes_constraints() {
        let works = one_time_work(2_000, &[wake()]);
        let [work] = &works[..] else { panic!("{works:?}") };
        assert_eq!(work.initial_delay_ms, 3_000);
        assert_eq!(work.network, NetworkType::Unmetered);
        assert!(work.requires_charging && work.requires_storage_not_low && !work.expedited);
        assert_eq!(serde_json::to_value(work.network).unwrap(), "UNMETERED");
    }

    #[test]
    fn somebody_who_waits_gets_expedited_work_only_where_that_is_allowed() {
        let urgent = Wake {
            urgent: true,
            charging: false,
            battery_not_low: true,
            ..wake()
        };
        let later = one_time_work(0, &[urgent]);
        assert!(!later[0].expedited, "it has a delay");
        let now = one_time_work(
            5_000,
            &[
                urgent,
                Wake {
                    charging: true,
                    ..urgent
                },
            ],
        );
        assert!(now[0].expedited && !now[0].requires_battery_not_low);
        assert!(!now[1].expedited, "it asks for power");
        for work in later.iter().chain(&now) {
            assert_eq!(refusal(work), None);
        }
        assert!(
            refusal(&OneTimeWork {
                initial_delay_ms: 1,
                ..now[0].clone()
            })
            .is_some()
        );
        assert!(
            refusal(&OneTimeWork {
                requires_battery_not_low: true,
                ..now[0].clone()
            })
            .is_some()
        );
    }

    #[test]
    fn periods_are_never_shorter_than_android_honours() {
        for every in [0, 1, PERIOD_MIN_MS, HOUR_MS, i64::MAX] {
            assert_eq!(periodic_refusal(&periodic_work(every)), None, "{every}");
        }
        let short = PeriodicWork {
            period_ms: PERIOD_MIN_MS - 1,
            ..periodic_work(0)
        };
        assert!(periodic_refusal(&short).is_some());
    }

    #[test]
    fn six_hours_a_day_and_again_when_the_app_is_opened() {
        let hour = HOUR_MS;
        let now = 100 * hour;
        assert_eq!(data_sync_left_ms(now, &[], None), 6 * hour);
        let ran = [(now - 30 * hour, now - 22 * hour), (now - 3 * hour, now - hour)];
        assert_eq!(
            data_sync_left_ms(now, &ran, None),
            2 * hour,
            "two hours of the first are within the day"
        );
        assert_eq!(data_sync_left_ms(now, &ran, Some(now - 2 * hour)), 5 * hour);
        assert_eq!(data_sync_left_ms(now, &[(now - 9 * hour, now)], None), 0);
    }

    #[test]
    fn every_stop_reason_has_a_name() {
        assert_eq!(stop_reason(-256), None);
        assert_eq!(stop_reason(10), Some(Reason::StopQuota));
        assert_eq!(stop_reason(-128), Some(Reason::StopForegroundCap));
        for code in -600..200 {
            if let Some(reason) = stop_reason(code) {
                assert_eq!(reason.sort(), crate::scheduler::reason::Sort::End);
            }
        }
    }

    #[test]
    fn worse_buckets_never_give_more() {
        let buckets = [
            Standing::Active,
            Standing::WorkingSet,
            Standing::Frequent,
            Standing::Rare,
            Standing::Restricted,
            Standing::Off,
        ];
        let share = |standing| {
            job_quota(standing)
                .map(|quota| quota.time_ms * 1000 / quota.within_ms)
                .unwrap()
        };
        assert!(buckets.windows(2).all(|pair| share(pair[0]) >= share(pair[1])));
    }
}
