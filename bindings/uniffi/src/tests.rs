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

use crate::{
    AcceptedSchema, Allowances, AndroidNetworkType, ApplyResult, BackupFreshness, BackupOutcome,
    BackupRequest, BackupSource, DueTask, EngineConfig, EngineError, EngineEvent, EngineHandle, HostError,
    KeyStore, NetworkClass, NetworkState, Observer, PendingStage, PhoneConditions, PruneRequest, QuietHours,
    RestoreRequest, RunProgress, StopToken, ThermalState, WaitingReason, WindowBudget, WindowOutcome,
    android_stop_code, android_work, apple_tasks, apply_pending_restore, confirm_restore, create_repository,
    default_policy, pending_restore, roll_back_restore,
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
        let created = create_repository(
            scene.path("vault"),
            PASSWORD.into(),
            "test".into(),
            keys,
            None,
            None,
            None,
        );
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
            network: None,
        }
    }

    fn open(&self) -> Result<Arc<EngineHandle>, EngineError> {
        wait(EngineHandle::open_with_key_store(
            self.config(),
            self.keys.clone(),
            None,
            None,
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

    fn restore(&self, target: &str, stage_only: bool) -> RestoreRequest {
        RestoreRequest {
            snapshot: "latest".into(),
            target: self.path(target),
            include: vec![],
            stage_only,
            keep_database_logs: false,
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
    wait(engine.restore(scene.restore("back", false), None)).unwrap();
    assert_eq!(fs::read(scene.path("back/app/a")).unwrap(), b"hello");
    engine.stop_blocking(GRACE_MS).unwrap();
    engine.stop_blocking(GRACE_MS).unwrap();
    let refused = wait(engine.snapshots());
    assert!(matches!(refused, Err(EngineError::NotRunning { .. })));
    let open = EngineHandle::open_with_password(scene.config(), "wrong".into(), None, None, None);
    assert!(matches!(wait(open), Err(EngineError::WrongPassword { .. })));
    let open = EngineHandle::open_with_password(scene.config(), PASSWORD.into(), None, None, None);
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

fn budget(network: NetworkClass, deadline_ms: u64) -> WindowBudget {
    WindowBudget {
        deadline_ms,
        network,
        allowances: Allowances {
            unmetered: None,
            metered: Some(0),
            roaming: Some(0),
            expensive: Some(0),
            constrained: Some(0),
        },
        sole_client: false,
    }
}

#[test]
fn windows_wait_go_on_and_end() {
    let scene = Scene::new();
    scene.fill(24);
    let engine = scene.open().unwrap();
    let window = |budget| wait(engine.run_window(scene.request(), budget, None, None));
    let WindowOutcome::Waiting { reason, hint } = window(budget(NetworkClass::Metered, 10_000)).unwrap()
    else {
        panic!("nothing may travel over a metered network");
    };
    let network = NetworkClass::Metered;
    assert_eq!(reason, WaitingReason::Network { network });
    assert_eq!(hint.networks, [NetworkClass::Unmetered]);
    let (mut windows, mut deadline_ms) = (0, 300);
    let snapshot = loop {
        windows += 1;
        match window(budget(NetworkClass::Unmetered, deadline_ms)).unwrap() {
            WindowOutcome::Done { backup } => match backup {
                BackupOutcome::Published { snapshot, .. } => break snapshot,
                unchanged => panic!("{unchanged:?}"),
            },
            WindowOutcome::MoreToDo { hint, .. } | WindowOutcome::Waiting { hint, .. } => {
                assert!(windows < 1000, "{hint:?}");
                deadline_ms = deadline_ms.max(hint.window_min_ms.unwrap_or(0));
            }
        }
    };
    assert!(windows > 1, "a window of {deadline_ms} ms was enough for 24 MiB");
    assert_eq!(wait(engine.snapshots()).unwrap()[0].id, snapshot);
    wait(engine.unpark()).unwrap();
    assert!(
        wait(engine.hand_off(60_000)).unwrap().is_empty(),
        "all is in the vault"
    );
    let unknown = wait(engine.hand_off_ended("no id".into(), true));
    assert!(matches!(unknown, Err(EngineError::InvalidInput { .. })));
    let request = PruneRequest {
        max_repack_bytes: None,
        max_plan_bytes: None,
        dry_run: true,
    };
    let pruned = wait(engine.prune(request, None)).unwrap();
    assert!(pruned.bytes_used > 24 << 20, "{pruned:?}");
    assert_eq!(pruned.packs_deleted, 0);
    engine.stop_blocking(GRACE_MS).unwrap();
}

#[test]
fn a_staged_restore_is_applied_at_the_next_start_and_can_be_taken_back() {
    let scene = Scene::new();
    let (app, note) = (scene.path("app"), Path::new(&scene.path("app")).join("note"));
    let notes = Path::new(&app).join("notes.db");
    let database = rusqlite::Connection::open(&notes).unwrap();
    database
        .execute_batch(
            "PRAGMA user_version = 7; CREATE TABLE notes (text); INSERT INTO notes VALUES ('old');",
        )
        .unwrap();
    drop(database);
    fs::write(&note, "old").unwrap();
    let engine = scene.open().unwrap();
    wait(engine.backup(scene.request(), None, None)).unwrap();
    fs::write(&note, "new").unwrap();
    // In place: the sources of the snapshot are called `app`.
    let target = scene.dir.path().to_str().unwrap().to_owned();
    let request = RestoreRequest {
        target: target.clone(),
        ..scene.restore("", true)
    };
    assert_eq!(pending_restore(target.clone()).unwrap(), None);
    let summary = wait(engine.restore(request, None)).unwrap();
    assert!(!summary.is_applied);
    assert_eq!(summary.databases[0].user_version, Some(7));
    engine.stop_blocking(GRACE_MS).unwrap();
    let pending = pending_restore(target.clone()).unwrap().unwrap();
    assert_eq!(pending.stage, PendingStage::Staged);
    assert_eq!(fs::read(&note).unwrap(), b"new");
    let accepts = |user_version_max| {
        let path = "app/notes.db".to_owned();
        vec![AcceptedSchema {
            path,
            user_version_max,
            application_id: None,
        }]
    };
    let refused = apply_pending_restore(target.clone(), accepts(6));
    assert!(
        matches!(refused, Err(EngineError::Unsupported { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(&note).unwrap(), b"new");
    let applied = apply_pending_restore(target.clone(), accepts(7)).unwrap();
    assert!(matches!(applied, ApplyResult::Applied { .. }), "{applied:?}");
    assert_eq!(fs::read(&note).unwrap(), b"old");
    assert_eq!(
        apply_pending_restore(target.clone(), accepts(7)).unwrap(),
        ApplyResult::Unconfirmed
    );
    assert!(roll_back_restore(target.clone()).unwrap());
    assert_eq!(fs::read(&note).unwrap(), b"new");
    assert!(!confirm_restore(target).unwrap());
}

fn on(network: NetworkState) -> PhoneConditions {
    PhoneConditions {
        network,
        network_since_ms: None,
        charging: Some(true),
        battery_percent: Some(80),
        low_power_mode: Some(false),
        idle: None,
        thermal: Some(ThermalState::Nominal),
        free_bytes: Some(1 << 40),
        app_in_front: Some(false),
        locked: Some(false),
        asked: false,
        window_left_ms: Some(600_000),
        time_zone: Some("Europe/Berlin".into()),
        standing: None,
    }
}

#[test]
fn what_is_due_is_done_and_what_is_not_is_explained() {
    let scene = Scene::new();
    scene.fill(1);
    let engine = scene.open().unwrap();
    let mut policy = default_policy();
    policy.quiet = vec![QuietHours {
        from: "03:00".into(),
        until: "03:00".into(),
    }];
    let refused = wait(engine.set_policy(policy.clone()));
    assert!(
        matches!(refused, Err(EngineError::InvalidInput { .. })),
        "{refused:?}"
    );
    policy.quiet.clear();
    policy.keep.daily = "7".into();
    wait(engine.set_policy(policy.clone())).unwrap();
    assert_eq!(wait(engine.policy()).unwrap(), policy);

    let due = |conditions| wait(engine.run_due(scene.request(), conditions, false, None, None)).unwrap();
    let away = due(on(NetworkState::Offline));
    assert_eq!((away.ran, away.waits[0].reason.code.as_str()), (None, "offline"));
    let now_ms = away.wakes[0].earliest_ms;
    let work = android_work(now_ms, away.wakes.clone());
    assert_eq!(work[0].network, AndroidNetworkType::Unmetered);
    let tasks = apple_tasks(now_ms, away.wakes, None, "refresh".into(), "processing".into());
    assert_eq!(tasks.len(), 2);
    let done = due(on(NetworkState::Unmetered));
    assert_eq!(done.ran, Some(DueTask::FirstBackup));
    assert_eq!(done.error, None);
    assert!(
        matches!(done.backup, Some(BackupOutcome::Published { .. })),
        "{done:?}"
    );
    let status = wait(engine.status(now_ms, None)).unwrap();
    assert_eq!(status.freshness, BackupFreshness::Fresh);
    let told = wait(engine.explain(now_ms, Some(on(NetworkState::Offline)), None)).unwrap();
    assert_eq!(told.windows.len(), 1);
    assert!(told.windows[0].bytes > 1 << 20, "{told:?}");
    assert_eq!(told.waits[0].reason.code, "not-due");
    assert_eq!(wait(engine.confirm_newborn()).unwrap(), 0);
    engine.stop_blocking(GRACE_MS).unwrap();
}

#[test]
fn a_window_that_is_taken_back_says_why_in_the_journal() {
    let scene = Scene::new();
    scene.fill(64);
    let engine = scene.open().unwrap();
    let (told, events) = mpsc::channel();
    let watching = engine.observe(Arc::new(Watch(told)), 50).unwrap();
    let stop = StopToken::new();
    let outcome = thread::scope(|scope| {
        let window = scope.spawn(|| {
            let request = scene.request();
            wait(engine.run_due(
                request,
                on(NetworkState::Unmetered),
                false,
                None,
                Some(stop.clone()),
            ))
        });
        while !matches!(events.recv().unwrap(), EngineEvent::PackConfirmed { .. }) {}
        stop.stop_because(android_stop_code(10));
        window.join().unwrap().unwrap()
    });
    assert_eq!(outcome.ended.unwrap().code, "stop-quota");
    assert!(outcome.backup.is_none());
    watching.cancel();
    engine.stop_blocking(GRACE_MS).unwrap();
}
