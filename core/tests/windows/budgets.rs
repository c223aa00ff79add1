//! What windows cost, and that their budgets are hard.

use std::{sync::atomic::Ordering, time::Duration};

use lifeboat::{Allowances, Budget, LockPolicy, NetworkClass, Outcome, Waiting, format::FileType};
use tokio_util::sync::CancellationToken;

use super::{
    LONG, STOP, assert_clean, done,
    faulty::{Asked, Faulty},
    open,
    scene::{Scene, files, noise, wait},
    window,
};

const FILES: u64 = 1000;
const FILE_BYTES: usize = 64 << 10;

fn plant(scene: &Scene, number: u64, bytes: usize) {
    for n in 0..number {
        scene.write(&format!("{}/{n:04}.bin", n / 100), noise(2 * n + 1, bytes));
    }
}

fn metered(bytes: u64) -> Budget {
    Budget {
        allowances: Allowances {
            metered: Some(bytes),
            ..Allowances::UNMETERED_ONLY
        },
        network: NetworkClass::Metered,
        ..Budget::of(LONG)
    }
}

/// Each window may send little more than the smallest of packs, and the engine is opened anew all the time.
#[test]
fn a_backup_in_hundreds_of_windows_costs_hardly_more_than_in_one() {
    let (scene, whole) = (Scene::new(), Scene::new());
    plant(&scene, FILES, FILE_BYTES);
    plant(&whole, FILES, FILE_BYTES);
    let reference = Faulty::new(whole.vault());
    let engine = open(&whole, &reference);
    done(window(&engine, &whole, Budget::of(LONG)));
    engine.stop(STOP).unwrap();

    let vault = Faulty::new(scene.vault());
    let (allowance, mut windows, mut most_requests) = (700_000, 0, 0);
    let report = 'run: loop {
        let engine = open(&scene, &vault);
        for _ in 0..7 {
            windows += 1;
            assert!(windows < 1000, "does not converge");
            vault.take_requests();
            let before = vault.sent();
            let outcome = window(&engine, &scene, metered(allowance));
            let sent = vault.sent() - before;
            assert!(sent <= allowance, "window {windows} sent {sent} of {allowance}");
            most_requests = most_requests.max(vault.take_requests().len());
            match outcome {
                Outcome::Done(report) => {
                    engine.stop(STOP).unwrap();
                    break 'run *report;
                }
                Outcome::MoreToDo(more) => assert!(more.bytes > 0 || !more.all_sealed),
                other => panic!("window {windows}: {other:?}"),
            }
        }
        if windows % 2 == 0 {
            engine.stop(STOP).unwrap();
        }
    };
    let (once, often) = (reference.sent(), vault.sent());
    let more = (often as f64 / once as f64 - 1.0) * 100.0;
    println!(
        "{windows} windows: {often} bytes, {more:.2} % more than {once}; at most {most_requests} requests in one"
    );
    assert!(windows > 100, "{windows} windows only");
    assert!(often <= once + once / 50, "{more:.2} % more");
    assert!(most_requests <= 16, "{most_requests} requests in one window");
    assert_eq!((report.stats.files_new, report.stats.files_total), (FILES, FILES));
    assert_eq!(report.stats.files_unmodified, 0, "counted over all windows");
    let engine = open(&scene, &vault);
    assert_clean(&engine, &scene);
    assert!(files(&scene.state().join("spool")).is_empty());
    engine.stop(STOP).unwrap();
}

/// Pieces of a large file are longer than a window of a megabyte can send: also those that were sealed when there was more room, and cannot be divided.
#[test]
fn large_files_fit_into_windows_that_are_smaller_than_their_pieces() {
    let (scene, whole) = (Scene::new(), Scene::new());
    let bytes = 12 << 20;
    for (number, scene) in [(1, &scene), (2, &scene), (1, &whole), (2, &whole)] {
        scene.write(&format!("{number}.mp4"), noise(number, bytes));
    }
    let reference = Faulty::new(whole.vault());
    let engine = open(&whole, &reference);
    done(window(&engine, &whole, Budget::of(LONG)));
    engine.stop(STOP).unwrap();

    let vault = Faulty::new(scene.vault());
    let (mut windows, mut last) = (0, None);
    loop {
        let engine = open(&scene, &vault);
        windows += 1;
        assert!(windows < 200, "does not converge: {last:?}");
        // At first there is more room, and so long pieces are sealed ahead.
        let allowance = if windows < 3 { 4_000_000 } else { 1_000_000 };
        let before = vault.sent();
        let outcome = window(&engine, &scene, metered(allowance));
        assert!(vault.sent() - before <= allowance);
        engine.stop(STOP).unwrap();
        match outcome {
            Outcome::Done(_) => break,
            Outcome::MoreToDo(more) => last = Some(more),
            other => panic!("{other:?}"),
        }
    }
    let (once, often) = (reference.sent(), vault.sent());
    let more = (often as f64 / once as f64 - 1.0) * 100.0;
    println!("{windows} windows: {often} bytes, {more:.2} % more than {once}");
    assert!(windows > 15, "{windows} windows only");
    assert!(often <= once + once / 50, "{more:.2} % more");
    let engine = open(&scene, &vault);
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

/// Packs sealed for a link without a limit must be divided for one that has little; indexes, snapshots and locks count as well.
#[test]
fn not_one_byte_goes_beyond_an_allowance_whatever_was_sealed_before() {
    let scene = Scene::new();
    plant(&scene, 400, FILE_BYTES);
    let vault = Faulty::new(scene.vault());
    // What is sealed on a fast link, and cannot be sent.
    vault.fail(|asked, kind| {
        let unreachable = || lifeboat::Error::new(lifeboat::Kind::Unreachable, "away");
        (asked == Asked::Put && kind == FileType::Pack).then(unreachable)
    });
    let engine = open(&scene, &vault);
    let away = window(&engine, &scene, Budget::of(LONG));
    assert!(
        matches!(
            away,
            Outcome::Waiting {
                reason: Waiting::Unreachable(_),
                ..
            }
        ),
        "{away:?}"
    );
    vault.heal();
    let mut windows = 0;
    loop {
        windows += 1;
        assert!(windows < 200, "does not converge");
        let allowance = [600_000, 1_200_000, 30_000][windows % 3];
        let before = vault.sent();
        let outcome = window(&engine, &scene, metered(allowance));
        assert!(vault.sent() - before <= allowance);
        match outcome {
            Outcome::Done(_) => break,
            Outcome::MoreToDo(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

#[test]
fn roaming_is_a_class_of_its_own_and_nothing_allowed_is_not_one_request() {
    let scene = Scene::new();
    plant(&scene, 5, 1000);
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    vault.take_requests();
    let roaming = Budget {
        network: NetworkClass::Roaming,
        ..metered(1 << 30)
    };
    match window(&engine, &scene, roaming) {
        Outcome::Waiting {
            reason: Waiting::Network(NetworkClass::Roaming),
            hint,
        } => assert_eq!(hint.networks, [NetworkClass::Unmetered, NetworkClass::Metered]),
        other => panic!("{other:?}"),
    }
    let short = window(&engine, &scene, Budget::of(Duration::from_millis(10)));
    assert!(
        matches!(
            short,
            Outcome::Waiting {
                reason: Waiting::WindowTooShort,
                ..
            }
        ),
        "{short:?}"
    );
    assert_eq!(vault.take_requests(), []);
    done(window(&engine, &scene, Budget::of(LONG)));
    engine.stop(STOP).unwrap();
}

#[test]
fn requests_are_few_where_little_or_nothing_changed() {
    let scene = Scene::new();
    plant(&scene, 20, 1000);
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    let mut job = scene.job();
    job.skip_if_unchanged = true;
    let run = |lock| {
        vault.take_requests();
        let budget = Budget {
            lock,
            ..Budget::of(LONG)
        };
        let report = done(wait(engine.run_window(job.clone(), budget)));
        (vault.take_requests(), report)
    };
    run(LockPolicy::WhenShared);
    let (unchanged, report) = run(LockPolicy::WhenShared);
    assert_eq!(report.snapshot, None);
    let listings = [FileType::Lock, FileType::Snapshot, FileType::Index].map(|kind| (Asked::List, kind));
    assert_eq!(unchanged, listings);

    scene.write("0/0003.bin", b"changed");
    let (alone, report) = run(LockPolicy::Never);
    assert!(report.snapshot.is_some());
    assert!(alone.iter().all(|(_, kind)| *kind != FileType::Lock), "{alone:?}");
    assert!(alone.len() <= 8, "{} requests: {alone:?}", alone.len());
    scene.write("0/0003.bin", b"changed again");
    let (shared, _) = run(LockPolicy::WhenShared);
    println!(
        "requests: {} unchanged, {} of a change alone, {} of one with a lock",
        unchanged.len(),
        alone.len(),
        shared.len()
    );
    assert!(shared.len() <= 15, "{shared:?}");
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

#[test]
fn a_tree_that_is_complete_is_published_later_without_another_walk() {
    let scene = Scene::new();
    plant(&scene, 60, FILE_BYTES);
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    // Less than all there is to send, more than a pack.
    let first = window(&engine, &scene, metered(2_000_000));
    match first {
        Outcome::MoreToDo(more) => assert!(more.all_sealed && more.packs > 0, "{more:?}"),
        other => panic!("{other:?}"),
    }
    scene.write("0/later", b"not in this snapshot");
    engine.stop(STOP).unwrap();
    let engine = open(&scene, &vault);
    let report = done(window(&engine, &scene, Budget::of(LONG)));
    assert_eq!(report.stats.files_total, 60);
    assert_clean(&engine, &scene);
    // The same job again is another run.
    let report = done(window(&engine, &scene, Budget::of(LONG)));
    assert_eq!((report.stats.files_new, report.stats.files_total), (1, 61));
    engine.stop(STOP).unwrap();
}

#[test]
fn another_job_is_another_run_and_uses_what_is_sealed() {
    let scene = Scene::new();
    plant(&scene, 60, FILE_BYTES);
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    window(&engine, &scene, metered(1_000_000));
    let sent = vault.sent();
    let mut job = scene.job();
    job.tags = vec!["other".into()];
    done(wait(engine.run_window(job, Budget::of(LONG))));
    assert!(
        vault.sent.load(Ordering::Relaxed) < 60 * FILE_BYTES as u64 + 200_000,
        "{sent} bytes were sent before, and again"
    );
    // A backup outside of windows takes what they left, too.
    wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}
