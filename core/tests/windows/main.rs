//! Backups in windows, through the public API.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod budgets;
mod faults;
mod faulty;
mod hand_off;
#[path = "../scene/mod.rs"]
mod scene;
mod stops;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use faulty::Faulty;
use lifeboat::{
    BackupReport, Budget, CheckJob, Engine, EngineOptions, Kind, Outcome, Unlock,
    clock::{Clock, SystemClock},
};
use scene::{PASSWORD, Scene, wait};
use tokio_util::sync::CancellationToken;

const STOP: Duration = Duration::from_secs(10);
/// Longer than any test takes: what ends such a window is something else.
const LONG: Duration = Duration::from_secs(600);

/// As soon as an engine that was only dropped has let go of the folder.
fn open(scene: &Scene, vault: &Arc<Faulty>) -> Engine {
    let deadline = Instant::now() + STOP;
    loop {
        let options = EngineOptions {
            unlock: Unlock::Password(PASSWORD.to_owned().into()),
            ..scene.options()
        };
        match Engine::open_on(vault.clone(), options, Arc::new(SystemClock::default())) {
            Ok(engine) => return engine,
            Err(error) if error.kind() == Kind::Busy && Instant::now() < deadline => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn window(engine: &Engine, scene: &Scene, budget: Budget) -> Outcome {
    wait(engine.run_window(scene.job(), budget))
}

#[track_caller]
fn done(outcome: Outcome) -> BackupReport {
    match outcome {
        Outcome::Done(report) => *report,
        other => panic!("not done: {other:?}"),
    }
}

/// The vault holds what it should, and nothing of ours stands in anyone's way.
fn assert_clean(engine: &Engine, scene: &Scene) {
    let check = wait(engine.check(CheckJob { read_data: true }, CancellationToken::new())).unwrap();
    assert!(check.is_clean(), "{:?}", check.findings);
    assert!(scene::files(&scene.vault().join("locks")).is_empty());
}

/// A clock whose device sleeps when the test says so.
#[derive(Debug, Default)]
struct SleepyClock {
    real: SystemClock,
    slept_s: AtomicU64,
}

impl SleepyClock {
    /// For so long in all, until now.
    fn sleep(&self, seconds: u64) {
        self.slept_s.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for SleepyClock {
    fn wall(&self) -> SystemTime {
        self.real.wall() + Duration::from_secs(self.slept_s.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }

    fn awake_or_asleep(&self) -> Duration {
        self.real.monotonic() + Duration::from_secs(self.slept_s.load(Ordering::Relaxed))
    }
}

fn open_sleepy(scene: &Scene, vault: &Arc<Faulty>, clock: &Arc<SleepyClock>) -> Engine {
    let unlock = Unlock::Password(PASSWORD.to_owned().into());
    Engine::open_on(
        vault.clone(),
        EngineOptions {
            unlock,
            ..scene.options()
        },
        clock.clone(),
    )
    .unwrap()
}
