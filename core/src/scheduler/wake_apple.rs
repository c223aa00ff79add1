//! Wake requests as `BGTaskScheduler` takes them, and Apple's rules about background tasks. Pure: the host builds the requests from these records.

use serde::{Deserialize, Serialize};

use super::{conditions::Standing, reason::Reason, work::Wake};
use crate::limits;

/// What a refresh task has before it is called back.
pub const REFRESH_MS: u64 = 30_000;
/// What a processing task can count on; it may have more, and is told when that ends.
pub const PROCESSING_MS: u64 = 3 * 60_000;
/// Requests that may be pending at a time.
pub const REFRESH_PENDING_MAX: usize = 1;
pub const PROCESSING_PENDING_MAX: usize = 10;

/// The identifiers that the app lists in its `Info.plist`, under `BGTaskSchedulerPermittedIdentifiers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifiers {
    pub refresh: String,
    pub processing: String,
}

/// One request. Submitting it replaces the pending one with the same identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum TaskRequest {
    /// `BGAppRefreshTaskRequest`: cheap and frequent, 30 seconds, and no conditions.
    Refresh {
        identifier: String,
        /// Nothing is as soon as possible.
        earliest_begin_ms: Option<i64>,
    },
    /// `BGProcessingTaskRequest`: minutes, when nobody uses the phone.
    Processing {
        identifier: String,
        earliest_begin_ms: Option<i64>,
        requires_external_power: bool,
        requires_network_connectivity: bool,
    },
}

/// The requests that ask for these wakes: a processing task for the good moment, and a refresh task that looks when wishes are given up, or
/// goes on with work that fits into it. Refused while background refresh is off: submitting would fail as `unavailable`.
pub fn task_requests(
    now_ms: i64,
    wakes: &[Wake],
    standing: Standing,
    identifiers: &Identifiers,
) -> Result<Vec<TaskRequest>, Reason> {
    if standing == Standing::Off {
        return Err(Reason::BackgroundOff);
    }
    let begin = |at_ms: i64| {
        let latest = now_ms.saturating_add(limits::WAKE_AHEAD_MAX_MS);
        (at_ms > now_ms).then(|| at_ms.min(latest))
    };
    let Some(good) = wakes.first() else {
        return Ok(Vec::new());
    };
    let processing = TaskRequest::Processing {
        identifier: identifiers.processing.clone(),
        earliest_begin_ms: begin(good.earliest_ms),
        requires_external_power: good.charging,
        requires_network_connectivity: true,
    };
    // A refresh cannot wait for power: it looks when power is not waited for any more, or at the same time.
    let unconditional = wakes.iter().find(|wake| !wake.charging && !wake.idle);
    let refresh = TaskRequest::Refresh {
        identifier: identifiers.refresh.clone(),
        earliest_begin_ms: begin(unconditional.unwrap_or(good).earliest_ms),
    };
    Ok(vec![processing, refresh])
}

/// Why the system would refuse these requests, submitted one after the other to an empty queue.
pub fn refusal(now_ms: i64, requests: &[TaskRequest], identifiers: &Identifiers) -> Option<&'static str> {
    let (mut refreshes, mut processings) = (0, 0);
    for request in requests {
        let (identifier, begin) = match request {
            TaskRequest::Refresh {
                identifier,
                earliest_begin_ms,
            } => {
                refreshes += 1;
                (identifier, earliest_begin_ms)
            }
            TaskRequest::Processing {
                identifier,
                earliest_begin_ms,
                ..
            } => {
                processings += 1;
                (identifier, earliest_begin_ms)
            }
        };
        if *identifier != identifiers.refresh && *identifier != identifiers.processing {
            return Some("notPermitted: the identifier is not one of the app's");
        }
        if begin.is_some_and(|begin| begin > now_ms.saturating_add(limits::WAKE_AHEAD_MAX_MS)) {
            return Some("the earliest begin is more than a week away");
        }
    }
    if refreshes > REFRESH_PENDING_MAX || processings > PROCESSING_PENDING_MAX {
        return Some("tooManyPendingTaskRequests");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::work::NetworkNeed;

    fn identifiers() -> Identifiers {
        Identifiers {
            refresh: "org.example.refresh".into(),
            processing: "org.example.processing".into(),
        }
    }

    fn wake(earliest_ms: i64, charging: bool) -> Wake {
        Wake {
            earliest_ms,
            network: NetworkNeed::Unmetered,
            charging,
            idle: false,
            battery_not_low: false,
            storage_not_low: false,
            urgent: false,
            long: false,
        }
    }

    #[test]
    fn the_good_moment_is_a_processing_task_and_the_late_one_a_refresh() {
        let wakes = [wake(1_000, true), wake(9_000, false)];
        let requests = task_requests(2_000, &wakes, Standing::Unknown, &identifiers()).unwrap();
        let expected = [
            TaskRequest::Processing {
                identifier: "org.example.processing".into(),
                earliest_begin_ms: None,
                requires_external_power: true,
                requires_network_connectivity: true,
            },
            TaskRequest::Refresh {
                identifier: "org.example.refresh".into(),
                earliest_begin_ms: Some(9_000),
            },
        ];
        assert_eq!(requests, expected);
        assert_eq!(refusal(2_000, &requests, &identifiers()), None);
    }

    #[test]
    fn nothing_is_asked_for_where_everything_would_be_refused() {
        let off = task_requests(0, &[wake(0, false)], Standing::Off, &identifiers());
        assert_eq!(off, Err(Reason::BackgroundOff));
    }

    #[test]
    fn the_rules_refuse_what_apple_refuses() {
        let refresh = |earliest_begin_ms, identifier: &str| TaskRequest::Refresh {
            identifier: identifier.into(),
            earliest_begin_ms,
        };
        let ours = refresh(None, "org.example.refresh");
        assert!(refusal(0, &[ours.clone(), ours.clone()], &identifiers()).is_some());
        assert!(refusal(0, &[refresh(None, "other")], &identifiers()).is_some());
        let far = refresh(Some(limits::WAKE_AHEAD_MAX_MS + 1), "org.example.refresh");
        assert!(refusal(0, &[far], &identifiers()).is_some());
        assert_eq!(refusal(0, &[ours], &identifiers()), None);
    }
}
