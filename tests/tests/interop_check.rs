//! The check finds whatever real restic's `check --read-data` finds: the same damaged repositories, both asked.
//!
//! Needs restic 0.19, named by the variable `LIFEBOAT_RESTIC` or found in `PATH`. Without it the test fails.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

#[path = "../../core/tests/support/checking.rs"]
mod checking;
#[path = "../../core/tests/support/hand.rs"]
mod hand;

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Output},
};

use checking::{READ, Random, check, try_check};
use hand::{Blob, Hand, PASSWORD, copy, file, folder, specimen, stored_files, tree, wild_tree};
use lifeboat::format::{BlobId, BlobType, FileType, Node};

/// restic's exit code where no key opens: it did not look at anything else.
const WRONG_PASSWORD: i32 = 12;
/// The damages are the same in each run but for the ids and initialisation vectors in what they hit.
const SEED: u64 = 0x6368_6563_6b21;

/// What restic says of a repository with all its data.
fn restic(root: &Path) -> Output {
    let program: OsString = std::env::var_os("LIFEBOAT_RESTIC").unwrap_or_else(|| "restic".into());
    Command::new(&program)
        .args(["check", "--read-data", "--no-cache", "--no-lock", "--quiet"])
        .env("RESTIC_REPOSITORY", root)
        .env("RESTIC_PASSWORD", PASSWORD)
        .output()
        .unwrap_or_else(|error| {
            panic!("this test needs restic: set LIFEBOAT_RESTIC to its path, or put it into PATH ({program:?}: {error})")
        })
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Damages one file in some way; what was done to it.
fn damage(root: &Path, random: &mut Random) -> String {
    let files: Vec<_> = stored_files(root)
        .into_iter()
        // A damaged lock makes restic wait for half a minute, and is then as bad as any.
        .filter(|stored| stored.kind != FileType::Lock)
        .collect();
    let stored = &files[random.below(files.len() as u64) as usize];
    let mut bytes = fs::read(&stored.path).unwrap();
    let at = random.below(bytes.len() as u64) as usize;
    let what = match random.below(5) {
        0 => {
            fs::remove_file(&stored.path).unwrap();
            return format!("{} deleted", stored.name);
        }
        1 => {
            bytes.truncate(at);
            "truncated"
        }
        2 => {
            let same = files.iter().filter(|other| other.kind == stored.kind);
            let other = same.max_by_key(|other| other.name != stored.name).unwrap();
            bytes = fs::read(&other.path).unwrap();
            "replaced"
        }
        _ => {
            bytes[at] ^= 1 << random.below(8);
            "flipped"
        }
    };
    fs::write(&stored.path, bytes).unwrap();
    format!("{} {what} at {at}", stored.name)
}

#[test]
fn whatever_damage_restic_finds_the_check_finds() {
    let good = tempfile::tempdir().unwrap();
    let hand = specimen(good.path());
    let well = restic(good.path());
    assert!(well.status.success(), "{}", text(&well));
    assert!(check(&hand, READ).is_clean());
    let mut random = Random(SEED);
    let mut found_by_both = 0;
    for round in 0..60 {
        let bad = tempfile::tempdir().unwrap();
        copy(good.path(), bad.path());
        let what: Vec<String> = (0..=random.below(2))
            .map(|_| damage(bad.path(), &mut random))
            .collect();
        let theirs = restic(bad.path());
        let ours = try_check(bad.path(), &hand.key, READ);
        if !theirs.status.success() && theirs.status.code() != Some(WRONG_PASSWORD) {
            found_by_both += 1;
            assert!(
                !ours.as_ref().is_ok_and(|report| report.is_clean()),
                "round {round}, {what:?}: {ours:#?}\n{}",
                text(&theirs)
            );
        }
    }
    assert!(
        found_by_both > 40,
        "{found_by_both}: the test must reach what it checks"
    );
}

/// Oddities that restic minds or does not; on each of these both agree.
#[test]
fn planted_oddities_are_judged_as_restic_judges_them() {
    type Plant = fn(&Hand, [Blob; 2]);
    let agreed: [(&str, bool, Plant); 12] = [
        ("split over two indexes", false, |hand, blobs| {
            let (id, entries) = hand.pack(&blobs);
            hand.index(&[(id, entries[..1].to_vec())]);
            hand.index(&[(id, entries[1..].to_vec())]);
        }),
        ("twice in two indexes", true, |hand, blobs| {
            let (id, entries) = hand.pack(&blobs);
            hand.index(&[(id, entries.clone())]);
            hand.index(&[(id, entries)]);
        }),
        ("in pieces in one index", true, |hand, blobs| {
            let (id, entries) = hand.pack(&blobs);
            hand.index(&[(id, entries[..1].to_vec()), (id, entries[1..].to_vec())]);
        }),
        ("twice in one index", true, |hand, blobs| {
            let (id, entries) = hand.pack(&blobs);
            hand.index(&[(id, entries.clone()), (id, entries)]);
        }),
        ("in no index", true, |hand, blobs| {
            hand.pack(&blobs);
        }),
        ("without blobs in the index", true, |hand, blobs| {
            let (id, _) = hand.pack(&blobs);
            hand.index(&[(id, Vec::new())]);
        }),
        ("a gap before the header", false, |hand, blobs| {
            let pack = hand.pack_with_gap(&blobs, 5);
            hand.index(&[pack]);
        }),
        ("the same blob twice in a pack", true, |hand, [blob, _]| {
            let pack = hand.pack(&[blob.clone(), blob]);
            hand.index(&[pack]);
        }),
        ("both kinds in a pack", true, |hand, [blob, _]| {
            let tree = hand.raw_blob(BlobType::Tree, &tree(&[]));
            let pack = hand.pack(&[blob, tree]);
            hand.index(&[pack]);
        }),
        ("a tree under another id", false, |hand, _| {
            let claimed = BlobId::of(b"claimed");
            let mut root = hand.blob(BlobType::Tree, &tree(&[folder("again", claimed)]));
            root.id = claimed;
            hand.index(&[hand.pack(&[root])]);
            hand.snapshot(claimed);
        }),
        ("a file without content", false, |hand, _| {
            let null = Node {
                content: None,
                ..file("f", &[])
            };
            hand.store(&[], &wild_tree(&[null]));
        }),
        ("a file without its blobs", false, |hand, _| {
            hand.store(&[], &tree(&[file("f", &[(BlobId::of(b"nowhere"), 7)])]));
        }),
    ];
    for (what, well, plant) in agreed {
        let dir = tempfile::tempdir().unwrap();
        let hand = Hand::new(dir.path());
        let blobs = [
            hand.blob(BlobType::Data, b"one"),
            hand.blob(BlobType::Data, b"two"),
        ];
        plant(&hand, blobs);
        let theirs = restic(dir.path());
        assert_eq!(theirs.status.success(), well, "{what}: {}", text(&theirs));
        let ours = check(&hand, READ);
        assert_eq!(ours.is_clean(), well, "{what}: {ours:#?}");
    }
}
