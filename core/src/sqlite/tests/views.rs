//! That a view is the database, in every mode and shape.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::scene::*;
use crate::sqlite::{
    Access, HostError, Oddity, Quiesce, Quiesced, ReadError,
    synthesis::{LogEnd, header_blob},
};

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
    let shapes = [
        ("delete", "none"),
        ("truncate", "full"),
        ("persist", "incremental"),
        ("wal", "full"),
        ("wal", "none"),
    ];
    for (shift, (mode, vacuum)) in (9..=16).flat_map(|shift| shapes.map(|shape| (shift, shape))) {
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
        checkpoint(&app, "truncate");
        assert_eq!(fs::read(scene.path("app.db")).unwrap(), pages, "page by page");
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
    // Most pages in the file, some in the log.
    checkpoint(&app, "truncate");
    app.execute_batch("UPDATE t SET y = 3 WHERE id < 20").unwrap();
    let before = dump(&app);
    let view = scene.view("app.db");
    let writer = scene.app("app.db");
    writer
        .execute_batch(
            "PRAGMA wal_autocheckpoint=1; UPDATE t SET y = y + 1; DELETE FROM w; UPDATE t SET y = 9",
        )
        .unwrap();
    checkpoint(&writer, "passive");
    assert_eq!(dump_of_pages(&pages_of(&view)), before);
    assert_ne!(dump(&app), before);
    assert_eq!(dump_of_pages(&pages_of(&scene.view("app.db"))), dump(&app));
    drop(view);
    // With the view gone, the log can begin anew.
    checkpoint(&writer, "truncate");
    assert_eq!(dump_of_pages(&pages_of(&scene.view("app.db"))), dump(&app));
}

/// Everything checkpointed: whoever writes next would begin the log anew, over the frames that are read.
#[test]
fn a_log_does_not_begin_anew_while_it_is_read() {
    let scene = Scene::new();
    let app = scene.app("app.db");
    app.execute_batch(&format!("PRAGMA journal_mode=wal; {FILL}"))
        .unwrap();
    checkpoint(&app, "full");
    let (before, log) = (dump(&app), fs::read(scene.path("app.db-wal")).unwrap());
    let view = scene.view("app.db");
    app.execute_batch("UPDATE t SET x = 'later'; DELETE FROM f; UPDATE w SET v = 1")
        .unwrap();
    assert!(fs::read(scene.path("app.db-wal")).unwrap().starts_with(&log));
    assert_eq!(dump_of_pages(&pages_of(&view)), before);
    drop(view);
    checkpoint(&app, "full");
    app.execute_batch("UPDATE t SET x = 'last'").unwrap();
    assert!(!fs::read(scene.path("app.db-wal")).unwrap().starts_with(&log));
    assert_eq!(dump_of_pages(&pages_of(&scene.view("app.db"))), dump(&app));
}

/// Somebody has it open, but nothing that is in the index can be believed.
#[test]
fn a_broken_index_is_made_up_for_from_the_log() {
    let scene = Scene::new();
    let app = scene.app("app.db");
    app.execute_batch(&format!("PRAGMA journal_mode=wal; {FILL}"))
        .unwrap();
    let before = dump(&app);
    let index = fs::File::options()
        .write(true)
        .open(scene.path("app.db-shm"))
        .unwrap();
    index.write_all_at(&[0xEE; 136], 0).unwrap();
    let view = scene.view("app.db");
    assert_eq!(dump_of_pages(&pages_of(&view)), before);
    drop(view);
    assert_eq!(dump(&app), before);
    app.execute_batch("UPDATE t SET y = 1").unwrap();
    assert_eq!(dump_of_pages(&pages_of(&scene.view("app.db"))), dump(&app));
}

#[test]
fn pages_beyond_four_gigabytes_and_at_the_locked_bytes_are_where_they_are() {
    for mode in ["delete", "wal"] {
        let scene = Scene::new();
        let app = scene.app("app.db");
        app.execute_batch(&format!(
            "PRAGMA journal_mode={mode}; CREATE TABLE t (x); PRAGMA wal_checkpoint(truncate)"
        ))
        .unwrap();
        drop(app);
        let file = fs::File::options()
            .write(true)
            .open(scene.path("app.db"))
            .unwrap();
        let places = [(1_u64 << 30) - 4096, 1 << 30, (1 << 32) - 4096, 1 << 32, 5 << 30];
        for (number, &at) in places.iter().enumerate() {
            file.write_all_at(&[number as u8 + 1; 4096], at).unwrap();
        }
        let view = scene.view("app.db");
        assert_eq!(u64::from(view.pages()), (5 << 30) / 4096 + 1);
        for (number, &at) in places.iter().enumerate() {
            let mut page = vec![0; 4096];
            view.read((at / 4096) as u32 + 1, &mut page).unwrap();
            assert_eq!(page, [number as u8 + 1; 4096]);
        }
        let mut two = vec![0; 8192];
        view.read((1 << 20) + 1, &mut two).unwrap();
        assert_eq!((two[0], two[4096]), (4, 0));
        for (first, bytes) in [
            (0, 4096),
            (view.pages() + 1, 4096),
            (view.pages(), 8192),
            (1, 100),
        ] {
            assert!(view.read(first, &mut vec![0; bytes]).is_err());
        }
    }
}

#[derive(Debug, Default)]
struct Host {
    begun: AtomicUsize,
    ended: AtomicUsize,
    page_bytes: Option<u32>,
}

impl Quiesce for Host {
    fn begin(&self, path: &Path) -> Result<Quiesced, HostError> {
        if path.ends_with("refused.db") {
            return Err("not now".into());
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(Quiesced {
            page_bytes: self.page_bytes,
        })
    }

    fn end(&self, _: &Path) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// As an encrypted database looks: noise in the file, noise in the log, and only the log's own headers plain.
#[test]
fn a_database_that_the_app_holds_still_is_read_as_opaque_pages() {
    let host = Arc::new(Host::default());
    let mut scene = Scene::new();
    scene.access = Access::Quiesced(host.clone());
    let page = |seed: u8| {
        (0..1024)
            .map(|at: u32| (at * 31 + 7) as u8 ^ seed)
            .collect::<Vec<u8>>()
    };
    let file: Vec<u8> = (0..8).flat_map(&page).collect();
    fs::write(scene.path("app.db"), &file).unwrap();
    assert_eq!(scene.view("app.db").page_bytes(), 4096, "nobody says otherwise");
    let (mut end, mut log) = (LogEnd::empty(1024), header_blob(1024).to_vec());
    for (number, commit, seed) in [(3, 0, 100), (9, 9, 101), (3, 9, 102), (4, 0, 103)] {
        log.extend(end.append(number, commit, &page(seed)));
        log.extend(page(seed));
    }
    fs::write(scene.path("app.db-wal"), &log).unwrap();
    let view = scene.view("app.db");
    assert_eq!((view.page_bytes(), view.pages(), view.header()), (1024, 9, None));
    let mut expected = file.clone();
    expected[2048..3072].copy_from_slice(&page(102));
    expected.extend(page(101));
    assert_eq!(pages_of(&view), expected);
    assert_eq!(
        host.begun.load(Ordering::Relaxed),
        host.ended.load(Ordering::Relaxed) + 1
    );
    drop(view);
    fs::write(scene.path("refused.db"), &file).unwrap();
    let failed = scene.try_views(&["app.db", "refused.db"]);
    assert!(matches!(failed, Err((1, ReadError::Host(why))) if why.to_string() == "not now"));
    assert_eq!(
        host.begun.load(Ordering::Relaxed),
        host.ended.load(Ordering::Relaxed)
    );
    fs::remove_file(scene.path("app.db-wal")).unwrap();
    scene.access = Access::Quiesced(Arc::new(Host {
        page_bytes: Some(512),
        ..Host::default()
    }));
    assert_eq!(scene.view("app.db").page_bytes(), 512);
}

#[test]
fn a_database_held_still_by_a_transaction_is_read_with_its_log() {
    for mode in ["delete", "wal"] {
        let mut scene = Scene::new();
        scene.access = Access::Quiesced(Arc::default() as Arc<Host>);
        let app = scene.app("app.db");
        app.execute_batch(&format!("PRAGMA journal_mode={mode}; {FILL} BEGIN IMMEDIATE"))
            .unwrap();
        let view = scene.view("app.db");
        assert_eq!(dump_of_pages(&pages_of(&view)), dump(&app));
        assert_eq!(view.header().unwrap().is_wal, mode == "wal");
    }
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
