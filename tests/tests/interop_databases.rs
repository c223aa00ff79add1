//! Databases that are stored as a base and a log: in restic's hands, in SQLite's, and in ours.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../core/tests/support/hand.rs"]
mod hand;
#[path = "../../core/tests/support/log.rs"]
mod log;

use std::{fs, path::Path};

use lifeboat::format::{BlobId, BlobType};
use lifeboat_tests::{Scene, lifeboat_cli::exit, scene::utf8};
use rusqlite::Connection;

/// A database at two moments, the first copied while it grew.
fn two_moments(scene: &Scene) -> (Vec<u8>, Vec<u8>) {
    let path = scene.path("live.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode=wal; CREATE VIRTUAL TABLE t USING fts5(x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t SELECT hex(randomblob(100)) FROM n; PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    let mut base = fs::read(&path).unwrap();
    base.truncate(base.len() / 4096 * 3 / 4 * 4096);
    app.execute_batch(
        "DELETE FROM t WHERE rowid % 7 = 0; INSERT INTO t VALUES ('the newest'); PRAGMA user_version=3;
         PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    let now = fs::read(&path).unwrap();
    (base, now)
}

/// A vault with one snapshot of `app.db`, as the engine stores a database.
fn plant(scene: &Scene, base: &[u8], log: &[u8]) {
    let hand = hand::Hand::new(&scene.vault());
    let mut blobs = Vec::new();
    let mut store = |bytes: &[u8]| -> (BlobId, u64) {
        let blob = hand.blob(BlobType::Data, bytes);
        let id = blob.id;
        if blobs.iter().all(|other: &hand::Blob| other.id != id) {
            blobs.push(blob);
        }
        (id, bytes.len() as u64)
    };
    let base: Vec<_> = base.chunks(64 << 10).map(&mut store).collect();
    let (header, frames) = log.split_at(32);
    let mut log = vec![store(header)];
    log.extend(frames.chunks(100_000).map(&mut store));
    let tree = hand::tree(&[hand::file("app.db", &base), hand::file("app.db-wal", &log)]);
    hand.store(&blobs, &tree);
}

#[track_caller]
fn assert_opens(path: &Path) {
    let app = Connection::open(path).unwrap();
    let ask = |sql: &str| app.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(ask("PRAGMA integrity_check"), "ok");
    assert_eq!(
        ask("SELECT group_concat(x) FROM t WHERE t MATCH 'newest'"),
        "the newest"
    );
    assert_eq!(ask("PRAGMA journal_mode"), "wal");
}

#[test]
fn restic_restores_both_files_and_sqlite_takes_them_as_one_just_as_we_do() {
    let scene = Scene::new();
    let (base, now) = two_moments(&scene);
    let log = log::between(4096, &base, &now);
    plant(&scene, &base, &log);
    let restic = scene.restic().with_password(hand::PASSWORD);
    let lifeboat = scene.lifeboat().with_password(hand::PASSWORD);
    restic.check_read_data();
    lifeboat.check_read_data();

    let by_restic = scene.path("by-restic");
    restic.restore("latest", &by_restic);
    assert!(fs::read(by_restic.join("app.db-wal")).unwrap() == log);
    assert_opens(&by_restic.join("app.db"));
    // The last connection has checkpointed.
    assert!(!by_restic.join("app.db-wal").exists());
    assert!(fs::read(by_restic.join("app.db")).unwrap() == now);

    let by_us = scene.path("by-us");
    lifeboat.restore("latest", &by_us);
    assert!(fs::read(by_us.join("app.db")).unwrap() == now);
    assert_eq!(fs::read_dir(&by_us).unwrap().count(), 1);
    assert_opens(&by_us.join("app.db"));

    let both = scene.path("both");
    let restored = lifeboat.run([
        "restore",
        "latest",
        "--database-files",
        "both",
        "--target",
        utf8(&both),
    ]);
    restored.ok();
    assert!(
        fs::read(both.join("app.db")).unwrap() == base && fs::read(both.join("app.db-wal")).unwrap() == log
    );
    assert_opens(&both.join("app.db"));
}

#[test]
fn a_listing_shows_one_thing_and_what_is_staged_waits_for_an_app_that_knows_it() {
    let scene = Scene::new();
    let (base, now) = two_moments(&scene);
    let log = log::between(4096, &base, &now);
    plant(&scene, &base, &log);
    let lifeboat = scene.lifeboat().with_password(hand::PASSWORD);
    let mut listed = lifeboat.run(["ls", "latest", "--json"]).ok().json_lines();
    listed.retain(|line| line["struct_type"] == "node");
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["type"], &listed[0]["path"]),
        (&"database".into(), &"/app.db".into())
    );
    assert_eq!(
        (&listed[0]["size"], &listed[0]["log_size"]),
        (&base.len().into(), &log.len().into())
    );

    let target = scene.path("app");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("app.db"), "the app's old database").unwrap();
    let to = utf8(&target);
    lifeboat
        .run(["restore", "latest", "--stage-only", "--target", to])
        .ok();
    let refused = lifeboat.run(["apply", "--target", to, "--accept", "/app.db=2"]);
    refused.code(exit::FAILED);
    assert_eq!(
        fs::read(target.join("app.db")).unwrap(),
        b"the app's old database"
    );
    lifeboat
        .run(["apply", "--target", to, "--accept", "/app.db=3"])
        .ok();
    assert!(fs::read(target.join("app.db")).unwrap() == now);
    lifeboat.run(["rollback", "--target", to]).ok();
    assert_eq!(
        fs::read(target.join("app.db")).unwrap(),
        b"the app's old database"
    );
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
}
