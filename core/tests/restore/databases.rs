//! Databases that a snapshot holds as a file and a log of what changed in it: folded into one, or handed back as two.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use lifeboat::{
    DatabaseFiles, Error, Integrity, Kind, RestoreJob, RestoreReport,
    format::{BlobId, FileMode, Node, Timestamp},
};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use crate::{
    interruption::spawn,
    log,
    planted::{Planter, dir, file},
    support::{Bench, block_on, noise, write},
};

/// A database at two moments. The first has been copied while it grew: its end is missing, and it is no whole number of pages.
fn two_moments(bench: &Bench, page_bytes: u32, setup: &str) -> (Vec<u8>, Vec<u8>) {
    let path = bench.path("live.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch(&format!(
        "PRAGMA page_size={page_bytes}; {setup}; PRAGMA user_version=1; CREATE TABLE t (id INTEGER PRIMARY KEY, x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
         INSERT INTO t SELECT i, hex(randomblob(100)) FROM n; PRAGMA wal_checkpoint(TRUNCATE)"
    ))
    .unwrap();
    let mut base = fs::read(&path).unwrap();
    base.truncate(base.len() - base.len() / 5 - 100);
    app.execute_batch(
        "UPDATE t SET x = 'changed' WHERE id % 50 = 0; INSERT INTO t VALUES (1000, zeroblob(20000));
         PRAGMA user_version=12; PRAGMA application_id=77; PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    let now = fs::read(&path).unwrap();
    drop(app);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(bench.path(&format!("live.db{suffix}")));
    }
    (base, now)
}

fn blobs(planter: &mut Planter, bytes: &[u8]) -> Vec<BlobId> {
    bytes.chunks(64 << 10).map(|chunk| planter.data(chunk)).collect()
}

/// As the engine writes it: the log's header is a blob of its own.
fn pair(planter: &mut Planter, name: &str, base: &[u8], log: &[u8]) -> [Node; 2] {
    let mut base_node = file(name, base.len() as u64, &blobs(planter, base));
    base_node.mode = FileMode(0o440);
    base_node.mtime = Timestamp::new(1_600_000_000, 7).unwrap();
    let (header, frames) = log.split_at(32);
    let mut ids = vec![planter.data(header)];
    ids.extend(blobs(planter, frames));
    [base_node, file(&format!("{name}-wal"), log.len() as u64, &ids)]
}

/// A bench with a snapshot of these files, in a folder beside others.
fn planted(bench: &Bench, nodes: impl FnOnce(&mut Planter) -> Vec<Node>) {
    let mut planter = Planter::new(bench);
    let nodes = nodes(&mut planter);
    let inner = planter.tree(&nodes);
    let blob = planter.data(b"hello");
    let tree = planter.tree(&[dir("data", inner), file("hello", 5, &[blob])]);
    planter.snapshot(tree, |_| ());
}

fn restore(bench: &Bench, change: impl FnOnce(&mut RestoreJob)) -> Result<RestoreReport, Error> {
    let mut job = bench.job(&[]);
    change(&mut job);
    let engine = bench.engine();
    let report = block_on(engine.restore(job, CancellationToken::new()));
    engine.stop(std::time::Duration::from_secs(10)).unwrap();
    report
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_database_comes_back_as_one_file_with_its_journal_mode_and_metadata() {
    for (page_bytes, setup) in [
        (512, "PRAGMA journal_mode=wal"),
        (4096, "PRAGMA journal_mode=delete"),
        (65_536, "PRAGMA journal_mode=wal; PRAGMA auto_vacuum=full"),
    ] {
        let bench = Bench::new();
        let (base, now) = two_moments(&bench, page_bytes, setup);
        let log = log::between(page_bytes, &base, &now);
        planted(&bench, |planter| pair(planter, "app.db", &base, &log).to_vec());
        let report = bench.restore(&[]).unwrap();
        let path = bench.path("target/data/app.db");
        assert!(fs::read(&path).unwrap() == now, "{page_bytes}");
        assert_eq!(names(&bench.path("target/data")), ["app.db"]);
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(
            (meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()),
            (0o440, 1_600_000_000, 7)
        );
        assert_eq!((report.files, report.bytes), (2, now.len() as u64 + 5));
        assert_eq!(
            (report.warnings, report.databases_total, report.is_applied),
            (vec![], 1, true)
        );
        let found = &report.databases[0];
        assert_eq!(
            (&*found.path, found.bytes),
            (Path::new("/data/app.db"), now.len() as u64)
        );
        assert_eq!((found.user_version, found.application_id), (Some(12), Some(77)));
        assert_eq!(
            (&found.integrity, found.foreign_key_violations),
            (&Integrity::Sound, 0)
        );
        let app = Connection::open(&path).unwrap();
        let mode: String = app
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert!(setup.contains(&mode), "{mode}");
    }
}

#[test]
fn both_files_on_request_and_sqlite_reads_them_as_one() {
    let bench = Bench::new();
    let (base, now) = two_moments(&bench, 4096, "PRAGMA journal_mode=wal");
    let log = log::between(4096, &base, &now);
    planted(&bench, |planter| pair(planter, "app.db", &base, &log).to_vec());
    let report = restore(&bench, |job| job.database_files = DatabaseFiles::Both).unwrap();
    let data = bench.path("target/data");
    assert!(
        fs::read(data.join("app.db")).unwrap() == base && fs::read(data.join("app.db-wal")).unwrap() == log
    );
    assert_eq!(report.files, 3);
    // What the log says counts, not what the base says.
    assert_eq!(report.databases[0].user_version, Some(12));
    fs::set_permissions(data.join("app.db"), fs::Permissions::from_mode(0o600)).unwrap();
    let app = Connection::open(data.join("app.db")).unwrap();
    let check: String = app
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    drop(app);
    assert!(fs::read(data.join("app.db")).unwrap() == now);
}

#[test]
fn a_database_is_chosen_by_its_name_and_its_log_comes_with_it() {
    let bench = Bench::new();
    let (base, now) = two_moments(&bench, 1024, "PRAGMA journal_mode=wal");
    let log = log::between(1024, &base, &now);
    planted(&bench, |planter| {
        let mut nodes = pair(planter, "app.db", &base, &log).to_vec();
        nodes.extend(pair(planter, "exact.db", &now, &log::header(1024)));
        nodes
    });
    bench.restore(&["/data/app.db"]).unwrap();
    assert_eq!(names(&bench.path("target/data")), ["app.db"]);
    assert!(fs::read(bench.path("target/data/app.db")).unwrap() == now);
    fs::remove_dir_all(bench.path("target/data")).unwrap();
    let report = bench.restore(&["/data/exact.db"]).unwrap();
    assert!(fs::read(bench.path("target/data/exact.db")).unwrap() == now);
    assert_eq!(report.databases[0].integrity, Integrity::Sound);
    fs::remove_dir_all(bench.path("target/data")).unwrap();
    // Somebody wants to look at the log itself.
    bench.restore(&["/data/app.db-wal"]).unwrap();
    assert_eq!(names(&bench.path("target/data")), ["app.db-wal"]);
    assert!(fs::read(bench.path("target/data/app.db-wal")).unwrap() == log);

    let engine = bench.engine();
    let listed = block_on(async {
        let mut entries = engine.entries("latest".into(), "/data".into()).await.unwrap();
        let mut listed = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.unwrap();
            let name = entry.path.to_str().unwrap().to_owned();
            listed.push((name, entry.log.map(|log| log.size)));
        }
        listed
    });
    engine.stop(std::time::Duration::from_secs(10)).unwrap();
    let expected = [
        ("/data", None),
        ("/data/app.db", Some(log.len() as u64)),
        ("/data/exact.db", Some(32)),
    ];
    assert_eq!(listed, expected.map(|(name, log)| (name.to_owned(), log)));
}

#[test]
fn a_log_that_is_damaged_refuses_the_restore_and_both_files_can_still_be_had() {
    let bench = Bench::new();
    let (base, now) = two_moments(&bench, 4096, "PRAGMA journal_mode=wal");
    let mut log = log::between(4096, &base, &now);
    let middle = log.len() / 2;
    log[middle] ^= 1;
    planted(&bench, |planter| pair(planter, "app.db", &base, &log).to_vec());
    write(&bench.path("target/data/app.db"), b"old");
    let before = bench.target();
    for _ in 0..2 {
        let error = bench.restore(&[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        for word in [
            "/data/app.db",
            "cannot be folded",
            "nothing was changed",
            "two files",
        ] {
            assert!(error.to_string().contains(word), "no '{word}' in: {error}");
        }
        assert!(bench.target() == before);
    }
    restore(&bench, |job| job.database_files = DatabaseFiles::Both).unwrap();
    assert!(fs::read(bench.path("target/data/app.db-wal")).unwrap() == log);
}

#[test]
fn a_damaged_database_is_handed_back_as_it_was_and_reported() {
    let bench = Bench::new();
    let (base, mut now) = two_moments(&bench, 4096, "PRAGMA journal_mode=wal");
    now[3 * 4096..4 * 4096].fill(0x5a);
    let log = log::between(4096, &base, &now);
    let opaque = (noise(1, 40 << 10), noise(2, 50 << 10).split_off(2048));
    let opaque_log = log::between(4096, &opaque.0, &opaque.1);
    planted(&bench, |planter| {
        let mut nodes = pair(planter, "app.db", &base, &log).to_vec();
        nodes.extend(pair(planter, "secret.db", &opaque.0, &opaque_log));
        nodes
    });
    let report = bench.restore(&[]).unwrap();
    assert!(fs::read(bench.path("target/data/app.db")).unwrap() == now);
    let pages = opaque.1.len() / 4096 * 4096;
    assert!(fs::read(bench.path("target/data/secret.db")).unwrap() == opaque.1[..pages]);
    let of = |name: &str| {
        report
            .databases
            .iter()
            .find(|found| found.path.ends_with(name))
            .unwrap()
    };
    assert!(matches!(&of("app.db").integrity, Integrity::Damaged { findings } if !findings.is_empty()));
    assert!(matches!(&of("secret.db").integrity, Integrity::NotChecked { .. }));
    assert_eq!(of("secret.db").user_version, None);
    assert!(report.warnings_total > 0);
    for warning in &report.warnings {
        assert_eq!(warning.path, Path::new("/data/app.db"));
        assert!(
            warning.reason.contains("was damaged when it was backed up"),
            "{}",
            warning.reason
        );
    }
}

#[test]
fn a_log_that_is_not_ours_stays_a_file_of_its_own_and_counts_for_the_schema() {
    let bench = Bench::new();
    // As restic finds the files of an app that was killed.
    let app = Connection::open(bench.path("live.db")).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode=wal; CREATE TABLE t (x); PRAGMA wal_checkpoint; PRAGMA user_version=5",
    )
    .unwrap();
    let (base, log) = (
        fs::read(bench.path("live.db")).unwrap(),
        fs::read(bench.path("live.db-wal")).unwrap(),
    );
    drop(app);
    planted(&bench, |planter| {
        let (base_ids, log_ids) = (blobs(planter, &base), blobs(planter, &log));
        vec![
            file("app.db", base.len() as u64, &base_ids),
            file("app.db-wal", log.len() as u64, &log_ids),
        ]
    });
    // The old ones must not be mixed with them.
    write(&bench.path("target/data/app.db"), &base);
    write(&bench.path("target/data/app.db-shm"), b"old");
    let report = bench.restore(&[]).unwrap();
    assert_eq!(names(&bench.path("target/data")), ["app.db", "app.db-wal"]);
    assert!(fs::read(bench.path("target/data/app.db")).unwrap() == base);
    assert!(fs::read(bench.path("target/data/app.db-wal")).unwrap() == log);
    assert_eq!(report.databases[0].user_version, Some(5));
    assert!(matches!(
        report.databases[0].integrity,
        Integrity::NotChecked { .. }
    ));
}

#[test]
fn no_log_of_an_old_database_stays_beside_the_restored_one() {
    let bench = Bench::new();
    let (base, now) = two_moments(&bench, 4096, "PRAGMA journal_mode=wal");
    let opaque = noise(5, 8 << 12);
    planted(&bench, |planter| {
        let ids = blobs(planter, &now);
        let mut nodes = vec![file("found.db", now.len() as u64, &ids)];
        nodes.extend(pair(planter, "pair.db", &base, &log::between(4096, &base, &now)));
        nodes.extend(pair(planter, "secret.db", &opaque, &log::header(4096)));
        let text = planter.data(b"text");
        nodes.push(file("text", 4, &[text]));
        nodes
    });
    let data = bench.path("target/data");
    let app = Connection::open(bench.path("old.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    fs::create_dir_all(&data).unwrap();
    for name in ["found.db", "pair.db", "secret.db"] {
        for suffix in ["", "-wal", "-shm"] {
            fs::copy(
                bench.path(&format!("old.db{suffix}")),
                data.join(format!("{name}{suffix}")),
            )
            .unwrap();
        }
    }
    write(&data.join("found.db-journal"), b"");
    for name in ["text", "text-wal", "other.db-wal"] {
        write(&data.join(name), b"not SQLite's");
    }
    bench.restore(&[]).unwrap();
    assert_eq!(
        names(&data),
        [
            "found.db",
            "other.db-wal",
            "pair.db",
            "secret.db",
            "text",
            "text-wal"
        ]
    );
    assert_eq!(names(&bench.path("target")), ["data", "hello"]);
    for name in ["found.db", "pair.db"] {
        assert!(fs::read(data.join(name)).unwrap() == now);
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        let app = Connection::open(data.join(name)).unwrap();
        let rows: i64 = app
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 401);
    }
}

/// The staging folder's own file of this name, if there is a staging folder with one.
fn in_staging(bench: &Bench, name: &str) -> bool {
    let entries = fs::read_dir(bench.path("target")).unwrap();
    let mut staging = entries.map(|entry| entry.unwrap().path());
    staging.any(|path| path.to_string_lossy().contains(".lifeboat-restore-") && path.join(name).exists())
}

#[test]
fn killed_while_folding_it_goes_on_without_the_vault() {
    let bench = Bench::new();
    fs::write(bench.path("key"), hex::encode(&bench.key().to_raw()[..])).unwrap();
    // Encrypted, as far as anybody can see: what is folded is pages.
    let (base, now) = (noise(8, 20 << 20), noise(9, 16 << 20));
    let log = log::between(4096, &base, &now);
    planted(&bench, |planter| pair(planter, "app.db", &base, &log).to_vec());
    write(&bench.path("target/data/app.db"), b"old");
    let old = |bench: &Bench| {
        fs::read(bench.path("target/data/app.db")).unwrap() == b"old" && !bench.path("target/hello").exists()
    };
    let mut killed = 0;
    for round in 0..200 {
        let mut child = spawn(bench.dir.path());
        while !in_staging(&bench, "folding") && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        std::thread::sleep(std::time::Duration::from_millis(round * 40 % 200));
        child.kill().unwrap();
        child.wait().unwrap();
        if in_staging(&bench, "folding") {
            assert!(old(&bench), "nothing is in place before all is folded");
            killed += 1;
        } else {
            // Too late: it is being put in place, or is.
            restore(&bench, |_| ()).unwrap();
            assert!(fs::read(bench.path("target/data/app.db")).unwrap() == now);
            fs::remove_dir_all(bench.path("target")).unwrap();
            write(&bench.path("target/data/app.db"), b"old");
        }
        if killed == 4 {
            break;
        }
    }
    assert_eq!(killed, 4, "the fold is long enough to be interrupted");
    fs::rename(bench.path("vault/data"), bench.path("data-away")).unwrap();
    let report = bench.restore(&[]).unwrap();
    assert!(fs::read(bench.path("target/data/app.db")).unwrap() == now);
    assert_eq!(names(&bench.path("target/data")), ["app.db"]);
    assert_eq!((report.fetched_bytes, report.files), (0, 2));
}
