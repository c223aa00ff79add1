//! Restores that are stopped and killed: every file is the old or the new one, and the same restore
//! completes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lifeboat::{Kind, RestoreJob, Unlock, format::MasterKey};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, Tree, block_on, noise, open, tree, write};

const CHILD: &str = "LIFEBOAT_TEST_RESTORE";

/// Many small files, a few large ones, and an older version of most in the target, so that they are moved one
/// by one.
fn bench() -> (Bench, Tree, Tree) {
    let bench = Bench::new();
    let (source, target) = (bench.path("source"), bench.path("target"));
    for n in 0..1200_u64 {
        let name = format!("dir{}/f{n:04}", n % 7);
        write(&source.join(&name), &noise(n, 1 + (n as usize * 37) % 3000));
        if n % 3 != 0 {
            write(&target.join(&name), &noise(n + 5000, 50));
        }
    }
    for n in 0..4 {
        write(&source.join(format!("large{n}")), &noise(n + 9000, 3 << 20));
        write(&target.join(format!("large{n}")), b"old");
    }
    bench.backup();
    let (old, new) = (tree(&target), tree(&source));
    (bench, old, new)
}

#[track_caller]
fn old_or_new(target: &Tree, old: &Tree, new: &Tree) {
    let is_file = |entry: &crate::support::Entry| entry.mode & 0o170_000 == 0o100_000;
    for (path, entry) in target.iter().filter(|(_, entry)| is_file(entry)) {
        let (old, new) = (old.get(path), new.get(path));
        assert!(
            old.is_some_and(|old| old.content == entry.content) || new == Some(entry),
            "{path:?} is neither the old nor the new one"
        );
    }
    for path in old.keys() {
        assert!(target.contains_key(path), "{path:?} is gone");
    }
}

/// Not a test: what the killed process runs.
#[test]
fn child() {
    let Some(dir) = env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let key = hex::decode(fs::read(dir.join("key")).unwrap()).unwrap();
    let key = MasterKey::from_raw(&key.try_into().unwrap()).unwrap();
    let engine = open(&dir.join("vault"), &dir.join("state"), Unlock::MasterKey(key));
    let job = RestoreJob {
        snapshot: "latest".into(),
        target: dir.join("target"),
        ..RestoreJob::default()
    };
    block_on(engine.restore(job, CancellationToken::new())).unwrap();
    engine.stop(Duration::from_secs(10)).unwrap();
}

pub fn spawn(dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "interruption::child"])
        .env(CHILD, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn is_complete(target: &Path) -> bool {
    fs::read_dir(target).unwrap().any(|entry| {
        let entry = entry.unwrap();
        let staging = entry
            .file_name()
            .to_string_lossy()
            .starts_with(".lifeboat-restore-");
        staging && entry.path().join("staged").exists()
    })
}

#[test]
fn killed_at_any_moment_it_completes_with_the_next_run() {
    let (bench, old, new) = bench();
    fs::write(bench.path("key"), hex::encode(&bench.key().to_raw()[..])).unwrap();
    let (mut while_staging, mut while_applying) = (0, 0);
    for round in 0..14_u64 {
        let mut child = spawn(bench.dir.path());
        let started = Instant::now();
        // Half of the kills wait for the moment when files begin to be moved.
        let wait_for_apply = round % 2 == 1;
        while wait_for_apply && !is_complete(&bench.path("target")) && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_micros(200));
        }
        let delay = if wait_for_apply {
            round * 700
        } else {
            20_000 + round * 23_000
        };
        thread::sleep(Duration::from_micros(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        let target = bench.target();
        old_or_new(&target, &old, &new);
        if is_complete(&bench.path("target")) {
            while_applying += 1;
        } else if target == old {
            while_staging += 1;
        }
        if round % 5 == 4 {
            bench.restore(&[]).unwrap();
            assert!(bench.target() == new);
            // Back to the old state, for the next kills.
            for (path, entry) in &old {
                if entry.mode & 0o170_000 == 0o100_000 {
                    fs::write(bench.path("target").join(path), &entry.content).unwrap();
                }
            }
        }
    }
    assert!(
        while_staging > 0 && while_applying > 0,
        "{while_staging} and {while_applying}"
    );
    bench.restore(&[]).unwrap();
    assert!(bench.target() == new);
}

#[test]
fn stopped_it_ends_soon_and_goes_on_from_there() {
    let (bench, old, new) = bench();
    let mut resumed = 0;
    for delay_ms in [0, 5, 15, 40, 80] {
        let engine = bench.engine();
        let stop = CancellationToken::new();
        let stopper = stop.clone();
        let waiter = thread::spawn(move || {
            thread::sleep(Duration::from_millis(delay_ms));
            stopper.cancel();
            Instant::now()
        });
        let result = block_on(engine.restore(bench.job(&[]), stop));
        let ended = Instant::now();
        let stopped = waiter.join().unwrap();
        match result {
            Ok(report) => resumed += report.resumed_bytes,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Cancelled);
                assert!(
                    ended - stopped < Duration::from_millis(250),
                    "{:?}",
                    ended - stopped
                );
            }
        }
        old_or_new(&bench.target(), &old, &new);
        engine.stop(Duration::from_secs(10)).unwrap();
    }
    let report = bench.restore(&[]).unwrap();
    assert!(bench.target() == new);
    assert!(resumed + report.resumed_bytes > 0 || report.fetched_bytes > 0);
}

#[test]
fn one_that_was_being_applied_keeps_others_away_until_it_is_complete() {
    let (bench, _, new) = bench();
    // Stopped when the first files are in place.
    fs::write(bench.path("key"), hex::encode(&bench.key().to_raw()[..])).unwrap();
    let mut child = spawn(bench.dir.path());
    while !is_complete(&bench.path("target")) {
        assert!(child.try_wait().unwrap().is_none(), "it was too fast");
        thread::sleep(Duration::from_micros(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_complete(&bench.path("target")));
    let error = bench.restore(&["/dir1"]).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidInput);
    assert!(error.to_string().contains("run that one again"), "{error}");
    // To go on takes nothing of the packs any more.
    fs::rename(bench.path("vault/data"), bench.path("data-away")).unwrap();
    let report = bench.restore(&[]).unwrap();
    assert_eq!(report.files, 1204);
    assert!(bench.target() == new);
}

#[test]
fn what_another_restore_staged_is_removed() {
    let (bench, old, new) = bench();
    // Refused at the very end: everything is staged.
    fs::create_dir_all(bench.path("target/zz")).unwrap();
    write(&bench.path("source/zz"), b"a file where the target has a folder");
    write(&bench.path("target/zz/x"), b"x");
    bench.backup();
    bench.restore(&[]).unwrap_err();
    let staging = || {
        let names = fs::read_dir(bench.path("target"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(".lifeboat-restore-"))
            .count()
    };
    assert_eq!(staging(), 1);
    let mut target = bench.target();
    target.retain(|path, _| !path.starts_with("zz"));
    assert!(target == old);
    bench.restore(&["/large1"]).unwrap();
    assert_eq!(staging(), 0);
    assert!(bench.target()[Path::new("large1")] == new[Path::new("large1")]);
}

#[test]
fn what_is_staged_is_believed_only_as_far_as_it_reads_back() {
    let (bench, _, new) = bench();
    // Refused at the very end: everything is staged.
    fs::remove_file(bench.path("target/large0")).unwrap();
    write(&bench.path("target/large0/x"), b"x");
    bench.restore(&[]).unwrap_err();
    fs::remove_dir_all(bench.path("target/large0")).unwrap();
    let staging = fs::read_dir(bench.path("target"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let staging = staging
        .into_iter()
        .find(|path| path.to_string_lossy().contains(".lifeboat-restore-"));
    let staged = staging.unwrap().join("tree");
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(staged.join(name)).unwrap();
        change(&mut bytes);
        fs::write(staged.join(name), bytes).unwrap();
    };
    change("large0", &|bytes| bytes[1_000_000] ^= 1);
    change("large1", &|bytes| bytes.truncate(2_000_000));
    change("large2", &|bytes| bytes.push(7));
    change("dir1/f0001", &|bytes| *bytes = vec![0; bytes.len()]);
    fs::remove_file(staged.join("dir1/f0008")).unwrap();
    fs::remove_file(staged.join("dir2/f0002")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", staged.join("dir2/f0002")).unwrap();
    fs::remove_dir_all(staged.join("dir3")).unwrap();
    let report = bench.restore(&[]).unwrap();
    assert!(bench.target() == new);
    let total: u64 = report.bytes;
    assert!(
        report.resumed_bytes > total / 2 && report.resumed_bytes < total,
        "{report:?}"
    );
    assert!(report.fetched_bytes < total / 2, "{report:?}");
}
