//! Verifies a repository: everything that `restic check --read-data` verifies, and what that leaves out.
//!
//! It believes nothing but the vault: what the engine's catalog says is not asked. It reads only. A damaged
//! file is a finding and never ends the check; what ends it is a vault that cannot be reached, a full disk,
//! and being stopped. Memory is bounded by `limits`, whatever the vault holds: what grows with it lies in a
//! database of the check's own, which is removed at the end, and before the next check if a kill left it.
//!
//! No lock is taken. Where another client deletes meanwhile, the check ends with `Kind::Locked` rather than
//! to call missing what was removed on purpose.

mod findings;
pub(crate) mod index;
mod job;
pub(crate) mod layout;
mod opening;
mod packs;
mod piece;
pub(crate) mod reached;
mod sample;
pub(crate) mod scratch;
mod snapshots;
mod tree;
mod trees;
pub(crate) mod vault;

use std::{collections::HashSet, path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;

use self::findings::Findings;
pub use self::job::{CheckJob, CheckReport, Finding, Severity};
pub use self::sample::SampleReport;
pub(crate) use self::sample::{SampleBounds, sample};
use crate::{
    catalog::{Catalog, remove_database},
    error::{Error, Kind, Result},
    events::{Meter, Phase},
    format::{FileId, FileType},
    repository::{Repository, or_cancelled},
};

/// What the parts of a check share.
struct Checker {
    repository: Repository,
    scratch: Catalog,
    meter: Arc<Meter>,
    cancel: CancellationToken,
    found: Findings,
    report: CheckReport,
}

/// Checks a repository, with a database in `scratch_dir` that must be the caller's alone.
pub(crate) async fn check(
    repository: &Repository,
    scratch_dir: &Path,
    job: CheckJob,
    meter: &Arc<Meter>,
    cancel: &CancellationToken,
) -> Result<CheckReport> {
    meter.reset();
    meter.phase(Phase::Checking);
    let (scratch, thread, path) = scratch::start(scratch_dir)?;
    let mut checker = Checker {
        repository: repository.clone(),
        scratch,
        meter: meter.clone(),
        cancel: cancel.clone(),
        found: Findings::default(),
        report: CheckReport::default(),
    };
    let result = or_cancelled(cancel, checker.run(job)).await;
    let Checker {
        scratch,
        found,
        mut report,
        ..
    } = checker;
    // What still runs there is of no use to anyone.
    scratch.interrupt();
    // Its thread ends with the last handle to it.
    drop(scratch);
    let removal = tokio::task::spawn_blocking(move || {
        thread.join();
        // What stays behind is removed by the next check.
        let _ = remove_database(&path);
    });
    let _ = removal.await;
    meter.phase(Phase::Idle);
    result?;
    found.report(&mut report);
    Ok(report)
}

impl Checker {
    /// Snapshots are listed before the indexes are read and those before the packs are listed, so that what
    /// other clients add meanwhile is never taken for missing.
    async fn run(&mut self, job: CheckJob) -> Result<()> {
        self.check_locks().await?;
        self.check_config().await?;
        self.check_keys().await?;
        let snapshots = self.list(FileType::Snapshot).await?;
        let indexes = self.list(FileType::Index).await?;
        self.load_indexes(&indexes).await?;
        self.list_packs().await?;
        self.judge_packs(job.read_data).await?;
        self.count_blobs().await?;
        if job.read_data {
            self.read_packs().await?;
        }
        self.check_snapshots(snapshots).await?;
        self.check_trees().await?;
        if self.found.has_errors() {
            self.still_the_same(&indexes).await?;
        }
        Ok(())
    }

    async fn list(&self, kind: FileType) -> Result<Vec<FileId>> {
        let listed = self.repository.storage.list(kind).await?;
        Ok(listed.into_iter().map(|(id, _)| id).collect())
    }

    /// Whoever removes packs removes the indexes that name them first. Then what was found missing may not
    /// have been missing at any time.
    async fn still_the_same(&mut self, indexes: &[FileId]) -> Result<()> {
        let now = self.list(FileType::Index).await?;
        let now: HashSet<FileId> = now.into_iter().collect();
        if indexes.iter().all(|id| now.contains(id)) {
            Ok(())
        } else {
            Err(changed_meanwhile())
        }
    }
}

fn changed_meanwhile() -> Error {
    let text = "another client removed index files while the check was running: check again when it is done";
    Error::new(Kind::Locked, text)
}
