//! SIGKILL of a restore over an older tree, at random moments: every file is the old one or the new one, never half of
//! either, and the next run completes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lifeboat_tests::{
    Forest, Rng, Scene, assert_same, compare,
    lifeboat_cli::restore_args,
    number_from_env,
    restic::text,
    scene::{copy_exactly, restored},
    seed,
    tree_gen::Mutation,
};
use sha2::{Digest, Sha256};

/// Kills of restores for each ten kills of backups.
const KILLS_OF_TEN: u64 = 3;

/// After so many kills in one tree, the restore runs to its end and the tree is made old again.
const KILLS_PER_TREE: u64 = 5;

/// Names that the engine's own unfinished business may have; it is not part of the tree.
const STAGING_PREFIX: &str = ".lifeboat";

#[test]
fn a_killed_restore_leaves_old_or_new_files() {
    let wanted = number_from_env("LIFEBOAT_KILLS").unwrap_or(200) * KILLS_OF_TEN / 10;
    let mut rng = Rng::new(seed(73));
    let scene = Scene::new();
    let (lifeboat, source) = (scene.lifeboat(), scene.source());
    Forest {
        files: 250,
        ..Forest::small(rng.number())
    }
    .plant(&source);
    fs::write(source.join("large"), rng.bytes(8 << 20)).unwrap();
    lifeboat.init();
    lifeboat.backup(&source);
    let old = scene.copy(&source, "old");
    // Nothing disappears: whether a restore removes what the snapshot does not have is not the subject.
    Mutation {
        seed: rng.number(),
        steps: 80,
        removals: false,
    }
    .apply(&source);
    fs::write(source.join("large"), rng.bytes(8 << 20)).unwrap();
    lifeboat.backup(&source);
    let new_snapshot = text(&scene.restic().snapshots().last().unwrap()["id"]);
    let allowed = [contents(&old), contents(&source)];

    let whole_run = lifeboat.restore(&new_snapshot, &scene.path("unkilled")).took;
    let mut kills = 0;
    let mut tree = 0;
    while kills < wanted {
        let target = scene.path(&format!("target-{tree}"));
        let place = restored(&target, &source);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        copy_exactly(&old, &place);
        for _ in 0..KILLS_PER_TREE.min(wanted - kills) {
            let delay = some_delay(&mut rng, whole_run);
            println!("kill after {delay:?}");
            let finished = lifeboat
                .start(restore_args(&new_snapshot, &target))
                .kill_after(delay);
            kills += u64::from(finished.was_killed());
            assert_old_or_new(&place, &allowed);
            if !finished.was_killed() {
                finished.ok();
            }
        }
        lifeboat.restore(&new_snapshot, &target);
        assert_same(&source, &place, &compare::Options::default());
        fs::remove_dir_all(&target).unwrap();
        tree += 1;
    }
    println!("{kills} kills in {tree} trees");
}

/// Anywhere in a run, and a little more often at its end, where the new tree takes the old one's place.
fn some_delay(rng: &mut Rng, whole_run: Duration) -> Duration {
    let thousandths = if rng.chance(40) {
        rng.within(700..=1100)
    } else {
        rng.below(1100)
    };
    whole_run.mul_f64(thousandths as f64 / 1000.0)
}

/// The hash of every regular file by its path below the root; the target of every link.
type Contents = BTreeMap<PathBuf, [u8; 32]>;

fn contents(root: &Path) -> Contents {
    let mut found = Contents::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let is_staging = path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(STAGING_PREFIX);
            if is_staging {
                continue;
            }
            let below = path.strip_prefix(root).unwrap().to_owned();
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(
                    below,
                    Sha256::digest(target.as_os_str().as_encoded_bytes()).into(),
                );
            } else {
                found.insert(below, Sha256::digest(fs::read(&path).unwrap()).into());
            }
        }
    }
    found
}

fn assert_old_or_new(place: &Path, allowed: &[Contents; 2]) {
    let now = contents(place);
    let half: Vec<&PathBuf> = now
        .iter()
        .filter(|(path, hash)| !allowed.iter().any(|contents| contents.get(*path) == Some(hash)))
        .map(|(path, _)| path)
        .collect();
    assert!(half.is_empty(), "neither old nor new: {half:?}");
    // What both trees have must never be missing.
    let [old, new] = allowed
        .each_ref()
        .map(|contents| contents.keys().collect::<BTreeSet<_>>());
    let missing: Vec<_> = old
        .intersection(&new)
        .filter(|path| !now.contains_key(**path))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}
