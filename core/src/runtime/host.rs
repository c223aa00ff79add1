//! Owns the one thread that runs the actix `System`. A library must not take its host's threads, so a `System` is made only here.

use std::{
    future::Future,
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use actix::System;
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};

/// The running engine thread.
pub(crate) struct Host {
    system: System,
    /// Behind a lock that nobody contends for: with it, an engine can be shared between threads.
    stopped: Mutex<mpsc::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts the thread and runs `wire` on it, which starts the actors and returns their handles.
    pub(crate) fn start<H: Send + 'static>(wire: impl FnOnce() -> H + Send + 'static) -> Result<(Self, H)> {
        let (ready_tx, ready) = mpsc::channel();
        let (stopped_tx, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("engine".into()).spawn(move || {
            let runner = System::new();
            let handles = runner.block_on(async move { wire() });
            // `start` waits for this, so the receiver is there.
            let _ = ready_tx.send((System::current(), handles));
            let _ = runner.run();
            // Nobody waits when the engine was dropped without being stopped.
            let _ = stopped_tx.send(());
        });
        let thread =
            thread.map_err(|error| Error::with_source(Kind::Io, "starting the engine thread", error))?;
        let (system, handles) = ready
            .recv()
            .map_err(|_| Error::bug("the engine thread ended while it was starting"))?;
        Ok((
            Self {
                system,
                stopped: Mutex::new(stopped),
                thread: Some(thread),
            },
            handles,
        ))
    }

    /// Runs a future on the engine thread and hands its result to whatever executor awaits it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let spawned = self.system.arbiter().spawn(async move {
            // The caller may have stopped waiting.
            let _ = reply.send(work.await);
        });
        if !spawned {
            return Err(Error::stopped());
        }
        answer.await.unwrap_or_else(|_| Err(Error::stopped()))
    }

    /// Runs a future on the engine thread that nobody waits for; it ends with the engine at the latest.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        if self.system.arbiter().spawn(work) {
            Ok(())
        } else {
            Err(Error::stopped())
        }
    }

    /// Ends the `System` and joins the thread. Whatever runs must have been cancelled before.
    pub(crate) fn stop(&mut self, grace: Duration) -> Result<()> {
        self.system.stop();
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let stopped = self.stopped.get_mut().unwrap_or_else(PoisonError::into_inner);
        if stopped.recv_timeout(grace) == Err(mpsc::RecvTimeoutError::Timeout) {
            // The thread cannot be ended from outside. It holds the state folder until it ends by itself.
            return Err(Error::new(
                Kind::Busy,
                format!("the engine did not stop within {grace:?}"),
            ));
        }
        thread
            .join()
            .map_err(|_| Error::bug("the engine thread panicked"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.system.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_stops_repeatedly_in_one_process() {
        for n in 0..3 {
            let (mut host, handle) = Host::start(move || n).unwrap();
            assert_eq!(handle, n);
            host.stop(Duration::from_secs(5)).unwrap();
        }
    }

    #[test]
    fn runs_futures_for_another_executor_and_refuses_after_the_stop() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut host, ()) = Host::start(|| ()).unwrap();
            let name = host
                .run(async { Ok(thread::current().name().map(str::to_owned)) })
                .await
                .unwrap();
            assert_eq!(name.as_deref(), Some("engine"));
            host.stop(Duration::from_secs(5)).unwrap();
            assert_eq!(
                host.run(async { Ok(()) }).await.unwrap_err().kind(),
                Kind::NotRunning
            );
        });
    }
}
