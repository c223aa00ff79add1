//! Which snapshots to keep: the rules of restic's `forget`, as functions of values only.
//!
//! Nothing here deletes, reads a repository or asks the time. The caller lists snapshots, [groups](group) those that belong
//! together, [applies](apply) a policy to each group, and deletes what was decided against.

mod duration;
mod group;
mod policy;
mod select;

pub use duration::*;
pub use group::*;
pub use policy::*;
pub use select::*;

use crate::format::{Snapshot, SnapshotId, ZonedTimestamp};

/// What retention has to know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    pub id: SnapshotId,
    pub time: ZonedTimestamp,
    pub hostname: String,
    pub paths: Vec<String>,
    pub tags: Vec<String>,
}

impl SnapshotFacts {
    pub fn of(id: SnapshotId, snapshot: &Snapshot) -> Self {
        Self {
            id,
            time: snapshot.time,
            hostname: snapshot.hostname.clone(),
            paths: snapshot.paths.clone(),
            tags: snapshot.tags.clone(),
        }
    }
}

/// Why a policy is not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// A text that is not a count, a duration or a list of groupings.
    #[error("{0}")]
    Invalid(String),
    /// No rule is set, so that nothing would be kept.
    #[error("the policy is empty: it would keep nothing")]
    EmptyPolicy,
    /// A rule is set and still lets go of every snapshot of a group: more likely a mistake than a wish.
    #[error("the policy would keep nothing of a group of {snapshots} snapshots")]
    KeepsNothing { snapshots: usize },
}
