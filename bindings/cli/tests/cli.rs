//! The program as people and scripts meet it: exit codes, output, signals.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Bench, code, errors, lines, text};

#[test]
fn a_vault_from_its_first_snapshot_to_its_last() {
    let bench = Bench::new();
    let source = bench.source();
    bench.ok(&["init"]);
    assert!(!bench.path("state").exists(), "init needs no folder of its own");
    let again = bench.run(&["init"]);
    assert_eq!(code(&again), 1);
    assert!(
        errors(&again).contains("there is a repository"),
        "{}",
        errors(&again)
    );

    let backup = bench.run(&["backup", &source]);
    assert_eq!(code(&backup), 0, "{}", errors(&backup));
    assert!(text(&backup).trim_end().ends_with("saved"), "{}", text(&backup));
    assert_eq!(errors(&backup), "", "quiet in a pipe");
    assert_eq!(fs::read_dir(bench.path("state/lifeboat")).unwrap().count(), 1);

    fs::write(bench.path("source/new"), "new").unwrap();
    let backup = bench.ok(&["--json", "backup", "--tag", "a,b", "--host", "other", &source]);
    let events: Vec<Value> = lines(&backup);
    let summary = events.last().unwrap();
    assert_eq!(summary["message_type"], "summary");
    assert_eq!(summary["total_files_processed"], 3);
    assert_eq!(summary["snapshot_id"].as_str().unwrap().len(), 64);
    let is_status = |event: &Value| event["message_type"] == "status" && event["files_done"].is_u64();
    assert!(events[..events.len() - 1].iter().all(is_status));

    let snapshots: Value = lines(&bench.ok(&["snapshots", "--json"])).remove(0);
    assert_eq!(snapshots.as_array().unwrap().len(), 2);
    assert_eq!(snapshots[1]["tags"], serde_json::json!(["a", "b"]));
    assert_eq!(snapshots[1]["id"], summary["snapshot_id"]);
    assert_eq!(snapshots[0]["paths"], serde_json::json!([source]));
    let table = text(&bench.ok(&["snapshots", "--tag", "b"]));
    assert!(
        table.starts_with("ID  ") && table.ends_with("1 snapshot\n"),
        "{table}"
    );

    let listed = text(&bench.ok(&["ls", "latest", &format!("{source}/sub")]));
    let listed: Vec<&str> = listed.lines().skip(1).collect();
    assert_eq!(listed, [format!("{source}/sub"), format!("{source}/sub/b.txt")]);
    let nodes = lines(&bench.ok(&["ls", "latest", "--json"]));
    assert_eq!(nodes[0]["struct_type"], "snapshot");
    assert!(
        nodes[1..]
            .iter()
            .any(|node| node["name"] == "b.txt" && node["size"] == 6)
    );

    let target = bench.path("target");
    bench.ok(&["restore", "latest", "--target", target.to_str().unwrap()]);
    let restored = target.join(source.trim_start_matches('/'));
    assert_eq!(fs::read(restored.join("sub/b.txt")).unwrap(), b"second");
    assert!(text(&bench.ok(&["check"])).ends_with("no errors were found\n"));

    let plan = text(&bench.ok(&["forget", "--keep-last", "1", "--group-by", "", "-n"]));
    assert!(plan.contains("1 snapshot would be forgotten"), "{plan}");
    let done: Value = lines(&bench.ok(&["forget", "--keep-last", "1", "--group-by", "", "--json"])).remove(0);
    assert_eq!(done[0]["remove"][0]["id"], snapshots[0]["id"]);
    assert_eq!(
        done[0]["reasons"][0]["matches"],
        serde_json::json!(["last snapshot"])
    );
    let left: Value = lines(&bench.ok(&["snapshots", "--json"])).remove(0);
    assert_eq!(left.as_array().unwrap().len(), 1);
}

#[test]
fn exit_codes_say_what_to_do() {
    let bench = Bench::new();
    let missing = bench.run(&["snapshots", "--json"]);
    assert_eq!(code(&missing), 10);
    let error: Value = serde_json::from_str(&errors(&missing)).unwrap();
    assert_eq!(
        (&error["message_type"], &error["code"]),
        (&"exit_error".into(), &10.into())
    );
    bench.ok(&["init"]);

    let wrong = bench
        .command(&["snapshots"])
        .env("LIFEBOAT_PASSWORD", "other")
        .output()
        .unwrap();
    assert_eq!(code(&wrong), 12);
    assert!(errors(&wrong).contains("--password-file"), "{}", errors(&wrong));
    let none = bench
        .command(&["snapshots"])
        .env_remove("LIFEBOAT_PASSWORD")
        .output()
        .unwrap();
    assert_eq!(code(&none), 1);
    assert!(errors(&none).contains("LIFEBOAT_PASSWORD"), "{}", errors(&none));
    let homeless = bench
        .command(&["snapshots"])
        .env_remove("XDG_STATE_HOME")
        .env_remove("HOME")
        .output()
        .unwrap();
    assert_eq!(code(&homeless), 1);
    assert!(errors(&homeless).contains("--state"), "{}", errors(&homeless));
    assert_eq!(code(&bench.run(&["no-such-command"])), 1);

    let partly = bench.run(&["backup", &bench.source(), "/no/such/file"]);
    assert_eq!(code(&partly), 3, "{}", errors(&partly));
    assert!(errors(&partly).contains("/no/such/file"), "{}", errors(&partly));
    assert!(text(&partly).contains("saved"), "{}", text(&partly));
    assert_eq!(code(&bench.run(&["forget"])), 1, "a policy that keeps nothing");
}

#[test]
fn a_folder_in_use_and_a_reader_who_leaves_are_no_crash() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    let state = bench.path("engine");
    let state_option = state.to_str().unwrap();
    fs::create_dir(&state).unwrap();
    let held = fs::File::create(state.join("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let busy = bench.run(&["--state", state_option, "snapshots"]);
    assert_eq!(code(&busy), 1);
    assert!(errors(&busy).contains("another engine"), "{}", errors(&busy));
    drop(held);

    let mut child = bench
        .command(&["--state", state_option, "snapshots"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
}

#[test]
fn each_of_several_passwords_opens_the_vault() {
    let bench = Bench::new();
    let file = bench.path("password");
    fs::write(&file, "  secret \n").unwrap();
    let file = file.to_str().unwrap();
    bench.ok(&["init"]);
    let added = bench
        .command(&["-p", file, "key", "add"])
        .env("LIFEBOAT_NEW_PASSWORD", "second")
        .output()
        .unwrap();
    assert_eq!(code(&added), 0, "{}", errors(&added));
    let keys: Value = lines(&bench.ok(&["-p", file, "key", "list", "--json"])).remove(0);
    let keys = keys.as_array().unwrap();
    assert_eq!(keys.len(), 2);
    let old = keys.iter().find(|key| key["current"] == true).unwrap();
    let old = old["id"].as_str().unwrap();
    let refused = bench.run(&["key", "remove", old]);
    assert_eq!(code(&refused), 1);
    let removed = bench
        .command(&["key", "remove", &old[..10]])
        .env("LIFEBOAT_PASSWORD", "second")
        .output()
        .unwrap();
    assert_eq!(code(&removed), 0, "{}", errors(&removed));
    assert_eq!(code(&bench.run(&["-p", file, "snapshots"])), 12);
}

#[test]
fn an_interrupted_backup_goes_on() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    let source = bench.source();
    bench.fill("source/large", 160 << 20);
    let mut child = bench
        .command(&["--json", "backup", &source])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_working = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            event["message_type"], "status",
            "it ended before it could be interrupted"
        );
        event["bytes_stored"].as_u64() > Some(0)
    };
    assert!(events.any(|line| is_working(&line.unwrap())));
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    // A quarter of a second is what the engine has; a busy machine may need more.
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(code(&output), 130);
    let error: Value = serde_json::from_str(&errors(&output)).unwrap();
    assert!(error["message"].as_str().unwrap().contains("goes on"), "{error}");

    let done = lines(&bench.ok(&["--json", "backup", &source])).pop().unwrap();
    assert_eq!(done["message_type"], "summary");
    let snapshots: Value = lines(&bench.ok(&["snapshots", "--json"])).remove(0);
    assert_eq!(snapshots.as_array().unwrap().len(), 1);
    assert!(text(&bench.ok(&["check"])).contains("no errors"));
}

#[test]
fn the_demonstration_shows_what_it_says() {
    let bench = Bench::new();
    let dir = bench.path("demo");
    let told = bench.run(&["demo", "--dir", dir.to_str().unwrap()]);
    assert_eq!(code(&told), 0, "{}{}", text(&told), errors(&told));
    assert!(text(&told).contains("Everything is back"), "{}", text(&told));
    assert!(!dir.exists(), "it leaves nothing behind");
    assert!(text(&told).lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn what_is_staged_is_applied_confirmed_and_rolled_back_without_a_vault() {
    let bench = Bench::new();
    let source = bench.source();
    let database = rusqlite::Connection::open(bench.path("source/app.db")).unwrap();
    database
        .execute_batch("CREATE TABLE t (x); PRAGMA user_version=7")
        .unwrap();
    drop(database);
    bench.ok(&["init"]);
    bench.ok(&["backup", &source]);
    let target = bench.path("target");
    let place = target.join(source.trim_start_matches('/'));
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("a.txt"), "old").unwrap();
    let to = target.to_str().unwrap().to_owned();
    let staged = lines(&bench.ok(&["restore", "latest", "--target", &to, "--stage-only", "--json"]));
    let summary = staged.last().unwrap();
    assert_eq!(summary["applied"], false);
    let found = &summary["databases"][0];
    assert_eq!(
        (&found["user_version"], &found["integrity"]),
        (&7.into(), &"ok".into())
    );
    assert_eq!(fs::read(place.join("a.txt")).unwrap(), b"old");
    let again = bench.run(&["restore", "latest", "--target", &to]);
    assert_eq!(code(&again), 1);
    assert!(
        errors(&again).contains("waits to be applied"),
        "{}",
        errors(&again)
    );

    fs::rename(bench.path("vault"), bench.path("vault-away")).unwrap();
    let path = found["path"].as_str().unwrap();
    let refused = bench.run(&["apply", "--target", &to, "--accept", &format!("{path}=6")]);
    assert_eq!(code(&refused), 1);
    assert!(
        errors(&refused).contains("update the app"),
        "{}",
        errors(&refused)
    );
    assert_eq!(fs::read(place.join("a.txt")).unwrap(), b"old");
    let applied = text(&bench.ok(&["apply", "-t", &to, "--accept", &format!("{path}=7:0")]));
    assert!(applied.starts_with("restored: 3 files"), "{applied}");
    assert_eq!(fs::read(place.join("a.txt")).unwrap(), b"first");
    bench.ok(&["rollback", "-t", &to]);
    assert_eq!(fs::read(place.join("a.txt")).unwrap(), b"old");
    assert!(!place.join("app.db").exists());
    let nothing = lines(&bench.ok(&["confirm", "-t", &to, "--json"]));
    assert_eq!(nothing[0]["state"], "nothing");

    fs::rename(bench.path("vault-away"), bench.path("vault")).unwrap();
    bench.ok(&["restore", "latest", "--target", &to, "--stage-only"]);
    bench.ok(&["apply", "-t", &to]);
    bench.ok(&["confirm", "-t", &to]);
    assert_eq!(fs::read(place.join("a.txt")).unwrap(), b"first");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
}

#[test]
fn a_backup_in_windows_says_what_is_left_until_it_is_done() {
    let bench = Bench::new();
    let source = bench.source();
    for n in 0..4 {
        bench.fill(&format!("source/{n}.bin"), 2 << 20);
    }
    bench.ok(&["init"]);
    let backup = |limit: &str| {
        bench.run(&[
            "--json",
            "backup",
            "--window",
            "600",
            "--limit-bytes",
            limit,
            &source,
        ])
    };
    let last = |output| lines(&output).pop().unwrap();
    let mut windows = 0;
    let done = loop {
        windows += 1;
        let output = backup("3000000");
        match code(&output) {
            0 => break last(output),
            20 => {
                let outcome = last(output);
                assert_eq!(outcome["outcome"], "more_to_do");
                assert!(outcome["bytes"].is_u64() && outcome["networks"].is_array());
            }
            other => panic!("exit code {other}: {}", errors(&output)),
        }
        assert!(windows < 20, "does not converge");
    };
    assert_eq!(done["message_type"], "summary");
    assert_eq!(done["files_new"], 6);
    let nothing = backup("0");
    assert_eq!(code(&nothing), 21);
    assert_eq!(last(nothing)["reason"], "network");
    let words = bench.run(&["backup", "--window", "0.01", &source]);
    assert_eq!(code(&words), 21);
    assert!(text(&words).starts_with("waiting: "), "{}", text(&words));
    for wrong in [
        ["backup", "--window", "-1", &source],
        ["backup", "--window", "x", &source],
    ] {
        assert_eq!(code(&bench.run(&wrong)), 1);
    }
    assert_eq!(code(&bench.run(&["backup", "--limit-bytes", "1", &source])), 1);
    bench.ok(&["check", "--read-data"]);
}
