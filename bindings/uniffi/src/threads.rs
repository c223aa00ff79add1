//! Blocking work on a thread of its own, awaited from whatever executor the host has.

use std::thread;

use tokio::sync::oneshot;

use crate::error::EngineError;

/// Runs `work` on a thread called `name`, which nobody needs to join: it ends with the work, and its answer is awaited. Where that is given up,
/// the work goes on to its end.
pub(crate) async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let (reply, answer) = oneshot::channel();
    start(name, move || {
        // The host may have given up.
        let _ = reply.send(work());
    })?;
    // Nothing but a panic ends the thread without an answer.
    answer
        .await
        .unwrap_or_else(|_| Err(EngineError::bug(format!("{name}: panicked"))))
}

/// The same for hosts that wait by blocking. Not inside an executor's own thread.
pub(crate) fn on_thread_blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let joined = start(name, work)?.join();
    joined.unwrap_or_else(|_| Err(EngineError::bug(format!("{name}: panicked"))))
}

/// Starts a thread; that there is none to be had is an error like any other.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, EngineError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| EngineError::Io {
        detail: format!("starting the thread {name}: {error}"),
    })
}
