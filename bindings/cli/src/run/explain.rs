//! `explain`: what is due, what is in the way and since when, what the last windows did, and what helps.

use lifeboat::scheduler::{Sort, explain::Explanation};
use serde_json::json;

use super::{
    journal::now_ms,
    status::{self, age, freshness, texts},
};
use crate::{
    args::{Common, ExplainArgs},
    exit::{Code, Failure, Result},
    output::Output,
    text::{Size, Table, moment},
};

pub(super) fn run(common: &Common, args: &ExplainArgs, out: &mut Output) -> Result<Code> {
    let (journal, conditions) = status::read(common, &args.status)?;
    let now_ms = now_ms();
    if args.at.is_some_and(|at| at > now_ms) {
        return Err(Failure::here(
            "--at is in the future: only what has happened can be explained",
        ));
    }
    let told = journal.explain(now_ms, &conditions, args.at);
    if out.is_json() {
        let mut document =
            serde_json::to_value(&told).map_err(|error| Failure::here(format!("writing JSON: {error}")))?;
        document["message_type"] = json!("explanation");
        document["texts"] = texts(told.reasons());
        out.document(&document)?;
        return Ok(Code::Success);
    }
    if args.at.is_some() {
        out.line(format_args!("at        {}", moment(told.at_ms)))?;
    }
    out.line(freshness(
        told.freshness,
        told.newest.map(|newest| newest.at_ms),
        told.age_ms,
    ))?;
    print(&told, out)?;
    if journal.rows.is_empty() {
        out.line("journal   nothing has been written down here yet")?;
    }
    Ok(Code::Success)
}

fn print(told: &Explanation, out: &mut Output) -> Result<()> {
    let due: Vec<&str> = told.due.iter().map(|task| task.name()).collect();
    out.line(format_args!(
        "due       {}",
        if due.is_empty() {
            "nothing".to_owned()
        } else {
            due.join(", ")
        }
    ))?;
    if let Some(task) = told.runs {
        out.line(format_args!("runs      {}", task.name()))?;
    }
    for block in &told.blocks {
        let since = match told.at_ms - block.since_ms {
            ..60_000 => String::new(),
            waited => format!(", for {}", age(waited)),
        };
        let until = block
            .until_ms
            .map_or_else(String::new, |until| format!(", until {}", moment(until)));
        out.line(format_args!(
            "waits     {} ({}){since}{until}",
            block.reason.text(),
            block.reason
        ))?;
    }
    for caution in &told.cautions {
        out.line(format_args!("careful   {} ({caution})", caution.text()))?;
    }
    if let Some(reason) = told.backed_off {
        out.line(format_args!("failed    {} ({reason})", reason.text()))?;
    }
    if let Some(gap) = told.gap {
        let until = gap.until_ms.map_or_else(|| "now".to_owned(), moment);
        let (from, asked) = (moment(gap.from_ms), moment(gap.asked_ms));
        let reason = gap.reason;
        out.line(format_args!(
            "silence   from {from} until {until}: {} ({reason}); a wake was asked for {asked}",
            reason.text()
        ))?;
    }
    for wake in &told.wakes {
        let needs = [
            (wake.charging, "charging"),
            (wake.idle, "idle"),
            (wake.battery_not_low, "battery not low"),
        ];
        let needs = needs
            .into_iter()
            .filter(|(needed, _)| *needed)
            .map(|(_, text)| format!(", {text}"));
        let network = serde_json::to_value(wake.network).unwrap_or_default();
        let network = network.as_str().unwrap_or_default().to_owned();
        out.line(format_args!(
            "wake      not before {}, network {network}{}",
            moment(wake.earliest_ms),
            needs.collect::<String>()
        ))?;
    }
    windows(told, out)?;
    for reason in &told.advice {
        if reason.sort() != Sort::Notice || told.freshness == lifeboat::scheduler::explain::Freshness::Stale {
            out.line(format_args!("helps     {} ({reason})", reason.advice()))?;
        }
    }
    Ok(())
}

fn windows(told: &Explanation, out: &mut Output) -> Result<()> {
    if told.windows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["Window", "Work", "Ended", "Confirmed", "Why"], &[3]);
    for window in &told.windows {
        let (end, confirmed, why) = match &window.ended {
            Some((at, closed)) => (
                moment(*at),
                Size(closed.confirmed).to_string(),
                closed.end.text().to_owned(),
            ),
            None => ("open".to_owned(), String::new(), String::new()),
        };
        table.row([
            moment(window.at_ms),
            window.task.name().to_owned(),
            end,
            confirmed,
            why,
        ]);
    }
    out.line(&table)
}
