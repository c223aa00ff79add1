//! That the app loses no lock, whatever is read; and that the test for that would see it.

use std::{fs, process::Command, time::SystemTime};

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::scene::*;
use crate::sqlite::ReadError;

const CHILD: &str = "LIFEBOAT_TEST_WRITES_TO";

/// Not a test by itself: the other process of the tests below, which tries to write and says what came of it.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let app = Connection::open(path).unwrap();
    app.busy_timeout(std::time::Duration::ZERO).unwrap();
    let outcome = match app.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
        Ok(()) => "written",
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => "refused",
        Err(error) => panic!("{error}"),
    };
    // Beside the harness's own words.
    println!("outcome={outcome}");
}

/// Whether another process may write now.
fn other_process_may_write(scene: &Scene, name: &str) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["sqlite::tests::locks::child", "--exact", "--nocapture"])
        .env(CHILD, scene.path(name))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match (text.contains("outcome=written"), text.contains("outcome=refused")) {
        (true, false) => true,
        (false, true) => false,
        _ => panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Whether the app's lock outlives a reader; the app ends its transaction either way.
fn lock_survives(mode: &str, read: impl Fn(&Scene)) -> bool {
    let scene = Scene::new();
    let app = scene.app("app.db");
    app.execute_batch(&format!(
        "PRAGMA journal_mode={mode}; CREATE TABLE t (x); INSERT INTO t VALUES (1)"
    ))
    .unwrap();
    assert!(other_process_may_write(&scene, "app.db"));
    app.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)")
        .unwrap();
    assert!(!other_process_may_write(&scene, "app.db"));
    read(&scene);
    let survives = !other_process_may_write(&scene, "app.db");
    app.execute_batch("COMMIT").unwrap();
    assert!(other_process_may_write(&scene, "app.db"));
    survives
}

#[test]
fn a_view_takes_no_lock_away() {
    for mode in ["delete", "persist", "wal"] {
        let survives = lock_survives(mode, |scene| {
            let (one, two) = (scene.view("app.db"), scene.view("app.db"));
            assert!(!pages_of(&one).is_empty());
            assert!(
                !other_process_may_write(scene, "app.db"),
                "{mode}: while it is read"
            );
            drop(one);
            assert!(
                !other_process_may_write(scene, "app.db"),
                "{mode}: one of two dropped"
            );
            drop(two);
        });
        assert!(survives, "{mode}");
    }
}

/// What the tests here would miss, they would miss here.
#[test]
fn a_naive_reader_takes_the_lock_away() {
    let read = |suffix: &'static str| {
        move |scene: &Scene| {
            fs::read(scene.path(&format!("app.db{suffix}"))).unwrap();
        }
    };
    assert!(!lock_survives("delete", read("")));
    assert!(!lock_survives("wal", read("-shm")));
    assert!(lock_survives("wal", read("-wal")), "nobody locks the log itself");
}

#[test]
fn a_writer_waits_for_a_view_without_a_log_and_is_noticed() {
    let scene = Scene::new();
    let app = scene.app("app.db");
    app.execute_batch("CREATE TABLE t (x)").unwrap();
    let view = scene.view("app.db");
    assert!(!view.is_contended());
    app.execute_batch("BEGIN; INSERT INTO t VALUES (1)").unwrap();
    assert!(!view.is_contended());
    assert!(
        app.execute_batch("COMMIT").is_err(),
        "the file must not change now"
    );
    assert!(view.is_contended());
    assert!(pages_of(&view).len() > 4096);
    drop(view);
    app.execute_batch("COMMIT").unwrap();
    assert_eq!(dump_of_pages(&pages_of(&scene.view("app.db"))), dump(&app));
}

#[test]
fn what_the_app_keeps_for_itself_is_busy_and_a_stop_ends_the_wait() {
    let scene = Scene::new();
    let app = scene.app("app.db");
    app.execute_batch("PRAGMA locking_mode=exclusive; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    let stopped = CancellationToken::new();
    stopped.cancel();
    let ended = scene.try_views_at(&["app.db"], SystemTime::now(), &stopped);
    assert!(matches!(ended, Err((0, ReadError::Cancelled))));
    let Err(ReadError::Busy(why)) = scene.try_view("app.db") else {
        panic!("read what is being written");
    };
    assert!(why.contains("keeps it for itself"), "{why}");
    app.execute_batch("PRAGMA locking_mode=normal; SELECT * FROM t")
        .unwrap();
    assert_eq!(dump_of_pages(&pages_of(&scene.view("app.db"))), dump(&app));
    app.execute_batch("PRAGMA journal_mode=wal; PRAGMA locking_mode=exclusive; INSERT INTO t VALUES (2)")
        .unwrap();
    assert!(matches!(scene.try_view("app.db"), Err(ReadError::Busy(_))));
}

#[test]
fn an_app_that_opens_its_database_meanwhile_changes_nothing_in_the_view() {
    let scene = Scene::new();
    let open = || {
        let app = scene.app("app.db");
        app.execute_batch("PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=1")
            .unwrap();
        app
    };
    let app = open();
    app.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000))")
        .unwrap();
    let before = dump(&app);
    app.close().unwrap();
    assert!(!scene.path("app.db-shm").exists());
    // Long enough after the last change for another to show.
    let later = SystemTime::now() + std::time::Duration::from_secs(3600);
    let view_later = || {
        let views = scene.try_views_at(&["app.db"], later, &CancellationToken::new());
        views.unwrap().remove(0)
    };
    let view = view_later();
    assert_eq!(dump_of_pages(&pages_of(&view)), before);
    assert!(!scene.path("app.db-shm").exists() && !scene.path("app.db-wal").exists());
    // Opened, not yet checkpointed: the view goes on, under locks from now on.
    let app = scene.app("app.db");
    app.execute_batch("PRAGMA wal_autocheckpoint=0; UPDATE t SET x = zeroblob(30000)")
        .unwrap();
    assert_eq!(dump_of_pages(&pages_of(&view)), before);
    app.execute_batch("PRAGMA wal_checkpoint(passive)").unwrap();
    assert_eq!(dump_of_pages(&pages_of(&view)), before);
    // The last to close deletes the log, which it could not while we read.
    drop(view);
    drop(app);
    assert!(!scene.path("app.db-shm").exists());
    // Checkpointed before the view noticed: it says so.
    let view = view_later();
    let app = open();
    app.execute_batch("UPDATE t SET x = zeroblob(50000)").unwrap();
    let mut page = vec![0; view.page_bytes() as usize];
    assert!(matches!(view.read(1, &mut page), Err(ReadError::Busy(_))));
}
