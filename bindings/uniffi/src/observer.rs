//! Tells hosts what happens, each on a thread of its own. What one of them does there, throw, block or call the engine, is between it and its thread.

use std::{
    sync::{Arc, Mutex, Weak, mpsc},
    thread,
    time::{Duration, Instant},
};

use lifeboat::Event;
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        watch,
    },
    time,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    calls::lock,
    engine::Inner,
    error::EngineError,
    host::{HostError, Observer},
    limits,
    reports::{EngineEvent, RunProgress},
    threads,
};

/// An observer that is being told. Dropping it, or `cancel`, ends that.
#[derive(uniffi::Object)]
pub struct Subscription {
    cancel: CancellationToken,
    _cancels_when_dropped: DropGuard,
}

#[uniffi::export]
impl Subscription {
    /// After what the observer is being told at this moment, it is told that nothing follows. Does not wait for that.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// The observers of one engine.
#[derive(Default)]
pub(crate) struct Observers {
    cancel: CancellationToken,
    threads: Mutex<Vec<Watching>>,
}

/// One thread, as those see it who wait for its end.
struct Watching {
    thread: thread::JoinHandle<()>,
    /// Disconnected when the thread is at its end.
    ended: mpsc::Receiver<()>,
}

impl Observers {
    pub(crate) fn start(
        &self,
        observer: Arc<dyn Observer>,
        engine: Weak<Inner>,
        events: Receiver<Event>,
        jobs: watch::Receiver<u32>,
        interval: Duration,
    ) -> Result<Arc<Subscription>, EngineError> {
        let mut threads = lock(&self.threads);
        threads.retain(|one| !one.thread.is_finished());
        if threads.len() >= limits::OBSERVERS_MAX {
            let text = format!("there are {} observers already: cancel one first", threads.len());
            return Err(EngineError::invalid(text));
        }
        let runtime = time_keeper()?;
        let cancel = self.cancel.child_token();
        let (ending, ended) = mpsc::channel();
        let teller = Teller {
            engine,
            events,
            jobs,
            interval,
            cancel: cancel.clone(),
            due: None,
            told: None,
        };
        let thread = threads::start("observer", move || {
            let _ending: mpsc::Sender<()> = ending;
            teller.tell(&*observer, &runtime);
        })?;
        threads.push(Watching { thread, ended });
        Ok(Arc::new(Subscription {
            _cancels_when_dropped: cancel.clone().drop_guard(),
            cancel,
        }))
    }

    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for those who can end within `grace`; the others are in the host's code, perhaps in the very call that waits here.
    pub(crate) fn join(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        for watching in lock(&self.threads).drain(..) {
            let left = deadline.saturating_duration_since(Instant::now());
            if watching.ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Disconnected) {
                // A panic there concerns nobody else, and was caught by nobody.
                let _ = watching.thread.join();
            }
        }
    }
}

fn time_keeper() -> Result<tokio::runtime::Runtime, EngineError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.map_err(|error| EngineError::Io {
        detail: format!("starting a runtime: {error}"),
    })
}

struct Teller {
    engine: Weak<Inner>,
    events: Receiver<Event>,
    jobs: watch::Receiver<u32>,
    interval: Duration,
    cancel: CancellationToken,
    /// When progress is told next, while a job runs.
    due: Option<time::Instant>,
    /// The last that was told.
    told: Option<RunProgress>,
}

enum News {
    Event(EngineEvent),
    Progress,
    Nothing,
    End,
}

impl Teller {
    /// The host is never called inside the runtime: it may want to block on another.
    fn tell(mut self, observer: &dyn Observer, runtime: &tokio::runtime::Runtime) {
        loop {
            let told = match runtime.block_on(self.next()) {
                News::Event(event) => observer.on_event(event),
                News::Progress => match self.progress() {
                    Some(progress) => observer.on_progress(progress),
                    None => Ok(()),
                },
                News::Nothing => Ok(()),
                News::End => break,
            };
            report(told);
        }
        report(observer.on_end());
    }

    async fn next(&mut self) -> News {
        let due = self.due;
        let tick = async move {
            match due {
                Some(due) => time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => News::End,
            changed = self.jobs.changed() => match changed {
                Ok(()) => {
                    let runs = *self.jobs.borrow_and_update() > 0;
                    self.due = runs.then(|| time::Instant::now() + self.interval);
                    News::Progress
                }
                Err(_) => News::End,
            },
            () = tick => {
                self.due = Some(time::Instant::now() + self.interval);
                News::Progress
            }
            event = self.events.recv() => match event {
                Ok(event) => EngineEvent::of(event).map_or(News::Nothing, News::Event),
                Err(RecvError::Lagged(count)) => News::Event(EngineEvent::Missed { count }),
                Err(RecvError::Closed) => News::End,
            },
        }
    }

    /// What is to be told, unless it was.
    fn progress(&mut self) -> Option<RunProgress> {
        let now = self.engine.upgrade()?.progress().ok()?;
        (self.told != Some(now)).then(|| {
            self.told = Some(now);
            now
        })
    }
}

/// A host that throws is told the next thing all the same.
fn report(told: Result<(), HostError>) {
    if let Err(error) = told {
        tracing::warn!(%error, "an observer failed");
    }
}
