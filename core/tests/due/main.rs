//! What the Scheduler decides is done: conditions and a policy go in, and snapshots, a diary and wakes come out.

#![allow(clippy::unwrap_used, clippy::panic)]

mod guards;
#[path = "../scene/mod.rs"]
mod scene;
mod work;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use lifeboat::{
    CheckJob, DueJob, DueReport, Engine, EngineOptions, LockPolicy, StopSignal,
    clock::{Clock, SystemClock},
    scheduler::{Conditions, Journal, Known, Network, Policy, Reason, Task, Thermal, Wish},
};
use scene::{Scene, wait};
use tokio_util::sync::CancellationToken;

const STOP: Duration = Duration::from_secs(10);
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// A clock that jumps ahead when the test says so. Windows are measured by the real one.
#[derive(Debug, Default)]
struct Jumping {
    real: SystemClock,
    ahead_s: AtomicU64,
}

impl Jumping {
    fn jump(&self, seconds: u64) {
        self.ahead_s.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Jumping {
    fn wall(&self) -> SystemTime {
        self.real.wall() + Duration::from_secs(self.ahead_s.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}

/// A phone with an engine that is awake.
struct Phone<'a> {
    scene: &'a Scene,
    engine: Engine,
    clock: Arc<Jumping>,
}

impl<'a> Phone<'a> {
    fn new(scene: &'a Scene, state: &Path) -> Self {
        Self::with_clock(scene, state, Arc::default())
    }

    fn with_clock(scene: &'a Scene, state: &Path, clock: Arc<Jumping>) -> Self {
        let options = EngineOptions {
            state_dir: state.to_owned(),
            ..scene.options()
        };
        let engine = Engine::open_with_clock(options, clock.clone()).unwrap();
        Self { scene, engine, clock }
    }

    fn policy(&self, change: impl FnOnce(&mut Policy)) {
        let mut policy = policy();
        change(&mut policy);
        wait(self.engine.diary().set_policy(policy)).unwrap();
    }

    fn due(&self, conditions: Conditions) -> DueReport {
        self.due_until(conditions, StopSignal::default())
    }

    fn due_until(&self, conditions: Conditions, stop: StopSignal) -> DueReport {
        let job = DueJob {
            backup: self.scene.job(),
            conditions,
            lock: LockPolicy::WhenShared,
            stop,
        };
        wait(self.engine.run_due(job)).unwrap()
    }

    /// The task must run, and come to its end.
    #[track_caller]
    fn does(&self, task: Task) -> DueReport {
        let report = self.due(good());
        let window = report.window.as_ref().unwrap_or_else(|| panic!("{report:?}"));
        assert_eq!(
            (window.task, window.closed.end),
            (task, Reason::Done),
            "{report:?}"
        );
        report
    }

    /// Nothing runs, for these reasons.
    #[track_caller]
    fn waits(&self, conditions: Conditions) -> Vec<Reason> {
        let report = self.due(conditions);
        assert!(report.window.is_none(), "{report:?}");
        assert!(!report.again);
        report.decision.waits.iter().map(|wait| wait.reason).collect()
    }

    fn journal(&self) -> Journal {
        wait(self.engine.diary().journal()).unwrap()
    }

    fn tags(&self) -> Vec<Vec<String>> {
        let snapshots = wait(self.engine.snapshots()).unwrap();
        snapshots.into_iter().map(|(_, snapshot)| snapshot.tags).collect()
    }

    fn is_sound(&self) {
        let check = wait(
            self.engine
                .check(CheckJob { read_data: true }, CancellationToken::new()),
        )
        .unwrap();
        assert!(check.is_clean(), "{:?}", check.findings);
        assert!(scene::files(&self.scene.vault().join("locks")).is_empty());
    }

    /// The process ends, and another begins.
    fn restart(self) -> Self {
        let Self { scene, engine, clock } = self;
        let state = scene.state();
        engine.stop(STOP).unwrap();
        Self::with_clock(scene, &state, clock)
    }
}

fn policy() -> Policy {
    let mut policy = Policy {
        jitter_minutes: 0,
        free_space_reserve_bytes: 0,
        ..Policy::default()
    };
    policy.power.charging = Wish::Ignore;
    policy
}

/// A phone that says everything, on an unmetered network.
fn good() -> Conditions {
    Conditions {
        network: Network::Unmetered,
        charging: Known::Yes,
        low_power_mode: Known::No,
        thermal: Some(Thermal::Nominal),
        free_bytes: Some(1 << 40),
        time_zone: Some("Europe/Berlin".into()),
        ..Conditions::default()
    }
}
