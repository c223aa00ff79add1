//! Runs the Python programs of `tests/inprocess`: an app of foreign copies of SQLite, with the engine in its process.

use std::{
    env,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    Scene, Shell,
    process::{Finished, run},
    restic::text,
    scene::{restored, utf8},
};

/// One row, `ok`, of whatever the writers have written.
const INVARIANTS: &str = include_str!("../inprocess/invariants.sql");

/// Databases of the app.
const DATABASES: [&str; 2] = ["python.db", "another.db"];

fn python(arguments: &[&str]) -> Finished {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("inprocess/app.py");
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(program);
    let finished = run(command.args(arguments));
    println!("{}", finished.stdout);
    finished
}

/// The shared library named by `LIFEBOAT_INPROCESS`.
fn library() -> PathBuf {
    let library = env::var_os("LIFEBOAT_INPROCESS");
    library.map(PathBuf::from).unwrap_or_else(|| {
        panic!(
            "LIFEBOAT_INPROCESS must name the library of tests/inprocess; `tests/run` builds it and sets it"
        )
    })
}

/// Snapshots while both databases are written to all the time. Nothing is asserted.
fn harm(scene: &Scene, mode: &str, snapshots: u64, seed: u64, reader: &str) -> Finished {
    python(&[
        "harm",
        utf8(&library()),
        utf8(&scene.path("")),
        mode,
        &snapshots.to_string(),
        &seed.to_string(),
        reader,
    ])
}

/// What the same look at a reader who opens, reads and closes says is lost. `None`: it broke the app's own process before anybody could tell,
/// by a memory-mapped index that another process took for left over, and cut off.
pub fn naive(mode: &str, snapshots: u64, seed: u64) -> Option<Vec<Value>> {
    let scene = Scene::new();
    let finished = harm(&scene, mode, snapshots, seed, "naive");
    if finished.status.signal() == Some(Signal::BUS.as_raw()) {
        return None;
    }
    let seen = finished.ok().json();
    Some(seen["locks lost"].as_array().expect("a list").clone())
}

/// Snapshots by the engine: nobody was harmed, and every one of them is one moment in time, as the stock programs see it.
pub fn assert_harmless(mode: &str, snapshots: u64, seed: u64) {
    let scene = Scene::new();
    let seen = harm(&scene, mode, snapshots, seed, "engine").ok().json();
    let none = Value::Array(Vec::new());
    assert_eq!(
        seen["copies differ"], true,
        "one copy of SQLite knows its own locks"
    );
    for wrong in ["locks lost", "errors", "odd"] {
        assert_eq!(seen[wrong], none, "{mode}: {wrong}");
    }
    // On a machine with too much to do, a writer may hold its exclusive lock for longer than a reader waits. The rare exception only.
    let busy = seen["unreadable"].as_array().expect("a list");
    assert!(
        busy.iter().all(|one| text(&one["reason"]).contains("busy")),
        "{mode}: {busy:?}"
    );
    assert!(
        busy.len() as u64 <= 2 + snapshots / 10,
        "{mode}: the engine hardly gets to read: {busy:?}"
    );
    let absent = busy.iter().filter(|one| one["kept"] == false).count() as u64;
    assert!(
        seen["locks checked"].as_u64() > Some(snapshots),
        "about half of the databases are held"
    );
    for name in DATABASES {
        let end = &seen["databases"][name];
        assert_eq!(end["failures"], none, "{mode}: {name}");
        assert_eq!(
            (&end["invariants"], &end["integrity"]),
            (&"ok".into(), &"ok".into()),
            "{mode}: {name}"
        );
        // Otherwise nothing was tried.
        for place in ["written here", "written elsewhere"] {
            assert!(end[place].as_u64() > Some(0), "{mode}: {name}: {place}");
        }
    }
    let ids: Vec<String> = seen["snapshots"]
        .as_array()
        .expect("a list")
        .iter()
        .map(text)
        .collect();
    assert_eq!(ids.len() as u64, snapshots);
    assert_one_moment(&scene, &ids, absent);
}

/// Restores every snapshot with restic, and asks SQLite's command line about it. `absent`: databases that no snapshot had before they were
/// too busy to be read.
fn assert_one_moment(scene: &Scene, snapshots: &[String], absent: u64) {
    let restic = scene.restic();
    let mut seen = 0;
    for id in snapshots {
        let target = scene.path("back");
        let _ = std::fs::remove_dir_all(&target);
        restic.restore_with(id, &target, &[]);
        for name in DATABASES {
            let database = restored(&target, &scene.path("app").join(name));
            if !database.exists() {
                continue;
            }
            seen += 1;
            let mut shell = Shell::sqlite(&database);
            assert_eq!(shell.run(INVARIANTS).trim(), "ok", "{name} in {id}");
            shell.assert_sound();
        }
    }
    assert_eq!(seen + absent, (snapshots.len() * DATABASES.len()) as u64);
    restic.check_read_data();
}

/// How long, in milliseconds, a lock of the engine's was seen after each of a number of stop signals.
pub fn left_after_stop(mode: &str, times: u64) -> Vec<f64> {
    let scene = Scene::new();
    let seen = python(&[
        "stop",
        utf8(&library()),
        utf8(&scene.path("")),
        mode,
        &times.to_string(),
    ])
    .ok()
    .json();
    assert_eq!(seen["left over"], 0);
    assert!(
        seen["cancelled"].as_u64() >= Some(times),
        "no backup was under way when it was stopped: {seen}"
    );
    let left = seen["left ms"].as_array().expect("a list");
    left.iter()
        .map(|ms| ms.as_f64().expect("locks that stay for ever"))
        .collect()
}
