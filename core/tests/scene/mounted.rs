//! Tests on file systems of their own size. Mounting needs root and a namespace of its own.

// What fails here fails a test, loudly.
#![allow(clippy::unwrap_used)]

use std::{env, fs, path::Path, process::Command};

const MOUNTED: &str = "LIFEBOAT_TEST_MOUNTED";

/// Runs a test of this binary again where mounts are its own. `false` in that run.
pub fn again_with_mounts(test: &str) -> bool {
    if env::var_os(MOUNTED).is_some() {
        return false;
    }
    let can = Command::new("unshare")
        .args(["--mount", "true"])
        .status()
        .is_ok_and(|status| status.success());
    // On a machine of one's own that is a case not tested; where everything is to be tested, it is a failure.
    assert!(
        can || env::var_os("CI").is_none(),
        "no mounts of our own: this needs root and `unshare`"
    );
    if can {
        let output = Command::new("unshare")
            .arg("--mount")
            .arg(env::current_exe().unwrap())
            .args(["--exact", test])
            .env(MOUNTED, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
    true
}

pub fn mount(path: &Path, size: &str) {
    fs::create_dir_all(path).unwrap();
    let size = format!("size={size}");
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &size, "none"])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Gives a mounted file system more room.
pub fn grow(path: &Path, size: &str) {
    let size = format!("remount,size={size}");
    let status = Command::new("mount")
        .args(["-o", &size])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}
