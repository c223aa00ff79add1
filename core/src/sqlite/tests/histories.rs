//! Random lives of a database, each compared again and again with what SQLite says.

use std::fs;

use rusqlite::Connection;

use super::{
    crashes::assert_seen_as_sqlite_does,
    scene::{Scene, crash, dump, dump_of_pages, pages_of},
};

/// Of a seed that is printed when something is not as it should be.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*: good enough to choose, and the same everywhere.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn step(app: &Connection, random: &mut Random, step: u64) -> rusqlite::Result<()> {
    let (rows, size) = (random.below(60) + 1, random.below(3000));
    let sql = match random.below(12) {
        0 => format!(
            "PRAGMA journal_mode={}",
            random.of(&["delete", "truncate", "persist", "wal", "wal"])
        ),
        1 => format!(
            "PRAGMA page_size={}; VACUUM",
            random.of(&["512", "1024", "4096", "16384"])
        ),
        2 => "VACUUM".to_owned(),
        3 => format!(
            "CREATE TABLE IF NOT EXISTS t{} (id INTEGER PRIMARY KEY, x, y)",
            random.below(4)
        ),
        4 => format!("DROP TABLE IF EXISTS t{}", random.below(4)),
        5 => "DELETE FROM t".to_owned(),
        6 => format!("DELETE FROM t WHERE id % 3 = {}", random.below(3)),
        7 => format!(
            "UPDATE t SET x = randomblob({size}) WHERE id % 7 = {}",
            random.below(7)
        ),
        8 => format!(
            "PRAGMA user_version={step}; PRAGMA wal_checkpoint({})",
            random.of(&["passive", "full", "restart", "truncate"])
        ),
        _ => format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t (x, y) SELECT randomblob({size}), i FROM n"
        ),
    };
    app.execute_batch(&sql)
}

fn live(seed: u64) {
    let mut random = Random(seed);
    let (scene, crashed) = (Scene::new(), Scene::new());
    let open = |random: &mut Random| {
        let app = scene.app("app.db");
        let checkpoint = random.of(&["0", "1", "20", "1000"]);
        let synchronous = random.of(&["off", "normal", "full"]);
        app.execute_batch(&format!(
            "PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint={checkpoint}; PRAGMA mmap_size={}",
            random.of(&["0", "10000000"])
        ))
        .unwrap();
        app
    };
    let mut app = open(&mut random);
    app.execute_batch(&format!(
        "PRAGMA auto_vacuum={}; PRAGMA journal_mode={}; CREATE TABLE t (id INTEGER PRIMARY KEY, x, y)",
        random.of(&["none", "full", "incremental"]),
        random.of(&["delete", "wal"])
    ))
    .unwrap();
    for number in 0..25 {
        let context = format!("seed {seed}, step {number}");
        step(&app, &mut random, number).unwrap_or_else(|error| panic!("{context}: {error}"));
        let view = scene.view("app.db");
        assert_eq!(view.oddities(), [], "{context}");
        let pages = pages_of(&view);
        drop(view);
        assert_eq!(dump_of_pages(&pages), dump(&app), "{context}");
        if random.below(4) == 0 {
            // A transaction that does not end, in a cache that is too small for it, and a crash.
            app.execute_batch(
                "PRAGMA cache_size=2; BEGIN; INSERT INTO t SELECT NULL, randomblob(900), id FROM t",
            )
            .unwrap();
            let _ = step_inside(&app, &mut random);
            crash(
                &scene.path("app.db"),
                &crashed.path("app.db"),
                random.below(2) == 0,
            );
            app.execute_batch("ROLLBACK; PRAGMA cache_size=-2000").unwrap();
            assert_seen_as_sqlite_does(&crashed, "app.db", &context);
        }
        if random.below(6) == 0 {
            drop(app);
            assert_seen_as_sqlite_does(&scene, "app.db", &context);
            app = open(&mut random);
        }
        if random.below(12) == 0 {
            // Replaced by another file, as a restore of the app's own would do it.
            drop(app);
            let stays = scene.path("app.db");
            fs::rename(&stays, scene.path("old.db")).unwrap();
            fs::copy(scene.path("old.db"), &stays).unwrap();
            app = open(&mut random);
        }
    }
}

fn step_inside(app: &Connection, random: &mut Random) -> rusqlite::Result<()> {
    app.execute_batch(random.of(&[
        "UPDATE t SET x = randomblob(2000)",
        "DELETE FROM t WHERE id % 2 = 0",
        "CREATE TABLE other (x); INSERT INTO other SELECT x FROM t",
        "SELECT 1",
    ]))
}

/// `LIFEBOAT_HISTORIES` asks for more of them.
#[test]
fn random_histories_are_seen_as_sqlite_sees_them() {
    let asked = std::env::var("LIFEBOAT_HISTORIES").ok();
    let count = asked.and_then(|count| count.parse().ok()).unwrap_or(10_u64);
    for seed in 1..=count {
        live(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}
