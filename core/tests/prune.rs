//! A prune from its plan to the end of the grace, and what refuses one.

// What fails here fails a test, loudly, also in a helper.
#![allow(clippy::unwrap_used)]

mod scene;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use lifeboat::{
    CheckJob, Engine, ForgetJob, Kind, MaxUnused, PackAction, PruneJob, PrunePlan, PruneReport, RestoreJob,
    clock::{Clock, SystemClock},
    retention::{Count, GroupBy, Policy},
};
use scene::{Scene, files, noise, wait};
use tokio_util::sync::CancellationToken;

const STOP: Duration = Duration::from_secs(10);
const HOUR: u64 = 3600;

/// A clock that is ahead by what the test says.
#[derive(Debug, Default)]
struct Ahead {
    real: SystemClock,
    hours: AtomicU64,
}

impl Clock for Ahead {
    fn wall(&self) -> SystemTime {
        self.real.wall() + Duration::from_secs(self.hours.load(Ordering::Relaxed) * HOUR)
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}

fn token() -> CancellationToken {
    CancellationToken::new()
}

fn tight() -> PruneJob {
    PruneJob {
        max_unused: MaxUnused::Bytes(0),
        ..PruneJob::default()
    }
}

fn prune(engine: &Engine, job: &PruneJob) -> lifeboat::Result<(PrunePlan, PruneReport)> {
    wait(async {
        let plan = engine.plan_prune(job.clone(), token()).await?;
        Ok((plan.clone(), engine.prune(plan, token()).await?))
    })
}

fn forget_all_but_one(engine: &Engine) {
    let job = ForgetJob {
        policy: Policy {
            last: Count::AtMost(1),
            ..Policy::default()
        },
        group_by: GroupBy::default(),
        ..ForgetJob::default()
    };
    wait(engine.forget(job)).unwrap();
}

/// Files that are one blob each, so that all of them lie in one pack, whatever the repository's secret.
const FILES: u64 = 12;
const GOES_BYTES: usize = 200_000;
const STAYS_BYTES: usize = 50_000;

/// The newest of two snapshots needs a part of what they stored.
fn used_vault() -> Scene {
    let scene = Scene::new();
    for number in 0..FILES {
        scene.write(&format!("{number} goes"), noise(2 * number + 1, GOES_BYTES));
        scene.write(&format!("{number} stays"), noise(2 * number + 101, STAYS_BYTES));
    }
    scene.backup();
    for number in 0..FILES {
        fs::remove_file(scene.source().join(format!("{number} goes"))).unwrap();
    }
    scene.backup();
    scene
}

#[test]
fn a_pack_is_marked_then_retired_then_deleted() {
    let scene = used_vault();
    let clock = Arc::new(Ahead::default());
    let engine = Engine::open_with_clock(scene.options(), clock.clone()).unwrap();
    forget_all_but_one(&engine);
    let stored = || files(&scene.vault().join("data")).len() as u64;
    let packs = stored();
    let job = PruneJob {
        // Whole packs only, so that each step is seen by itself.
        max_repack_bytes: Some(0),
        ..tight()
    };
    let mut seen = Vec::new();
    for hours in [0, 100, 167, 300, 334, 335] {
        clock.hours.store(hours, Ordering::Relaxed);
        let (_, report) = prune(&engine, &job).unwrap();
        seen.push((
            report.marked.packs > 0,
            report.retired.packs > 0,
            report.deleted.packs > 0,
        ));
        let check = wait(engine.check(CheckJob { read_data: true }, token())).unwrap();
        assert!(check.is_clean(), "{check:?}");
    }
    let (waits, retired, deleted, rest) = (
        (true, false, false),
        (true, true, false),
        (false, false, true),
        (false, false, false),
    );
    assert_eq!(seen, [waits, waits, retired, waits, deleted, rest]);
    assert!(stored() < packs);
    let job = RestoreJob {
        snapshot: "latest".into(),
        target: scene.dir.path().join("restored"),
        ..RestoreJob::default()
    };
    wait(engine.restore(job, token())).unwrap();
    engine.stop(STOP).unwrap();
}

#[test]
fn without_a_grace_all_goes_at_once_and_the_next_backup_knows() {
    let scene = used_vault();
    let engine = scene.open();
    forget_all_but_one(&engine);
    let job = PruneJob {
        grace: Duration::ZERO,
        ..tight()
    };
    let (plan, report) = prune(&engine, &job).unwrap();
    assert!(plan.actions.values().any(|action| *action == PackAction::Repack));
    assert!(report.deleted.packs > 0 && report.marked.packs == 0, "{report:?}");
    let stored: u64 = files(&scene.vault().join("data"))
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(
        stored < FILES * STAYS_BYTES as u64 + 50_000,
        "{stored} bytes are left"
    );
    assert_eq!(files(&scene.vault().join("index")).len(), 1);
    // What went is stored again when it comes back.
    for number in 0..FILES {
        scene.write(&format!("{number} goes"), noise(2 * number + 1, GOES_BYTES));
    }
    let report = wait(engine.backup(scene.job(), token())).unwrap();
    assert_eq!(report.stats.data_blobs, FILES, "{:?}", report.stats);
    let check = wait(engine.check(CheckJob { read_data: true }, token())).unwrap();
    assert!(check.is_clean(), "{check:?}");
    engine.stop(STOP).unwrap();
}

/// Whatever is hurt: nothing is touched, and what is wrong is told.
#[test]
fn a_vault_that_is_hurt_is_not_pruned() {
    for (hurt, expected) in [
        ("data", "nothing was pruned"),
        ("snapshots", "snapshots/"),
        ("index", "index/"),
    ] {
        let scene = used_vault();
        let engine = scene.open();
        wait(engine.snapshots()).unwrap();
        engine.stop(STOP).unwrap();
        // Another installation, which has not seen any of it before.
        let options = lifeboat::EngineOptions {
            state_dir: scene.dir.path().join("other"),
            ..scene.options()
        };
        for path in files(&scene.vault().join(hurt)) {
            match hurt {
                "data" => fs::remove_file(path).unwrap(),
                _ => {
                    let mut bytes = fs::read(&path).unwrap();
                    bytes[40] ^= 1;
                    fs::remove_file(&path).unwrap();
                    fs::write(path, bytes).unwrap();
                }
            }
        }
        let before = files(&scene.vault());
        let engine = Engine::open(options).unwrap();
        let error = prune(&engine, &tight()).unwrap_err();
        assert!(
            matches!(error.kind(), Kind::Damaged | Kind::NotFound),
            "{hurt}: {error}"
        );
        assert!(error.to_string().contains(expected), "{hurt}: {error}");
        assert_eq!(files(&scene.vault()), before, "{hurt}");
        engine.stop(STOP).unwrap();
    }
}

#[test]
fn a_plan_is_good_for_its_repository_and_for_what_it_named() {
    let (one, other) = (used_vault(), used_vault());
    let engine = one.open();
    let foreign = other.open();
    let job = PruneJob {
        grace: Duration::ZERO,
        ..tight()
    };
    let theirs = wait(foreign.plan_prune(job.clone(), token())).unwrap();
    let error = wait(engine.prune(theirs, token())).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidInput);
    // Two snapshots need everything; then one is forgotten. The plan from before takes nothing away.
    let plan = wait(engine.plan_prune(job, token())).unwrap();
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    forget_all_but_one(&engine);
    let report = wait(engine.prune(plan, token())).unwrap();
    let taken = [report.repacked, report.retired, report.deleted];
    assert!(taken.iter().all(|count| count.packs == 0), "{report:?}");
    for engine in [engine, foreign] {
        engine.stop(STOP).unwrap();
    }
}
