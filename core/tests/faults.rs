//! What goes wrong around an engine, and that nothing is lost by it.

// What fails here fails a test, loudly.
#![allow(clippy::unwrap_used)]

mod scene;

use std::{
    fs,
    future::{Future, poll_fn},
    path::Path,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lifeboat::{
    DatabaseAccess, DatabaseSource, Engine, Event, HostError, Kind, Place, Quiesce, Quiesced,
    clock::{Clock, SystemClock},
    format::SnapshotId,
};
use scene::{Scene, files, noise, wait};
use tokio_util::sync::CancellationToken;

const STOP: Duration = Duration::from_secs(10);

/// A wall clock that the test sets.
#[derive(Debug, Default)]
struct JumpingClock {
    real: SystemClock,
    ahead_seconds: AtomicI64,
}

impl Clock for JumpingClock {
    fn wall(&self) -> SystemTime {
        let ahead = self.ahead_seconds.load(Ordering::Relaxed);
        let distance = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 {
            self.real.wall() - distance
        } else {
            self.real.wall() + distance
        }
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}

#[test]
fn a_clock_that_jumps_loses_no_change_and_no_order_of_snapshots() {
    let scene = Scene::new();
    let clock = Arc::new(JumpingClock::default());
    let engine = Engine::open_with_clock(scene.options(), clock.clone()).unwrap();
    let mut seen: Vec<SnapshotId> = Vec::new();
    for (number, ahead) in [0, 86_400 * 400, -86_400 * 4000, 3600].into_iter().enumerate() {
        clock.ahead_seconds.store(ahead, Ordering::Relaxed);
        scene.write("file", format!("version {number}"));
        let report = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
        assert!(report.stats.data_blobs == 1, "version {number} was not noticed");
        seen.push(report.snapshot.unwrap());
    }
    let listed = wait(engine.snapshots()).unwrap();
    assert_eq!(listed.len(), seen.len());
    assert_eq!(listed[0].0, seen[2], "ordered by what the clock said");
    engine.stop(STOP).unwrap();
}

#[test]
fn a_clock_far_from_that_of_the_files_only_costs_reading() {
    let scene = Scene::new();
    scene.write("file", "content");
    let clock = Arc::new(JumpingClock::default());
    clock.ahead_seconds.store(-86_400 * 365 * 30, Ordering::Relaxed);
    assert!(clock.wall() > UNIX_EPOCH);
    let engine = Engine::open_with_clock(scene.options(), clock).unwrap();
    for _ in 0..2 {
        wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    }
    // Written within the same tick of a clock that is thirty years ahead: only reading tells.
    scene.write("file", "CONTENT");
    let report = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    assert_eq!(report.stats.data_blobs, 1);
    engine.stop(STOP).unwrap();
}

#[test]
fn a_vault_that_goes_away_is_told_and_waited_for() {
    let scene = Scene::new();
    for n in 0..12 {
        scene.write(&format!("{n}.bin"), noise(n + 1, 2 << 20));
    }
    let away = scene.dir.path().join("away");
    let engine = scene.open();
    let mut facts = engine.listen();
    let result = wait(async {
        let taken_away = async {
            while !matches!(facts.recv().await.unwrap(), Event::PackConfirmed { .. }) {}
            fs::rename(scene.vault(), &away).unwrap();
        };
        let (result, ()) = tokio::join!(engine.backup(scene.job(), CancellationToken::new()), taken_away);
        result
    });
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.to_string().contains("do the same again"), "{error}");
    let kept = files(&away.join("data"));
    fs::rename(&away, scene.vault()).unwrap();
    wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    engine.stop(STOP).unwrap();
    let stored: u64 = files(&scene.vault().join("data"))
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(!kept.is_empty());
    assert!(
        stored < (24 << 20) + (1 << 20),
        "{stored} bytes: something was stored twice"
    );
}

#[test]
fn a_catalog_of_another_vault_is_not_believed() {
    let (one, other) = (Scene::new(), Scene::new());
    one.write("file", noise(1, 1 << 20));
    one.backup();
    fs::create_dir_all(other.state()).unwrap();
    for path in files(&one.state()) {
        let name = path.strip_prefix(one.state()).unwrap();
        fs::create_dir_all(other.state().join(name).parent().unwrap()).unwrap();
        fs::copy(&path, other.state().join(name)).unwrap();
    }
    // The same inode and times: only the vault differs.
    fs::remove_dir_all(other.source()).unwrap();
    fs::rename(one.source(), other.source()).unwrap();
    let report = other.backup();
    assert!(report.stats.data_added >= 1 << 20, "{:?}", report.stats);
    assert_eq!(other.listing()[Path::new("/app/file")], 1 << 20);
}

#[test]
fn files_that_vanish_grow_and_shrink_while_they_are_read_do_not_end_a_backup() {
    let scene = Scene::new();
    for n in 0..200 {
        scene.write(&format!("small/{n:03}"), noise(n, 2000));
    }
    scene.write("large", noise(7, 16 << 20));
    let stop = CancellationToken::new();
    let (source, stopped) = (scene.source(), stop.clone());
    let changing = std::thread::spawn(move || {
        let mut round = 0_u64;
        while !stopped.is_cancelled() {
            round += 1;
            let name = source.join(format!("small/{:03}", round % 200));
            // Each of these may fail, since the others remove what they work on.
            let _ = match round % 3 {
                0 => fs::remove_file(&name),
                1 => fs::write(&name, noise(round, 500_000)),
                _ => fs::write(&name, b""),
            };
            let large = fs::File::options()
                .write(true)
                .open(source.join("large"))
                .unwrap();
            large.set_len((1 + round % 20) << 20).unwrap();
        }
    });
    let engine = scene.open();
    for _ in 0..3 {
        let report = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
        assert!(report.snapshot.is_some());
    }
    stop.cancel();
    changing.join().unwrap();
    let last = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    assert_eq!((last.unreadable_total, last.changing.len()), (0, 0));
    engine.stop(STOP).unwrap();
    let large = fs::metadata(scene.source().join("large")).unwrap().len();
    assert_eq!(scene.listing()[Path::new("/app/large")], large);
}

#[test]
fn a_spool_that_cannot_be_written_is_told_with_its_place() {
    let scene = Scene::new();
    scene.write("file", noise(1, 1 << 20));
    let engine = scene.open();
    let spool = scene.state().join("spool");
    fs::remove_dir(&spool).unwrap();
    let error = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap_err();
    assert_ne!(error.kind(), Kind::OutOfSpace(Place::Vault));
    assert!(error.to_string().contains("spool"), "{error}");
    fs::create_dir(&spool).unwrap();
    wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    engine.stop(STOP).unwrap();
}

#[test]
fn suspended_it_holds_nothing_and_resumed_it_goes_on() {
    let scene = Scene::new();
    scene.write("file", b"1");
    let engine = scene.open();
    wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    wait(engine.suspend()).unwrap();
    assert!(!scene.state().join("catalog.db-wal").exists());
    let refused = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap_err();
    assert_eq!(refused.kind(), Kind::NotRunning);
    wait(engine.resume()).unwrap();
    wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    engine.stop(STOP).unwrap();
}

#[test]
fn a_pack_that_is_gone_does_not_matter_where_another_holds_the_same() {
    let scene = Scene::new();
    scene.write("photo", noise(1, 3 << 20));
    scene.backup();
    for pack in files(&scene.vault().join("data")) {
        fs::remove_file(pack).unwrap();
    }
    // Another phone with the same photo stores everything again; the first one still counts on what it stored.
    let options = lifeboat::EngineOptions {
        state_dir: scene.dir.path().join("other"),
        ..scene.options()
    };
    let other = Engine::open(options).unwrap();
    wait(other.backup(scene.job(), CancellationToken::new())).unwrap();
    other.stop(STOP).unwrap();
    let target = scene.dir.path().join("restored");
    let job = lifeboat::RestoreJob {
        snapshot: "latest".into(),
        target: target.clone(),
        ..lifeboat::RestoreJob::default()
    };
    let engine = scene.open();
    wait(engine.restore(job, CancellationToken::new())).unwrap();
    engine.stop(STOP).unwrap();
    assert_eq!(fs::read(target.join("app/photo")).unwrap(), noise(1, 3 << 20));
}

/// An app that takes its time to hold its database still: nothing in the engine can end that.
#[derive(Debug)]
struct Slow {
    asked: mpsc::SyncSender<()>,
    /// Until this is told something.
    answer: Mutex<mpsc::Receiver<()>>,
}

impl Quiesce for Slow {
    fn begin(&self, _: &Path) -> Result<Quiesced, HostError> {
        self.asked.send(()).unwrap();
        self.answer.lock().unwrap().recv().unwrap();
        Ok(Quiesced::default())
    }

    fn end(&self, _: &Path) {}
}

#[test]
fn a_job_that_does_not_end_keeps_the_state_folder_until_it_has() {
    let scene = Scene::new();
    let path = scene.source().join("notes.db");
    fs::write(&path, noise(8192, 1)).unwrap();
    let (asked_tx, asked) = mpsc::sync_channel(1);
    let (answer, answer_rx) = mpsc::sync_channel(1);
    let slow = Slow {
        asked: asked_tx,
        answer: Mutex::new(answer_rx),
    };
    let mut job = scene.job();
    job.databases.declared.push(DatabaseSource {
        path,
        access: DatabaseAccess::Quiesced(Arc::new(slow)),
        group: None,
    });
    let engine = scene.open();
    wait(async {
        let mut backup = pin!(engine.backup(job, CancellationToken::new()));
        // Begun by the first poll; it goes on when nobody waits for it any more.
        poll_fn(|context| Poll::Ready(backup.as_mut().poll(context).is_ready())).await
    });
    asked.recv().unwrap();
    let stopped = engine.stop(Duration::from_millis(50));
    assert_eq!(stopped.unwrap_err().kind(), Kind::Busy);
    let second = Engine::open(scene.options()).err().unwrap();
    assert_eq!(second.kind(), Kind::Busy, "{second}");
    answer.send(()).unwrap();
    let deadline = Instant::now() + STOP;
    while let Err(error) = Engine::open(scene.options()) {
        assert_eq!(error.kind(), Kind::Busy, "{error}");
        assert!(Instant::now() < deadline, "{error}");
        thread::yield_now();
    }
}
