//! Disks that fill up while a backup runs: told with their place, and nothing is lost.

#[path = "scene/mounted.rs"]
mod mounted;
mod scene;

use std::{fs, path::Path, time::Duration};

use lifeboat::{CheckJob, Kind, Place, limits};
use mounted::{again_with_mounts, grow, mount};
use scene::{Scene, noise, wait};
use tokio_util::sync::CancellationToken;

const STOP: Duration = Duration::from_secs(10);

/// Runs one backup onto full disks, makes room, and expects the next to complete.
#[allow(clippy::unwrap_used, reason = "what fails here fails a test, loudly")]
fn fills_and_goes_on(scene: &Scene, full: &Path, place: Place) {
    for n in 0..12 {
        scene.write(&format!("{n}.bin"), noise(n + 1, 2 << 20));
    }
    let engine = scene.open();
    let error = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap_err();
    assert_eq!(error.kind(), Kind::OutOfSpace(place), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    grow(full, "100m");
    let report = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    assert!(report.snapshot.is_some());
    let check = wait(engine.check(CheckJob { read_data: true }, CancellationToken::new())).unwrap();
    assert!(check.is_clean(), "{:?}", check.findings);
    engine.stop(STOP).unwrap();
    assert_eq!(scene.listing().len(), 13);
}

#[test]
fn a_full_vault_is_told_and_goes_on_when_there_is_room() {
    if again_with_mounts("a_full_vault_is_told_and_goes_on_when_there_is_room") {
        return;
    }
    let scene = Scene::new();
    // The repository that is there is moved onto the small disk.
    let aside = scene.dir.path().join("aside");
    fs::rename(scene.vault(), &aside).unwrap();
    mount(&scene.vault(), "10m");
    copy(&aside, &scene.vault());
    fills_and_goes_on(&scene, &scene.vault(), Place::Vault);
}

#[test]
fn a_full_spool_is_told_and_goes_on_when_there_is_room() {
    if again_with_mounts("a_full_spool_is_told_and_goes_on_when_there_is_room") {
        return;
    }
    let scene = Scene::new();
    mount(&scene.state(), "3m");
    fills_and_goes_on(&scene, &scene.state(), Place::State);
}

#[test]
#[allow(clippy::unwrap_used, reason = "what fails here fails a test, loudly")]
fn the_spool_leaves_the_app_its_reserve() {
    const MIB: u64 = 1 << 20;
    if again_with_mounts("the_spool_leaves_the_app_its_reserve") {
        return;
    }
    let scene = Scene::new();
    mount(&scene.state(), "240m");
    let reserve = 240 * MIB / limits::DISK_RESERVE_SHARE;
    let free = || {
        let stat = rustix::fs::statvfs(scene.state()).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    for n in 0..12 {
        scene.write(&format!("{n}.bin"), noise(n + 1, 2 << 20));
    }
    let engine = scene.open();
    // The app's own files have grown into what is kept free for them, and go on growing.
    let of_app = scene.state().join("of-the-app");
    let app = fs::File::create(&of_app).unwrap();
    let bytes = free() - reserve + MIB;
    rustix::fs::fallocate(&app, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
    let error = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap_err();
    assert_eq!(error.kind(), Kind::OutOfSpace(Place::State), "{error}");
    assert!(error.to_string().contains("reserve"), "{error}");
    // One pack is written before it is known how long it is.
    let pack = limits::PACK_TARGET_BYTES + limits::CHUNK_MAX_BYTES as u64;
    assert!(free() > reserve - MIB - pack, "{} bytes are free", free());

    drop(app);
    fs::remove_file(&of_app).unwrap();
    let report = wait(engine.backup(scene.job(), CancellationToken::new())).unwrap();
    assert!(report.snapshot.is_some());
    let check = wait(engine.check(CheckJob { read_data: true }, CancellationToken::new())).unwrap();
    assert!(check.is_clean(), "{:?}", check.findings);
    engine.stop(STOP).unwrap();
}

#[allow(clippy::unwrap_used, reason = "what fails here fails a test, loudly")]
fn copy(from: &Path, to: &Path) {
    for path in scene::files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}
