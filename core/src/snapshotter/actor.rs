//! Performs what `decide` chose. No choices are made here.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    assemble::{AssembleContext, Assembled},
    decide::{Effect, Event, Published, Run, Sealed},
    guarding,
    job::{BackupJob, BackupReport, BackupStats},
    look::{Look, is_about, paths},
    messages::{Backup, PackSealed, Terms},
    packing::Packing,
    pipeline::Pipeline,
    previous::Previous,
    resume,
    room::SpoolRoom,
};
use crate::{
    catalog::{Catalog, run},
    error::{Error, Kind, Result},
    events::{self, Events, Meter, Phase},
    format::{BlobId, Snapshot, SnapshotId, Timestamp, ZonedTimestamp},
    limits,
    repository::{Repository, Spool, or_cancelled},
    runtime::{budget::Budget, buffers::Buffers},
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
    pub(crate) room: SpoolRoom,
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
    current: Option<Current>,
}

/// The run that is going on.
struct Current {
    run: Run,
    job: BackupJob,
    terms: Terms,
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
    /// Of the walk that goes on, or was stopped.
    so_far: Arc<Mutex<BackupStats>>,
    snapshot: Option<SnapshotId>,
    reply: oneshot::Sender<Result<BackupReport>>,
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
        let Backup { job, terms, cancel } = message;
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
        let threads = match &terms.window {
            Some(window) => window.seal.child_token(),
            None => cancel.child_token(),
        };
        let tree = terms.window.as_ref().and_then(|window| window.row.tree.clone());
        let (run, effect) = match tree {
            Some(_) => Run::resume(job.skip_if_unchanged),
            None => Run::begin(job.skip_if_unchanged),
        };
        self.parts.meter.reset();
        let mut current = Current {
            run,
            job,
            terms,
            cancel,
            threads,
            started: self.parts.repository.clock.wall(),
            target,
            excludes,
            epoch: 0,
            parent: None,
            pipeline: None,
            assembled: None,
            so_far: Arc::default(),
            snapshot: None,
            reply,
        };
        if let Some(tree) = tree {
            (current.epoch, current.parent) = (tree.epoch, tree.parent);
            current.started = resume::walk_started(&tree);
            current.assembled = Some(resume::assembled(tree));
        }
        self.current = Some(current);
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
        let room = self.parts.room.clone();
        let look = Look {
            events: self.parts.events.clone(),
            guarded: current.terms.guarded,
            lock: current.terms.lock,
            in_window: current.terms.window.is_some(),
            anew: current.terms.window.as_ref().is_none_or(|window| window.look) || current.run.is_again(),
        };
        let looked = async move {
            let look = look.perform(&repository, &catalog, &uploader, &room, &job, &cancel);
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
                .map(|mut assembled| {
                    assembled.stats = assembled.stats.after(&current.sealed_before());
                    let same_as_parent = current.parent.is_some_and(|(_, tree)| tree == assembled.tree);
                    current.assembled = Some(assembled);
                    Sealed { same_as_parent }
                });
            if sealed.is_err() && current.terms.window.is_some() {
                return act.remember_sealed(sealed, ctx);
            }
            act.drive(Event::Sealed(sealed), ctx);
        }));
    }

    /// Notes what was sealed before a walk was stopped, for the report at the end of the run.
    fn remember_sealed(&mut self, sealed: Result<Sealed>, ctx: &mut Context<Self>) {
        let Some(current) = &mut self.current else { return };
        let so_far = *current.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = so_far.after(&current.sealed_before());
        let catalog = self.parts.catalog.clone();
        let noted = async move {
            catalog
                .write(move |tx| run::change_run(tx, |row| row.sealed = sum))
                .await
        };
        ctx.spawn(noted.into_actor(self).map(|noted, act, ctx| {
            act.drive(Event::Sealed(noted.and(sealed)), ctx);
        }));
    }

    fn start_pipeline(&mut self, ctx: &mut Context<Self>) -> Result<oneshot::Receiver<Result<Assembled>>> {
        let current = self
            .current
            .as_mut()
            .ok_or_else(|| Error::bug("sealing without a run"))?;
        let parts = &self.parts;
        let runtime = tokio::runtime::Handle::current();
        let buffers = Buffers::new(&limits::SEALING_BUFFERS);
        let sealer = Sealer::new(parts.repository.key.clone(), buffers);
        let reader = FileReader {
            catalog: parts.catalog.clone(),
            sealer: sealer.clone(),
            chunker: self.chunker.clone(),
        };
        let walking = WalkContext {
            reader,
            cpu: parts.repository.cpu.clone(),
            budget: self.sealing.clone(),
            excludes: current.excludes.clone(),
            piece_bytes_max: current.terms.piece_bytes_max,
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
            sealer,
            catalog: parts.catalog.clone(),
            spool: parts.spool.clone(),
            room: parts.room.clone(),
            packing: current.packing(),
            so_far: current.so_far.clone(),
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
        let clock = self.parts.repository.clock.clone();
        let Some(mut snapshot) = current.snapshot_document(&*clock) else {
            return;
        };
        let held = (current.assembled.as_ref())
            .filter(|_| current.terms.guarded)
            .map(guarding::Held::of);
        let (job, events) = (current.job.clone(), self.parts.events.clone());
        let (uploader, epoch, cancel) = (self.parts.uploader.clone(), current.epoch, current.cancel.clone());
        let lock = current.terms.lock;
        // The next window, if this one ends before, has no need to walk.
        let tree = current
            .terms
            .window
            .is_some()
            .then(|| current.tree_row())
            .flatten();
        let catalog = self.parts.catalog.clone();
        let published = async move {
            if let Some(tree) = tree {
                catalog
                    .write(move |tx| run::change_run(tx, |row| row.tree = Some(tree)))
                    .await?;
            }
            if let Some(held) = held {
                let is_same = is_about(&job);
                let tags = guarding::tags(&catalog, &*clock, &events, &job, is_same, &held).await?;
                snapshot.tags.extend(tags);
            }
            uploader.publish(snapshot, epoch, lock, cancel).await
        };
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
        // A window goes on sending what is sealed.
        let failed = report.is_err() && current.terms.window.is_none();
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
    /// What earlier windows of this run sealed.
    fn sealed_before(&self) -> BackupStats {
        self.terms
            .window
            .as_ref()
            .map(|window| window.row.sealed)
            .unwrap_or_default()
    }

    fn packing(&mut self) -> Packing {
        let unfilled = self.terms.window.as_mut().map(|window| &mut window.unfilled);
        Packing {
            target_bytes: self.terms.pack_target_bytes,
            unfilled: unfilled.map(std::mem::take).unwrap_or_default(),
            goes_on: self.terms.window.is_some(),
        }
    }

    fn tree_row(&self) -> Option<run::TreeRow> {
        let assembled = self.assembled.as_ref()?;
        Some(resume::tree_row(assembled, self.epoch, self.parent, self.started))
    }

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
            current: None,
        };
        Self {
            addr: snapshotter.start(),
        }
    }

    pub(crate) async fn backup(
        &self,
        job: BackupJob,
        terms: Terms,
        cancel: CancellationToken,
    ) -> Result<BackupReport> {
        self.addr
            .send(Backup { job, terms, cancel })
            .await
            .unwrap_or_else(|_| Err(Error::stopped()))
    }
}
