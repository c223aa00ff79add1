//! A thin runner of a real restic: one method a command, and nothing hidden.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    process::{Finished, Running, run, start},
    scene::{HOST, PASSWORD, utf8},
    servers::Access,
};

/// One restic program on one repository. Uses no cache: a cache would hide what the repository has lost.
#[derive(Clone, Debug)]
pub struct Restic {
    binary: PathBuf,
    repository: PathBuf,
    password: String,
    /// Restic writes snapshot times, and counts days, in the zone of its `TZ`.
    zone: String,
    /// What the repository needs beside its address: variables and options.
    access: Access,
}

impl Restic {
    /// The restic named by `LIFEBOAT_RESTIC`.
    pub fn current(repository: &Path) -> Self {
        Self::named_by("LIFEBOAT_RESTIC", repository)
    }

    /// The restic named by `LIFEBOAT_RESTIC_OLD`.
    pub fn old(repository: &Path) -> Self {
        Self::named_by("LIFEBOAT_RESTIC_OLD", repository)
    }

    fn named_by(variable: &str, repository: &Path) -> Self {
        let binary = env::var_os(variable).unwrap_or_else(|| {
            panic!("{variable} must name a restic binary; `tests/run` gets one and sets it")
        });
        Self {
            binary: binary.into(),
            repository: repository.to_owned(),
            password: PASSWORD.to_owned(),
            zone: "UTC".to_owned(),
            access: Access::default(),
        }
    }

    pub fn with_access(&self, access: &Access) -> Self {
        Self {
            access: access.clone(),
            ..self.clone()
        }
    }

    pub fn with_password(&self, password: &str) -> Self {
        Self {
            password: password.to_owned(),
            ..self.clone()
        }
    }

    pub fn with_zone(&self, zone: &str) -> Self {
        Self {
            zone: zone.to_owned(),
            ..self.clone()
        }
    }

    pub fn on(&self, repository: &Path) -> Self {
        Self {
            repository: repository.to_owned(),
            ..self.clone()
        }
    }

    fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.binary);
        // The settings of the person who runs the tests are not part of the tests.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"RESTIC_")) {
            command.env_remove(name);
        }
        command
            .env("RESTIC_REPOSITORY", &self.repository)
            .env("RESTIC_PASSWORD", &self.password)
            .env("TZ", &self.zone)
            .envs(self.access.variables.clone())
            .args(["--no-cache", "--json"])
            .args(&self.access.options)
            .args(args);
        command
    }

    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Finished {
        run(&mut self.command(args))
    }

    pub fn start<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Running {
        start(&mut self.command(args))
    }

    pub fn init(&self) {
        self.run(["init"]).ok();
    }

    /// Backs one path up as the host of all tests; gives the summary.
    pub fn backup(&self, source: &Path) -> Value {
        self.backup_with(source, &[])
    }

    pub fn backup_with(&self, source: &Path, options: &[&str]) -> Value {
        self.run([&["backup", "--host", HOST], options, &["--", utf8(source)]].concat())
            .ok()
            .summary()
    }

    /// Restores everything, and has restic read the files back.
    pub fn restore(&self, snapshot: &str, target: &Path) {
        self.restore_with(snapshot, target, &["--verify"]);
    }

    pub fn restore_with(&self, snapshot: &str, target: &Path, options: &[&str]) {
        self.run([&["restore", snapshot, "--target", utf8(target)], options].concat())
            .ok();
    }

    /// Everything restic can verify, reading all packs.
    pub fn check_read_data(&self) {
        self.run(["check", "--read-data"]).ok();
    }

    /// The same where somebody's lock is in the way.
    pub fn check_read_data_unlocked(&self) {
        self.run(["check", "--no-lock", "--read-data"]).ok();
    }

    /// All blobs that the indexes name, as `type id`, sorted, each once.
    pub fn blobs(&self) -> Vec<String> {
        let listed = self.run(["list", "blobs", "--no-lock"]).ok().stdout;
        let mut blobs: Vec<String> = listed.lines().map(str::to_owned).collect();
        blobs.sort();
        blobs.dedup();
        blobs
    }

    pub fn snapshots(&self) -> Vec<Value> {
        let list = self.run(["snapshots"]).ok().json();
        list.as_array().expect("a list of snapshots").clone()
    }

    pub fn snapshot_ids(&self) -> Vec<String> {
        self.snapshots()
            .iter()
            .map(|snapshot| text(&snapshot["id"]))
            .collect()
    }

    /// The nodes of a snapshot, directories too, without the line about the snapshot itself.
    pub fn ls(&self, snapshot: &str) -> Vec<Value> {
        let mut lines = self.run(["ls", snapshot]).ok().json_lines();
        lines.retain(|line| line["struct_type"] == "node");
        lines
    }

    /// `mode` is one of restic's counting modes, `raw-data` or `restore-size`.
    pub fn stats(&self, mode: &str) -> Value {
        self.run(["stats", "--mode", mode]).ok().json()
    }

    /// The snapshots that the rules would keep and remove, each sorted.
    pub fn forget_dry_run(&self, rules: &[&str]) -> (Vec<String>, Vec<String>) {
        let groups = self.run([&["forget", "--dry-run"], rules].concat()).ok().json();
        let (mut keep, mut remove) = (vec![], vec![]);
        for group in groups.as_array().expect("a list of groups") {
            for (list, name) in [(&mut keep, "keep"), (&mut remove, "remove")] {
                list.extend(
                    group[name]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|s| text(&s["id"])),
                );
            }
        }
        keep.sort();
        remove.sort();
        (keep, remove)
    }

    pub fn prune(&self) {
        self.run(["prune"]).ok();
    }

    pub fn rewrite(&self, args: &[&str]) -> Finished {
        self.run([&["rewrite"], args].concat()).ok()
    }

    pub fn unlock(&self) {
        self.run(["unlock"]).ok();
    }

    /// A document of the repository in plain text, such as `cat(&["config"])`.
    pub fn cat(&self, what: &[&str]) -> Value {
        self.run([&["cat"], what].concat()).ok().json()
    }

    /// The key files that open with this password or any other, as restic lists them.
    pub fn keys(&self) -> Vec<Value> {
        let list = self.run(["key", "list"]).ok().json();
        list.as_array().expect("a list of keys").clone()
    }

    pub fn key_add(&self, new_password_file: &Path) {
        self.run(["key", "add", "--new-password-file", utf8(new_password_file)])
            .ok();
    }
}

/// The text in a JSON value that must be one.
#[track_caller]
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}: not a string"))
        .to_owned()
}
