//! A repository, an engine on it, and folders that can be compared.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use lifeboat::{
    BackupJob, Engine, EngineOptions, Error, RestoreJob, RestoreReport, Source, Unlock,
    clock::SystemClock,
    format::{MasterKey, SnapshotId},
    init,
    storage::{self, Address},
};
use tokio_util::sync::CancellationToken;

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// A repository in a folder, and room for sources and targets beside it.
pub struct Bench {
    pub dir: tempfile::TempDir,
    raw_key: [u8; 64],
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["vault", "source", "target"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let address = Address::Local(dir.path().join("vault"));
        let storage = storage::open(&address).unwrap();
        let (_, key) = block_on(init(&*storage, "password", "host", &SystemClock::default())).unwrap();
        let raw_key = *key.to_raw();
        Self { dir, raw_key }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn key(&self) -> MasterKey {
        MasterKey::from_raw(&self.raw_key).unwrap()
    }

    pub fn engine(&self) -> Engine {
        open(
            &self.path("vault"),
            &self.path("state"),
            Unlock::MasterKey(self.key()),
        )
    }

    /// Backs the entries of `source` up, as the root of the snapshot.
    pub fn backup(&self) -> SnapshotId {
        let engine = self.engine();
        let job = BackupJob {
            sources: vec![Source {
                path: self.path("source"),
                place: Vec::new(),
            }],
            host: "host".into(),
            ..BackupJob::default()
        };
        let report = block_on(engine.backup(job, CancellationToken::new())).unwrap();
        assert_eq!(report.unreadable, []);
        engine.stop(Duration::from_secs(10)).unwrap();
        report.snapshot.unwrap()
    }

    pub fn restore(&self, include: &[&str]) -> Result<RestoreReport, Error> {
        self.restore_until(include, CancellationToken::new())
    }

    pub fn restore_until(&self, include: &[&str], stop: CancellationToken) -> Result<RestoreReport, Error> {
        let engine = self.engine();
        let result = block_on(engine.restore(self.job(include), stop));
        engine.stop(Duration::from_secs(10)).unwrap();
        result
    }

    pub fn job(&self, include: &[&str]) -> RestoreJob {
        RestoreJob {
            snapshot: "latest".into(),
            target: self.path("target"),
            include: include.iter().map(PathBuf::from).collect(),
            ..RestoreJob::default()
        }
    }

    pub fn target(&self) -> Tree {
        tree(&self.path("target"))
    }
}

pub fn open(vault: &Path, state: &Path, unlock: Unlock) -> Engine {
    Engine::open(EngineOptions {
        vault: Address::Local(vault.to_owned()),
        state_dir: state.to_owned(),
        unlock,
        storage: Default::default(),
    })
    .unwrap()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub device: u64,
    pub content: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first path of the same file.
    pub first_link: PathBuf,
}

pub type Tree = BTreeMap<PathBuf, Entry>;

/// Everything below a folder but staging folders.
pub fn tree(root: &Path) -> Tree {
    let (mut tree, mut links) = (Tree::new(), BTreeMap::new());
    collect(root, Path::new(""), &mut tree, &mut links);
    tree
}

fn collect(dir: &Path, below: &Path, tree: &mut Tree, links: &mut BTreeMap<(u64, u64), PathBuf>) {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    for name in names {
        if name.as_bytes().starts_with(b".lifeboat-restore-") {
            continue;
        }
        let (path, short) = (dir.join(&name), below.join(&name));
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_file() {
            fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else {
            Vec::new()
        };
        let first_link = if kind.is_dir() {
            short.clone()
        } else {
            links
                .entry((meta.dev(), meta.ino()))
                .or_insert_with(|| short.clone())
                .clone()
        };
        let entry = Entry {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            device: meta.rdev(),
            content,
            xattrs: xattrs(&path),
            first_link,
        };
        tree.insert(short.clone(), entry);
        if kind.is_dir() {
            collect(&path, &short, tree, links);
        }
    }
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(&*path, &mut names[..]).unwrap_or(0);
    let mut found = Vec::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(&*path, name, &mut value[..]).unwrap();
        found.push((name.to_vec(), value[..length].to_vec()));
    }
    found
}

/// Bytes that do not compress and do not repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
