//! Keep rules: given the same snapshots and the same rules, we keep what restic keeps.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use lifeboat_tests::{Rng, Scene, restic::text, scene::utf8, seed};

const SNAPSHOTS: usize = 36;
const RULE_SETS: usize = 16;

/// Days begin at different moments in different zones, and each snapshot counts in its own.
const ZONES: [&str; 3] = ["UTC", "Asia/Kolkata", "America/Los_Angeles"];

/// A repository of restic's with snapshots at random times, in two groups by host, some tagged.
fn history(rng: &mut Rng) -> Scene {
    let scene = Scene::new();
    std::fs::create_dir(scene.source()).unwrap();
    std::fs::write(scene.source().join("file"), "always the same").unwrap();
    let restic = scene.restic();
    restic.init();
    for _ in 0..SNAPSHOTS {
        let time = some_time(rng);
        let tags = *rng.pick(&["", "weekly", "weekly,offsite", "manual"]);
        let host = *rng.pick(&["phone", "phone", "tablet"]);
        let source = scene.source();
        let args = [
            "backup",
            "--host",
            host,
            "--time",
            &time,
            "--tag",
            tags,
            "--",
            utf8(&source),
        ];
        let zone = *rng.pick(&ZONES);
        restic.with_zone(zone).run(args).ok();
    }
    scene
}

/// Crowded in some years, days and hours, so that rules have to choose; the last of a year and the first, too.
fn some_time(rng: &mut Rng) -> String {
    let (year, month, day) = match rng.below(4) {
        0 => (2024, 12, rng.within(28..=31)),
        1 => (2025, 1, rng.within(1..=6)),
        2 => (2025, 6, rng.within(10..=12)),
        _ => (rng.within(2020..=2025), rng.within(1..=12), rng.within(1..=28)),
    };
    let (hour, minute, second) = (rng.pick(&[0, 5, 6, 12, 18, 19, 23]), rng.below(60), rng.below(60));
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Rules of one to four kinds. One always counts, because a policy that keeps nothing is refused.
fn some_rules(rng: &mut Rng) -> Vec<String> {
    const COUNTED: [&str; 6] = ["last", "hourly", "daily", "weekly", "monthly", "yearly"];
    const WITHIN: [&str; 6] = ["", "-hourly", "-daily", "-weekly", "-monthly", "-yearly"];
    const SPANS: [&str; 6] = ["12h", "3d", "2m", "1y", "1y6m", "2y5m7d3h"];
    let mut rules = vec![format!("--keep-{}={}", rng.pick(&COUNTED), rng.within(1..=8))];
    for _ in 0..rng.below(4) {
        rules.push(match rng.below(4) {
            0 | 1 => format!("--keep-{}={}", rng.pick(&COUNTED), rng.within(1..=12)),
            2 => format!("--keep-within{}={}", rng.pick(&WITHIN), rng.pick(&SPANS)),
            _ => format!(
                "--keep-tag={}",
                rng.pick(&["weekly", "weekly,offsite", "manual", "no such tag"])
            ),
        });
    }
    // Each flag once: what a repeated one means is not the subject.
    rules.sort();
    rules.dedup_by(|a, b| a.split('=').next() == b.split('=').next());
    rules
}

#[test]
fn we_keep_what_restic_keeps() {
    let mut rng = Rng::new(seed(51));
    let scene = history(&mut rng);
    for number in 0..RULE_SETS {
        let rules = some_rules(&mut rng);
        println!("rules {number}: {}", rules.join(" "));
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let (keep, remove) = scene.restic().forget_dry_run(&rules);
        assert_eq!(keep.len() + remove.len(), SNAPSHOTS);

        // A new installation each time: the copy is another vault.
        let vault = scene.copy(&scene.vault(), &format!("vault-{number}"));
        let lifeboat = lifeboat_tests::Lifeboat::new(&vault, &scene.path(&format!("state-{number}")));
        lifeboat.forget(&rules).ok();
        let mut left = scene.restic().on(&vault).snapshot_ids();
        left.sort();
        assert_eq!(left, keep, "{rules:?}");
        std::fs::remove_dir_all(&vault).unwrap();
    }
}

#[test]
fn rules_that_keep_nothing_are_refused() {
    let mut rng = Rng::new(seed(52));
    let scene = Scene::new();
    std::fs::create_dir(scene.source()).unwrap();
    let (restic, lifeboat) = (scene.restic(), scene.lifeboat());
    restic.init();
    for _ in 0..2 {
        restic.backup_with(&scene.source(), &["--time", &some_time(&mut rng)]);
    }
    let before = restic.snapshot_ids();
    restic.run(["forget", "--keep-tag=no such tag"]).refused();
    lifeboat.forget(&["--keep-tag=no such tag"]).refused();
    lifeboat.forget(&[]).refused();
    lifeboat.forget(&["--keep-last=0"]).refused();
    assert_eq!(restic.snapshot_ids(), before);
}

/// Looking is not touching.
#[test]
fn a_dry_run_removes_nothing() {
    let mut rng = Rng::new(seed(53));
    let scene = Scene::new();
    std::fs::create_dir(scene.source()).unwrap();
    let (restic, lifeboat) = (scene.restic(), scene.lifeboat());
    restic.init();
    for _ in 0..3 {
        restic.backup_with(&scene.source(), &["--time", &some_time(&mut rng)]);
    }
    let before = restic.snapshots();
    lifeboat.forget(&["--dry-run", "--keep-last=1"]).ok();
    assert_eq!(restic.snapshots(), before);
    lifeboat.forget(&["--keep-last=1"]).ok();
    let left = restic.snapshots();
    assert_eq!(left.len(), 1);
    let newest = before.iter().map(|snapshot| text(&snapshot["time"])).max();
    assert_eq!(Some(text(&left[0]["time"])), newest);
}
