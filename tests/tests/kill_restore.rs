//! SIGKILL of a restore over an older tree, and of applying one and taking it back, at random moments: every file is the old one or the new one,
//! never half of either, and the next run completes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lifeboat_tests::{
    Forest, Lifeboat, Rng, Scene, assert_same, compare,
    lifeboat_cli::restore_args,
    number_from_env,
    restic::text,
    scene::{copy_exactly, restored, utf8},
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

/// A vault with two snapshots of a tree, and the trees.
struct Bench {
    scene: Scene,
    lifeboat: Lifeboat,
    rng: Rng,
    old: PathBuf,
    new_snapshot: String,
    /// What a file may be.
    allowed: [Contents; 2],
}

impl Bench {
    fn new(own_seed: u64) -> Self {
        let mut rng = Rng::new(seed(own_seed));
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
        Self {
            scene,
            lifeboat,
            rng,
            old,
            new_snapshot,
            allowed,
        }
    }

    /// The old tree where the new one is to be; returns the target of a restore, and the place of the tree in it.
    fn old_tree(&self, number: u64) -> (PathBuf, PathBuf) {
        let target = self.scene.path(&format!("target-{number}"));
        let place = restored(&target, &self.scene.source());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        copy_exactly(&self.old, &place);
        (target, place)
    }

    /// Starts it again and again, and kills it at some moment of the time that a whole run takes, at most so many times; then it may end. Returns
    /// the kills.
    fn kill(&mut self, args: &[&str], place: &Path, whole_run: Duration, kills_max: u64) -> u64 {
        let mut kills = 0;
        for _ in 0..kills_max {
            let delay = some_delay(&mut self.rng, whole_run);
            println!("kill {} after {delay:?}", args[0]);
            let finished = self.lifeboat.start(args.iter().copied()).kill_after(delay);
            assert_old_or_new(place, &self.allowed);
            if args[0] == "restore" {
                assert_nothing_is_missing(place, &self.allowed);
            }
            if !finished.was_killed() {
                finished.ok();
                return kills;
            }
            kills += 1;
        }
        self.lifeboat.run(args.iter().copied()).ok();
        kills
    }
}

#[test]
fn a_killed_restore_leaves_old_or_new_files() {
    let wanted = number_from_env("LIFEBOAT_KILLS").unwrap_or(200) * KILLS_OF_TEN / 10;
    let mut bench = Bench::new(73);
    let (source, snapshot) = (bench.scene.source(), bench.new_snapshot.clone());
    let whole_run = bench
        .lifeboat
        .restore(&snapshot, &bench.scene.path("unkilled"))
        .took;
    let (mut kills, mut trees) = (0, 0);
    while kills < wanted {
        let (target, place) = bench.old_tree(trees);
        let args = restore_args(&snapshot, &target);
        kills += bench.kill(&args, &place, whole_run, KILLS_PER_TREE.min(wanted - kills));
        // The last of them may have been done when it was killed.
        bench.lifeboat.restore(&snapshot, &target);
        assert_same(&source, &place, &compare::Options::default());
        fs::remove_dir_all(&target).unwrap();
        trees += 1;
    }
    println!("{kills} kills in {trees} trees");
}

/// What an app does at its start: killed there, the next start goes on. And the same of the way back.
#[test]
fn a_killed_apply_goes_on_and_so_does_a_killed_roll_back() {
    let wanted = number_from_env("LIFEBOAT_KILLS").unwrap_or(200) / 10;
    let mut bench = Bench::new(74);
    let (source, snapshot) = (bench.scene.source(), bench.new_snapshot.clone());
    let (mut kills, mut trees) = (0, 0);
    while kills < wanted {
        let (target, place) = bench.old_tree(trees);
        let stage = [&restore_args(&snapshot, &target)[..], &["--stage-only"]].concat();
        bench.lifeboat.run(stage.iter().copied()).ok();
        assert_same(&bench.old, &place, &compare::Options::default());
        let at = utf8(&target);
        let whole_run = bench.lifeboat.run(["apply", "--target", at]).ok().took;
        assert_same(&source, &place, &compare::Options::default());
        kills += bench.kill(&["rollback", "--target", at], &place, whole_run, KILLS_PER_TREE);
        assert_same(&bench.old, &place, &compare::Options::default());
        bench.lifeboat.run(stage.iter().copied()).ok();
        kills += bench.kill(&["apply", "--target", at], &place, whole_run, KILLS_PER_TREE);
        assert_same(&source, &place, &compare::Options::default());
        kills += bench.kill(&["confirm", "--target", at], &place, whole_run, KILLS_PER_TREE);
        assert_same(&source, &place, &compare::Options::default());
        fs::remove_dir_all(&target).unwrap();
        trees += 1;
    }
    println!("{kills} kills in {trees} trees");
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
}

/// What both trees have must never be missing: a restore replaces name by name. Applying moves the old tree aside and then the new one in, while the app waits
/// for it.
fn assert_nothing_is_missing(place: &Path, allowed: &[Contents; 2]) {
    let now = contents(place);
    let [old, new] = allowed
        .each_ref()
        .map(|contents| contents.keys().collect::<BTreeSet<_>>());
    let missing: Vec<_> = old
        .intersection(&new)
        .filter(|path| !now.contains_key(**path))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}
