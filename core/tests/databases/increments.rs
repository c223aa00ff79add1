//! What a change of a database costs, and what costs nothing.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lifeboat::{DatabaseAccess, Databases};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{Rng, dump, open, path, restore, round_trip},
    scene::{Scene, wait},
};

/// A chat of about 12 MB, in write-ahead mode or not.
fn chat(scene: &Scene, mode: &str) -> rusqlite::Connection {
    let app = open(scene);
    app.pragma_update(None, "journal_mode", mode).unwrap();
    app.execute_batch(
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, sender INTEGER, text TEXT);
         CREATE INDEX by_sender ON messages (sender);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
         INSERT INTO messages SELECT i, i % 97, hex(randomblob(150)) FROM n;",
    )
    .unwrap();
    app
}

#[test]
fn ten_changed_rows_cost_about_ten_pages() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new();
        let app = chat(&scene, mode);
        let first = round_trip(&scene, &app);
        assert!(first.stats.data_added > 8 << 20, "{:?}", first.stats);
        let mut rng = Rng(7);
        for round in 0..3 {
            for _ in 0..10 {
                let id = 1 + rng.below(30_000).cast_signed();
                app.execute(
                    "UPDATE messages SET text = hex(randomblob(150)) WHERE id = ?1",
                    [id],
                )
                .unwrap();
            }
            let next = round_trip(&scene, &app);
            // Ten pages, page 1, and a tree: the base's content list is most of that.
            assert!(
                next.stats.data_added < 100 << 10,
                "{mode}, round {round}: {:?}",
                next.stats
            );
        }
    }
}

#[test]
fn a_database_that_nobody_touched_is_not_compared() {
    let scene = Scene::new();
    let _app = chat(&scene, "wal");
    let first = scene.backup();
    let again = scene.backup();
    assert_eq!(first.stats.files_new, 1);
    assert_eq!(
        (again.stats.files_unmodified, again.stats.data_blobs),
        (1, 0),
        "{:?}",
        again.stats
    );
}

#[test]
fn what_the_app_has_open_keeps_its_locks() {
    let scene = Scene::new();
    let app = chat(&scene, "delete");
    let before = dump(&app);
    // Few enough pages to stay in the cache: a reader may still come.
    app.execute_batch("BEGIN IMMEDIATE; DELETE FROM messages WHERE id < 100")
        .unwrap();
    // Another process, to whom the locks of this one mean something.
    let is_locked = || {
        let output = std::process::Command::new("sqlite3")
            .arg(path(&scene))
            .arg("BEGIN IMMEDIATE; ROLLBACK;")
            .output();
        match output {
            Ok(output) => String::from_utf8_lossy(&output.stderr).contains("locked"),
            Err(_) => true,
        }
    };
    assert!(is_locked());
    let report = scene.backup();
    assert_eq!(report.unreadable, []);
    assert!(
        is_locked(),
        "a backup in the same process took the app's lock away"
    );
    let restored = rusqlite::Connection::open(restore(&scene)).unwrap();
    assert_eq!(dump(&restored), before, "the moment before the transaction");
    app.execute_batch("COMMIT").unwrap();
    round_trip(&scene, &app);
}

#[test]
fn a_database_held_exclusively_is_unreadable_and_its_last_version_stays() {
    let scene = Scene::new();
    let app = chat(&scene, "delete");
    round_trip(&scene, &app);
    let before = dump(&app);
    app.execute_batch(
        "UPDATE messages SET text = 'x' WHERE id = 1; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE",
    )
    .unwrap();
    let report = scene.backup();
    assert_eq!(
        (report.unreadable_total, report.unreadable[0].kept),
        (1, true),
        "{report:?}"
    );
    app.execute_batch("COMMIT").unwrap();
    let restored = rusqlite::Connection::open(restore(&scene)).unwrap();
    assert_eq!(dump(&restored), before);
}

#[test]
fn a_database_that_is_replaced_or_deleted_is_what_it_is_now() {
    let scene = Scene::new();
    let app = chat(&scene, "wal");
    round_trip(&scene, &app);
    drop(app);
    fs::remove_file(path(&scene)).unwrap();
    let other = open(&scene);
    other
        .execute_batch("CREATE TABLE other (x); INSERT INTO other VALUES ('another database')")
        .unwrap();
    round_trip(&scene, &other);
    drop(other);
    fs::write(path(&scene), b"no database at all").unwrap();
    scene.backup();
    assert_eq!(fs::read(restore(&scene)).unwrap(), b"no database at all");
    fs::remove_file(path(&scene)).unwrap();
    scene.backup();
    assert!(!restore(&scene).exists());
}

#[test]
fn a_group_is_captured_at_one_moment() {
    let scene = Scene::new();
    let path = |name: &str| scene.source().join(name);
    let app = rusqlite::Connection::open(path("a.db")).unwrap();
    app.execute_batch(&format!(
        "PRAGMA journal_mode=wal; ATTACH '{}' AS b; PRAGMA b.journal_mode=wal;
         CREATE TABLE main.t (x); CREATE TABLE b.t (x); INSERT INTO main.t VALUES (100); INSERT INTO b.t VALUES (0)",
        path("b.db").display()
    ))
    .unwrap();
    let stop = AtomicBool::new(false);
    let declared = ["a.db", "b.db"].map(|name| lifeboat::DatabaseSource {
        path: path(name),
        access: DatabaseAccess::Own,
        group: Some("money".into()),
    });
    let engine = scene.open();
    /// However the test ends, the writer does, too.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            // Moved within one transaction: together there are always a hundred.
            while !stop.load(Ordering::Relaxed) {
                app.execute_batch(
                    "BEGIN; UPDATE main.t SET x = (x + 99) % 100; UPDATE b.t SET x = 100 - (SELECT x FROM main.t); COMMIT",
                )
                .unwrap();
            }
        });
        let _ends = Ends(stop);
        for _ in 0..8 {
            let mut job = scene.job();
            job.databases = Databases {
                declared: declared.to_vec(),
                ..Databases::default()
            };
            let report = wait(engine.backup(job, CancellationToken::new())).unwrap();
            assert_eq!(report.unreadable, []);
            let target = tempfile::tempdir().unwrap();
            let job = lifeboat::RestoreJob {
                snapshot: "latest".into(),
                target: target.path().to_owned(),
                ..lifeboat::RestoreJob::default()
            };
            wait(engine.restore(job, CancellationToken::new())).unwrap();
            let one = |name: &str| {
                let db = rusqlite::Connection::open(target.path().join("app").join(name)).unwrap();
                db.query_row("SELECT x FROM t", [], |row| row.get::<_, i64>(0))
                    .unwrap()
            };
            assert_eq!(
                one("a.db") + one("b.db"),
                100,
                "{} and {}",
                one("a.db"),
                one("b.db")
            );
        }
    });
    engine.stop(Duration::from_secs(10)).unwrap();
}
