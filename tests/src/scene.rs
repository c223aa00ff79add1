//! A temporary place with a vault, a source and room for copies and restores.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{Lifeboat, Restic, process::run};

/// The password of every vault made here, unless a test is about passwords.
pub const PASSWORD: &str = "a password only for tests";

/// The host name in every snapshot made here: both programs must agree on it to find each other's snapshots.
pub const HOST: &str = "lifeboat-tests";

/// Removed when dropped, with everything in it.
pub struct Scene {
    dir: TempDir,
}

impl Scene {
    #[expect(
        clippy::new_without_default,
        reason = "it makes a folder: not a value to have by default"
    )]
    pub fn new() -> Self {
        Self {
            dir: tempfile::Builder::new()
                .prefix("lifeboat-tests-")
                .tempdir()
                .expect("a temporary folder"),
        }
    }

    /// A path in the scene; nothing is made.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn vault(&self) -> PathBuf {
        self.path("vault")
    }

    pub fn source(&self) -> PathBuf {
        self.path("source")
    }

    /// The program under test on the scene's vault.
    pub fn lifeboat(&self) -> Lifeboat {
        Lifeboat::new(&self.vault(), &self.path("state"))
    }

    /// A current restic on the scene's vault.
    pub fn restic(&self) -> Restic {
        Restic::current(&self.vault())
    }

    /// An old restic on the scene's vault.
    pub fn restic_old(&self) -> Restic {
        Restic::old(&self.vault())
    }

    /// A copy of everything below `from`, as exact as coreutils make one.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        copy_exactly(from, &to);
        to
    }
}

/// `to` must not exist.
pub fn copy_exactly(from: &Path, to: &Path) {
    assert!(!to.exists(), "{to:?} exists");
    run(Command::new("cp").arg("-a").arg("--").arg(from).arg(to)).ok();
}

/// Where `path` is found below the target of a restore: restic keeps the whole absolute path, and so do we.
pub fn restored(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").expect("sources are absolute"))
}

/// Paths given to programs are made here, so they are UTF-8; what lies below them need not be.
pub fn utf8(path: &Path) -> &str {
    path.to_str()
        .expect("the folder for temporary files has a UTF-8 name")
}
