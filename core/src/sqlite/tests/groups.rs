//! One moment across several databases, while transactions run over all of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::scene::*;

/// Money moves between two databases in one transaction each time; there is always the same amount of it.
#[test]
fn a_transaction_over_attached_databases_is_seen_in_both_or_in_none() {
    for (mode_a, mode_b) in [
        ("wal", "wal"),
        ("wal", "delete"),
        ("persist", "wal"),
        ("delete", "truncate"),
    ] {
        let scene = Scene::new();
        for (name, mode) in [("a.db", mode_a), ("b.db", mode_b)] {
            let db = scene.app(name);
            db.execute_batch(&format!(
                "PRAGMA journal_mode={mode}; CREATE TABLE money (amount); INSERT INTO money VALUES (1000)"
            ))
            .unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (path_a, path_b, stopped) = (scene.path("a.db"), scene.path("b.db"), stop.clone());
        let (began, has_begun) = mpsc::channel();
        let writer = thread::spawn(move || {
            let app = rusqlite::Connection::open(path_a).unwrap();
            app.busy_timeout(Duration::from_secs(30)).unwrap();
            app.execute("ATTACH ? AS b", [path_b.to_str().unwrap()]).unwrap();
            app.execute_batch("PRAGMA main.synchronous=off; PRAGMA b.synchronous=off")
                .unwrap();
            let mut moved = 0;
            while !stopped.load(Ordering::Relaxed) {
                app.execute_batch(
                    "BEGIN IMMEDIATE; UPDATE main.money SET amount = amount - 1; UPDATE b.money SET amount = amount + 1; COMMIT",
                )
                .unwrap();
                moved += 1;
                // The other side may be gone: it waits for the first only.
                let _ = began.send(());
                // There is something between two transactions, as in any app.
                thread::sleep(Duration::from_micros(200));
            }
            moved
        });
        // An app that opens its database while it is read from makes that look void, rightly: another test's matter.
        has_begun.recv().unwrap();
        let mut amounts = vec![];
        for _ in 0..60 {
            let views = scene.try_views(&["a.db", "b.db"]).unwrap();
            let pages: Vec<_> = views.iter().map(pages_of).collect();
            drop(views);
            let [a, b] = [&pages[0], &pages[1]].map(|pages| {
                let dir = tempfile::tempdir().unwrap();
                std::fs::write(dir.path().join("copy.db"), pages).unwrap();
                let copy = rusqlite::Connection::open(dir.path().join("copy.db")).unwrap();
                ask::<i64>(&copy, "SELECT amount FROM money")
            });
            assert_eq!(a + b, 2000, "{mode_a} {mode_b}");
            amounts.push(a);
        }
        stop.store(true, Ordering::Relaxed);
        let moved: i64 = writer.join().unwrap();
        assert!(amounts.is_sorted_by(|before, after| before >= after));
        assert!(
            moved > 0 && amounts.iter().any(|&amount| amount < 1000),
            "nothing moved meanwhile"
        );
    }
}

#[test]
fn nothing_is_held_of_any_when_one_cannot_be_read() {
    let scene = Scene::new();
    let app = scene.app("a.db");
    app.execute_batch("CREATE TABLE t (x)").unwrap();
    std::fs::write(scene.path("b.db"), [9; 4096]).unwrap();
    let failed = scene.try_views(&["a.db", "b.db"]);
    assert!(matches!(failed, Err((1, crate::sqlite::ReadError::NotADatabase))));
    app.execute_batch("BEGIN EXCLUSIVE; INSERT INTO t VALUES (1); COMMIT")
        .unwrap();
}
