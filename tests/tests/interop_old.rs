//! The oldest restic that knows format 2, as distributions still ship it, reads what we write.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;

use lifeboat_tests::{
    Forest, Scene, assert_same, compare, compare::Kind, compare_trees, restic::text, scene::restored, seed,
};

/// What an old restic cannot bring back, ours or its own: a link target that is not UTF-8. Nothing else may differ.
#[track_caller]
fn assert_same_but_for_a_raw_target(source: &Path, target: &Path) {
    let all = compare::Options {
        differences_max: usize::MAX,
        ..compare::Options::default()
    };
    let found = compare_trees(source, &restored(target, source), &all);
    let known = |path: &Path, kind| path == Path::new("symlinks/odd target") && kind == Kind::Target;
    let others: Vec<_> = found
        .iter()
        .filter(|found| !known(&found.path, found.kind))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// The measure for the next test: which differences are the old restic's own.
#[test]
fn an_old_restic_brings_its_own_forest_back() {
    let scene = Scene::new();
    Forest::of_everything(seed(21)).plant(&scene.source());
    let old = scene.restic_old();
    old.run(["init", "--repository-version", "2"]).ok();
    old.backup(&scene.source());
    let target = scene.path("by-old-restic");
    old.restore("latest", &target);
    assert_same_but_for_a_raw_target(&scene.source(), &target);
}

#[test]
fn an_old_restic_reads_what_we_wrote() {
    let scene = Scene::new();
    let forest = Forest::of_everything(seed(22));
    forest.plant(&scene.source());
    let (lifeboat, old) = (scene.lifeboat(), scene.restic_old());
    lifeboat.init();
    lifeboat.backup(&scene.source());
    forest.mutate(&scene.source(), forest.seed);
    lifeboat.backup(&scene.source());
    old.check_read_data();
    assert_eq!(old.snapshots().len(), 2);
    let target = scene.path("by-old-restic");
    old.restore("latest", &target);
    assert_same_but_for_a_raw_target(&scene.source(), &target);
}

#[test]
fn we_restore_what_an_old_restic_wrote() {
    let scene = Scene::new();
    Forest::of_everything(seed(23)).plant(&scene.source());
    let (lifeboat, old) = (scene.lifeboat(), scene.restic_old());
    old.run(["init", "--repository-version", "2"]).ok();
    old.backup(&scene.source());
    lifeboat.check_read_data();
    let target = scene.path("by-us");
    lifeboat.restore("latest", &target);
    assert_same_but_for_a_raw_target(&scene.source(), &target);

    // On top of its snapshot, ours knows the raw target again.
    lifeboat.backup(&scene.source());
    old.check_read_data();
    let ours = text(&old.snapshots().last().unwrap()["id"]);
    let target = scene.path("ours-by-us");
    lifeboat.restore(&ours, &target);
    assert_same(
        &scene.source(),
        &restored(&target, &scene.source()),
        &compare::Options::default(),
    );
}
