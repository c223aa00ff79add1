//! Performs what `decide` chose. No choices are made here.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    decide::{Effect, Event, Now, PutOutcome, UploadState},
    messages::{Abandon, CloseWindow, Drain, Frozen, OpenWindow, Publish, PublishOutcome, SendPack},
    publish::{checkpoint, publish},
};
use crate::{
    catalog::{Catalog, SpooledPack, packs},
    error::{Error, Kind, Result, Retry},
    events::{self, Events, Meter},
    format::{FileType, Snapshot},
    repository::{Repository, Spool, or_cancelled},
    runtime::budget::Permit,
    storage::{Body, Storage},
    window::{
        Gate, LockPolicy,
        decide::{Span, Unindexed},
    },
};

/// What the Uploader works with.
pub(crate) struct UploaderParts {
    pub(crate) repository: Repository,
    /// The repository's storage, asked what is known of the link and left of an allowance.
    pub(crate) gate: Arc<Gate>,
    pub(crate) catalog: Catalog,
    pub(crate) spool: Spool,
    pub(crate) meter: Arc<Meter>,
    pub(crate) events: Events,
    /// Of the engine: a checkpoint belongs to no run.
    pub(crate) cancel: CancellationToken,
}

struct Job {
    pack: SpooledPack,
    cancel: CancellationToken,
    /// Of the attempt under way.
    attempt: CancellationToken,
    stored: Option<oneshot::Sender<Result<()>>>,
    _permit: Option<Permit>,
    /// What its last attempt failed with.
    error: Option<Error>,
}

struct Publication {
    message: Publish,
    reply: oneshot::Sender<Result<PublishOutcome>>,
}

pub(crate) struct Uploader {
    parts: Arc<UploaderParts>,
    state: UploadState,
    /// Of the window that is open.
    lock: LockPolicy,
    /// What a checkpoint ends with: the window that is open, or the engine.
    cancel: CancellationToken,
    jobs: HashMap<u64, Job>,
    next_job: u64,
    publication: Option<Publication>,
    /// What the last pack that was given up failed with.
    last_error: Option<Error>,
    quiet: VecDeque<oneshot::Sender<()>>,
    drained: Option<oneshot::Sender<Option<Error>>>,
    wake: Option<SpawnHandle>,
}

impl Actor for Uploader {
    type Context = Context<Self>;
}

impl Uploader {
    fn now(&self) -> Now {
        let gate = &self.parts.gate;
        let mut random = [0; 8];
        // Without randomness the waits are the shortest: jitter is a courtesy.
        let _ = getrandom::fill(&mut random);
        Now {
            ms: gate.now_ms(),
            random: u64::from_le_bytes(random),
            bytes_left: gate.left(),
            estimate: gate.estimate(),
        }
    }

    fn drive(&mut self, event: Event, ctx: &mut Context<Self>) {
        let now = self.now();
        for effect in self.state.apply(event, now) {
            match effect {
                Effect::StartPut(number) => self.start_put(number, ctx),
                Effect::DropPut(number) => {
                    if let Some(job) = self.jobs.get(&number) {
                        job.attempt.cancel();
                    }
                }
                Effect::ReportStored(number) => self.report(number, Ok(())),
                Effect::ReportFailed(number) => {
                    let error = self.jobs.get_mut(&number).and_then(|job| job.error.take());
                    if let Some(error) = &error {
                        // What failed first says most: the rest may be given up because of it.
                        self.last_error.get_or_insert_with(|| error.clone());
                    }
                    self.report(number, Err(error.unwrap_or_else(Error::cancelled)));
                }
                Effect::Checkpoint => self.checkpoint(ctx),
                Effect::Publish => self.publish(ctx),
                Effect::RefusePublish => {
                    let error = self.last_error.take().unwrap_or_else(Error::cancelled);
                    if let Some(publication) = self.publication.take() {
                        // Nobody may be waiting any more.
                        let _ = publication.reply.send(Err(error));
                    }
                }
                Effect::Quiet => {
                    self.last_error = None;
                    for quiet in self.quiet.drain(..) {
                        let _ = quiet.send(());
                    }
                }
                Effect::Drained => {
                    if let Some(drained) = self.drained.take() {
                        let _ = drained.send(self.last_error.take());
                    }
                }
                Effect::WakeAt { at_ms } => self.wake_at(at_ms, now.ms, ctx),
            }
        }
    }

    fn wake_at(&mut self, at_ms: u64, now_ms: u64, ctx: &mut Context<Self>) {
        if let Some(previous) = self.wake.take() {
            ctx.cancel_future(previous);
        }
        let delay = Duration::from_millis(at_ms.saturating_sub(now_ms));
        self.wake = Some(ctx.run_later(delay, |act, ctx| act.drive(Event::Tick, ctx)));
    }

    fn start_put(&mut self, number: u64, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        job.attempt = job.cancel.child_token();
        let (parts, pack) = (self.parts.clone(), job.pack);
        let (cancel, attempt) = (job.cancel.clone(), job.attempt.clone());
        let put = async move { or_cancelled(&attempt, put(&parts, pack)).await };
        ctx.spawn(put.into_actor(self).map(move |result, act, ctx| {
            let outcome = outcome(&result, &cancel);
            if let (Err(error), Some(job)) = (result, act.jobs.get_mut(&number)) {
                // That it was given up is no reason.
                job.error = (error.kind() != Kind::Cancelled).then_some(error);
            }
            act.drive(Event::PutFinished(number, outcome), ctx);
        }));
    }

    fn report(&mut self, number: u64, result: Result<()>) {
        if let Some(stored) = self.jobs.remove(&number).and_then(|job| job.stored) {
            // Nobody may be waiting any more.
            let _ = stored.send(result);
        }
    }

    fn checkpoint(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        let (lock, cancel) = (self.lock, self.cancel.clone());
        let written = async move { checkpoint(&parts.repository, &parts.catalog, lock, &cancel).await };
        ctx.spawn(written.into_actor(self).map(|written, act, ctx| {
            if let Err(error) = written {
                // Nothing is lost by it: the next checkpoint, or the publication, writes what this one did not.
                tracing::debug!(%error, "no checkpoint");
            }
            act.drive(Event::CheckpointFinished, ctx);
        }));
    }

    fn publish(&mut self, ctx: &mut Context<Self>) {
        let Some(Publication { message, reply }) = self.publication.take() else {
            return;
        };
        let parts = self.parts.clone();
        let published = async move {
            let Publish {
                snapshot,
                epoch,
                lock,
                cancel,
            } = message;
            publish(&parts.repository, &parts.catalog, &snapshot, epoch, lock, &cancel).await
        };
        ctx.spawn(published.into_actor(self).map(|published, act, ctx| {
            let _ = reply.send(published);
            act.drive(Event::PublishFinished, ctx);
        }));
    }
}

/// Stores a pack and records that it is stored; only then is it gone from the spool. Returns how many blobs it holds.
async fn put(parts: &UploaderParts, pack: SpooledPack) -> Result<u64> {
    let body = Body::File {
        path: parts.spool.path(&pack.id),
        size: pack.size,
    };
    parts.gate.put(FileType::Pack, &pack.id.into(), body).await?;
    let blobs = parts
        .catalog
        .write(move |tx| packs::confirm(tx, &pack.id))
        .await?;
    parts.spool.remove(&pack.id);
    parts.meter.stored_bytes(pack.size);
    parts.events.tell(events::Event::PackConfirmed {
        id: pack.id,
        bytes: pack.size,
    });
    Ok(blobs)
}

/// `cancel` is the run's: what was given up without it was given up to be begun anew.
fn outcome(result: &Result<u64>, cancel: &CancellationToken) -> PutOutcome {
    let error = match result {
        Ok(blobs) => return PutOutcome::Stored { blobs: *blobs },
        Err(error) => error,
    };
    match error.kind() {
        Kind::Cancelled if error.is_given_up() && !cancel.is_cancelled() => PutOutcome::Interrupted,
        Kind::Cancelled | Kind::NotRunning => PutOutcome::Cancelled,
        Kind::Catalog | Kind::Busy => PutOutcome::Permanent,
        kind if kind.retry() == Retry::Later => PutOutcome::Transient {
            retry_after_ms: error
                .retry_after()
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        },
        _ => PutOutcome::Permanent,
    }
}

impl Handler<SendPack> for Uploader {
    type Result = ();

    fn handle(&mut self, message: SendPack, ctx: &mut Context<Self>) {
        let SendPack {
            pack,
            permit,
            cancel,
            stored,
        } = message;
        let number = self.next_job;
        self.next_job += 1;
        self.jobs.insert(
            number,
            Job {
                pack,
                attempt: cancel.clone(),
                cancel,
                stored,
                _permit: permit,
                error: None,
            },
        );
        let (pack, bytes) = (number, pack.size);
        self.drive(Event::PackReady { pack, bytes }, ctx);
    }
}

impl Handler<Publish> for Uploader {
    type Result = ResponseFuture<Result<PublishOutcome>>;

    fn handle(&mut self, message: Publish, ctx: &mut Context<Self>) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        self.publication = Some(Publication { message, reply });
        self.drive(Event::PublishWanted, ctx);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(Error::stopped())) })
    }
}

impl Handler<Abandon> for Uploader {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) -> Self::Result {
        let (quiet, answer) = oneshot::channel();
        self.quiet.push_back(quiet);
        self.drive(Event::Abandon, ctx);
        Box::pin(async move {
            // An actor that is gone is quiet too.
            let _ = answer.await;
        })
    }
}

impl Handler<OpenWindow> for Uploader {
    type Result = ();

    fn handle(&mut self, message: OpenWindow, ctx: &mut Context<Self>) {
        let OpenWindow {
            span,
            unindexed,
            lock,
            cancel,
        } = message;
        (self.lock, self.cancel) = (lock, cancel);
        self.drive(Event::WindowOpened { span, unindexed }, ctx);
    }
}

impl Handler<CloseWindow> for Uploader {
    type Result = ();

    fn handle(&mut self, _: CloseWindow, ctx: &mut Context<Self>) {
        (self.lock, self.cancel) = (LockPolicy::default(), self.parts.cancel.clone());
        self.drive(Event::WindowClosed, ctx);
    }
}

impl Handler<Frozen> for Uploader {
    type Result = ();

    fn handle(&mut self, _: Frozen, ctx: &mut Context<Self>) {
        self.drive(Event::Frozen, ctx);
    }
}

impl Handler<Drain> for Uploader {
    type Result = ResponseFuture<Option<Error>>;

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) -> Self::Result {
        let (drained, answer) = oneshot::channel();
        self.drained = Some(drained);
        self.drive(Event::DrainWanted, ctx);
        // An actor that is gone has nothing on its way.
        Box::pin(async move { answer.await.ok().flatten() })
    }
}

/// What the rest of the engine sees.
#[derive(Clone)]
pub(crate) struct UploaderHandle {
    addr: Addr<Uploader>,
}

impl UploaderHandle {
    /// To be called on the engine thread.
    pub(crate) fn start(parts: UploaderParts) -> Self {
        let uploader = Uploader {
            lock: LockPolicy::default(),
            cancel: parts.cancel.clone(),
            parts: Arc::new(parts),
            state: UploadState::default(),
            jobs: HashMap::new(),
            next_job: 0,
            publication: None,
            last_error: None,
            quiet: VecDeque::new(),
            drained: None,
            wake: None,
        };
        Self {
            addr: uploader.start(),
        }
    }

    /// Queues a pack; a failure shows when something is to be published.
    pub(crate) async fn send_pack(
        &self,
        pack: SpooledPack,
        permit: Option<Permit>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let message = SendPack {
            pack,
            permit,
            cancel,
            stored: None,
        };
        self.addr.send(message).await.map_err(|_| Error::stopped())
    }

    /// Queues a pack. When this returns, whatever is asked next comes after it; the receiver tells what became of the pack.
    pub(crate) async fn submit_pack(
        &self,
        pack: SpooledPack,
        permit: Permit,
        cancel: CancellationToken,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let (stored, answer) = oneshot::channel();
        let message = SendPack {
            pack,
            permit: Some(permit),
            cancel,
            stored: Some(stored),
        };
        self.addr.send(message).await.map_err(|_| Error::stopped())?;
        Ok(answer)
    }

    pub(crate) async fn publish(
        &self,
        snapshot: Snapshot,
        epoch: i64,
        lock: LockPolicy,
        cancel: CancellationToken,
    ) -> Result<PublishOutcome> {
        let message = Publish {
            snapshot: Box::new(snapshot),
            epoch,
            lock,
            cancel,
        };
        self.addr
            .send(message)
            .await
            .unwrap_or_else(|_| Err(Error::stopped()))
    }

    /// Gives up what is queued; returns when nothing is on its way any more.
    pub(crate) async fn abandon(&self) {
        // An actor that is gone has nothing on its way.
        let _ = self.addr.send(Abandon).await;
    }

    pub(crate) async fn open_window(
        &self,
        span: Span,
        unindexed: Unindexed,
        lock: LockPolicy,
        cancel: CancellationToken,
    ) -> Result<()> {
        let message = OpenWindow {
            span,
            unindexed,
            lock,
            cancel,
        };
        self.addr.send(message).await.map_err(|_| Error::stopped())
    }

    /// Waits until nothing more can be sent in this window. Returns what failed, if anything did.
    pub(crate) async fn drain(&self) -> Option<Error> {
        self.addr
            .send(Drain)
            .await
            .unwrap_or_else(|_| Some(Error::stopped()))
    }

    pub(crate) async fn frozen(&self) {
        // An actor that is gone has nothing on its way.
        let _ = self.addr.send(Frozen).await;
    }

    /// Gives up what is left of the window; returns when nothing is on its way any more.
    pub(crate) async fn close_window(&self) {
        self.abandon().await;
        // As above.
        let _ = self.addr.send(CloseWindow).await;
    }
}
