//! A folder with databases, the app's connections to them, and views compared with what SQLite says is in them.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rusqlite::{Connection, types::Value};
use tokio_util::sync::CancellationToken;

use crate::sqlite::{
    Access, ReadError, Request, View,
    moment::{Failed, views_at},
    views,
};

pub(super) struct Scene {
    pub(super) dir: tempfile::TempDir,
    pub(super) access: Access,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            access: Access::Own,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A connection of the app's that waits for nothing.
    pub(super) fn app(&self, name: &str) -> Connection {
        let app = Connection::open(self.path(name)).unwrap();
        app.busy_timeout(std::time::Duration::ZERO).unwrap();
        app
    }

    pub(super) fn try_views(&self, names: &[&str]) -> Result<Vec<View>, (usize, ReadError)> {
        self.ask(names, |requests| views(requests, &CancellationToken::new()))
    }

    pub(super) fn try_views_at(
        &self,
        names: &[&str],
        now: SystemTime,
        cancel: &CancellationToken,
    ) -> Result<Vec<View>, (usize, ReadError)> {
        self.ask(names, |requests| views_at(requests, now, cancel))
    }

    fn ask(
        &self,
        names: &[&str],
        views: impl FnOnce(&[Request<'_>]) -> Result<Vec<View>, Failed>,
    ) -> Result<Vec<View>, (usize, ReadError)> {
        let dir = File::open(self.dir.path()).unwrap();
        let paths: Vec<PathBuf> = names.iter().map(|name| self.path(name)).collect();
        let requests: Vec<_> = names
            .iter()
            .zip(&paths)
            .map(|(name, path)| Request {
                dir: dir.as_fd(),
                name: OsStr::new(name),
                path,
                access: &self.access,
            })
            .collect();
        views(&requests).map_err(|failed| (failed.at, failed.error))
    }

    pub(super) fn try_view(&self, name: &str) -> Result<View, ReadError> {
        self.try_views(&[name])
            .map(|mut views| views.remove(0))
            .map_err(|(_, error)| error)
    }

    pub(super) fn view(&self, name: &str) -> View {
        self.try_view(name).unwrap()
    }
}

/// All pages, read in runs of different lengths.
pub(super) fn pages_of(view: &View) -> Vec<u8> {
    let size = view.page_bytes() as usize;
    let (mut all, mut next, mut run) = (vec![], 1_u32, 1_u32);
    while next <= view.pages() {
        let count = run.min(view.pages() - next + 1);
        let mut buffer = vec![0xAA; count as usize * size];
        view.read(next, &mut buffer).unwrap();
        all.extend(buffer);
        (next, run) = (next + count, run % 7 + 1);
    }
    all
}

/// Everything in a database, in an order that is always the same.
pub(super) fn dump(db: &Connection) -> String {
    let mut text = String::new();
    let mut tables = db
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2")
        .unwrap();
    let rows: Vec<(String, String, String, Option<String>)> = tables
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (kind, name, _, sql) in &rows {
        text += &format!("{kind} {name} {sql:?}\n");
        if kind != "table" || name.starts_with("sqlite_stat") {
            continue;
        }
        let mut all = db.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = all.column_count();
        let mut lines: Vec<String> = all
            .query_map([], |row| {
                let values: rusqlite::Result<Vec<Value>> = (0..columns).map(|at| row.get(at)).collect();
                Ok(format!("{:?}", values?))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        lines.sort_unstable();
        text += &lines.join("\n");
        text.push('\n');
    }
    text
}

pub(super) fn ask<T: rusqlite::types::FromSql>(db: &Connection, sql: &str) -> T {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Folds the log in, and sees that it worked: as a statement among others it fails in silence.
pub(super) fn checkpoint(db: &Connection, mode: &str) {
    let busy: i64 = ask(db, &format!("PRAGMA wal_checkpoint({mode})"));
    assert_eq!(busy, 0);
}

/// What a database of these pages says, having passed SQLite's own check.
pub(super) fn dump_of_pages(pages: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy.db");
    fs::write(&path, pages).unwrap();
    dump_of_file(&path)
}

pub(super) fn dump_of_file(path: &Path) -> String {
    let db = Connection::open(path).unwrap();
    assert_eq!(ask::<String>(&db, "PRAGMA integrity_check"), "ok");
    dump(&db)
}

/// Copies a database with everything beside it, as a crash would leave it.
pub(super) fn crash(from: &Path, to: &Path, with_index: bool) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let side = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let (from, to) = (side(from), side(to));
        let _ = fs::remove_file(&to);
        if from.exists() && (suffix != "-shm" || with_index) {
            fs::copy(from, to).unwrap();
        }
    }
}
