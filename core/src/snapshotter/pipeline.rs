//! Starts the two threads of a walk, and says when both are done.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use super::assemble::{AssembleContext, Assembled, assemble};
use crate::{
    error::{Error, Kind, Result},
    limits,
    scan::{Target, WalkContext, walk},
};

/// The running threads. Dropped without being joined, they end by themselves when their run is cancelled.
pub(super) struct Pipeline {
    thread: JoinHandle<()>,
}

impl Pipeline {
    /// The answer comes when both threads have ended.
    pub(super) fn start(
        root: Target,
        walking: WalkContext,
        assembling: AssembleContext,
    ) -> Result<(Self, oneshot::Receiver<Result<Assembled>>)> {
        let (steps, received) = mpsc::sync_channel(limits::ASSEMBLE_QUEUE_STEPS);
        let (done, answer) = oneshot::channel();
        let failed = |error| Error::with_source(Kind::Io, "starting a thread", error);
        let thread = thread::Builder::new().name("assemble".into()).spawn(move || {
            let walker = thread::Builder::new()
                .name("walk".into())
                .spawn(move || walk(walking, &root, steps));
            let result = match walker {
                Ok(walker) => {
                    let assembled = assemble(assembling, &received);
                    // The walk must not wait for someone to take its steps.
                    drop(received);
                    let walked = walker
                        .join()
                        .unwrap_or_else(|_| Err(Error::bug("the walk panicked")));
                    first_cause(assembled, walked)
                }
                Err(error) => Err(failed(error)),
            };
            // The actor may be gone: then nobody wants to know.
            let _ = done.send(result);
        });
        Ok((
            Self {
                thread: thread.map_err(failed)?,
            },
            answer,
        ))
    }

    /// To be called when the answer has come.
    pub(super) fn join(self) -> Result<()> {
        self.thread.join().map_err(|_| Error::bug("assembling panicked"))
    }
}

/// Either thread ends as cancelled when the other fails: the error that is not that one is the cause.
fn first_cause(assembled: Result<Assembled>, walked: Result<()>) -> Result<Assembled> {
    match (assembled, walked) {
        (Ok(assembled), Ok(())) => Ok(assembled),
        (Err(error), Ok(())) => Err(error),
        (Ok(_), Err(error)) => Err(error),
        (Err(assembling), Err(walking)) => Err(if assembling.kind() == Kind::Cancelled {
            walking
        } else {
            assembling
        }),
    }
}
