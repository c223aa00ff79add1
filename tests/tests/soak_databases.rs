//! Databases for hours: a thousand snapshots in the app's own process, and one of several gigabytes.

#![allow(clippy::unwrap_used)]

use std::{fs, process::Command};

use lifeboat_tests::{
    Scene, Shell, inprocess,
    process::run,
    scene::{restored, utf8},
    seed,
};

#[test]
fn a_thousand_snapshots_harm_nobody() {
    for (mode, snapshots) in [("delete", 334), ("truncate", 333), ("wal", 333)] {
        inprocess::assert_harmless(mode, snapshots, seed(41));
    }
}

/// Past 4 GiB, so that no position in the file fits in 32 bits. Most of it is zeros: what counts are the pages, not the bytes.
#[test]
fn several_gigabytes_are_restored_by_stock_programs() {
    let scene = Scene::new();
    fs::create_dir(scene.source()).unwrap();
    let (lifeboat, database) = (scene.lifeboat(), scene.source().join("app.db"));
    lifeboat.init();
    let mut app = Shell::sqlite(&database);
    app.run(
        "PRAGMA journal_mode=wal; CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4400)
         INSERT INTO t SELECT i, CASE WHEN i % 40 THEN zeroblob(1000000) ELSE randomblob(1000000) END FROM n;",
    );
    for change in [
        "PRAGMA user_version = 1;",
        "UPDATE t SET x = randomblob(5000) WHERE id % 500 = 7;",
        "INSERT INTO t SELECT id + 10000, randomblob(2000) FROM t WHERE id % 10 = 0; DELETE FROM t WHERE id < 20;",
    ] {
        app.run(change);
        lifeboat.backup(&scene.source());
        let target = scene.path("back");
        let _ = fs::remove_dir_all(&target);
        scene.restic().restore_with("latest", &target, &[]);
        let back = restored(&target, &database);
        let mut judge = Shell::sqlite(&back);
        judge.assert_sound();
        judge.checkpoint();
        drop(judge);
        app.checkpoint();
        run(Command::new("cmp").args([utf8(&database), utf8(&back)])).ok();
    }
    assert!(fs::metadata(&database).unwrap().len() > 1 << 32);
}
