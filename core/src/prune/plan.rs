//! Which packs are kept, packed anew, marked and deleted. Pure: facts and the time go in, actions come out.
//!
//! What is packed anew follows restic's prune, so that both leave the same behind; when packs go is ours, because
//! clients of ours sleep.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    facts::{Content, PackFacts},
    job::{BlobCount, PackAction, PackCount, PruneJob, PruneTotals},
};
use crate::format::{PackId, Timestamp};

/// The smallest size at which restic closes a pack. Four fifths of it are never small.
const PACK_BYTES_MIN: u64 = 4 << 20;
/// Fewer small packs than this are left alone: it would never end otherwise.
const SMALL_PACKS_MIN: usize = 10;

/// Why nothing can be planned. The vault is damaged, and pruning it might make that worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Missing(PackId),
    WrongSize { id: PackId, file: u64, indexed: u64 },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    /// For each pack, in the order of the facts; `None` where it is kept as it is.
    pub(super) actions: Vec<Option<PackAction>>,
    pub(super) totals: PruneTotals,
}

/// Decides for all packs. The order of the facts does not matter.
pub(super) fn decide(packs: &[PackFacts], job: &PruneJob, now: Timestamp) -> Result<Decision, Refusal> {
    let small_bytes = small_bytes(packs, job);
    let mut actions = vec![None; packs.len()];
    let (mut candidates, mut small) = (Vec::new(), Vec::new());
    let mut remaining_unused = 0;
    for (number, pack) in packs.iter().enumerate() {
        match settle(pack, job, now)? {
            Fate::Settled(action) => actions[number] = Some(action),
            Fate::Stays if pack.unused_blobs() > 0 || pack.is_misshapen() => candidates.push(number),
            Fate::Stays if pack.bytes() < small_bytes => small.push(number),
            Fate::Stays => {}
        }
        let is_kept = actions[number].is_none();
        if is_kept {
            remaining_unused += pack.unused_bytes();
        }
    }
    if small.len() >= SMALL_PACKS_MIN {
        candidates.append(&mut small);
    }
    if job.trees_only {
        candidates.retain(|&number| packs[number].content != Content::Data);
    }
    candidates.sort_by(|&a, &b| by_urgency(&packs[a], &packs[b], small_bytes));
    let used: u64 = packs
        .iter()
        .map(|pack| pack.single.bytes + pack.chosen.bytes)
        .sum();
    let allowed = job.max_unused.bytes(used);
    let repack_max = job.max_repack_bytes.unwrap_or(u64::MAX);
    let mut repack_bytes = 0_u64;
    let mut postponed = PackCount::default();
    for number in candidates {
        let pack = &packs[number];
        let is_bearable = pack.content == Content::Data
            && !pack.is_misshapen()
            && pack.bytes() >= small_bytes
            && remaining_unused < allowed;
        if is_bearable {
            continue;
        }
        if repack_bytes.saturating_add(pack.bytes()) > repack_max {
            if pack.bytes() <= repack_max {
                postponed.add(pack.bytes());
            }
            continue;
        }
        repack_bytes += pack.bytes();
        remaining_unused -= pack.unused_bytes();
        actions[number] = Some(PackAction::Repack);
    }
    let totals = PruneTotals {
        postponed,
        ..totals(packs, &actions, remaining_unused)
    };
    Ok(Decision { actions, totals })
}

/// What may be done of what a fresh look allows: nothing is taken away that the plan did not name for it.
pub(super) fn narrow(
    packs: &[PackFacts],
    fresh: &[Option<PackAction>],
    planned: &BTreeMap<PackId, PackAction>,
    now: Timestamp,
) -> Vec<Option<PackAction>> {
    let narrow = |(pack, action): (&PackFacts, &Option<PackAction>)| {
        let planned = planned.get(&pack.id);
        match action {
            // That is done by now, as far as it was planned.
            Some(PackAction::Repack) => None,
            Some(PackAction::Delete) if planned != Some(&PackAction::Delete) => {
                Some(PackAction::WaitUnindexed {
                    since: pack.unindexed_since.filter(|since| *since <= now).unwrap_or(now),
                })
            }
            Some(PackAction::Retire) if !matches!(planned, Some(PackAction::Retire | PackAction::Repack)) => {
                Some(PackAction::WaitUnused {
                    since: pack.unused_since.filter(|since| *since <= now).unwrap_or(now),
                })
            }
            Some(PackAction::Forget) if planned != Some(&PackAction::Forget) => None,
            action => *action,
        }
    };
    packs.iter().zip(fresh).map(narrow).collect()
}

enum Fate {
    Settled(PackAction),
    /// It holds what is needed.
    Stays,
}

fn settle(pack: &PackFacts, job: &PruneJob, now: Timestamp) -> Result<Fate, Refusal> {
    let Some(indexed) = pack.indexed else {
        return Ok(Fate::Settled(settle_unindexed(pack, job, now)));
    };
    if pack.used_blobs() > 0 {
        return match pack.file {
            None => Err(Refusal::Missing(pack.id)),
            Some(file) if file != indexed => Err(Refusal::WrongSize {
                id: pack.id,
                file,
                indexed,
            }),
            Some(_) => Ok(Fate::Stays),
        };
    }
    let action = if pack.file.is_none() {
        PackAction::Forget
    } else if pack.shared.blobs > 0 {
        // Whoever counts on it finds the same elsewhere.
        PackAction::Retire
    } else {
        match aged(pack.unused_since, job, now) {
            Ok(()) => PackAction::Retire,
            Err(since) => PackAction::WaitUnused { since },
        }
    };
    Ok(Fate::Settled(action))
}

fn settle_unindexed(pack: &PackFacts, job: &PruneJob, now: Timestamp) -> PackAction {
    if pack.rescue {
        return PackAction::Recover;
    }
    match aged(pack.unindexed_since, job, now) {
        Ok(()) => PackAction::Delete,
        Err(since) => PackAction::WaitUnindexed { since },
    }
}

/// Whether the grace is over; if not, since when it runs. A mark from the future says nothing: a clock was wrong.
fn aged(since: Option<Timestamp>, job: &PruneJob, now: Timestamp) -> Result<(), Timestamp> {
    let since = since.filter(|since| *since <= now).unwrap_or(now);
    let age = now.seconds().saturating_sub(since.seconds());
    let grace = i64::try_from(job.grace.as_secs()).unwrap_or(i64::MAX);
    if age >= grace { Ok(()) } else { Err(since) }
}

/// Packs below this size are put together: four fifths of what nearly all packs have, and of no less than 4 MiB.
fn small_bytes(packs: &[PackFacts], job: &PruneJob) -> u64 {
    if let Some(bytes) = job.repack_smaller_than {
        return bytes;
    }
    let mut sizes: Vec<u64> = packs.iter().filter_map(|pack| pack.indexed).collect();
    if sizes.is_empty() {
        return 0;
    }
    let place = sizes.len() * 3 / 100;
    let (_, size, _) = sizes.select_nth_unstable(place);
    (*size).max(PACK_BYTES_MIN) / 5 * 4
}

/// Folders first, then what is too small, then by the share that is of no use.
fn by_urgency(a: &PackFacts, b: &PackFacts, small_bytes: u64) -> Ordering {
    let is_data = |pack: &PackFacts| pack.content == Content::Data;
    let is_large = |pack: &PackFacts| pack.bytes() >= small_bytes;
    let weight = |one: &PackFacts, other: &PackFacts| {
        let other_used = other.bytes().saturating_sub(other.unused_bytes());
        u128::from(one.unused_bytes()) * u128::from(other_used)
    };
    is_data(a)
        .cmp(&is_data(b))
        .then_with(|| is_large(a).cmp(&is_large(b)))
        .then_with(|| weight(b, a).cmp(&weight(a, b)))
        .then_with(|| a.id.cmp(&b.id))
}

fn totals(packs: &[PackFacts], actions: &[Option<PackAction>], unused_kept_bytes: u64) -> PruneTotals {
    let mut totals = PruneTotals {
        unused_kept_bytes,
        ..PruneTotals::default()
    };
    for (pack, action) in packs.iter().zip(actions) {
        let count = match action {
            None => &mut totals.keep,
            Some(PackAction::Repack) => &mut totals.repack,
            Some(PackAction::WaitUnused { .. }) => &mut totals.wait_unused,
            Some(PackAction::Retire) => &mut totals.retire,
            Some(PackAction::WaitUnindexed { .. }) => &mut totals.wait_unindexed,
            Some(PackAction::Delete) => &mut totals.delete,
            Some(PackAction::Recover) => &mut totals.recover,
            Some(PackAction::Forget) => &mut totals.forget,
        };
        count.add(pack.file.unwrap_or(pack.bytes()));
        let used = BlobCount {
            blobs: pack.used_blobs(),
            bytes: pack.single.bytes + pack.chosen.bytes,
        };
        totals.used.add(used);
        totals.unused.add(pack.dead);
        totals.duplicate.add(BlobCount {
            blobs: pack.shared.blobs - pack.chosen.blobs,
            bytes: pack.shared.bytes - pack.chosen.bytes,
        });
        if *action == Some(PackAction::Repack) {
            totals.repacked.add(used);
        }
    }
    totals
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
