//! `status`: how the backup is, in a few lines. Reads what was written down, and opens no vault.

use std::{fs, path::Path};

use lifeboat::scheduler::{
    Conditions, History, Journal, Policy, Reason,
    explain::{Freshness, Status},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::journal::now_ms;
use crate::{
    args::{Common, StatusArgs},
    exit::{Code, Failure, Result},
    output::Output,
    session::state_dir,
    text::moment,
};

pub(super) fn run(common: &Common, args: &StatusArgs, out: &mut Output) -> Result<Code> {
    let (journal, conditions) = read(common, args)?;
    let now_ms = now_ms();
    let status = journal.status(now_ms, &conditions);
    if out.is_json() {
        out.document(&document(&status)?)?;
        return Ok(Code::Success);
    }
    out.line(freshness(
        status.freshness,
        status.newest.map(|newest| newest.at_ms),
        status.age_ms,
    ))?;
    match (status.runs, status.waits) {
        (Some(task), _) => out.line(format_args!("now       {} can run", task.name()))?,
        (None, Some(reason)) => out.line(format_args!("now       waits: {} ({reason})", reason.text()))?,
        (None, None) => {}
    }
    if let Some(next) = status.next_ms.filter(|next| *next > now_ms) {
        out.line(format_args!("next look {}", moment(next)))?;
    }
    if let Some(end) = status.last_end {
        out.line(format_args!("last time {} ({end})", end.text()))?;
    }
    Ok(Code::Success)
}

/// The sentence about the newest snapshot.
pub(super) fn freshness(freshness: Freshness, newest_ms: Option<i64>, age_ms: i64) -> String {
    let word = match freshness {
        Freshness::None => "no snapshot yet",
        Freshness::Fresh => "fresh",
        Freshness::Late => "late",
        Freshness::Stale => "STALE",
    };
    match newest_ms {
        Some(at) => format!(
            "backup    {word}: the newest complete snapshot is {} old ({})",
            age(age_ms),
            moment(at)
        ),
        None => format!("backup    {word}: none is complete, for {}", age(age_ms)),
    }
}

/// As exact as it matters for a backup.
pub(super) fn age(ms: i64) -> String {
    let minutes = ms.max(0) / 60_000;
    match minutes {
        0..60 => format!("{minutes} min"),
        60..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// The journal of the vault's state folder, and the conditions to go by.
pub(super) fn read(common: &Common, args: &StatusArgs) -> Result<(Journal, Conditions)> {
    let dir = state_dir(common)?;
    let mut journal = Journal::read(&dir)?.unwrap_or_else(|| Journal {
        history: History::begin(0, now_ms()),
        policy: Policy::default(),
        conditions: Conditions::default(),
        rows: Vec::new(),
        counts: Vec::new(),
    });
    if let Some(policy) = &args.policy {
        journal.policy = self::policy(policy)?;
    }
    let mut conditions = journal.conditions.clone();
    // Who asked then does not ask now.
    conditions.asked = false;
    if let Some(file) = &args.conditions {
        conditions = document_in(file)?;
    }
    Ok((journal, conditions))
}

pub(crate) fn policy(file: &Path) -> Result<Policy> {
    let policy: Policy = document_in(file)?;
    match policy.problems().into_iter().next() {
        Some(problem) => Err(Failure::here(format!("{}: {problem}", file.display()))),
        None => Ok(policy),
    }
}

pub(crate) fn document_in<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::io(format!("reading {}", file.display()), error))?;
    serde_json::from_str(&text).map_err(|error| Failure::here(format!("{}: {error}", file.display())))
}

/// With the sentences beside the codes.
fn document(status: &Status) -> Result<Value> {
    let mut document =
        serde_json::to_value(status).map_err(|error| Failure::here(format!("writing JSON: {error}")))?;
    document["message_type"] = json!("status");
    document["texts"] = texts(status.waits.into_iter().chain(status.last_end));
    Ok(document)
}

pub(super) fn texts(reasons: impl IntoIterator<Item = Reason>) -> Value {
    let texts = reasons
        .into_iter()
        .map(|reason| (reason.code().to_owned(), json!(reason.text())));
    Value::Object(texts.collect())
}
