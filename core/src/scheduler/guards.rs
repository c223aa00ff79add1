//! Guards against losing good snapshots: to an app that has suddenly lost its data, to a second phone under the same identity, and to a retention that
//! was not thought through. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::history::Complete;
use crate::{
    format::{Snapshot, SnapshotId, Timestamp},
    retention::{self, GroupBy, RetentionError, SnapshotFacts},
};

/// The tag of snapshots that were made while the newborn guard holds: they are kept, and push nothing out.
pub const UNCONFIRMED_TAG: &str = "lifeboat-unconfirmed";
/// The tag of snapshots that lack something which could not be read, and of which no earlier version was kept.
pub const INCOMPLETE_TAG: &str = "lifeboat-incomplete";
/// Before the install id in the tag that says which install made a snapshot.
pub const INSTALL_TAG: &str = "lifeboat-install=";

/// Less than one part in so many of the last snapshot is suspicious.
const FRACTION: u64 = 4;
/// Apps that never held more than this may lose it without being asked.
const FILES_WORTH_ASKING: u64 = 8;
const BYTES_WORTH_ASKING: u64 = 64 * 1024;

/// Whether a backup looks like that of an app that has just lost its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newborn {
    /// Publish as usual.
    Plain,
    /// Publish with [`UNCONFIRMED_TAG`], and forget nothing until somebody has confirmed.
    Suspected,
}

/// Compares what a backup holds with the last confirmed snapshot. `held` is the guard as it is: what is suspected stays so until it is confirmed, or the data
/// is back.
pub fn newborn(confirmed: Option<Complete>, files: u64, bytes: u64, held: bool) -> Newborn {
    let Some(last) = confirmed else {
        return Newborn::Plain;
    };
    let worth_asking = last.files >= FILES_WORTH_ASKING || last.bytes >= BYTES_WORTH_ASKING;
    // An eighth of the way back is not back: a guard that holds wants half.
    let fraction = if held { FRACTION / 2 } else { FRACTION };
    let few_files = files.saturating_mul(fraction) < last.files && last.files >= FILES_WORTH_ASKING;
    let few_bytes = bytes.saturating_mul(fraction) < last.bytes && last.bytes >= BYTES_WORTH_ASKING;
    if worth_asking && (few_files || few_bytes) {
        Newborn::Suspected
    } else {
        Newborn::Plain
    }
}

/// What one engine knows of its own line of snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    pub install: String,
    /// The last snapshot that this engine knows it published.
    pub last: Option<SnapshotId>,
    /// Those that it was about to publish when it was last killed: written down before the attempt.
    pub intended: Vec<SnapshotId>,
}

/// A snapshot of the vault, as far as lineage goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageFacts {
    pub id: SnapshotId,
    pub parent: Option<SnapshotId>,
    pub time: Timestamp,
    /// From its [`INSTALL_TAG`].
    pub install: Option<String>,
}

impl LineageFacts {
    pub fn of(id: SnapshotId, snapshot: &Snapshot) -> Self {
        Self {
            id,
            parent: snapshot.parent,
            time: snapshot.time.timestamp,
            install: install_of(&snapshot.tags).map(str::to_owned),
        }
    }
}

/// The install that made a snapshot with these tags, if it says so.
pub fn install_of(tags: &[String]) -> Option<&str> {
    tags.iter().find_map(|tag| tag.strip_prefix(INSTALL_TAG))
}

/// Whether a run of this line may compare with such a snapshot, and fall back on it for what cannot be read: never on one of another phone. An engine that has
/// published nothing yet goes on from whatever there is.
pub fn may_follow(own: &Lineage, id: SnapshotId, tags: &[String]) -> bool {
    match install_of(tags) {
        Some(install) => own.last.is_none() || own.last == Some(id) || install == own.install,
        None => true,
    }
}

/// What the last confirmed snapshot of this line held, of those that are about the same things; the oldest first.
pub fn last_confirmed<'a>(
    own: &Lineage,
    same: impl DoubleEndedIterator<Item = &'a (SnapshotId, Snapshot)>,
) -> Option<Complete> {
    let is_confirmed = |tags: &[String]| !tags.iter().any(|tag| tag == UNCONFIRMED_TAG);
    same.rev()
        .filter(|(id, snapshot)| may_follow(own, *id, &snapshot.tags) && is_confirmed(&snapshot.tags))
        .find_map(|(_, snapshot)| {
            let summary = snapshot.summary.as_ref()?;
            Some(Complete {
                at_ms: snapshot.time.timestamp.seconds().saturating_mul(1000),
                files: summary.total_files_processed,
                bytes: summary.total_bytes_processed,
            })
        })
}

/// Whether somebody else goes on under this identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    Ours,
    /// `theirs` were published by another engine under our install id. Take a new id, and go on from `parent`, which both have: nothing is lost, and each line
    /// is complete by itself.
    Shared {
        theirs: Vec<SnapshotId>,
        parent: Option<SnapshotId>,
    },
}

/// Looks for snapshots under our install id that are neither ours nor before ours. To be asked before each run, when the vault's snapshots have been listed.
///
/// A phone that was set back to an old image finds its own later snapshots so, and cannot tell: it takes a new identity as well, which costs nothing but a name.
pub fn clone_guard(own: &Lineage, vault: &[LineageFacts]) -> Identity {
    let by_id: HashMap<SnapshotId, &LineageFacts> = vault.iter().map(|facts| (facts.id, facts)).collect();
    let mut ours: HashSet<SnapshotId> = own.intended.iter().copied().chain(own.last).collect();
    if ours.is_empty() {
        // A new catalog knows of no snapshot: whatever is under this id is from before, and ours to go on from.
        return Identity::Ours;
    }
    let newest = ours
        .iter()
        .filter_map(|id| by_id.get(id))
        .map(|facts| facts.time)
        .max();
    let mut to_follow: Vec<SnapshotId> = ours.iter().copied().collect();
    while let Some(id) = to_follow.pop() {
        // Where a parent was forgotten, the line ends.
        let parent = by_id.get(&id).and_then(|facts| facts.parent);
        to_follow.extend(parent.filter(|parent| ours.insert(*parent)));
    }
    let branches_off = |facts: &LineageFacts| {
        let after_ours = newest.is_some_and(|newest| facts.time > newest);
        after_ours || follows_one_of(&ours, facts, &by_id)
    };
    let under_our_id = |facts: &&LineageFacts| facts.install.as_deref() == Some(own.install.as_str());
    let theirs: Vec<SnapshotId> = (vault.iter().filter(under_our_id))
        .filter(|facts| !ours.contains(&facts.id) && branches_off(facts))
        .map(|facts| facts.id)
        .collect();
    if theirs.is_empty() {
        Identity::Ours
    } else {
        let parent = own.last;
        Identity::Shared { theirs, parent }
    }
}

fn follows_one_of(
    ours: &HashSet<SnapshotId>,
    facts: &LineageFacts,
    by_id: &HashMap<SnapshotId, &LineageFacts>,
) -> bool {
    let mut at = facts.parent;
    // A line cannot be longer than the vault has snapshots, unless somebody made a ring.
    for _ in 0..by_id.len() {
        match at {
            Some(id) if ours.contains(&id) => return true,
            Some(id) => at = by_id.get(&id).and_then(|facts| facts.parent),
            None => return false,
        }
    }
    false
}

/// A snapshot as `forget` by policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub facts: SnapshotFacts,
    /// Everything could be read when it was made, or an earlier version was kept of what could not.
    pub complete: bool,
}

impl Candidate {
    pub fn of(id: SnapshotId, snapshot: &Snapshot) -> Self {
        Self {
            facts: SnapshotFacts::of(id, snapshot),
            complete: !snapshot.tags.iter().any(|tag| tag == INCOMPLETE_TAG),
        }
    }
}

/// Why nothing is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgetRefusal {
    #[error("the app suddenly held a fraction of its data, and nobody has confirmed that")]
    NewbornHold,
    #[error(transparent)]
    Retention(#[from] RetentionError),
}

/// The snapshots that the policy lets go, group by group as restic groups them, by host and paths, and each install's by themselves: what two phones back up under
/// one name does not push each other out.
///
/// Never one that is not followed by a complete snapshot of its group, so the newest complete one always stays; never one that is not from the past, which a clock
/// must have got wrong; and none at all while the newborn guard holds. Unconfirmed snapshots neither go nor count.
pub fn forgettable(
    all: Vec<Candidate>,
    policy: &retention::Policy,
    now: Timestamp,
    newborn_hold: bool,
) -> Result<Vec<SnapshotId>, ForgetRefusal> {
    if newborn_hold {
        return Err(ForgetRefusal::NewbornHold);
    }
    if policy.is_empty() {
        return Err(RetentionError::EmptyPolicy.into());
    }
    let complete: HashSet<SnapshotId> = all
        .iter()
        .filter(|candidate| candidate.complete)
        .map(|candidate| candidate.facts.id)
        .collect();
    let mut by_install: BTreeMap<Option<String>, Vec<SnapshotFacts>> = BTreeMap::new();
    for Candidate { facts, .. } in all {
        if !facts.tags.iter().any(|tag| tag == UNCONFIRMED_TAG) {
            let install = install_of(&facts.tags).map(str::to_owned);
            by_install.entry(install).or_default().push(facts);
        }
    }
    let groups = by_install
        .into_values()
        .flat_map(|line| retention::group(line, GroupBy::default()));
    let mut gone = Vec::new();
    for (_, members) in groups {
        let past = |facts: &SnapshotFacts| facts.time.timestamp <= now;
        let whole = members
            .iter()
            .filter(|facts| past(facts) && complete.contains(&facts.id));
        let Some(newest) = whole.map(|facts| facts.time.timestamp).max() else {
            continue;
        };
        let decisions = retention::apply(policy, members, now)?;
        let let_go = decisions
            .into_iter()
            .filter(|decision| !decision.keep)
            .map(|decision| decision.snapshot);
        gone.extend(
            let_go
                .filter(|facts| facts.time.timestamp < newest)
                .map(|facts| facts.id),
        );
    }
    Ok(gone)
}

#[cfg(test)]
mod tests;
