//! Disks that fill up while a backup runs: told with their place, and nothing is lost.

#[path = "scene/mounted.rs"]
mod mounted;
mod scene;

use std::{fs, path::Path, time::Duration};

use lifeboat::{CheckJob, Kind, Place};
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

#[allow(clippy::unwrap_used, reason = "what fails here fails a test, loudly")]
fn copy(from: &Path, to: &Path) {
    for path in scene::files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}
