//! Leaving when and what to the Scheduler: the app says what the phone is like whenever it is awake, and is told what was done and when to wake it.

use std::sync::Arc;

use lifeboat::{
    DueDone, DueJob, DueReport, DueWindow, LockPolicy, StopSignal,
    scheduler::{
        Conditions, Decision, Policy, Reason, Standing, Task, Verdict,
        explain::{Explanation, Freshness, Status},
        wake_android::{self, NetworkType, OneTimeWork},
        wake_apple::{self, Identifiers, TaskRequest},
    },
};

use crate::{
    engine::{EngineHandle, Result},
    error::EngineError,
    host::DatabaseHolder,
    jobs::BackupRequest,
    policy::{AppStanding, BackupPolicy, PhoneConditions},
    reports::BackupOutcome,
    stop::StopToken,
};

/// Work that the engine does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum DueTask {
    /// A backup that was begun goes on.
    Resume,
    FirstBackup,
    Increment,
    /// Let go of the snapshots that the policy does not keep.
    Forget,
    /// Look whether what was stored is still there, by samples.
    Verify,
    /// Give back the room of what no snapshot needs.
    Prune,
}

/// Why something is, was or is not done. The codes are listed in `docs/reasons.md`, and stay.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DueReason {
    /// Such as `not-charging`: for the app's own texts, and for support.
    pub code: String,
    /// In English, for logs.
    pub text: String,
    /// What the app or its user can do about it; empty if nothing.
    pub advice: String,
}

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DueWait {
    pub reason: DueReason,
    /// When it ends by itself; nothing if only the phone or its user can end it.
    pub until_ms: Option<i64>,
    /// Since when it has been in the way, where that was asked for.
    pub since_ms: Option<i64>,
}

/// Wake the app at the earliest then, and as soon as all of this holds. `android_work` and `apple_tasks` say it as the platform takes it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct WakeMoment {
    pub earliest_ms: i64,
    pub network: NetworkNeed,
    pub charging: bool,
    pub idle: bool,
    pub battery_not_low: bool,
    pub storage_not_low: bool,
    /// Somebody waits for it.
    pub urgent: bool,
    /// There is work for minutes, not seconds.
    pub long: bool,
}

/// The networks that are good enough. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum NetworkNeed {
    Unmetered,
    NotRoaming,
    Any,
}

/// A `OneTimeWorkRequest`, to be enqueued as unique work under its name, in place of what is there.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct AndroidWork {
    pub unique_name: String,
    pub initial_delay_ms: i64,
    pub network: AndroidNetworkType,
    pub requires_charging: bool,
    pub requires_device_idle: bool,
    pub requires_battery_not_low: bool,
    pub requires_storage_not_low: bool,
    /// With `RUN_AS_NON_EXPEDITED_WORK_REQUEST` for when the quota is used up.
    pub expedited: bool,
}

/// WorkManager's `NetworkType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum AndroidNetworkType {
    Connected,
    NotRoaming,
    Unmetered,
}

/// A request of `BGTaskScheduler`'s. Submitting it replaces the pending one with the same identifier; without a begin it is as soon as possible.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum AppleTask {
    Refresh {
        identifier: String,
        earliest_begin_ms: Option<i64>,
    },
    Processing {
        identifier: String,
        earliest_begin_ms: Option<i64>,
        requires_external_power: bool,
        requires_network_connectivity: bool,
    },
}

/// What became of one call.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DueOutcome {
    /// What was done in this window, if anything could be.
    pub ran: Option<DueTask>,
    /// How the window ended.
    pub ended: Option<DueReason>,
    /// The snapshot, where a backup came to its end.
    pub backup: Option<BackupOutcome>,
    /// What went wrong. It is in the journal, and the engine tries again by itself when that can help.
    pub error: Option<EngineError>,
    /// What is in the way of the most urgent work.
    pub waits: Vec<DueWait>,
    /// More can be done now: call again with fresh conditions, if there is time.
    pub again: bool,
    /// Alarms that were raised or taken back, such as `stale`, whatever the call was made for. Each is told once.
    pub alarms: Vec<DueReason>,
    /// How the window of an earlier process ended, which was killed in it.
    pub killed: Option<DueReason>,
    /// To be asked of the operating system in place of what was asked before. Never empty, and at most two.
    pub wakes: Vec<WakeMoment>,
}

/// How the newest complete snapshot stands to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum BackupFreshness {
    /// There is none yet, and the objective has not been missed.
    None,
    Fresh,
    /// The objective is missed.
    Late,
    /// Older than it may be: an alarm.
    Stale,
}

/// For a settings screen.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BackupStatus {
    pub freshness: BackupFreshness,
    /// When the newest complete snapshot was published, or last found to be as the app's files are.
    pub newest_ms: Option<i64>,
    pub age_ms: i64,
    /// What runs, or would run now.
    pub runs: Option<DueTask>,
    /// The first of what is in the way.
    pub waits: Option<DueReason>,
    /// When there will be another look, at the earliest.
    pub next_ms: Option<i64>,
    /// How the last window ended.
    pub last_end: Option<DueReason>,
}

/// The answer to "why?", for one moment.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BackupExplanation {
    pub at_ms: i64,
    pub freshness: BackupFreshness,
    pub newest_ms: Option<i64>,
    pub age_ms: i64,
    /// What is due, the most urgent first.
    pub due: Vec<DueTask>,
    pub runs: Option<DueTask>,
    /// What is in the way of the most urgent work, and since when.
    pub waits: Vec<DueWait>,
    /// The last windows, the newest first.
    pub windows: Vec<PastWindow>,
    /// A stretch in which the app was not woken although it had asked.
    pub not_woken: Option<NotWoken>,
    /// What nobody has said, and was taken for the safe side.
    pub cautions: Vec<DueReason>,
    /// What the app or its user can do.
    pub advice: Vec<DueReason>,
}

#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PastWindow {
    pub at_ms: i64,
    pub task: DueTask,
    /// Nothing while it is open.
    pub ended_ms: Option<i64>,
    pub end: Option<DueReason>,
    /// In both directions.
    pub bytes: u64,
    pub requests: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct NotWoken {
    pub from_ms: i64,
    /// Nothing while it lasts.
    pub until_ms: Option<i64>,
    /// For when the wake had been asked.
    pub asked_ms: i64,
    pub reason: DueReason,
}

#[uniffi::export]
impl EngineHandle {
    /// To be called whenever the app is awake, for whatever reason: decides from the policy, the conditions, and all that was written down before;
    /// does the most urgent work that may be done, in one window; and says when to wake the app next. In between, the engine does nothing by itself.
    pub async fn run_due(
        &self,
        request: BackupRequest,
        conditions: PhoneConditions,
        sole_client: bool,
        holder: Option<Arc<dyn DatabaseHolder>>,
        stop: Option<Arc<StopToken>>,
    ) -> Result<DueOutcome> {
        let backup = request.into_job(holder)?;
        let conditions: Conditions = conditions.into();
        let token = stop.clone();
        self.inner
            .job(stop, async move |engine, cancel| {
                let signal = StopSignal::default();
                let job = DueJob {
                    backup,
                    conditions,
                    lock: if sole_client {
                        LockPolicy::Never
                    } else {
                        LockPolicy::WhenShared
                    },
                    stop: signal.clone(),
                };
                let due = engine.run_due(job);
                let taken_back = async move {
                    cancel.cancelled().await;
                    signal.stop(why_stopped(token.as_deref()));
                    // The window ends by itself, and is written down.
                    std::future::pending().await
                };
                tokio::select! {
                    report = due => Ok(report?.into()),
                    never = taken_back => never,
                }
            })
            .await
    }

    /// Keeps a policy from now on; it stays in the state folder. `InvalidInput` if it could never run.
    pub async fn set_policy(&self, policy: BackupPolicy) -> Result<()> {
        let policy = Policy::try_from(policy)?;
        self.inner
            .call(async move |engine| Ok(engine.diary().set_policy(policy).await?))
            .await
    }

    /// The policy that is kept.
    pub async fn policy(&self) -> Result<BackupPolicy> {
        self.inner
            .call(async |engine| Ok(engine.diary().journal().await?.policy.into()))
            .await
    }

    /// How the backup is doing, in short. Without conditions, as they were last said.
    pub async fn status(&self, now_ms: i64, conditions: Option<PhoneConditions>) -> Result<BackupStatus> {
        self.inner
            .call(async move |engine| {
                let journal = engine.diary().journal().await?;
                let conditions = conditions.map_or_else(|| journal.conditions.clone(), Into::into);
                Ok(journal.status(now_ms, &conditions).into())
            })
            .await
    }

    /// Why something is, was or is not done: now, or at a past moment with what was known then.
    pub async fn explain(
        &self,
        now_ms: i64,
        conditions: Option<PhoneConditions>,
        at_ms: Option<i64>,
    ) -> Result<BackupExplanation> {
        self.inner
            .call(async move |engine| {
                let journal = engine.diary().journal().await?;
                let conditions = conditions.map_or_else(|| journal.conditions.clone(), Into::into);
                Ok(journal.explain(now_ms, &conditions, at_ms).into())
            })
            .await
    }

    /// The user says that the data is gone on purpose: snapshots that were set aside, since the app suddenly held far less, count from now on. Answers how
    /// many there were.
    pub async fn confirm_newborn(&self) -> Result<u64> {
        self.inner
            .call(async |engine| Ok(engine.confirm_newborn().await? as u64))
            .await
    }
}

/// The app itself, where nobody said more.
fn why_stopped(token: Option<&StopToken>) -> Reason {
    let Some(code) = token.and_then(StopToken::why) else {
        return Reason::StopApp;
    };
    let known = Reason::ALL
        .iter()
        .find(|reason| reason.code() == code && code.starts_with("stop-"));
    known.copied().unwrap_or(Reason::StopUnknown)
}

/// The code for `stop_because` of a reason that Android gives: `getStopReason` of WorkManager and JobScheduler.
#[uniffi::export]
pub fn android_stop_code(stop_reason: i32) -> String {
    let reason = wake_android::stop_reason(stop_reason).unwrap_or(Reason::StopUnknown);
    reason.code().to_owned()
}

/// The requests to WorkManager that ask for these wakes.
#[uniffi::export]
pub fn android_work(now_ms: i64, wakes: Vec<WakeMoment>) -> Vec<AndroidWork> {
    let wakes: Vec<_> = wakes.into_iter().map(Into::into).collect();
    let work = wake_android::one_time_work(now_ms, &wakes);
    work.into_iter().map(Into::into).collect()
}

/// The requests to `BGTaskScheduler` that ask for these wakes, under the identifiers that the app permits in its `Info.plist`. None while background
/// refresh is off.
#[uniffi::export]
pub fn apple_tasks(
    now_ms: i64,
    wakes: Vec<WakeMoment>,
    standing: Option<AppStanding>,
    refresh: String,
    processing: String,
) -> Vec<AppleTask> {
    let wakes: Vec<_> = wakes.into_iter().map(Into::into).collect();
    let standing = standing.map_or(Standing::Unknown, Into::into);
    let identifiers = Identifiers { refresh, processing };
    let tasks = wake_apple::task_requests(now_ms, &wakes, standing, &identifiers);
    tasks.unwrap_or_default().into_iter().map(Into::into).collect()
}

impl From<Task> for DueTask {
    fn from(task: Task) -> Self {
        match task {
            Task::Resume => Self::Resume,
            Task::FirstBackup => Self::FirstBackup,
            Task::Increment => Self::Increment,
            Task::Forget => Self::Forget,
            Task::Verify => Self::Verify,
            Task::Prune => Self::Prune,
        }
    }
}

impl From<Reason> for DueReason {
    fn from(reason: Reason) -> Self {
        Self {
            code: reason.code().to_owned(),
            text: reason.text().to_owned(),
            advice: reason.advice().to_owned(),
        }
    }
}

impl From<DueReport> for DueOutcome {
    fn from(report: DueReport) -> Self {
        let (mut ran, mut ended, mut backup, mut error) = (None, None, None, None);
        if let Some(window) = report.window {
            let DueWindow {
                task,
                closed,
                done,
                error: failed,
                ..
            } = window;
            (ran, ended) = (Some(task.into()), Some(closed.end.into()));
            error = failed.map(Into::into);
            if let Some(DueDone::BackedUp(report)) = done {
                backup = Some((*report).into());
            }
        }
        Self {
            ran,
            ended,
            backup,
            error,
            waits: waits(&report.next),
            again: report.again,
            alarms: report.alarms.into_iter().map(Into::into).collect(),
            killed: report.killed.map(|closed| closed.end.into()),
            wakes: report.next.wakes.into_iter().map(Into::into).collect(),
        }
    }
}

fn waits(decision: &Decision) -> Vec<DueWait> {
    let wait = |wait: &lifeboat::scheduler::Wait| DueWait {
        reason: wait.reason.into(),
        until_ms: wait.until_ms,
        since_ms: None,
    };
    match decision.verdict {
        Verdict::Run { .. } => Vec::new(),
        Verdict::Wait => decision.waits.iter().map(wait).collect(),
    }
}

impl From<Freshness> for BackupFreshness {
    fn from(freshness: Freshness) -> Self {
        match freshness {
            Freshness::None => Self::None,
            Freshness::Fresh => Self::Fresh,
            Freshness::Late => Self::Late,
            Freshness::Stale => Self::Stale,
        }
    }
}

impl From<Status> for BackupStatus {
    fn from(status: Status) -> Self {
        Self {
            freshness: status.freshness.into(),
            newest_ms: status.newest.map(|newest| newest.at_ms),
            age_ms: status.age_ms,
            runs: status.runs.map(Into::into),
            waits: status.waits.map(Into::into),
            next_ms: status.next_ms,
            last_end: status.last_end.map(Into::into),
        }
    }
}

impl From<Explanation> for BackupExplanation {
    fn from(told: Explanation) -> Self {
        let waits = told.blocks.into_iter().map(|block| DueWait {
            reason: block.reason.into(),
            until_ms: block.until_ms,
            since_ms: Some(block.since_ms),
        });
        let windows = told.windows.into_iter().map(|window| {
            let (ended_ms, closed) = window.ended.unzip();
            let spent = closed
                .as_ref()
                .map(|closed| closed.spent.iter().map(|(_, bytes)| bytes).sum());
            PastWindow {
                at_ms: window.at_ms,
                task: window.task.into(),
                ended_ms,
                end: closed.as_ref().map(|closed| closed.end.into()),
                bytes: spent.unwrap_or(0),
                requests: closed.map_or(0, |closed| closed.requests),
            }
        });
        Self {
            at_ms: told.at_ms,
            freshness: told.freshness.into(),
            newest_ms: told.newest.map(|newest| newest.at_ms),
            age_ms: told.age_ms,
            due: told.due.into_iter().map(Into::into).collect(),
            runs: told.runs.map(Into::into),
            waits: waits.collect(),
            windows: windows.collect(),
            not_woken: told.gap.map(|gap| NotWoken {
                from_ms: gap.from_ms,
                until_ms: gap.until_ms,
                asked_ms: gap.asked_ms,
                reason: gap.reason.into(),
            }),
            cautions: told.cautions.into_iter().map(Into::into).collect(),
            advice: told.advice.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<lifeboat::scheduler::Wake> for WakeMoment {
    fn from(wake: lifeboat::scheduler::Wake) -> Self {
        Self {
            earliest_ms: wake.earliest_ms,
            network: match wake.network {
                lifeboat::scheduler::NetworkNeed::Unmetered => NetworkNeed::Unmetered,
                lifeboat::scheduler::NetworkNeed::NotRoaming => NetworkNeed::NotRoaming,
                lifeboat::scheduler::NetworkNeed::Any => NetworkNeed::Any,
            },
            charging: wake.charging,
            idle: wake.idle,
            battery_not_low: wake.battery_not_low,
            storage_not_low: wake.storage_not_low,
            urgent: wake.urgent,
            long: wake.long,
        }
    }
}

impl From<WakeMoment> for lifeboat::scheduler::Wake {
    fn from(wake: WakeMoment) -> Self {
        Self {
            earliest_ms: wake.earliest_ms,
            network: match wake.network {
                NetworkNeed::Unmetered => lifeboat::scheduler::NetworkNeed::Unmetered,
                NetworkNeed::NotRoaming => lifeboat::scheduler::NetworkNeed::NotRoaming,
                NetworkNeed::Any => lifeboat::scheduler::NetworkNeed::Any,
            },
            charging: wake.charging,
            idle: wake.idle,
            battery_not_low: wake.battery_not_low,
            storage_not_low: wake.storage_not_low,
            urgent: wake.urgent,
            long: wake.long,
        }
    }
}

impl From<OneTimeWork> for AndroidWork {
    fn from(work: OneTimeWork) -> Self {
        Self {
            unique_name: work.unique_name,
            initial_delay_ms: work.initial_delay_ms,
            network: match work.network {
                NetworkType::Connected => AndroidNetworkType::Connected,
                NetworkType::NotRoaming => AndroidNetworkType::NotRoaming,
                NetworkType::Unmetered => AndroidNetworkType::Unmetered,
            },
            requires_charging: work.requires_charging,
            requires_device_idle: work.requires_device_idle,
            requires_battery_not_low: work.requires_battery_not_low,
            requires_storage_not_low: work.requires_storage_not_low,
            expedited: work.expedited,
        }
    }
}

impl From<TaskRequest> for AppleTask {
    fn from(request: TaskRequest) -> Self {
        match request {
            TaskRequest::Refresh {
                identifier,
                earliest_begin_ms,
            } => Self::Refresh {
                identifier,
                earliest_begin_ms,
            },
            TaskRequest::Processing {
                identifier,
                earliest_begin_ms,
                requires_external_power,
                requires_network_connectivity,
            } => Self::Processing {
                identifier,
                earliest_begin_ms,
                requires_external_power,
                requires_network_connectivity,
            },
        }
    }
}
