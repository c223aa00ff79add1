//! A runner of the `lifeboat` binary: the command line that people use, nothing else.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    process::{Finished, Running, run, start},
    scene::{HOST, PASSWORD, utf8},
    servers::Access,
};

/// What the exit codes mean. The same as restic's, where restic has one.
pub mod exit {
    pub const FAILED: i32 = 1;
    pub const INCOMPLETE: i32 = 3;
    pub const NO_REPOSITORY: i32 = 10;
    pub const LOCKED: i32 = 11;
    pub const WRONG_PASSWORD: i32 = 12;
    pub const MORE_TO_DO: i32 = 20;
    pub const WAITING: i32 = 21;
    pub const INTERRUPTED: i32 = 130;
}

/// The binary on one vault, with one state folder: two of these with different states are two installations.
#[derive(Clone, Debug)]
pub struct Lifeboat {
    binary: PathBuf,
    vault: PathBuf,
    state: PathBuf,
    password: String,
    /// What the vault needs beside its address: variables and options.
    access: Access,
}

impl Lifeboat {
    /// The binary named by `LIFEBOAT_BIN`.
    pub fn new(vault: &Path, state: &Path) -> Self {
        let binary = env::var_os("LIFEBOAT_BIN").unwrap_or_else(|| {
            panic!("LIFEBOAT_BIN must name the lifeboat binary; `tests/run` builds and sets it")
        });
        Self {
            binary: binary.into(),
            vault: vault.to_owned(),
            state: state.to_owned(),
            password: PASSWORD.to_owned(),
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

    /// The same vault from another installation: nothing remembered.
    pub fn with_state(&self, state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            ..self.clone()
        }
    }

    fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.binary);
        // The settings of the person who runs the tests are not part of the tests.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"LIFEBOAT_"))
        {
            command.env_remove(name);
        }
        command
            .env("LIFEBOAT_VAULT", &self.vault)
            .env("LIFEBOAT_PASSWORD", &self.password)
            .envs(self.access.variables.clone())
            .arg("--state")
            .arg(&self.state)
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

    /// Backs one path up as the host of all tests, and takes nothing less than success.
    pub fn backup(&self, source: &Path) -> Finished {
        self.backup_with(source, &[])
    }

    pub fn backup_with(&self, source: &Path, options: &[&str]) -> Finished {
        let arguments = backup_args(source);
        let (first, last) = arguments.split_at(3);
        self.run([first, options, last].concat()).ok()
    }

    pub fn restore(&self, snapshot: &str, target: &Path) -> Finished {
        self.run(restore_args(snapshot, target)).ok()
    }

    pub fn check(&self) -> Finished {
        self.run(["check"]).ok()
    }

    pub fn check_read_data(&self) -> Finished {
        self.run(["check", "--read-data"]).ok()
    }

    pub fn forget(&self, rules: &[&str]) -> Finished {
        self.run([&["forget"], rules].concat())
    }

    pub fn key_add(&self, new_password_file: &Path) -> Finished {
        self.run(["key", "add", "--new-password-file", utf8(new_password_file)])
            .ok()
    }

    pub fn key_remove(&self, id: &str) -> Finished {
        self.run(["key", "remove", id])
    }
}

/// The arguments of a backup of one path.
pub fn backup_args(source: &Path) -> [&str; 5] {
    ["backup", "--host", HOST, "--", utf8(source)]
}

/// The arguments of a restore of a whole snapshot.
pub fn restore_args<'a>(snapshot: &'a str, target: &'a Path) -> [&'a str; 4] {
    ["restore", snapshot, "--target", utf8(target)]
}
