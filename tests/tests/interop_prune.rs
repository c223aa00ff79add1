//! Prune beside restic's: the same stays, and restic finds no fault with the repository at any moment.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{fs, path::PathBuf};

use lifeboat::{CheckJob, Kind, PruneJob};
use lifeboat_tests::{
    Forest, Lifeboat, Rng, Scene, assert_same, compare,
    faulty::{Fault, Faulty},
    pruning::{engine, new_state, prune, tight, try_prune, wait},
    scene::restored,
    seed, vault,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

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
            let lifeboat = Lifeboat::new(&ours, &new_state(&scene));
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
            let by_restic = numbers(&Lifeboat::new(&theirs, &new_state(&scene)));
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
    other.run(["snapshots"]).ok();
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
    let target = scene.path("restored");
    restic.on(&whole).restore("latest", &target);
    let options = compare::Options::default();
    assert_same(&scene.source(), &restored(&target, &scene.source()), &options);
    // And what is left when everything has waited for its grace.
    let later = |vault: &std::path::Path, state: &std::path::Path| {
        let storage = Faulty::new(vault, Fault::None);
        try_prune(storage, state, 24, &tight()).unwrap();
        restic.on(vault).blobs()
    };
    let expected = later(&whole, &scene.path("whole-state"));
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
            restic.on(&copy).check_read_data_unlocked();
            // What was done stays done: another prune, on the same day, has the rest.
            let whole = Faulty::new(&copy, Fault::None);
            try_prune(whole, &state, 16, &tight()).unwrap();
            assert!(vault::locks(&copy).is_empty(), "{fault:?} left a lock");
            restic.on(&copy).check_read_data();
            // But for a pack whose grace was over, and whose new mark came while an old index still named it: it waits once more.
            assert_eq!(later(&copy, &state), expected, "{fault:?}");
            for dir in [&copy, &state] {
                fs::remove_dir_all(dir).unwrap();
            }
        }
    }
}

#[test]
fn a_plan_changes_nothing_and_says_what_comes() {
    let scene = history(seed(84), true);
    let all = |vault: &std::path::Path| vault::KINDS.map(|kind| vault::files(vault, kind));
    let before = all(&scene.vault());
    let lifeboat = scene.lifeboat();
    lifeboat.run(["prune", "--dry-run"]).ok().says("mark: of no use");
    let document = lifeboat
        .run(["prune", "--plan", "--json", "--max-unused", "0"])
        .ok()
        .json();
    assert_eq!(document["message_type"], "plan");
    let plan = &document["plan"];
    assert_eq!(all(&scene.vault()), before, "a plan changed something");
    assert!(vault::locks(&scene.vault()).is_empty());
    for what in ["bytes_used", "bytes_unused", "bytes_freed_later", "bytes_fetched"] {
        assert!(plan[what].as_u64().unwrap() > 0, "{what}: {plan}");
    }
    assert_eq!(
        plan["bytes_freed_now"], 0,
        "nothing goes before the grace is over"
    );
    // One call of `forget` does both, and says where to go on.
    let keep = ["forget", "--keep-last", "1", "--group-by", "", "--prune"];
    lifeboat.run(keep).ok().says("waiting:");
    scene.restic().check_read_data();
}

/// Windows: each is bounded in bytes, and together they do what one would.
#[test]
fn many_small_windows_do_what_one_does() {
    const WINDOW_BYTES: u64 = 11 << 20;
    let scene = Scene::new();
    let (lifeboat, mut rng) = (scene.lifeboat(), Rng::new(seed(85)));
    lifeboat.init();
    fs::create_dir(scene.source()).unwrap();
    for number in 0..8 {
        for name in ["stays", "goes"] {
            let path = scene.source().join(format!("{name} {number}"));
            fs::write(path, rng.bytes(2_200_000)).unwrap();
        }
        lifeboat.backup(&scene.source());
        fs::remove_file(scene.source().join(format!("goes {number}"))).unwrap();
    }
    lifeboat.backup(&scene.source());
    lifeboat.forget(&["--keep-last", "1", "--group-by", ""]).ok();
    let whole = scene.copy(&scene.vault(), "whole");
    let (_, at_once) = prune(&scene, &whole, 0, &tight());
    let state = new_state(&scene);
    let (mut windows, mut repacked) = (0, 0);
    loop {
        let job = PruneJob {
            max_repack_bytes: Some(WINDOW_BYTES),
            ..tight()
        };
        let storage = Faulty::new(&scene.vault(), Fault::None);
        let (plan, report) = try_prune(storage, &state, 0, &job).unwrap();
        assert!(plan.totals.repack.bytes.max(report.repacked.bytes) <= WINDOW_BYTES);
        scene.restic().check_read_data();
        if report.repacked.packs == 0 {
            break;
        }
        windows += 1;
        repacked += report.repacked.bytes;
        assert!(
            report.retired.packs >= report.repacked.packs && windows < 20,
            "{report:?}"
        );
    }
    println!(
        "{windows} windows, {repacked} bytes, {} at once",
        at_once.repacked.bytes
    );
    assert!(windows > 2);
    assert_eq!(scene.restic().blobs(), scene.restic().on(&whole).blobs());
}

#[test]
fn a_plan_that_may_read_little_goes_on_where_it_ended() {
    let scene = history(seed(86), true);
    let (state, mut calls) = (new_state(&scene), 0);
    let job = PruneJob {
        max_plan_bytes: Some(16 << 10),
        ..PruneJob::default()
    };
    let engine = engine(Faulty::new(&scene.vault(), Fault::None), &state, 0);
    let plan = loop {
        calls += 1;
        let plan = wait(engine.plan_prune(job.clone(), CancellationToken::new())).unwrap();
        if plan.is_whole {
            break plan;
        }
        assert!(plan.actions.is_empty());
        assert_eq!(
            wait(engine.prune(plan, CancellationToken::new())).unwrap(),
            Default::default()
        );
        assert!(calls < 100);
    };
    assert!(
        calls > 1,
        "16 KiB were enough for all folders: make the history longer"
    );
    let cold = wait(engine.plan_prune(PruneJob::default(), CancellationToken::new())).unwrap();
    assert_eq!(plan.totals, cold.totals);
    let stopped = CancellationToken::new();
    stopped.cancel();
    let error = wait(engine.prune(plan, stopped)).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
    assert!(vault::locks(&scene.vault()).is_empty());
    engine.stop(std::time::Duration::from_secs(10)).unwrap();
}

#[test]
fn a_vault_that_refuses_to_delete_is_left_as_it_is() {
    let scene = history(seed(87), true);
    let before = vault::KINDS.map(|kind| vault::files(&scene.vault(), kind));
    let storage = Faulty::new(&scene.vault(), Fault::AppendOnly);
    let error = try_prune(storage, &new_state(&scene), 0, &tight()).unwrap_err();
    assert_eq!(error.kind(), Kind::AccessDenied);
    assert!(error.to_string().contains("append-only"), "{error}");
    assert_eq!(
        vault::KINDS.map(|kind| vault::files(&scene.vault(), kind)),
        before
    );
    assert!(vault::locks(&scene.vault()).is_empty());
}

/// A client of windows writes an index file in each.
#[test]
fn many_small_index_files_become_one() {
    let scene = Scene::new();
    let (lifeboat, mut rng) = (scene.lifeboat(), Rng::new(seed(88)));
    lifeboat.init();
    fs::create_dir(scene.source()).unwrap();
    for number in 0..9 {
        fs::write(scene.source().join(number.to_string()), rng.bytes(10_000)).unwrap();
        lifeboat.backup(&scene.source());
    }
    assert_eq!(vault::files(&scene.vault(), "index").len(), 9);
    let blobs = scene.restic().blobs();
    // Nothing is of no use; and the packs, small as they are, are left alone.
    lifeboat
        .run(["prune", "--max-repack-size", "0"])
        .ok()
        .says("index files: 1 written, 9 removed");
    assert_eq!(scene.restic().blobs(), blobs);
    scene.restic().check_read_data();
    lifeboat
        .run(["prune", "--max-repack-size", "0"])
        .ok()
        .says("nothing to do");
    assert_eq!(vault::files(&scene.vault(), "index").len(), 1);
    // Our own check agrees, and the next backup finds everything known.
    let engine = engine(Faulty::new(&scene.vault(), Fault::None), &new_state(&scene), 0);
    let report = wait(engine.check(CheckJob { read_data: true }, CancellationToken::new())).unwrap();
    assert!(report.is_clean() && report.hints == 0, "{report:?}");
    engine.stop(std::time::Duration::from_secs(10)).unwrap();
    let before = vault::bytes(&vault::packs(&scene.vault()));
    lifeboat.backup(&scene.source());
    let after = vault::bytes(&vault::packs(&scene.vault()));
    assert!(
        after - before < 10_000,
        "a file was stored again: {before} {after}"
    );
}
