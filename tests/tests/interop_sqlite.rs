//! Databases in the hands of stock programs: written by SQLite's command line, restored by restic, judged by the command line again.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{fs, path::PathBuf};

use lifeboat_tests::{Rng, Scene, Shell, scene::restored, seed, vault};

/// A vault, a folder with one database, and a shell that has it open.
struct App {
    scene: Scene,
    shell: Shell,
}

impl App {
    fn new(pragmas: &str) -> Self {
        let scene = Scene::new();
        fs::create_dir(scene.source()).unwrap();
        scene.lifeboat().init();
        let mut shell = Shell::sqlite(&scene.source().join("app.db"));
        shell.run(pragmas);
        Self { scene, shell }
    }

    fn database(&self) -> PathBuf {
        self.scene.source().join("app.db")
    }

    /// The newest snapshot's database, restored by restic: the base, and the log beside it.
    fn restored(&self) -> PathBuf {
        let target = self.scene.path("back");
        let _ = fs::remove_dir_all(&target);
        self.scene.restic().restore("latest", &target);
        restored(&target, &self.database())
    }

    /// Backs up, and has the stock programs compare: rows first, then, with the logs folded in on both sides, every byte.
    #[track_caller]
    fn compare(&mut self, what: &str) {
        let before = self.shell.dump();
        self.scene.lifeboat().backup(&self.scene.source());
        let back = self.restored();
        let mut judge = Shell::sqlite(&back);
        judge.assert_sound();
        assert!(judge.dump() == before, "{what}: the rows differ");
        judge.checkpoint();
        drop(judge);
        self.shell.checkpoint();
        assert!(
            fs::read(&back).unwrap() == fs::read(self.database()).unwrap(),
            "{what}: the pages differ"
        );
    }
}

/// What an app does in its life, in one go each: every kind of table, growth, shrinking, vacuum, another page size.
const STORY: [(&str, &str); 7] = [
    (
        "tables",
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, photo BLOB);
         CREATE TABLE tags (name TEXT PRIMARY KEY, note INTEGER) WITHOUT ROWID;
         CREATE VIRTUAL TABLE search USING fts5 (text);
         CREATE INDEX by_text ON notes (text);
         PRAGMA user_version = 7; PRAGMA application_id = 42;",
    ),
    (
        "growth",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
         INSERT INTO notes SELECT i, 'note ' || i || hex(randomblob(40)), randomblob(i * 7) FROM n;
         INSERT INTO tags SELECT 'tag ' || id, id FROM notes;
         INSERT INTO search SELECT text FROM notes;",
    ),
    (
        "changes",
        "UPDATE notes SET photo = randomblob(3000) WHERE id % 50 = 3;
         DELETE FROM tags WHERE note % 3 = 0; UPDATE search SET text = text || ' again' WHERE rowid % 40 = 1;",
    ),
    (
        "more schema",
        "ALTER TABLE notes ADD COLUMN seen INTEGER DEFAULT 0; CREATE VIEW seen AS SELECT * FROM notes WHERE seen;
         CREATE TRIGGER gone AFTER DELETE ON notes BEGIN DELETE FROM tags WHERE note = old.id; END;",
    ),
    (
        "shrinking",
        "DELETE FROM notes WHERE id > 20; DELETE FROM search WHERE rowid > 20; PRAGMA incremental_vacuum;",
    ),
    ("vacuum", "VACUUM;"),
    ("one row after it", "UPDATE notes SET text = 'the last one' WHERE id = 1;"),
];

/// Every page size there is, each `auto_vacuum`, and every journal mode, in turns.
#[test]
fn a_life_is_restored_by_stock_programs_at_every_page_size() {
    let modes = ["delete", "wal", "truncate", "wal", "persist"];
    for (at, page_bytes) in (9..=16).map(|power| 1 << power).enumerate() {
        let (mode, vacuum) = (modes[at % modes.len()], at % 3);
        let mut app = App::new(&format!(
            "PRAGMA page_size={page_bytes}; PRAGMA auto_vacuum={vacuum}; PRAGMA journal_mode={mode};"
        ));
        for (what, sql) in STORY {
            app.shell.run(sql);
            app.compare(&format!(
                "{what}, pages of {page_bytes}, {mode}, auto_vacuum {vacuum}"
            ));
        }
        app.scene.restic().check_read_data();
    }
}

#[test]
fn another_page_size_another_mode_and_nothing_at_all_are_restored() {
    let mut app = App::new("PRAGMA page_size=1024;");
    for (_, sql) in &STORY[..2] {
        app.shell.run(sql);
    }
    app.compare("before");
    app.shell.run("PRAGMA page_size=8192; VACUUM;");
    app.compare("pages eight times as large");
    app.shell
        .run("PRAGMA journal_mode=wal; UPDATE notes SET text = 'x' WHERE id < 9;");
    app.compare("a log of its own");
    app.shell
        .run("PRAGMA journal_mode=delete; UPDATE notes SET text = 'y' WHERE id < 9;");
    app.compare("none again");
    app.shell
        .run("DROP TABLE search; DROP TABLE tags; DROP TABLE notes; VACUUM;");
    app.compare("nothing");
    for (_, sql) in &STORY[..2] {
        app.shell.run(sql);
    }
    app.compare("everything");
}

/// A smaller sister of what `tests/measure-databases` prints. The bounds are safe ones: that prints what there is.
#[test]
fn few_changed_rows_cost_a_small_part_of_what_they_cost_restic() {
    let mut dice = Rng::new(seed(51));
    for mode in ["delete", "wal"] {
        let mut app = App::new(&format!("PRAGMA journal_mode={mode};"));
        app.shell.run(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, sender INTEGER, text TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
             INSERT INTO messages SELECT i, i % 97, hex(randomblob(250)) FROM n;",
        );
        let theirs = app.scene.restic().on(&app.scene.path("their-vault"));
        theirs.init();
        let added = |app: &mut App| {
            let stored = |folder: &str| {
                let kinds = ["data", "index", "snapshots"];
                kinds
                    .map(|kind| vault::bytes(&vault::files(&app.scene.path(folder), kind)))
                    .iter()
                    .sum::<u64>()
            };
            let before = [stored("vault"), stored("their-vault")];
            app.scene.lifeboat().backup(&app.scene.source());
            // A copy of the file is only good for something with the log folded in.
            app.shell.checkpoint();
            theirs.backup(&app.scene.source());
            [stored("vault") - before[0], stored("their-vault") - before[1]]
        };
        added(&mut app);
        for (rows, times) in [(100, 20), (10, 20)] {
            let updates: String = (0..rows)
                .map(|_| {
                    let id = 1 + dice.below(60_000);
                    format!("UPDATE messages SET text = hex(randomblob(250)) WHERE id = {id};")
                })
                .collect();
            app.shell.run(&format!("BEGIN;{updates}COMMIT;"));
            let [ours, restics] = added(&mut app);
            println!("{mode}, {rows} rows: {ours} bytes, restic {restics}");
            assert!(
                restics > times * ours,
                "{mode}, {rows} rows: {ours} bytes, restic {restics}"
            );
            assert!(
                rows > 10 || ours < 64 << 10,
                "{mode}: {ours} bytes for {rows} rows"
            );
        }
        app.compare(mode);
    }
}
