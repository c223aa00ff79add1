//! Where databases stand among other files.

use std::fs;

use crate::{
    app::{dump, open, restore, round_trip},
    scene::Scene,
};

#[test]
fn names_that_sort_between_a_database_and_its_log_are_no_trouble() {
    let scene = Scene::new();
    let app = open(&scene);
    app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    for name in [
        "chat.db-",
        "chat.db-backup",
        "chat.db-walk",
        "chat.db.txt",
        "chat",
    ] {
        scene.write(name, name);
    }
    round_trip(&scene, &app);
    let back = restore(&scene);
    for name in [
        "chat.db-",
        "chat.db-backup",
        "chat.db-walk",
        "chat.db.txt",
        "chat",
    ] {
        assert_eq!(fs::read(back.with_file_name(name)).unwrap(), name.as_bytes());
    }
    let report = scene.backup();
    assert_eq!(
        report.stats.files_total, 6,
        "a database is one of them: {:?}",
        report.stats
    );
}

#[test]
fn what_is_a_database_in_name_only_is_a_file() {
    let scene = Scene::new();
    // Neither is one: a header with a page size that is none, and one that breaks off.
    let mut wrong = vec![0x77; 4096];
    wrong[..16].copy_from_slice(b"SQLite format 3\0");
    scene.write("wrong.db", &wrong);
    scene.write("short.db", b"SQLite format 3\0");
    scene.write("chat.db", vec![0xd7; 8192]);
    scene.write("chat.db-wal", b"the log of a database that has no header");
    scene.write("chat.db-shm", vec![0; 32768]);
    scene.write("empty.db", b"");
    let report = scene.backup();
    assert_eq!(report.unreadable, []);
    let back = restore(&scene);
    assert_eq!(fs::read(&back).unwrap(), vec![0xd7; 8192]);
    assert_eq!(fs::read(back.with_file_name("wrong.db")).unwrap(), wrong);
    assert_eq!(fs::read(back.with_file_name("empty.db")).unwrap(), b"");
    assert!(back.with_file_name("chat.db-wal").exists());
    assert!(
        !back.with_file_name("chat.db-shm").exists(),
        "shared memory means nothing later"
    );
}

#[test]
fn a_folder_can_come_and_go_with_its_database() {
    let scene = Scene::new();
    fs::create_dir(scene.source().join("deep")).unwrap();
    let deep = rusqlite::Connection::open(scene.source().join("deep/inner.db")).unwrap();
    deep.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (7)")
        .unwrap();
    let app = open(&scene);
    app.execute_batch("CREATE TABLE t (x)").unwrap();
    round_trip(&scene, &app);
    let inner = rusqlite::Connection::open(restore(&scene).with_file_name("deep/inner.db"));
    assert_eq!(dump(&inner.unwrap()), dump(&deep));
    drop(deep);
    fs::remove_dir_all(scene.source().join("deep")).unwrap();
    round_trip(&scene, &app);
    assert!(!restore(&scene).with_file_name("deep").exists());
}
