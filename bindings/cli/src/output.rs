//! Standard output and standard error. Everything that is printed goes through here, so that a reader who
//! goes away is an end and not a crash.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;
use serde_json::json;

use crate::exit::{Code, Failure, Result};

pub(crate) struct Output {
    json: bool,
    stdout: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            stdout: BufWriter::new(io::stdout()),
        }
    }

    /// Whether a program reads this.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person is watching, so that progress is worth drawing.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<()> {
        writeln!(self.stdout, "{text}").map_err(failed)
    }

    /// One document in one line.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(document)
            .map_err(|error| Failure::here(format!("writing JSON: {error}")))?;
        self.line(text)
    }

    /// Hands on what was written so far.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.stdout.flush().map_err(failed)
    }

    /// Something that went wrong with one thing while the rest goes on.
    pub(crate) fn warn(&mut self, during: &str, item: &str, text: &str) -> Result<()> {
        // What was said before stands before it, where both go to one terminal.
        self.flush()?;
        if self.json {
            let event = json!({
                "message_type": "error", "error": {"message": text}, "during": during, "item": item,
            });
            to_stderr(&event.to_string());
        } else {
            to_stderr(&format!(
                "lifeboat: {}: {text}",
                crate::text::visible(item.as_ref())
            ));
        }
        Ok(())
    }

    /// The last words.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        let code = failure.code();
        if code == Code::ClosedPipe {
            return;
        }
        // The reader of this may be gone as well: there is nobody left to tell.
        let _ = self.flush();
        if self.json {
            let event = json!({
                "message_type": "exit_error", "code": code as u8, "message": failure.to_string(),
            });
            to_stderr(&event.to_string());
            return;
        }
        to_stderr(&format!("lifeboat: {failure}"));
        if let Some(advice) = failure.advice() {
            to_stderr(&format!("  {advice}"));
        }
    }
}

fn to_stderr(line: &str) {
    // Nothing can be said about a failure to say something.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn failed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::ClosedPipe
    } else {
        Failure::io("writing to standard output", error)
    }
}
