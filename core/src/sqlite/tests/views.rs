//! That a view is the database, in every mode and shape.

use std::fs;

use super::scene::*;
use crate::sqlite::{Oddity, ReadError};

const FILL: &str = "
    CREATE TABLE t (id INTEGER PRIMARY KEY, x, y);
    CREATE INDEX i ON t (y);
    CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
    CREATE VIRTUAL TABLE f USING fts5 (text);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO t SELECT i, hex(randomblob(40)), i % 7 FROM n;
    INSERT INTO w SELECT 'key' || id, x FROM t;
    INSERT INTO f SELECT x || ' word' || id FROM t;
    DELETE FROM t WHERE id % 5 = 0;";

#[test]
fn every_page_size_in_every_mode_is_read_as_sqlite_reads_it() {
    for shift in 9..=16 {
        for mode in ["delete", "truncate", "persist", "wal"] {
            for vacuum in ["none", "full", "incremental"] {
                let scene = Scene::new();
                let app = scene.app("app.db");
                let page_bytes = 1_u32 << shift;
                app.execute_batch(&format!(
                    "PRAGMA page_size={page_bytes}; PRAGMA auto_vacuum={vacuum}; PRAGMA journal_mode={mode}; {FILL}"
                ))
                .unwrap();
                let view = scene.view("app.db");
                assert_eq!(view.page_bytes(), page_bytes);
                assert_eq!(view.pages(), ask::<u32>(&app, "PRAGMA page_count"));
                assert_eq!(view.is_wal(), mode == "wal");
                assert_eq!(view.oddities(), []);
                assert_eq!(view.header().unwrap().is_wal, mode == "wal");
                let pages = pages_of(&view);
                assert_eq!(dump_of_pages(&pages), dump(&app), "{page_bytes} {mode} {vacuum}");
                drop(view);
                app.execute_batch("PRAGMA wal_checkpoint(truncate)").unwrap();
                assert_eq!(fs::read(scene.path("app.db")).unwrap(), pages, "page by page");
            }
        }
    }
}

#[test]
fn an_empty_file_is_an_empty_database_and_noise_is_none() {
    let scene = Scene::new();
    let app = scene.app("empty.db");
    let _: i64 = ask(&app, "SELECT count(*) FROM sqlite_schema");
    let view = scene.view("empty.db");
    assert_eq!((view.pages(), view.header()), (0, None));
    assert!(pages_of(&view).is_empty());
    for bytes in [1, 99, 5000] {
        fs::write(scene.path("noise.db"), vec![7_u8; bytes]).unwrap();
        assert!(matches!(scene.try_view("noise.db"), Err(ReadError::NotADatabase)));
        fs::remove_file(scene.path("noise.db")).unwrap();
    }
    let missing = scene.try_view("missing.db");
    assert!(
        matches!(missing, Err(ReadError::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound)
    );
}

#[test]
fn a_view_stays_what_it_was_while_a_log_grows() {
    let scene = Scene::new();
    let app = scene.app("app.db");
    app.execute_batch(&format!("PRAGMA journal_mode=wal; {FILL}"))
        .unwrap();
    let before = dump(&app);
    let view = scene.view("app.db");
    let writer = scene.app("app.db");
    writer
        .execute_batch(
            "PRAGMA wal_autocheckpoint=1; UPDATE t SET y = y + 1; DELETE FROM w; UPDATE t SET y = 9",
        )
        .unwrap();
    let busy: i64 = ask(&writer, "PRAGMA wal_checkpoint(passive)");
    assert_eq!(busy, 0);
    assert_eq!(dump_of_pages(&pages_of(&view)), before);
    assert_ne!(dump(&app), before);
    assert_eq!(dump_of_pages(&pages_of(&scene.view("app.db"))), dump(&app));
    drop(view);
    let left: i64 = writer
        .query_row("PRAGMA wal_checkpoint(truncate)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "with the view gone, the log can begin anew");
    assert_eq!(dump_of_pages(&pages_of(&scene.view("app.db"))), dump(&app));
}

#[test]
fn a_file_that_ends_within_a_page_or_early_is_read_and_reported() {
    let scene = Scene::new();
    let app = scene.app("app.db");
    app.execute_batch(FILL).unwrap();
    drop(app);
    let path = scene.path("app.db");
    let whole = fs::read(&path).unwrap();
    let mut longer = whole.clone();
    longer.extend([1; 77]);
    fs::write(&path, &longer).unwrap();
    let view = scene.view("app.db");
    assert_eq!(view.oddities(), [Oddity::PartialPage { bytes: 77 }]);
    assert_eq!(pages_of(&view)[..longer.len()], longer);
    drop(view);
    fs::write(&path, &whole[..whole.len() - 4096]).unwrap();
    let view = scene.view("app.db");
    let present = (whole.len() / 4096 - 1) as u32;
    let counted = present + 1;
    assert_eq!(view.oddities(), [Oddity::PagesMissing { counted, present }]);
    assert_eq!(pages_of(&view), whole[..whole.len() - 4096]);
}
