//! Changes to a planted tree, as people and apps make them between two backups.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

use super::planter::{set_mode, set_mtime, sorted_names};
use crate::Rng;

/// A number of random changes.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub seed: u64,
    pub steps: usize,
    /// Whether names may disappear: deletions, renames, and files that become folders.
    pub removals: bool,
}

impl Mutation {
    /// Changes the tree below `root`; a line for each change, for the person who looks at a failure.
    pub fn apply(&self, root: &Path) -> Vec<String> {
        let mut rng = Rng::new(self.seed);
        (0..self.steps)
            .map(|step| self.step(root, step, &mut rng))
            .collect()
    }

    fn step(&self, root: &Path, step: usize, rng: &mut Rng) -> String {
        let (files, folders) = writable_files_and_folders(root);
        let fresh = rng.pick(&folders).join(format!("new-{}-{step}", self.seed));
        if files.is_empty() {
            return add_file(&fresh, rng);
        }
        let file = rng.pick(&files).clone();
        match rng.below(if self.removals { 13 } else { 9 }) {
            0 => overwrite(&file, rng),
            1 => overwrite_unseen(&file, rng),
            2 => append(&file, rng),
            3 => truncate(&file, rng),
            4 => touch(&file, rng),
            5 => change_mode(&file, rng),
            6 => add_folder(&fresh, rng),
            7 => add_link(&fresh, &file),
            8 | 9 => add_file(&fresh, rng),
            10 => rename(&file, &fresh),
            11 => delete(&file),
            _ => become_folder(&file, rng),
        }
    }
}

/// Regular files that their owner may write, and folders; sorted, so that a seed always picks the same.
fn writable_files_and_folders(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut folders) = (vec![], vec![root.to_owned()]);
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        for name in sorted_names(&folder) {
            let path = folder.join(name);
            let meta = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            // Folders that their owner may not enter stay as they are.
            if meta.is_dir() && meta.mode() & 0o700 == 0o700 {
                folders.push(path);
            } else if meta.is_file() && meta.mode() & 0o600 == 0o600 {
                files.push(path);
            }
        }
    }
    (files, folders)
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Other bytes somewhere in the file, the same size.
fn overwrite(path: &Path, rng: &mut Rng) -> String {
    let mut file = open(path);
    let len = file.metadata().expect("metadata").len();
    let at = rng.below(len);
    let count = usize::try_from(rng.within(1..=5_000).min(len - at)).expect("small");
    file.seek(SeekFrom::Start(at)).expect("seek");
    file.write_all(&rng.bytes(count)).expect("write");
    format!("{count} other bytes at {at} in {path:?}")
}

/// The same, and the modification time put back: only ctime tells.
fn overwrite_unseen(path: &Path, rng: &mut Rng) -> String {
    let before = fs::metadata(path).expect("metadata");
    let text = overwrite(path, rng);
    set_mtime(path, (before.mtime(), before.mtime_nsec()));
    format!("{text}, mtime put back")
}

fn append(path: &Path, rng: &mut Rng) -> String {
    let count = usize::try_from(rng.within(1..=40_000)).expect("small");
    let mut file = open(path);
    file.seek(SeekFrom::End(0)).expect("seek");
    file.write_all(&rng.text(count)).expect("write");
    format!("{count} bytes more in {path:?}")
}

fn truncate(path: &Path, rng: &mut Rng) -> String {
    let file = open(path);
    let len = file.metadata().expect("metadata").len();
    let kept = rng.below(len + 1);
    file.set_len(kept).expect("truncate");
    format!("{kept} of {len} bytes left in {path:?}")
}

fn touch(path: &Path, rng: &mut Rng) -> String {
    let seconds = i64::try_from(rng.below(2_000_000_000)).expect("small");
    set_mtime(path, (seconds, 42));
    format!("another time for {path:?}")
}

fn change_mode(path: &Path, rng: &mut Rng) -> String {
    let mode = *rng.pick(&[0o600, 0o644, 0o700, 0o755, 0o660]);
    set_mode(path, mode);
    format!("mode {mode:o} for {path:?}")
}

fn add_file(path: &Path, rng: &mut Rng) -> String {
    let len = usize::try_from(rng.below(60_000)).expect("small");
    fs::write(path, rng.bytes(len)).expect("write");
    format!("{len} bytes in the new {path:?}")
}

fn add_folder(path: &Path, rng: &mut Rng) -> String {
    fs::create_dir(path).expect("make a folder");
    for number in 0..rng.below(4) {
        fs::write(path.join(number.to_string()), rng.text(100)).expect("write");
    }
    format!("the new folder {path:?}")
}

fn add_link(path: &Path, target: &Path) -> String {
    symlink(target, path).expect("make a link");
    format!("a link to {target:?} at {path:?}")
}

fn rename(path: &Path, to: &Path) -> String {
    fs::rename(path, to).expect("rename");
    format!("{path:?} renamed to {to:?}")
}

fn delete(path: &Path) -> String {
    fs::remove_file(path).expect("delete");
    format!("{path:?} deleted")
}

fn become_folder(path: &Path, rng: &mut Rng) -> String {
    fs::remove_file(path).expect("delete");
    fs::create_dir(path).expect("make a folder");
    fs::write(path.join("inside"), rng.text(50)).expect("write");
    format!("{path:?} is a folder")
}
