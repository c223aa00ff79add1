//! The thread of a restore: it blocks on disks and waits for the vault, which the engine thread must not.

use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::{
    job::{RestoreJob, RestoreReport},
    run::{RestoreContext, run},
};
use crate::error::{Error, Kind, Result};

/// The running thread. Dropped without being joined, it ends by itself when its restore is cancelled.
pub(super) struct Worker {
    thread: JoinHandle<()>,
}

impl Worker {
    /// The answer comes when the restore has ended.
    pub(super) fn start(
        context: RestoreContext,
        job: RestoreJob,
    ) -> Result<(Self, oneshot::Receiver<Result<RestoreReport>>)> {
        let (done, answer) = oneshot::channel();
        let thread = thread::Builder::new().name("restore".into()).spawn(move || {
            let result = run(&context, &job);
            // What it holds is given back before the answer, so that whoever has the answer can end the
            // engine.
            drop(context);
            // The actor may be gone: then nobody wants to know.
            let _ = done.send(result);
        });
        let thread = thread.map_err(|error| Error::with_source(Kind::Io, "starting a thread", error))?;
        Ok((Self { thread }, answer))
    }

    /// To be called when the answer has come.
    pub(super) fn join(self) -> Result<()> {
        self.thread.join().map_err(|_| Error::bug("a restore panicked"))
    }
}
