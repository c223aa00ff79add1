//! `lifeboat daemon` as a process: it backs up by itself, says so meanwhile, and may be stopped or killed at any time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;

use lifeboat_tests::{
    Rng, Scene,
    process::{Finished, Running},
    scene::{HOST, utf8},
    seed, vault,
};
use rustix::process::Signal;
use serde_json::Value;

/// Large enough for a window to be stopped in its middle.
const LARGE: usize = 32 << 20;

struct Daemon {
    scene: Scene,
}

impl Daemon {
    fn new() -> Self {
        let scene = Scene::new();
        scene.restic().init();
        fs::create_dir(scene.source()).unwrap();
        fs::create_dir(scene.path("settings")).unwrap();
        let daemon = Self { scene };
        daemon.policy(
            r#"{"fresh_minutes": 1, "stale_minutes": 1, "jitter_minutes": 0, "free_space_reserve_bytes": 0}"#,
        );
        daemon.machine("unmetered");
        daemon
    }

    fn policy(&self, text: &str) {
        fs::write(self.scene.path("settings/policy"), text).unwrap();
    }

    /// Replaced as editors do it.
    fn machine(&self, network: &str) {
        let text = format!(
            r#"{{"network": "{network}", "charging": "yes", "low_power_mode": "no", "thermal": "nominal"}}"#
        );
        fs::write(self.scene.path("settings/new"), text).unwrap();
        fs::rename(
            self.scene.path("settings/new"),
            self.scene.path("settings/machine"),
        )
        .unwrap();
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.scene.source().join(name), bytes).unwrap();
    }

    fn start(&self, more: &[&str]) -> Running {
        let (policy, machine) = (
            self.scene.path("settings/policy"),
            self.scene.path("settings/machine"),
        );
        let source = self.scene.source();
        let args = [
            "daemon",
            "--json",
            "--host",
            HOST,
            "--policy",
            utf8(&policy),
            "--conditions",
            utf8(&machine),
        ];
        self.scene
            .lifeboat()
            .start([&args, more, &[utf8(&source)]].concat())
    }

    fn snapshots(&self) -> usize {
        vault::files(&self.scene.vault(), "snapshots").len()
    }

    fn explain(&self) -> Value {
        self.scene.lifeboat().run(["explain", "--json"]).ok().json()
    }

    fn is_sound(&self) {
        assert!(vault::locks(&self.scene.vault()).is_empty(), "a lock is left");
        self.scene.restic().check_read_data();
    }

    /// How the windows ended, the newest first, as `explain` tells it.
    fn ends(&self) -> Vec<String> {
        let told = self.explain();
        let windows = told["windows"].as_array().unwrap();
        let end = |window: &Value| window["ended"][1]["end"].as_str().unwrap_or("open").to_owned();
        windows.iter().map(end).collect()
    }
}

fn told(finished: &Finished, what: &str) -> Vec<Value> {
    let mut lines = finished.json_lines();
    lines.retain(|line| line["message_type"] == what);
    lines
}

#[test]
fn it_backs_up_and_goes_on_by_itself_and_says_so_meanwhile() {
    let daemon = Daemon::new();
    daemon.write("a", b"first");
    // A minute is a second.
    let mut running = daemon.start(&["--speed", "60"]);
    assert!(running.reaches(|| daemon.snapshots() == 1));
    daemon.write("b", b"second");
    assert!(running.reaches(|| daemon.snapshots() == 2), "the next increment");
    let status = daemon.scene.lifeboat().run(["status", "--json"]).ok().json();
    assert!(status["newest"]["files"].as_u64().unwrap() >= 1, "{status}");
    // Somebody unplugs the network: that is a sign, and nobody waits for a clock to see it.
    daemon.machine("offline");
    let is_told = |word: &str| {
        let told = daemon.explain();
        told["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|block| block["reason"] == word)
    };
    assert!(running.reaches(|| is_told("offline")));
    // A policy that cannot be used changes nothing; a good one counts at once.
    daemon.policy(r#"{"fresh_minutes": 0}"#);
    daemon.policy(r#"{"fresh_minutes": 600, "stale_minutes": 600, "jitter_minutes": 0}"#);
    running.signal(Signal::HUP);
    assert!(running.reaches(|| daemon.explain()["freshness"] == "fresh" && is_told("not-due")));
    running.signal(Signal::TERM);
    let ended = running.wait().code(0);
    assert_eq!(told(&ended, "started").len(), 1);
    assert!(told(&ended, "policy").len() >= 2, "{ended}");
    let windows = told(&ended, "window");
    assert_eq!(
        (&windows[0]["task"], &windows[1]["task"]),
        (&"first-backup".into(), &"increment".into())
    );
    // Bytes and requests are told, by class.
    let closed = &windows[0]["closed"];
    assert!(
        closed["requests"].as_u64().unwrap() > 3 && closed["spent"][0][0] == "unmetered",
        "{closed}"
    );
    assert_eq!(told(&ended, "stopped").len(), 1);
    daemon.is_sound();
}

#[test]
fn stopped_in_the_middle_of_a_window_it_leaves_no_lock_and_goes_on_next_time() {
    let mut rng = Rng::new(seed(71));
    let daemon = Daemon::new();
    daemon.write("large", &rng.bytes(LARGE));
    for signal in [Signal::TERM, Signal::INT] {
        let mut running = daemon.start(&[]);
        let before = vault::packs(&daemon.scene.vault()).len();
        assert!(
            running.reaches(|| vault::packs(&daemon.scene.vault()).len() > before),
            "too quick to be stopped"
        );
        running.signal(signal);
        // Not as one that was interrupted: its window ended in time, and is in the journal.
        running.wait().code(0);
        assert_eq!(daemon.snapshots(), 0);
        assert_eq!(daemon.ends()[0], "stop-system");
        daemon.is_sound();
    }
    let ended = daemon.start(&["--once"]).wait().code(0);
    assert!(
        told(&ended, "window")
            .iter()
            .any(|window| window["task"] == "resume"),
        "{ended}"
    );
    assert_eq!(daemon.snapshots(), 1);
    daemon.is_sound();
}

#[test]
fn killed_it_is_named_at_the_next_start() {
    let mut rng = Rng::new(seed(72));
    let daemon = Daemon::new();
    daemon.write("large", &rng.bytes(LARGE));
    let running = daemon.start(&[]);
    let killed = running.kill_when(|| !vault::packs(&daemon.scene.vault()).is_empty());
    assert!(killed.was_killed(), "{killed}");
    assert_eq!(daemon.ends(), ["open"], "nobody could say how it ended");
    let mut running = daemon.start(&[]);
    assert!(running.reaches(|| daemon.ends().last().is_some_and(|end| end == "killed")));
    // After a kill it waits a while before it tries again; who asks does not.
    running.signal(Signal::TERM);
    let ended = running.wait().code(0);
    assert_eq!(told(&ended, "started")[0]["killed"], "killed");
    daemon.scene.lifeboat().backup(&daemon.scene.source());
    assert_eq!(daemon.snapshots(), 1);
    daemon.is_sound();
}

/// What a command line says of bytes and requests is in the journal, too.
#[test]
fn windows_from_the_command_line_are_counted() {
    let daemon = Daemon::new();
    daemon.write("a", b"something");
    let source = daemon.scene.source();
    let lifeboat = daemon.scene.lifeboat();
    lifeboat
        .run(["backup", "--window", "60", "--host", HOST, "--", utf8(&source)])
        .ok();
    daemon.write("b", b"something else");
    lifeboat.backup(&source);
    let told = daemon.explain();
    for window in told["windows"].as_array().unwrap() {
        let closed = &window["ended"][1];
        assert!(closed["requests"].as_u64().unwrap() > 3, "{closed}");
        assert!(closed["spent"][0][1].as_u64().unwrap() > 100, "{closed}");
    }
    assert_eq!(told["windows"].as_array().unwrap().len(), 2);
}

#[test]
fn what_the_policy_does_not_allow_is_not_done() {
    let daemon = Daemon::new();
    daemon.write("a", b"something");
    daemon.machine("roaming");
    let ended = daemon.start(&["--once"]).wait().code(0);
    assert!(told(&ended, "window").is_empty());
    assert_eq!(
        told(&ended, "waiting")[0]["waits"][0]["reason"],
        "network-not-allowed"
    );
    assert_eq!(daemon.snapshots(), 0);
}
