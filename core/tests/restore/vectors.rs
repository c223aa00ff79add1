//! Repositories that real restic wrote.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    time::Duration,
};

use lifeboat::{RestoreJob, Unlock, format::sha256};
use serde_json::Value;

use crate::support::{block_on, open};

fn vectors() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn restore(name: &str, snapshot: &str, dir: &Path) {
    let vault = dir.join("vault");
    copy(&vectors().join(name).join("repo"), &vault);
    let engine = open(
        &vault,
        &dir.join("state"),
        Unlock::Password("test".to_owned().into()),
    );
    let job = RestoreJob {
        snapshot: snapshot.into(),
        target: dir.join("target"),
        ..RestoreJob::default()
    };
    let report = block_on(engine.restore(job, Default::default())).unwrap();
    assert_eq!(report.warnings, []);
    engine.stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn what_restic_backed_up_is_restored_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    restore("repo-basic", "latest", dir.path());
    let manifest = fs::read(vectors().join("repo-basic/source-manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let target = dir.path().join("target");
    for entry in manifest.as_array().unwrap() {
        let name = hex::decode(entry["path_hex"].as_str().unwrap()).unwrap();
        let path = target.join(std::ffi::OsStr::from_bytes(&name));
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let mode = entry["st_mode_octal"].as_str().unwrap();
        assert_eq!(format!("{:#o}", meta.mode()), mode, "{path:?}");
        let mtime = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
        assert_eq!(mtime, entry["mtime_ns"].as_i64().unwrap(), "{path:?}");
        if let Some(sha) = entry["sha256"].as_str() {
            let content = fs::read(&path).unwrap();
            assert_eq!(hex::encode(sha256(&content)), sha, "{path:?}");
            assert_eq!(content.len() as u64, entry["size"].as_u64().unwrap());
            assert_eq!(meta.nlink(), entry["nlink"].as_u64().unwrap(), "{path:?}");
        }
        if let Some(link) = entry["linktarget_hex"].as_str() {
            assert_eq!(
                hex::encode(fs::read_link(&path).unwrap().as_os_str().as_bytes()),
                link
            );
        }
    }
    // The source had a pipe, too, which the manifest may leave out.
    let restored = crate::support::tree(&target);
    let listed = manifest.as_array().unwrap().len();
    let others = restored
        .values()
        .filter(|entry| entry.mode & 0o170_000 == 0o010_000)
        .count();
    assert_eq!(restored.len(), listed + others);
}

#[test]
fn uncompressed_packs_and_older_snapshots_are_restored() {
    for snapshot in ["69c9", "a0ff", "latest"] {
        let dir = tempfile::tempdir().unwrap();
        restore("repo-second", snapshot, dir.path());
        assert!(!crate::support::tree(&dir.path().join("target")).is_empty());
    }
}
