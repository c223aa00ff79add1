//! A restore from its first look at the vault to its last file in place, on a thread of its own.

use std::{
    cell::RefCell,
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::{
    apply, databases,
    job::{RestoreJob, RestoreReport, RestoreWarning},
    journal::Staged,
    pending::{self, PendingState},
    plan::{Scope, staging_name},
    stage,
    staging::{DATABASES, STATE, Staging, Target, clear_others},
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
    pending::refuse_if_any(&job.target)?;
    let (id, snapshot) = context.find_snapshot(&job.snapshot)?;
    let name = staging_name(&id, &scope, job.database_files);
    let mut tally = Tally::default();
    let (target, staging) = match find_complete(&job.target, &name)? {
        Some((target, _)) if job.stage_only => {
            let text = format!(
                "this restore into {} was interrupted while files were being moved into place: run it again without \
                 staging only, to complete it",
                target.path.display()
            );
            return Err(Error::new(Kind::InvalidInput, text));
        }
        Some(complete) => complete,
        None => prepare(context, (&id, &snapshot), scope, &name, job, &mut tally)?,
    };
    if job.stage_only {
        let journal = staging.journal()?;
        let journal = journal.ok_or_else(|| Error::bug("what was staged is not there"))?;
        return report(journal.staged, &staging, false, tally);
    }
    let staged = apply::apply(context, &target, &staging, &mut tally)?;
    let report = report(staged, &staging, true, tally)?;
    staging.remove(&target)?;
    Ok(report)
}

/// Stages everything, up to saying that it is complete.
fn prepare(
    context: &RestoreContext,
    (id, snapshot): (&SnapshotId, &Snapshot),
    scope: Scope,
    name: &str,
    job: &RestoreJob,
    tally: &mut Tally,
) -> Result<(Target, Staging)> {
    let go_on = || context.err_if_cancelled();
    let folding = match find_staging(&job.target, name)? {
        Some((target, staging)) if staging.folding()?.is_some() => Some((target, staging)),
        _ => None,
    };
    let (target, staging) = match folding {
        Some(folding) => folding,
        None => {
            context.sync_indexes()?;
            stage::check_paths(context, snapshot, &scope)?;
            let target = Target::find_or_make(&job.target)?;
            clear_others(&target, name)?;
            let staging = Staging::find_or_make(&target, name)?;
            let places = (&target, &staging);
            stage::stage(context, (id, snapshot), scope, places, job.database_files, tally)?;
            // Refused before the first change or, as it is all or nothing, not at all.
            apply::check(&go_on, &target, &staging)?;
            if staging.written()?.staged.pairs > 0 {
                staging.begin_folding()?;
            } else {
                staging.remove_file(DATABASES)?;
            }
            (target, staging)
        }
    };
    context.meter.phase(Phase::Staging);
    let journal = match staging.folding()? {
        Some(journal) => journal,
        None => staging.written()?,
    };
    if journal.staged.databases > 0 {
        databases::settle(context, (&target, &staging), journal, job.stage_only, tally)?;
    }
    apply::check(&go_on, &target, &staging)?;
    if job.stage_only {
        pending::write_state(&staging, PendingState::Staged)?;
    } else {
        staging.remove_file(STATE)?;
    }
    staging.complete()?;
    Ok((target, staging))
}

fn find_staging(path: &Path, name: &str) -> Result<Option<(Target, Staging)>> {
    let Some(target) = Target::find(path)? else {
        return Ok(None);
    };
    Ok(Staging::find(&target, name)?.map(|staging| (target, staging)))
}

/// What an interrupted run of this restore left, if it had staged everything.
fn find_complete(path: &Path, name: &str) -> Result<Option<(Target, Staging)>> {
    match find_staging(path, name)? {
        Some((target, staging)) if staging.journal()?.is_some() => Ok(Some((target, staging))),
        _ => Ok(None),
    }
}

/// What was staged, with what is listed of its databases.
pub(super) fn report(
    staged: Staged,
    staging: &Staging,
    is_applied: bool,
    mut tally: Tally,
) -> Result<RestoreReport> {
    let (mut found, mut bytes) = (Vec::new(), staged.bytes);
    for listed in databases::list(staging)? {
        let listed = listed?;
        bytes = bytes
            .saturating_sub(listed.base_bytes)
            .saturating_add(listed.database.bytes);
        for reason in databases::warnings(&listed.database) {
            tally.warn(&listed.database.path, reason);
        }
        if found.len() < limits::REPORT_NAMES_MAX {
            found.push(listed.database);
        }
    }
    Ok(RestoreReport {
        snapshot: staged.snapshot,
        files: staged.files,
        dirs: staged.dirs,
        others: staged.others,
        bytes,
        fetched_bytes: tally.fetched_bytes,
        resumed_bytes: tally.resumed_bytes,
        databases: found,
        databases_total: staged.databases,
        is_applied,
        warnings: tally.warnings,
        warnings_total: tally.warnings_total,
    })
}
