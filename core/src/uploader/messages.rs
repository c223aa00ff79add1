//! What the Uploader is asked.

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::SpooledPack,
    error::{Error, Result},
    format::{Snapshot, SnapshotId},
    runtime::budget::Permit,
    window::{
        LockPolicy,
        decide::{Span, Unindexed},
    },
};

/// Send this pack. Answered at once; what becomes of it is told through `stored`, where someone wants to know.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SendPack {
    pub(super) pack: SpooledPack,
    /// Its room in the spool; `None` for a pack that was there before the engine started.
    pub(super) permit: Option<Permit>,
    pub(super) cancel: CancellationToken,
    pub(super) stored: Option<oneshot::Sender<Result<()>>>,
}

/// Publish this snapshot when every pack is confirmed. `epoch`: the loss epoch in which all that it names was known to be stored.
#[derive(Message)]
#[rtype(result = "Result<PublishOutcome>")]
pub(super) struct Publish {
    pub(super) snapshot: Box<Snapshot>,
    pub(super) epoch: i64,
    pub(super) lock: LockPolicy,
    pub(super) cancel: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishOutcome {
    Published(SnapshotId),
    /// The vault has lost something since: what the snapshot names must be looked at again.
    Lost,
}

/// Forget what is queued. Answered when nothing is on its way any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Abandon;

/// From now on nothing begins that would not be over before the end of the window.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct OpenWindow {
    pub(super) span: Span,
    /// What was confirmed before and has no index yet.
    pub(super) unindexed: Unindexed,
    pub(super) lock: LockPolicy,
    /// Of the window.
    pub(super) cancel: CancellationToken,
}

/// Answered when nothing is on its way and nothing more can be begun in this window, with what stood in the way, if anything failed.
#[derive(Message)]
#[rtype(result = "Option<Error>")]
pub(super) struct Drain;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CloseWindow;

/// The process was frozen: whatever is on its way is given up and begun anew.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Frozen;
