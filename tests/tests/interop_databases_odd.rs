//! Databases that are not as they should be, or that look like none: backed up as they are, told of, and never mended.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use lifeboat::{
    BackupJob, BackupReport, DatabaseAccess, DatabaseSource, Databases, Engine, EngineOptions, Event,
    HostError, Quiesce, Quiesced, Source, Unlock, storage::Address,
};
use lifeboat_tests::{
    Scene, Shell,
    scene::{HOST, PASSWORD, restored},
};
use tokio_util::sync::CancellationToken;

/// A folder with one file of a database, closed, and made by SQLite's command line.
fn scene(sql: &str) -> Scene {
    let scene = Scene::new();
    fs::create_dir(scene.source()).unwrap();
    scene.restic().init();
    Shell::sqlite(&database(&scene)).run(sql);
    scene
}

fn database(scene: &Scene) -> PathBuf {
    scene.source().join("app.db")
}

const ROWS: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO t SELECT i, hex(randomblob(100)) FROM n;";

/// Backs up with the engine itself, and gives what it told of databases.
fn backup(scene: &Scene, databases: Databases) -> (BackupReport, Vec<String>) {
    let engine = Engine::open(EngineOptions {
        vault: Address::Local(scene.vault()),
        state_dir: scene.path("state"),
        unlock: Unlock::Password(PASSWORD.to_owned().into()),
        storage: Default::default(),
    })
    .unwrap();
    let mut events = engine.listen();
    let job = BackupJob {
        sources: vec![Source::at_path(scene.source())],
        host: HOST.to_owned(),
        databases,
        ..BackupJob::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime
        .unwrap()
        .block_on(engine.backup(job, CancellationToken::new()));
    let mut odd = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::OddDatabase { reason, .. } = event {
            odd.push(reason);
        }
    }
    engine.stop(Duration::from_secs(30)).unwrap();
    (report.unwrap(), odd)
}

fn restore(scene: &Scene) -> PathBuf {
    let target = scene.path("back");
    let _ = fs::remove_dir_all(&target);
    scene.restic().restore("latest", &target);
    restored(&target, &database(scene))
}

/// The file with its log folded in by SQLite, which needs no sound page for that but the header.
fn folded(path: &Path) -> Vec<u8> {
    let log = path.with_file_name("app.db-wal");
    if log.exists() {
        let mut shell = Shell::sqlite(path);
        shell.run("PRAGMA schema_version;");
        shell.checkpoint();
    }
    fs::read(path).unwrap()
}

#[test]
fn a_torn_page_is_stored_torn() {
    let scene = scene(ROWS);
    backup(&scene, Databases::default());
    let file = fs::File::options().write(true).open(database(&scene)).unwrap();
    // Half of a page as it was never written, as after a power failure.
    file.write_all_at(&[0xa5; 2048], 5 * 4096 + 2048).unwrap();
    drop(file);
    let torn = fs::read(database(&scene)).unwrap();
    let (report, _) = backup(&scene, Databases::default());
    assert_eq!(report.unreadable, []);
    assert!(folded(&restore(&scene)) == torn);
}

#[test]
fn a_file_cut_within_a_page_is_told_of() {
    let scene = scene(ROWS);
    let whole = fs::read(database(&scene)).unwrap();
    fs::write(database(&scene), &whole[..3 * 4096 + 512]).unwrap();
    let (report, odd) = backup(&scene, Databases::default());
    assert_eq!(report.unreadable, []);
    assert!(
        odd.iter().any(|reason| reason.contains("512 bytes into a page")),
        "{odd:?}"
    );
    assert!(
        odd.iter().any(|reason| reason.contains("the header counts")),
        "{odd:?}"
    );
    let back = fs::read(restore(&scene)).unwrap();
    assert!(back[..3 * 4096 + 512] == whole[..3 * 4096 + 512]);
    assert!(back[3 * 4096 + 512..].iter().all(|byte| *byte == 0), "invented");
    assert_eq!(
        fs::read(database(&scene)).unwrap().len(),
        3 * 4096 + 512,
        "the app's own"
    );
}

#[test]
fn a_wrong_header_makes_it_a_file() {
    let scene = scene(ROWS);
    backup(&scene, Databases::default());
    let file = fs::File::options().write(true).open(database(&scene)).unwrap();
    // A page size that is none.
    file.write_all_at(&[0x03, 0x33], 16).unwrap();
    drop(file);
    let wrong = fs::read(database(&scene)).unwrap();
    let (report, _) = backup(&scene, Databases::default());
    assert_eq!(report.unreadable, []);
    let back = restore(&scene);
    assert!(fs::read(&back).unwrap() == wrong);
    assert!(
        !back.with_file_name("app.db-wal").exists(),
        "a log for what is none"
    );
}

/// What SQLite sees of a log that lost its end is what is stored.
#[test]
fn a_cut_log_is_read_as_sqlite_reads_it() {
    let scene = scene(&format!("PRAGMA journal_mode=wal; {ROWS}"));
    let mut app = Shell::sqlite(&database(&scene));
    for id in 1..40 {
        app.run(&format!("UPDATE t SET x = 'changed' WHERE id = {};", 7 * id));
    }
    // As a crash and a power failure leave them: the files only, and nobody who has them open.
    let (left, log) = (scene.path("left"), "app.db-wal");
    fs::create_dir(&left).unwrap();
    for name in ["app.db", log] {
        fs::copy(scene.source().join(name), left.join(name)).unwrap();
    }
    drop(app);
    let _ = fs::remove_file(scene.source().join(log));
    let whole = fs::read(left.join(log)).unwrap();
    let cut = 32 + 20 * (24 + 4096) + 1000;
    assert!(whole.len() > cut);
    let lay = |folder: &Path| {
        fs::copy(left.join("app.db"), folder.join("app.db")).unwrap();
        fs::write(folder.join(log), &whole[..cut]).unwrap();
    };
    lay(&scene.source());
    let (report, _) = backup(&scene, Databases::default());
    assert_eq!(report.unreadable, []);
    assert_eq!(
        fs::read(scene.source().join(log)).unwrap(),
        &whole[..cut],
        "the app's own"
    );
    let seen = scene.path("seen");
    fs::create_dir(&seen).unwrap();
    lay(&seen);
    let mut judge = Shell::sqlite(&restore(&scene));
    judge.assert_sound();
    assert!(judge.dump() == Shell::sqlite(&seen.join("app.db")).dump());
    let changed = judge.run("SELECT count(*) FROM t WHERE x = 'changed';");
    assert!(
        (1..39).contains(&changed.trim().parse::<i32>().unwrap()),
        "{changed}"
    );
}

/// The app's part for SQLCipher: a transaction of its own connection keeps every writer out.
#[derive(Debug)]
struct Held(Mutex<Shell>);

impl Quiesce for Held {
    fn begin(&self, _: &Path) -> Result<Quiesced, HostError> {
        self.0.lock().unwrap().run("BEGIN IMMEDIATE;");
        let page_bytes = Some(self.page_bytes());
        Ok(Quiesced { page_bytes })
    }

    fn end(&self, _: &Path) {
        self.0.lock().unwrap().run("ROLLBACK;");
    }
}

impl Held {
    fn page_bytes(&self) -> u32 {
        self.0
            .lock()
            .unwrap()
            .run("PRAGMA cipher_page_size;")
            .trim()
            .parse()
            .unwrap()
    }

    fn run(&self, sql: &str) -> String {
        self.0.lock().unwrap().run(sql)
    }
}

#[test]
fn an_encrypted_database_that_the_app_holds_still_opens_with_its_key() {
    const KEY: &str = "a key only for tests";
    for mode in ["delete", "wal"] {
        let scene = Scene::new();
        fs::create_dir(scene.source()).unwrap();
        scene.restic().init();
        let app = Arc::new(Held(Mutex::new(Shell::sqlcipher(&database(&scene), KEY))));
        app.run(&format!("PRAGMA journal_mode={mode}; {ROWS}"));
        let declared = vec![DatabaseSource {
            path: database(&scene),
            access: DatabaseAccess::Quiesced(app.clone()),
            group: None,
        }];
        let databases = Databases {
            declared,
            ..Databases::default()
        };
        let mut added = Vec::new();
        for round in 0..4 {
            app.run(&format!(
                "UPDATE t SET x = 'round {round}' WHERE id % 100 = {round};"
            ));
            let before = app.0.lock().unwrap().dump();
            let (report, odd) = backup(&scene, databases.clone());
            assert_eq!((report.unreadable, odd), (vec![], vec![]), "{mode}");
            added.push(report.stats.data_added);
            let back = restore(&scene);
            assert!(!fs::read(&back).unwrap().starts_with(b"SQLite format 3"));
            let mut judge = Shell::sqlcipher(&back, KEY);
            judge.assert_sound();
            assert!(judge.dump() == before, "{mode}, round {round}");
        }
        // Opaque pages are compared as any.
        assert!(added[3] * 2 < added[0], "{mode}: {added:?}");
    }
}

/// Not declared, it looks like noise, and is stored as that.
#[test]
fn an_encrypted_database_that_nobody_declared_is_a_file() {
    let scene = Scene::new();
    fs::create_dir(scene.source()).unwrap();
    scene.restic().init();
    Shell::sqlcipher(&database(&scene), "some key").run(ROWS);
    let (report, odd) = backup(&scene, Databases::default());
    assert_eq!((report.unreadable, odd), (vec![], vec![]));
    let back = restore(&scene);
    assert!(fs::read(&back).unwrap() == fs::read(database(&scene)).unwrap());
    assert!(!back.with_file_name("app.db-wal").exists());
    Shell::sqlcipher(&back, "some key").assert_sound();
}
