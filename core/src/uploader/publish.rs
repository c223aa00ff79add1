//! The last stretch of a run: everything is looked at anew, under one short lock, and the snapshot is written.

use std::{collections::HashMap, time::Duration};

use tokio_util::sync::CancellationToken;

use super::messages::PublishOutcome;
use crate::{
    catalog::{Catalog, packs, vault},
    error::{Error, Kind, Result},
    format::{FileType, PackId, Snapshot},
    limits,
    repository::{
        HeldLock, LockKind, Repository, err_if_cancelled, lock, or_cancelled, publish_indexes,
        remove_own_locks, save_snapshot, sync_indexes,
    },
    window::LockPolicy,
};

/// Publishes `snapshot`, unless the vault has lost something since loss epoch `epoch`.
pub(super) async fn publish(
    repository: &Repository,
    catalog: &Catalog,
    snapshot: &Snapshot,
    epoch: i64,
    policy: LockPolicy,
    cancel: &CancellationToken,
) -> Result<PublishOutcome> {
    // What was queued is given up when a run is stopped, so there may be packs missing.
    err_if_cancelled(cancel)?;
    let vault = Vault {
        repository,
        catalog,
        cancel,
    };
    let publish = async |held: Option<&HeldLock>| vault.publish(snapshot, epoch, held).await;
    vault.under_lock(policy, publish).await
}

/// Publishes an index of what was confirmed.
pub(super) async fn checkpoint(
    repository: &Repository,
    catalog: &Catalog,
    policy: LockPolicy,
    cancel: &CancellationToken,
) -> Result<()> {
    let vault = Vault {
        repository,
        catalog,
        cancel,
    };
    let publish = async |held: Option<&HeldLock>| {
        // Packs that no index names are what a prune deletes first, and one may have run since they were confirmed.
        forget_missing_packs(repository, catalog).await?;
        vault.publish_indexes(held).await
    };
    vault.under_lock(policy, publish).await.map(|_| ())
}

struct Vault<'a> {
    repository: &'a Repository,
    catalog: &'a Catalog,
    cancel: &'a CancellationToken,
}

impl Vault<'_> {
    /// Takes a lock, does `work`, and lets go of the lock on every way out.
    async fn under_lock<T>(
        &self,
        policy: LockPolicy,
        work: impl AsyncFnOnce(Option<&HeldLock>) -> Result<T>,
    ) -> Result<T> {
        let (repository, catalog) = (self.repository, self.catalog);
        if policy == LockPolicy::Never {
            return or_cancelled(self.cancel, work(None)).await;
        }
        let locked = async {
            let held = lock(repository, catalog, LockKind::Shared).await?;
            held.refreshed_during(repository, catalog, work(Some(&held)))
                .await
        };
        let outcome = or_cancelled(self.cancel, locked).await;
        // After a stop there is a moment for it. A lock that cannot be removed now is removed by the next window or start, and what was done
        // stands all the same.
        let removed = remove_own_locks(repository, catalog);
        let removed = if self.cancel.is_cancelled() {
            let in_time = Duration::from_millis(limits::LOCK_RELEASE_MS);
            tokio::time::timeout(in_time, removed).await.unwrap_or(Ok(()))
        } else {
            removed.await
        };
        if let Err(error) = removed {
            tracing::debug!(%error, "a lock stays behind");
        }
        outcome
    }

    async fn publish(
        &self,
        snapshot: &Snapshot,
        epoch: i64,
        held: Option<&HeldLock>,
    ) -> Result<PublishOutcome> {
        let (repository, catalog) = (self.repository, self.catalog);
        if !catalog.read(packs::spooled).await?.is_empty() {
            let text = "packs are still to be stored; the snapshot is published when they are";
            return Err(Error::new(Kind::Cancelled, text));
        }
        if self.has_lost(epoch).await? {
            return Ok(PublishOutcome::Lost);
        }
        let looked = repository.clock.awake_or_asleep();
        if !self.publish_indexes(held).await? {
            return Ok(PublishOutcome::Lost);
        }
        let id = save_snapshot(repository, catalog, snapshot).await?;
        // Frozen between the last look and the last word, however shortly: who prunes in the meantime has removed the lock first.
        let is_held = self.is_held(held).await?;
        if (!is_held || self.is_long_since(looked)) && self.has_lost(epoch).await? {
            // A snapshot that lacks something is taken back.
            repository.storage.delete(FileType::Snapshot, &id.into()).await?;
            catalog
                .write(move |tx| vault::forget_snapshots(tx, &[id]))
                .await?;
            return Ok(PublishOutcome::Lost);
        }
        Ok(PublishOutcome::Published(id))
    }

    /// Publishes an index of what was confirmed. `false`: the process may have been frozen since the lock was taken, and a prune may have run in
    /// its stead; an index that names what is gone is taken back.
    async fn publish_indexes(&self, held: Option<&HeldLock>) -> Result<bool> {
        let (repository, catalog) = (self.repository, self.catalog);
        let looked = repository.clock.awake_or_asleep();
        let written = publish_indexes(repository, catalog, self.cancel).await?;
        let is_held = self.is_held(held).await?;
        if is_held && !self.is_long_since(looked) {
            return Ok(true);
        }
        if forget_missing_packs(repository, catalog).await? == 0 {
            return Ok(is_held);
        }
        for id in written {
            // Where nobody may delete, it stays, and the catalog knows better.
            if let Err(error) = repository.storage.delete(FileType::Index, &id.into()).await {
                tracing::debug!(%error, "an index stays that names packs which are gone");
                continue;
            }
            catalog.write(move |tx| vault::forget_indexes(tx, &[id])).await?;
        }
        Ok(false)
    }

    /// Lists the vault anew. Whether anything is gone that the tree counts on.
    async fn has_lost(&self, epoch: i64) -> Result<bool> {
        sync_indexes(self.repository, self.catalog, self.cancel).await?;
        forget_missing_packs(self.repository, self.catalog).await?;
        Ok(self.catalog.read(vault::loss_epoch).await? != epoch)
    }

    /// Where nobody else deletes there is no lock that could be gone.
    async fn is_held(&self, held: Option<&HeldLock>) -> Result<bool> {
        match held {
            Some(held) => held.is_held(self.repository).await,
            None => Ok(true),
        }
    }

    fn is_long_since(&self, looked: Duration) -> bool {
        let since = self.repository.clock.awake_or_asleep().saturating_sub(looked);
        since >= Duration::from_millis(limits::PUBLISH_GAP_MS)
    }
}

/// Compares the packs that should be in the vault with those that are. What is missing, or has another size, is not counted on any more. Returns how
/// many there are of these.
async fn forget_missing_packs(repository: &Repository, catalog: &Catalog) -> Result<usize> {
    // In this order: what is confirmed while the vault is being listed is not held against the list.
    let wanted = catalog.read(vault::stored_packs).await?;
    let there: HashMap<PackId, u64> = repository
        .storage
        .list(FileType::Pack)
        .await?
        .into_iter()
        .map(|(id, size)| (id.into(), size))
        .collect();
    let missing: Vec<PackId> = wanted
        .into_iter()
        .filter(|(id, size)| there.get(id) != Some(size))
        .map(|(id, _)| id)
        .collect();
    let count = missing.len();
    if count > 0 {
        catalog.write(move |tx| vault::lose_packs(tx, &missing)).await?;
    }
    Ok(count)
}
