//! Packs that the operating system sends.

use std::{fs, sync::Arc, time::Duration};

use lifeboat::{
    Allowances, Budget, HandOff, Kind, NetworkClass, Outcome, Waiting,
    format::{FileId, FileType},
    storage::{Body, LocalStorage, Storage},
};

use super::{
    LONG, STOP, SleepyClock, assert_clean, done,
    faulty::{Asked, Faulty},
    open, open_sleepy,
    scene::{Scene, noise, wait},
    window,
};

const HOUR: Duration = Duration::from_secs(3600);

fn scene_of_packs() -> Scene {
    let scene = Scene::new();
    for n in 0..40 {
        scene.write(&format!("{n:02}.bin"), noise(2 * n + 1, 200_000));
    }
    scene
}

/// What the operating system would do with it.
fn send(scene: &Scene, pack: &HandOff) {
    assert_eq!(fs::metadata(&pack.file).unwrap().len(), pack.size);
    assert!(pack.request.url.contains(&pack.pack.to_string()));
    assert!(!format!("{pack:?}").contains("secret"), "{pack:?}");
    let body = Body::File {
        path: pack.file.clone(),
        size: pack.size,
    };
    let id = FileId::from(pack.pack);
    let vault = LocalStorage::new(scene.vault());
    // As through the network, where the vault has a file of its own.
    let bytes = fs::read(&pack.file).unwrap();
    assert_eq!(body.size(), bytes.len() as u64);
    wait(vault.put(FileType::Pack, &id, Body::Bytes(bytes.into()))).unwrap();
}

/// Seals everything, and sends hardly anything itself.
fn seal_only(engine: &lifeboat::Engine, scene: &Scene) {
    let budget = Budget {
        allowances: Allowances {
            metered: Some(600_000),
            ..Allowances::UNMETERED_ONLY
        },
        network: NetworkClass::Metered,
        ..Budget::of(LONG)
    };
    match window(engine, scene, budget) {
        Outcome::MoreToDo(more) => assert!(more.all_sealed && more.packs > 5, "{more:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn outcomes_come_in_any_order_twice_or_never_and_nothing_is_named_that_was_not_seen() {
    let scene = scene_of_packs();
    let vault = Faulty::that_signs(scene.vault());
    let engine = open(&scene, &vault);
    seal_only(&engine, &scene);
    let packs = wait(engine.hand_off(HOUR)).unwrap();
    assert!(packs.len() > 5);
    assert_eq!(wait(engine.hand_off(HOUR)).unwrap().len(), 0, "all are out");
    engine.stop(STOP).unwrap();

    let engine = open(&scene, &vault);
    // Backwards; the first one is never heard of, though it arrives; of the second one it is said that it arrived, though it did not.
    for (n, pack) in packs.iter().enumerate().rev() {
        if n != 1 {
            send(&scene, pack);
        }
        if n > 0 {
            wait(engine.hand_off_ended(pack.pack, true)).unwrap();
            wait(engine.hand_off_ended(pack.pack, true)).unwrap();
        }
    }
    let sent = vault.sent();
    let report = done(window(&engine, &scene, Budget::of(LONG)));
    assert!(report.snapshot.is_some());
    let ours = vault.sent() - sent;
    assert!(
        ours >= packs[1].size && ours < packs[1].size + 100_000,
        "{ours} bytes of our own: only the one that never arrived, index, lock and snapshot"
    );
    wait(engine.hand_off_ended(packs[2].pack, false)).unwrap();
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

#[test]
fn what_is_out_is_waited_for_and_what_failed_or_was_forgotten_is_sent() {
    let scene = scene_of_packs();
    let vault = Faulty::that_signs(scene.vault());
    let clock = Arc::new(SleepyClock::default());
    let engine = open_sleepy(&scene, &vault, &clock);
    seal_only(&engine, &scene);
    let packs = wait(engine.hand_off(HOUR)).unwrap();
    let sent = vault.sent();
    match window(&engine, &scene, Budget::of(LONG)) {
        Outcome::Waiting {
            reason: Waiting::HandedOff,
            ..
        } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(vault.sent(), sent, "not one byte beside the other sender");
    let named = vault.take_requests();
    let published = [(Asked::Put, FileType::Index), (Asked::Put, FileType::Snapshot)];
    assert!(published.iter().all(|put| !named.contains(put)), "{named:?}");
    for pack in &packs {
        wait(engine.hand_off_ended(pack.pack, false)).unwrap();
    }
    // Out again, and never heard of.
    let again = wait(engine.hand_off(HOUR)).unwrap();
    assert_eq!(again.len(), packs.len());
    clock.sleep(2 * HOUR.as_secs());
    done(window(&engine, &scene, Budget::of(LONG)));
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}

#[test]
fn a_vault_without_such_requests_says_so() {
    let scene = scene_of_packs();
    let vault = Faulty::new(scene.vault());
    let engine = open(&scene, &vault);
    seal_only(&engine, &scene);
    let refused = wait(engine.hand_off(HOUR)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported);
    done(window(&engine, &scene, Budget::of(LONG)));
    engine.stop(STOP).unwrap();
}
