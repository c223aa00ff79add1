//! What a crash leaves: a view of it is what SQLite makes of it, and leaves everything as it is.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::scene::*;
use crate::sqlite::Oddity;

const FILL: &str = "
    CREATE TABLE t (id INTEGER PRIMARY KEY, x);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
    INSERT INTO t SELECT i, hex(randomblob(200)) FROM n;";
/// Changes nearly every page, of which nearly none fits the cache.
const SPILL: &str =
    "PRAGMA cache_size=2; BEGIN; UPDATE t SET x = x || 'changed'; INSERT INTO t SELECT NULL, x FROM t;";

pub(super) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect()
}

/// Sees a crashed database twice: by a view, and, in a copy, by SQLite, which repairs it. They agree in rows and in pages.
/// A database that nobody has open may be read naively here.
pub(super) fn assert_seen_as_sqlite_does(scene: &Scene, name: &str, context: &str) -> Vec<Oddity> {
    let before = files(scene.dir.path());
    let view = scene.view(name);
    let (pages, oddities) = (pages_of(&view), view.oddities().to_vec());
    drop(view);
    assert_eq!(files(scene.dir.path()), before, "{context}: nothing was written");
    let repaired = tempfile::tempdir().unwrap();
    let path = repaired.path().join(name);
    crash(&scene.path(name), &path, false);
    let says = dump_of_file(&path);
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA wal_checkpoint(truncate)")
        .unwrap();
    assert_eq!(dump_of_pages(&pages), says, "{context}");
    assert!(pages == fs::read(&path).unwrap(), "{context}: page by page");
    oddities
}

#[test]
fn a_journal_that_waits_is_laid_over_what_is_read() {
    for mode in ["delete", "truncate", "persist"] {
        for synchronous in ["off", "normal", "full"] {
            for page_bytes in [512, 1024, 4096, 65_536] {
                let context = format!("{mode} {synchronous} {page_bytes}");
                let (live, crashed) = (Scene::new(), Scene::new());
                let app = live.app("app.db");
                app.execute_batch(&format!(
                    "PRAGMA page_size={page_bytes}; PRAGMA journal_mode={mode}; PRAGMA synchronous={synchronous}; {FILL}"
                ))
                .unwrap();
                let before = dump(&app);
                app.execute_batch(SPILL).unwrap();
                crash(&live.path("app.db"), &crashed.path("app.db"), false);
                let oddities = assert_seen_as_sqlite_does(&crashed, "app.db", &context);
                let rolled_back =
                    |oddity: &Oddity| matches!(oddity, Oddity::JournalRolledBack { pages } if *pages > 1);
                assert!(oddities.iter().any(rolled_back), "{context}: {oddities:?}");
                assert!(!oddities.contains(&Oddity::JournalDamaged), "{context}");
                assert!(crashed.view("app.db").is_rolled_back());
                app.execute_batch("ROLLBACK").unwrap();
                assert_eq!(dump(&app), before);
                // What the next transaction finds of the journal is no longer one that waits.
                crash(&live.path("app.db"), &crashed.path("app.db"), false);
                assert_eq!(assert_seen_as_sqlite_does(&crashed, "app.db", &context), []);
            }
        }
    }
}

#[test]
fn a_journal_of_a_shrinking_database_or_of_another_page_size_gives_the_old_one_back() {
    let (live, crashed) = (Scene::new(), Scene::new());
    let app = live.app("app.db");
    app.execute_batch(&format!("PRAGMA auto_vacuum=full; {FILL}"))
        .unwrap();
    app.execute_batch("PRAGMA cache_size=2; BEGIN; DELETE FROM t WHERE id > 20; UPDATE t SET x = x || x; CREATE TABLE u (y)")
        .unwrap();
    crash(&live.path("app.db"), &crashed.path("app.db"), false);
    assert_seen_as_sqlite_does(&crashed, "app.db", "shrinking");
    app.execute_batch("ROLLBACK").unwrap();
    // Two crashes in one: the journal in the way of a vacuum to another page size, as the disk has it when it is about to commit.
    let observed = crashed.path("app.db");
    let source = live.path("app.db");
    let mut vacuum = Connection::open(&source).unwrap();
    let mut seen = 0;
    vacuum
        .progress_handler(
            50,
            Some(move || {
                let journal = PathBuf::from(format!("{}-journal", source.display()));
                if fs::metadata(&journal).is_ok_and(|meta| meta.len() > 100_000) && seen == 0 {
                    crash(&source, &observed, false);
                    seen = 1;
                }
                false
            }),
        )
        .unwrap();
    vacuum
        .execute_batch("PRAGMA page_size=1024; PRAGMA cache_size=2; VACUUM")
        .unwrap();
    if crashed.path("app.db-journal").exists() {
        assert_seen_as_sqlite_does(&crashed, "app.db", "vacuum");
    }
}

#[test]
fn a_journal_whose_super_journal_is_gone_is_committed_already() {
    for is_there in [true, false] {
        let (live, crashed) = (Scene::new(), Scene::new());
        let app = live.app("a.db");
        app.execute_batch(FILL).unwrap();
        app.execute_batch(SPILL).unwrap();
        crash(&live.path("a.db"), &crashed.path("a.db"), false);
        // As SQLite appends it, when it is about to commit to several databases.
        let name = crashed.path("a.db-mj0123459AB").display().to_string();
        let journal = crashed.path("a.db-journal");
        let mut bytes = fs::read(&journal).unwrap();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend((0x4000_0000_u32 / 4096 + 1).to_be_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((name.len() as u32).to_be_bytes());
        let sum: u32 = name.bytes().map(u32::from).sum();
        bytes.extend(sum.to_be_bytes());
        bytes.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
        fs::write(&journal, bytes).unwrap();
        if is_there {
            fs::write(&name, b"not empty").unwrap();
        }
        let before = files(crashed.dir.path());
        let view = crashed.view("a.db");
        assert_eq!(view.is_rolled_back(), is_there);
        let pages = pages_of(&view);
        drop(view);
        assert_eq!(files(crashed.dir.path()), before);
        // SQLite's own word for it, in place: the name in the journal is absolute.
        let app = Connection::open(crashed.path("a.db")).unwrap();
        let _ = app.execute_batch("SELECT count(*) FROM t");
        drop(app);
        assert!(!journal.exists());
        assert!(pages == fs::read(crashed.path("a.db")).unwrap());
    }
}

#[test]
fn a_damaged_journal_counts_as_far_as_sqlite_counts_it() {
    let (live, crashed) = (Scene::new(), Scene::new());
    let app = live.app("app.db");
    app.execute_batch(FILL).unwrap();
    app.execute_batch(SPILL).unwrap();
    let journal = fs::read(live.path("app.db-journal")).unwrap();
    let cuts = [
        1,
        27,
        28,
        511,
        512,
        513,
        5000,
        journal.len() / 2,
        journal.len() - 1,
    ];
    let flips = [
        0,
        9,
        13,
        18,
        21,
        26,
        512 + 2,
        512 + 4 + 4096 - 200,
        512 + 4104 + 1,
    ];
    let damaged = cuts.iter().map(|&cut| journal[..cut].to_vec());
    let flipped = flips.iter().map(|&at| {
        let mut flipped = journal.clone();
        flipped[at] ^= 0x41;
        flipped
    });
    for (number, bytes) in damaged.chain(flipped).enumerate() {
        crash(&live.path("app.db"), &crashed.path("app.db"), false);
        fs::write(crashed.path("app.db-journal"), &bytes).unwrap();
        let view = crashed.view("app.db");
        let pages = pages_of(&view);
        drop(view);
        let app = Connection::open(crashed.path("app.db")).unwrap();
        let _ = app.query_row("SELECT count(*) FROM t", [], |_| Ok(()));
        drop(app);
        assert!(
            pages == fs::read(crashed.path("app.db")).unwrap(),
            "case {number}"
        );
    }
}

#[test]
fn a_log_that_a_crash_left_is_read_to_its_last_commit() {
    for with_index in [true, false] {
        let (live, crashed) = (Scene::new(), Scene::new());
        let app = live.app("app.db");
        app.execute_batch(&format!(
            "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; {FILL}"
        ))
        .unwrap();
        let crash_now = || crash(&live.path("app.db"), &crashed.path("app.db"), with_index);
        crash_now();
        assert_eq!(
            assert_seen_as_sqlite_does(&crashed, "app.db", "all in the log"),
            []
        );
        app.execute_batch(SPILL).unwrap();
        crash_now();
        assert_eq!(
            assert_seen_as_sqlite_does(&crashed, "app.db", "uncommitted frames"),
            []
        );
        // The app sees only what is committed, whatever the log holds.
        let reader = live.app("app.db");
        assert_eq!(dump_of_pages(&pages_of(&live.view("app.db"))), dump(&reader));
        app.execute_batch("ROLLBACK").unwrap();
        checkpoint(&app, "full");
        app.execute_batch("INSERT INTO t (x) VALUES ('new')").unwrap();
        crash_now();
        assert_eq!(assert_seen_as_sqlite_does(&crashed, "app.db", "begun anew"), []);
    }
}

#[test]
fn a_damaged_log_is_read_as_sqlite_reads_it_and_reported() {
    let (live, crashed) = (Scene::new(), Scene::new());
    let app = live.app("app.db");
    app.execute_batch(&format!("PRAGMA journal_mode=wal; {FILL}"))
        .unwrap();
    checkpoint(&app, "truncate");
    for n in 0..4 {
        app.execute_batch(&format!("UPDATE t SET x = '{n}' WHERE id % 90 = {n}"))
            .unwrap();
    }
    let log = fs::read(live.path("app.db-wal")).unwrap();
    let frame = 24 + 4096;
    let cases: [(usize, Option<Oddity>); 5] = [
        (17, Some(Oddity::LogHeaderDamaged)),
        (32 + 2 * frame + 999, Some(Oddity::LogFrameDamaged)),
        (32 + 5 * frame + 3, Some(Oddity::LogFrameDamaged)),
        (32 + 6 * frame + 9, None),
        (log.len() - 1, Some(Oddity::LogFrameDamaged)),
    ];
    for (at, oddity) in cases {
        crash(&live.path("app.db"), &crashed.path("app.db"), false);
        let mut damaged = log.clone();
        damaged[at] ^= 4;
        fs::write(crashed.path("app.db-wal"), damaged).unwrap();
        let found = assert_seen_as_sqlite_does(&crashed, "app.db", &format!("byte {at}"));
        if let Some(oddity) = oddity {
            assert_eq!(found, [oddity], "byte {at}");
        }
    }
    // While the app has it open it goes by the index, and sees what is in the frame.
    let path = live.path("app.db-wal");
    let mut damaged = log.clone();
    damaged[17] ^= 4;
    fs::write(&path, &damaged).unwrap();
    let view = live.view("app.db");
    assert_eq!(view.oddities(), [Oddity::LogHeaderDamaged]);
    assert_eq!(dump_of_pages(&pages_of(&view)), dump(&app));
}
