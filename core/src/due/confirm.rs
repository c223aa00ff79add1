//! Somebody says that the data is gone on purpose: what was published under the guard's tag counts like any other from now on.

use std::collections::HashMap;

use crate::{
    catalog::{Catalog, identity, journal, vault},
    error::{Error, Kind, Result},
    format::{FileType, SnapshotId},
    repository::{LockKind, Repository, list_snapshots, lock, save_snapshot},
    scheduler::{
        Entry, Reason,
        guards::{UNCONFIRMED_TAG, install_of},
    },
    snapshotter::now_ms,
};

/// Takes the tag off this install's snapshots, as `restic tag` does: each is written anew, and the old one goes. Returns how many there were. Interrupted, the
/// same again goes on.
pub(crate) async fn confirm(repository: &Repository, catalog: &Catalog) -> Result<usize> {
    let held = lock(repository, catalog, LockKind::Exclusive).await?;
    let done = untag(repository, catalog).await;
    // On every way out; one that cannot be removed now is removed at the next start.
    let released = held.release(repository, catalog).await;
    let number = done?;
    released?;
    let now = now_ms(&*repository.clock);
    let confirmed = Entry::Noticed {
        reason: Reason::NewbornConfirmed,
    };
    catalog
        .write(move |tx| {
            let conditions = journal::conditions(tx)?.unwrap_or_default();
            journal::append(tx, now, &conditions, &confirmed)
        })
        .await?;
    Ok(number)
}

async fn untag(repository: &Repository, catalog: &Catalog) -> Result<usize> {
    let own = catalog.read(identity::lineage).await?;
    let Some(own) = own else { return Ok(0) };
    let mut renamed = HashMap::<SnapshotId, SnapshotId>::new();
    // The oldest first, so that each finds its parent's new name.
    for (id, mut snapshot) in list_snapshots(repository, catalog).await? {
        let is_ours = install_of(&snapshot.tags) == Some(own.install.as_str()) || own.last == Some(id);
        if !is_ours || !snapshot.tags.iter().any(|tag| tag == UNCONFIRMED_TAG) {
            continue;
        }
        if snapshot.unknown_fields {
            let text = format!("snapshot {id} was written by a newer engine: update the app");
            return Err(Error::new(Kind::Unsupported, text));
        }
        snapshot.tags.retain(|tag| tag != UNCONFIRMED_TAG);
        snapshot.original.get_or_insert(id);
        if let Some(parent) = &mut snapshot.parent {
            *parent = renamed.get(parent).copied().unwrap_or(*parent);
        }
        let new = save_snapshot(repository, catalog, &snapshot).await?;
        renamed.insert(id, new);
        match repository.storage.delete(FileType::Snapshot, &id.into()).await {
            // Where nothing may be deleted, both stand, and the new one counts.
            Err(error) if error.kind() == Kind::AccessDenied => continue,
            deleted => deleted?,
        }
        catalog
            .write(move |tx| vault::forget_snapshots(tx, &[id]))
            .await?;
    }
    // Saving took the one that was written last for the newest.
    if let Some(last) = own.last {
        let last = renamed.get(&last).copied().unwrap_or(last);
        catalog.write(move |tx| identity::published(tx, last)).await?;
    }
    Ok(renamed.len())
}
