//! That the app loses no lock, whatever is read; and that the test for that would see it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    sync::mpsc::TryRecvError,
    time::{Duration, SystemTime},
};

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::scene::*;
use crate::sqlite::{Access, ReadError};

/// What the child is to do, and the database.
const ROLE: &str = "LIFEBOAT_TEST_ROLE";
const DATABASE: &str = "LIFEBOAT_TEST_DATABASE";

/// Not a test by itself: the other process of the tests below.
#[test]
fn child() {
    let (Some(role), Some(path)) = (std::env::var_os(ROLE), std::env::var_os(DATABASE)) else {
        return;
    };
    let app = Connection::open(path).unwrap();
    if role == "transfer" {
        return transfer_until_told(&app);
    }
    app.busy_timeout(Duration::ZERO).unwrap();
    let outcome = match app.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
        Ok(()) => "written",
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => "refused",
        Err(error) => panic!("{error}"),
    };
    say(&format!("outcome={outcome}"));
}

/// Beside the harness's own words.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").unwrap();
}

fn child_command(role: &str, scene: &Scene, name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["sqlite::tests::locks::child", "--exact", "--nocapture"])
        .env(ROLE, role)
        .env(DATABASE, scene.path(name));
    command
}

/// Moves money between accounts, and rewrites rows of all sizes, until its input ends.
fn transfer_until_told(app: &Connection) {
    app.busy_timeout(Duration::from_secs(60)).unwrap();
    app.execute_batch("PRAGMA synchronous=off; PRAGMA wal_autocheckpoint=30; PRAGMA cache_size=5")
        .unwrap();
    let (told, tell) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        drop(told);
    });
    say("outcome=started");
    let mut round = 0;
    while tell.try_recv() == Err(TryRecvError::Empty) {
        round += 1;
        app.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             UPDATE account SET amount = amount - 1 WHERE id = {from};
             UPDATE note SET round = {round}, text = hex(randomblob(round * 37 % 900));
             UPDATE account SET amount = amount + 1 WHERE id = {to};
             COMMIT",
            from = round % 10,
            to = (round + 1 + round % 7) % 10,
        ))
        .unwrap();
        std::thread::sleep(Duration::from_micros(300));
    }
    say(&format!("outcome=rounds {round}"));
}

/// Two copies of the app, in another process and in this one, write all the time.
#[test]
fn views_are_of_one_moment_while_two_processes_write() {
    for mode in ["wal", "delete", "truncate"] {
        let mut scene = Scene::new();
        scene.access = Access::OtherProcess;
        let app = scene.app("app.db");
        app.busy_timeout(Duration::from_secs(60)).unwrap();
        app.execute_batch(&format!(
            "PRAGMA journal_mode={mode}; PRAGMA synchronous=off;
             CREATE TABLE account (id INTEGER PRIMARY KEY, amount);
             CREATE TABLE note (id INTEGER PRIMARY KEY, round, text);
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9) INSERT INTO account SELECT i, 100 FROM n;
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO note SELECT i, 0, '' FROM n;"
        ))
        .unwrap();
        let mut child = child_command("transfer", &scene, "app.db")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        said.by_ref()
            .find(|line| line.as_ref().unwrap().contains("started"));
        for number in 0..60 {
            app.execute_batch(&format!("UPDATE note SET round = -{number}"))
                .unwrap();
            let pages = pages_of(&scene.view("app.db"));
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("copy.db"), pages).unwrap();
            let copy = Connection::open(dir.path().join("copy.db")).unwrap();
            assert_eq!(ask::<String>(&copy, "PRAGMA integrity_check"), "ok", "{mode}");
            assert_eq!(
                ask::<i64>(&copy, "SELECT sum(amount) FROM account"),
                1000,
                "{mode}"
            );
            assert_eq!(
                ask::<i64>(&copy, "SELECT count(DISTINCT round) FROM note"),
                1,
                "{mode}"
            );
        }
        drop(child.stdin.take());
        let said: Vec<String> = said.map(Result::unwrap).collect();
        assert!(child.wait().unwrap().success(), "{mode}: {said:?}");
        assert_eq!(ask::<String>(&app, "PRAGMA integrity_check"), "ok");
    }
}

/// Whether another process may write now.
fn other_process_may_write(scene: &Scene, name: &str) -> bool {
    let output = child_command("try", scene, name).output().unwrap();
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
    let later = SystemTime::now() + Duration::from_secs(3600);
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
