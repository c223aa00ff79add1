//! `backup --window`: as much as fits into a stretch of time, and a word on what is left.

use std::time::{Duration, Instant};

use lifeboat::{Allowances, Budget, LockPolicy, MoreToDo, Outcome, Waiting, WakeHint};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::backup;
use crate::{
    exit::{Code, Failure, Result},
    output::Output,
    text::{Size, Span, count},
};

/// What the window may spend.
pub(super) struct Terms {
    pub(super) deadline: Duration,
    pub(super) limit_bytes: Option<u64>,
    pub(super) no_lock: bool,
}

impl Terms {
    pub(super) fn budget(&self, stop: CancellationToken) -> Budget {
        Budget {
            stop,
            allowances: Allowances {
                unmetered: self.limit_bytes,
                ..Allowances::UNLIMITED
            },
            lock: if self.no_lock {
                LockPolicy::Never
            } else {
                LockPolicy::WhenShared
            },
            ..Budget::of(self.deadline)
        }
    }
}

/// Says how the window ended.
pub(super) fn tell(outcome: Outcome, started: Instant, out: &mut Output) -> Result<Code> {
    match outcome {
        Outcome::Done(report) => backup::done(&report, started, out),
        Outcome::Failed { error, .. } => Err(Failure::from(error)),
        Outcome::MoreToDo(more) => {
            if out.is_json() {
                out.document(&more_document(&more))?;
            } else {
                tell_more(&more, out)?;
            }
            Ok(Code::MoreToDo)
        }
        Outcome::Waiting { reason, hint } => {
            let (word, text) = reason_of(&reason);
            if out.is_json() {
                let mut document = document("waiting", &hint);
                document["reason"] = json!(word);
                document["message"] = json!(text);
                out.document(&document)?;
            } else {
                out.line(format_args!("waiting: {text}"))?;
                if !hint.not_before.is_zero() {
                    out.line(format_args!(
                        "it is worth trying again in {}",
                        Span(hint.not_before)
                    ))?;
                }
            }
            Ok(Code::Waiting)
        }
    }
}

fn document(outcome: &str, hint: &WakeHint) -> Value {
    let networks: Vec<&str> = hint.networks.iter().map(|network| network.name()).collect();
    json!({
        "message_type": "outcome",
        "outcome": outcome,
        "not_before_seconds": hint.not_before.as_secs(),
        "networks": networks,
        "window_min_seconds": hint.window_min.map(|window| window.as_secs_f64()),
    })
}

fn more_document(more: &MoreToDo) -> Value {
    let mut document = document("more_to_do", &more.hint);
    document["packs"] = json!(more.packs);
    document["bytes"] = json!(more.bytes);
    document["all_sealed"] = json!(more.all_sealed);
    document["handed_off"] = json!(more.handed_off);
    document
}

fn tell_more(more: &MoreToDo, out: &mut Output) -> Result<()> {
    let rest = if more.all_sealed {
        ", and nothing else"
    } else {
        ", and what is not read yet"
    };
    out.line(format_args!(
        "more to do: {} of {} to send{rest}",
        count(more.packs, "pack", "packs"),
        Size(more.bytes)
    ))?;
    if let Some(window) = more.hint.window_min {
        out.line(format_args!(
            "the next window should be {} or longer",
            Span(window)
        ))?;
    }
    out.line("the same command goes on")
}

/// A word for programs, and a sentence.
fn reason_of(reason: &Waiting) -> (&'static str, String) {
    match reason {
        Waiting::Network(class) => (
            "network",
            format!("nothing may be sent over a network that is {}", class.name()),
        ),
        Waiting::WindowTooShort => ("window_too_short", "the window is too short".to_owned()),
        Waiting::Parked { text, .. } => ("parked", format!("until something changes: {text}")),
        Waiting::Unreachable(error) => ("unreachable", error.to_string()),
        Waiting::Locked(error) => ("locked", error.to_string()),
        Waiting::DiskFull(error) => ("disk_full", error.to_string()),
        Waiting::HandedOff => (
            "handed_off",
            "for packs that were given to another sender".to_owned(),
        ),
    }
}
