//! How far a job is: a bar for people who watch, lines for programs, nothing for a pipe.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lifeboat::{Engine, Phase, Progress};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    exit::Result,
    output::Output,
    text::{Size, count},
};

/// Often enough to look smooth.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Often enough for a program that draws its own.
const LINE_EVERY: Duration = Duration::from_millis(500);
/// A job that is done sooner needs no bar.
const BAR_AFTER: Duration = Duration::from_millis(300);

const COUNTING: &str = "[{elapsed}] {wide_msg}";
const KNOWN: &str = "[{elapsed}] {bar:20} {percent:>3} %  {wide_msg}";

/// What programs are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// How far it is, line by line.
    Events,
    /// The end only, in one document.
    End,
}

/// Awaits a job of the engine, and shows how far it is.
pub(crate) async fn watch<T>(
    engine: &Engine,
    out: &mut Output,
    told: Told,
    job: impl Future<Output = T>,
) -> Result<T> {
    let mut job = pin!(job);
    let mut ticks = interval(if out.is_json() { LINE_EVERY } else { DRAW_EVERY });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bar = Bar::new();
    loop {
        tokio::select! {
            done = &mut job => {
                bar.clear();
                return Ok(done);
            }
            _ = ticks.tick() => {
                if out.is_json() && told == Told::Events {
                    line(out, bar.started.elapsed(), &engine.progress())?;
                } else if out.is_watched() {
                    bar.draw(&engine.progress());
                }
            }
        }
    }
}

/// An event with restic's names.
fn line(out: &mut Output, elapsed: Duration, progress: &Progress) -> Result<()> {
    let mut status = json!({
        "message_type": "status",
        "seconds_elapsed": elapsed.as_secs(),
        "percent_done": share(progress).unwrap_or(0.0),
        "files_done": progress.files,
        "bytes_done": progress.bytes,
        "error_count": progress.unreadable,
        "bytes_new": progress.new_bytes,
        "bytes_stored": progress.stored_bytes,
    });
    if progress.bytes_total > 0 || progress.files_total > 0 {
        status["total_files"] = json!(progress.files_total);
        status["total_bytes"] = json!(progress.bytes_total);
    }
    if let Some(left) = seconds_left(elapsed, progress) {
        status["seconds_remaining"] = json!(left);
    }
    out.document(&status)?;
    out.flush()
}

/// How much of it is done, where that is known.
fn share(progress: &Progress) -> Option<f64> {
    let (done, total) = if progress.bytes_total > 0 {
        (progress.bytes, progress.bytes_total)
    } else {
        (progress.files, progress.files_total)
    };
    // A source may grow while it is read.
    (total > 0).then(|| (done as f64 / total as f64).min(1.0))
}

fn seconds_left(elapsed: Duration, progress: &Progress) -> Option<u64> {
    let share = share(progress).filter(|share| *share > 0.01)?;
    Some((elapsed.as_secs_f64() * (1.0 - share) / share).round() as u64)
}

struct Bar {
    bar: ProgressBar,
    started: Instant,
    is_known: bool,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        Self {
            bar,
            started: Instant::now(),
            is_known: false,
        }
    }

    fn draw(&mut self, progress: &Progress) {
        let elapsed = self.started.elapsed();
        if elapsed < BAR_AFTER {
            return;
        }
        let share = share(progress);
        if self.is_known != share.is_some() || self.bar.message().is_empty() {
            self.is_known = share.is_some();
            let template = if self.is_known { KNOWN } else { COUNTING };
            // A template that cannot be read leaves the default style, which is one, too.
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
        }
        self.bar.set_message(message(elapsed, progress));
        self.bar.set_position((share.unwrap_or(0.0) * 1000.0) as u64);
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(elapsed: Duration, progress: &Progress) -> String {
    // All of it has to fit 80 columns with numbers as they are in the middle of a large job.
    let phase = match progress.phase {
        Phase::Idle => "starting",
        Phase::Looking => "looking",
        Phase::Sealing => "sealing",
        Phase::Publishing => "publishing",
        Phase::Staging => "fetching",
        Phase::Applying => "putting in place",
        Phase::Checking => "checking",
        Phase::Pruning => "pruning",
    };
    let rate = (progress.bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let mut text = format!(
        "{phase}: {}, {}, {}/s",
        count(progress.files, "file", "files"),
        Size(progress.bytes),
        Size(rate)
    );
    if progress.new_bytes > 0 || progress.stored_bytes > 0 {
        text += &format!(
            ", {} new, {} stored",
            Size(progress.new_bytes),
            Size(progress.stored_bytes)
        );
    }
    if progress.unreadable > 0 {
        text += &format!(", {} unreadable", progress.unreadable);
    }
    if let Some(left) = seconds_left(elapsed, progress) {
        text += &format!(", {}:{:02} left", left / 60, left % 60);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Progress = Progress {
        phase: Phase::Sealing,
        files: 0,
        bytes: 0,
        files_total: 0,
        bytes_total: 0,
        new_bytes: 0,
        stored_bytes: 0,
        unreadable: 0,
    };

    #[test]
    fn what_is_left_is_said_only_where_it_is_known() {
        let elapsed = Duration::from_secs(10);
        assert_eq!(seconds_left(elapsed, &NOTHING), None);
        let half = Progress {
            files: 3,
            bytes: 50,
            bytes_total: 100,
            ..NOTHING
        };
        assert_eq!(seconds_left(elapsed, &half), Some(10));
        assert_eq!(
            message(elapsed, &half),
            "sealing: 3 files, 50 B, 5 B/s, 0:10 left"
        );
        let grown = Progress { bytes: 120, ..half };
        assert_eq!(share(&grown), Some(1.0));
    }
}
