//! The Snapshotter: from sources to sealed packs in the spool and the tree that names them.
//!
//! It owns the run: looking at the vault, the walk, the sealing, and asking the Uploader to publish. At a stop, what is sealed is in the spool and in
//! the catalog; the same job goes on from there. It never touches the vault but to read, and never writes to a source.

mod actor;
mod assemble;
mod databases;
mod decide;
mod guarding;
mod job;
mod look;
mod messages;
mod packing;
mod pipeline;
mod previous;
mod resume;
mod room;
mod rows;

pub(crate) use actor::{SnapshotterHandle, SnapshotterParts};
pub(crate) use guarding::{new_install, now_ms};
pub use job::{BackupJob, BackupReport, BackupStats, Unreadable};
pub(crate) use messages::{Terms, WindowTerms};
pub(crate) use room::SpoolRoom;
