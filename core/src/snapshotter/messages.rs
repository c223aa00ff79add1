//! What the Snapshotter is asked.

use actix::prelude::*;
use tokio_util::sync::CancellationToken;

use super::job::{BackupJob, BackupReport};
use crate::{
    catalog::{SpooledPack, run::RunRow},
    error::Result,
    format::PackId,
    runtime::budget::Permit,
    window::LockPolicy,
};

/// How a run is done.
pub(crate) struct Terms {
    /// The guards see to it that nothing of another phone's is mixed in, and that no good snapshot is pushed out.
    pub(crate) guarded: bool,
    pub(crate) lock: LockPolicy,
    /// A pack is closed when it has so many bytes.
    pub(crate) pack_target_bytes: u64,
    /// No blob of a file or database is longer: a power of two.
    pub(crate) piece_bytes_max: usize,
    /// `None`: to its end, now.
    pub(crate) window: Option<WindowTerms>,
}

/// Of a run that lives in the catalog, for as long as a window is open. What is in the spool is sent by the window.
pub(crate) struct WindowTerms {
    /// Cancelled when sealing must end.
    pub(crate) seal: CancellationToken,
    /// Packs in the spool that are not full, and not being sent.
    pub(crate) unfilled: Vec<PackId>,
    /// Whether the vault is to be looked at first; if not, what is known of it is recent.
    pub(crate) look: bool,
    pub(crate) row: RunRow,
}

/// Run this backup. The answer comes when its snapshot is published, or when it ended before that.
#[derive(Message)]
#[rtype(result = "Result<BackupReport>")]
pub(super) struct Backup {
    pub(super) job: BackupJob,
    pub(super) terms: Terms,
    pub(super) cancel: CancellationToken,
}

/// A pack is in the spool and in the catalog. Answered when the Uploader has been told.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PackSealed {
    pub(super) pack: SpooledPack,
    pub(super) permit: Permit,
}
