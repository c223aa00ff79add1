//! Tests as somebody who may not read everything, as every app on a phone is.

// What fails here fails a test, loudly.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

const NOBODY: u32 = 65_534;

/// Runs a test of this binary again as somebody else. `false` where that has been done, or nothing need be.
pub fn again_as_nobody(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let room = tempfile::tempdir().unwrap();
    let program = room.path().join("test");
    // By another process: a descriptor of this one that is open for writing may be in a child of another test just then, and
    // what is being written cannot be run.
    let copied = Command::new("cp")
        .arg(env::current_exe().unwrap())
        .arg(&program)
        .status()
        .unwrap();
    assert!(copied.success());
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = Command::new(program)
        .args(["--exact", test])
        .env("TMPDIR", room.path())
        .current_dir(room.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    true
}
