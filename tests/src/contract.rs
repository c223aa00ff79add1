//! What every kind of vault promises, as one suite: `storage/mod.rs` has the words, this asks for the deeds.

use std::{fs, future::Future, path::PathBuf, sync::Arc, task::Poll};

use lifeboat::{
    Kind,
    format::{FileId, FileType},
    storage::{Body, Storage},
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::Rng;

/// A vault under test, with what is particular about it.
pub struct Subject {
    pub storage: Arc<dyn Storage>,
    /// Nothing but locks can be deleted.
    pub append_only: bool,
    /// Where its files lie, if they can be seen.
    pub files: Option<PathBuf>,
}

/// All kinds but the config, of which there is one.
const NAMED: [FileType; 5] = [
    FileType::Key,
    FileType::Lock,
    FileType::Snapshot,
    FileType::Index,
    FileType::Pack,
];

/// The config has a name of its own, and no use for an id.
const CONFIG_ID: FileId = FileId::from_bytes([0; 32]);

/// More than a page of S3's listing.
const MANY_FILES: usize = 1_050;
/// A server in memory that is not made for many writers may trip, and says so: it is asked again, as a run does.
const PUTS_MAX: u32 = 4;
/// Put at a time.
const MANY_AT_ONCE: usize = 16;

/// All of the contract, on a vault that was never used.
pub async fn holds(subject: &Subject, seed: u64) {
    let mut rng = Rng::new(seed);
    new_is_empty(subject).await;
    config_is_kept(subject, &mut rng).await;
    for kind in NAMED {
        what_is_put_is_there(subject, kind, &mut rng).await;
    }
    ranges_are_exact(subject, &mut rng).await;
    spooled_files_are_stored(subject, &mut rng).await;
    the_same_may_be_put_at_a_time(subject, &mut rng).await;
    a_dropped_put_leaves_all_or_nothing(subject, &mut rng).await;
    foreign_names_are_left_out(subject).await;
    deletion_is_repeatable(subject, &mut rng).await;
    many_files_are_listed_once(subject, &mut rng).await;
}

fn body(bytes: &[u8]) -> Body {
    Body::Bytes(bytes.into())
}

fn random(rng: &mut Rng, length: usize) -> (FileId, Vec<u8>) {
    let bytes = rng.bytes(length);
    (FileId::of(&bytes), bytes)
}

async fn new_is_empty(subject: &Subject) {
    let storage = &subject.storage;
    storage.create().await.unwrap();
    storage.create().await.unwrap();
    let id = FileId::of(b"nowhere");
    for kind in NAMED {
        assert_eq!(storage.list(kind).await.unwrap(), [], "{kind}");
    }
    for kind in FileType::ALL {
        assert_eq!(storage.size(kind, &id).await.unwrap(), None, "{kind}");
        let error = storage.get(kind, &id, 100).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{kind}: {error}");
        for range in [0..1, 0..0] {
            let error = storage.get_range(kind, &id, range).await.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound, "{kind}: {error}");
        }
    }
}

async fn config_is_kept(subject: &Subject, rng: &mut Rng) {
    let storage = &subject.storage;
    let bytes = rng.bytes(155);
    for _ in 0..2 {
        storage
            .put(FileType::Config, &CONFIG_ID, body(&bytes))
            .await
            .unwrap();
    }
    let size = storage.size(FileType::Config, &CONFIG_ID).await.unwrap();
    assert_eq!(size, Some(155));
    let read = storage.get(FileType::Config, &CONFIG_ID, 155).await.unwrap();
    assert_eq!(read, bytes);
}

async fn what_is_put_is_there(subject: &Subject, kind: FileType, rng: &mut Rng) {
    let storage = &subject.storage;
    let mut stored = vec![];
    for length in [0, 1, 1000, 300_000] {
        let (id, bytes) = random(rng, length);
        storage.put(kind, &id, body(&bytes)).await.unwrap();
        // Again is as good as once.
        storage.put(kind, &id, body(&bytes)).await.unwrap();
        assert_eq!(storage.size(kind, &id).await.unwrap(), Some(length as u64));
        assert_eq!(storage.get(kind, &id, length as u64).await.unwrap(), bytes);
        if length > 0 {
            let error = storage.get(kind, &id, length as u64 - 1).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Damaged, "{error}");
        }
        stored.push((id, length as u64));
    }
    let mut listed = storage.list(kind).await.unwrap();
    listed.sort_unstable();
    stored.sort_unstable();
    assert_eq!(listed, stored, "{kind}");
}

async fn ranges_are_exact(subject: &Subject, rng: &mut Rng) {
    let storage = &subject.storage;
    let (id, bytes) = random(rng, 100_000);
    storage.put(FileType::Pack, &id, body(&bytes)).await.unwrap();
    for range in [
        0..1,
        0..100_000,
        99_999..100_000,
        12_345..67_890,
        500..500,
        100_000..100_000,
    ] {
        let expected = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        let read = storage
            .get_range(FileType::Pack, &id, range.clone())
            .await
            .unwrap();
        assert!(read == expected, "{range:?}: {} bytes", read.len());
    }
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "a range that makes no sense must be refused"
    )]
    let wrong = [
        99_999..100_001,
        100_000..100_001,
        200_000..200_001,
        0..1 << 40,
        100_001..100_001,
        7..6,
    ];
    for range in wrong {
        let error = storage
            .get_range(FileType::Pack, &id, range.clone())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged, "{range:?}: {error}");
    }
}

async fn spooled_files_are_stored(subject: &Subject, rng: &mut Rng) {
    let (id, bytes) = random(rng, 5_000_000);
    let (_dir, spooled) = spool(&bytes);
    for _ in 0..2 {
        let put = subject.storage.put(FileType::Pack, &id, spooled.clone()).await;
        put.unwrap();
    }
    let stored = subject.storage.get(FileType::Pack, &id, 5_000_000).await.unwrap();
    assert!(stored == bytes);
}

fn spool(bytes: &[u8]) -> (TempDir, Body) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pack");
    fs::write(&path, bytes).unwrap();
    let size = bytes.len() as u64;
    (dir, Body::File { path, size })
}

async fn the_same_may_be_put_at_a_time(subject: &Subject, rng: &mut Rng) {
    let (id, bytes) = random(rng, 400_000);
    let mut puts = JoinSet::new();
    for _ in 0..4 {
        let (storage, body) = (subject.storage.clone(), body(&bytes));
        puts.spawn(async move {
            for _ in 1..PUTS_MAX {
                match storage.put(FileType::Pack, &id, body.clone()).await {
                    Err(error) if error.kind() == Kind::Unreachable => println!("put again: {error}"),
                    result => return result,
                }
            }
            storage.put(FileType::Pack, &id, body).await
        });
    }
    for result in puts.join_all().await {
        result.unwrap();
    }
    let stored = subject.storage.get(FileType::Pack, &id, 400_000).await.unwrap();
    assert!(stored == bytes);
}

/// A put that is given up after each number of steps: the file is there whole, or not at all, and can be put.
async fn a_dropped_put_leaves_all_or_nothing(subject: &Subject, rng: &mut Rng) {
    let storage = &subject.storage;
    for steps in [0, 1, 2, 3, 5, 8, 13, 21] {
        let (id, bytes) = random(rng, 2_000_000);
        let (_dir, spooled) = spool(&bytes);
        let finished = polled(storage.put(FileType::Pack, &id, spooled.clone()), steps).await;
        match storage.size(FileType::Pack, &id).await.unwrap() {
            None => assert!(!finished, "{steps} steps: stored, and not there"),
            Some(size) => assert_eq!(size, 2_000_000, "{steps} steps"),
        }
        storage.put(FileType::Pack, &id, spooled).await.unwrap();
        let stored = storage.get(FileType::Pack, &id, 2_000_000).await.unwrap();
        assert!(stored == bytes, "{steps} steps");
    }
}

/// Polls a future so many times, when it asks for it, and drops it. True if it was ready by then.
async fn polled(work: impl Future<Output = lifeboat::Result<()>>, steps: usize) -> bool {
    let mut work = Box::pin(work);
    let mut left = steps;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match work.as_mut().poll(context) {
            Poll::Ready(result) => {
                result.unwrap();
                Poll::Ready(true)
            }
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn foreign_names_are_left_out(subject: &Subject) {
    let Some(files) = &subject.files else { return };
    let before = subject.storage.list(FileType::Snapshot).await.unwrap().len();
    let id = FileId::of(b"foreign").to_string();
    for name in ["README", &format!("{id}-tmp"), &id.to_uppercase(), &id[1..]] {
        fs::write(files.join("snapshots").join(name), b"x").unwrap();
    }
    let after = subject.storage.list(FileType::Snapshot).await.unwrap().len();
    assert_eq!(after, before);
}

async fn deletion_is_repeatable(subject: &Subject, rng: &mut Rng) {
    let storage = &subject.storage;
    for kind in NAMED {
        let (id, bytes) = random(rng, 100);
        storage.put(kind, &id, body(&bytes)).await.unwrap();
        if subject.append_only && kind != FileType::Lock {
            let error = storage.delete(kind, &id).await.unwrap_err();
            assert_eq!(error.kind(), Kind::AccessDenied, "{kind}: {error}");
            assert_eq!(storage.size(kind, &id).await.unwrap(), Some(100));
            continue;
        }
        for _ in 0..2 {
            storage.delete(kind, &id).await.unwrap();
            assert_eq!(storage.size(kind, &id).await.unwrap(), None, "{kind}");
        }
        let listed = storage.list(kind).await.unwrap();
        assert!(listed.iter().all(|(listed, _)| *listed != id), "{kind}");
    }
}

async fn many_files_are_listed_once(subject: &Subject, rng: &mut Rng) {
    let mut expected = subject.storage.list(FileType::Index).await.unwrap();
    let mut puts: JoinSet<lifeboat::Result<()>> = JoinSet::new();
    for _ in 0..MANY_FILES {
        let (id, bytes) = random(rng, 40);
        expected.push((id, 40));
        if puts.len() >= MANY_AT_ONCE {
            puts.join_next().await.unwrap().unwrap().unwrap();
        }
        let (storage, body) = (subject.storage.clone(), body(&bytes));
        puts.spawn(async move { storage.put(FileType::Index, &id, body).await });
    }
    for result in puts.join_all().await {
        result.unwrap();
    }
    let mut listed = subject.storage.list(FileType::Index).await.unwrap();
    listed.sort_unstable();
    expected.sort_unstable();
    assert!(
        listed == expected,
        "{} of {} listed",
        listed.len(),
        expected.len()
    );
}
