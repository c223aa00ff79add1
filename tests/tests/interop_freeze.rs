//! Frozen in the middle of a backup, and the vault pruned by a stock restic meanwhile, which took our lock for a stale one: whatever is published
//! after the thaw is whole.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{fs, path::Path, time::Duration};

use lifeboat_tests::{
    Rng, Scene, assert_same, compare,
    lifeboat_cli::{backup_args, exit},
    process::Running,
    scene::{HOST, restored, utf8},
    seed,
    soak::{count, signal_after},
    vault,
};
use rustix::process::Signal;

const FILES: usize = 24;
const FILE_BYTES: usize = 1_500_000;

fn fill(source: &Path, rng: &mut Rng) {
    fs::create_dir_all(source).unwrap();
    for n in 0..FILES {
        fs::write(source.join(n.to_string()), rng.bytes(FILE_BYTES)).unwrap();
    }
}

/// Somebody at a desktop: everything that no snapshot needs goes, and with `forget` also what the last snapshots need.
fn prune(scene: &Scene, forget: bool) {
    let restic = scene.restic();
    restic.run(["unlock", "--remove-all"]).ok();
    if forget {
        let ids = restic.snapshot_ids();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        restic.run([&["forget"], &ids[..]].concat()).ok();
    }
    restic.run(["prune", "--max-unused", "0"]).ok();
}

fn assert_whole(scene: &Scene) {
    let restic = scene.restic();
    restic.check_read_data();
    let target = scene.path("restored");
    restic.restore("latest", &target);
    let back = restored(&target, &scene.source());
    assert_same(&scene.source(), &back, &compare::Options::default());
    fs::remove_dir_all(&target).unwrap();
    assert!(vault::locks(&scene.vault()).is_empty());
}

/// Freezes a backup at a moment, prunes, and thaws it.
fn freeze(scene: &Scene, args: &[&str], forget: bool, mut moment: impl FnMut() -> bool) -> Running {
    let mut running = scene.lifeboat().start(args.iter().copied());
    if running.reaches(&mut moment) {
        running.signal(Signal::STOP);
        prune(scene, forget);
        running.signal(Signal::CONT);
    }
    running
}

#[test]
fn a_snapshot_after_a_freeze_and_a_prune_is_complete() {
    let mut rng = Rng::new(seed(91));
    for round in 0..12 {
        let scene = Scene::new();
        let (vault, source) = (scene.vault(), scene.source());
        fill(&source, &mut rng);
        scene.lifeboat().init();
        if round % 2 == 0 {
            // Content that a snapshot has, and that the next one counts on.
            scene.lifeboat().backup(&source);
            fill(&source.join("more"), &mut rng);
        }
        let (packs, indexes) = (count(&vault, "data"), count(&vault, "index"));
        let args = backup_args(&source);
        let more = 1 + rng.index(6);
        let running = match round % 4 {
            0 => freeze(&scene, &args, true, || count(&vault, "data") >= packs + more),
            1 => freeze(&scene, &args, false, || count(&vault, "data") >= packs + more),
            2 => freeze(&scene, &args, true, || count(&vault, "locks") > 0),
            _ => freeze(&scene, &args, true, || count(&vault, "index") > indexes),
        };
        running.wait().ok();
        assert_whole(&scene);
    }
}

/// The same across windows: nothing runs while the vault is pruned, and the next window finds out.
#[test]
fn a_vault_pruned_between_and_within_windows_gets_back_what_it_lost() {
    let mut rng = Rng::new(seed(92));
    let scene = Scene::new();
    let source = scene.source();
    fill(&source, &mut rng);
    scene.lifeboat().init();
    let args = [
        "backup",
        "--host",
        HOST,
        "--window",
        "60",
        "--limit-bytes",
        "5000000",
        "--",
        utf8(&source),
    ];
    for window in 0.. {
        assert!(window < 100, "does not converge");
        let running = scene.lifeboat().start(args);
        // The first ones suffer.
        let finished = if window < 5 {
            let moment = Duration::from_millis(rng.below(200));
            let frozen = signal_after(running, moment, Signal::STOP);
            prune(&scene, false);
            frozen.signal(Signal::CONT);
            frozen.wait()
        } else {
            running.wait()
        };
        if window == 5 {
            prune(&scene, false);
        }
        match finished.status.code() {
            Some(0) => break,
            Some(exit::MORE_TO_DO | exit::WAITING) => {}
            _ => panic!("{finished}"),
        }
    }
    assert_whole(&scene);
}
