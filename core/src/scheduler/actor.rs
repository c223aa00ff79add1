//! Performs what `decide` chose. No choices are made here.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{
    decide::{Refusal, Schedule, Work},
    messages::{Finished, RunNow, WhenIdle},
};
use crate::error::{Error, Kind, Result};

#[derive(Default)]
pub(crate) struct Scheduler {
    schedule: Schedule,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Actor for Scheduler {
    type Context = Context<Self>;
}

impl Handler<RunNow> for Scheduler {
    type Result = Result<()>;

    fn handle(&mut self, RunNow(work): RunNow, _: &mut Context<Self>) -> Self::Result {
        self.schedule.run_now(work).map_err(|Refusal::Busy(running)| {
            let text = format!("a {running:?} is running: wait for its end, or stop it").to_lowercase();
            Error::new(Kind::Busy, text)
        })
    }
}

impl Handler<Finished> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: Finished, _: &mut Context<Self>) {
        self.schedule.finished();
        self.tell_idle();
    }
}

impl Handler<WhenIdle> for Scheduler {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: WhenIdle, _: &mut Context<Self>) -> Self::Result {
        let (idle, answer) = oneshot::channel();
        self.waiting.push(idle);
        self.tell_idle();
        Box::pin(async move {
            // An actor that is gone is idle.
            let _ = answer.await;
        })
    }
}

impl Scheduler {
    fn tell_idle(&mut self) {
        if self.schedule.is_idle() {
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(());
            }
        }
    }
}

/// What the rest of the engine sees.
#[derive(Clone)]
pub(crate) struct SchedulerHandle {
    addr: Addr<Scheduler>,
}

impl SchedulerHandle {
    /// To be called on the engine thread.
    pub(crate) fn start() -> Self {
        Self {
            addr: Scheduler::default().start(),
        }
    }

    /// Runs a job as soon as it is admitted, or refuses it.
    pub(crate) async fn run_now<T>(&self, work: Work, job: impl Future<Output = Result<T>>) -> Result<T> {
        self.addr
            .send(RunNow(work))
            .await
            .map_err(|_| Error::stopped())??;
        let result = job.await;
        // A Scheduler that is gone admits nothing any more.
        let _ = self.addr.send(Finished).await;
        result
    }

    pub(crate) async fn when_idle(&self) {
        // An actor that is gone is idle.
        let _ = self.addr.send(WhenIdle).await;
    }
}
