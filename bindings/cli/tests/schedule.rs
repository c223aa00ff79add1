//! `status`, `explain` and `simulate` as people and scripts meet them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

// Each file of tests is a crate of its own, and uses what it needs of this.
#[allow(dead_code)]
mod support;

use std::{
    fs,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Bench, code, errors, lines, text};

fn document(bench: &Bench, args: &[&str]) -> Value {
    lines(&bench.ok(args)).remove(0)
}

#[test]
fn before_anything_has_happened_they_say_so() {
    let bench = Bench::new();
    let status = text(&bench.ok(&["status"]));
    assert!(status.contains("no snapshot yet"), "{status}");
    let explained = text(&bench.ok(&["explain"]));
    for word in ["first-backup", "network-unknown", "nothing has been written down"] {
        assert!(explained.contains(word), "{word}: {explained}");
    }
    assert!(!bench.path("state").exists(), "looking leaves nothing behind");
}

#[test]
fn a_backup_is_fresh_until_it_is_not() {
    let bench = Bench::new();
    let source = bench.source();
    bench.ok(&["init"]);
    bench.ok(&["backup", &source]);
    let status = document(&bench, &["status", "--json"]);
    assert_eq!(status["freshness"], "fresh");
    assert_eq!(status["last_end"], "done");
    assert_eq!(status["newest"]["files"], 2);
    let told = document(&bench, &["explain", "--json"]);
    assert_eq!(told["due"], serde_json::json!([]));
    assert_eq!(told["blocks"][0]["reason"], "not-due");
    assert_eq!(told["windows"][0]["task"], "first-backup");
    assert!(told["texts"]["not-due"].is_string());
    // Another wish, another phone.
    fs::write(
        bench.path("policy"),
        r#"{"fresh_minutes": 1, "quiet": [{"from": "00:00", "until": "23:59"}]}"#,
    )
    .unwrap();
    fs::write(
        bench.path("phone"),
        r#"{"network": "roaming", "charging": "no", "battery_percent": 3}"#,
    )
    .unwrap();
    let (policy, phone) = (bench.path("policy"), bench.path("phone"));
    let (policy, phone) = (policy.to_str().unwrap(), phone.to_str().unwrap());
    let past = ["explain", "--json", "--at", "1999-01-01"];
    assert_eq!(
        document(&bench, &past)["newest"],
        Value::Null,
        "there was nothing then"
    );
    let refused = bench.run(&["status", "--policy", policy, "--conditions", policy]);
    assert!(
        code(&refused) == 1 && errors(&refused).contains("unknown field"),
        "{}",
        errors(&refused)
    );
    let told = document(
        &bench,
        &["status", "--json", "--policy", policy, "--conditions", phone],
    );
    assert_eq!(told["runs"], Value::Null);
    let late = bench.run(&["explain", "--at", "2999-01-01"]);
    assert!(errors(&late).contains("future"), "{}", errors(&late));
}

#[test]
fn a_backup_that_was_killed_is_named_by_the_next() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    fs::create_dir_all(bench.path("source")).unwrap();
    bench.fill("source/large", 512 << 20);
    let source = bench.source();
    let mut child = bench
        .command(&["--json", "backup", &source])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let opened = || {
        let told = bench.run(&["explain", "--json"]);
        // Until the catalog is there, and while it is being made, there is nothing to read.
        lines(&told)
            .first()
            .is_some_and(|told| !told["windows"].as_array().unwrap().is_empty())
    };
    while !opened() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the backup was too quick to be killed"
        );
    }
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    fs::remove_file(bench.path("source/large")).unwrap();
    bench.ok(&["backup", &source]);
    let told = document(&bench, &["explain", "--json"]);
    let windows = told["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 2, "{told}");
    assert_eq!(windows[1]["ended"][1]["end"], "killed");
    assert_eq!(
        (&windows[0]["task"], &windows[0]["ended"][1]["end"]),
        (&"resume".into(), &"done".into())
    );
}

#[test]
fn a_life_is_the_same_each_time_and_keeps_its_budget() {
    let bench = Bench::new();
    let args = [
        "simulate", "--trace", "student", "--days", "60", "--seed", "4", "--json",
    ];
    let first = bench.ok(&args);
    assert_eq!(text(&first), text(&bench.ok(&args)));
    let report = &lines(&first)[0]["report"];
    assert_eq!(report["over_budget_bytes"], 0);
    assert!(report["snapshots"].as_u64().unwrap() > 10, "{report}");
    let refused = bench.run(&["simulate", "--trace", "no-such-life"]);
    assert!(errors(&refused).contains("no-such-life"), "{}", errors(&refused));
    assert!(!bench.path("state").exists());
}

/// The traces that are shipped are what their seeds make, and can be played.
#[test]
fn shipped_traces_are_what_the_generator_makes() {
    let bench = Bench::new();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/traces");
    for life in ["commuter", "put-aside", "iphone"] {
        let (made, kept) = (bench.path(life), format!("{shipped}/{life}.json"));
        let write = [
            "simulate",
            "--trace",
            life,
            "--days",
            "28",
            "--seed",
            "1",
            "--write-trace",
        ];
        let from_seed = bench.ok(&[&write[..], &[made.to_str().unwrap()]].concat());
        assert_eq!(
            fs::read_to_string(&made).unwrap(),
            fs::read_to_string(&kept).unwrap(),
            "{life}"
        );
        assert_eq!(text(&from_seed), text(&bench.ok(&["simulate", "--trace", &kept])));
    }
}

fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
}

/// One page that needs nothing but itself, and that a browser draws.
#[test]
fn the_pages_stand_alone_and_are_drawn() {
    let bench = Bench::new();
    for (name, args, plots) in [
        ("life.html", &["--trace", "iphone", "--days", "90"][..], 3),
        ("fleet.html", &["--fleet", "14", "--days", "30"][..], 2),
    ] {
        let page = bench.path(name);
        bench.ok(&[&["simulate", "--html", page.to_str().unwrap()], args].concat());
        let html = fs::read_to_string(&page).unwrap();
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!html.contains(outside), "{name} reaches out with {outside}");
        }
        assert!(
            html.contains("Leon Sorokin"),
            "the licence of the charts travels with them"
        );
        let Some(browser) = browser() else {
            // Where CI runs, a missing browser is a failure.
            assert!(std::env::var_os("CI").is_none(), "no browser to draw {name} in");
            continue;
        };
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=20000",
            "--dump-dom",
        ];
        let address = format!("file://{}", page.display());
        let profile = format!("--user-data-dir={}", bench.path("profile").display());
        let drawn = Command::new(browser)
            .args(flags)
            .args([&profile, &address])
            .output()
            .unwrap();
        let dom = text(&drawn);
        assert!(
            dom.contains(&format!("data-drawn=\"{plots}\"")),
            "{name}: {}",
            errors(&drawn)
        );
    }
}
