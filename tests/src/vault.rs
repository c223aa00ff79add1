//! A local vault seen from outside: its files by kind, without opening anything.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A stored file as the file system sees it. Equal facts mean that nobody has written it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub path: PathBuf,
    pub size: u64,
    inode: u64,
    mtime: (i64, i64),
}

/// The kinds of files a repository has; each is the name of its folder, and `config` is a single file.
pub const KINDS: [&str; 5] = ["config", "keys", "snapshots", "index", "data"];

/// The files of one kind by name, temporary ones aside. Files that come and go meanwhile are simply left out.
pub fn files(vault: &Path, kind: &str) -> BTreeMap<String, Stored> {
    let mut found = BTreeMap::new();
    if kind == "config" {
        collect(&vault.join("config"), &mut found);
        return found;
    }
    let mut folders = vec![vault.join(kind)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => collect(&entry.path(), &mut found),
                Err(_) => {}
            }
        }
    }
    found
}

fn collect(path: &Path, found: &mut BTreeMap<String, Stored>) {
    let name = path
        .file_name()
        .expect("a file has a name")
        .to_string_lossy()
        .into_owned();
    let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Ok(meta) = fs::symlink_metadata(path) else {
        return;
    };
    if is_id || name == "config" {
        let (inode, mtime) = (meta.ino(), (meta.mtime(), meta.mtime_nsec()));
        found.insert(
            name,
            Stored {
                path: path.to_owned(),
                size: meta.len(),
                inode,
                mtime,
            },
        );
    }
}

pub fn packs(vault: &Path) -> BTreeMap<String, Stored> {
    files(vault, "data")
}

pub fn locks(vault: &Path) -> BTreeMap<String, Stored> {
    files(vault, "locks")
}

pub fn bytes(files: &BTreeMap<String, Stored>) -> u64 {
    files.values().map(|file| file.size).sum()
}
