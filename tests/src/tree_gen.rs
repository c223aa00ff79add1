//! Seeded folders to back up: ordinary files in nested folders, and a specimen of everything odd that a file system
//! can hold. The same forest from the same seed is the same tree, times included, on any day.

mod mutate;
mod names;
mod planter;
mod specimens;

use std::path::Path;

pub use mutate::Mutation;
pub use planter::{Planter, set_mode, set_mtime};

use crate::Rng;

/// What to plant. The fields are free to change after one of the constructors.
#[derive(Clone, Debug)]
pub struct Forest {
    pub seed: u64,
    /// Ordinary files, besides the specimens.
    pub files: usize,
    /// No ordinary file is larger.
    pub file_bytes_max: u64,
    /// One of each odd thing, see the folder names in `specimens.rs`. About 35 MiB and 600 entries.
    pub specimens: bool,
    /// Sockets, which no backup holds.
    pub sockets: bool,
}

impl Forest {
    /// Everything there is, in a few seconds: specimens of all kinds, and some ordinary files.
    pub fn of_everything(seed: u64) -> Self {
        Self {
            seed,
            files: 300,
            file_bytes_max: 1 << 20,
            specimens: true,
            sockets: false,
        }
    }

    /// Many small files.
    pub fn of_many_files(seed: u64, files: usize) -> Self {
        Self {
            seed,
            files,
            file_bytes_max: 20 << 10,
            specimens: false,
            sockets: false,
        }
    }

    /// A few megabytes of ordinary files, for tests that start a program often.
    pub fn small(seed: u64) -> Self {
        Self {
            seed,
            files: 120,
            file_bytes_max: 1 << 20,
            specimens: false,
            sockets: false,
        }
    }

    /// Makes `root` and all below it.
    pub fn plant(&self, root: &Path) {
        let mut planter = Planter::new(root, self.seed);
        self.plant_files(&mut planter);
        if self.specimens {
            specimens::plant(&mut planter);
        }
        if self.sockets {
            planter.socket("a socket");
        }
        planter.finish();
    }

    /// Changes a planted tree as time does: content, names, metadata, additions, deletions. Says what it did.
    pub fn mutate(&self, root: &Path, seed: u64) -> Vec<String> {
        Mutation {
            seed,
            steps: 12 + self.files / 20,
            removals: true,
        }
        .apply(root)
    }

    fn plant_files(&self, planter: &mut Planter) {
        let mut folders = vec![String::from(".")];
        for number in 0..self.files {
            if number % 12 == 0 {
                let parent = planter.rng.pick(&folders).clone();
                let folder = format!("{parent}/folder {number}");
                planter.dir(&folder);
                folders.push(folder);
            }
            let folder = planter.rng.pick(&folders).clone();
            let content = ordinary_content(&mut planter.rng, self.file_bytes_max);
            planter.file(format!("{folder}/file-{number}.dat"), &content);
            // Every tenth file has a twin: equal content must be stored once.
            if planter.rng.chance(10) {
                planter.file(format!("{folder}/twin-of-{number}.dat"), &content);
            }
        }
    }
}

/// Mostly small, seldom large, as on a real disk; half random, half text.
fn ordinary_content(rng: &mut Rng, bytes_max: u64) -> Vec<u8> {
    let ceiling = match rng.below(100) {
        0..45 => 1 << 10,
        45..85 => 16 << 10,
        85..97 => 128 << 10,
        _ => bytes_max,
    };
    let len = usize::try_from(rng.within(0..=ceiling.min(bytes_max))).expect("fits memory");
    if rng.chance(50) {
        rng.bytes(len)
    } else {
        rng.text(len)
    }
}
