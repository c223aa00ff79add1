//! Where calls run: tasks on one thread, which make progress whether or not the host polls the futures it was given, and which can be waited for.
//!
//! A foreign runtime may poll a future late, never, or drop it at any time. The engine must be able to end all the same, so no future that the host
//! holds may own a part of it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{error::EngineError, threads};

pub(crate) struct Calls {
    runtime: Handle,
    running: TaskTracker,
    /// Ends the thread, once nothing runs.
    closing: CancellationToken,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Calls {
    pub(crate) fn start() -> Result<Self, EngineError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let runtime = runtime.map_err(|error| EngineError::Io {
            detail: format!("starting a runtime: {error}"),
        })?;
        let (running, closing) = (TaskTracker::new(), CancellationToken::new());
        let handle = runtime.handle().clone();
        let (tasks, end) = (running.clone(), closing.clone());
        let thread = threads::start("calls", move || {
            runtime.block_on(async {
                end.cancelled().await;
                tasks.close();
                tasks.wait().await;
            });
        })?;
        Ok(Self {
            runtime: handle,
            running,
            closing,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Starts a call. What is awaited is only its answer: dropping that does not end it.
    pub(crate) fn start_call<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Answer<T> {
        Answer(self.running.spawn_on(call, &self.runtime))
    }

    /// Waits until no call runs. The caller sees to it that none is started meanwhile, and that those that run are asked to end. To be awaited on
    /// this thread, by `block_on` or by a call that is not counted.
    pub(crate) async fn quiet(&self, grace: Duration) -> Result<(), EngineError> {
        self.running.close();
        let waited = timeout(grace, self.running.wait()).await;
        self.running.reopen();
        waited.map_err(|_| EngineError::Busy {
            detail: format!("a call did not end within {grace:?}"),
        })
    }

    /// Runs something on the thread that is not counted as a call, and blocks until it is done. Not from that thread.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Waits until no call runs, and then has the thread end; where that takes longer than `grace`, as soon as nothing runs. In this order: whoever
    /// waits for quiet takes calls again afterwards, and the thread would wait for ever for one that closes for good.
    pub(crate) fn end(&self, grace: Duration) -> Result<(), EngineError> {
        let quiet = self.block_on(self.quiet(grace));
        self.close();
        quiet
    }

    /// Has the thread end when nothing runs, without waiting for it. Nobody waits for quiet after this or meanwhile.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Waits for the thread. After `close`, and when nothing runs.
    pub(crate) fn join(&self) -> Result<(), EngineError> {
        match lock(&self.thread).take() {
            Some(thread) => thread
                .join()
                .map_err(|_| EngineError::bug("the thread of calls panicked")),
            None => Ok(()),
        }
    }
}

/// A call's answer to be.
pub(crate) struct Answer<T>(JoinHandle<Result<T, EngineError>>);

impl<T> Answer<T> {
    pub(crate) async fn get(self) -> Result<T, EngineError> {
        self.0.await.unwrap_or_else(|error| {
            // A task is cancelled only with its runtime.
            Err(if error.is_panic() {
                EngineError::bug("a call panicked")
            } else {
                EngineError::not_running()
            })
        })
    }
}

/// A mutex that a panic elsewhere does not poison: what these guard is whole after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_on_without_its_caller_and_a_panic_is_an_answer() {
        let calls = Calls::start().unwrap();
        let (done, seen) = std::sync::mpsc::channel();
        drop(calls.start_call(async move {
            done.send(()).unwrap();
            Ok(())
        }));
        seen.recv().unwrap();
        #[allow(clippy::panic)]
        let broken = calls.start_call(async { if true { panic!("on purpose") } else { Ok(()) } });
        assert!(matches!(
            calls.block_on(broken.get()),
            Err(EngineError::Bug { .. })
        ));
        calls.end(Duration::from_secs(10)).unwrap();
        calls.join().unwrap();
    }

    #[test]
    fn however_often_it_ends_its_thread_does_too() {
        for _ in 0..2000 {
            let calls = Calls::start().unwrap();
            let call = calls.start_call(async { Ok(()) });
            calls.end(Duration::from_secs(10)).unwrap();
            calls.join().unwrap();
            drop(call);
        }
    }

    #[test]
    fn a_call_that_does_not_end_is_said_to_run_and_keeps_the_thread() {
        let calls = Calls::start().unwrap();
        let end = CancellationToken::new();
        let ended = end.clone();
        let call = calls.start_call(async move {
            ended.cancelled().await;
            Ok(7)
        });
        let quiet = calls.block_on(calls.quiet(Duration::from_millis(1)));
        assert!(matches!(quiet, Err(EngineError::Busy { .. })));
        calls.close();
        end.cancel();
        assert_eq!(
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(call.get()),
            Ok(7)
        );
        calls.join().unwrap();
    }
}
