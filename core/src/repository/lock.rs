//! Locks, as restic understands them: files in the vault that say who works on it.
//!
//! Ours are short. The id of each is in the catalog before it is in the vault, so that the next start removes what a kill left behind. Its host
//! name is one that no machine has: `restic unlock` sends a signal to the process of a lock that bears its own host's name.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{Repository, sealing};
use crate::{
    catalog::{Catalog, vault},
    error::{Error, Kind, Result},
    format::{FileId, FileType, Lock, LockId, Timestamp, ZonedTimestamp, decode_unpacked},
    limits,
    runtime::cpu::CpuContext,
    storage::{Body, file_name},
};

/// As restic: time for another client's lock, written at the same moment, to show up in a listing. Where a listing shows at once what is there,
/// it takes none: of two who write first and look then, one at least sees the other, whether that one waits or not.
const SETTLE: Duration = Duration::from_millis(200);
/// As restic: a lock that was not refreshed for so long belongs to nobody.
const STALE_AFTER: Duration = Duration::from_secs(30 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Others may read and add, none may delete.
    Shared,
    Exclusive,
}

/// What a lock in the vault says.
#[derive(Debug, Clone)]
pub struct LockInfo {
    pub id: LockId,
    pub kind: LockKind,
    pub hostname: String,
    pub username: String,
    pub pid: i64,
    /// When it was written or refreshed; `None` where that cannot be read.
    pub time: Option<Timestamp>,
}

/// A lock that this engine holds. It must be released: dropping it leaves it to the next start.
#[must_use]
#[derive(Debug)]
pub(crate) struct HeldLock {
    kind: LockKind,
    /// The file that stands for it now. A refreshed lock is another file.
    id: Mutex<LockId>,
}

impl HeldLock {
    fn id(&self) -> LockId {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn release(self, repository: &Repository, catalog: &Catalog) -> Result<()> {
        remove(repository, catalog, self.id()).await
    }

    /// Whether it is still there: someone may have removed it while the process was frozen.
    pub(crate) async fn is_held(&self, repository: &Repository) -> Result<bool> {
        let id = self.id().into();
        Ok(repository.storage.size(FileType::Lock, &id).await?.is_some())
    }

    /// Does `work`, and refreshes the lock in time as long as that takes.
    pub(crate) async fn refreshed_during<T>(
        &self,
        repository: &Repository,
        catalog: &Catalog,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let refreshing = async {
            loop {
                tokio::time::sleep(Duration::from_millis(limits::LOCK_REFRESH_MS)).await;
                if let Err(error) = self.refresh(repository, catalog).await {
                    // Whoever relies on the lock looks whether it is there before that matters.
                    tracing::debug!(%error, "the lock was not refreshed");
                }
            }
        };
        tokio::select! {
            result = work => result,
            never = refreshing => never,
        }
    }

    /// As restic: the new file is there before the old one goes; and a lock that somebody removed is not brought back.
    async fn refresh(&self, repository: &Repository, catalog: &Catalog) -> Result<()> {
        let old = self.id();
        if !self.is_held(repository).await? {
            return Err(Error::new(Kind::Locked, "the lock was removed by somebody else"));
        }
        let new = write(repository, catalog, self.kind).await?;
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = new;
        remove(repository, catalog, old).await
    }
}

/// Takes a lock: looks, writes, waits, looks again.
pub(crate) async fn lock(repository: &Repository, catalog: &Catalog, kind: LockKind) -> Result<HeldLock> {
    conflict(repository, kind, None).await?;
    let id = write(repository, catalog, kind).await?;
    if !repository.storage.lists_at_once() {
        tokio::time::sleep(SETTLE).await;
    }
    let held = HeldLock {
        kind,
        id: Mutex::new(id),
    };
    match conflict(repository, kind, Some(id)).await {
        Ok(()) => Ok(held),
        Err(error) => {
            held.release(repository, catalog).await?;
            Err(error)
        }
    }
}

/// Writes a lock file, known to the catalog before it is in the vault.
async fn write(repository: &Repository, catalog: &Catalog, kind: LockKind) -> Result<LockId> {
    let document = Lock {
        time: Timestamp::from(repository.clock.wall()).to_string(),
        exclusive: kind == LockKind::Exclusive,
        hostname: format!("lifeboat-{}", &repository.config.id.to_string()[..8]),
        username: super::keys::username(),
        pid: std::process::id().into(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    let (id, sealed) = repository
        .seal_unpacked(document.encode().map_err(sealing)?)
        .await?;
    let id = LockId::from(id);
    catalog.write(move |tx| vault::add_own_lock(tx, &id)).await?;
    repository
        .storage
        .put(FileType::Lock, &id.into(), Body::Bytes(sealed))
        .await?;
    Ok(id)
}

/// Fails with `Kind::Locked` where someone holds the vault for himself.
pub(crate) async fn check_not_locked(repository: &Repository) -> Result<()> {
    conflict(repository, LockKind::Shared, None).await
}

async fn conflict(repository: &Repository, wanted: LockKind, own: Option<LockId>) -> Result<()> {
    for lock in locks_but(repository, own).await? {
        if wanted == LockKind::Exclusive || lock.kind == LockKind::Exclusive {
            return Err(locked(&lock, Timestamp::from(repository.clock.wall())));
        }
    }
    Ok(())
}

/// The error for whoever this lock keeps out.
pub(crate) fn locked(lock: &LockInfo, now: Timestamp) -> Error {
    Error::new(Kind::Locked, describe(lock, now))
}

fn describe(lock: &LockInfo, now: Timestamp) -> String {
    let kind = if lock.kind == LockKind::Exclusive {
        "exclusively "
    } else {
        ""
    };
    let since = lock
        .time
        .map_or("an unknown time".into(), |time| time.to_string());
    let advice = if is_stale(lock, now) {
        "It was not refreshed for half an hour: `unlock` removes it"
    } else {
        "Try again when that work is done"
    };
    format!(
        "the repository is {kind}locked by process {} of {} on {} since {since}. {advice}",
        lock.pid, lock.username, lock.hostname
    )
}

/// Whether its owner has not refreshed it for so long that it must be gone.
pub(crate) fn is_stale(lock: &LockInfo, now: Timestamp) -> bool {
    let age_max = i64::try_from(STALE_AFTER.as_secs()).unwrap_or(i64::MAX);
    lock.time
        .is_none_or(|time| now.seconds().saturating_sub(time.seconds()) > age_max)
}

/// Every lock in the vault. Empty files, which a client that died left, are skipped as restic does.
pub(crate) async fn list_locks(repository: &Repository) -> Result<Vec<LockInfo>> {
    locks_but(repository, None).await
}

/// Every lock but our own, which we need not read.
async fn locks_but(repository: &Repository, own: Option<LockId>) -> Result<Vec<LockInfo>> {
    let mut locks = Vec::new();
    for (id, size) in repository.storage.list(FileType::Lock).await? {
        if size == 0 || own == Some(id.into()) {
            continue;
        }
        match read_lock(repository, id).await {
            Ok(lock) => locks.push(lock),
            // Released between the listing and the reading.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(locks)
}

pub(crate) async fn read_lock(repository: &Repository, id: FileId) -> Result<LockInfo> {
    let name = file_name(FileType::Lock, &id);
    let framed = repository.load_unpacked(FileType::Lock, &id).await?;
    let decode = move |context: &mut CpuContext| {
        decode_unpacked(
            &mut context.decompressor,
            framed,
            limits::DOCUMENT_PLAIN_BYTES_MAX,
        )
        .and_then(|json| Lock::parse(&json))
        .map_err(|error| Error::format(name, error))
    };
    let lock = repository.cpu.run(decode).await?;
    Ok(LockInfo {
        id: id.into(),
        kind: if lock.exclusive {
            LockKind::Exclusive
        } else {
            LockKind::Shared
        },
        time: ZonedTimestamp::parse(&lock.time)
            .ok()
            .map(|zoned| zoned.timestamp),
        hostname: lock.hostname,
        username: lock.username,
        pid: lock.pid,
    })
}

async fn remove(repository: &Repository, catalog: &Catalog, id: LockId) -> Result<()> {
    repository.storage.delete(FileType::Lock, &id.into()).await?;
    catalog.write(move |tx| vault::forget_own_lock(tx, &id)).await
}

/// Removes what an earlier process of this engine left behind, or a job that was stopped. The state folder is ours alone, and one job runs at a
/// time, so none of these is in use where this is called.
pub(crate) async fn remove_own_locks(repository: &Repository, catalog: &Catalog) -> Result<()> {
    for id in catalog.read(vault::own_locks).await? {
        remove(repository, catalog, id).await?;
    }
    Ok(())
}

/// Whether the process that wrote a lock ran on this machine and runs no more. It is only looked for: restic sends a signal.
fn is_of_dead_process(lock: &LockInfo) -> bool {
    let here = rustix::system::uname().nodename().to_string_lossy() == lock.hostname;
    let pid = i32::try_from(lock.pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    here && pid.is_some_and(|pid| {
        matches!(
            rustix::process::test_kill_process(pid),
            Err(rustix::io::Errno::SRCH)
        )
    })
}

/// Removes locks whose process on this machine has ended, and those that nobody refreshed for half an hour; or all of them.
/// Returns how many.
pub(crate) async fn unlock(repository: &Repository, all: bool) -> Result<usize> {
    let now = Timestamp::from(repository.clock.wall());
    let mut removed = 0;
    for (id, size) in repository.storage.list(FileType::Lock).await? {
        let is_left = |lock: &LockInfo| is_stale(lock, now) || is_of_dead_process(lock);
        let remove = all || size == 0 || read_lock(repository, id).await.is_ok_and(|lock| is_left(&lock));
        if remove {
            repository.storage.delete(FileType::Lock, &id).await?;
            removed += 1;
        }
    }
    Ok(removed)
}
