//! SIGKILL of a backup at random moments. Whatever the moment: the next run completes without help, the vault is
//! clean, and nothing that had arrived is sent again, but for at most one pack a kill.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use lifeboat_tests::{
    Forest, Rng, Scene, assert_same, compare,
    lifeboat_cli::backup_args,
    number_from_env,
    process::Finished,
    scene::restored,
    seed,
    tree_gen::Mutation,
    vault::{self, Stored},
};

/// How many kills in all; `LIFEBOAT_KILLS` raises it.
const KILLS: u64 = 200;

/// After so many kills the vault is verified by restic and a new one begun, so that vaults stay small.
const KILLS_PER_VAULT: u64 = 20;

/// New data for each run. Several packs, so that there are moments between them.
const FRESH_FILES: u64 = 10;
const FRESH_BYTES: usize = 2 << 20;

/// What a pack adds to the blobs in it: an entry of at most 41 bytes each, and the seal of the header.
const PACK_ENTRY_BYTES: u64 = 41;
const PACK_SEAL_BYTES: u64 = 36;

// Two tests, so that they run side by side on two cores.

#[test]
fn killed_backups_finish_and_send_nothing_twice() {
    kill_backups(seed(71), wanted_kills().div_ceil(2));
}

#[test]
fn killed_backups_finish_and_send_nothing_twice_with_another_seed() {
    kill_backups(seed(72), wanted_kills() / 2);
}

fn wanted_kills() -> u64 {
    number_from_env("LIFEBOAT_KILLS").unwrap_or(KILLS)
}

fn kill_backups(seed: u64, wanted: u64) {
    let mut rng = Rng::new(seed);
    let mut kills = 0;
    while kills < wanted {
        let here = KILLS_PER_VAULT.min(wanted - kills);
        kills += kill_backups_to_one_vault(&mut rng, here);
    }
    println!("{kills} kills");
}

/// Gives the number of runs that were really killed: some end before their moment.
fn kill_backups_to_one_vault(rng: &mut Rng, wanted: u64) -> u64 {
    let scene = Scene::new();
    let lifeboat = scene.lifeboat();
    Forest::small(rng.number()).plant(&scene.source());
    grow(&scene.source(), rng);
    lifeboat.init();
    // A run that nobody kills says how long one takes.
    let whole_run = lifeboat.backup(&scene.source()).took;
    let (mut kills, mut excess_max) = (0, 0);
    while kills < wanted {
        grow(&scene.source(), rng);
        let several = rng.within(1..=4).min(wanted - kills);
        for _ in 0..several {
            let before = vault::packs(&scene.vault());
            let moment = Moment::some(rng, whole_run, before.len());
            let finished = moment.kill_backup(&scene);
            let after = vault::packs(&scene.vault());
            assert_untouched(&before, &after, &finished);
            if finished.was_killed() {
                kills += 1;
                excess_max += largest_new_pack(&before, &after);
            } else {
                finished.ok();
            }
        }
        let before = vault::packs(&scene.vault());
        let finished = lifeboat.backup(&scene.source());
        assert_untouched(&before, &vault::packs(&scene.vault()), &finished);
        assert!(
            vault::locks(&scene.vault()).is_empty(),
            "a lock is left\n{finished}"
        );
        lifeboat.check();
    }
    verify(&scene, excess_max);
    kills
}

/// When to kill: after some time, or as soon as something is to be seen in the vault.
#[derive(Clone, Copy, Debug)]
enum Moment {
    After(Duration),
    PacksAre(usize),
    IndexesGrow,
    SnapshotsGrow,
    LockIsThere,
}

impl Moment {
    fn some(rng: &mut Rng, whole_run: Duration, packs: usize) -> Self {
        match rng.below(10) {
            0 => Self::PacksAre(packs + 1),
            1 => Self::PacksAre(packs + 2 + rng.index(4)),
            2 => Self::IndexesGrow,
            3 => Self::SnapshotsGrow,
            4 => Self::LockIsThere,
            // A little beyond the end, because a run after a killed one may take longer.
            _ => Self::After(whole_run.mul_f64(rng.below(1200) as f64 / 1000.0)),
        }
    }

    fn kill_backup(self, scene: &Scene) -> Finished {
        println!("kill: {self:?}");
        let (vault, source) = (scene.vault(), scene.source());
        let count = |kind: &str| vault::files(&vault, kind).len();
        let (indexes, snapshots) = (count("index"), count("snapshots"));
        let running = scene.lifeboat().start(backup_args(&source));
        match self {
            Self::After(delay) => running.kill_after(delay),
            Self::PacksAre(packs) => running.kill_when(|| count("data") >= packs),
            Self::IndexesGrow => running.kill_when(|| count("index") > indexes),
            Self::SnapshotsGrow => running.kill_when(|| count("snapshots") > snapshots),
            Self::LockIsThere => running.kill_when(|| count("locks") > 0),
        }
    }
}

/// Every pack that was there is there, and at most one was written again: the one whose arrival the killed run did
/// not live to note.
fn assert_untouched(before: &BTreeMap<String, Stored>, after: &BTreeMap<String, Stored>, run: &Finished) {
    let lost: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    assert!(lost.is_empty(), "packs gone: {lost:?}\n{run}");
    let again: Vec<&String> = before
        .iter()
        .filter(|(name, pack)| after[*name] != **pack)
        .map(|(name, _)| name)
        .collect();
    assert!(again.len() <= 1, "packs written again: {again:?}\n{run}");
}

/// What a killed run may cost: one of the packs that it got to the vault, the largest, may be sent again.
fn largest_new_pack(before: &BTreeMap<String, Stored>, after: &BTreeMap<String, Stored>) -> u64 {
    let new = after.iter().filter(|(name, _)| !before.contains_key(*name));
    new.map(|(_, pack)| pack.size).max().unwrap_or(0)
}

/// The last word on a vault is restic's: clean, the source comes back, and hardly a blob is stored twice.
fn verify(scene: &Scene, excess_max: u64) {
    let restic = scene.restic();
    restic.check_read_data();
    let target = scene.path("restored");
    restic.restore("latest", &target);
    assert_same(
        &scene.source(),
        &restored(&target, &scene.source()),
        &compare::Options::default(),
    );
    fs::remove_dir_all(&target).unwrap();

    let packs = vault::packs(&scene.vault());
    let stats = restic.stats("raw-data");
    let blobs = stats["total_blob_count"].as_u64().unwrap();
    // What the snapshots need, each blob once. All else was stored twice, or is needed by nobody.
    let needed = stats["total_size"].as_u64().unwrap()
        + blobs * PACK_ENTRY_BYTES
        + packs.len() as u64 * PACK_SEAL_BYTES;
    let stored = vault::bytes(&packs);
    let excess = stored.saturating_sub(needed);
    println!("{stored} bytes stored, {needed} needed, {excess} too many of at most {excess_max}");
    assert!(
        excess <= excess_max,
        "{excess} bytes too many, the kills explain {excess_max}"
    );
}

/// Changes, and a folder of new incompressible files; the folder of the last time goes, so that the source does not
/// grow without end.
fn grow(source: &Path, rng: &mut Rng) {
    let fresh = source.join("fresh");
    let _ = fs::remove_dir_all(&fresh);
    Mutation {
        seed: rng.number(),
        steps: 10,
        removals: true,
    }
    .apply(source);
    fs::create_dir(&fresh).unwrap();
    for number in 0..FRESH_FILES {
        fs::write(fresh.join(number.to_string()), rng.bytes(FRESH_BYTES)).unwrap();
    }
}
