//! The last stretch of a run: everything is looked at anew, under one short lock, and the snapshot is written.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::messages::PublishOutcome;
use crate::{
    catalog::{Catalog, vault},
    error::Result,
    format::{FileType, PackId, Snapshot},
    repository::{
        HeldLock, LockKind, Repository, err_if_cancelled, lock, or_cancelled, publish_indexes, save_snapshot,
        sync_indexes,
    },
};

/// Publishes `snapshot`, unless the vault has lost something since loss epoch `epoch`.
pub(super) async fn publish(
    repository: &Repository,
    catalog: &Catalog,
    snapshot: &Snapshot,
    epoch: i64,
    cancel: &CancellationToken,
) -> Result<PublishOutcome> {
    // What was queued is given up when a run is stopped, so there may be packs missing.
    err_if_cancelled(cancel)?;
    let held = lock(repository, catalog, LockKind::Shared).await?;
    let outcome = or_cancelled(
        cancel,
        locked(repository, catalog, &held, snapshot, epoch, cancel),
    )
    .await;
    // On every way out. A lock that cannot be removed now is removed at the next start; the snapshot stands all the same.
    let released = held.release(repository, catalog).await;
    match (outcome, released) {
        (Ok(PublishOutcome::Published(id)), _) => Ok(PublishOutcome::Published(id)),
        (Ok(PublishOutcome::Lost), released) => released.map(|()| PublishOutcome::Lost),
        (Err(error), _) => Err(error),
    }
}

async fn locked(
    repository: &Repository,
    catalog: &Catalog,
    held: &HeldLock,
    snapshot: &Snapshot,
    epoch: i64,
    cancel: &CancellationToken,
) -> Result<PublishOutcome> {
    sync_indexes(repository, catalog, cancel).await?;
    forget_missing_packs(repository, catalog).await?;
    if catalog.read(vault::loss_epoch).await? != epoch {
        return Ok(PublishOutcome::Lost);
    }
    publish_indexes(repository, catalog, cancel).await?;
    // The process may have been frozen since the lock was taken, and a prune may have run in its stead.
    if !held.is_held(repository).await? {
        return Ok(PublishOutcome::Lost);
    }
    let id = save_snapshot(repository, catalog, snapshot).await?;
    Ok(PublishOutcome::Published(id))
}

/// Compares the packs that should be in the vault with those that are. What is missing, or has another size, is not counted on any more.
async fn forget_missing_packs(repository: &Repository, catalog: &Catalog) -> Result<()> {
    let there: HashMap<PackId, u64> = repository
        .storage
        .list(FileType::Pack)
        .await?
        .into_iter()
        .map(|(id, size)| (id.into(), size))
        .collect();
    let wanted = catalog.read(vault::stored_packs).await?;
    let missing: Vec<PackId> = wanted
        .into_iter()
        .filter(|(id, size)| there.get(id) != Some(size))
        .map(|(id, _)| id)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    catalog.write(move |tx| vault::lose_packs(tx, &missing)).await
}
