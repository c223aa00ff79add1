//! What a restore has only staged: applied at the start of the app, before it opens its files, kept until the app confirms, and taken back
//! where it does not.
//!
//! Plain calls, without a vault, a network or an engine. Each is one step of a staging folder's way, of which the file `pending` in it
//! says how far it is (`state.rs`):
//!
//! ```text
//! staged ──apply──▶ applying ──▶ applied ──confirm──▶ confirmed (removed)
//!    └───────────────┴─────┬────────┘
//!                      roll back ──▶ rolling back ──▶ rolled back (removed)
//! ```
//!
//! Killed anywhere, the next call finishes what was begun: forwards while it was being applied, backwards while it was being rolled back.
//! A plan of everything that moves is durable before the first file does (`plan.rs`), and where each file is says what was done of it
//! (`swap.rs`). Until the end is confirmed or rolled back, everything old is in the staging folder, on the same file system. Meanwhile a
//! further restore into the target is refused.

mod plan;
mod state;
mod swap;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use state::PendingState;
use state::{Work, clear_served, find};
pub(super) use state::{refuse_if_any, write_state};
use swap::Swap;

use super::{
    apply, attributes, databases,
    folder::{Closed, Descriptors},
    job::{RestoreReport, RestoredDatabase},
    run::{Tally, in_snapshot, report},
};
use crate::{
    error::{Error, Kind, Place, Result},
    limits,
    sqlite::fold::GoOn,
};

/// What this version of the app can open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Databases that are not among these are accepted as they are.
    pub databases: Vec<AcceptedDatabase>,
}

/// What must hold of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedDatabase {
    /// In the snapshot, which is below the target.
    pub path: PathBuf,
    /// The largest `PRAGMA user_version` that the app knows how to open or to migrate.
    pub user_version_max: i32,
    /// What `PRAGMA application_id` must answer, if that matters.
    pub application_id: Option<i32>,
}

/// What waits in a target.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The beginning of the snapshot's id.
    pub snapshot: String,
    pub state: PendingState,
    /// Up to `REPORT_NAMES_MAX` of them.
    pub databases: Vec<RestoredDatabase>,
}

/// How applying ended.
#[derive(Debug, Clone)]
pub enum ApplyOutcome {
    /// Nothing is staged: the app starts as always.
    NothingPending,
    /// The restored files are in place. The old ones are kept until [`confirm`].
    Applied(Box<RestoreReport>),
    /// They have been since an earlier call, and nobody has confirmed or rolled back yet.
    Unconfirmed,
    /// A roll back had been interrupted, and is complete now: the old files are in place.
    RolledBack,
}

/// What waits in the target, if anything does. Changes nothing.
pub fn pending(target: &Path) -> Result<Option<Pending>> {
    let Some(work) = find(target)? else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for listed in databases::list(&work.staging)?.take(limits::REPORT_NAMES_MAX) {
        found.push(listed?.database);
    }
    Ok(Some(Pending {
        snapshot: work.snapshot,
        state: work.state,
        databases: found,
    }))
}

/// Puts what is staged in place. To be called before the app opens any of its files. A database that `accepts` does not accept refuses all of
/// it with `Kind::Unsupported`; everything stays as it was, and staged. An error in the midst leaves it for the next call to finish.
pub fn apply_pending(target: &Path, accepts: &Accepts) -> Result<ApplyOutcome> {
    apply_in_steps(target, accepts, &|| Ok(()))
}

/// Gives the old files up, for good. `false`: there was nothing to confirm.
pub fn confirm(target: &Path) -> Result<bool> {
    confirm_in_steps(target, &|| Ok(()))
}

/// Puts the old files back where the restored ones were applied, or gives up what is only staged. What the app has written to restored files
/// since then is lost with them. `false`: there was nothing to roll back. Not to be called while the app has its files open.
pub fn roll_back(target: &Path) -> Result<bool> {
    roll_back_in_steps(target, &|| Ok(()))
}

/// `step` is asked before each change of the disk.
fn apply_in_steps(target: &Path, accepts: &Accepts, step: GoOn) -> Result<ApplyOutcome> {
    let Some(work) = find(target)? else {
        clear_served(target)?;
        return Ok(ApplyOutcome::NothingPending);
    };
    match work.state {
        PendingState::Staged => {
            gate(&work, accepts)?;
            apply::check(&|| Ok(()), &work.target, &work.staging)?;
            step()?;
            plan::write(&work)?;
            step()?;
            write_state(&work.staging, PendingState::Applying)?;
            finish_applying(work, step)
        }
        PendingState::Applying => finish_applying(work, step),
        PendingState::Applied => Ok(ApplyOutcome::Unconfirmed),
        PendingState::RollingBack => {
            finish_rolling_back(work, step)?;
            Ok(ApplyOutcome::RolledBack)
        }
        PendingState::Served => Ok(ApplyOutcome::NothingPending),
    }
}

/// Whether the app can open what is staged.
fn gate(work: &Work, accepts: &Accepts) -> Result<()> {
    if accepts.databases.is_empty() {
        return Ok(());
    }
    for listed in databases::list(&work.staging)? {
        let found = listed?.database;
        let accepted = accepts
            .databases
            .iter()
            .find(|accepted| Path::new("/").join(&accepted.path) == found.path);
        if let Some(accepted) = accepted {
            accept(&found, accepted)?;
        }
    }
    Ok(())
}

fn accept(found: &RestoredDatabase, accepted: &AcceptedDatabase) -> Result<()> {
    let refused = |why: String| {
        let text = format!("{}: {why}; nothing was changed", found.path.display());
        Err(Error::new(Kind::Unsupported, text))
    };
    let (Some(version), Some(id)) = (found.user_version, found.application_id) else {
        return refused(
            "its schema version cannot be read, since its pages are encrypted or it is no database".into(),
        );
    };
    if version > accepted.user_version_max {
        return refused(format!(
            "its schema has version {version}, and this app knows versions up to {}: update the app, then apply again",
            accepted.user_version_max
        ));
    }
    match accepted.application_id {
        Some(expected) if expected != id => {
            refused(format!("it belongs to application {id}, not {expected}"))
        }
        _ => Ok(()),
    }
}

fn finish_applying(work: Work, step: GoOn) -> Result<ApplyOutcome> {
    let mut swap = Swap::new(&work, step)?;
    swap.forwards()?;
    let mut tally = Tally::default();
    let Some(mut journal) = work.staging.journal()? else {
        return Err(Error::bug("applying what is not staged"));
    };
    let mut dirs = Descriptors::new(work.target.descriptor()?, Closed::MakeWritable);
    while let Some((folder, node)) = journal.next_folder()? {
        step()?;
        let path = folder.path();
        let fd = dirs.of(&folder);
        let fd =
            fd.map_err(|error| Error::io(Place::Target, "opening", &work.target.path.join(&path), error))?;
        attributes::set(fd, &node, &mut |reason| {
            tally.warn(&in_snapshot(path.clone()), reason)
        });
    }
    step()?;
    work.target.sync()?;
    step()?;
    write_state(&work.staging, PendingState::Applied)?;
    let report = report(journal.staged, &work.staging, true, tally)?;
    Ok(ApplyOutcome::Applied(Box::new(report)))
}

fn confirm_in_steps(target: &Path, step: GoOn) -> Result<bool> {
    let Some(work) = find(target)? else {
        clear_served(target)?;
        return Ok(false);
    };
    match work.state {
        PendingState::Applied => finish(work, step).map(|()| true),
        PendingState::Served => Ok(false),
        PendingState::Staged => Err(not_yet("it is staged, and not applied yet: apply it first")),
        PendingState::Applying => Err(not_yet("applying it was interrupted: apply it again first")),
        PendingState::RollingBack => Err(not_yet("rolling it back was interrupted: roll it back again")),
    }
}

fn not_yet(why: &str) -> Error {
    Error::new(
        Kind::InvalidInput,
        format!("this restore cannot be confirmed: {why}"),
    )
}

fn roll_back_in_steps(target: &Path, step: GoOn) -> Result<bool> {
    let Some(work) = find(target)? else {
        clear_served(target)?;
        return Ok(false);
    };
    match work.state {
        PendingState::Staged => finish(work, step)?,
        PendingState::Applying | PendingState::Applied => {
            step()?;
            write_state(&work.staging, PendingState::RollingBack)?;
            finish_rolling_back(work, step)?;
        }
        PendingState::RollingBack => finish_rolling_back(work, step)?,
        PendingState::Served => return Ok(false),
    }
    Ok(true)
}

fn finish_rolling_back(work: Work, step: GoOn) -> Result<()> {
    Swap::new(&work, step)?.backwards()?;
    finish(work, step)
}

/// The staging folder has served.
fn finish(work: Work, step: GoOn) -> Result<()> {
    step()?;
    write_state(&work.staging, PendingState::Served)?;
    step()?;
    work.staging.discard(&work.target)
}
