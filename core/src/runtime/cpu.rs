//! Threads for work that is all computing: bounded queue, joined at the end, and a job that panics fails alone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{Error, Kind, Result},
    format::{COMPRESSION_LEVEL, Compressor, Decompressor},
    limits,
};

/// What a thread keeps between jobs, because making it anew for each blob costs more than the blob.
pub(crate) struct CpuContext {
    pub(crate) compressor: Compressor,
    pub(crate) decompressor: Decompressor,
}

impl CpuContext {
    pub(crate) fn new() -> Self {
        Self {
            compressor: Compressor::new(COMPRESSION_LEVEL),
            decompressor: Decompressor::new(),
        }
    }
}

type Job = Box<dyn FnOnce(&mut CpuContext) + Send>;

/// A handle to the threads; clones share them.
#[derive(Clone)]
pub(crate) struct CpuPool {
    queue: mpsc::Sender<Job>,
}

/// Owned by whoever started the pool; ends it.
pub(crate) struct CpuThreads {
    threads: Vec<JoinHandle<()>>,
}

/// The answer to come of a submitted job.
pub(crate) struct Pending<T>(oneshot::Receiver<Result<T>>);

impl<T> Pending<T> {
    /// Waits on a thread that is not the engine's.
    pub(crate) fn wait(self) -> Result<T> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(Error::stopped()))
    }

    pub(crate) async fn done(self) -> Result<T> {
        self.0.await.unwrap_or_else(|_| Err(Error::stopped()))
    }
}

impl CpuPool {
    /// As many threads as the machine has cores, within `limits`.
    pub(crate) fn start() -> Result<(Self, CpuThreads)> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = cores.clamp(1, limits::CPU_THREADS_MAX);
        let (queue, jobs) = mpsc::channel::<Job>(limits::CPU_QUEUE_JOBS);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::with_capacity(count);
        for n in 0..count {
            let jobs = jobs.clone();
            let mut context = CpuContext::new();
            let thread = thread::Builder::new().name(format!("cpu-{n}")).spawn(move || {
                loop {
                    // The lock is held while waiting: one thread waits for the next job, the others for the lock.
                    let job = jobs
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .blocking_recv();
                    match job {
                        Some(job) => job(&mut context),
                        None => return,
                    }
                }
            });
            threads.push(thread.map_err(|error| Error::with_source(Kind::Io, "starting a thread", error))?);
        }
        Ok((Self { queue }, CpuThreads { threads }))
    }

    /// Queues a job from a thread that may block while the queue is full.
    pub(crate) fn submit_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut CpuContext) -> Result<T> + Send + 'static,
    ) -> Result<Pending<T>> {
        let (job, pending) = package(job);
        self.queue.blocking_send(job).map_err(|_| Error::stopped())?;
        Ok(pending)
    }

    /// Queues a job and waits for what it returns.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut CpuContext) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, pending) = package(job);
        self.queue.send(job).await.map_err(|_| Error::stopped())?;
        pending.done().await
    }
}

fn package<T: Send + 'static>(
    job: impl FnOnce(&mut CpuContext) -> Result<T> + Send + 'static,
) -> (Job, Pending<T>) {
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |context| {
        let result = catch_unwind(AssertUnwindSafe(|| job(context)));
        // Nobody may be waiting any more: then the result is not wanted.
        let _ = reply.send(result.unwrap_or_else(|_| Err(Error::bug("a worker job panicked"))));
    });
    (job, Pending(answer))
}

impl CpuThreads {
    /// Waits until every queued job has run. All clones of the pool must be gone, or this waits for them.
    pub(crate) fn join(self) {
        for thread in self.threads {
            // A worker catches the panics of its jobs; one of its own would have been reported by then.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicking_job_fails_alone_and_the_pool_ends_when_let_go() {
        let (pool, threads) = CpuPool::start().unwrap();
        let bad = pool.submit_blocking::<()>(|_| panic!("on purpose")).unwrap();
        assert_eq!(bad.wait().unwrap_err().kind(), Kind::Bug);
        let good: Vec<_> = (0..100)
            .map(|n| pool.submit_blocking(move |_| Ok(n)).unwrap())
            .collect();
        let sum: u32 = good.into_iter().map(|pending| pending.wait().unwrap()).sum();
        assert_eq!(sum, 4950);
        drop(pool);
        threads.join();
    }
}
