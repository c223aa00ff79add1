//! Performs what `decide` chose. No choices are made here.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    assemble::{AssembleContext, Assembled},
    decide::{Effect, Event, Published, Run, Sealed},
    job::{BackupJob, BackupReport},
    messages::{Backup, PackSealed},
    pipeline::Pipeline,
    previous::Previous,
};
use crate::{
    catalog::{Catalog, packs},
    error::{Error, Kind, Result},
    events::{self, Events, Meter, Phase},
    format::{BlobId, Snapshot, SnapshotId, Timestamp, ZonedTimestamp},
    limits,
    repository::{Repository, Spool, check_not_locked, list_snapshots, or_cancelled, sync_indexes},
    runtime::budget::Budget,
    scan::{CaptureContext, DatabaseRules, Excludes, FileReader, Target, WalkContext},
    seal::{Chunker, Sealer},
    sqlite::page_hash::PageHasher,
    uploader::{PublishOutcome, UploaderHandle},
};

/// What the Snapshotter works with.
pub(crate) struct SnapshotterParts {
    pub(crate) repository: Repository,
    pub(crate) catalog: Catalog,
    pub(crate) spool: Spool,
    pub(crate) uploader: UploaderHandle,
    pub(crate) meter: Arc<Meter>,
    pub(crate) events: Events,
    /// A folder of the engine's own, for the changes of databases until they are sealed.
    pub(crate) database_staging: PathBuf,
}

pub(crate) struct Snapshotter {
    parts: SnapshotterParts,
    chunker: Arc<Chunker>,
    sealing: Budget,
    spool_budget: Budget,
    current: Option<Current>,
}

/// The run that is going on.
struct Current {
    run: Run,
    job: BackupJob,
    /// Of the whole run.
    cancel: CancellationToken,
    /// Of its threads: also cancelled when the run is given up.
    threads: CancellationToken,
    started: SystemTime,
    target: Target,
    excludes: Excludes,
    epoch: i64,
    parent: Option<(SnapshotId, BlobId)>,
    pipeline: Option<Pipeline>,
    assembled: Option<Assembled>,
    snapshot: Option<SnapshotId>,
    reply: oneshot::Sender<Result<BackupReport>>,
}

/// What looking at the vault found.
struct Looked {
    epoch: i64,
    parent: Option<(SnapshotId, BlobId)>,
}

impl Actor for Snapshotter {
    type Context = Context<Self>;
}

impl Snapshotter {
    fn begin(
        &mut self,
        message: Backup,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<Result<BackupReport>>> {
        if self.current.is_some() {
            return Err(Error::new(Kind::Busy, "a backup is running already"));
        }
        let Backup { job, cancel } = message;
        let target = Target::root(&job.sources)?;
        let excludes = Excludes::new(&job.excludes)?;
        if job
            .sources
            .iter()
            .all(|source| rustix::fs::lstat(&source.path).is_err())
        {
            let names: Vec<_> = job
                .sources
                .iter()
                .map(|source| source.path.display().to_string())
                .collect();
            let text = format!("{}: nothing to back up is there", names.join(", "));
            return Err(Error::new(Kind::NotFound, text));
        }
        let (reply, answer) = oneshot::channel();
        let (run, effect) = Run::begin(job.skip_if_unchanged);
        let threads = cancel.child_token();
        self.parts.meter.reset();
        self.current = Some(Current {
            run,
            job,
            cancel,
            threads,
            started: self.parts.repository.clock.wall(),
            target,
            excludes,
            epoch: 0,
            parent: None,
            pipeline: None,
            assembled: None,
            snapshot: None,
            reply,
        });
        self.perform(vec![effect], ctx);
        Ok(answer)
    }

    fn drive(&mut self, event: Event, ctx: &mut Context<Self>) {
        if let Some(current) = &mut self.current {
            let effects = current.run.apply(event);
            self.perform(effects, ctx);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Look => self.look(ctx),
                Effect::Seal => self.seal(ctx),
                Effect::Publish => self.publish(ctx),
                Effect::Abort => {
                    if let Some(current) = &self.current {
                        current.threads.cancel();
                    }
                }
                Effect::Finish(result) => self.finish(result, ctx),
            }
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let Some(current) = &self.current else { return };
        self.parts.meter.phase(Phase::Looking);
        if current.run.is_again() {
            self.parts.events.tell(events::Event::SealingAgain);
            self.parts.meter.reset();
        }
        let (repository, catalog) = (self.parts.repository.clone(), self.parts.catalog.clone());
        let uploader = self.parts.uploader.clone();
        let (cancel, job) = (current.cancel.clone(), current.job.clone());
        let looked = async move {
            let look = look(&repository, &catalog, &uploader, &job, &cancel);
            or_cancelled(&cancel, look).await
        };
        ctx.spawn(looked.into_actor(self).map(|looked, act, ctx| {
            let result = looked.map(|looked| {
                if let Some(current) = &mut act.current {
                    (current.epoch, current.parent) = (looked.epoch, looked.parent);
                }
            });
            act.drive(Event::Looked(result), ctx);
        }));
    }

    fn seal(&mut self, ctx: &mut Context<Self>) {
        self.parts.meter.phase(Phase::Sealing);
        let started = self.start_pipeline(ctx);
        let answer = match started {
            Ok(answer) => answer,
            Err(error) => return self.drive(Event::Sealed(Err(error)), ctx),
        };
        ctx.spawn(answer.into_actor(self).map(|answer, act, ctx| {
            let answer = answer.unwrap_or_else(|_| Err(Error::bug("assembling ended without an answer")));
            let Some(current) = &mut act.current else { return };
            // Both threads are at their end, so this does not wait.
            let joined = current.pipeline.take().map_or(Ok(()), Pipeline::join);
            let sealed = answer
                .and_then(|assembled| joined.map(|()| assembled))
                .map(|assembled| {
                    let same_as_parent = current.parent.is_some_and(|(_, tree)| tree == assembled.tree);
                    current.assembled = Some(assembled);
                    Sealed { same_as_parent }
                });
            act.drive(Event::Sealed(sealed), ctx);
        }));
    }

    fn start_pipeline(&mut self, ctx: &mut Context<Self>) -> Result<oneshot::Receiver<Result<Assembled>>> {
        let current = self
            .current
            .as_mut()
            .ok_or_else(|| Error::bug("sealing without a run"))?;
        let parts = &self.parts;
        let runtime = tokio::runtime::Handle::current();
        let reader = FileReader {
            catalog: parts.catalog.clone(),
            sealer: Sealer::new(parts.repository.key.clone()),
            chunker: self.chunker.clone(),
        };
        let walking = WalkContext {
            reader,
            cpu: parts.repository.cpu.clone(),
            budget: self.sealing.clone(),
            excludes: current.excludes.clone(),
            cancel: current.threads.clone(),
            runtime: runtime.clone(),
            clock: parts.repository.clock.clone(),
            meter: parts.meter.clone(),
            epoch: current.epoch,
            databases: Some(DatabaseRules {
                capture: CaptureContext {
                    hasher: PageHasher::new(&parts.repository.config),
                    staging: parts.database_staging.clone(),
                },
                databases: current.job.databases.clone(),
            }),
        };
        let root = current.parent.map(|(_, tree)| tree);
        let (own, pack_runtime) = (ctx.address(), runtime.clone());
        let assembling = AssembleContext {
            repository: parts.repository.clone(),
            catalog: parts.catalog.clone(),
            spool: parts.spool.clone(),
            spool_budget: self.spool_budget.clone(),
            cancel: current.threads.clone(),
            runtime: runtime.clone(),
            meter: parts.meter.clone(),
            events: parts.events.clone(),
            epoch: current.epoch,
            previous: Previous::new(parts.repository.clone(), parts.catalog.clone(), runtime, root),
            on_pack: Box::new(move |pack, permit| {
                // An actor that is gone cannot be told; the next start finds the pack in the catalog.
                let _ = pack_runtime.block_on(own.send(PackSealed { pack, permit }));
            }),
        };
        let (pipeline, answer) = Pipeline::start(current.target.clone(), walking, assembling)?;
        current.pipeline = Some(pipeline);
        Ok(answer)
    }

    fn publish(&mut self, ctx: &mut Context<Self>) {
        self.parts.meter.phase(Phase::Publishing);
        let Some(current) = &self.current else { return };
        let Some(snapshot) = current.snapshot_document(&*self.parts.repository.clock) else {
            return;
        };
        let (uploader, epoch, cancel) = (self.parts.uploader.clone(), current.epoch, current.cancel.clone());
        let published = async move { uploader.publish(snapshot, epoch, cancel).await };
        ctx.spawn(published.into_actor(self).map(|published, act, ctx| {
            let result = published.map(|outcome| match outcome {
                PublishOutcome::Published(id) => {
                    if let Some(current) = &mut act.current {
                        current.snapshot = Some(id);
                    }
                    Published::Done
                }
                PublishOutcome::Lost => Published::Lost,
            });
            act.drive(Event::Published(result), ctx);
        }));
    }

    fn finish(&mut self, result: Result<()>, ctx: &mut Context<Self>) {
        let Some(current) = self.current.take() else {
            return;
        };
        self.parts.meter.phase(Phase::Idle);
        let report = result
            .and_then(|()| current.assembled.ok_or_else(|| Error::bug("done without a tree")))
            .map(|assembled| BackupReport {
                snapshot: current.snapshot,
                parent: current.parent.map(|(id, _)| id),
                stats: assembled.stats,
                unreadable: assembled.unreadable,
                unreadable_total: assembled.unreadable_total,
                changing: assembled.changing,
                odd_databases: assembled.odd_databases,
            });
        if let Some(id) = current.snapshot {
            self.parts.events.tell(events::Event::SnapshotPublished { id });
        }
        // Whoever asked hears of the end only when nothing is on its way any more.
        let (uploader, reply) = (self.parts.uploader.clone(), current.reply);
        let failed = report.is_err();
        let end = async move {
            if failed {
                uploader.abandon().await;
            }
            let _ = reply.send(report);
        };
        ctx.spawn(end.into_actor(self));
    }
}

impl Current {
    fn snapshot_document(&self, clock: &dyn crate::clock::Clock) -> Option<Snapshot> {
        let assembled = self.assembled.as_ref()?;
        let (start, end) = (local_time(self.started), local_time(clock.wall()));
        let mut snapshot = Snapshot::new(start, assembled.tree);
        snapshot.parent = self.parent.map(|(id, _)| id);
        snapshot.paths = paths(&self.job);
        snapshot.hostname.clone_from(&self.job.host);
        snapshot.username = crate::repository::username();
        snapshot.uid = rustix::process::getuid().as_raw();
        snapshot.gid = rustix::process::getgid().as_raw();
        snapshot.excludes.clone_from(&self.job.excludes);
        snapshot.tags.clone_from(&self.job.tags);
        snapshot.program_version = concat!("lifeboat ", env!("CARGO_PKG_VERSION")).to_owned();
        snapshot.summary = Some(assembled.stats.summary(start, end));
        Some(snapshot)
    }
}

/// The paths as a snapshot names them: absolute, sorted, each once. A source with a name of its own is named by that.
fn paths(job: &BackupJob) -> Vec<String> {
    let mut paths: Vec<String> = job
        .sources
        .iter()
        .map(|source| {
            let place: PathBuf = source.place.iter().collect();
            let path = if source.path.ends_with(&place) || source.place.is_empty() {
                std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone())
            } else {
                PathBuf::from("/").join(place)
            };
            path.to_string_lossy().into_owned()
        })
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// The time as it is where this runs: retention counts days as people there do.
fn local_time(time: SystemTime) -> ZonedTimestamp {
    let timestamp = Timestamp::from(time);
    let offset = jiff::Timestamp::new(timestamp.seconds(), 0).map_or(0, |instant| {
        jiff::tz::TimeZone::system().to_offset(instant).seconds()
    });
    ZonedTimestamp {
        timestamp,
        offset_seconds: offset,
    }
}

/// Learns what the vault holds, and sends on what an earlier run left in the spool.
async fn look(
    repository: &Repository,
    catalog: &Catalog,
    uploader: &UploaderHandle,
    job: &BackupJob,
    cancel: &CancellationToken,
) -> Result<Looked> {
    check_not_locked(repository).await?;
    let snapshots = list_snapshots(repository, catalog).await?;
    let epoch = sync_indexes(repository, catalog, cancel).await?;
    for pack in catalog.read(packs::spooled).await? {
        // On the disk already: what the spool may still take in is for the new ones.
        uploader.send_pack(pack, None, cancel.clone()).await?;
    }
    let wanted = paths(job);
    let parent = snapshots.iter().rev().find(|(_, snapshot)| {
        let mut paths = snapshot.paths.clone();
        paths.sort_unstable();
        snapshot.hostname == job.host && paths == wanted
    });
    Ok(Looked {
        epoch,
        parent: parent.map(|(id, snapshot)| (*id, snapshot.tree)),
    })
}

impl Handler<Backup> for Snapshotter {
    type Result = ResponseFuture<Result<BackupReport>>;

    fn handle(&mut self, message: Backup, ctx: &mut Context<Self>) -> Self::Result {
        let begun = self.begin(message, ctx);
        Box::pin(async move { begun?.await.unwrap_or_else(|_| Err(Error::stopped())) })
    }
}

impl Handler<PackSealed> for Snapshotter {
    type Result = ResponseActFuture<Self, ()>;

    /// Answered when the Uploader has the pack in its queue, so that `Publish` cannot overtake it.
    fn handle(&mut self, PackSealed { pack, permit }: PackSealed, _: &mut Context<Self>) -> Self::Result {
        let cancel = self
            .current
            .as_ref()
            .map_or_else(CancellationToken::new, |current| current.cancel.clone());
        let uploader = self.parts.uploader.clone();
        let submitted = async move { uploader.submit_pack(pack, permit, cancel).await };
        Box::pin(submitted.into_actor(self).map(|submitted, act, ctx| {
            let stored = match submitted {
                Ok(stored) => stored,
                Err(error) => return act.drive(Event::PackRefused(error), ctx),
            };
            ctx.spawn(stored.into_actor(act).map(|stored, act, ctx| {
                if let Err(error) = stored.unwrap_or_else(|_| Err(Error::stopped())) {
                    act.drive(Event::PackRefused(error), ctx);
                }
            }));
        }))
    }
}

/// What the rest of the engine sees.
#[derive(Clone)]
pub(crate) struct SnapshotterHandle {
    addr: Addr<Snapshotter>,
}

impl SnapshotterHandle {
    /// To be called on the engine thread.
    pub(crate) fn start(parts: SnapshotterParts) -> Self {
        let chunker = Arc::new(Chunker::new(&parts.repository.config));
        let snapshotter = Snapshotter {
            parts,
            chunker,
            sealing: Budget::new(limits::SEALING_BYTES_MAX),
            spool_budget: Budget::new(limits::SPOOL_BYTES_MAX),
            current: None,
        };
        Self {
            addr: snapshotter.start(),
        }
    }

    pub(crate) async fn backup(&self, job: BackupJob, cancel: CancellationToken) -> Result<BackupReport> {
        self.addr
            .send(Backup { job, cancel })
            .await
            .unwrap_or_else(|_| Err(Error::stopped()))
    }
}
