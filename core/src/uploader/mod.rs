//! The Uploader: the spool's way into the vault, index files, and the snapshot.
//!
//! It keeps the order that a complete snapshot needs: a pack is confirmed before an index names it, and everything a snapshot needs is in the vault,
//! looked at anew, before the snapshot is. At a stop, requests under way are given up; what was confirmed is in the catalog. It never reads a
//! source.

mod actor;
mod decide;
mod messages;
mod publish;

pub(crate) use actor::{UploaderHandle, UploaderParts};
pub(crate) use messages::PublishOutcome;
