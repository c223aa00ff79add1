//! What the daemon says: a line for people, or a document for programs, each time something happens.

use lifeboat::{
    DueReport,
    scheduler::{Closed, Reason},
};
use serde_json::json;

use crate::{
    exit::{Failure, Result},
    output::Output,
    text::{Size, moment},
};

pub(super) fn started(out: &mut Output, killed: Option<&Closed>) -> Result<()> {
    if out.is_json() {
        let killed = killed.map(|closed| closed.end);
        out.document(&json!({"message_type": "started", "pid": std::process::id(), "killed": killed}))?;
    } else if let Some(closed) = killed {
        out.line(format_args!("before    {} ({})", closed.end.text(), closed.end))?;
    }
    out.flush()
}

pub(super) fn policy(out: &mut Output) -> Result<()> {
    if out.is_json() {
        out.document(&json!({"message_type": "policy"}))?;
    } else {
        out.line("policy    read")?;
    }
    out.flush()
}

/// A file that cannot be used.
pub(super) fn refused(out: &mut Output, failure: &Failure) -> Result<()> {
    out.warn("reading", "", &failure.to_string())
}

pub(super) fn noticed(out: &mut Output, reason: Reason) -> Result<()> {
    if out.is_json() {
        out.document(&json!({"message_type": "notice", "reason": reason, "text": reason.text()}))?;
    } else {
        out.line(format_args!("notice    {} ({reason})", reason.text()))?;
    }
    out.flush()
}

/// What became of one call of the engine, and what it waits for.
pub(super) fn report(out: &mut Output, report: &DueReport) -> Result<()> {
    if let Some(window) = &report.window {
        let closed = &window.closed;
        if out.is_json() {
            out.document(&json!({
                "message_type": "window",
                "task": window.task,
                "granted": window.grant,
                "closed": closed,
                "error": window.error.as_ref().map(ToString::to_string),
            }))?;
        } else {
            let bytes = closed.spent.iter().map(|(_, bytes)| bytes).sum();
            out.line(format_args!(
                "window    {}: {}; {} in {} requests",
                window.task.name(),
                closed.end.text(),
                Size(bytes),
                closed.requests
            ))?;
            if let Some(error) = &window.error {
                out.line(format_args!("          {error}"))?;
            }
        }
    }
    if !report.again {
        let next = report.next.wakes.iter().map(|wake| wake.earliest_ms).min();
        if out.is_json() {
            out.document(&json!({
                "message_type": "waiting",
                "due": report.next.due,
                "waits": report.next.waits,
                "wakes": report.next.wakes,
            }))?;
        } else {
            let reasons: Vec<&str> = report.next.waits.iter().map(|wait| wait.reason.text()).collect();
            let next = next.map_or_else(String::new, |next| format!("; next look {}", moment(next)));
            out.line(format_args!("waits     {}{next}", reasons.join(", ")))?;
        }
    }
    out.flush()
}

pub(super) fn stopped(out: &mut Output) -> Result<()> {
    if out.is_json() {
        out.document(&json!({"message_type": "stopped"}))?;
    } else {
        out.line("stopped")?;
    }
    out.flush()
}
