//! Starts the thread that restores, and answers with what it says. No choices are made here.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    job::{RestoreJob, RestoreReport},
    messages::Restore,
    run::RestoreContext,
    worker::Worker,
};
use crate::{
    catalog::Catalog,
    error::{Error, Kind, Result},
    events::{Meter, Phase},
    repository::Repository,
};

/// What the Restorer works with.
pub(crate) struct RestorerParts {
    pub(crate) repository: Repository,
    pub(crate) catalog: Catalog,
    pub(crate) meter: Arc<Meter>,
}

pub(crate) struct Restorer {
    parts: RestorerParts,
    current: Option<Current>,
}

/// The restore that is going on.
struct Current {
    worker: Worker,
    reply: oneshot::Sender<Result<RestoreReport>>,
}

impl Actor for Restorer {
    type Context = Context<Self>;
}

impl Restorer {
    fn begin(
        &mut self,
        Restore { job, cancel }: Restore,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<Result<RestoreReport>>> {
        if self.current.is_some() {
            return Err(Error::new(Kind::Busy, "a restore is running already"));
        }
        self.parts.meter.reset();
        let context = RestoreContext {
            repository: self.parts.repository.clone(),
            catalog: self.parts.catalog.clone(),
            meter: self.parts.meter.clone(),
            cancel,
            runtime: tokio::runtime::Handle::current(),
            gone: Default::default(),
        };
        let (worker, done) = Worker::start(context, job)?;
        let (reply, answer) = oneshot::channel();
        self.current = Some(Current { worker, reply });
        ctx.spawn(done.into_actor(self).map(|done, act, _| {
            let result = done.unwrap_or_else(|_| Err(Error::bug("a restore ended without an answer")));
            act.finish(result);
        }));
        Ok(answer)
    }

    fn finish(&mut self, result: Result<RestoreReport>) {
        let Some(Current { worker, reply }) = self.current.take() else {
            return;
        };
        // The thread is at its end, so this does not wait.
        let result = worker.join().and(result);
        self.parts.meter.phase(Phase::Idle);
        // Whoever asked may be gone.
        let _ = reply.send(result);
    }
}

impl Handler<Restore> for Restorer {
    type Result = ResponseFuture<Result<RestoreReport>>;

    fn handle(&mut self, message: Restore, ctx: &mut Context<Self>) -> Self::Result {
        let begun = self.begin(message, ctx);
        Box::pin(async move { begun?.await.unwrap_or_else(|_| Err(Error::stopped())) })
    }
}

/// What the rest of the engine sees.
#[derive(Clone)]
pub(crate) struct RestorerHandle {
    addr: Addr<Restorer>,
}

impl RestorerHandle {
    /// To be called on the engine thread.
    pub(crate) fn start(parts: RestorerParts) -> Self {
        let restorer = Restorer { parts, current: None };
        Self {
            addr: restorer.start(),
        }
    }

    pub(crate) async fn restore(&self, job: RestoreJob, cancel: CancellationToken) -> Result<RestoreReport> {
        self.addr
            .send(Restore { job, cancel })
            .await
            .unwrap_or_else(|_| Err(Error::stopped()))
    }
}
