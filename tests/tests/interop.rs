//! Our repositories in restic's hands, and restic's in ours: whole trees, there and back.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;

use lifeboat_tests::{
    Forest, Scene, assert_same,
    compare::Options,
    restic::text,
    scene::{HOST, restored},
    seed, vault,
};

#[test]
fn restic_checks_and_restores_what_we_wrote() {
    let scene = Scene::new();
    Forest::of_everything(seed(11)).plant(&scene.source());
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    lifeboat.init();
    lifeboat.backup(&scene.source());

    restic.check_read_data();
    let target = scene.path("by-restic");
    restic.restore("latest", &target);
    assert_same(
        &scene.source(),
        &restored(&target, &scene.source()),
        &Options::default(),
    );

    let snapshots = restic.snapshots();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0]["hostname"], HOST);
    assert_eq!(snapshots[0]["paths"][0], scene.source().to_str().unwrap());
    let listed = restic.ls("latest").len();
    // The folders above the source are nodes of the snapshot, too.
    let above = scene.source().components().count() - 2;
    assert_eq!(listed, entries(&scene.source()) + above);
}

/// Restic encodes every tree again and compares: only byte for byte canonical trees are left alone.
#[test]
fn restic_rewrites_nothing_of_ours() {
    let scene = Scene::new();
    Forest::of_everything(seed(12)).plant(&scene.source());
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    lifeboat.init();
    lifeboat.backup(&scene.source());
    let before = restic.snapshot_ids();
    restic
        .rewrite(&["--exclude", "nothing has this name", "latest"])
        .says("no snapshots were modified");
    assert_eq!(restic.snapshot_ids(), before);
}

/// A person who moves from us to restic uploads nothing again.
#[test]
fn restic_continues_from_our_snapshot() {
    let scene = Scene::new();
    Forest::of_everything(seed(13)).plant(&scene.source());
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    lifeboat.init();
    lifeboat.backup(&scene.source());
    let summary = restic.backup(&scene.source());
    for count in ["files_new", "files_changed", "data_blobs"] {
        assert_eq!(summary[count], 0, "{count} in {summary}");
    }
    restic.check_read_data();
}

#[test]
fn we_restore_what_restic_wrote() {
    let scene = Scene::new();
    Forest::of_everything(seed(14)).plant(&scene.source());
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    restic.init();
    restic.backup(&scene.source());
    lifeboat.check_read_data();
    let target = scene.path("by-us");
    lifeboat.restore("latest", &target);
    assert_same(
        &scene.source(),
        &restored(&target, &scene.source()),
        &Options::default(),
    );
    assert!(vault::locks(&scene.vault()).is_empty());
}

/// Ten thousand files, and the other direction of moving: we continue where restic was.
#[test]
fn we_continue_a_large_repository_of_restics() {
    let scene = Scene::new();
    Forest::of_many_files(seed(15), 10_000).plant(&scene.source());
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    restic.init();
    restic.backup(&scene.source());
    let target = scene.path("by-us");
    lifeboat.restore("latest", &target);
    assert_same(
        &scene.source(),
        &restored(&target, &scene.source()),
        &Options::default(),
    );

    lifeboat.backup(&scene.source());
    restic.check_read_data();
    assert_eq!(restic.snapshots().len(), 2);
    let target = scene.path("ours-by-restic");
    restic.restore("latest", &target);
    assert_same(
        &scene.source(),
        &restored(&target, &scene.source()),
        &Options::default(),
    );
}

/// Every snapshot of a changing source stays what the source was at its time, whoever restores it.
#[test]
fn every_snapshot_of_a_changing_source_comes_back() {
    let scene = Scene::new();
    let forest = Forest::of_everything(seed(16));
    forest.plant(&scene.source());
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    lifeboat.init();
    let mut taken: Vec<(String, String)> = vec![];
    for round in 0..4 {
        if round > 0 {
            let done = forest.mutate(&scene.source(), forest.seed + round);
            println!("round {round}:\n{}", done.join("\n"));
        }
        let copy = format!("copy-{round}");
        scene.copy(&scene.source(), &copy);
        lifeboat.backup(&scene.source());
        let known: Vec<&str> = taken.iter().map(|(id, _)| id.as_str()).collect();
        let new = restic
            .snapshot_ids()
            .into_iter()
            .find(|id| !known.contains(&id.as_str()));
        taken.push((new.expect("a backup makes a snapshot"), copy));
    }
    restic.check_read_data();
    for (id, copy) in &taken {
        for by in ["restic", "us"] {
            let target = scene.path(&format!("{copy}-by-{by}"));
            match by {
                "restic" => restic.restore(id, &target),
                _ => _ = lifeboat.restore(id, &target),
            }
            assert_same(
                &scene.path(copy),
                &restored(&target, &scene.source()),
                &Options::default(),
            );
            std::fs::remove_dir_all(&target).unwrap();
        }
    }
}

/// Both programs write to one repository in turn, and both tidy up: nothing of the other is lost.
#[test]
fn both_programs_share_one_repository() {
    let scene = Scene::new();
    let forest = Forest {
        files: 150,
        ..Forest::small(seed(17))
    };
    forest.plant(&scene.source());
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    lifeboat.init();
    for round in 0..4 {
        forest.mutate(&scene.source(), forest.seed + round);
        if round % 2 == 0 {
            lifeboat.backup(&scene.source());
        } else {
            restic.backup(&scene.source());
        }
    }
    // The oldest goes; what it alone needed goes, too, and packs are written anew under our feet.
    let first = text(&restic.snapshots()[0]["id"]);
    lifeboat.forget(&["--keep-last", "3"]).ok();
    assert!(!restic.snapshot_ids().contains(&first));
    restic.prune();
    lifeboat.check_read_data();
    lifeboat.backup(&scene.source());
    restic.check_read_data();
    let target = scene.path("restored");
    lifeboat.restore("latest", &target);
    assert_same(
        &scene.source(),
        &restored(&target, &scene.source()),
        &Options::default(),
    );
}

/// A vault that restic pruned to nothing while we remembered its blobs: what is gone is sent again.
#[test]
fn we_send_again_what_restic_pruned() {
    let scene = Scene::new();
    Forest::small(seed(18)).plant(&scene.source());
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    lifeboat.init();
    lifeboat.backup(&scene.source());
    let id = text(&restic.snapshots()[0]["id"]);
    restic.run(["forget", &id, "--prune"]).ok();
    assert!(vault::packs(&scene.vault()).is_empty());
    lifeboat.backup(&scene.source());
    restic.check_read_data();
    let target = scene.path("restored");
    restic.restore("latest", &target);
    assert_same(
        &scene.source(),
        &restored(&target, &scene.source()),
        &Options::default(),
    );
}

/// Everything at and below a path, sockets aside: forests here have none.
fn entries(path: &Path) -> usize {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let below = |path: &Path| {
        std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entries(&entry.unwrap().path()))
            .sum()
    };
    1 + if meta.is_dir() { below(path) } else { 0_usize }
}
