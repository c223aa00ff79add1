//! A vault that fails after so many reads: nothing is changed by then, and the same restore goes on.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    job::{RestoreJob, RestoreReport},
    run::{RestoreContext, run},
};
use crate::{
    BackupJob, Engine, EngineOptions, Source, Unlock,
    catalog::Catalog,
    clock::SystemClock,
    error::{Error, Kind, Result},
    events::Meter,
    format::{FileId, FileType, MasterKey},
    init, limits, repository,
    runtime::cpu::CpuPool,
    storage::{Address, Body, LocalStorage, Storage},
};

/// What happens when no reads are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Fail,
    Stop,
    /// As if a prune had taken the pack away.
    Lose,
}

/// A vault that answers so many reads of packs.
struct FewReads {
    vault: LocalStorage,
    left: AtomicI64,
    then: Then,
    cancel: CancellationToken,
    longest: AtomicI64,
}

#[async_trait]
impl Storage for FewReads {
    fn name(&self) -> String {
        self.vault.name()
    }

    async fn create(&self) -> Result<()> {
        self.vault.create().await
    }

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        self.vault.list(kind).await
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        self.vault.size(kind, id).await
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        self.vault.get(kind, id, limit).await
    }

    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        self.longest
            .fetch_max((range.end - range.start) as i64, Ordering::Relaxed);
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            return self.vault.get_range_into(kind, id, range, buffer).await;
        }
        match self.then {
            Then::Fail => Err(Error::new(Kind::Unreachable, "no more reads")),
            Then::Lose => Err(Error::new(Kind::NotFound, "no such pack")),
            Then::Stop => {
                self.cancel.cancel();
                // A request that does not end by itself.
                std::future::pending().await
            }
        }
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        self.vault.put(kind, id, body).await
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        self.vault.delete(kind, id).await
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

struct Bench {
    dir: tempfile::TempDir,
    raw_key: [u8; 64],
}

impl Bench {
    /// A repository with one backup of `files`.
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["vault", "source", "target"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for (name, content) in files {
            let path = dir.path().join("source").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let vault = dir.path().join("vault");
        let clock = SystemClock::default();
        let (_, key) = block_on(init(
            &LocalStorage::new(vault.clone()),
            "password",
            "host",
            &clock,
        ))
        .unwrap();
        let raw_key = *key.to_raw();
        let engine = Engine::open(EngineOptions {
            vault: Address::Local(vault),
            state_dir: dir.path().join("state"),
            unlock: Unlock::MasterKey(key),
            storage: Default::default(),
        });
        let job = BackupJob {
            sources: vec![Source {
                path: dir.path().join("source"),
                place: Vec::new(),
            }],
            ..BackupJob::default()
        };
        let engine = engine.unwrap();
        block_on(engine.backup(job, CancellationToken::new())).unwrap();
        engine.stop(Duration::from_secs(10)).unwrap();
        Self { dir, raw_key }
    }

    /// Restores with a catalog that knows nothing, and a vault that answers so many reads. Returns the
    /// longest read as well.
    fn restore(&self, reads: i64, then: Then) -> (Result<RestoreReport>, i64) {
        let cancel = CancellationToken::new();
        let storage = Arc::new(FewReads {
            vault: LocalStorage::new(self.dir.path().join("vault")),
            left: AtomicI64::new(reads),
            then,
            cancel: cancel.clone(),
            longest: AtomicI64::new(0),
        });
        let catalog_path = tempfile::tempdir().unwrap();
        let (catalog, catalog_thread, _) =
            Catalog::start_unlocked(&catalog_path.path().join("catalog.db")).unwrap();
        let (cpu, cpu_threads) = CpuPool::start().unwrap();
        let key = MasterKey::from_raw(&self.raw_key).unwrap();
        let job = RestoreJob {
            snapshot: "latest".into(),
            target: self.dir.path().join("target"),
            ..RestoreJob::default()
        };
        let opened = storage.clone();
        let result = block_on(async move {
            let clock = Arc::new(SystemClock::default());
            let repository = repository::open(opened, Unlock::MasterKey(key), cpu, clock)
                .await
                .unwrap();
            let context = RestoreContext {
                repository,
                catalog,
                meter: Arc::new(Meter::default()),
                cancel,
                runtime: tokio::runtime::Handle::current(),
                gone: Default::default(),
            };
            let (done, answer) = tokio::sync::oneshot::channel();
            let thread = thread::spawn(move || done.send(run(&context, &job)).is_ok());
            let result = answer.await.unwrap();
            let _ = thread.join().unwrap();
            result
        });
        cpu_threads.join();
        catalog_thread.join();
        (result, storage.longest.load(Ordering::Relaxed))
    }

    fn files(&self, below: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        fn collect(dir: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let name = below.join(entry.file_name());
                if entry.file_type().unwrap().is_file() {
                    files.insert(name, fs::read(entry.path()).unwrap());
                } else if !entry.file_name().to_string_lossy().starts_with(".lifeboat") {
                    collect(&entry.path(), &name, files);
                }
            }
        }
        let mut files = BTreeMap::new();
        collect(&self.dir.path().join(below), Path::new(""), &mut files);
        files
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_vault_that_fails_at_any_read_leaves_the_target_as_it_was() {
    for then in [Then::Fail, Then::Stop, Then::Lose] {
        let mut files = vec![("large", noise(1, 9 << 20)), ("a/medium", noise(2, 3 << 20))];
        files.push(("a/b/small", noise(3, 1000)));
        let bench = Bench::new(&files);
        fs::write(bench.dir.path().join("target/large"), b"old").unwrap();
        let old = bench.files("target");
        let mut reads = 0;
        let report = loop {
            let (result, longest) = bench.restore(reads, then);
            assert!(
                longest <= limits::READ_BYTES_MAX as i64,
                "a read of {longest} bytes"
            );
            match result {
                Ok(report) => break report,
                Err(error) => {
                    let expected = match then {
                        Then::Fail => Kind::Unreachable,
                        Then::Stop => Kind::Cancelled,
                        Then::Lose => Kind::Damaged,
                    };
                    assert_eq!(error.kind(), expected, "after {reads} reads: {error}");
                    assert_eq!(bench.files("target"), old, "after {reads} reads");
                }
            }
            reads += 1;
            assert!(reads < 60);
        };
        assert!(reads > 3, "it was interrupted at several places");
        assert!(report.resumed_bytes > 0, "and did not begin anew each time");
        assert!(report.fetched_bytes < report.bytes, "{report:?}");
        assert_eq!(bench.files("target"), bench.files("source"));
    }
}
