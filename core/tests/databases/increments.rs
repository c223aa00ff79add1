//! What a change of a database costs, and what costs nothing.

use std::{
    env, fs,
    process::{Command, Stdio},
};

use crate::{
    app::{Rng, dump, open, path, restore, round_trip},
    scene::Scene,
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

/// Names the database to a child process.
const CHILD: &str = "LIFEBOAT_TEST_WRITER";

/// Not a test: another process that would like to write, and fails if it may not.
#[test]
fn child() {
    if let Some(database) = env::var_os(CHILD) {
        let app = rusqlite::Connection::open(database).unwrap();
        app.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
    }
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
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", "increments::child"])
            .env(CHILD, path(&scene))
            .stdout(Stdio::null())
            .status();
        !status.unwrap().success()
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
    assert!(!is_locked(), "a lock is left");
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
