//! An app's folder, a vault beside it, and engines that are opened on both.

// Each file of tests is a crate of its own, and uses what it needs of this. What fails here fails a test, loudly.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use lifeboat::{
    BackupJob, BackupReport, Databases, Engine, EngineOptions, Source, Unlock,
    clock::{Clock, SystemClock},
    format::MasterKey,
    storage::{Address, LocalStorage},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const PASSWORD: &str = "correct horse";

pub struct Scene {
    pub dir: TempDir,
    /// Opens the vault without scrypt, as a phone does.
    raw_key: [u8; 64],
}

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        let storage = LocalStorage::new(dir.path().join("vault"));
        let clock = SystemClock::default();
        let (_, key) = wait(lifeboat::init(&storage, PASSWORD, "test", &clock)).unwrap();
        let raw_key = *key.to_raw();
        Self { dir, raw_key }
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    pub fn vault(&self) -> PathBuf {
        self.dir.path().join("vault")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn open(&self) -> Engine {
        Engine::open_with_clock(self.options(), Arc::new(Later::default())).unwrap()
    }

    pub fn options(&self) -> EngineOptions {
        EngineOptions {
            vault: Address::Local(self.vault()),
            state_dir: self.state(),
            unlock: Unlock::MasterKey(MasterKey::from_raw(&self.raw_key).unwrap()),
            storage: Default::default(),
        }
    }

    pub fn job(&self) -> BackupJob {
        let sources = vec![Source::named(self.source(), "app")];
        BackupJob {
            sources,
            host: "phone".into(),
            databases: Databases::default(),
            ..BackupJob::default()
        }
    }

    pub fn backup(&self) -> BackupReport {
        self.backup_with(self.open())
    }

    /// A backup that begins so shortly after the last change that no status is trusted.
    pub fn backup_at_once(&self) -> BackupReport {
        let clock = Arc::new(Earlier::default());
        self.backup_with(Engine::open_with_clock(self.options(), clock).unwrap())
    }

    fn backup_with(&self, engine: Engine) -> BackupReport {
        let report = wait(engine.backup(self.job(), CancellationToken::new())).unwrap();
        engine.stop(Duration::from_secs(10)).unwrap();
        report
    }

    pub fn listing(&self) -> BTreeMap<PathBuf, u64> {
        let engine = self.open();
        let listing = wait(async {
            let mut entries = engine.entries("latest".into(), "/".into()).await.unwrap();
            let mut listing = BTreeMap::new();
            while let Some(entry) = entries.next().await {
                let entry = entry.unwrap();
                listing.insert(entry.path, entry.node.size);
            }
            listing
        });
        engine.stop(Duration::from_secs(10)).unwrap();
        listing
    }
}

/// A clock that is ten seconds ahead of the file system's: what was just written counts as settled, however fast the test is.
#[derive(Debug, Default)]
struct Later(SystemClock);

impl Clock for Later {
    fn wall(&self) -> SystemTime {
        self.0.wall() + Duration::from_secs(10)
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// A clock that is ten seconds behind the file system's: whatever was written in the last of them may be written to again unseen, however slow
/// the test is.
#[derive(Debug, Default)]
struct Earlier(SystemClock);

impl Clock for Earlier {
    fn wall(&self) -> SystemTime {
        self.0.wall() - Duration::from_secs(10)
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

pub fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Files in a folder of the vault, temporary ones too.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}
