//! Real servers that nobody here wrote, each started for one test on a port of its own and killed when dropped.

pub mod any;
pub mod minio;
pub mod proxy;
pub mod rest;
pub mod s3;
pub mod tls;

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

pub use any::AnyServer;
pub use proxy::{Direction, Proxy, Toxic};
pub use rest::RestServer;
pub use s3::S3Server;

/// What a program needs to reach a vault, beside the address. The options are those that restic and we have in common.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub variables: Vec<(String, String)>,
    pub options: Vec<String>,
}

impl Access {
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.extend([name.into(), value.into()]);
        self
    }
}

/// Starting is tried so often: between choosing a free port and listening on it, another program may take it.
const STARTS_MAX: usize = 5;

/// An interpreter on a busy machine takes a while to come up.
const READY_MAX: Duration = Duration::from_secs(120);

/// How often is looked whether a server is up.
const POLL: Duration = Duration::from_millis(20);

/// A running server.
pub struct Process {
    child: Child,
    command: Command,
    log: PathBuf,
    pub port: u16,
}

impl Process {
    /// Starts what `command` makes for a port, and waits until someone listens there.
    pub fn start(log: &Path, command: impl Fn(u16) -> Command) -> Self {
        for _ in 0..STARTS_MAX {
            let port = free_port();
            let output = fs::File::create(log).expect("a log file");
            let mut command = command(port);
            let child = command
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a second handle"))
                .stderr(output)
                .spawn()
                .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
            let mut process = Self {
                child,
                command,
                log: log.to_owned(),
                port,
            };
            if process.becomes_ready() {
                return process;
            }
        }
        panic!(
            "no server came up: {}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// As a power cut ends it.
    pub fn kill(&mut self) {
        // Fails only when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// After a `kill`: the same again, on the same port.
    pub fn start_again(&mut self) {
        self.child = self.command.spawn().expect("what was started before");
        assert!(self.becomes_ready(), "does not come back: {}", self.log());
    }

    /// False where it ended by itself.
    fn becomes_ready(&mut self) -> bool {
        let deadline = Instant::now() + READY_MAX;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while self.child.try_wait().expect("wait for our own child").is_none() {
            // A port to which nobody listens may be the one that this end is given, and then it is connected to itself.
            let own = TcpStream::connect(address).and_then(|stream| stream.local_addr());
            if own.is_ok_and(|own| own != address) {
                return true;
            }
            assert!(Instant::now() < deadline, "not up in time: {}", self.log());
            thread::sleep(POLL);
        }
        false
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal our own child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its number").port()
}

/// The program that a variable names.
fn program(variable: &str) -> PathBuf {
    env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} must name a program; `tests/run storage` gets and sets it"))
        .into()
}
