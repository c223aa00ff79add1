//! The part of the front door for hosts that leave when and what to the Scheduler.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Engine, Shared};
use crate::{
    due::{self, DueJob, DueParts, DueReport},
    error::Result,
    scheduler::Work,
    window::Traffic,
};

impl Engine {
    /// To be called whenever the app is awake, for whatever reason: decides from the policy in the diary, the conditions, and all that was written down before;
    /// does the most urgent work that may be done, in one window; and says what to ask of the operating system next. The engine does nothing by itself in between.
    ///
    /// Decision, window and outcome are in the diary, so that they can be explained. That the work failed is no error of this.
    pub async fn run_due(&self, job: DueJob) -> Result<DueReport> {
        let stop = job.stop.token().clone();
        let run = |shared: Arc<Shared>, cancel: CancellationToken| async move {
            let parts = DueParts {
                repository: &shared.repository,
                catalog: &shared.catalog,
                window: &shared.window,
                prune: shared.prune_parts(&cancel),
                meter: &shared.meter,
                events: &shared.events,
            };
            due::run_due(&parts, job, &cancel).await
        };
        self.run(Work::Backup, stop, run).await
    }

    /// The user says that the data is gone on purpose: snapshots that were published under the newborn guard's tag count from now on. Returns how many there
    /// were. If it is not on purpose, restore instead: the guard lets go by itself when the data is back.
    pub async fn confirm_newborn(&self) -> Result<usize> {
        let confirm =
            |shared: Arc<Shared>, _| async move { due::confirm(&shared.repository, &shared.catalog).await };
        self.run(Work::Forget, CancellationToken::new(), confirm).await
    }

    /// What went over the network since the last call, for hosts that write the diary themselves.
    pub fn take_traffic(&self) -> Traffic {
        self.shared.window.gate.take_traffic()
    }
}
