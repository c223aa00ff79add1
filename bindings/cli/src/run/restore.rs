//! `restore`.

use std::time::Instant;

use lifeboat::{RestoreJob, RestoreReport};
use serde_json::json;

use crate::{
    args::RestoreArgs,
    exit::{Code, Result},
    output::Output,
    progress::{self, Told},
    session::Session,
    text::{Size, Span, count, visible},
};

pub(super) async fn run(session: Session<'_>, args: RestoreArgs) -> Result<Code> {
    let started = Instant::now();
    let target = visible(&args.target);
    let job = RestoreJob {
        snapshot: args.snapshot,
        target: args.target,
        include: args.include,
    };
    let Session {
        engine, stop, out, ..
    } = session;
    let report = progress::watch(engine, out, Told::Events, engine.restore(job, stop.clone())).await??;
    for warning in &report.warnings {
        out.warn("restore", &warning.path.to_string_lossy(), &warning.reason)?;
    }
    let more = report.warnings_total.saturating_sub(report.warnings.len() as u64);
    if more > 0 {
        out.warn("restore", "", &format!("{more} more warnings"))?;
    }
    let took = started.elapsed();
    if out.is_json() {
        out.document(&summary(&report, took.as_secs()))?;
    } else {
        print(&report, &target, Span(took), out)?;
    }
    Ok(Code::Success)
}

fn summary(report: &RestoreReport, seconds: u64) -> serde_json::Value {
    let entries = report.files + report.dirs + report.others;
    json!({
        "message_type": "summary",
        "seconds_elapsed": seconds,
        "snapshot_id": report.snapshot,
        "total_files": entries,
        "files_restored": entries,
        "total_bytes": report.bytes,
        "bytes_restored": report.bytes,
        "bytes_fetched": report.fetched_bytes,
        "bytes_resumed": report.resumed_bytes,
        "warnings": report.warnings_total,
    })
}

fn print(report: &RestoreReport, target: &str, took: Span, out: &mut Output) -> Result<()> {
    let mut what = format!(
        "{} and {}",
        count(report.files, "file", "files"),
        count(report.dirs, "folder", "folders")
    );
    if report.others > 0 {
        what += &format!(", {}", count(report.others, "other thing", "other things"));
    }
    out.line(format_args!(
        "restored: {what}, {}, in {took}; {} fetched",
        Size(report.bytes),
        Size(report.fetched_bytes)
    ))?;
    if report.resumed_bytes > 0 {
        out.line(format_args!(
            "{} had been fetched before by a restore that was interrupted",
            Size(report.resumed_bytes)
        ))?;
    }
    out.line(format_args!(
        "snapshot {} is in {target}",
        report.snapshot.short()
    ))
}
