//! Gives back the room of what no snapshot needs, as restic's prune does, and so that clients which sleep lose nothing.
//!
//! A pack goes in three steps, each at least a grace apart and each in another prune. While it is of no use, it is *marked* and stays where
//! it is: a run that sleeps between two windows finds its packs again. Then it is *retired*: no index names it, so that nothing new comes to
//! depend on it; its blobs stand in the mark. Then, if still no snapshot needs it, it is *deleted*. A snapshot that comes late, from a client
//! that was frozen while it was publishing, has its packs *recovered*. The marks lie in the vault, in index files that name no pack.
//!
//! Planning takes no lock and changes nothing. Packing anew only adds, under a shared lock. Taking away is one short stretch under the
//! exclusive one, and begins with a fresh look. Every interruption leaves a repository that restic finds no fault with.
//!
//! Memory: what is known of blobs and trees lies in a database; for each pack some 200 bytes are held, up to `limits::PRUNE_PACKS_MAX`.

mod execute;
mod facts;
mod indexes;
mod job;
mod plan;
mod reach;
mod repack;
mod store;
mod survey;
mod tally;

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

pub use self::job::{
    BlobCount, InvalidMaxUnused, MaxUnused, PackAction, PackCount, PruneJob, PrunePlan, PruneReport,
    PruneTotals, parse_bytes,
};
use self::plan::Refusal;
use crate::{
    catalog::{Catalog, CatalogThread},
    error::{Error, Kind, Result},
    events::{Meter, Phase},
    format::{FileId, FileType, PackId, Timestamp},
    limits,
    repository::{
        HeldLock, LockKind, Repository, Spool, check_not_locked, list_locks, lock, locked, or_cancelled,
        sync_indexes,
    },
};

/// What the parts of a prune share.
struct Pruner {
    repository: Repository,
    /// The engine's own catalog: snapshots that were seen, and our locks.
    catalog: Catalog,
    store: Catalog,
    spool: Spool,
    meter: Arc<Meter>,
    cancel: CancellationToken,
    report: PruneReport,
    /// The shared lock while packs are packed anew, and when it was taken.
    lease: Option<(HeldLock, Duration)>,
}

/// What an engine gives a prune to work with.
pub(crate) struct PruneParts<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) catalog: &'a Catalog,
    /// The caller's alone.
    pub(crate) state_dir: &'a Path,
    pub(crate) meter: &'a Arc<Meter>,
    pub(crate) cancel: &'a CancellationToken,
}

/// Says what a prune would do.
pub(crate) async fn plan(parts: PruneParts<'_>, job: PruneJob) -> Result<PrunePlan> {
    let (pruner, thread) = Pruner::start(&parts)?;
    let planned = or_cancelled(parts.cancel, pruner.plan(job)).await;
    pruner.end(thread).await;
    planned
}

/// Does what the plan says, as far as the vault still allows it.
pub(crate) async fn prune(parts: PruneParts<'_>, plan: PrunePlan) -> Result<PruneReport> {
    if plan.repository != parts.repository.config.id {
        let text = "the plan was made for another repository";
        return Err(Error::new(Kind::InvalidInput, text));
    }
    if !plan.is_whole {
        return Ok(PruneReport::default());
    }
    let (mut pruner, thread) = Pruner::start(&parts)?;
    let done = pruner.execute(&plan).await;
    let report = pruner.report;
    pruner.end(thread).await;
    done?;
    // The engine should not count on what is gone. It would learn of it at the next backup, too.
    sync_indexes(parts.repository, parts.catalog, parts.cancel).await?;
    Ok(report)
}

impl Pruner {
    fn start(parts: &PruneParts<'_>) -> Result<(Self, CatalogThread)> {
        parts.meter.reset();
        parts.meter.phase(Phase::Pruning);
        let (store, thread) = store::start(parts.state_dir)?;
        let spool = Spool::open(parts.state_dir.join("prune-spool"))?;
        // What an earlier prune was killed at is of no use.
        for left in spool.list()? {
            spool.remove(&left);
        }
        let pruner = Self {
            repository: parts.repository.clone(),
            catalog: parts.catalog.clone(),
            store,
            spool,
            meter: parts.meter.clone(),
            cancel: parts.cancel.clone(),
            report: PruneReport::default(),
            lease: None,
        };
        Ok((pruner, thread))
    }

    async fn end(self, thread: CatalogThread) {
        let Self { store, meter, .. } = self;
        // What still runs there is of no use to anyone. Its thread ends with the last handle to it.
        store.interrupt();
        drop(store);
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        meter.phase(Phase::Idle);
    }

    fn now(&self) -> Timestamp {
        let now = Timestamp::from(self.repository.clock.wall());
        // Marks are in whole seconds.
        Timestamp::new(now.seconds(), 0).unwrap_or(now)
    }

    async fn plan(&self, job: PruneJob) -> Result<PrunePlan> {
        check_not_locked(&self.repository).await?;
        let listed = self.repository.storage.list(FileType::Index).await?;
        let before: Vec<FileId> = listed.into_iter().map(|(id, _)| id).collect();
        match self.plan_now(job).await {
            Err(error) => Err(survey::settled(&self.repository, &before, error).await),
            planned => planned,
        }
    }

    async fn plan_now(&self, job: PruneJob) -> Result<PrunePlan> {
        let mut plan = PrunePlan {
            totals: PruneTotals::default(),
            actions: BTreeMap::new(),
            is_whole: false,
            repository: self.repository.config.id,
            job,
        };
        let fetch_max = plan.job.max_plan_bytes.unwrap_or(u64::MAX);
        let Some(survey) = self.survey(fetch_max, HashSet::new()).await? else {
            return Ok(plan);
        };
        let decision = plan::decide(&survey.packs, &plan.job, self.now()).map_err(refused)?;
        plan.is_whole = true;
        plan.totals = PruneTotals {
            snapshots: survey.snapshots,
            index_files: survey.index_files,
            ..decision.totals
        };
        let acted = survey.packs.iter().zip(decision.actions);
        plan.actions = acted
            .filter_map(|(pack, action)| Some((pack.id, action?)))
            .collect();
        Ok(plan)
    }

    async fn execute(&mut self, plan: &PrunePlan) -> Result<()> {
        self.must_delete().await?;
        // Who is there now may still be there later: nothing is packed anew that could then not be taken away.
        if let Some(other) = list_locks(&self.repository).await?.first() {
            return Err(locked(other, Timestamp::from(self.repository.clock.wall())));
        }
        if plan.actions.values().any(|action| *action == PackAction::Repack) {
            let held = lock(&self.repository, &self.catalog, LockKind::Shared).await?;
            self.lease = Some((held, self.repository.clock.monotonic()));
            let cancel = self.cancel.clone();
            let done = or_cancelled(&cancel, self.repack_all(plan)).await;
            let released = match self.lease.take() {
                Some((held, _)) => held.release(&self.repository, &self.catalog).await,
                None => Ok(()),
            };
            done?;
            released?;
        }
        let held = lock(&self.repository, &self.catalog, LockKind::Exclusive).await?;
        let cancel = self.cancel.clone();
        let done = or_cancelled(&cancel, self.take_away(plan, &held)).await;
        // On every way out; one that cannot be removed now is removed at the next start.
        let released = held.release(&self.repository, &self.catalog).await;
        done?;
        released
    }

    async fn repack_all(&mut self, plan: &PrunePlan) -> Result<()> {
        let survey = self.whole_survey(HashSet::new()).await?;
        let decision = plan::decide(&survey.packs, &plan.job, self.now()).map_err(refused)?;
        self.meter
            .totals(decision.totals.repack.packs, decision.totals.repacked.bytes);
        self.repack(plan, &survey, &decision.actions).await
    }

    async fn take_away(&mut self, plan: &PrunePlan, held: &HeldLock) -> Result<()> {
        let repacked = plan
            .actions
            .iter()
            .filter(|(_, action)| **action == PackAction::Repack);
        let survey = self.whole_survey(repacked.map(|(&id, _)| id).collect()).await?;
        self.commit(plan, &survey, held).await
    }

    /// What is new since the plan is read, however much it is: it is little, and without it nothing may be deleted.
    async fn whole_survey(&self, leaving: HashSet<PackId>) -> Result<survey::Survey> {
        let survey = self.survey(u64::MAX, leaving).await?;
        survey.ok_or_else(|| Error::bug("a survey without a bound stopped at one"))
    }

    /// Refuses a vault that only takes: nothing would come of the prune but more to store.
    async fn must_delete(&self) -> Result<()> {
        // The name of no file: who may delete, deletes it without a word.
        let nobody = FileId::of(b"lifeboat asks whether it may delete");
        match self.repository.storage.delete(FileType::Index, &nobody).await {
            Err(error) if error.kind() == Kind::AccessDenied => {
                let text = "the vault refuses to delete anything, as append-only vaults do; nothing was done. \
                            Prune it from a machine that may delete";
                Err(Error::with_source(Kind::AccessDenied, text, error))
            }
            result => result,
        }
    }

    /// Refreshes the shared lock as restic does: a new one first, and the old one must still have been there.
    async fn keep_lease(&mut self) -> Result<()> {
        let now = self.repository.clock.monotonic();
        let Some((held, since)) = self.lease.take() else {
            return Err(Error::bug("packing anew without a lock"));
        };
        if now.saturating_sub(since) < limits::LOCK_REFRESH {
            self.lease = Some((held, since));
            return Ok(());
        }
        let next = lock(&self.repository, &self.catalog, LockKind::Shared).await;
        let is_held = held.is_held(&self.repository).await;
        let released = held.release(&self.repository, &self.catalog).await;
        self.lease = Some((next?, now));
        released?;
        if is_held? { Ok(()) } else { Err(lock_lost()) }
    }
}

fn lock_lost() -> Error {
    let text = "someone removed the lock of this prune while it was running; it stopped there. Prune again";
    Error::new(Kind::Locked, text)
}

/// The error for a vault that cannot be pruned as it is.
fn refused(refusal: Refusal) -> Error {
    let text = match refusal {
        Refusal::Missing(id) => {
            format!("data/{id} is missing, and snapshots need what an index says is in it")
        }
        Refusal::WrongSize { id, file, indexed } => {
            format!("data/{id} has {file} bytes where the indexes make it {indexed}, and snapshots need it")
        }
    };
    let advice =
        "nothing was pruned; `lifeboat check` says what else is hurt, `restic repair index` mends indexes";
    Error::new(Kind::Damaged, format!("{text}; {advice}"))
}
