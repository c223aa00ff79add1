//! Applying and rolling back, interrupted at every step: old or new, never a blend, and never both lost.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    BackupJob, Engine, EngineOptions, RestoreJob, Source, Unlock,
    clock::SystemClock,
    init,
    storage::{Address, LocalStorage},
};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// Everything below a folder but staging folders: what it is, its mode, and when it changed.
type Tree = BTreeMap<PathBuf, (Option<Vec<u8>>, u32, (i64, i64))>;

fn tree(root: &Path) -> Tree {
    fn collect(dir: &Path, below: &Path, tree: &mut Tree) {
        let meta = fs::metadata(dir).unwrap();
        tree.insert(
            below.to_owned(),
            (None, meta.mode(), (meta.mtime(), meta.mtime_nsec())),
        );
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(".lifeboat-restore-") {
                continue;
            }
            let (path, below) = (entry.path(), below.join(name));
            if entry.file_type().unwrap().is_dir() {
                collect(&path, &below, tree);
            } else {
                let meta = fs::metadata(&path).unwrap();
                let content = fs::read(&path).unwrap();
                tree.insert(
                    below,
                    (Some(content), meta.mode(), (meta.mtime(), meta.mtime_nsec())),
                );
            }
        }
    }
    let mut found = Tree::new();
    collect(root, Path::new(""), &mut found);
    // Which the staging folder itself comes into and leaves.
    found.remove(Path::new(""));
    found
}

fn contents(tree: &Tree) -> BTreeMap<&Path, &[u8]> {
    let files = tree
        .iter()
        .filter_map(|(path, (content, ..))| Some((&**path, content.as_deref()?)));
    files.collect()
}

/// A target in use, and a staged restore in it that replaces most of it.
struct Scene {
    dir: tempfile::TempDir,
    old: Tree,
    /// What applying makes of the target.
    new: Tree,
    copies: Cell<u32>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in [
            "source/sub",
            "source/fresh/deep",
            "target/sub",
            "target/thing",
            "live",
        ] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in ["a.txt", "sub/b.txt", "fresh/deep/c.txt", "thing"] {
            fs::write(path("source").join(name), format!("new {name}")).unwrap();
        }
        for name in ["a.txt", "sub/b.txt", "sub/kept.txt", "notes-wal"] {
            fs::write(path("target").join(name), format!("old {name}")).unwrap();
        }
        fs::write(path("source/notes"), "no database").unwrap();
        fs::set_permissions(path("source/sub"), fs::Permissions::from_mode(0o750)).unwrap();
        let app = Connection::open(path("source/app.db")).unwrap();
        app.execute_batch("PRAGMA journal_mode=wal; PRAGMA user_version=7; CREATE TABLE t (x); INSERT INTO t VALUES ('new')")
            .unwrap();
        drop(app);
        // As the app leaves it when it is killed: part of it is in the log only.
        let app = Connection::open(path("live/app.db")).unwrap();
        app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (x); PRAGMA wal_checkpoint; INSERT INTO t VALUES ('old')")
            .unwrap();
        for name in ["app.db", "app.db-wal", "app.db-shm"] {
            fs::copy(path("live").join(name), path("target").join(name)).unwrap();
        }
        drop(app);
        let old = tree(&path("target"));
        let mut scene = Self {
            dir,
            old,
            new: Tree::new(),
            copies: Cell::new(0),
        };
        scene.back_up();
        let report = scene.stage("target").unwrap();
        assert!(!report.is_applied);
        assert_eq!(tree(&path_in(&scene, "target")), scene.old);
        let applied = scene.copy();
        assert!(matches!(
            apply_pending(&applied, &Accepts::default()).unwrap(),
            ApplyOutcome::Applied(report) if report.is_applied && report.warnings.is_empty()
        ));
        scene.new = tree(&applied);
        scene
    }

    fn engine(&self) -> Engine {
        let unlock = Unlock::Password("password".to_owned().into());
        let options = EngineOptions {
            vault: Address::Local(path_in(self, "vault")),
            state_dir: path_in(self, "state"),
            unlock,
            storage: crate::storage::StorageOptions::default(),
        };
        Engine::open(options).unwrap()
    }

    fn back_up(&self) {
        let storage = LocalStorage::new(path_in(self, "vault"));
        block_on(init(&storage, "password", "host", &SystemClock::default())).unwrap();
        let engine = self.engine();
        let job = BackupJob {
            sources: vec![Source {
                path: path_in(self, "source"),
                place: Vec::new(),
            }],
            ..BackupJob::default()
        };
        block_on(engine.backup(job, CancellationToken::new())).unwrap();
        engine.stop(Duration::from_secs(10)).unwrap();
    }

    fn stage(&self, target: &str) -> Result<RestoreReport> {
        let engine = self.engine();
        let job = RestoreJob {
            snapshot: "latest".into(),
            target: path_in(self, target),
            stage_only: true,
            ..RestoreJob::default()
        };
        let report = block_on(engine.restore(job, CancellationToken::new()));
        engine.stop(Duration::from_secs(10)).unwrap();
        report
    }

    /// A copy of the target with what is staged in it.
    fn copy(&self) -> PathBuf {
        self.copies.set(self.copies.get() + 1);
        let copy = path_in(self, &format!("copy-{}", self.copies.get()));
        let mut cp = Command::new("cp");
        let status = cp
            .arg("-a")
            .arg(path_in(self, "target"))
            .arg(&copy)
            .status()
            .unwrap();
        assert!(status.success());
        copy
    }

    /// What must hold at any moment.
    fn check(&self, target: &Path, what: &str) {
        let now = tree(target);
        let now = contents(&now);
        let (old, new) = (contents(&self.old), contents(&self.new));
        for (path, content) in &now {
            let is_known = old.get(path) == Some(content) || new.get(path) == Some(content);
            assert!(is_known, "{what}: {path:?} is neither");
        }
        if now.contains_key(Path::new("app.db-wal")) {
            let database = now.get(Path::new("app.db"));
            assert!(
                database.is_none() || database == old.get(Path::new("app.db")),
                "{what}: a blend"
            );
        }
        let everywhere = all_contents(target);
        for content in old.values().chain(new.values()) {
            assert!(
                everywhere.contains(&content.to_vec()),
                "{what}: something is lost"
            );
        }
    }
}

fn path_in(scene: &Scene, name: &str) -> PathBuf {
    scene.dir.path().join(name)
}

fn all_contents(dir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(all_contents(&entry.path()));
        } else {
            found.push(fs::read(entry.path()).unwrap());
        }
    }
    found
}

fn staging_is_gone(target: &Path) -> bool {
    let mut entries = fs::read_dir(target).unwrap();
    entries.all(|entry| {
        !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".lifeboat")
    })
}

/// What SQLite reads there, on a copy, with whatever log there is.
fn value(target: &Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    for name in ["app.db", "app.db-wal"] {
        if target.join(name).exists() {
            fs::copy(target.join(name), dir.path().join(name)).unwrap();
        }
    }
    let app = Connection::open(dir.path().join("app.db")).unwrap();
    let check: String = app
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    app.query_row("SELECT group_concat(x) FROM t", [], |row| row.get(0))
        .unwrap()
}

/// An interruption before the step of this number.
fn interrupted(at: u32) -> (Cell<u32>, u32) {
    (Cell::new(0), at)
}

fn step((done, at): &(Cell<u32>, u32)) -> Result<()> {
    done.set(done.get() + 1);
    if done.get() > *at {
        return Err(Error::new(Kind::Io, "interrupted on purpose"));
    }
    Ok(())
}

#[test]
fn applied_at_once_it_is_the_snapshot_and_rolled_back_what_was_there() {
    let scene = Scene::new();
    let target = scene.copy();
    assert_eq!(value(&target), "old");
    let found = pending(&target).unwrap().unwrap();
    assert_eq!(found.state, PendingState::Staged);
    let database = &found.databases[0];
    assert_eq!(
        (database.user_version, database.application_id),
        (Some(7), Some(0))
    );
    assert_eq!(database.integrity, crate::Integrity::Sound);
    apply_pending(&target, &Accepts::default()).unwrap();
    assert_eq!(value(&target), "new");
    assert_eq!(fs::read(target.join("thing")).unwrap(), b"new thing");
    assert_eq!(
        fs::read(target.join("sub/kept.txt")).unwrap(),
        b"old sub/kept.txt"
    );
    assert_eq!(
        fs::read(target.join("notes-wal")).unwrap(),
        b"old notes-wal",
        "no log of a database"
    );
    assert!(!target.join("app.db-wal").exists() && !target.join("app.db-shm").exists());
    assert!(matches!(
        apply_pending(&target, &Accepts::default()).unwrap(),
        ApplyOutcome::Unconfirmed
    ));
    assert_eq!(pending(&target).unwrap().unwrap().state, PendingState::Applied);

    let other = scene.copy();
    apply_pending(&other, &Accepts::default()).unwrap();
    // The app works with it, and then wants the old one back.
    fs::write(other.join("app.db-wal"), b"a log of the restored database").unwrap();
    fs::remove_file(other.join("a.txt")).unwrap();
    fs::write(other.join("fresh/since"), b"since").unwrap();
    assert!(roll_back(&other).unwrap());
    assert_eq!(tree(&other), scene.old);
    assert!(staging_is_gone(&other) && value(&other) == "old");
    assert!(!roll_back(&other).unwrap() && !confirm(&other).unwrap());

    assert!(confirm(&target).unwrap());
    assert_eq!(tree(&target), scene.new);
    assert!(staging_is_gone(&target));
    assert!(matches!(
        apply_pending(&target, &Accepts::default()).unwrap(),
        ApplyOutcome::NothingPending
    ));
}

#[test]
fn interrupted_at_any_step_applying_is_finished_or_rolled_back() {
    let scene = Scene::new();
    let mut steps = 0;
    loop {
        let target = scene.copy();
        let stop = interrupted(steps);
        let ended = apply_in_steps(&target, &Accepts::default(), &|| step(&stop));
        scene.check(&target, &format!("before step {steps}"));
        if ended.is_ok() {
            break;
        }
        assert!(confirm(&target).is_err(), "not while it is half applied");
        let other = path_in(&scene, "other");
        Command::new("cp")
            .arg("-a")
            .arg(&target)
            .arg(&other)
            .status()
            .unwrap();
        apply_pending(&target, &Accepts::default()).unwrap();
        assert_eq!(tree(&target), scene.new, "after step {steps}");
        confirm(&target).unwrap();
        roll_back(&other).unwrap();
        assert_eq!(tree(&other), scene.old, "after step {steps}");
        assert!(staging_is_gone(&target) && staging_is_gone(&other));
        fs::remove_dir_all(&other).unwrap();
        fs::remove_dir_all(&target).unwrap();
        steps += 1;
    }
    assert!(steps > 20, "{steps} steps");
}

#[test]
fn interrupted_at_any_step_rolling_back_is_finished() {
    let scene = Scene::new();
    // Applied in part, and whole with the app's work in it.
    for applied in [10, 1000] {
        let mut steps = 0;
        loop {
            let target = scene.copy();
            let stop = interrupted(applied);
            let whole = apply_in_steps(&target, &Accepts::default(), &|| step(&stop)).is_ok();
            if whole {
                for name in ["app.db-wal", "app.db-journal"] {
                    fs::write(target.join(name), b"of the restored database").unwrap();
                }
            }
            let stop = interrupted(steps);
            let ended = roll_back_in_steps(&target, &|| step(&stop));
            if ended.is_ok() {
                assert_eq!(tree(&target), scene.old);
                break;
            }
            let now = tree(&target);
            let database = contents(&now)
                .get(Path::new("app.db"))
                .map(|bytes| bytes.to_vec());
            let log = contents(&now)
                .get(Path::new("app.db-wal"))
                .map(|bytes| bytes.to_vec());
            let (old, ours) = (contents(&scene.old), Some(b"of the restored database".to_vec()));
            if database.as_deref() == old.get(Path::new("app.db")).copied() {
                assert!(
                    log != ours,
                    "the new log beside the old database, at step {steps}"
                );
            } else if database.is_some() {
                assert!(
                    log.is_none() || log == ours,
                    "the old log beside the new database, at step {steps}"
                );
            }
            // Whatever is called, it goes back.
            match steps % 2 {
                0 if pending(&target)
                    .unwrap()
                    .is_some_and(|found| found.state == PendingState::RollingBack) =>
                {
                    assert!(matches!(
                        apply_pending(&target, &Accepts::default()).unwrap(),
                        ApplyOutcome::RolledBack
                    ));
                }
                _ => drop(roll_back(&target).unwrap()),
            }
            assert_eq!(
                tree(&target),
                scene.old,
                "applied {applied}, rolled back after step {steps}"
            );
            assert!(staging_is_gone(&target));
            fs::remove_dir_all(&target).unwrap();
            steps += 1;
        }
        assert!(steps > 0, "{steps} steps");
    }
}

#[test]
fn a_schema_that_the_app_does_not_know_is_refused_with_nothing_changed() {
    let scene = Scene::new();
    let target = path_in(&scene, "target");
    let accepts = |user_version_max, application_id| Accepts {
        databases: vec![AcceptedDatabase {
            path: "app.db".into(),
            user_version_max,
            application_id,
        }],
    };
    let before = all_contents(&target);
    for (accepts, word) in [
        (accepts(6, None), "versions up to 6"),
        (accepts(7, Some(5)), "belongs to application 0"),
    ] {
        let error = apply_pending(&target, &accepts).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(
            error.to_string().contains(word) && error.to_string().contains("nothing was changed"),
            "{error}"
        );
        assert_eq!(tree(&target), scene.old);
        assert_eq!(all_contents(&target), before);
    }
    assert!(matches!(
        apply_pending(&target, &accepts(7, Some(0))).unwrap(),
        ApplyOutcome::Applied(_)
    ));
    assert_eq!(value(&target), "new");
}

#[test]
fn another_restore_waits_until_this_one_is_confirmed_or_rolled_back() {
    let scene = Scene::new();
    let target = path_in(&scene, "target");
    let error = scene.stage("target").unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidInput);
    assert!(error.to_string().contains("apply it, or roll it back"), "{error}");
    apply_pending(&target, &Accepts::default()).unwrap();
    let error = scene.stage("target").unwrap_err();
    assert!(
        error.to_string().contains("confirm it, or roll it back"),
        "{error}"
    );
    // What a kill leaves of a confirmation is in nobody's way.
    let stop = interrupted(1);
    assert!(confirm_in_steps(&target, &|| step(&stop)).is_err());
    assert!(!staging_is_gone(&target));
    scene.stage("target").unwrap();
    assert!(roll_back(&target).unwrap(), "given up");
    assert_eq!(tree(&target), scene.new);
    assert!(staging_is_gone(&target));
}
