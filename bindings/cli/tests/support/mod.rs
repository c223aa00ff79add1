//! A place to run the program in, and its answers as values.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

pub struct Bench {
    dir: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// A folder with two files; its path.
    pub fn source(&self) -> String {
        let source = self.path("source");
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::write(source.join("a.txt"), "first").unwrap();
        fs::write(source.join("sub/b.txt"), "second").unwrap();
        source.into_os_string().into_string().unwrap()
    }

    /// A file of bytes that are all different from each other, as far as chunks go.
    pub fn fill(&self, name: &str, bytes: u64) {
        let mut file = File::create(self.path(name)).unwrap();
        let mut state = 1_u64;
        for _ in 0..bytes >> 20 {
            let words = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            });
            let megabyte: Vec<u8> = words.take(1 << 17).flatten().collect();
            file.write_all(&megabyte).unwrap();
        }
    }

    /// The program, with this place's vault and nothing of the environment's.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("LIFEBOAT_VAULT", self.path("vault"))
            .env("LIFEBOAT_PASSWORD", "secret")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The same, and it must succeed.
    pub fn ok(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        assert_eq!(code(&output), 0, "{args:?}: {}", errors(&output));
        output
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Standard output as JSON, line by line.
pub fn lines(output: &Output) -> Vec<Value> {
    let lines = text(output);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
