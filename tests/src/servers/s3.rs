//! Two S3 servers that share no code: versitygw (Go), which is strict about signatures and clocks, and moto (Python), which knows more of
//! Amazon's headers.

use std::{path::PathBuf, process::Command};

use lifeboat::storage::{BucketStyle, Credentials};
use tempfile::TempDir;

use super::{Access, Process, program};

pub const KEY_ID: &str = "AKIDTESTS";
pub const SECRET: &str = "a secret only for tests";
pub const BUCKET: &str = "vaults";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    Versity,
    Moto,
}

pub struct S3Server {
    process: Process,
    dir: TempDir,
    make: Make,
}

impl S3Server {
    pub fn start(make: Make) -> Self {
        let binary = program(match make {
            Make::Versity => "LIFEBOAT_VERSITYGW",
            Make::Moto => "LIFEBOAT_MOTO_SERVER",
        });
        let dir = tempfile::Builder::new()
            .prefix("lifeboat-s3-")
            .tempdir()
            .expect("a temporary folder");
        let buckets = dir.path().join("buckets");
        std::fs::create_dir(&buckets).expect("a folder for buckets");
        let process = Process::start(&dir.path().join("log"), |port| {
            let mut command = Command::new(&binary);
            match make {
                Make::Versity => command
                    .args(["--access", KEY_ID, "--secret", SECRET, "--keep-alive"])
                    .args(["--virtual-domain", &format!("s3.localhost:{port}")])
                    .args(["--port", &format!("127.0.0.1:{port}")])
                    .args(["posix", "--sidecar"])
                    .arg(sidecar(&dir))
                    .arg(&buckets),
                Make::Moto => command.args(["-H", "127.0.0.1", "-p", &port.to_string()]),
            };
            command
        });
        Self { process, dir, make }
    }

    /// A place of its own in the bucket that all tests have in common, reached in this style.
    pub fn address(&self, style: BucketStyle, prefix: &str) -> String {
        let port = self.process.port;
        match style {
            BucketStyle::VirtualHost => format!("s3:http://s3.localhost:{port}/{BUCKET}/{prefix}"),
            _ => format!("s3:http://127.0.0.1:{port}/{BUCKET}/{prefix}"),
        }
    }

    pub fn credentials(&self) -> Credentials {
        Credentials::new(KEY_ID, SECRET)
    }

    /// What restic and we need beside the address.
    pub fn access(&self) -> Access {
        Access::default()
            .variable("AWS_ACCESS_KEY_ID", KEY_ID)
            .variable("AWS_SECRET_ACCESS_KEY", SECRET)
            .variable("AWS_DEFAULT_REGION", "us-east-1")
    }

    /// Where the bucket's files are, of a server that keeps them as files.
    pub fn files(&self) -> Option<PathBuf> {
        (self.make == Make::Versity).then(|| self.dir.path().join("buckets").join(BUCKET))
    }

    /// To be killed and started again.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.process.port
    }

    pub fn make(&self) -> Make {
        self.make
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// What versitygw knows of its objects: not every file system has attributes for that.
fn sidecar(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("sidecar");
    std::fs::create_dir_all(&path).expect("a folder for what is known of objects");
    path
}
