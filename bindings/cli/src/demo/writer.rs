//! The app's process, which writes messages into its database all the time; and the handle by which the
//! demonstration asks it how far it is.
//!
//! It must be a process of its own: a database that is open in the engine's process may not be read by
//! copying it there. It ends when its standard input does, hence also with the demonstration.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};

use super::app;
use crate::{
    exit::{Code, Failure, Result},
    output::Output,
};

/// A messenger that is a few years old.
const OLD_MESSAGES: i64 = 20_000;
const CHATS: i64 = 80;
/// Between two messages.
const PAUSE: Duration = Duration::from_millis(2);

/// `chats.messages` counts what is in `messages`, and changes in the same transaction: in a copy that is of
/// one moment the two agree.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE chats (id INTEGER PRIMARY KEY, messages INTEGER NOT NULL);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        chat INTEGER NOT NULL REFERENCES chats,
        sent_ms INTEGER NOT NULL,
        text TEXT NOT NULL
    );
    CREATE INDEX messages_by_chat ON messages (chat, sent_ms);
";

/// The command: makes the database and goes on writing. Answers each line on standard input, and its end,
/// with the number of messages that are committed, and the microseconds of the longest transaction since the
/// last answer.
pub(crate) fn run(database: &Path, out: &mut Output) -> Result<Code> {
    let (asked, questions) = channel();
    // It ends with standard input, or with the process.
    thread::spawn(move || {
        for _ in io::stdin().lines().map_while(io::Result::ok) {
            if asked.send(()).is_err() {
                return;
            }
        }
    });
    write(database, &questions, out)?;
    Ok(Code::Success)
}

fn write(path: &Path, questions: &Receiver<()>, out: &mut Output) -> Result<()> {
    let mut database = Connection::open(path).map_err(failed)?;
    database.execute_batch(SCHEMA).map_err(failed)?;
    let old = database.transaction().map_err(failed)?;
    for chat in 0..CHATS {
        old.execute("INSERT INTO chats VALUES (?1, 0)", [chat])
            .map_err(failed)?;
    }
    for number in 1..=OLD_MESSAGES {
        add(&old, number).map_err(failed)?;
    }
    old.commit().map_err(failed)?;
    let (mut number, mut longest) = (OLD_MESSAGES, Duration::ZERO);
    loop {
        let question = questions.try_recv();
        if question != Err(TryRecvError::Empty) {
            out.line(format_args!("{number} {}", longest.as_micros()))?;
            out.flush()?;
            longest = Duration::ZERO;
        }
        if question == Err(TryRecvError::Disconnected) {
            return Ok(());
        }
        let began = Instant::now();
        let message = database.transaction().map_err(failed)?;
        add(&message, number + 1).map_err(failed)?;
        message.commit().map_err(failed)?;
        longest = longest.max(began.elapsed());
        number += 1;
        thread::sleep(PAUSE);
    }
}

fn add(transaction: &Connection, number: i64) -> rusqlite::Result<()> {
    let (chat, sent_ms) = (number % CHATS, 1_700_000_000_000 + number * 977);
    transaction
        .prepare_cached("INSERT INTO messages VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            number,
            chat,
            sent_ms,
            format!("{} #{number}", app::phrase(number.unsigned_abs()))
        ])?;
    transaction
        .prepare_cached("UPDATE chats SET messages = messages + 1 WHERE id = ?1")?
        .execute([chat])?;
    Ok(())
}

fn failed(error: rusqlite::Error) -> Failure {
    Failure::here(format!("the app's database: {error}"))
}

/// How far the app is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Messages that are committed.
    pub(super) rows: u64,
    /// What the longest transaction took since it was last asked.
    pub(super) longest: Duration,
}

/// The running app. Dropping it ends it.
pub(super) struct Writer {
    process: Child,
    /// Taken to end the process.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Writer {
    pub(super) fn start(database: &Path) -> Result<Self> {
        let failed = |error| Failure::io("starting the app's process", error);
        let mut process = Command::new(std::env::current_exe().map_err(failed)?)
            .arg("demo-writer")
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Failure::here("the app's process has no pipes"));
        };
        Ok(Self {
            process,
            questions: Some(questions),
            answers: BufReader::new(answers),
        })
    }

    /// Asks how far it is. Waits for the first answer until the database is there.
    pub(super) fn ask(&mut self) -> Result<Written> {
        if let Some(questions) = &mut self.questions {
            questions.write_all(b"?\n").map_err(talking)?;
        }
        self.answer()
    }

    /// Ends the process.
    pub(super) fn stop(mut self) -> Result<Written> {
        self.questions = None;
        let written = self.answer()?;
        let status = self.process.wait().map_err(talking)?;
        if status.success() {
            Ok(written)
        } else {
            Err(Failure::here(format!("the app's process failed: {status}")))
        }
    }

    fn answer(&mut self) -> Result<Written> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(talking)?;
        let mut numbers = line.split_whitespace().map_while(|number| number.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(rows), Some(longest)) => Ok(Written {
                rows,
                longest: Duration::from_micros(longest),
            }),
            _ => Err(Failure::here("the app's process does not answer")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.questions = None;
        // It has ended already, or does so now.
        let _ = self.process.wait();
    }
}

fn talking(error: io::Error) -> Failure {
    Failure::io("talking to the app's process", error)
}
