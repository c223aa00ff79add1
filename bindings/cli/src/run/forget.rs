//! `forget`.

use std::collections::HashMap;

use lifeboat::{
    ForgetReport, PruneJob,
    format::{Snapshot, SnapshotId},
    retention::{Decision, GroupKey},
};
use serde_json::{Value, json};

use super::{prune, snapshots::cells};
use crate::{
    args::ForgetArgs,
    exit::{Code, Result},
    json,
    output::Output,
    session::Session,
    text::{Table, count, visible},
};

/// What is known of each snapshot that was there before.
type Known = HashMap<SnapshotId, Snapshot>;

pub(super) async fn run(session: Session<'_>, args: &ForgetArgs) -> Result<Code> {
    let known: Known = session
        .ask(session.engine.snapshots())
        .await?
        .into_iter()
        .collect();
    let report = session.ask(session.engine.forget(args.job())).await?;
    let out = &mut *session.out;
    if out.is_json() {
        let groups: Vec<Value> = report
            .groups
            .iter()
            .map(|(key, decisions)| group_document(key, decisions, &known))
            .collect();
        out.document(&groups)?;
    } else {
        print(&report, &known, args.dry_run, out)?;
    }
    if args.prune {
        if !out.is_json() {
            out.line("")?;
        }
        return prune::run(session, PruneJob::default(), false).await;
    }
    if !out.is_json() && !report.removed.is_empty() && !args.dry_run {
        out.line("What only they used stays in the vault until `lifeboat prune` gives the room back.")?;
    }
    Ok(Code::Success)
}

fn group_document(key: &GroupKey, decisions: &[Decision], known: &Known) -> Value {
    let document = |decision: &Decision| {
        let id = &decision.snapshot.id;
        known
            .get(id)
            .map_or(Value::Null, |snapshot| json::snapshot(id, snapshot))
    };
    let which = |keep: bool| -> Vec<Value> {
        let these = decisions.iter().filter(|decision| decision.keep == keep);
        these.map(document).collect()
    };
    let reasons: Vec<Value> = (decisions.iter().filter(|decision| decision.keep))
        .map(|decision| {
            let matches: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
            json!({"snapshot": document(decision), "matches": matches})
        })
        .collect();
    let or_null = |texts: &[String]| {
        if texts.is_empty() {
            Value::Null
        } else {
            json!(texts)
        }
    };
    json!({
        "tags": or_null(&key.tags),
        "host": key.hostname,
        "paths": or_null(&key.paths),
        "keep": which(true),
        "remove": which(false),
        "reasons": reasons,
    })
}

fn print(report: &ForgetReport, known: &Known, dry_run: bool, out: &mut Output) -> Result<()> {
    for (key, decisions) in &report.groups {
        let name = group_name(key);
        if !name.is_empty() {
            out.line(format_args!("snapshots of {name}\n"))?;
        }
        for keep in [true, false] {
            print_decisions(decisions, known, keep, out)?;
        }
    }
    let number = count(report.removed.len() as u64, "snapshot", "snapshots");
    if dry_run {
        out.line(format_args!("{number} would be forgotten; nothing was done"))?;
        return Ok(());
    }
    if report.groups.is_empty() {
        for id in &report.removed {
            out.line(format_args!("snapshot {} forgotten", id.short()))?;
        }
    }
    out.line(format_args!("{number} forgotten"))?;
    Ok(())
}

fn print_decisions(decisions: &[Decision], known: &Known, keep: bool, out: &mut Output) -> Result<()> {
    let mut table = Table::new(&["ID", "Time", "Host", "Tags", "Reasons", "Paths"], &[]);
    let mut number = 0;
    for decision in decisions.iter().filter(|decision| decision.keep == keep) {
        let Some(snapshot) = known.get(&decision.snapshot.id) else {
            continue;
        };
        number += 1;
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let [id, time, host, tags, paths] = cells(&decision.snapshot.id, snapshot);
        table.row([id, time, host, tags, visible_lines(&reasons), paths]);
    }
    if number == 0 {
        return Ok(());
    }
    let what = if keep { "keep" } else { "forget" };
    out.line(format_args!("{what} {}:", count(number, "snapshot", "snapshots")))?;
    out.line(&table)?;
    out.line("")
}

/// A reason names tags, which come from a repository.
fn visible_lines(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| visible(text.as_ref())).collect();
    texts.join("\n")
}

fn group_name(key: &GroupKey) -> String {
    let mut parts = Vec::new();
    if !key.hostname.is_empty() {
        parts.push(format!("host {}", key.hostname));
    }
    if !key.paths.is_empty() {
        parts.push(format!("paths {}", key.paths.join(", ")));
    }
    if !key.tags.is_empty() {
        parts.push(format!("tags {}", key.tags.join(",")));
    }
    visible(parts.join(", ").as_ref())
}
