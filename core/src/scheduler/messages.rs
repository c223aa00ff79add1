//! What the Scheduler is asked.

use actix::prelude::*;

use super::decide::Work;
use crate::error::Result;

/// May this run now? Answered at once; `Finished` must follow a yes.
#[derive(Message)]
#[rtype(result = "Result<()>")]
pub(super) struct RunNow(pub(super) Work);

/// Answered when no job runs.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WhenIdle;

/// A job that was admitted has ended, however.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Finished;
