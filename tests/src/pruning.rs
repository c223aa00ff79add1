//! Pruning a vault some days from now, by an installation that was never there before.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use lifeboat::{
    Engine, EngineOptions, MaxUnused, PruneJob, PrunePlan, PruneReport, Unlock,
    clock::{Clock, SystemClock},
    storage::{Address, Storage},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Scene,
    faulty::{Fault, Faulty},
    scene::PASSWORD,
};

const DAY: u64 = 86_400;

/// A clock some days ahead, so that no test has to wait for a grace.
#[derive(Debug)]
struct Ahead {
    real: SystemClock,
    by: Duration,
}

impl Clock for Ahead {
    fn wall(&self) -> SystemTime {
        self.real.wall() + self.by
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}

pub fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// An engine on a vault, some days from now.
pub fn engine(storage: Arc<dyn Storage>, state: &Path, days: u64) -> Engine {
    let options = EngineOptions {
        vault: Address::Local("/nowhere".into()),
        state_dir: state.to_owned(),
        unlock: Unlock::Password(PASSWORD.to_owned().into()),
        storage: Default::default(),
    };
    let clock = Ahead {
        real: SystemClock::default(),
        by: Duration::from_secs(days * DAY),
    };
    Engine::open_on(storage, options, Arc::new(clock)).unwrap()
}

pub fn try_prune(
    storage: Arc<dyn Storage>,
    state: &Path,
    days: u64,
    job: &PruneJob,
) -> lifeboat::Result<(PrunePlan, PruneReport)> {
    let engine = engine(storage, state, days);
    let done = wait(async {
        let plan = engine.plan_prune(job.clone(), CancellationToken::new()).await?;
        let report = engine.prune(plan.clone(), CancellationToken::new()).await?;
        Ok((plan, report))
    });
    engine.stop(Duration::from_secs(10)).unwrap();
    done
}

/// One prune some days from now, by an installation that was never here before.
pub fn prune(scene: &Scene, vault: &Path, days: u64, job: &PruneJob) -> (PrunePlan, PruneReport) {
    try_prune(Faulty::new(vault, Fault::None), &new_state(scene), days, job).unwrap()
}

/// A state folder that nobody has used.
pub fn new_state(scene: &Scene) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    scene.path(&format!("state-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Nothing of no use is borne.
pub fn tight() -> PruneJob {
    PruneJob {
        max_unused: MaxUnused::Bytes(0),
        ..PruneJob::default()
    }
}
