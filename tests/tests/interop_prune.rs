//! Prune beside restic's: the same stays, and restic finds no fault with the repository at any moment.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use lifeboat::{
    Engine, EngineOptions, Kind, MaxUnused, PruneJob, PrunePlan, PruneReport, RestoreJob, Unlock,
    clock::{Clock, SystemClock},
    storage::{Address, Storage},
};
use lifeboat_tests::{
    Forest, Lifeboat, Restic, Rng, Scene, assert_same, compare,
    faulty::{Fault, Faulty},
    lifeboat_cli::{backup_args, exit},
    restic::text,
    scene::{PASSWORD, restored, utf8},
    seed, vault,
};
use rustix::process::Signal;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

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

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// An engine on a vault, some days from now.
fn engine(storage: Arc<dyn Storage>, state: &Path, days: u64) -> Engine {
    let options = EngineOptions {
        vault: Address::Local("/nowhere".into()),
        state_dir: state.to_owned(),
        unlock: Unlock::Password(PASSWORD.to_owned().into()),
    };
    let clock = Ahead {
        real: SystemClock::default(),
        by: Duration::from_secs(days * DAY),
    };
    Engine::open_on(storage, options, Arc::new(clock)).unwrap()
}

fn try_prune(
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
fn prune(scene: &Scene, vault: &Path, days: u64, job: &PruneJob) -> (PrunePlan, PruneReport) {
    let state = scene.path(&format!("state-{}", uuid()));
    try_prune(Faulty::new(vault, Fault::None), &state, days, job).unwrap()
}

fn uuid() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

fn tight() -> PruneJob {
    PruneJob {
        max_unused: MaxUnused::Bytes(0),
        ..PruneJob::default()
    }
}

fn at_once(max_unused: &str) -> PruneJob {
    PruneJob {
        max_unused: max_unused.parse().unwrap(),
        grace: Duration::ZERO,
        ..PruneJob::default()
    }
}

/// Backups of a folder that changes, by us or by restic, all but the last three forgotten.
fn history(seed: u64, by_us: bool) -> Scene {
    let scene = Scene::new();
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    let forest = Forest {
        files: 60,
        ..Forest::small(seed)
    };
    forest.plant(&scene.source());
    lifeboat.init();
    for round in 1..=6 {
        if by_us {
            lifeboat.backup(&scene.source());
        } else {
            restic.backup_with(&scene.source(), &["--pack-size", "4"]);
        }
        forest.mutate(&scene.source(), round);
    }
    lifeboat.forget(&["--keep-last", "3", "--group-by", ""]).ok();
    scene
}

fn numbers(lifeboat: &Lifeboat) -> Value {
    let plan = lifeboat.run(["prune", "--plan", "--json", "--grace", "0"]).ok();
    plan.json()["plan"].clone()
}

#[test]
fn the_same_stays_as_with_restic() {
    let seed = seed(81);
    for (number, by_us) in [true, false].into_iter().enumerate() {
        let scene = history(seed + number as u64, by_us);
        for limit in ["0", "5%", "20%", "unlimited"] {
            let copy =
                |who: &str| scene.copy(&scene.vault(), &format!("{who}-{}", limit.trim_end_matches('%')));
            let (theirs, ours) = (copy("theirs"), copy("ours"));
            let restic = scene.restic().on(&theirs);
            restic.run(["prune", "--max-unused", limit]).ok();
            let lifeboat = Lifeboat::new(&ours, &scene.path(&format!("state-{}", uuid())));
            lifeboat
                .run(["prune", "--grace", "0", "--max-unused", limit, "--json"])
                .ok();
            let (left, left_by_restic) = (restic.on(&ours).blobs(), restic.blobs());
            println!(
                "{by_us} {limit}: {} blobs of {}",
                left.len(),
                scene.restic().blobs().len()
            );
            assert_eq!(left, left_by_restic, "by us: {by_us}, {limit}");
            let after = numbers(&lifeboat);
            let by_restic = numbers(&Lifeboat::new(&theirs, &scene.path(&format!("state-{}", uuid()))));
            for what in ["blobs_used", "bytes_unused", "blobs_unused", "bytes_duplicate"] {
                assert_eq!(
                    after[what], by_restic[what],
                    "{what} with {limit}, by us: {by_us}"
                );
            }
            restic.on(&ours).check_read_data();
            restic.check_read_data();
            // Nothing is left to do, for either.
            let again = lifeboat
                .run(["prune", "--grace", "0", "--max-unused", limit])
                .ok();
            again.says("there was nothing to do");
            assert_eq!(after["wait_unindexed"]["packs"], 0);
            for vault in [theirs, ours] {
                fs::remove_dir_all(vault).unwrap();
            }
        }
    }
}

#[test]
fn copies_and_small_packs_are_put_together_as_restic_does() {
    let scene = Scene::new();
    let lifeboat = scene.lifeboat();
    lifeboat.init();
    fs::create_dir(scene.source()).unwrap();
    let mut rng = Rng::new(seed(82));
    // Two installations that know nothing of each other store the same twice; each backup is a pack or two, and an index file.
    let other = Lifeboat::new(&scene.vault(), &scene.path("other"));
    for number in 0..14 {
        fs::write(scene.source().join(number.to_string()), rng.bytes(300_000)).unwrap();
        lifeboat.backup(&scene.source());
    }
    fs::rename(scene.vault().join("index"), scene.path("hidden")).unwrap();
    fs::create_dir(scene.vault().join("index")).unwrap();
    other.backup(&scene.source());
    for entry in fs::read_dir(scene.path("hidden")).unwrap() {
        let path = entry.unwrap().path();
        fs::rename(&path, scene.vault().join("index").join(path.file_name().unwrap())).unwrap();
    }
    let before = numbers(&lifeboat);
    assert!(before["bytes_duplicate"].as_u64().unwrap() > 0, "{before}");
    let theirs = scene.copy(&scene.vault(), "theirs");
    let restic = scene.restic().on(&theirs);
    restic.run(["prune", "--max-unused", "0"]).ok();
    lifeboat.run(["prune", "--grace", "0", "--max-unused", "0"]).ok();
    let (ours, by_restic) = (
        numbers(&lifeboat),
        numbers(&Lifeboat::new(&theirs, &scene.path("third"))),
    );
    for what in ["blobs_used", "blobs_duplicate", "blobs_unused"] {
        assert_eq!(ours[what], by_restic[what], "{what}");
    }
    assert_eq!(scene.restic().blobs(), restic.blobs());
    assert!(vault::packs(&scene.vault()).len() <= 6, "{ours}");
    assert_eq!(vault::files(&scene.vault(), "index").len(), 1);
    scene.restic().check_read_data();
}

/// A vault with something for every step of a prune on day 16: packs that wait, go out of the indexes, go, and are packed anew.
fn vault_in_between(seed: u64) -> (Scene, PathBuf) {
    let scene = Scene::new();
    let (lifeboat, mut rng) = (scene.lifeboat(), Rng::new(seed));
    lifeboat.init();
    let source = scene.source();
    fs::create_dir(&source).unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(source.join(name), bytes).unwrap();
    for round in 0..4 {
        write("alone", rng.bytes(5_000_000));
        for number in 0..4 {
            write(&format!("part {round}.{number}"), rng.bytes(200_000));
        }
        lifeboat.backup(&source);
        let keep = ["forget", "--keep-last", "1", "--group-by", ""];
        lifeboat.run(keep).ok();
        match round {
            0 => {}
            1 => drop(prune(&scene, &scene.vault(), 0, &tight())),
            2 => drop(prune(&scene, &scene.vault(), 8, &tight())),
            _ => {
                // Of the last packs, only a part is of use; and there is one that nobody knows.
                fs::remove_file(source.join("part 3.0")).unwrap();
                fs::remove_file(source.join("part 0.1")).unwrap();
                lifeboat.backup(&source);
                lifeboat.run(keep).ok();
            }
        }
        scene.restic().check_read_data();
    }
    let vault = scene.vault();
    (scene, vault)
}

#[test]
fn interrupted_at_every_change_restic_finds_no_fault_and_the_next_prune_goes_on() {
    let (scene, vault) = vault_in_between(seed(83));
    let whole = scene.copy(&vault, "whole");
    let storage = Faulty::new(&whole, Fault::None);
    let (plan, report) = try_prune(storage.clone(), &scene.path("whole-state"), 16, &tight()).unwrap();
    println!("{:#?} {report:#?}", plan.totals);
    for count in [report.repacked, report.retired, report.deleted, report.marked] {
        assert!(
            count.packs > 0,
            "the vault has something for each step: {report:?}"
        );
    }
    let restic = scene.restic();
    restic.on(&whole).check_read_data();
    let expected = restic.on(&whole).blobs();
    let changes = storage.changes();
    println!("{changes} changes");
    assert!(changes > 12);
    for number in 1..=changes {
        for fault in [Fault::Before(number), Fault::After(number)] {
            let copy = scene.copy(&vault, "copy");
            let state = scene.path("copy-state");
            let stopped = try_prune(Faulty::new(&copy, fault), &state, 16, &tight());
            if let Err(error) = &stopped {
                assert_eq!(error.kind(), Kind::Unreachable, "{fault:?}: {error}");
            }
            let restic = restic.on(&copy);
            restic.check_read_data_unlocked();
            // What was done stays done: another prune, on the same day, has the rest.
            let whole = Faulty::new(&copy, Fault::None);
            try_prune(whole, &state, 16, &tight()).unwrap();
            assert!(vault::locks(&copy).is_empty(), "{fault:?} left a lock");
            restic.check_read_data();
            assert_eq!(restic.blobs(), expected, "{fault:?}");
            let target = scene.path("restored");
            restic.restore("latest", &target);
            assert_same(
                &scene.source(),
                &restored(&target, &scene.source()),
                &compare::Options::default(),
            );
            for dir in [&copy, &state, &target] {
                fs::remove_dir_all(dir).unwrap();
            }
        }
    }
}
