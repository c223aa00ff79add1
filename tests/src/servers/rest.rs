//! restic's own rest-server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Access, Process, program, tls::Authority};

pub const USER: &str = "phone";
pub const PASSWORD: &str = "a password only for tests";
pub const OTHER_PASSWORD: &str = "another password";

/// `{SHA}` and the SHA-1 of each password in base64, as `htpasswd -s` writes them.
const HASH: &str = "{SHA}+7gdjaJFxtKN1Vc0Bed9iStln/Y=";
const OTHER_HASH: &str = "{SHA}NGasFM8y2i0NXka2CS32nmmM38Q=";

/// How it is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub append_only: bool,
    /// With a user for each repository, and a password for each user.
    pub private: bool,
    pub tls: bool,
    /// All that it stores, in bytes.
    pub max_size: Option<u64>,
}

pub struct RestServer {
    process: Process,
    dir: TempDir,
    options: Options,
    authority: Option<Authority>,
}

impl RestServer {
    pub fn start(options: Options) -> Self {
        let binary = program("LIFEBOAT_REST_SERVER");
        let dir = tempfile::Builder::new()
            .prefix("lifeboat-rest-")
            .tempdir()
            .expect("a temporary folder");
        let authority = options.tls.then(|| Authority::new(dir.path()));
        write_users(dir.path(), HASH);
        // With a quota, it wants to count what is there.
        fs::create_dir(dir.path().join("data")).expect("a folder for repositories");
        let process = Process::start(&dir.path().join("log"), |port| {
            let mut command = Command::new(&binary);
            command
                .arg("--listen")
                .arg(format!("127.0.0.1:{port}"))
                .arg("--path")
                .arg(dir.path().join("data"))
                .arg("--log")
                .arg(dir.path().join("requests"))
                .arg("--htpasswd-file")
                .arg(dir.path().join("users"));
            if options.append_only {
                command.arg("--append-only");
            }
            command.arg(if options.private {
                "--private-repos"
            } else {
                "--no-auth"
            });
            if let Some(size) = options.max_size {
                command.arg("--max-size").arg(size.to_string());
            }
            if let Some(authority) = &authority {
                command
                    .arg("--tls")
                    .arg("--tls-cert")
                    .arg(&authority.server_certificate)
                    .arg("--tls-key")
                    .arg(&authority.server_key);
            }
            command
        });
        Self {
            process,
            dir,
            options,
            authority,
        }
    }

    /// Without user and password.
    pub fn address(&self) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        // A private repository is below its user's name.
        let name = if self.options.private { USER } else { "any" };
        format!("rest:{scheme}://127.0.0.1:{}/{name}/vault/", self.process.port)
    }

    /// With the user and this password.
    pub fn address_with(&self, password: &str) -> String {
        let password = password.replace(' ', "%20");
        self.address()
            .replacen("://", &format!("://{USER}:{password}@"), 1)
    }

    /// Where the repository's files are.
    pub fn files(&self) -> PathBuf {
        let name = if self.options.private { USER } else { "any" };
        self.dir.path().join("data").join(name).join("vault")
    }

    /// The certificate of the authority that vouches for this server, where it has one.
    pub fn authority(&self) -> Option<&Path> {
        Some(&self.authority.as_ref()?.certificate)
    }

    /// Its own certificate as DER, where it has one.
    pub fn certificate(&self) -> Option<&[u8]> {
        Some(&self.authority.as_ref()?.server_der)
    }

    /// What restic and we need beside the address.
    pub fn access(&self) -> Access {
        let mut access = Access::default();
        if self.options.private {
            access = access
                .variable("RESTIC_REST_USERNAME", USER)
                .variable("RESTIC_REST_PASSWORD", PASSWORD);
        }
        if let Some(certificate) = self.authority() {
            access = access.option("--cacert", crate::scene::utf8(certificate));
        }
        access
    }

    /// From soon on, the user's password is the other one.
    pub fn change_password(&self) {
        write_users(self.dir.path(), OTHER_HASH);
        self.process.signal(Signal::HUP);
    }

    /// To be killed and started again.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.process.port
    }

    /// A line for each request so far, with the version of HTTP it came by.
    pub fn requests(&self) -> String {
        fs::read_to_string(self.dir.path().join("requests")).expect("the log of requests")
    }
}

fn write_users(dir: &Path, hash: &str) {
    fs::write(dir.join("users"), format!("{USER}:{hash}\n")).expect("write the users");
}
