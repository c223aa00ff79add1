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
    decide::{Effect, Event, PutOutcome, UploadState},
    messages::{Abandon, Publish, PublishOutcome, SendPack},
    publish::publish,
};
use crate::{
    catalog::{Catalog, SpooledPack, packs},
    error::{Error, Kind, Result},
    events::{self, Events, Meter},
    format::{FileType, Snapshot},
    repository::{Repository, Spool, or_cancelled, publish_indexes},
    runtime::budget::Permit,
    storage::Body,
};

/// What the Uploader works with.
pub(crate) struct UploaderParts {
    pub(crate) repository: Repository,
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
    jobs: HashMap<u64, Job>,
    next_job: u64,
    publication: Option<Publication>,
    /// What the last pack that was given up failed with.
    last_error: Option<Error>,
    quiet: VecDeque<oneshot::Sender<()>>,
    wake: Option<SpawnHandle>,
}

impl Actor for Uploader {
    type Context = Context<Self>;
}

impl Uploader {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.parts.repository.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn drive(&mut self, event: Event, ctx: &mut Context<Self>) {
        let now_ms = self.now_ms();
        for effect in self.state.apply(event, now_ms) {
            match effect {
                Effect::StartPut(number) => self.start_put(number, ctx),
                Effect::ReportStored(number) => self.report(number, Ok(())),
                Effect::ReportFailed(number) => {
                    let error = self.jobs.get_mut(&number).and_then(|job| job.error.take());
                    let error = error.unwrap_or_else(Error::cancelled);
                    self.last_error = Some(error.clone());
                    self.report(number, Err(error));
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
                    for quiet in self.quiet.drain(..) {
                        let _ = quiet.send(());
                    }
                }
                Effect::WakeAt { at_ms } => {
                    if let Some(previous) = self.wake.take() {
                        ctx.cancel_future(previous);
                    }
                    let delay = Duration::from_millis(at_ms.saturating_sub(now_ms));
                    self.wake = Some(ctx.run_later(delay, |act, ctx| act.drive(Event::Tick, ctx)));
                }
            }
        }
    }

    fn start_put(&mut self, number: u64, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get(&number) else { return };
        let (parts, pack, cancel) = (self.parts.clone(), job.pack, job.cancel.clone());
        let put = async move { or_cancelled(&cancel, put(&parts, pack)).await };
        ctx.spawn(put.into_actor(self).map(move |result, act, ctx| {
            let outcome = outcome(&result);
            if let (Err(error), Some(job)) = (result, act.jobs.get_mut(&number)) {
                job.error = Some(error);
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
        let written = async move { publish_indexes(&parts.repository, &parts.catalog, &parts.cancel).await };
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
                cancel,
            } = message;
            publish(&parts.repository, &parts.catalog, &snapshot, epoch, &cancel).await
        };
        ctx.spawn(published.into_actor(self).map(|published, act, ctx| {
            let _ = reply.send(published);
            act.drive(Event::PublishFinished, ctx);
        }));
    }
}

/// Stores a pack and records that it is stored; only then is it gone from the spool.
async fn put(parts: &UploaderParts, pack: SpooledPack) -> Result<()> {
    let body = Body::File {
        path: parts.spool.path(&pack.id),
        size: pack.size,
    };
    parts
        .repository
        .storage
        .put(FileType::Pack, &pack.id.into(), body)
        .await?;
    parts
        .catalog
        .write(move |tx| packs::confirm(tx, &pack.id))
        .await?;
    parts.spool.remove(&pack.id);
    parts.meter.stored_bytes(pack.size);
    parts.events.tell(events::Event::PackConfirmed {
        id: pack.id,
        bytes: pack.size,
    });
    Ok(())
}

fn outcome(result: &Result<()>) -> PutOutcome {
    match result {
        Ok(()) => PutOutcome::Stored,
        Err(error) => match error.kind() {
            Kind::Cancelled | Kind::NotRunning => PutOutcome::Cancelled,
            Kind::Unreachable | Kind::Io => PutOutcome::Transient,
            _ => PutOutcome::Permanent,
        },
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
                cancel,
                stored,
                _permit: permit,
                error: None,
            },
        );
        self.drive(Event::PackReady(number), ctx);
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

/// What the rest of the engine sees.
#[derive(Clone)]
pub(crate) struct UploaderHandle {
    addr: Addr<Uploader>,
}

impl UploaderHandle {
    /// To be called on the engine thread.
    pub(crate) fn start(parts: UploaderParts) -> Self {
        let uploader = Uploader {
            parts: Arc::new(parts),
            state: UploadState::default(),
            jobs: HashMap::new(),
            next_job: 0,
            publication: None,
            last_error: None,
            quiet: VecDeque::new(),
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
        cancel: CancellationToken,
    ) -> Result<PublishOutcome> {
        let message = Publish {
            snapshot: Box::new(snapshot),
            epoch,
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
}
