//! Lives of a database, at random: whatever it went through, a snapshot is what it was.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use crate::{
    app::{Rng, check, dump, open, path, restore},
    scene::Scene,
};

/// How many lives a run has; `LIFEBOAT_LIVES` says otherwise, and `LIFEBOAT_SEED` where they begin.
const LIVES: u64 = 16;
const STEPS: u64 = 14;

#[test]
fn every_snapshot_of_a_random_life_is_what_the_database_was() {
    let number = |name: &str, default| env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let first = number("LIFEBOAT_SEED", 1);
    for seed in first..first + number("LIFEBOAT_LIVES", LIVES) {
        let result = std::panic::catch_unwind(|| live(seed));
        assert!(result.is_ok(), "LIFEBOAT_SEED={seed} LIFEBOAT_LIVES=1");
    }
}

fn live(seed: u64) {
    let mut rng = Rng(seed);
    let scene = Scene::new();
    let page_bytes = 512 << rng.below(8);
    let mut app = open(&scene);
    app.execute_batch(&format!(
        "PRAGMA page_size={page_bytes}; PRAGMA auto_vacuum={};
         CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, photo BLOB);
         CREATE TABLE tags (name TEXT PRIMARY KEY, note INTEGER) WITHOUT ROWID;
         CREATE VIRTUAL TABLE search USING fts5 (text)",
        rng.below(3)
    ))
    .unwrap();
    let mut tables = 0;
    for step in 0..STEPS {
        for _ in 0..=rng.below(3) {
            app = change(&mut rng, &scene, app, &mut tables);
        }
        if rng.below(3) > 0 || step + 1 == STEPS {
            compare(&mut rng, &scene, &app);
        }
    }
}

fn change(rng: &mut Rng, scene: &Scene, app: Connection, tables: &mut u32) -> Connection {
    let run = |sql: &str| {
        app.execute_batch(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    let mode: String = app
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    match rng.below(14) {
        0..=2 => {
            for _ in 0..=rng.below(40) {
                run(&format!(
                    "INSERT INTO notes (text, photo) VALUES ('{}', randomblob({}));
                     INSERT OR REPLACE INTO tags VALUES ('tag {}', last_insert_rowid());
                     INSERT INTO search VALUES ('words {} of a note {}')",
                    rng.next(),
                    rng.below(9000),
                    rng.below(50),
                    rng.below(9),
                    rng.next()
                ));
            }
        }
        3 | 4 => run(&format!(
            "UPDATE notes SET text = text || ' more', photo = randomblob({}) WHERE id % {} = 0",
            rng.below(3000),
            2 + rng.below(9)
        )),
        5 => run(&format!(
            "DELETE FROM notes WHERE id % {} = 0; DELETE FROM search WHERE rowid % 5 = 1",
            2 + rng.below(4)
        )),
        6 => {
            *tables += 1;
            run(&format!(
                "CREATE TABLE extra{tables} (a, b); CREATE INDEX by_a{tables} ON extra{tables} (a)"
            ));
        }
        7 if *tables > 0 => {
            run(&format!("DROP TABLE extra{tables}"));
            *tables -= 1;
        }
        8 => run("VACUUM"),
        9 => run("DELETE FROM notes; DELETE FROM tags; DELETE FROM search; PRAGMA incremental_vacuum"),
        10 if mode != "wal" => run(&format!("PRAGMA page_size={}; VACUUM", 512 << rng.below(8))),
        11 => {
            let modes = ["delete", "truncate", "persist", "wal", "wal"];
            run(&format!("PRAGMA journal_mode={}", modes[rng.below(5) as usize]));
        }
        12 => {
            drop(app);
            return open(scene);
        }
        13 => return crash(rng, scene, app),
        _ => run("PRAGMA wal_checkpoint(TRUNCATE)"),
    }
    app
}

/// The app ends in the middle of a transaction that was too large for its cache, and a snapshot is made before it starts again: it has what SQLite makes of
/// what is left.
fn crash(rng: &mut Rng, scene: &Scene, app: Connection) -> Connection {
    let (left, other) = (
        scene.dir.path().join("left.db"),
        scene.dir.path().join("recovered.db"),
    );
    app.execute_batch(
        "PRAGMA cache_size=2; BEGIN; DELETE FROM notes WHERE id % 3 = 1;
         INSERT INTO notes (text, photo) SELECT text, randomblob(2000) FROM notes;
         INSERT INTO notes (photo) VALUES (randomblob(20000))",
    )
    .unwrap();
    let with_index = rng.below(2) == 0;
    copy_database(&path(scene), &left, with_index);
    drop(app);
    copy_database(&left, &path(scene), with_index);
    copy_database(&left, &other, with_index);
    let expected = dump(&Connection::open(&other).unwrap());
    assert_eq!(scene.backup().unreadable, []);
    let restored = Connection::open(restore(scene)).unwrap();
    check(&restored);
    assert_eq!(dump(&restored), expected, "after a crash");
    open(scene)
}

/// A database with what is beside it, and nothing that was beside another there.
fn copy_database(from: &Path, to: &Path, with_index: bool) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let [from, to] = [from, to].map(|path| PathBuf::from(format!("{}{suffix}", path.display())));
        let _ = fs::remove_file(&to);
        if from.exists() && (suffix != "-shm" || with_index) {
            fs::copy(from, to).unwrap();
        }
    }
}

fn compare(rng: &mut Rng, scene: &Scene, app: &Connection) {
    let before = dump(app);
    let report = scene.backup();
    assert_eq!(report.unreadable, []);
    let back = restore(scene);
    let restored = Connection::open(&back).unwrap();
    check(&restored);
    assert_eq!(dump(&restored), before);
    if rng.below(2) == 0 {
        // Page by page, once both have their logs folded in.
        restored.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        drop(restored);
        app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        assert!(
            fs::read(&back).unwrap() == fs::read(path(scene)).unwrap(),
            "the pages differ"
        );
    }
}
