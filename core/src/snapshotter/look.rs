//! What a run begins with: what the vault holds, and which snapshot to compare with.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::{guarding, job::BackupJob, room::SpoolRoom};
use crate::{
    catalog::{Catalog, packs, run, vault},
    error::Result,
    events::Events,
    format::{BlobId, Snapshot, SnapshotId, Timestamp},
    repository::{Repository, check_not_locked, known_snapshots, list_snapshots, sync_indexes},
    scheduler::guards::may_follow,
    uploader::UploaderHandle,
    window::LockPolicy,
};

/// What looking at the vault found.
pub(super) struct Looked {
    pub(super) epoch: i64,
    pub(super) parent: Option<(SnapshotId, BlobId)>,
}

/// Whether a snapshot is about the same as the job: of the same host and paths.
pub(super) fn is_about(job: &BackupJob) -> impl Fn(&Snapshot) -> bool {
    let (wanted, host) = (paths(job), job.host.clone());
    move |snapshot| {
        let mut paths = snapshot.paths.clone();
        paths.sort_unstable();
        snapshot.hostname == host && paths == wanted
    }
}

/// How to learn what the vault holds.
pub(super) struct Look {
    pub(super) guarded: bool,
    pub(super) events: Events,
    pub(super) lock: LockPolicy,
    pub(super) in_window: bool,
    /// If not, what is known of it is recent enough.
    pub(super) anew: bool,
}

impl Look {
    /// Learns what the vault holds, and sends on what an earlier run left in the spool.
    pub(super) async fn perform(
        self,
        repository: &Repository,
        catalog: &Catalog,
        uploader: &UploaderHandle,
        room: &SpoolRoom,
        job: &BackupJob,
        cancel: &CancellationToken,
    ) -> Result<Looked> {
        let (snapshots, epoch) = if self.anew {
            if self.lock != LockPolicy::Never {
                check_not_locked(repository).await?;
            }
            let snapshots = list_snapshots(repository, catalog).await?;
            (snapshots, sync_indexes(repository, catalog, cancel).await?)
        } else {
            (
                known_snapshots(catalog).await?,
                catalog.read(vault::loss_epoch).await?,
            )
        };
        if self.in_window && self.anew {
            let now_s = Timestamp::from(repository.clock.wall()).seconds();
            catalog
                .write(move |tx| run::change_run(tx, |row| (row.looked_s, row.tree) = (now_s, None)))
                .await?;
        }
        if !self.in_window {
            for pack in catalog.read(packs::spooled).await? {
                let permit = room.of_spooled(pack.size);
                uploader.send_pack(pack, permit, cancel.clone()).await?;
            }
        }
        let own = if self.guarded {
            Some(guarding::look(catalog, &*repository.clock, &self.events, &snapshots).await?)
        } else {
            None
        };
        let is_ours = |id: SnapshotId, snapshot: &Snapshot| {
            own.as_ref().is_none_or(|own| may_follow(own, id, &snapshot.tags))
        };
        let is_same = is_about(job);
        let mut newest_first = snapshots.iter().rev();
        let parent = newest_first.find(|(id, snapshot)| is_same(snapshot) && is_ours(*id, snapshot));
        Ok(Looked {
            epoch,
            parent: parent.map(|(id, snapshot)| (*id, snapshot.tree)),
        })
    }
}

/// The paths as a snapshot names them: absolute, sorted, each once. A source with a name of its own is named by that.
pub(super) fn paths(job: &BackupJob) -> Vec<String> {
    let mut paths: Vec<String> = job
        .sources
        .iter()
        .map(|source| {
            let place: PathBuf = source.place.iter().collect();
            let path = if source.path.ends_with(&place) || source.place.is_empty() {
                std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone())
            } else {
                PathBuf::from("/").join(place)
            };
            path.to_string_lossy().into_owned()
        })
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}
