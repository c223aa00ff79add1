//! Tells hosts what happens, each on a thread of its own. What one of them does there, throw, block or call the engine, is between it and its thread.

use std::{
    sync::{Arc, Mutex, OnceLock, Weak, mpsc},
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
    /// How far the last job was when the engine ended.
    last: Arc<OnceLock<RunProgress>>,
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
            saw_a_job: false,
            last: self.last.clone(),
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

    /// Nothing more is told but the end.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// How far the last job was: told last of all, if it was not before. Before the engine ends.
    pub(crate) fn set_last(&self, progress: RunProgress) {
        // An engine ends once.
        let _ = self.last.set(progress);
    }

    /// After the engine has ended: waits until all are told of everything. Who cannot be within `grace`, since it is in the host's code, perhaps in the
    /// very call that waits here, is told nothing more.
    pub(crate) fn end(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        for watching in lock(&self.threads).drain(..) {
            let left = deadline.saturating_duration_since(Instant::now());
            if watching.ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Disconnected) {
                // A panic there concerns nobody else, and was caught by nobody.
                let _ = watching.thread.join();
            }
        }
        self.cancel();
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
    /// Whether there is progress to be told at all.
    saw_a_job: bool,
    last: Arc<OnceLock<RunProgress>>,
}

enum News {
    Event(EngineEvent),
    Progress,
    Nothing,
    /// The engine has ended, and everything was told that happened.
    Ended,
    Cancelled,
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
                News::Ended => {
                    let last = self.last.get().filter(|_| self.saw_a_job);
                    if let Some(progress) = last.filter(|last| self.told != Some(**last)) {
                        report(observer.on_progress(*progress));
                    }
                    break;
                }
                News::Cancelled => break,
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
            () = self.cancel.cancelled() => News::Cancelled,
            changed = self.jobs.changed() => match changed {
                Ok(()) => {
                    self.saw_a_job = true;
                    let runs = *self.jobs.borrow_and_update() > 0;
                    self.due = runs.then(|| time::Instant::now() + self.interval);
                    News::Progress
                }
                Err(_) => News::Ended,
            },
            () = tick => {
                self.due = Some(time::Instant::now() + self.interval);
                News::Progress
            }
            event = self.events.recv() => match event {
                Ok(event) => EngineEvent::of(event).map_or(News::Nothing, News::Event),
                Err(RecvError::Lagged(count)) => News::Event(EngineEvent::Missed { count }),
                Err(RecvError::Closed) => News::Ended,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::RunPhase;

    #[derive(Debug, PartialEq)]
    enum Told {
        Progress(u64),
        Event(EngineEvent),
        End,
    }

    /// Does not come back from what it is told first until it is let go.
    struct Slow {
        told: Mutex<Vec<Told>>,
        called: mpsc::Sender<()>,
        gate: Mutex<mpsc::Receiver<()>>,
    }

    impl Slow {
        fn add(&self, told: Told) -> Result<(), HostError> {
            lock(&self.told).push(told);
            let _ = self.called.send(());
            // Open for good once its other end is gone.
            let _ = lock(&self.gate).recv();
            Ok(())
        }
    }

    impl Observer for Slow {
        fn on_progress(&self, progress: RunProgress) -> Result<(), HostError> {
            self.add(Told::Progress(progress.files))
        }

        fn on_event(&self, event: EngineEvent) -> Result<(), HostError> {
            self.add(Told::Event(event))
        }

        fn on_end(&self) -> Result<(), HostError> {
            self.add(Told::End)
        }
    }

    struct Scene {
        observers: Observers,
        slow: Arc<Slow>,
        open: mpsc::Sender<()>,
        _watching: Arc<Subscription>,
        _jobs: watch::Sender<u32>,
    }

    /// An engine that has ended after a job of seven files, before its observer came back from the first that it was told.
    fn ended() -> Scene {
        let (observers, (called, calls), (open, gate)) =
            (Observers::default(), mpsc::channel(), mpsc::channel());
        let slow = Arc::new(Slow {
            told: Mutex::default(),
            called,
            gate: Mutex::new(gate),
        });
        let (events, jobs) = (tokio::sync::broadcast::Sender::new(16), watch::Sender::new(0));
        let watching = observers.start(
            slow.clone(),
            Weak::new(),
            events.subscribe(),
            jobs.subscribe(),
            Duration::from_secs(60),
        );
        events.send(Event::SealingAgain).unwrap();
        calls.recv().unwrap();
        jobs.send_replace(1);
        events.send(Event::SealingAgain).unwrap();
        jobs.send_replace(0);
        observers.set_last(RunProgress {
            phase: RunPhase::Idle,
            files: 7,
            bytes: 0,
            files_total: 0,
            bytes_total: 0,
            bytes_new: 0,
            bytes_stored: 0,
            unreadable: 0,
        });
        Scene {
            observers,
            slow,
            open,
            _watching: watching.unwrap(),
            _jobs: jobs,
        }
    }

    #[test]
    fn at_the_end_all_is_told_that_happened_and_how_far_the_last_job_was() {
        let scene = ended();
        drop(scene.open);
        scene.observers.end(Duration::from_secs(600));
        let sealing = || Told::Event(EngineEvent::SealingAgain);
        assert_eq!(
            *lock(&scene.slow.told),
            [sealing(), sealing(), Told::Progress(7), Told::End]
        );
    }

    #[test]
    fn who_does_not_come_back_is_told_no_more_than_the_end() {
        let scene = ended();
        scene.observers.end(Duration::ZERO);
        drop(scene.open);
        while Arc::strong_count(&scene.slow) > 1 {
            thread::yield_now();
        }
        let sealing = Told::Event(EngineEvent::SealingAgain);
        assert_eq!(*lock(&scene.slow.told), [sealing, Told::End]);
    }
}
