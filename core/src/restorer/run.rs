//! A restore from its first look at the vault to its last file in place, on a thread of its own.

use std::{
    cell::RefCell,
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::{
    apply,
    job::{RestoreJob, RestoreReport, RestoreWarning},
    journal::Staged,
    plan::{Scope, staging_name},
    stage,
    staging::{Staging, Target, clear_others},
};
use crate::{
    catalog::Catalog,
    error::{Error, Kind, Result},
    events::{Meter, Phase},
    format::{PackId, Snapshot, SnapshotId},
    limits,
    repository::{self, Repository, find_snapshot, list_snapshots, or_cancelled},
};

/// What a restore works with.
pub(super) struct RestoreContext {
    pub(super) repository: Repository,
    pub(super) catalog: Catalog,
    pub(super) meter: Arc<Meter>,
    pub(super) cancel: CancellationToken,
    pub(super) runtime: tokio::runtime::Handle,
    /// Packs that turned out not to be in the vault: what they hold may be in others too.
    pub(super) gone: RefCell<HashSet<PackId>>,
}

impl RestoreContext {
    /// Waits here for what the engine thread does.
    pub(super) fn wait<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(or_cancelled(&self.cancel, step))
    }

    pub(super) fn err_if_cancelled(&self) -> Result<()> {
        repository::err_if_cancelled(&self.cancel)
    }

    /// Learns what the vault's indexes say now.
    pub(super) fn sync_indexes(&self) -> Result<()> {
        self.wait(repository::sync_indexes(
            &self.repository,
            &self.catalog,
            &self.cancel,
        ))
        .map(|_| ())
    }

    fn find_snapshot(&self, name: &str) -> Result<(SnapshotId, Snapshot)> {
        let snapshots = self.wait(list_snapshots(&self.repository, &self.catalog))?;
        find_snapshot(&snapshots, name).cloned()
    }
}

/// What is told of a restore beside what was staged.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) fetched_bytes: u64,
    pub(super) resumed_bytes: u64,
    warnings: Vec<RestoreWarning>,
    warnings_total: u64,
}

impl Tally {
    /// `path` is one in the snapshot.
    pub(super) fn warn(&mut self, path: &Path, reason: String) {
        self.warnings_total += 1;
        if self.warnings.len() < limits::REPORT_NAMES_MAX {
            let path = path.to_owned();
            self.warnings.push(RestoreWarning { path, reason });
        }
    }
}

/// How a path in a snapshot is shown.
pub(super) fn in_snapshot(path: PathBuf) -> PathBuf {
    Path::new("/").join(path)
}

/// Bytes of the repository that are not what they should be.
pub(super) fn damaged(text: impl Into<String>) -> Error {
    Error::new(Kind::Damaged, text)
}

pub(super) fn run(context: &RestoreContext, job: &RestoreJob) -> Result<RestoreReport> {
    context.meter.phase(Phase::Looking);
    let scope = Scope::of(&job.include)?;
    let (id, snapshot) = context.find_snapshot(&job.snapshot)?;
    let name = staging_name(&id, &scope);
    let mut tally = Tally::default();
    let (target, staging) = match find_complete(&job.target, &name)? {
        Some(complete) => complete,
        None => {
            context.sync_indexes()?;
            stage::check_paths(context, &snapshot, &scope)?;
            let target = Target::find_or_make(&job.target)?;
            clear_others(&target, &name)?;
            let staging = Staging::find_or_make(&target, &name)?;
            stage::stage(context, (&id, &snapshot), scope, (&target, &staging), &mut tally)?;
            // Refused before the first change or, as it is all or nothing, not at all.
            apply::check(context, &target, &staging)?;
            staging.complete()?;
            (target, staging)
        }
    };
    let staged = apply::apply(context, &target, &staging, &mut tally)?;
    staging.remove(&target)?;
    Ok(report(staged, tally))
}

/// What an interrupted run of this restore left, if it had staged everything.
fn find_complete(path: &Path, name: &str) -> Result<Option<(Target, Staging)>> {
    let Some(target) = Target::find(path)? else {
        return Ok(None);
    };
    match Staging::find(&target, name)? {
        Some(staging) if staging.journal()?.is_some() => Ok(Some((target, staging))),
        _ => Ok(None),
    }
}

fn report(staged: Staged, tally: Tally) -> RestoreReport {
    RestoreReport {
        snapshot: staged.snapshot,
        files: staged.files,
        dirs: staged.dirs,
        others: staged.others,
        bytes: staged.bytes,
        fetched_bytes: tally.fetched_bytes,
        resumed_bytes: tally.resumed_bytes,
        warnings: tally.warnings,
        warnings_total: tally.warnings_total,
    }
}
