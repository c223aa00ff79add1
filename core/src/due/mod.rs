//! Does what the Scheduler decides: one decision, one window at most, and a word in the journal before and after it.
//!
//! What is done is chosen in `scheduler/decision.rs`, how it ended in `ends.rs`; `perform.rs` has the rest.

mod confirm;
mod ends;
mod perform;

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    confirm::confirm,
    perform::{DueParts, run_due},
};
use crate::{
    check::SampleReport,
    error::Error,
    format::SnapshotId,
    prune::PruneReport,
    scheduler::{Closed, Conditions, Decision, Grant, Reason, Task},
    snapshotter::{BackupJob, BackupReport},
    window::LockPolicy,
};

/// What a host says each time its app is awake: what there is to back up, and what the phone is like.
#[derive(Debug, Clone)]
pub struct DueJob {
    /// The same each time: a run that was begun goes on only with the same sources.
    pub backup: BackupJob,
    pub conditions: Conditions,
    pub lock: LockPolicy,
    /// For when the operating system takes the window back, or the network changes.
    pub stop: StopSignal,
}

/// Ends a window, and says why. Clones are the same signal.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    token: CancellationToken,
    why: Arc<OnceLock<Reason>>,
}

impl StopSignal {
    /// The engine is quiet within 250 ms. The first reason stands.
    pub fn stop(&self, why: Reason) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    pub fn reason(&self) -> Option<Reason> {
        self.why.get().copied()
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// What became of one call.
#[derive(Debug, Clone)]
pub struct DueReport {
    /// What was decided when the call came.
    pub decision: Decision,
    /// The window of an earlier process, which was killed in it.
    pub killed: Option<Closed>,
    /// Alarms that were raised or taken back, whatever the call was made for. Each is told once.
    pub alarms: Vec<Reason>,
    /// What was done, if anything could be.
    pub window: Option<DueWindow>,
    /// More can be done now: call again with fresh conditions, if there is time.
    pub again: bool,
    /// What is decided after it: its wakes are to be asked of the operating system in place of what was asked before.
    pub next: Decision,
}

/// One window.
#[derive(Debug, Clone)]
pub struct DueWindow {
    pub task: Task,
    pub grant: Grant,
    /// As it stands in the journal.
    pub closed: Closed,
    pub done: Option<DueDone>,
    pub error: Option<Error>,
}

/// What a task that came to its end has to tell.
#[derive(Debug, Clone)]
pub enum DueDone {
    BackedUp(Box<BackupReport>),
    Forgot(Vec<SnapshotId>),
    Verified(SampleReport),
    Pruned(PruneReport),
}
