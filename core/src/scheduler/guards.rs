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

/// What the last confirmed snapshot held, of those that are about the same things; the oldest first. Of this line, or, where it has none that is confirmed, of
/// the one that was there before.
pub fn last_confirmed<'a>(
    own: &Lineage,
    same: impl DoubleEndedIterator<Item = &'a (SnapshotId, Snapshot)>,
) -> Option<Complete> {
    let is_confirmed = |tags: &[String]| !tags.iter().any(|tag| tag == UNCONFIRMED_TAG);
    let mut of_others = None;
    for (id, snapshot) in same.rev() {
        let Some(summary) = &snapshot.summary else {
            continue;
        };
        if !is_confirmed(&snapshot.tags) {
            continue;
        }
        let held = Complete {
            at_ms: snapshot.time.timestamp.seconds().saturating_mul(1000),
            files: summary.total_files_processed,
            bytes: summary.total_bytes_processed,
        };
        if may_follow(own, *id, &snapshot.tags) {
            return Some(held);
        }
        of_others.get_or_insert(held);
    }
    of_others
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
    pub parent: Option<SnapshotId>,
    /// Everything could be read when it was made, or an earlier version was kept of what could not.
    pub complete: bool,
}

impl Candidate {
    pub fn of(id: SnapshotId, snapshot: &Snapshot) -> Self {
        Self {
            facts: SnapshotFacts::of(id, snapshot),
            parent: snapshot.parent,
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
/// must have got wrong; and none at all while the newborn guard holds. Unconfirmed snapshots neither go nor count,
/// and the newest of each branch of a fork stays.
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
    let heads = heads_of_forks(&all);
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
                .filter(|facts| facts.time.timestamp < newest && !heads.contains(&facts.id))
                .map(|facts| facts.id),
        );
    }
    Ok(gone)
}

/// The newest of each branch where a line forks: two phones published under one name before either saw the other, and each of these may be all that there is of
/// one of them. Where branches have gone on under other names, what they began with is not the newest.
fn heads_of_forks(all: &[Candidate]) -> HashSet<SnapshotId> {
    let parents: HashMap<SnapshotId, Option<SnapshotId>> = all
        .iter()
        .map(|candidate| (candidate.facts.id, candidate.parent))
        .collect();
    let mut children = HashMap::<SnapshotId, usize>::new();
    for parent in parents.values().flatten() {
        *children.entry(*parent).or_default() += 1;
    }
    let follows_a_fork = |head: &SnapshotId| {
        let mut at = *head;
        // A line cannot be longer than there are snapshots, unless somebody made a ring.
        for _ in 0..parents.len() {
            match parents.get(&at).copied().flatten() {
                Some(parent) if children.get(&parent).is_some_and(|number| *number > 1) => return true,
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    };
    let ids = parents.keys().filter(|id| !children.contains_key(id));
    ids.filter(|id| follows_a_fork(id)).copied().collect()
}

#[cfg(test)]
mod tests;
