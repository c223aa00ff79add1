//! What cannot be read now keeps the version of the last snapshot, and is reported.

#[path = "scene/nobody.rs"]
mod nobody;
mod scene;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use nobody::again_as_nobody;
use scene::Scene;

#[allow(clippy::unwrap_used, reason = "what fails here fails a test, loudly")]
fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_unreadable_file_keeps_its_last_version_and_is_reported() {
    if again_as_nobody("an_unreadable_file_keeps_its_last_version_and_is_reported") {
        return;
    }
    let scene = Scene::new();
    scene.write("diary", "first");
    scene.write("other", "x");
    scene.backup();
    scene.write("diary", "second version, which nobody gets to see");
    scene.write("never", "read");
    for name in ["diary", "never"] {
        set_mode(&scene.source().join(name), 0o000);
    }
    let report = scene.backup();
    let kept = |name: &str| {
        let path = scene.source().join(name);
        report
            .unreadable
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.kept)
    };
    assert_eq!(report.unreadable_total, 2);
    assert_eq!(kept("diary"), Some(true));
    assert_eq!(kept("never"), Some(false), "there is no version to keep");
    assert_eq!(scene.listing()[Path::new("/app/diary")], 5);
    set_mode(&scene.source().join("diary"), 0o600);
    scene.backup();
    assert_eq!(scene.listing()[Path::new("/app/diary")], 40);
}

#[test]
fn an_unreadable_folder_keeps_all_that_it_held() {
    if again_as_nobody("an_unreadable_folder_keeps_all_that_it_held") {
        return;
    }
    let scene = Scene::new();
    scene.write("album/2026/photo", [7; 5000]);
    scene.write("album/cover", "x");
    scene.backup();
    let before = scene.listing();
    set_mode(&scene.source().join("album"), 0o000);
    let report = scene.backup();
    let after = scene.listing();
    set_mode(&scene.source().join("album"), 0o700);
    assert_eq!((report.unreadable_total, report.unreadable[0].kept), (1, true));
    assert_eq!(before, after);
}
