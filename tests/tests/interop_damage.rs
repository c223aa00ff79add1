//! Damaged vaults: a file of each kind cut short, changed, or gone. We say so, name the file, and restore no wrong byte.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use lifeboat_tests::{
    Forest, Lifeboat, Rng, Scene, assert_same, compare,
    compare::Kind,
    compare_trees,
    lifeboat_cli::{backup_args, exit, restore_args},
    process::Finished,
    scene::{copy_exactly, restored},
    seed,
    vault::{self, Stored},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    CutInHalf,
    CutToNothing,
    OneBitFlipped,
    Gone,
    ReplacedByNoise,
}

const DAMAGES: [Damage; 5] = [
    Damage::CutInHalf,
    Damage::CutToNothing,
    Damage::OneBitFlipped,
    Damage::Gone,
    Damage::ReplacedByNoise,
];

impl Damage {
    fn inflict(self, file: &Stored, rng: &mut Rng) {
        let mut bytes = fs::read(&file.path).unwrap();
        match self {
            Self::Gone => return fs::remove_file(&file.path).unwrap(),
            Self::CutInHalf => bytes.truncate(bytes.len() / 2),
            Self::CutToNothing => bytes.clear(),
            Self::OneBitFlipped => {
                let at = rng.index(bytes.len());
                bytes[at] ^= 1 << rng.below(8);
            }
            Self::ReplacedByNoise => bytes = rng.bytes(bytes.len()),
        }
        // Repositories keep their files read-only.
        fs::remove_file(&file.path).unwrap();
        fs::write(&file.path, bytes).unwrap();
    }
}

/// A healthy vault, and copies of it to damage.
struct Patient {
    scene: Scene,
    rng: Rng,
    copies: usize,
}

impl Patient {
    fn new(seed: u64) -> Self {
        let scene = Scene::new();
        Forest {
            files: 80,
            ..Forest::small(seed)
        }
        .plant(&scene.source());
        let lifeboat = scene.lifeboat();
        lifeboat.init();
        lifeboat.backup(&scene.source());
        Self {
            scene,
            rng: Rng::new(seed),
            copies: 0,
        }
    }

    /// A fresh copy with one damaged file of a kind; gives the copy and the name of the file.
    fn damaged(&mut self, kind: &str, damage: Damage) -> (Copy, String) {
        let copy = self.copy();
        let files: Vec<(String, Stored)> = vault::files(&copy.vault, kind).into_iter().collect();
        assert!(!files.is_empty(), "no {kind} to damage");
        let (name, file) = self.rng.pick(&files);
        damage.inflict(file, &mut self.rng);
        println!("{damage:?}: {kind} {name}");
        (copy, name.clone())
    }

    fn copy(&mut self) -> Copy {
        self.copies += 1;
        let folder = self.scene.path(&format!("copy-{}", self.copies));
        fs::create_dir(&folder).unwrap();
        copy_exactly(&self.scene.vault(), &folder.join("vault"));
        Copy {
            vault: folder.join("vault"),
            folder,
        }
    }
}

struct Copy {
    folder: PathBuf,
    vault: PathBuf,
}

impl Copy {
    /// An installation that remembers nothing of the time before the damage.
    fn lifeboat(&self) -> Lifeboat {
        Lifeboat::new(&self.vault, &self.folder.join("state"))
    }

    /// Restores what can be restored: it may fail, but whatever file it leaves must be right.
    fn restore_no_wrong_byte(&self, source: &Path) -> Finished {
        let target = self.folder.join("restored");
        let finished = self.lifeboat().run(restore_args("latest", &target));
        let found = restored(&target, source);
        if found.exists() {
            let loose = compare::Options {
                mtimes: false,
                modes: false,
                ..compare::Options::default()
            };
            let wrong = |kind| matches!(kind, Kind::Content | Kind::Size | Kind::Type | Kind::Unexpected);
            let differences = compare_trees(source, &found, &loose);
            assert!(
                !differences.iter().any(|found| wrong(found.kind)),
                "{differences:#?}\n{finished}"
            );
        }
        finished
    }
}

/// People write the first eight characters of a name; programs all of them.
#[track_caller]
fn names(finished: Finished, name: &str) {
    let short = &name[..name.len().min(8)];
    finished.says(short);
}

#[test]
fn damaged_packs_are_found_named_and_never_restored() {
    let mut patient = Patient::new(seed(61));
    for damage in DAMAGES {
        for _ in 0..3 {
            let (copy, name) = patient.damaged("data", damage);
            names(copy.lifeboat().run(["check", "--read-data"]).refused(), &name);
            // Sizes and absence show without reading.
            if matches!(damage, Damage::CutInHalf | Damage::CutToNothing | Damage::Gone) {
                names(copy.lifeboat().run(["check"]).refused(), &name);
            }
            let finished = copy.restore_no_wrong_byte(&patient.scene.source());
            // A flipped bit can sit in the header, which a restore does not need.
            if damage != Damage::OneBitFlipped {
                names(finished.refused(), &name);
            }
        }
    }
}

#[test]
fn damaged_indexes_are_found_and_named() {
    let mut patient = Patient::new(seed(62));
    for damage in DAMAGES {
        let (copy, name) = patient.damaged("index", damage);
        let finished = copy.lifeboat().run(["check"]).refused();
        // Nothing names an index that is gone; what it listed is missed instead.
        if damage != Damage::Gone {
            names(finished, &name);
            names(
                copy.restore_no_wrong_byte(&patient.scene.source()).refused(),
                &name,
            );
            names(
                copy.lifeboat()
                    .run(backup_args(&patient.scene.source()))
                    .refused(),
                &name,
            );
        }
    }
}

#[test]
fn damaged_snapshots_are_found_and_named() {
    let mut patient = Patient::new(seed(63));
    // Its absence cannot be seen: snapshots are deleted all the time.
    for damage in DAMAGES.into_iter().filter(|damage| *damage != Damage::Gone) {
        let (copy, name) = patient.damaged("snapshots", damage);
        names(copy.lifeboat().run(["check"]).refused(), &name);
        names(
            copy.lifeboat()
                .run(["restore", &name, "--target", "/nonexistent/target"])
                .refused(),
            &name,
        );
        // It is not for a rule to remove what nobody could read.
        let before = vault::files(&copy.vault, "snapshots");
        names(copy.lifeboat().forget(&["--keep-last", "1"]), &name);
        assert_eq!(vault::files(&copy.vault, "snapshots"), before);
    }
}

#[test]
fn a_damaged_config_is_no_other_vault() {
    let mut patient = Patient::new(seed(64));
    for damage in DAMAGES {
        let (copy, _) = patient.damaged("config", damage);
        let source = patient.scene.source();
        let check = copy.lifeboat().run(["check"]);
        if damage == Damage::Gone {
            check.code(exit::NO_REPOSITORY);
        } else {
            names(check.refused(), "config");
        }
        copy.lifeboat().run(backup_args(&source)).refused();
        // There is data here: making a new repository over it would lose the way to it.
        let keys = vault::files(&copy.vault, "keys");
        copy.lifeboat().run(["init"]).refused();
        assert_eq!(vault::files(&copy.vault, "keys"), keys);
    }
}

#[test]
fn a_damaged_key_is_not_called_a_wrong_password() {
    let mut patient = Patient::new(seed(65));
    for damage in DAMAGES {
        let (copy, name) = patient.damaged("keys", damage);
        let finished = copy.lifeboat().run(["check"]).refused();
        if damage != Damage::Gone {
            // Its name is the hash of its content, so damage and a wrong password can be told apart.
            assert_ne!(finished.status.code(), Some(exit::WRONG_PASSWORD), "{finished}");
            names(finished, &name);
        }
    }
}

/// Damaged keys beside a good one keep nobody out, wherever they stand in the order of names. Restic gives up when it
/// meets a damaged one first.
#[test]
fn a_good_key_opens_beside_damaged_ones() {
    let mut patient = Patient::new(seed(66));
    let copy = patient.copy();
    let good = vault::files(&copy.vault, "keys").into_values().next().unwrap();
    let half = fs::read(&good.path).unwrap().split_at(100).0.to_vec();
    for (digit, content) in [("0", half.as_slice()), ("1", b""), ("e", b"{}"), ("f", &half)] {
        fs::write(copy.vault.join("keys").join(digit.repeat(64)), content).unwrap();
    }
    copy.lifeboat().run(["snapshots"]).ok();
    copy.lifeboat()
        .with_password("wrong")
        .run(["snapshots"])
        .refused();
}

/// The source still has what a lost pack held: the next backup brings it back, and its snapshot is whole.
#[test]
fn a_lost_pack_is_sent_again() {
    let patient = Patient::new(seed(67));
    let scene = &patient.scene;
    let lost: Vec<Stored> = vault::packs(&scene.vault()).into_values().collect();
    for (number, pack) in lost.iter().enumerate() {
        fs::remove_file(&pack.path).unwrap();
        // Every second time as an installation that remembers nothing.
        let state = scene.path(if number % 2 == 0 { "state" } else { "another-phone" });
        scene.lifeboat().with_state(&state).backup(&scene.source());
        let target = scene.path(&format!("restored-{number}"));
        scene.lifeboat().restore("latest", &target);
        assert_same(
            &scene.source(),
            &restored(&target, &scene.source()),
            &compare::Options::default(),
        );
    }
}

/// What does not belong to a repository does not disturb it.
#[test]
fn strangers_in_the_vault_are_left_alone() {
    let mut patient = Patient::new(seed(68));
    let copy = patient.copy();
    let strangers = [
        "README",
        "data/.DS_Store",
        "index/notes.txt",
        "snapshots/tmp-1234",
        "data/00/short",
    ];
    for name in strangers {
        let path = copy.vault.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "not ours").unwrap();
    }
    copy.lifeboat().check_read_data();
    copy.lifeboat().backup(&patient.scene.source());
    copy.restore_no_wrong_byte(&patient.scene.source()).ok();
    for name in strangers {
        assert_eq!(
            fs::read_to_string(copy.vault.join(name)).unwrap(),
            "not ours",
            "{name}"
        );
    }
}
