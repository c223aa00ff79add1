//! Plans for random vaults, and a model of a vault that they are carried out on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{
    format::BlobType,
    prune::{
        facts::{CopyAt, Tally},
        job::MaxUnused,
    },
};

const GRACE: i64 = 1000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(seconds, 0).unwrap()
}

#[derive(Debug, Clone)]
struct Pack {
    id: PackId,
    blobs: Vec<u16>,
    is_indexed: bool,
    unused_since: Option<i64>,
    unindexed_since: Option<i64>,
}

/// Even blobs are data, odd ones trees. A blob always has the same length.
fn blob_type(blob: u16) -> BlobType {
    if blob.is_multiple_of(2) {
        BlobType::Data
    } else {
        BlobType::Tree
    }
}

fn length(blob: u16) -> u64 {
    100_000 + u64::from(blob) * 7919 % 900_000
}

impl Pack {
    fn new(number: u32, mut blobs: Vec<u16>) -> Self {
        blobs.dedup();
        Self {
            id: PackId::of(&number.to_le_bytes()),
            blobs,
            is_indexed: true,
            unused_since: None,
            unindexed_since: None,
        }
    }

    fn size(&self) -> u64 {
        self.blobs.iter().map(|&blob| length(blob) + 41).sum::<u64>() + 36
    }
}

#[derive(Debug, Clone, Default)]
struct Vault {
    packs: Vec<Pack>,
    used: BTreeSet<u16>,
    written: u32,
}

/// Where the chosen copy of each used blob lies.
type Chosen = BTreeMap<u16, PackId>;

impl Vault {
    /// What a survey of a vault finds, with the same steps in the same order.
    fn survey(&self, leaving: &BTreeSet<PackId>) -> (Vec<PackFacts>, Chosen) {
        let mut facts: Vec<PackFacts> = self
            .packs
            .iter()
            .map(|pack| {
                let indexed = pack.is_indexed.then(|| pack.size());
                PackFacts {
                    is_leaving: leaving.contains(&pack.id),
                    unused_since: pack.unused_since.map(at),
                    unindexed_since: pack.unindexed_since.map(at),
                    ..PackFacts::new(pack.id, Some(pack.size()), indexed)
                }
            })
            .collect();
        let mut copies: BTreeMap<u16, Vec<CopyAt>> = BTreeMap::new();
        for (number, pack) in self.packs.iter().enumerate().filter(|(_, pack)| pack.is_indexed) {
            for &blob in &pack.blobs {
                copies.entry(blob).or_default().push(CopyAt {
                    pack: number,
                    length: length(blob),
                    is_raw: false,
                });
            }
        }
        for blob in self.used.iter().filter(|blob| !copies.contains_key(blob)) {
            let holder = |pack: &Pack| !pack.is_indexed && pack.blobs.contains(blob);
            let place = self.packs.iter().position(holder).expect("a needed blob is gone");
            facts[place].rescue = true;
        }
        let mut chosen = Chosen::new();
        let mut tally = Tally(&mut facts);
        for (&blob, copies) in &copies {
            tally.count(blob_type(blob), self.used.contains(&blob), copies);
        }
        for (&blob, copies) in copies.iter().filter(|(blob, _)| self.used.contains(blob)) {
            let number = if copies.len() > 1 {
                tally.choose(copies).unwrap()
            } else {
                0
            };
            chosen.insert(blob, self.packs[copies[number].pack].id);
        }
        (facts, chosen)
    }

    /// Every blob that is needed lies in a pack that an index names, or in one that is still there to be recovered.
    fn assert_nothing_lost(&self) {
        for blob in &self.used {
            let holds = |pack: &Pack| pack.blobs.contains(blob);
            assert!(self.packs.iter().any(holds), "blob {blob} is lost");
        }
    }

    /// Carries out one prune. `stop_after` interrupts it after so many changes.
    fn prune(&mut self, job: &PruneJob, now: i64, stop_after: usize) {
        let mut left = stop_after;
        let (facts, chosen) = self.survey(&BTreeSet::new());
        let plan = decide(&facts, job, at(now)).unwrap();
        let named = |decision: &Decision| -> BTreeMap<PackId, PackAction> {
            let named = facts.iter().zip(&decision.actions);
            named
                .filter_map(|(pack, action)| Some((pack.id, (*action)?)))
                .collect()
        };
        let planned = named(&plan);
        for kind in [BlobType::Data, BlobType::Tree] {
            let mut open = Vec::new();
            let moved = chosen
                .iter()
                .filter(|(blob, pack)| {
                    blob_type(**blob) == kind && planned.get(pack) == Some(&PackAction::Repack)
                })
                .map(|(&blob, _)| blob);
            for blob in moved.collect::<Vec<_>>() {
                open.push(blob);
                if open.iter().map(|&blob| length(blob)).sum::<u64>() >= PACK_BYTES_MIN {
                    self.write(std::mem::take(&mut open), &mut left);
                }
            }
            self.write(open, &mut left);
        }
        let repacked = planned
            .iter()
            .filter(|(_, action)| **action == PackAction::Repack);
        let leaving = repacked.map(|(&id, _)| id).collect();
        let (facts, _) = self.survey(&leaving);
        let fresh = decide(&facts, job, at(now)).unwrap();
        for (pack, action) in facts
            .iter()
            .zip(narrow(&facts, &fresh.actions, &planned, at(now)))
        {
            if left == 0 {
                return;
            }
            let Some(action) = action else { continue };
            left -= 1;
            let place = self.packs.iter().position(|p| p.id == pack.id).unwrap();
            match action {
                PackAction::Repack => panic!("packing anew under the exclusive lock"),
                PackAction::WaitUnused { since } => self.packs[place].unused_since = Some(since.seconds()),
                PackAction::WaitUnindexed { since } => {
                    self.packs[place].unindexed_since = Some(since.seconds());
                }
                PackAction::Retire => {
                    self.packs[place].is_indexed = false;
                    self.packs[place].unindexed_since = Some(now);
                }
                PackAction::Recover => self.packs[place].is_indexed = true,
                PackAction::Delete => {
                    let pack = &self.packs[place];
                    let aged = pack.unindexed_since.is_some_and(|since| now - since >= GRACE);
                    assert!(
                        !pack.is_indexed && (aged || job.grace.is_zero()),
                        "deleted too early"
                    );
                    self.packs.remove(place);
                }
                PackAction::Forget => panic!("no file is missing"),
            }
            self.assert_nothing_lost();
        }
    }

    fn write(&mut self, blobs: Vec<u16>, left: &mut usize) {
        if !blobs.is_empty() && *left > 0 {
            *left -= 1;
            self.written += 1;
            self.packs.push(Pack::new(1 << 20 | self.written, blobs));
        }
    }
}

fn job() -> PruneJob {
    PruneJob {
        grace: Duration::from_secs(GRACE.unsigned_abs()),
        ..PruneJob::default()
    }
}

prop_compose! {
    fn vaults()(
        packs in prop::collection::vec(
            (prop::collection::vec(0..60_u16, 1..9), any::<bool>(), prop::option::of(0..2000_i64)),
            1..25,
        ),
        unused in prop::collection::btree_set(0..60_u16, 0..50),
    ) -> Vault {
        let mut vault = Vault::default();
        for (number, (mut blobs, mix, marked)) in packs.into_iter().enumerate() {
            blobs.sort_unstable();
            if !mix {
                let parity = blobs[0] % 2;
                blobs.retain(|blob| blob % 2 == parity);
            }
            let mut pack = Pack::new(u32::try_from(number).unwrap(), blobs);
            pack.unused_since = marked;
            vault.packs.push(pack);
        }
        let all = vault.packs.iter().flat_map(|pack| pack.blobs.iter().copied());
        vault.used = all.filter(|blob| !unused.contains(blob)).collect();
        vault
    }
}

prop_compose! {
    fn jobs()(
        unused in prop_oneof![
            Just(MaxUnused::Unlimited),
            (0.0..50.0_f64).prop_map(MaxUnused::Percent),
            (0..3_000_000_u64).prop_map(MaxUnused::Bytes),
        ],
        max_repack_bytes in prop::option::of(0..20_000_000_u64),
        repack_smaller_than in prop::option::of(0..3_000_000_u64),
        trees_only: bool,
    ) -> PruneJob {
        PruneJob { max_unused: unused, max_repack_bytes, repack_smaller_than, trees_only, ..job() }
    }
}

proptest! {
    #[test]
    fn what_is_needed_stays_whatever_the_job_and_wherever_it_is_interrupted(
        vault in vaults(),
        steps in prop::collection::vec((jobs(), 0..1500_i64, 0..30_usize), 1..8),
    ) {
        let mut vault = vault;
        let mut now = 2000;
        for (job, later, stop_after) in steps {
            now += later;
            vault.prune(&job, now, stop_after);
            vault.assert_nothing_lost();
        }
    }

    #[test]
    fn a_snapshot_that_comes_late_finds_everything_within_the_grace(vault in vaults(), late in prop::collection::btree_set(0..60_u16, 1..10)) {
        let mut vault = vault;
        vault.packs.iter_mut().for_each(|pack| pack.unused_since = None);
        vault.prune(&job(), 0, usize::MAX);
        // A client reads the indexes and is frozen; then a prune takes out of them what was of no use for long enough, and packs anew.
        let indexed = vault.packs.iter().filter(|pack| pack.is_indexed);
        let seen: BTreeSet<u16> = indexed.flat_map(|pack| pack.blobs.iter().copied()).collect();
        vault.prune(&job(), GRACE, usize::MAX);
        vault.used.extend(late.intersection(&seen));
        vault.assert_nothing_lost();
        vault.prune(&job(), 2 * GRACE - 1, usize::MAX);
        vault.assert_nothing_lost();
        let (facts, _) = vault.survey(&BTreeSet::new());
        prop_assert!(facts.iter().all(|pack| !pack.rescue), "what was needed late is in no index");
    }

    #[test]
    fn bounds_are_kept_and_order_does_not_matter(vault in vaults(), job in jobs(), seed: u64) {
        let (facts, _) = vault.survey(&BTreeSet::new());
        let decision = decide(&facts, &job, at(2500)).unwrap();
        let totals = decision.totals;
        prop_assert!(totals.repack.bytes <= job.max_repack_bytes.unwrap_or(u64::MAX));
        // Whoever goes on as long as something is postponed comes to an end.
        prop_assert!(totals.postponed.packs == 0 || totals.repack.packs > 0);
        prop_assert!(totals.postponed.packs <= totals.keep.packs);
        let kept_needlessly = facts.iter().zip(&decision.actions).any(|(pack, action)| {
            action.is_none() && pack.dead.blobs > 0 && pack.content == Content::Data
        });
        let bounded = job.max_repack_bytes.is_some() || job.trees_only;
        if kept_needlessly && !bounded {
            prop_assert!(totals.unused_kept_bytes < job.max_unused.bytes(totals.used.bytes));
        }
        let packs = [totals.keep, totals.repack, totals.wait_unused, totals.retire];
        prop_assert_eq!(packs.iter().map(|count| count.packs).sum::<u64>(), facts.len() as u64);

        let mut shuffled = vault;
        let count = shuffled.packs.len();
        for place in 0..count {
            let other = usize::try_from(seed.rotate_left(u32::try_from(place).unwrap()) % count as u64).unwrap();
            shuffled.packs.swap(place, other);
        }
        let (again, _) = shuffled.survey(&BTreeSet::new());
        let other = decide(&again, &job, at(2500)).unwrap();
        let by_id = |facts: &[PackFacts], decision: &Decision| -> BTreeMap<PackId, Option<PackAction>> {
            facts.iter().map(|pack| pack.id).zip(decision.actions.iter().copied()).collect()
        };
        prop_assert_eq!(by_id(&facts, &decision), by_id(&again, &other));
        prop_assert_eq!(totals, other.totals);
    }

    #[test]
    fn it_comes_to_an_end_with_nothing_of_no_use(vault in vaults()) {
        let mut vault = vault;
        let job = PruneJob { max_unused: MaxUnused::Bytes(0), ..job() };
        for round in 0..6 {
            vault.prune(&job, 2000 + round * GRACE, usize::MAX);
        }
        let (facts, _) = vault.survey(&BTreeSet::new());
        let decision = decide(&facts, &job, at(10_000)).unwrap();
        prop_assert!(decision.actions.iter().all(Option::is_none), "{:?}", decision.actions);
        let blobs: Vec<u16> = vault.packs.iter().flat_map(|pack| pack.blobs.iter().copied()).collect();
        prop_assert_eq!(blobs.iter().copied().collect::<BTreeSet<_>>(), vault.used);
        prop_assert_eq!(blobs.len(), decision.totals.used.blobs as usize);
    }
}

fn facts(single: u64, dead: u64) -> PackFacts {
    let count = |blobs| BlobCount {
        blobs,
        bytes: blobs << 20,
    };
    let size = Some((single + dead) << 20);
    PackFacts {
        single: count(single),
        dead: count(dead),
        ..PackFacts::new(
            PackId::of(&[u8::try_from(single * 16 + dead).unwrap()]),
            size,
            size,
        )
    }
}

#[test]
fn marks_count_from_when_they_were_made_and_never_from_the_future() {
    let settled = |unused_since: Option<i64>, now| {
        let pack = PackFacts {
            unused_since: unused_since.map(at),
            ..facts(0, 5)
        };
        decide(&[pack], &job(), at(now)).unwrap().actions[0]
    };
    let waits = |since| Some(PackAction::WaitUnused { since: at(since) });
    assert_eq!(settled(None, 50), waits(50));
    assert_eq!(settled(Some(50), 50 + GRACE - 1), waits(50));
    assert_eq!(settled(Some(50), 50 + GRACE), Some(PackAction::Retire));
    assert_eq!(settled(Some(5_000_000), 60), waits(60), "a clock was ahead");
}

#[test]
fn damage_to_what_is_needed_refuses_and_damage_to_what_is_not_goes() {
    let missing = |pack: PackFacts| PackFacts { file: None, ..pack };
    let short = |pack: PackFacts| PackFacts {
        file: Some(7),
        ..pack
    };
    let decide = |pack: PackFacts| decide(&[pack], &job(), at(5)).map(|decision| decision.actions[0]);
    assert!(matches!(decide(missing(facts(1, 4))), Err(Refusal::Missing(_))));
    assert!(matches!(
        decide(short(facts(1, 4))),
        Err(Refusal::WrongSize { file: 7, .. })
    ));
    assert_eq!(decide(missing(facts(0, 4))), Ok(Some(PackAction::Forget)));
    assert!(matches!(
        decide(short(facts(0, 4))),
        Ok(Some(PackAction::WaitUnused { .. }))
    ));
}

#[test]
fn what_the_plan_did_not_name_is_not_taken_away() {
    let packs = [facts(0, 1), facts(0, 2), facts(0, 3)];
    let fresh = [
        Some(PackAction::Retire),
        Some(PackAction::Delete),
        Some(PackAction::Retire),
    ];
    let planned = BTreeMap::from([(packs[2].id, PackAction::Repack)]);
    let narrowed = narrow(&packs, &fresh, &planned, at(9));
    assert_eq!(narrowed[0], Some(PackAction::WaitUnused { since: at(9) }));
    assert_eq!(narrowed[1], Some(PackAction::WaitUnindexed { since: at(9) }));
    assert_eq!(narrowed[2], Some(PackAction::Retire));
}
