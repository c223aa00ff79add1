//! An app with one database, and what can be said of a database to compare it with another.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lifeboat::{BackupReport, Engine, RestoreJob};
use rusqlite::{Connection, types::ValueRef};
use tokio_util::sync::CancellationToken;

use crate::scene::{Scene, wait};

/// Opens the app's database as the app does.
pub fn open(scene: &Scene) -> Connection {
    let connection = Connection::open(path(scene)).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

pub fn path(scene: &Scene) -> PathBuf {
    scene.source().join("chat.db")
}

/// Everything that a database says: its schema, and every row of every table, in an order of their own.
pub fn dump(connection: &Connection) -> Vec<String> {
    let mut said = Vec::new();
    for name in ["user_version", "application_id", "page_size", "auto_vacuum"] {
        let value: i64 = connection
            .pragma_query_value(None, name, |row| row.get(0))
            .unwrap();
        said.push(format!("{name} {value}"));
    }
    let mut schema = connection
        .prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_master ORDER BY type, name")
        .unwrap();
    let entries: Vec<(String, String, String)> = schema
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (kind, name, sql) in entries {
        if kind == "table" {
            let mut rows = rows(connection, &name);
            rows.sort();
            said.extend(rows);
        }
        said.push(format!("{kind} {name} {sql}"));
    }
    said
}

fn rows(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut said = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let value = |at| match row.get_ref(at).unwrap() {
            ValueRef::Null => "null".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => format!("{number:?}"),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            ValueRef::Blob(bytes) => format!("{} bytes {:?}", bytes.len(), &bytes[..bytes.len().min(24)]),
        };
        said.push(format!(
            "{table} {}",
            (0..columns).map(value).collect::<Vec<_>>().join("|")
        ));
    }
    said
}

pub fn check(connection: &Connection) {
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}

/// Restores the last snapshot to a new place, and returns the database's path there.
pub fn restore(scene: &Scene) -> PathBuf {
    let target = scene.dir.path().join("back");
    let _ = fs::remove_dir_all(&target);
    let engine = scene.open();
    restore_to(&engine, &target);
    engine.stop(Duration::from_secs(10)).unwrap();
    target.join("app/chat.db")
}

/// Restores the last snapshot there.
pub fn restore_to(engine: &Engine, target: &Path) {
    let job = RestoreJob {
        snapshot: "latest".into(),
        target: target.to_owned(),
        ..RestoreJob::default()
    };
    wait(engine.restore(job, CancellationToken::new())).unwrap();
}

/// Backs up, restores, and compares every row.
pub fn round_trip(scene: &Scene, app: &Connection) -> BackupReport {
    let before = dump(app);
    let report = scene.backup();
    assert_eq!(report.unreadable, []);
    let restored = Connection::open(restore(scene)).unwrap();
    check(&restored);
    assert_eq!(dump(&restored), before);
    report
}

/// Two databases on one connection, with a hundred in the first of them. The second is in another journal mode.
pub fn two_accounts(scene: &Scene, second_mode: &str) -> Connection {
    let path = |name: &str| scene.source().join(name);
    let app = Connection::open(path("a.db")).unwrap();
    app.execute_batch(&format!(
        "PRAGMA journal_mode=wal; ATTACH '{}' AS b; PRAGMA b.journal_mode={second_mode};
         CREATE TABLE main.t (x); CREATE TABLE b.t (x); INSERT INTO main.t VALUES (100); INSERT INTO b.t VALUES (0)",
        path("b.db").display()
    ))
    .unwrap();
    app
}

/// Moves something within one transaction: together there are always a hundred.
pub fn transfer(app: &Connection) {
    app.execute_batch(
        "BEGIN; UPDATE main.t SET x = (x + 99) % 100; UPDATE b.t SET x = 100 - (SELECT x FROM main.t); COMMIT",
    )
    .unwrap();
}

/// What the last snapshot has in both.
pub fn restored_sum(engine: &Engine) -> i64 {
    let target = tempfile::tempdir().unwrap();
    restore_to(engine, target.path());
    let one = |name: &str| {
        let db = Connection::open(target.path().join("app").join(name)).unwrap();
        db.query_row("SELECT x FROM t", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    one("a.db") + one("b.db")
}

/// However a test ends, its writer does, too.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Numbers from a seed: the same on every machine.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}
