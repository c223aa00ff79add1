//! What the Snapshotter is asked.

use actix::prelude::*;
use tokio_util::sync::CancellationToken;

use super::job::{BackupJob, BackupReport};
use crate::{catalog::SpooledPack, error::Result, runtime::budget::Permit};

/// Run this backup. The answer comes when its snapshot is published, or when it ended before that.
#[derive(Message)]
#[rtype(result = "Result<BackupReport>")]
pub(super) struct Backup {
    pub(super) job: BackupJob,
    pub(super) cancel: CancellationToken,
}

/// A pack is in the spool and in the catalog. Answered when the Uploader has been told.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PackSealed {
    pub(super) pack: SpooledPack,
    pub(super) permit: Permit,
}
