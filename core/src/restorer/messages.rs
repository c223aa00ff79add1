//! What the Restorer is asked.

use actix::prelude::*;
use tokio_util::sync::CancellationToken;

use super::job::{RestoreJob, RestoreReport};
use crate::error::Result;

/// Run this restore. The answer comes when everything is in place, or when it ended before that.
#[derive(Message)]
#[rtype(result = "Result<RestoreReport>")]
pub(super) struct Restore {
    pub(super) job: RestoreJob,
    pub(super) cancel: CancellationToken,
}
