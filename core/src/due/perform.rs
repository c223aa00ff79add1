//! Performs what was decided. No choices are made here.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    DueDone, DueJob, DueReport, DueWindow,
    ends::{Ended, Window, closed},
};
use crate::{
    catalog::{Catalog, identity, journal},
    check,
    error::{Error, Kind, Result},
    events::{Event, Events, Meter},
    forget, limits,
    prune::{self, PruneJob, PruneParts},
    repository::{Repository, or_cancelled, remove_own_locks},
    scheduler::{Closed, Diary, Grant, NetworkClass, Reason, Started, Task, Verdict},
    snapshotter::{new_install, now_ms},
    window::{self, Allowances, Budget, WindowParts},
};

pub(crate) struct DueParts<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) catalog: &'a Catalog,
    pub(crate) window: &'a WindowParts,
    pub(crate) prune: PruneParts<'a>,
    pub(crate) meter: &'a Arc<Meter>,
    pub(crate) events: &'a Events,
}

/// Decides, does what was decided, and writes both down. An error is one of the engine itself; that the work failed is in the report.
pub(crate) async fn run_due(
    parts: &DueParts<'_>,
    job: DueJob,
    cancel: &CancellationToken,
) -> Result<DueReport> {
    let diary = Diary::new(parts.catalog);
    let clock = &*parts.repository.clock;
    let mut conditions = job.conditions.clone();
    let killed = begin(parts, &diary, &job).await?;
    let (decision, alarm) = diary.decide(now_ms(clock), conditions.clone()).await?;
    let mut alarms = Vec::from_iter(alarm);
    tell(parts.events, &alarms);
    let Verdict::Run { task, grant } = decision.verdict else {
        return Ok(DueReport {
            next: decision.clone(),
            decision,
            killed,
            alarms,
            window: None,
            again: false,
        });
    };
    let opened = clock.awake_or_asleep();
    let stop = job.stop.clone();
    let ended = work(parts, job, task, grant, cancel).await;
    let took = clock.awake_or_asleep().saturating_sub(opened);
    let window = Window {
        task,
        grant,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        traffic: parts.window.gate.take_traffic(),
        stopped: stop.reason(),
    };
    let closed = closed(&window, &ended);
    // What the host said is as old as the window was long; who asked has been answered.
    conditions.window_left_ms = conditions
        .window_left_ms
        .map(|left| left.saturating_sub(window.took_ms));
    conditions.asked &= !closed.finished;
    let (next, alarm) = diary.settle(now_ms(clock), conditions, closed.clone()).await?;
    tell(parts.events, alarm.as_slice());
    alarms.extend(alarm);
    let went_on = closed.finished || closed.confirmed > 0;
    let (done, error) = match ended {
        Ended::Done(done) => (Some(done), None),
        Ended::Failed(error) => (None, Some(error)),
        Ended::Unfinished | Ended::Waiting(_) => (None, None),
    };
    Ok(DueReport {
        decision,
        killed,
        alarms,
        again: next.verdict != Verdict::Wait && went_on && window.stopped.is_none(),
        window: Some(DueWindow {
            task,
            grant,
            closed,
            done,
            error,
        }),
        next,
    })
}

fn tell(events: &Events, reasons: &[Reason]) {
    for reason in reasons {
        events.tell(Event::Noticed { reason: *reason });
    }
}

/// The state folder is this engine's alone, so a window that is open now was left open by a process that is gone. The host may have said so itself, and more
/// of it, through the diary.
async fn begin(parts: &DueParts<'_>, diary: &Diary<'_>, job: &DueJob) -> Result<Option<Closed>> {
    let install = new_install()?;
    let (lineage, history) = parts
        .catalog
        .write(move |tx| Ok((identity::ensure(tx, install)?, journal::history(tx)?)))
        .await?;
    if history.is_some_and(|history| history.open.is_none()) {
        return Ok(None);
    }
    let number = u64::from_str_radix(&lineage.install, 16).unwrap_or(0);
    let now = now_ms(&*parts.repository.clock);
    diary
        .started(now, number, job.conditions.clone(), Started::default())
        .await
}

async fn work(
    parts: &DueParts<'_>,
    job: DueJob,
    task: Task,
    grant: Grant,
    cancel: &CancellationToken,
) -> Ended {
    // What went over the network since the last window, such as opening the vault, is this one's.
    let before = parts.window.gate.traffic().bytes;
    let bytes = grant.bytes.map(|bytes| bytes.saturating_sub(before));
    let time = Duration::from_millis(grant.time_ms);
    if task.is_backup() {
        let network = grant.class.unwrap_or(NetworkClass::Roaming);
        let budget = Budget {
            deadline: time,
            stop: job.stop.token().clone(),
            allowances: Allowances::NOTHING.with(network, bytes),
            network,
            lock: job.lock,
        };
        let outcome = window::run_window(parts.window, job.backup, budget, true, cancel.clone()).await;
        return outcome.map_or_else(failed, Ended::of);
    }
    let token = cancel.child_token();
    parts.window.gate.open(bytes, None);
    let upkeep = upkeep(parts, task, bytes, time, &token);
    let over = async {
        tokio::time::sleep(time).await;
        token.cancel();
        // The work ends by itself, and says how.
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = upkeep => ended,
        never = over => never,
    };
    parts.window.gate.close();
    parts.meter.phase(crate::events::Phase::Idle);
    ended.unwrap_or_else(failed)
}

fn failed(error: Error) -> Ended {
    match error.kind() {
        Kind::Cancelled => Ended::Unfinished,
        _ => Ended::Failed(error),
    }
}

async fn upkeep(
    parts: &DueParts<'_>,
    task: Task,
    bytes: Option<u64>,
    time: Duration,
    cancel: &CancellationToken,
) -> Result<Ended> {
    let (repository, catalog) = (parts.repository, parts.catalog);
    match task {
        Task::Forget => {
            let forgotten = or_cancelled(cancel, forget::forget_due(repository, catalog)).await;
            if cancel.is_cancelled() {
                // A lock that cannot be removed in time is removed at the next start.
                let in_time = Duration::from_millis(limits::LOCK_RELEASE_MS);
                let _ = tokio::time::timeout(in_time, remove_own_locks(repository, catalog)).await;
            }
            forgotten.map(|forgotten| Ended::Done(DueDone::Forgot(forgotten)))
        }
        Task::Verify => {
            // Half of everything: the list of what is there costs something, too.
            let bounds = check::SampleBounds {
                bytes: bytes.map(|bytes| bytes / 2),
                until: repository.clock.awake_or_asleep() + time / 2,
            };
            let sample = check::sample(repository, catalog, bounds, cancel).await?;
            Ok(Ended::Done(DueDone::Verified(sample)))
        }
        Task::Prune => prune(parts, bytes, cancel).await,
        Task::Resume | Task::FirstBackup | Task::Increment => Err(Error::bug("a backup is no upkeep")),
    }
}

/// One window's worth of it.
async fn prune(parts: &DueParts<'_>, bytes: Option<u64>, cancel: &CancellationToken) -> Result<Ended> {
    let a_part = |most: u64| bytes.map_or(most, |bytes| most.min(bytes / 4));
    let repack = a_part(limits::PRUNE_WINDOW_REPACK_BYTES);
    let job = PruneJob {
        max_repack_bytes: Some(repack),
        max_plan_bytes: Some(a_part(limits::PRUNE_WINDOW_PLAN_BYTES)),
        ..PruneJob::default()
    };
    let with = || PruneParts {
        cancel,
        ..parts.prune
    };
    let plan = prune::plan(with(), job).await?;
    if !plan.is_whole {
        return Ok(Ended::Unfinished);
    }
    let postponed = plan.totals.postponed.packs;
    let report = prune::prune(with(), plan).await?;
    if postponed > 0 {
        return Ok(Ended::Unfinished);
    }
    Ok(Ended::Done(DueDone::Pruned(report)))
}
