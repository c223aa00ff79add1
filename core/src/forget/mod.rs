//! Forgetting snapshots by a policy. What they alone referred to stays in the vault until a prune.

mod due;

use std::collections::HashSet;

pub(crate) use self::due::forget_due;
use crate::{
    catalog::{Catalog, vault},
    error::{Error, Kind, Result},
    format::{FileType, Snapshot, SnapshotId, Timestamp},
    repository::{LockKind, Repository, find_snapshot, list_snapshots, lock},
    retention::{
        Decision, GroupBy, GroupKey, Policy, RetentionError, SnapshotFacts, SnapshotFilter, apply, group,
    },
};

/// What to forget.
#[derive(Debug, Clone, Default)]
pub struct ForgetJob {
    /// `latest`, or beginnings of ids: these are forgotten, whatever the policy says. With these the policy must be empty.
    pub snapshots: Vec<String>,
    pub policy: Policy,
    pub filter: SnapshotFilter,
    pub group_by: GroupBy,
    /// Decides and reports, and deletes nothing.
    pub dry_run: bool,
}

/// What was decided, and done.
#[derive(Debug, Clone, Default)]
pub struct ForgetReport {
    /// Each group's snapshots with what the policy says of them, newest first.
    pub groups: Vec<(GroupKey, Vec<Decision>)>,
    /// In the order of deletion; those that would be deleted in a dry run.
    pub removed: Vec<SnapshotId>,
}

pub(crate) async fn forget(
    repository: &Repository,
    catalog: &Catalog,
    job: ForgetJob,
) -> Result<ForgetReport> {
    if job.dry_run {
        return decide(repository, &list_snapshots(repository, catalog).await?, &job);
    }
    let held = lock(repository, catalog, LockKind::Exclusive).await?;
    let done = locked(repository, catalog, &job).await;
    // On every way out; one that cannot be removed now is removed at the next start.
    let released = held.release(repository, catalog).await;
    let report = done?;
    released.map(|()| report)
}

async fn locked(repository: &Repository, catalog: &Catalog, job: &ForgetJob) -> Result<ForgetReport> {
    let report = decide(repository, &list_snapshots(repository, catalog).await?, job)?;
    for id in &report.removed {
        repository
            .storage
            .delete(FileType::Snapshot, &(*id).into())
            .await?;
    }
    let removed = report.removed.clone();
    catalog
        .write(move |tx| vault::forget_snapshots(tx, &removed))
        .await?;
    Ok(report)
}

fn decide(repository: &Repository, all: &[(SnapshotId, Snapshot)], job: &ForgetJob) -> Result<ForgetReport> {
    if !job.snapshots.is_empty() {
        if !job.policy.is_empty() {
            let text = "name snapshots, or give a policy, but not both";
            return Err(Error::new(Kind::InvalidInput, text));
        }
        let mut seen = HashSet::new();
        let mut removed = Vec::new();
        for name in &job.snapshots {
            let (id, _) = find_snapshot(all, name)?;
            if seen.insert(*id) {
                removed.push(*id);
            }
        }
        return Ok(ForgetReport {
            groups: Vec::new(),
            removed,
        });
    }
    let now = Timestamp::from(repository.clock.wall());
    let facts = all.iter().map(|(id, snapshot)| SnapshotFacts::of(*id, snapshot));
    let facts: Vec<_> = facts.filter(|facts| job.filter.matches(facts)).collect();
    let mut report = ForgetReport::default();
    for (key, members) in group(facts, job.group_by) {
        let decisions = apply(&job.policy, members, now).map_err(refusal)?;
        let removed = decisions
            .iter()
            .filter(|decision| !decision.keep)
            .map(|decision| decision.snapshot.id);
        report.removed.extend(removed);
        report.groups.push((key, decisions));
    }
    Ok(report)
}

fn refusal(error: RetentionError) -> Error {
    let text = match &error {
        RetentionError::EmptyPolicy => {
            "nothing says what to keep: give at least one --keep rule, or name snapshots"
        }
        RetentionError::KeepsNothing { .. } => "nothing was forgotten",
        RetentionError::Invalid(_) => "the policy cannot be used",
    };
    Error::with_source(Kind::InvalidInput, text, error)
}
