//! Running a program to its end, or to ours: exit code, outputs, and SIGKILL at a chosen moment.

use std::{
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How often a running program is looked at. Short against a backup of a few megabytes, so that kills spread evenly.
const POLL: Duration = Duration::from_micros(200);

/// Nothing in these tests takes so long; a program that does hangs, and is killed so that the test can say so.
const RUN_MAX: Duration = Duration::from_secs(600);

/// A program that has ended, and all it said.
pub struct Finished {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// A program that is running. Its outputs go to files, so that it never waits for a reader.
pub struct Running {
    command: String,
    child: Child,
    stdout: File,
    stderr: File,
    started_at: Instant,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Finished {
    start(command).wait()
}

/// Starts a command that has no standard input.
pub fn start(command: &mut Command) -> Running {
    let text = format!("{command:?}");
    let stdout = tempfile::tempfile().expect("a temporary file for stdout");
    let stderr = tempfile::tempfile().expect("a temporary file for stderr");
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().expect("a second handle"))
        .stderr(stderr.try_clone().expect("a second handle"))
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
    Running {
        command: text,
        child,
        stdout,
        stderr,
        started_at: Instant::now(),
    }
}

impl Running {
    pub fn wait(mut self) -> Finished {
        let overdue = self.poll_until(RUN_MAX, &mut || false).is_none();
        let finished = self.end();
        assert!(!overdue, "still running after {RUN_MAX:?}, killed\n{finished}");
        finished
    }

    /// Waits until something holds; false if the program ended first.
    pub fn reaches(&mut self, mut condition: impl FnMut() -> bool) -> bool {
        let mut reached = false;
        let mut look = || {
            reached = condition();
            reached
        };
        let ended = self.poll_until(RUN_MAX, &mut look).is_some();
        reached && !ended
    }

    /// SIGKILL once `delay` has passed since the start, if the program has not ended by itself before.
    pub fn kill_after(self, delay: Duration) -> Finished {
        let kill_at = self.started_at + delay;
        self.kill_when(|| Instant::now() >= kill_at)
    }

    /// SIGKILL as soon as `moment` holds, if the program has not ended by itself before.
    pub fn kill_when(mut self, mut moment: impl FnMut() -> bool) -> Finished {
        self.poll_until(RUN_MAX, &mut moment);
        self.end()
    }

    /// SIGKILL now, if the program has not ended by itself.
    pub fn kill(self) -> Finished {
        self.end()
    }

    /// Nothing happens where the program has ended by itself.
    pub fn signal(&self, signal: Signal) {
        match kill_process(Pid::from_child(&self.child), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("signal our own child: {error}"),
        }
    }

    /// The exit status if the program ended; none if `stop` held first or the time was over.
    fn poll_until(&mut self, at_most: Duration, stop: &mut dyn FnMut() -> bool) -> Option<ExitStatus> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("wait for our own child") {
                return Some(status);
            }
            if stop() {
                return None;
            }
            thread::sleep(POLL);
        }
        None
    }

    fn end(mut self) -> Finished {
        // Fails only when the program has ended, which is what is wanted.
        let _ = self.child.kill();
        let status = self.child.wait().expect("wait for our own child");
        let took = self.started_at.elapsed();
        let (stdout, stderr) = (read_all(&mut self.stdout), read_all(&mut self.stderr));
        Finished {
            command: self.command,
            status,
            stdout,
            stderr,
            took,
        }
    }
}

fn read_all(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).expect("rewind");
    file.read_to_end(&mut bytes).expect("read an output");
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Finished {
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(Signal::KILL.as_raw())
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Fails the test unless the exit code is the expected one.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.status.code(), Some(expected), "exit code\n{self}");
        self
    }

    /// Fails the test unless the program refused by itself: an exit code that is not 0, and no panic.
    #[track_caller]
    pub fn refused(self) -> Self {
        let code = self.status.code();
        assert!(code.is_some_and(|code| code != 0), "should have refused\n{self}");
        // 101 is how a Rust program ends on a panic.
        assert!(
            code != Some(101) && !self.stderr.contains("panicked at"),
            "panicked\n{self}"
        );
        self
    }

    /// Fails the test unless `part` is in one of the outputs.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(
            self.stdout.contains(part) || self.stderr.contains(part),
            "no word of {part:?}\n{self}"
        );
        self
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// The JSON documents on standard output, one a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}\n{self}"));
        self.stdout
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(parse)
            .collect()
    }

    /// The last JSON line whose `message_type` is `summary`.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let is_summary = |value: &Value| value["message_type"] == "summary";
        self.json_lines()
            .into_iter()
            .rfind(is_summary)
            .unwrap_or_else(|| panic!("no summary\n{self}"))
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}\n{} after {:?}", self.command, self.status, self.took)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            // The ends of long outputs say what went wrong.
            let skipped = text.chars().count().saturating_sub(4000);
            writeln!(
                f,
                "--- {name}\n{}",
                text.chars().skip(skipped).collect::<String>()
            )?;
        }
        Ok(())
    }
}
