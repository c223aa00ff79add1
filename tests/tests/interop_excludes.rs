//! What is left out of a backup is what restic leaves out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;

use lifeboat_tests::{Rng, Scene, restic::text, seed};

const NAMES: [&str; 10] = [
    "a", "b", "ab", "a.tmp", "b.tmp", "keep", "x-1", "[z]", "ä", "{a,b}",
];
/// No folder above the source has such a name: of one that has, restic leaves out all, and we what is in the source.
const BEGINNINGS: [&str; 9] = ["a", "b", "*.tmp", "keep", "x-?", "[ab]", "\\[z\\]", "ä", "{a,b}"];
const OTHERS: [&str; 9] = ["*", "**", "?", "[^a]", "a*", "*b", "[a-b]*", "**", "ab"];

/// Patterns of up to four names, some from the root, some that take back.
fn pattern(rng: &mut Rng, source: &str) -> String {
    let mut names = Vec::new();
    let rooted = rng.chance(30);
    if !rooted {
        names.push(*rng.pick(&BEGINNINGS));
    }
    let more = rng.below(3) + u64::from(rooted);
    for _ in 0..more {
        let any = *rng.pick(&[BEGINNINGS, OTHERS]);
        names.push(*rng.pick(&any));
    }
    let mut pattern = names.join("/");
    if rooted {
        pattern = format!("{source}/{pattern}");
    }
    if rng.chance(10) {
        pattern.push('/');
    }
    if rng.chance(25) {
        pattern.insert(0, '!');
    }
    pattern
}

#[test]
fn patterns_leave_out_what_they_leave_out_for_restic() {
    let scene = Scene::new();
    let source = scene.source();
    for first in NAMES {
        for second in NAMES {
            let folder = source.join(first).join(second);
            fs::create_dir_all(&folder).unwrap();
            for third in NAMES {
                fs::write(folder.join(third), third).unwrap();
            }
        }
    }
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    lifeboat.init();
    let mut rng = Rng::new(seed(91));
    let mut kinds = (0, 0);
    for _ in 0..15 {
        let count = rng.within(1..=3);
        let patterns: Vec<String> = (0..count)
            .map(|_| pattern(&mut rng, source.to_str().unwrap()))
            .collect();
        let options: Vec<&str> = (patterns.iter())
            .flat_map(|pattern| ["--exclude", pattern.as_str()])
            .collect();
        lifeboat.backup_with(&source, &options);
        restic.backup_with(&source, &[&options[..], &["--force"]].concat());
        let ids = restic.snapshot_ids();
        let [ours, theirs] = [&ids[ids.len() - 2], &ids[ids.len() - 1]].map(|id| {
            let nodes = restic.ls(id);
            let mut paths: Vec<String> = nodes.iter().map(|node| text(&node["path"])).collect();
            paths.sort();
            paths
        });
        assert_eq!(ours, theirs, "{patterns:?}");
        if ours.len() > 1000 {
            kinds.0 += 1;
        } else {
            kinds.1 += 1;
        }
    }
    println!("{} left out little, {} more", kinds.0, kinds.1);
    assert!(kinds.0 > 0 && kinds.1 > 0, "{kinds:?}");
}
