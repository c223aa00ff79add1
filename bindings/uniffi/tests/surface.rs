//! The surface as a foreign runtime uses it: futures that are polled elsewhere, dropped, or never looked at again.

// What fails here fails a test, loudly.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Waker},
    thread,
};

use lifeboat_ffi::{
    BackupOutcome, BackupRequest, BackupSource, EngineConfig, EngineError, EngineEvent, EngineHandle,
    HostError, KeyStore, Observer, RestoreRequest, RunProgress, StopToken, create_repository,
};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";
const GRACE_MS: u64 = 10_000;

struct Scene {
    dir: TempDir,
    keys: Arc<Keys>,
}

#[derive(Default)]
struct Keys(Mutex<Option<Vec<u8>>>);

impl KeyStore for Keys {
    fn load_key(&self) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn save_key(&self, key: Vec<u8>) -> Result<(), HostError> {
        *self.0.lock().unwrap() = Some(key);
        Ok(())
    }
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
            keys: Arc::default(),
        };
        fs::create_dir(scene.path("app")).unwrap();
        let keys = Some(scene.keys.clone() as Arc<dyn KeyStore>);
        let created = create_repository(scene.path("vault"), PASSWORD.into(), "test".into(), keys);
        assert_eq!(wait(created).unwrap().len(), 64);
        scene
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }

    fn config(&self) -> EngineConfig {
        EngineConfig {
            vault: self.path("vault"),
            state_dir: self.path("state"),
        }
    }

    fn open(&self) -> Result<Arc<EngineHandle>, EngineError> {
        wait(EngineHandle::open_with_key_store(
            self.config(),
            self.keys.clone(),
        ))
    }

    fn request(&self) -> BackupRequest {
        BackupRequest {
            sources: vec![BackupSource {
                path: self.path("app"),
                name: Some("app".into()),
            }],
            label: "phone".into(),
            excludes: vec![],
            tags: vec![],
            find_databases: true,
            databases: vec![],
            skip_if_unchanged: false,
        }
    }

    /// Files of a mebibyte each that do not compress, so that a backup of them takes a while.
    fn fill(&self, files: u64) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        for n in 0..files {
            let bytes: Vec<u8> = (0..1 << 17).flat_map(|_| next()).collect();
            fs::write(Path::new(&self.path("app")).join(n.to_string()), bytes).unwrap();
        }
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

/// Begins a call, and looks at it no more.
fn poll_once<T>(call: &mut Pin<Box<impl Future<Output = T>>>) {
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

/// Passes events on, and throws at progress.
struct Watch(mpsc::Sender<EngineEvent>);

impl Observer for Watch {
    fn on_progress(&self, _: RunProgress) -> Result<(), HostError> {
        Err(HostError::Failed {
            reason: "hosts throw".into(),
        })
    }

    fn on_event(&self, event: EngineEvent) -> Result<(), HostError> {
        let _ = self.0.send(event);
        Ok(())
    }

    fn on_end(&self) -> Result<(), HostError> {
        Ok(())
    }
}

#[test]
fn there_and_back_and_a_second_engine_is_refused() {
    let scene = Scene::new();
    fs::write(Path::new(&scene.path("app")).join("a"), "hello").unwrap();
    let engine = scene.open().unwrap();
    assert!(matches!(scene.open(), Err(EngineError::Busy { .. })));
    let outcome = wait(engine.backup(scene.request(), None, None)).unwrap();
    assert!(
        matches!(&outcome, BackupOutcome::Published { summary, .. } if summary.files_new == 1),
        "{outcome:?}"
    );
    let reader = wait(engine.entries("latest".into(), "/".into())).unwrap();
    let entries = wait(reader.next(10)).unwrap();
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["/app", "/app/a"]);
    assert!(wait(reader.next(10)).unwrap().is_empty());
    let request = RestoreRequest {
        snapshot: "latest".into(),
        target: scene.path("back"),
        include: vec![],
    };
    wait(engine.restore(request, None)).unwrap();
    assert_eq!(fs::read(scene.path("back/app/a")).unwrap(), b"hello");
    engine.stop_blocking(GRACE_MS).unwrap();
    engine.stop_blocking(GRACE_MS).unwrap();
    let refused = wait(engine.snapshots());
    assert!(matches!(refused, Err(EngineError::NotRunning { .. })));
    let open = EngineHandle::open_with_password(scene.config(), "wrong".into(), None);
    assert!(matches!(wait(open), Err(EngineError::WrongPassword { .. })));
    let open = EngineHandle::open_with_password(scene.config(), PASSWORD.into(), None);
    wait(open).unwrap().stop_blocking(GRACE_MS).unwrap();
}

#[test]
fn a_key_store_without_a_key_asks_for_the_password() {
    let scene = Scene::new();
    for held in [None, Some(vec![1; 3]), Some(vec![0; 64])] {
        *scene.keys.0.lock().unwrap() = held;
        assert!(matches!(scene.open(), Err(EngineError::KeyMissing { .. })));
    }
}

#[test]
fn a_stop_token_a_dropped_future_a_suspend_and_a_stop_end_a_job() {
    let scene = Scene::new();
    scene.fill(32);
    let engine = scene.open().unwrap();
    let (sender, events) = mpsc::channel();
    let _watching = engine.observe(Arc::new(Watch(sender)), 50).unwrap();

    let stop = StopToken::new();
    let stops = stop.clone();
    let stopping = thread::spawn(move || {
        events.recv().unwrap();
        stops.stop();
        events
    });
    let stopped = wait(engine.backup(scene.request(), None, Some(stop)));
    let events = stopping.join().unwrap();
    assert_eq!(stopped.unwrap_err(), EngineError::Cancelled);

    // Dropped on the way: the engine ends the job by itself, and is free for the next.
    while events.try_recv().is_ok() {}
    let mut dropped = Box::pin(engine.backup(scene.request(), None, None));
    poll_once(&mut dropped);
    events.recv().unwrap();
    drop(dropped);
    wait(engine.suspend(GRACE_MS)).unwrap();
    let refused = wait(engine.snapshots());
    assert!(matches!(refused, Err(EngineError::NotRunning { .. })));
    wait(engine.resume()).unwrap();

    // Never looked at again, and still it does not keep the engine from stopping.
    let mut forgotten = Box::pin(engine.backup(scene.request(), None, None));
    poll_once(&mut forgotten);
    engine.stop_blocking(GRACE_MS).unwrap();
    assert!(wait(forgotten).is_err());

    let engine = scene.open().unwrap();
    let outcome = wait(engine.backup(scene.request(), None, None)).unwrap();
    assert!(matches!(outcome, BackupOutcome::Published { .. }));
    engine.stop_blocking(GRACE_MS).unwrap();
}

/// Calls the engine from where it is told something, and does not come back until it is let go.
struct Rude {
    engine: Arc<EngineHandle>,
    said: mpsc::Sender<usize>,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Observer for Rude {
    fn on_progress(&self, _: RunProgress) -> Result<(), HostError> {
        Ok(())
    }

    fn on_event(&self, _: EngineEvent) -> Result<(), HostError> {
        if let Ok(snapshots) = wait(self.engine.snapshots()) {
            let _ = self.said.send(snapshots.len());
        }
        let _ = self.gate.lock().unwrap().recv();
        Ok(())
    }

    fn on_end(&self) -> Result<(), HostError> {
        Ok(())
    }
}

#[test]
fn an_observer_may_call_the_engine_and_block() {
    let scene = Scene::new();
    fs::write(Path::new(&scene.path("app")).join("a"), "hello").unwrap();
    let engine = scene.open().unwrap();
    let ((said, answers), (let_go, gate)) = (mpsc::channel(), mpsc::channel());
    let rude = Rude {
        engine: engine.clone(),
        said,
        gate: Mutex::new(gate),
    };
    let _watching = engine.observe(Arc::new(rude), 50).unwrap();
    wait(engine.backup(scene.request(), None, None)).unwrap();
    answers.recv().unwrap();
    // It blocks, and nobody else does.
    wait(engine.backup(scene.request(), None, None)).unwrap();
    engine.stop_blocking(GRACE_MS).unwrap();
    drop(let_go);
}

#[test]
fn a_forgotten_engine_ends_and_lets_go_of_its_folder() {
    let scene = Scene::new();
    scene.fill(8);
    for _ in 0..20 {
        let engine = loop {
            match scene.open() {
                Ok(engine) => break engine,
                Err(EngineError::Busy { .. }) => thread::yield_now(),
                Err(other) => panic!("{other:?}"),
            }
        };
        let mut call = Box::pin(engine.backup(scene.request(), None, None));
        poll_once(&mut call);
    }
}
