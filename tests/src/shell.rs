//! The command lines of SQLite and SQLCipher, kept open: programs that nobody here wrote, to write databases and to judge restored ones.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::JoinHandle,
};

use crate::scene::utf8;

/// Printed after each answer; no text in the tests holds it.
const END: &str = "-- end of the answer --";

/// One process with one database open. It ends, and closes the database, when it is dropped.
#[derive(Debug)]
pub struct Shell {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Everything it complained about.
    stderr: Option<JoinHandle<String>>,
}

impl Shell {
    pub fn sqlite(database: &Path) -> Self {
        Self::start("sqlite3", database)
    }

    pub fn sqlcipher(database: &Path, key: &str) -> Self {
        let mut shell = Self::start("sqlcipher", database);
        shell.run(&format!("PRAGMA key = '{key}';"));
        shell
    }

    fn start(program: impl AsRef<OsStr>, database: &Path) -> Self {
        let program = program.as_ref();
        let mut child = Command::new(program)
            // What the person who runs the tests likes to see is not part of the tests.
            .args(["-batch", "-bail", "-init", "/dev/null", utf8(database)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program:?} is needed; `tests/run` says how to get it: {error}"));
        let complaints = child.stderr.take().expect("piped");
        let stderr = std::thread::spawn(move || std::io::read_to_string(complaints).unwrap_or_default());
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stdin = child.stdin.take();
        let mut shell = Self {
            child,
            stdin,
            stdout,
            stderr: Some(stderr),
        };
        shell.run(".timeout 30000");
        shell
    }

    /// Runs statements or a dot command, and gives what they print. An error ends the test.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> String {
        let stdin = self.stdin.as_mut().expect("open until dropped");
        let _ = writeln!(stdin, "{sql}\n.print '{END}'").and_then(|()| stdin.flush());
        let (mut answer, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            let read = self.stdout.read_line(&mut line).expect("UTF-8 from the shell");
            if read == 0 {
                self.stdin = None;
                let said = self.stderr.take().and_then(|thread| thread.join().ok());
                panic!("{sql}\n{answer}{}", said.unwrap_or_default());
            }
            if line.trim_end() == END {
                return answer;
            }
            answer.push_str(&line);
        }
    }

    /// Schema and rows, as SQL.
    pub fn dump(&mut self) -> String {
        let settings = "PRAGMA user_version; PRAGMA application_id; PRAGMA page_size; PRAGMA auto_vacuum;";
        self.run(settings) + &self.run(".dump")
    }

    #[track_caller]
    pub fn assert_sound(&mut self) {
        assert_eq!(self.run("PRAGMA integrity_check;").trim(), "ok");
    }

    /// Folds the log in, if there is one. The answer says how many frames are left in it.
    #[track_caller]
    pub fn checkpoint(&mut self) {
        let answer = self.run("PRAGMA wal_checkpoint(TRUNCATE);");
        assert!(answer.starts_with("0|"), "somebody reads: {answer}");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}
