//! Vaults that refuse, are full, are busy, go away, lose packs; and devices that sleep.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lifeboat::{Budget, Error, Kind, Outcome, Place, Retry, Waiting, format::FileType};

use super::{
    LONG, STOP, SleepyClock, assert_clean, done,
    faulty::{Asked, Faulty},
    open, open_sleepy,
    scene::{Scene, files, noise, wait},
    window,
};

fn scene_of(megabytes: u64) -> Scene {
    let scene = Scene::new();
    for n in 0..megabytes {
        scene.write(&format!("{n:03}.bin"), noise(2 * n + 1, 1 << 20));
    }
    scene
}

fn refuse_packs(vault: &Faulty, kind: Kind) {
    vault.fail(move |asked, file| {
        (asked == Asked::Put && file == FileType::Pack).then(|| Error::new(kind, "refused"))
    });
}

#[test]
fn a_refusal_parks_the_run_until_the_credentials_change() {
    let scene = scene_of(12);
    let vault = Faulty::new(scene.vault());
    refuse_packs(&vault, Kind::AccessDenied);
    let engine = open(&scene, &vault);
    let before = vault.sent();
    match window(&engine, &scene, Budget::of(LONG)) {
        Outcome::Failed { error, retry } => {
            assert_eq!((error.kind(), retry), (Kind::AccessDenied, Retry::AfterUserActs));
        }
        other => panic!("{other:?}"),
    }
    let tried = (vault.sent() - before).div_ceil(1 << 20);
    assert!(tried <= 4, "{tried} packs were tried, though all are refused");
    engine.stop(STOP).unwrap();
    // Also a new process knows, and asks the vault nothing.
    let engine = open(&scene, &vault);
    vault.take_requests();
    for _ in 0..3 {
        match window(&engine, &scene, Budget::of(LONG)) {
            Outcome::Waiting {
                reason: Waiting::Parked { kind, text, .. },
                hint,
            } => {
                assert_eq!(kind, Kind::AccessDenied);
                assert!(text.contains("refused") && hint.not_before > Duration::from_secs(60));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(vault.take_requests(), []);
    vault.heal();
    vault.credentials.store(1, Ordering::Relaxed);
    done(window(&engine, &scene, Budget::of(LONG)));
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

#[test]
fn a_full_vault_parks_the_run_until_somebody_says_that_something_changed() {
    let scene = scene_of(6);
    let vault = Faulty::new(scene.vault());
    refuse_packs(&vault, Kind::OutOfSpace(Place::Vault));
    let engine = open(&scene, &vault);
    let full = window(&engine, &scene, Budget::of(LONG));
    assert!(
        matches!(
            full,
            Outcome::Failed {
                retry: Retry::AfterUserActs,
                ..
            }
        ),
        "{full:?}"
    );
    vault.take_requests();
    vault.credentials.store(1, Ordering::Relaxed);
    let parked = window(&engine, &scene, Budget::of(LONG));
    assert!(
        matches!(
            parked,
            Outcome::Waiting {
                reason: Waiting::Parked { .. },
                ..
            }
        ),
        "{parked:?}"
    );
    assert_eq!(vault.take_requests(), []);
    vault.heal();
    wait(engine.unpark()).unwrap();
    done(window(&engine, &scene, Budget::of(LONG)));
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

#[test]
fn a_vault_that_is_away_is_tried_a_few_times_and_the_next_window_waits_longer() {
    let scene = scene_of(3);
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    refuse_packs(&vault, Kind::Unreachable);
    let mut waits = vec![];
    for _ in 0..4 {
        vault.take_requests();
        match window(&engine, &scene, Budget::of(LONG)) {
            Outcome::Waiting {
                reason: Waiting::Unreachable(error),
                hint,
            } => {
                assert!(error.to_string().contains("refused"), "{error}");
                waits.push(hint.not_before);
            }
            other => panic!("{other:?}"),
        }
        let requests = vault.take_requests().len();
        assert!(requests <= 30, "{requests} requests in one window");
    }
    assert!(waits[3] >= Duration::from_secs(120), "{waits:?}");
    vault.heal();
    done(window(&engine, &scene, Budget::of(LONG)));
    engine.stop(STOP).unwrap();
}

#[test]
fn what_a_busy_vault_asks_for_is_obeyed_and_never_waited_for_beyond_the_window() {
    let scene = scene_of(3);
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    let asks = Arc::new(Mutex::new((Duration::from_millis(400), Vec::<Instant>::new())));
    let noted = asks.clone();
    vault.fail(move |asked, kind| {
        let mut asks = noted.lock().unwrap();
        if asked != Asked::Put || kind != FileType::Pack {
            return None;
        }
        asks.1.push(Instant::now());
        let wait = asks.0;
        (asks.1.len() == 1).then(|| Error::new(Kind::Unreachable, "busy").with_retry_after(Some(wait)))
    });
    done(window(&engine, &scene, Budget::of(LONG)));
    let times = std::mem::take(&mut *asks.lock().unwrap());
    // The very first request is alone, since nothing is known of the link: all others come after the wait.
    for later in &times.1[1..] {
        assert!(later.duration_since(times.1[0]) >= times.0);
    }
    asks.lock().unwrap().0 = Duration::from_secs(3600);
    scene.write("new", noise(99, 1 << 20));
    match window(&engine, &scene, Budget::of(Duration::from_secs(60))) {
        Outcome::Waiting {
            reason: Waiting::Unreachable(_),
            hint,
        } => assert!(hint.not_before >= Duration::from_secs(3600), "{hint:?}"),
        other => panic!("{other:?}"),
    }
    engine.stop(STOP).unwrap();
}

#[test]
fn what_the_vault_loses_between_windows_is_sealed_again() {
    let scene = scene_of(10);
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    let failing = AtomicU64::new(0);
    // Some packs arrive, then the vault is away.
    vault.fail(move |asked, kind| {
        let is_pack = asked == Asked::Put && kind == FileType::Pack;
        let away = is_pack && failing.fetch_add(1, Ordering::Relaxed) >= 4;
        away.then(|| Error::new(Kind::Unreachable, "away"))
    });
    window(&engine, &scene, Budget::of(LONG));
    vault.heal();
    let there = files(&scene.vault().join("data"));
    assert!(there.len() >= 3, "{}", there.len());
    // As a prune does: no index names them.
    for pack in there {
        fs::remove_file(pack).unwrap();
    }
    done(window(&engine, &scene, Budget::of(LONG)));
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

#[test]
fn a_window_that_was_slept_through_is_over() {
    let scene = scene_of(8);
    let vault = Faulty::new(scene.vault());
    vault.link(Duration::from_millis(5), 100 << 10);
    let clock = Arc::new(SleepyClock::default());
    let engine = open_sleepy(&scene, &vault, &clock);
    let asleep = clock.clone();
    vault.fail(move |asked, kind| {
        if asked == Asked::Put && kind == FileType::Pack {
            asleep.sleep(7200);
        }
        None
    });
    let outcome = window(&engine, &scene, Budget::of(Duration::from_secs(3600)));
    assert!(matches!(outcome, Outcome::MoreToDo(_)), "{outcome:?}");
    engine.stop(STOP).unwrap();
}

/// The request that was on its way is dead. The test's vault never answers it; if the engine waited for it, so would the test.
#[test]
fn requests_from_before_a_freeze_are_begun_anew() {
    let scene = scene_of(2);
    let vault = Faulty::new(scene.vault());
    let clock = Arc::new(SleepyClock::default());
    let engine = open_sleepy(&scene, &vault, &clock);
    // A megabyte takes days.
    vault.link(Duration::ZERO, 1);
    let (asleep, link) = (clock.clone(), Arc::downgrade(&vault));
    let mut puts = 0;
    vault.fail(move |asked, kind| {
        if asked == Asked::Put && kind == FileType::Pack {
            puts += 1;
            if puts == 1 {
                asleep.sleep(600);
            } else {
                link.upgrade().unwrap().unlimited();
            }
        }
        None
    });
    done(window(&engine, &scene, Budget::of(Duration::from_secs(3600))));
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

/// Frozen between the last look at the vault and the snapshot: a prune has run meanwhile, and its lock with ours are gone.
#[test]
fn a_snapshot_that_was_written_after_a_freeze_is_taken_back_if_something_is_gone() {
    let scene = scene_of(3);
    let vault = Faulty::new(scene.vault());
    let clock = Arc::new(SleepyClock::default());
    let engine = open_sleepy(&scene, &vault, &clock);
    let (asleep, data, index) = (
        clock.clone(),
        scene.vault().join("data"),
        scene.vault().join("index"),
    );
    let mut snapshots = 0;
    vault.fail(move |asked, kind| {
        if asked == Asked::Put && kind == FileType::Snapshot {
            snapshots += 1;
            if snapshots == 1 {
                asleep.sleep(3600);
                for file in files(&index).into_iter().chain(files(&data)) {
                    fs::remove_file(file).unwrap();
                }
            }
        }
        None
    });
    let outcome = window(&engine, &scene, Budget::of(Duration::from_secs(7200)));
    let report = done(outcome);
    let listed: Vec<_> = wait(engine.snapshots())
        .unwrap()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(listed, [report.snapshot.unwrap()], "the first one was taken back");
    assert_eq!(files(&scene.vault().join("snapshots")).len(), 1);
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

/// As `unlock --remove-all` of another client would: a publication whose lock is gone looks again before it says anything.
#[test]
fn a_lock_that_somebody_removed_is_noticed_before_the_snapshot() {
    let scene = scene_of(3);
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    let (locks, data) = (scene.vault().join("locks"), scene.vault().join("data"));
    let mut indexes = 0;
    // Before the index is there: a prune deletes what no index names. The index that then names it has to go, too.
    vault.fail(move |asked, kind| {
        if asked == Asked::Put && kind == FileType::Index {
            indexes += 1;
            if indexes == 1 {
                for file in files(&locks).into_iter().chain(files(&data)) {
                    fs::remove_file(file).unwrap();
                }
            }
        }
        None
    });
    done(window(&engine, &scene, Budget::of(LONG)));
    assert_eq!(files(&scene.vault().join("snapshots")).len(), 1);
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}
