//! Forgetting as the Scheduler begins it: by the policy in the diary, and only what the guards let go.

use crate::{
    catalog::{Catalog, journal, vault},
    error::{Error, Kind, Result},
    format::{FileType, SnapshotId, Timestamp},
    repository::{LockKind, Repository, list_snapshots, lock},
    scheduler::guards::{Candidate, ForgetRefusal, forgettable},
};

/// Returns what was forgotten. What is interrupted stays forgotten as far as it came.
pub(crate) async fn forget_due(repository: &Repository, catalog: &Catalog) -> Result<Vec<SnapshotId>> {
    let held = lock(repository, catalog, LockKind::Exclusive).await?;
    let done = locked(repository, catalog).await;
    // On every way out; one that cannot be removed now is removed at the next start.
    let released = held.release(repository, catalog).await;
    let gone = done?;
    released.map(|()| gone)
}

async fn locked(repository: &Repository, catalog: &Catalog) -> Result<Vec<SnapshotId>> {
    let (policy, history) = catalog
        .read(|db| Ok((journal::policy(db)?.unwrap_or_default(), journal::history(db)?)))
        .await?;
    let keep = policy
        .keep
        .policy()
        .map_err(ForgetRefusal::from)
        .map_err(refused)?;
    let hold = history.is_some_and(|history| history.newborn_hold);
    let all = list_snapshots(repository, catalog).await?;
    let all = all.iter().map(|(id, snapshot)| Candidate::of(*id, snapshot));
    let now = Timestamp::from(repository.clock.wall());
    let gone = forgettable(all.collect(), &keep, now, hold).map_err(refused)?;
    for id in &gone {
        repository
            .storage
            .delete(FileType::Snapshot, &(*id).into())
            .await?;
        let id = *id;
        catalog
            .write(move |tx| vault::forget_snapshots(tx, &[id]))
            .await?;
    }
    Ok(gone)
}

fn refused(error: ForgetRefusal) -> Error {
    Error::with_source(Kind::InvalidInput, "nothing was forgotten", error)
}
