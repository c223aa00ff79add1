//! Performs a window: opens it, has the actors work as long as it lasts, closes it, and says how it ended.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    Budget, Gate, MoreToDo, Outcome, Waiting, WakeHint,
    decide::{Span, Unindexed, View, unreachable_wait_s},
    divide::divide,
    gate::Travelled,
    hand_off,
    link::{Estimate, pack_target, piece_max},
};
use crate::{
    catalog::{
        Catalog, SpooledPack, packs,
        run::{self, LinkRow, ParkedRow, RunRow},
    },
    error::{Error, Kind, Place, Result, Retry},
    format::{PackId, Timestamp},
    limits,
    repository::{Repository, Spool, or_cancelled, remove_own_locks},
    scheduler::NetworkClass,
    snapshotter::{BackupJob, BackupReport, SnapshotterHandle, SpoolRoom, Terms, WindowTerms},
    storage::Storage,
    uploader::UploaderHandle,
};

/// What a window works with.
pub(crate) struct WindowParts {
    pub(crate) repository: Repository,
    pub(crate) gate: Arc<Gate>,
    pub(crate) catalog: Catalog,
    pub(crate) spool: Spool,
    pub(crate) room: SpoolRoom,
    pub(crate) uploader: UploaderHandle,
    pub(crate) snapshotter: SnapshotterHandle,
}

impl WindowParts {
    pub(super) fn now_s(&self) -> i64 {
        Timestamp::from(self.repository.clock.wall()).seconds()
    }
}

/// Runs a job for as long as the window is open. An error is one of the engine itself, not of the run.
pub(crate) async fn run_window(
    parts: &WindowParts,
    job: BackupJob,
    budget: Budget,
    guarded: bool,
    cancel: CancellationToken,
) -> Result<Outcome> {
    let row = begin(parts, &job).await?;
    if let Some(waiting) = cannot_begin(parts, &row, &budget) {
        return Ok(waiting);
    }
    let network = budget.network.name();
    let remembered = remembered(parts, budget.network).await?;
    parts.gate.open(budget.allowances.of(budget.network), remembered);
    let length_ms = u64::try_from(budget.deadline.as_millis()).unwrap_or(u64::MAX);
    let token = cancel.child_token();
    let window = Window {
        parts,
        span: Span::of(parts.gate.now_ms(), length_ms),
        seal: token.child_token(),
        token,
        budget,
        guarded,
    };
    let ended = tokio::select! {
        ended = window.work(job, row) => ended,
        never = window.watch() => never,
    };
    let travelled = window.close(network).await?;
    window.outcome(ended, travelled).await
}

/// Begins a run that has all the time and bytes it takes. Returns how large its packs should be.
pub(crate) async fn begin_unbounded(parts: &WindowParts, network: NetworkClass) -> Result<u64> {
    let remembered = remembered(parts, network).await?;
    parts.gate.open(None, remembered);
    Ok(pack_target(remembered, None, None))
}

/// Notes what such a run measured.
pub(crate) async fn end_unbounded(parts: &WindowParts, network: NetworkClass) -> Result<()> {
    let estimate = parts.gate.estimate();
    parts.gate.close();
    let at_s = parts.now_s();
    let Some(estimate) = estimate else { return Ok(()) };
    let row = LinkRow { estimate, at_s };
    parts
        .catalog
        .write(move |tx| run::save_link(tx, network.name(), &row))
        .await
}

/// What is known of the link from not long ago.
async fn remembered(parts: &WindowParts, network: NetworkClass) -> Result<Option<Estimate>> {
    let now_s = parts.now_s();
    let row = parts
        .catalog
        .read(move |db| run::link(db, network.name()))
        .await?;
    let is_recent = |row: &LinkRow| (0..=limits::LINK_AGE_MAX_S).contains(&(now_s - row.at_s));
    Ok(row.filter(is_recent).map(|row| row.estimate))
}

/// The run as it is remembered, or a new one. What is known of the vault stays known for a new one.
async fn begin(parts: &WindowParts, job: &BackupJob) -> Result<RunRow> {
    // What makes a run another one; that another version writes it differently only begins a new one.
    let id = format!("{:?}", (&job.sources, &job.excludes, &job.tags, &job.host));
    let id = crate::format::FileId::of(id.as_bytes()).to_string();
    let (now_s, credentials) = (parts.now_s(), parts.gate.credentials_version());
    parts
        .catalog
        .write(move |tx| {
            let remembered = run::run(tx)?.unwrap_or_default();
            let mut row = if remembered.job == id {
                remembered
            } else {
                RunRow {
                    job: id,
                    started_s: now_s,
                    parked: remembered.parked,
                    unreachable: remembered.unreachable,
                    ..RunRow::default()
                }
            };
            let still = |parked: &ParkedRow| is_still_parked(parked, credentials, now_s);
            row.parked = row.parked.filter(still);
            row.windows += 1;
            run::save_run(tx, &row)?;
            Ok(row)
        })
        .await
}

fn is_still_parked(parked: &ParkedRow, credentials: u64, now_s: i64) -> bool {
    if parked.is_full {
        (0..limits::PARKED_FULL_S).contains(&(now_s - parked.since_s))
    } else {
        // Permissions can change without the credentials: that is looked for now and then.
        let is_recent = (0..limits::PARKED_REFUSED_S).contains(&(now_s - parked.since_s));
        parked.credentials == credentials && is_recent
    }
}

fn cannot_begin(parts: &WindowParts, row: &RunRow, budget: &Budget) -> Option<Outcome> {
    let hint = |not_before_s: i64, window_min| WakeHint {
        not_before: Duration::from_secs(u64::try_from(not_before_s).unwrap_or(0)),
        networks: budget.allowances.usable(),
        window_min,
    };
    if let Some(parked) = &row.parked {
        let until_s = if parked.is_full {
            parked.since_s + limits::PARKED_FULL_S - parts.now_s()
        } else {
            limits::PARKED_FULL_S
        };
        let reason = Waiting::Parked {
            kind: if parked.is_full {
                Kind::OutOfSpace(Place::Vault)
            } else {
                Kind::AccessDenied
            },
            text: parked.text.clone(),
            since: parked.since_s,
        };
        let hint = hint(until_s, None);
        return Some(Outcome::Waiting { reason, hint });
    }
    if budget.allowances.of(budget.network) == Some(0) {
        let reason = Waiting::Network(budget.network);
        let hint = hint(0, None);
        return Some(Outcome::Waiting { reason, hint });
    }
    let min = Duration::from_millis(limits::WINDOW_MIN_MS);
    (budget.deadline < min).then(|| Outcome::Waiting {
        reason: Waiting::WindowTooShort,
        hint: hint(0, Some(min)),
    })
}

/// A window that is open.
struct Window<'a> {
    parts: &'a WindowParts,
    budget: Budget,
    guarded: bool,
    span: Span,
    /// Cancelled at the end of the window, or by whoever takes it back.
    token: CancellationToken,
    /// Cancelled when sealing must end.
    seal: CancellationToken,
}

impl Window<'_> {
    fn view(&self) -> View {
        let gate = &self.parts.gate;
        View {
            span: self.span,
            now_ms: gate.now_ms(),
            bytes_left: gate.left(),
            in_flight_bytes: 0,
            estimate: gate.estimate(),
        }
    }

    fn pack_target(&self) -> u64 {
        let allowance = self.budget.allowances.of(self.budget.network);
        pack_target(self.parts.gate.estimate(), Some(self.span.length_ms()), allowance)
    }

    /// How long a blob may be in this run from now on.
    async fn piece_max(&self, row: &RunRow) -> Result<usize> {
        let allowance = self.budget.allowances.of(self.budget.network);
        let fits = piece_max(self.parts.gate.estimate(), self.span.length_ms(), allowance);
        let least = row.piece_bytes.map_or(fits, |earlier| earlier.min(fits));
        if row.piece_bytes != Some(least) {
            let change = move |tx: &rusqlite::Transaction<'_>| {
                run::change_run(tx, |row| row.piece_bytes = Some(least))
            };
            self.parts.catalog.write(change).await?;
        }
        Ok(least)
    }

    /// Ends what must end in time, also when the device slept meanwhile. Never returns.
    async fn watch<T>(&self) -> T {
        let clock = &*self.parts.repository.clock;
        let opened = clock.awake_or_asleep();
        let after = |ms: u64| Duration::from_millis(ms - self.span.opened_ms);
        let (seals_until, ends) = (after(self.span.seals_until_ms()), after(self.span.ends_ms));
        let mut last = Duration::ZERO;
        loop {
            let next = if last < seals_until { seals_until } else { ends };
            let tick = Duration::from_millis(limits::WINDOW_TICK_MS);
            // At least a little, so that a window that is over does not spin.
            let wait = next.saturating_sub(last).clamp(Duration::from_millis(1), tick);
            tokio::time::sleep(wait).await;
            let now = clock.awake_or_asleep().saturating_sub(opened);
            if now >= seals_until || self.view().is_sealed_enough(self.parts.room.taken_bytes()) {
                self.seal.cancel();
            }
            if now >= ends {
                self.token.cancel();
                // Nothing is left to watch.
                std::future::pending::<()>().await;
            }
            if now.saturating_sub(last) >= Duration::from_millis(limits::FREEZE_GAP_MS) {
                self.parts.uploader.frozen().await;
            }
            last = now;
        }
    }

    /// `Kind::Cancelled`: the window is over, and the run goes on in the next one.
    async fn work(&self, job: BackupJob, row: RunRow) -> Result<Ended> {
        let parts = self.parts;
        let prepare = async {
            remove_own_locks(&parts.repository, &parts.catalog).await?;
            hand_off::settle(parts, row.tree.is_some()).await?;
            let (packs, blobs, bytes) = parts.catalog.read(packs::unindexed_totals).await?;
            let unindexed = Unindexed { packs, blobs, bytes };
            let (lock, token) = (self.budget.lock, self.token.clone());
            parts
                .uploader
                .open_window(self.span, unindexed, lock, token)
                .await
        };
        or_cancelled(&self.token, prepare).await?;
        let piece_bytes_max = self.piece_max(&row).await?;
        let mut queued = HashSet::new();
        let look = !(0..limits::LOOK_AGE_MAX_S).contains(&(parts.now_s() - row.looked_s));
        loop {
            let waiting = self.waiting().await?;
            let view = self.view();
            let target = self.pack_target();
            // What is not full is filled up first, if there is something to fill it with.
            let to_send = if row.tree.is_some() {
                waiting.all()
            } else {
                waiting.full
            };
            divide(parts, &view, target, piece_bytes_max, &to_send, &self.token).await?;
            let waiting = self.waiting().await?;
            if row.tree.is_some() {
                self.queue(waiting.all(), &mut queued).await?;
                if waiting.handed_off > 0 {
                    self.drain().await?;
                    return Ok(Ended::HandedOff);
                }
                return self.back_up(job, row, piece_bytes_max, false, vec![]).await;
            }
            let backlog = waiting.full.iter().map(|pack| pack.size).sum();
            self.queue(waiting.full, &mut queued).await?;
            if self.view().should_seal(backlog) {
                let unfilled = waiting.unfilled.iter().map(|pack| pack.id).collect();
                return self.back_up(job, row, piece_bytes_max, look, unfilled).await;
            }
            self.drain().await?;
            // Faster than was thought: there may be time to seal more.
            if self.token.is_cancelled() || !self.view().should_seal(0) {
                return Err(Error::cancelled());
            }
            let left = self.waiting().await?;
            if left.full.iter().any(|pack| queued.contains(&pack.id)) {
                return Err(Error::cancelled());
            }
        }
    }

    async fn back_up(
        &self,
        job: BackupJob,
        row: RunRow,
        piece_bytes_max: usize,
        look: bool,
        unfilled: Vec<PackId>,
    ) -> Result<Ended> {
        let terms = Terms {
            guarded: self.guarded,
            lock: self.budget.lock,
            pack_target_bytes: self.pack_target(),
            piece_bytes_max,
            window: Some(WindowTerms {
                seal: self.seal.clone(),
                unfilled,
                look,
                row,
            }),
        };
        match self
            .parts
            .snapshotter
            .backup(job, terms, self.token.clone())
            .await
        {
            Ok(report) => Ok(Ended::Done(Box::new(report))),
            Err(error) if error.kind() == Kind::Cancelled => {
                self.drain().await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends what the window still has time and bytes for.
    async fn drain(&self) -> Result<()> {
        let drain = async {
            match self.parts.uploader.drain().await {
                Some(error) => Err(error),
                None => Ok(()),
            }
        };
        or_cancelled(&self.token, drain).await
    }

    async fn queue(&self, packs: Vec<SpooledPack>, queued: &mut HashSet<PackId>) -> Result<()> {
        for pack in packs {
            if queued.insert(pack.id) {
                let permit = self.parts.room.of_spooled(pack.size);
                let uploader = &self.parts.uploader;
                uploader.send_pack(pack, permit, self.token.clone()).await?;
            }
        }
        Ok(())
    }

    async fn waiting(&self) -> Result<InSpool> {
        in_spool(self.parts).await
    }

    /// Nothing is on its way when this returns.
    async fn close(&self, network: &'static str) -> Result<Travelled> {
        self.token.cancel();
        self.parts.uploader.close_window().await;
        let (estimate, now_s) = (self.parts.gate.estimate(), self.parts.now_s());
        let travelled = self.parts.gate.close();
        self.parts
            .catalog
            .write(move |tx| {
                if let Some(estimate) = estimate {
                    run::save_link(
                        tx,
                        network,
                        &LinkRow {
                            estimate,
                            at_s: now_s,
                        },
                    )?;
                }
                run::change_run(tx, |row| row.sent += travelled.sent)
            })
            .await?;
        Ok(travelled)
    }

    async fn outcome(&self, ended: Result<Ended>, travelled: Travelled) -> Result<Outcome> {
        let catalog = &self.parts.catalog;
        let error = match ended {
            Ok(Ended::Done(report)) => {
                catalog.write(run::end_run).await?;
                return Ok(Outcome::Done(report));
            }
            Ok(Ended::HandedOff) => {
                let hint = self.hint(Duration::ZERO, None);
                let reason = Waiting::HandedOff;
                return Ok(Outcome::Waiting { reason, hint });
            }
            Err(error) => error,
        };
        match error.kind() {
            // Ended by its deadline in the middle of a question: a vault that lets every window wait is away.
            Kind::Cancelled if travelled.is_unanswered() && self.is_over() => {
                let text = "the vault did not answer once in the whole window: it is away, or the network too slow for so short a one";
                // Only a pack can be what a slow network did not manage.
                let window_min = (travelled.sent > 0).then(|| self.in_vain());
                self.unreachable(Error::new(Kind::Unreachable, text), window_min)
                    .await
            }
            Kind::Cancelled => {
                if travelled.confirmed > 0 {
                    catalog
                        .write(|tx| run::change_run(tx, |row| row.unreachable = 0))
                        .await?;
                }
                self.more_to_do(travelled.confirmed).await.map(Outcome::MoreToDo)
            }
            Kind::AccessDenied | Kind::OutOfSpace(Place::Vault) => {
                self.park(&error).await?;
                Ok(Outcome::failed(error))
            }
            Kind::OutOfSpace(Place::State) => Ok(Outcome::Waiting {
                reason: Waiting::DiskFull(error),
                hint: self.hint(Duration::from_secs(LATER_S), None),
            }),
            Kind::Locked => Ok(Outcome::Waiting {
                reason: Waiting::Locked(error),
                hint: self.hint(Duration::from_secs(LATER_S), None),
            }),
            Kind::Busy | Kind::NotRunning | Kind::Catalog | Kind::Io => Ok(Outcome::failed(error)),
            kind if kind.retry() == Retry::Later => self.unreachable(error, None).await,
            _ => Ok(Outcome::failed(error)),
        }
    }

    async fn more_to_do(&self, confirmed: u64) -> Result<MoreToDo> {
        let waiting = in_spool(self.parts).await?;
        let all_sealed = self.parts.catalog.read(run::run).await?;
        let all_sealed = all_sealed.is_some_and(|row| row.tree.is_some());
        let all = waiting.all();
        // What the next window must at least be, to confirm the smallest of what waits; one that brought nothing home was too short.
        let view = self.view();
        let smallest = all.iter().map(|pack| pack.size).min();
        let needs = smallest.zip(view.estimate).map(|(bytes, estimate)| {
            Duration::from_millis(estimate.time_ms(bytes).saturating_add(limits::WINDOW_MARGIN_MS))
        });
        let by_time =
            !self.budget.stop.is_cancelled() && self.budget.allowances.of(self.budget.network).is_none();
        let in_vain = (confirmed == 0 && by_time).then(|| self.in_vain());
        Ok(MoreToDo {
            packs: waiting.packs(),
            bytes: waiting.bytes,
            all_sealed,
            handed_off: waiting.handed_off,
            hint: self.hint(Duration::ZERO, needs.max(in_vain)),
        })
    }

    async fn park(&self, error: &Error) -> Result<()> {
        let parked = ParkedRow {
            is_full: error.kind() != Kind::AccessDenied,
            text: error.to_string(),
            since_s: self.parts.now_s(),
            credentials: self.parts.gate.credentials_version(),
        };
        let change = |row: &mut RunRow| row.parked = Some(parked);
        self.parts.catalog.write(|tx| run::change_run(tx, change)).await
    }

    fn is_over(&self) -> bool {
        self.parts.gate.now_ms() >= self.span.ends_ms
    }

    /// How long the next window should be where this one brought nothing home.
    fn in_vain(&self) -> Duration {
        self.budget.deadline.saturating_mul(2)
    }

    async fn unreachable(&self, error: Error, window_min: Option<Duration>) -> Result<Outcome> {
        let count = |tx: &rusqlite::Transaction<'_>| {
            let mut failures = 0;
            run::change_run(tx, |row| {
                failures = row.unreachable;
                row.unreachable = row.unreachable.saturating_add(1);
            })?;
            Ok(failures)
        };
        let failures = self.parts.catalog.write(count).await?;
        let mut random = [0; 8];
        // Without randomness the wait is the shortest one.
        let _ = getrandom::fill(&mut random);
        let wait = Duration::from_secs(unreachable_wait_s(failures, u64::from_le_bytes(random)));
        let wait = error.retry_after().unwrap_or_default().max(wait);
        Ok(Outcome::Waiting {
            hint: self.hint(wait, window_min),
            reason: Waiting::Unreachable(error),
        })
    }

    fn hint(&self, not_before: Duration, window_min: Option<Duration>) -> WakeHint {
        WakeHint {
            not_before,
            networks: self.budget.allowances.usable(),
            window_min,
        }
    }
}

/// When what others must do may have been done.
const LATER_S: u64 = 600;

enum Ended {
    Done(Box<BackupReport>),
    HandedOff,
}

/// What waits in the spool.
struct InSpool {
    full: Vec<SpooledPack>,
    unfilled: Vec<SpooledPack>,
    handed_off: u64,
    bytes: u64,
}

impl InSpool {
    /// What the engine itself is to send.
    fn all(&self) -> Vec<SpooledPack> {
        [self.full.as_slice(), self.unfilled.as_slice()].concat()
    }

    fn packs(&self) -> u64 {
        self.full.len() as u64 + self.unfilled.len() as u64 + self.handed_off
    }
}

async fn in_spool(parts: &WindowParts) -> Result<InSpool> {
    let (spooled, unfilled, handed_off) = parts
        .catalog
        .read(|db| Ok((packs::spooled(db)?, run::unfilled(db)?, run::handed_off(db)?)))
        .await?;
    let bytes = spooled.iter().map(|pack| pack.size).sum();
    let (out, ours): (Vec<_>, Vec<_>) = spooled
        .into_iter()
        .partition(|pack| handed_off.contains_key(&pack.id));
    let (unfilled, full) = ours.into_iter().partition(|pack| unfilled.contains(&pack.id));
    Ok(InSpool {
        full,
        unfilled,
        handed_off: out.len() as u64,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_until_the_credentials_change_and_a_full_vault_for_hours() {
        let refused = ParkedRow {
            is_full: false,
            text: String::new(),
            since_s: 1000,
            credentials: 7,
        };
        assert!(is_still_parked(&refused, 7, 1000 + limits::PARKED_REFUSED_S - 1));
        assert!(!is_still_parked(&refused, 7, 1000 + limits::PARKED_REFUSED_S));
        assert!(!is_still_parked(&refused, 8, 1000));
        let full = ParkedRow {
            is_full: true,
            ..refused
        };
        assert!(is_still_parked(&full, 8, 1000 + limits::PARKED_FULL_S - 1));
        assert!(!is_still_parked(&full, 7, 1000 + limits::PARKED_FULL_S));
        assert!(!is_still_parked(&full, 7, 0), "a clock that was set back");
    }
}
