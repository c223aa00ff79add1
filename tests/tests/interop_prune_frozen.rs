//! Prune while another client is frozen in the middle of its work, which then goes on: nothing is lost.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{fs, path::Path};

use lifeboat::{MaxUnused, PruneJob};
use lifeboat_tests::{
    Forest, Lifeboat, Rng, Scene, assert_same, compare,
    lifeboat_cli::{backup_args, exit},
    process::Running,
    pruning::{new_state, prune, tight},
    restic::text,
    scene::{restored, utf8},
    seed, vault,
};
use rustix::process::Signal;

/// New data for the client that is frozen: several packs, so that there is time.
const FRESH_FILES: usize = 12;
const FRESH_BYTES: usize = 3 << 20;

/// A vault with something to prune, and new files in the source.
fn scene(seed: u64) -> Scene {
    let scene = Scene::new();
    let (lifeboat, mut rng) = (scene.lifeboat(), Rng::new(seed));
    let forest = Forest {
        files: 40,
        ..Forest::small(seed)
    };
    forest.plant(&scene.source());
    lifeboat.init();
    for round in 1..=3 {
        lifeboat.backup(&scene.source());
        forest.mutate(&scene.source(), round);
    }
    lifeboat.forget(&["--keep-last", "1", "--group-by", ""]).ok();
    for number in 0..FRESH_FILES {
        fs::write(
            scene.source().join(format!("fresh {number}")),
            rng.bytes(FRESH_BYTES),
        )
        .unwrap();
    }
    scene
}

fn other(scene: &Scene) -> Lifeboat {
    Lifeboat::new(&scene.vault(), &new_state(scene))
}

/// Stops the program as soon as the moment has come.
fn freeze(mut running: Running, moment: impl FnMut() -> bool) -> Running {
    assert!(running.reaches(moment), "it ended too early to be frozen");
    running.signal(Signal::STOP);
    running
}

fn goes_on(scene: &Scene, frozen: Running) {
    frozen.signal(Signal::CONT);
    frozen.wait().ok();
    whole(scene, "latest", &scene.source());
}

fn whole(scene: &Scene, snapshot: &str, source: &Path) {
    scene.restic().check_read_data();
    let target = scene.path("restored");
    scene.restic().restore(snapshot, &target);
    assert_same(
        source,
        &restored(&target, &scene.source()),
        &compare::Options::default(),
    );
    fs::remove_dir_all(&target).unwrap();
}

#[test]
fn a_client_that_sleeps_between_its_packs_finds_them_again() {
    let scene = scene(seed(91));
    let before = vault::packs(&scene.vault());
    let source = scene.source();
    let running = scene.lifeboat().start(backup_args(&source));
    let frozen = freeze(running, || vault::packs(&scene.vault()).len() >= before.len() + 3);
    let sent = vault::packs(&scene.vault());
    // Twice, and the second one days later: the packs are in no index, and stay until the grace is over.
    prune(&scene, &scene.vault(), 0, &tight());
    prune(&scene, &scene.vault(), 6, &tight());
    scene.restic().check_read_data();
    let after = vault::packs(&scene.vault());
    let fresh = || sent.iter().filter(|(name, _)| !before.contains_key(*name));
    assert!(
        fresh().all(|(name, file)| after.get(name) == Some(file)),
        "a pack is gone, or was written again"
    );
    goes_on(&scene, frozen);
    let end = vault::packs(&scene.vault());
    assert!(fresh().all(|(name, file)| end.get(name) == Some(file)));
    let stored: u64 = end
        .iter()
        .filter(|(name, _)| !after.contains_key(*name))
        .map(|(_, file)| file.size)
        .sum();
    let sent: u64 = fresh().map(|(_, file)| file.size).sum();
    let all = (FRESH_FILES * FRESH_BYTES) as u64;
    println!("{sent} bytes before, {stored} after, of {all}");
    assert!(sent + stored < all + (4 << 20), "something was sent twice");
    // Now that a snapshot needs them, they stay for good.
    prune(&scene, &scene.vault(), 30, &tight());
    whole(&scene, "latest", &scene.source());
}

/// Without a grace its packs go; it notices, and stores again what is missing.
#[test]
fn a_client_whose_packs_went_stores_them_again() {
    let scene = scene(seed(92));
    let before = vault::packs(&scene.vault()).len();
    let source = scene.source();
    let running = scene.lifeboat().start(backup_args(&source));
    let frozen = freeze(running, || vault::packs(&scene.vault()).len() >= before + 3);
    other(&scene)
        .run(["prune", "--grace", "0", "--max-unused", "0"])
        .ok();
    scene.restic().check_read_data();
    goes_on(&scene, frozen);
}

/// While it publishes it holds a lock, and nobody prunes. Whoever removes the lock has it publish anew.
#[test]
fn a_client_that_is_frozen_while_it_publishes_is_not_pruned_around() {
    let scene = scene(seed(93));
    let source = scene.source();
    let running = scene.lifeboat().start(backup_args(&source));
    let frozen = freeze(running, || !vault::locks(&scene.vault()).is_empty());
    let all = || vault::KINDS.map(|kind| vault::files(&scene.vault(), kind));
    let before = all();
    other(&scene).run(["prune"]).code(exit::LOCKED);
    // It may have finished a file before it really stood still.
    let is_there = |kind: usize, name: &String| all()[kind].contains_key(name);
    assert!((0..before.len()).all(|kind| before[kind].keys().all(|name| is_there(kind, name))));
    other(&scene).run(["unlock", "--remove-all"]).ok();
    prune(&scene, &scene.vault(), 0, &tight());
    prune(&scene, &scene.vault(), 6, &tight());
    goes_on(&scene, frozen);
    prune(&scene, &scene.vault(), 30, &tight());
    whole(&scene, "latest", &scene.source());
}

/// restic holds a lock from its first request to its last. Where someone removes it, its packs are marked and stay.
#[test]
fn a_frozen_restic_is_not_pruned_around_and_goes_on() {
    let scene = scene(seed(94));
    let before = vault::packs(&scene.vault()).len();
    let source = scene.source();
    let args = [
        "backup",
        "--host",
        "frozen",
        "--pack-size",
        "4",
        "--",
        utf8(&source),
    ];
    let frozen = freeze(scene.restic().start(args), || {
        vault::packs(&scene.vault()).len() >= before + 2
    });
    other(&scene).run(["prune"]).code(exit::LOCKED);
    other(&scene).run(["unlock", "--remove-all"]).ok();
    prune(&scene, &scene.vault(), 0, &tight());
    prune(&scene, &scene.vault(), 6, &tight());
    goes_on(&scene, frozen);
    prune(&scene, &scene.vault(), 30, &tight());
    whole(&scene, "latest", &scene.source());
}

/// The worst case: a snapshot arrives after what it needs was taken out of the indexes, by a client that looked at them before.
#[test]
fn a_snapshot_that_comes_late_is_made_whole_again() {
    let scene = Scene::new();
    let (lifeboat, mut rng) = (scene.lifeboat(), Rng::new(seed(95)));
    lifeboat.init();
    fs::create_dir(scene.source()).unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(scene.source().join(name), bytes).unwrap();
    write("kept", rng.bytes(700_000));
    write("late", rng.bytes(6_000_000));
    write("also late", rng.bytes(300_000));
    lifeboat.backup(&scene.source());
    let late = text(&scene.restic().snapshots()[0]["id"]);
    let then = scene.copy(&scene.source(), "source-then");
    fs::remove_file(scene.source().join("late")).unwrap();
    fs::remove_file(scene.source().join("also late")).unwrap();
    lifeboat.backup(&scene.source());
    // As if its client had been frozen with the snapshot in its hands.
    let hidden = scene.path("hidden");
    fs::rename(scene.vault().join("snapshots").join(&late), &hidden).unwrap();

    // What is packed anew leaves the indexes at once, what is of no use when it has been so for the grace.
    let bearing = PruneJob {
        max_unused: MaxUnused::Unlimited,
        ..PruneJob::default()
    };
    for (name, job, days) in [("anew", tight(), vec![0]), ("unused", bearing, vec![0, 8])] {
        let vault = scene.copy(&scene.vault(), name);
        let restic = scene.restic().on(&vault);
        let mut retired = 0;
        for &day in &days {
            retired += prune(&scene, &vault, day, &job).1.retired.packs;
            restic.check_read_data();
        }
        assert!(retired > 0);
        fs::copy(&hidden, vault.join("snapshots").join(&late)).unwrap();
        let check = Lifeboat::new(&vault, &new_state(&scene)).run(["check"]);
        assert!(
            !check.status.success(),
            "it is whole anyway, and this tests nothing: {check}"
        );

        let last = days.last().unwrap();
        let (_, report) = prune(&scene, &vault, last + 6, &job);
        assert!(
            report.recovered.packs > 0 && report.deleted.packs == 0,
            "{report:?}"
        );
        for (number, day) in [last + 6, last + 20, last + 40].into_iter().enumerate() {
            if number > 0 {
                prune(&scene, &vault, day, &job);
            }
            restic.check_read_data();
            let target = scene.path(&format!("restored-{name}-{number}"));
            restic.restore(&late, &target);
            assert_same(
                &then,
                &restored(&target, &scene.source()),
                &compare::Options::default(),
            );
        }
    }
}
